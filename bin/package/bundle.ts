/** The program and all its packages in one CommonJS file, which is what Node.js's single executables run. */
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { build, type Metafile } from 'esbuild'
import { ROOT } from './project.ts'

export interface Bundle {
  file: string
  /** what src/package-files.ts reads: path in the package, and path on this machine */
  assets: Record<string, string>
  /** directories of the npm packages that are inside, sorted */
  packages: string[]
  /** what the program imports from outside */
  external: string[]
}

/**
 * Bundles into `directory`, with the other files at the places where plain Node.js finds them, so that
 * `node DIRECTORY/bin/mysql-iam-proxy.cjs` runs too.
 */
export async function makeBundle(directory: string): Promise<Bundle> {
  const file = join(directory, 'bin/mysql-iam-proxy.cjs')
  const metafile = await bundle(file)
  const assets: Record<string, string> = {}
  const add = async (path: string) => {
    assets[path] = join(directory, path)
    await mkdir(dirname(assets[path]), { recursive: true })
    await cp(join(ROOT, path), assets[path])
  }
  const { name, version, license } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  assets['package.json'] = join(directory, 'package.json')
  await writeFile(assets['package.json'], JSON.stringify({ name, version, license }))
  for (const name of (await readdir(join(ROOT, 'src/admin/page'))).sort()) await add(`src/admin/page/${name}`)
  // What `mysql-iam-proxy docs` prints. The decisions are for people with the sources.
  for (const folder of ['docs', 'docs/clients'])
    for (const name of (await readdir(join(ROOT, folder))).sort())
      if (name.endsWith('.md')) await add(`${folder}/${name}`)
  for (const name of ['CHANGELOG.md', 'LICENSE', 'README.md']) await add(name)
  const imports = Object.values(metafile.outputs).flatMap(output => output.imports)
  const external = new Set(imports.filter(({ external }) => external).map(({ path }) => path))
  return { file, assets, packages: packagesIn(metafile), external: [...external].sort() }
}

/** The npm packages in the bundle, without writing it. */
export async function bundledPackages(): Promise<string[]> {
  return packagesIn(await bundle(undefined))
}

/** @param file undefined: nothing is written */
async function bundle(file: string | undefined): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: ['bin/mysql-iam-proxy.ts'],
    outfile: file ?? 'bundle.cjs',
    write: file !== undefined,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20.19',
    // The names stay: stack traces and the names of errors are for people.
    minifyWhitespace: true,
    minifySyntax: true,
    keepNames: true,
    legalComments: 'none',
    // In a single executable this is the path of the program.
    define: { 'import.meta.url': 'urlOfThisFile' },
    banner: { js: "const urlOfThisFile=require('node:url').pathToFileURL(__filename).href;" },
    metafile: true,
    logLevel: 'error',
  })
  return metafile
}

/** Directories of the npm packages that bundles contain, sorted. */
export function packagesIn(...metafiles: Metafile[]): string[] {
  const inputs = metafiles.flatMap(({ outputs }) =>
    Object.values(outputs).flatMap(({ inputs }) => Object.entries(inputs)),
  )
  const packages = new Set<string>()
  for (const [input, { bytesInOutput }] of inputs) {
    if (bytesInOutput === 0) continue
    // node_modules may be a link to that of another folder.
    const [, path] = /(?:^|\/)(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+)/.exec(input) ?? []
    if (path) packages.add(path)
  }
  return [...packages].sort()
}
