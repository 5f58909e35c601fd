/** What the program reads beside its code: files of the package, or the same inside a single executable. */
import { readFileSync } from 'node:fs'
import { getAsset, isSea } from 'node:sea'

/**
 * A file of this package as text.
 * @param path from the root of the package, with `/`. The build keeps the path below src/
 * @throws if there is no such file, for example in somebody's own bundle
 */
export function readPackageFile(path: string): string {
  // https://nodejs.org/docs/latest-v24.x/api/single-executable-applications.html#seagetassetkey-encoding
  if (isSea()) return getAsset(path, 'utf8')
  try {
    return readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
  } catch {
    // Seen from dist/src/, the root is one level higher.
    return readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
  }
}
