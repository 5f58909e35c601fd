/** What the program reads beside its code: files of the package, or the same inside a single executable. */
import { readdirSync, readFileSync } from 'node:fs'
import * as sea from 'node:sea'

/** Seen from src/, and from dist/src/ and the bundle: the first that has the file is the root of the package. */
const ROOTS = ['../', '../../']

/**
 * A file of this package as text.
 * @param path from the root of the package, with `/`. The build keeps the path below src/
 * @throws if there is no such file, for example in somebody's own bundle
 */
export function readPackageFile(path: string): string {
  // https://nodejs.org/docs/latest-v24.x/api/single-executable-applications.html#seagetassetkey-encoding
  if (sea.isSea()) return sea.getAsset(path, 'utf8')
  return fromRoot(root => readFileSync(new URL(path, root), 'utf8'))
}

/** The paths of files that people read: those at the root of the package, and all in docs/. */
export function listPackageFiles(): string[] {
  if (sea.isSea()) return (sea as unknown as NewerSea).getAssetKeys()
  return fromRoot(root => {
    const docs = readdirSync(new URL('docs/', root), { recursive: true, encoding: 'utf8' })
    return [...readdirSync(root), ...docs.map(name => `docs/${name.replaceAll('\\', '/')}`)]
  })
}

/** Not in the types of Node.js 20: https://nodejs.org/docs/latest-v24.x/api/single-executable-applications.html */
interface NewerSea {
  getAssetKeys(): string[]
}

function fromRoot<T>(read: (root: URL) => T): T {
  let missing: unknown
  for (const path of ROOTS) {
    try {
      return read(new URL(path, import.meta.url))
    } catch (error) {
      missing ??= error
    }
  }
  throw missing
}
