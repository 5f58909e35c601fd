/** The JavaScript of the npm package: the library, the Lambda function and the program, which share files. */
import { readdir, readFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { build, type Metafile, type Plugin } from 'esbuild'
import { packagesIn } from './bundle.ts'
import { ROOT } from './project.ts'

/** What `exports` and `bin` of package.json name, without dist/ in front. */
const LIBRARY = ['src/index', 'src/sync-targets/lambda']
const PROGRAM = 'bin/mysql-iam-proxy'

export interface NpmBundle {
  /** what Node.js runs */
  metafile: Metafile
  /** directories of the npm packages that are inside, sorted */
  packages: string[]
}

/**
 * Bundles into `directory`. Lazy imports stay lazy: each becomes a file in chunks/.
 *
 * Node.js imports the AWS SDK from its packages. Bundlers take the library from bundle/, which has the AWS SDK's ES modules
 * inside: esbuild would take its CommonJS files, and these do not run in an ES module.
 * https://esbuild.github.io/api/#splitting
 */
export async function bundleForNpm(directory: string): Promise<NpmBundle> {
  const { dependencies } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  const metafile = await bundle([...LIBRARY, PROGRAM], directory, Object.keys(dependencies))
  const forBundlers = await bundle(LIBRARY, join(directory, 'bundle'), [], [await filesInside()])
  return { metafile, packages: packagesIn(metafile, forBundlers) }
}

async function bundle(
  entries: readonly string[],
  outdir: string,
  external: string[],
  more: Plugin[] = [],
): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: entries.map(entry => `${entry}.ts`),
    outbase: '.',
    outdir,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20.19',
    // ES modules of the AWS SDK, which lose what nobody calls.
    mainFields: ['module', 'main'],
    external,
    plugins: [requireOfNode, ...more],
    // THIRD-PARTY-NOTICES has the licenses.
    legalComments: 'none',
    metafile: true,
    logLevel: 'error',
  })
  return metafile
}

/** Native or for colours. The packages that ask for them catch the error of a missing one. */
const LEFT_OUT = ['bufferutil', 'cardinal', 'utf-8-validate']

/**
 * ES modules have no `require`, which bundled CommonJS packages call for modules of Node.js. This needs no file name, so that
 * it also works in a bundle that somebody makes of the library.
 */
const requireOfNode: Plugin = {
  name: 'require of Node.js',
  setup(build) {
    build.onResolve({ filter: /./ }, ({ kind, path }) => {
      if (kind !== 'require-call') return undefined
      if (LEFT_OUT.includes(path)) return { path, namespace: 'left out' }
      return isBuiltin(path) ? { path, namespace: 'node' } : undefined
    })
    build.onLoad({ filter: /./, namespace: 'node' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)})`,
    }))
    build.onLoad({ filter: /./, namespace: 'left out' }, ({ path }) => ({
      contents: `throw new Error('${path} is not installed')`,
    }))
  },
}

/** A bundle that somebody makes of the library has no files beside it, so the status page is in the code. */
async function filesInside(): Promise<Plugin> {
  const files: Record<string, string> = {}
  const folder = 'src/admin/page'
  for (const name of (await readdir(join(ROOT, folder))).sort())
    files[`${folder}/${name}`] = await readFile(join(ROOT, folder, name), 'utf8')
  const contents = `const files = ${JSON.stringify(files)}
export function readPackageFile(path) {
  if (!Object.hasOwn(files, path)) throw new Error(path + ' is not in this bundle')
  return files[path]
}`
  return {
    name: 'files of the package',
    setup: build => build.onLoad({ filter: /[\\/]src[\\/]package-files\.ts$/ }, () => ({ contents, loader: 'js' })),
  }
}
