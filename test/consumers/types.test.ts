/** The types of the package for the compilers of others, and what publint and "are the types wrong" say of the tarball. */
import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { type Consumer, consumer, installTarball } from '../support/consumers.ts'

const RELEASES = ['5.4', '5.9', '6.0', '7.0']
const RESOLUTIONS = ['node16', 'nodenext', 'bundler']

/** TypeScript 7 takes a tenth of the time of the others, which have one each; `npm run consumers` tries all. */
const isQuick = (release: string, index: number) => release === '7.0' || RELEASES.indexOf(release) === index
const isWhole = process.env['CONSUMERS'] === 'all'

/** A CommonJS file may require an ES module since TypeScript 5.8. */
const REQUIRES_ES_MODULES = (release: string, resolution: string) => release !== '5.4' && resolution === 'nodenext'

test('the types of the package', async t => {
  const project = await consumer(t, 'types')
  const { tarball } = await installTarball(t)
  for (const release of RELEASES) {
    for (const [index, resolution] of RESOLUTIONS.entries()) {
      if (isWhole || isQuick(release, index)) await compiles(t, project, release, resolution)
    }
  }
  await disposesWithoutGlobals(t, project)
  await isNoticed(t, project)
  await publintFindsNothing(t, project, tarball)
  await attwFindsNothing(t, project, tarball)
})

async function compiles(t: Test, { directory, start }: Consumer, release: string, resolution: string) {
  const name = `tsconfig-${release}-${resolution}.json`
  const files = ['app.ts', ...(REQUIRES_ES_MODULES(release, resolution) ? ['commonjs.cts'] : [])]
  await writeFile(join(directory, name), JSON.stringify({ compilerOptions: options(resolution), files }))
  const { child, finished } = start(['node', `node_modules/typescript-${release}/bin/tsc`, '-p', name])
  child.stdin.end()
  t.match(await finished, { code: 0, stdout: '', stderr: '' }, `TypeScript ${release}, ${resolution}`)
}

function options(resolution: string) {
  return {
    target: 'es2022',
    lib: ['es2022'],
    module: resolution === 'bundler' ? 'esnext' : resolution,
    moduleResolution: resolution,
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    noEmit: true,
  }
}

/**
 * Symbol.asyncDispose, which @types/node and the library esnext.disposable declare, each in its own way. Here a program has
 * neither: its @types/node is of a release that had no such global.
 */
async function disposesWithoutGlobals(t: Test, { directory, start }: Consumer) {
  const compilerOptions = { ...options('nodenext'), types: [], typeRoots: [], skipLibCheck: true }
  const text = `import { createProxy } from 'mysql-iam-proxy'
const proxy = createProxy({ rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com' })
const disposed: Promise<void> = proxy[Symbol.asyncDispose]()
// @ts-expect-error: it has a type, and not any
export const wrong: Promise<number> = disposed
// @ts-expect-error: the global is not declared
export type None = AsyncDisposable
`
  await writeFile(join(directory, 'dispose.ts'), text)
  for (const release of RELEASES) {
    const name = `tsconfig-dispose-${release}.json`
    await writeFile(join(directory, name), JSON.stringify({ compilerOptions, files: ['dispose.ts'] }))
    const { child, finished } = start(['node', `node_modules/typescript-${release}/bin/tsc`, '-p', name])
    child.stdin.end()
    t.match(await finished, { code: 0, stdout: '', stderr: '' }, `TypeScript ${release} without the global`)
  }
}

/** A check that finds nothing anywhere would pass too. */
async function isNoticed(t: Test, { directory, start }: Consumer) {
  const text = await readFile(join(directory, 'app.ts'), 'utf8')
  await writeFile(join(directory, 'wrong.ts'), text.replace('loginTimeout: 8_000', "loginTimeout: '8s'"))
  await writeFile(
    join(directory, 'tsconfig-wrong.json'),
    JSON.stringify({ compilerOptions: options('nodenext'), files: ['wrong.ts'] }),
  )
  const { child, finished } = start(['node', 'node_modules/typescript-7.0/bin/tsc', '-p', 'tsconfig-wrong.json'])
  child.stdin.end()
  t.match((await finished).stdout, /^wrong\.ts.* is not assignable to type 'number'/, 'a wrong type is noticed')
}

async function publintFindsNothing(t: Test, { directory }: Consumer, tarball: string) {
  const { publint } = await load(directory, 'publint')
  const { formatMessage } = await load(directory, 'publint/utils')
  const { messages, pkg } = await publint({ pack: { tarball: bytes(await readFile(tarball)) }, strict: true })
  t.same(
    messages.map((message: unknown) => formatMessage(message, pkg, { color: false })),
    [],
    'publint',
  )
}

/** The package is for ES modules: CommonJS gets it by the require(esm) of Node.js, and node10 does not know exports. */
async function attwFindsNothing(t: Test, { directory }: Consumer, tarball: string) {
  const { checkPackage, createPackageFromTarballData } = await load(directory, '@arethetypeswrong/core')
  const { types, problems } = await checkPackage(createPackageFromTarballData(await readFile(tarball)))
  t.ok(types, 'it has types')
  const ours = problems.filter(
    ({ kind, resolutionKind }: { kind: string; resolutionKind?: string }) =>
      kind !== 'CJSResolvesToESM' && resolutionKind !== 'node10',
  )
  t.same(ours, [], 'are the types wrong?')
}

/** A package of the consumer. */
async function load(directory: string, name: string) {
  return await import(createRequire(join(directory, 'package.json')).resolve(name))
}

const bytes = ({ buffer, byteOffset, byteLength }: Buffer) => buffer.slice(byteOffset, byteOffset + byteLength)
