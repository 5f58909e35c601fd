/**
 * What the package weighs for those who use it as a library: packages, MB, time of an import, KB of a bundle. It packs the
 * project and installs it into an empty folder, from the registry. Prints a table in markdown.
 *
 * npm run weight -- [--tarball FILE | --installed FOLDER]
 */
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { packInto } from '../bin/package/npm.ts'

const RUNS = 15
const ENTRIES = ['mysql-iam-proxy', 'mysql-iam-proxy/sync-targets-lambda'] as const

const { values } = parseArgs({ options: { tarball: { type: 'string' }, installed: { type: 'string' } } })
const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-weight-'))
try {
  const folder = values.installed ? resolve(values.installed) : await install(values.tarball)
  const { packages, bytes, diskBytes } = await sizeOf(join(folder, 'node_modules'))
  const rows: [string, string][] = [
    ['packages installed', String(packages)],
    ['MB of files', megabytes(bytes)],
    ['MB on disk', megabytes(diskBytes)],
  ]
  for (const entry of ENTRIES) {
    rows.push([`import of ${entry}, ms`, (await importTime(folder, entry)).toFixed(0)])
    rows.push([`ESM bundle of ${entry}, KB`, await bundle(folder, entry)])
  }
  const table = ['| measure | value |', '| --- | --- |', ...rows.map(row => `| ${row.join(' | ')} |`)]
  process.stdout.write(`Node.js ${process.versions.node}\n\n${table.join('\n')}\n`)
} finally {
  await rm(scratch, { recursive: true })
}

/** The folder with node_modules. */
async function install(tarball: string | undefined): Promise<string> {
  if (!tarball) await packInto(scratch, join(scratch, 'stage'))
  const file = tarball ? resolve(tarball) : join(scratch, (await readdir(scratch)).find(name => name.endsWith('.tgz'))!)
  const folder = join(scratch, 'empty')
  await mkdir(folder)
  await writeFile(join(folder, 'package.json'), '{"private":true}')
  execFileSync('npm', ['install', '--no-audit', '--no-fund', file], { cwd: folder, stdio: ['ignore', 2, 2] })
  return folder
}

async function sizeOf(directory: string) {
  const names = await readdir(directory, { recursive: true })
  // As npm counts them: also those below the node_modules of another package.
  const packages = names.filter(name =>
    /(?:^|node_modules\/)(?:@[^/]+\/)?[^@./][^/]*\/package\.json$/.test(name),
  ).length
  let [bytes, diskBytes] = [0, 0]
  for (const name of names) {
    const { size, blocks } = await stat(join(directory, name))
    bytes += size
    diskBytes += blocks * 512
  }
  return { packages, bytes, diskBytes }
}

/** Milliseconds of `import()` in a new process, without the start of Node.js: the median. */
async function importTime(folder: string, specifier: string): Promise<number> {
  const file = join(folder, 'weight-import.mjs')
  const code =
    'const start = performance.now()\nawait import(process.argv[2])\nconsole.log(performance.now() - start)\n'
  await writeFile(file, `${code}process.exit()`)
  const times = Array.from({ length: RUNS + 1 }, () =>
    Number(execFileSync(process.execPath, [file, specifier], { cwd: folder, encoding: 'utf8' })),
  )
  // The first one reads the files from the disk.
  return times.slice(1).sort((left, right) => left - right)[RUNS >> 1]!
}

/** KB of a minified bundle, and the error if it does not run. */
async function bundle(folder: string, specifier: string): Promise<string> {
  const outfile = join(folder, 'weight-bundle.mjs')
  await build({
    stdin: { contents: `export * from '${specifier}'`, resolveDir: folder },
    outfile,
    bundle: true,
    minify: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
  })
  const size = ((await stat(outfile)).size / 1_000).toFixed(0)
  try {
    execFileSync(process.execPath, [outfile], { stdio: 'pipe', encoding: 'utf8' })
    return size
  } catch (error) {
    const [, reason] = /^Error: (.*)$/m.exec((error as { stderr: string }).stderr) ?? []
    return `${size}, which does not run: ${reason}`
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1_000_000).toFixed(1)
}
