/** Projects that use the package as others do: installed from the tarball, beside frameworks from npm. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, rmdir, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { packInto } from '../../bin/package/npm.ts'
import { exists, hash, makeOnce, ownDirectory, type ServerDescription } from './database-server.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

const NPM_OPTIONS = ['--no-audit', '--no-fund', '--prefer-offline', '--fetch-timeout=600000', '--fetch-retries=5']

/** The endpoint of all examples, which a test replaces by that of its server. */
const EXAMPLE_ENDPOINT = /rdsEndpoint: 'database-1\.abcdefghijkl\.eu-west-1\.rds\.amazonaws\.com',/g

export interface Finished {
  code: number | null
  stdout: string
  stderr: string
}

export interface Consumer {
  directory: string
  /** the program that runs `words`, with its output so far */
  start(words: readonly string[], environment?: Record<string, string>): Running
  /** The output of a program. @throws Error with its output if it fails */
  run(words: readonly string[], environment?: Record<string, string>): Promise<Finished>
}

export type Running = ReturnType<typeof start>

/** The tarball of the package, and the folder where an empty project has installed it. */
export interface Installed {
  tarball: string
  directory: string
}

/**
 * A copy of test/consumers/`name`, with the frameworks of its package-lock.json and the package. The examples in it log in
 * to `server`.
 */
export async function consumer(t: Test, name: string, server?: ServerDescription): Promise<Consumer> {
  const source = join(root, 'test/consumers', name)
  const [installed, frameworks] = await Promise.all([installTarball(t), installFrameworks(source)])
  // Node.js finds the package in the folder above, and its dependencies only there: one that is missing is noticed.
  const directory = await mkdtemp(join(installed.directory, `${name}-`))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  await symlink(join(frameworks, 'node_modules'), join(directory, 'node_modules'))
  for (const file of await readdir(source)) {
    await cp(join(source, file), join(directory, file), { recursive: true })
    if (server && /\.[cm]?[jt]s$/.test(file)) {
      const text = await readFile(join(source, file), 'utf8')
      await writeFile(join(directory, file), leadTo(server, text))
    }
  }
  const environment = server ? { ...clean, ...keysOf(server), HOME: directory } : { ...clean, HOME: directory }
  return {
    directory,
    start: (words, more) => start(words, { cwd: directory, env: { ...environment, ...more } }),
    run: (words, more) => run(words, { cwd: directory, env: { ...environment, ...more } }),
  }
}

/** An example with the options that lead to the server, in the same lines. */
function leadTo(server: ServerDescription, text: string): string {
  const { rdsEndpoint, connect, ...others } = proxyOptions(server)
  const isNamed = text.includes('connect: ')
  const options = { rdsEndpoint, ...(isNamed ? {} : { connect }), ...others }
  const lines = Object.entries(options).map(([name, value]) => `${name}: ${JSON.stringify(value)},`)
  return text
    .replaceAll(EXAMPLE_ENDPOINT, () => lines.join(' '))
    .replace(/connect: '[^']+'/, `connect: '${connect}'`)
    .replace(/region: '[^']+'/, `region: '${server.region}'`)
}

/** Options of `createProxy` for the server. */
export function proxyOptions({ rdsHost, host, port, ca }: ServerDescription) {
  return { rdsEndpoint: rdsHost, connect: `${host}:${port}`, ca: [ca], caOnly: true, loginTimeout: 120_000 }
}

/** The server's keys as the AWS SDK reads them. */
function keysOf({ keys: { temporary } }: ServerDescription): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: temporary.accessKeyId,
    AWS_SECRET_ACCESS_KEY: temporary.secretAccessKey,
    AWS_SESSION_TOKEN: temporary.sessionToken ?? '',
    AWS_EC2_METADATA_DISABLED: 'true',
  }
}

/** Without what npm, tap and coverage set for the tests. */
const clean = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|TAP|NODE_|AWS_|INIT_CWD$|CI$|RUNTIME_DIRECTORY$)/.test(name)),
)

/** Packs and installs the package, once for all test files of a run: test/support/run.ts gives them one folder. */
export async function installTarball(t: Test): Promise<Installed> {
  const shared = process.env['RUNTIME_DIRECTORY']
  const parent = shared ?? (await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-consumers-')))
  if (!shared) t.teardown(() => rm(parent, { recursive: true, force: true }))
  const directory = join(parent, 'consumers')
  await oneAtATime(`${directory}.lock`, () => makeOnce(directory, packAndInstall))
  return { directory, tarball: join(directory, 'package.tgz') }
}

async function packAndInstall(directory: string): Promise<void> {
  const stage = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-pack-'))
  try {
    await packInto(stage, join(stage, 'files'))
    const tarball = (await readdir(stage)).find(name => name.endsWith('.tgz'))
    await cp(join(stage, tarball!), join(directory, 'package.tgz'))
  } finally {
    await rm(stage, { recursive: true, force: true })
  }
  const dependencies = { 'mysql-iam-proxy': 'file:package.tgz' }
  await writeFile(join(directory, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies }))
  await npm(['install', '--no-package-lock', ...NPM_OPTIONS], directory)
}

/** The packages of a lock file, kept for later runs. */
async function installFrameworks(source: string): Promise<string> {
  const files = ['package.json', 'package-lock.json']
  const texts = await Promise.all(files.map(file => readFile(join(source, file))))
  const cache = await ownDirectory(tmpdir())
  return await makeOnce(join(cache, `consumers-${hash(process.platform, process.arch, ...texts)}`), async directory => {
    for (const [index, file] of files.entries()) await writeFile(join(directory, file), texts[index]!)
    await npm(['ci', '--ignore-scripts', ...NPM_OPTIONS], directory)
  })
}

/** @throws Error with what npm said, for example that the registry does not answer */
async function npm(args: readonly string[], cwd: string): Promise<void> {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(npm_(config_local_prefix|lifecycle|package)|TAP|INIT_CWD$)/.test(name),
    ),
  )
  await run(['npm', ...args], { cwd, env: { ...env, NODE_V8_COVERAGE: '' } })
}

/** A directory is the lock: of several processes, one makes it, and the others wait. */
async function oneAtATime(lock: string, work: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await mkdir(lock)
      break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      while (await exists(lock)) await sleep(200)
    }
  }
  await work().finally(() => rmdir(lock))
}

interface Where {
  cwd: string
  env: NodeJS.ProcessEnv
}

function start([program, ...args]: readonly string[], { cwd, env }: Where) {
  const child = spawn(program!, args, { cwd, env, stdio: ['pipe', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', text => {
    output.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', text => {
    output.stderr += text
  })
  const lines = createInterface(child.stdout)
  const finished = once(child, 'close').then(([code]): Finished => ({ code: code as number | null, ...output }))
  return {
    child,
    finished,
    /** The next line of its output. @throws Error if it ends first */
    async line(): Promise<string> {
      const ended = finished.then(({ code, stdout, stderr }) => {
        throw new Error(`ended with ${code}\n${endOf(stdout)}${endOf(stderr)}`)
      })
      const [line] = await Promise.race([once(lines, 'line') as Promise<[string]>, ended])
      return line
    },
  }
}

async function run(words: readonly string[], where: Where): Promise<Finished> {
  const { child, finished } = start(words, where)
  child.stdin.end()
  const result = await finished
  const { code, stdout, stderr } = result
  if (code !== 0) throw new Error(`${words.join(' ')}: ${code}\n${endOf(stdout)}${endOf(stderr)}`)
  return result
}

/** A bundle may print itself. */
function endOf(text: string): string {
  const lines = text.split('\n').map(line => line.slice(0, 500))
  return lines.slice(-40).join('\n')
}
