/** The npm package in an empty folder, as `npm install mysql-iam-proxy-X.Y.Z.tgz` leaves it. */
import { execFile, execFileSync } from 'node:child_process'
import { chmod, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { packInto } from '../../bin/package/npm.ts'
import { NAME, ROOT } from '../../bin/package/project.ts'

const run = promisify(execFile)

export interface InstalledPackage {
  /** the folder with node_modules, and no other packages above it */
  folder: string
  /** the path of the tarball */
  tarball: string
  /** its package.json */
  manifest: { version: string; dependencies: Record<string, string>; devDependencies: Record<string, string> }
  /** names of the packages in node_modules */
  packages: string[]
  /** what esbuild says about the files below dist/, by their names */
  outputs: Map<string, Output>
  /** Runs Node.js there, with nothing of the tests' environment. Rejects unless the exit code is `code`. */
  node(args: readonly string[], environment?: NodeJS.ProcessEnv, code?: number): Promise<string>
  /** the environment of `node` */
  environment: NodeJS.ProcessEnv
}

export interface Output {
  /** packages inside */
  bundled: string[]
  /** packages of other authors that it imports */
  imported: string[]
}

/**
 * Packs the project, and installs it with the locked versions of its dependencies. They are copied from node_modules, because
 * registries are slow.
 */
export async function installPackage(t: { teardown(clean: () => Promise<void>): unknown }): Promise<InstalledPackage> {
  const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-npm-'))
  t.teardown(() => rm(scratch, { recursive: true, force: true }))
  await chmod(scratch, 0o755)
  const { metafile } = await packInto(scratch, join(scratch, 'stage'))
  const folder = join(scratch, 'empty')
  const home = join(folder, 'node_modules', NAME)
  await mkdir(home, { recursive: true })
  const manifestOf = async (path: string) => JSON.parse(await readFile(join(path, 'package.json'), 'utf8'))
  const { version } = await manifestOf(ROOT)
  const tarball = join(scratch, `${NAME}-${version}.tgz`)
  execFileSync('tar', ['-xzf', tarball, '-C', home, '--strip-components=1'])
  await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies: { [NAME]: '*' } }))
  const lock = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8'))
  const packages: string[] = []
  for (const [path, { dev, devOptional, optional }] of Object.entries<Record<string, boolean>>(lock.packages)) {
    if (path === '' || dev || devOptional || optional) continue
    packages.push(path.replace(/^.*node_modules\//, ''))
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await cp(join(ROOT, path), join(folder, path), { recursive: true, filter: source => !/\/\.bin$/.test(source) })
  }
  const environment = { PATH: process.env['PATH'], HOME: folder, LC_ALL: 'C.UTF-8', AWS_EC2_METADATA_DISABLED: 'true' }
  return {
    folder,
    tarball,
    manifest: await manifestOf(home),
    packages,
    outputs: new Map(Object.entries(metafile.outputs).map(([path, output]) => [nameBelowDist(path), toOutput(output)])),
    environment,
    async node(args, more = {}, code = 0) {
      const options = { cwd: folder, env: { ...environment, ...more }, maxBuffer: 64 << 20 }
      const running = run(process.execPath, [...args], options)
      running.child.stdin?.end()
      const result = await running.catch((error: Error & Ended) => error)
      const exitCode = 'code' in result ? result.code : 0
      if (exitCode === code) return result.stdout + result.stderr
      throw new Error(`node ${args.join(' ')}: exit code ${exitCode}\n${result.stdout}${result.stderr}`)
    },
  }
}

interface Ended {
  code: number | string | null
  stdout: string
  stderr: string
}

function nameBelowDist(path: string): string {
  const folder = dirname(path)
  return folder.endsWith('/chunks') ? `chunks/${basename(path)}` : path.replace(/^.*\/dist\//, '')
}

/** The package of a path or an import. */
export function packageOf(path: string): string {
  return /^(?:.*node_modules\/)?((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? path
}

function toOutput({ inputs, imports }: EsbuildOutput): Output {
  const inside = Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0)
  const paths = inside.map(([path]) => path).filter(path => path.includes('node_modules/'))
  const external = imports.filter(({ external, path }) => external && !path.startsWith('node:'))
  return {
    bundled: [...new Set(paths.map(packageOf))].sort(),
    imported: [...new Set(external.map(({ path }) => packageOf(path)))].sort(),
  }
}

interface EsbuildOutput {
  inputs: Record<string, { bytesInOutput: number }>
  imports: { path: string; external?: boolean }[]
}
