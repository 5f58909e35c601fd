/** What the tests' two real database servers share: a throw-away directory, accounts, keys, and a process that goes with this one. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, lstat, mkdir, mkdtemp, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import mysql from 'mysql2/promise'
import { createAuthority } from '../../src/demo/certificates.ts'
import { freePort } from './free-port.ts'
import { env } from './packages.ts'
import type { Credentials } from './token.ts'

export type { Credentials } from './token.ts'

export interface Decision {
  user: string
  /** the connection's id, as in the server's greeting */
  connectionId: number
  /** without the NUL at its end */
  tokenBytes: number
  accepted: boolean
  /** why not */
  reason?: string
}

/** All that another process needs to use the server. */
export interface ServerDescription {
  host: string
  port: number
  socketPath: string
  /** the name on the server's certificate, and that tokens must be signed for */
  rdsHost: string
  /** the port that tokens must be signed for */
  rdsPort: number
  region: string
  /** PEM */
  ca: string
  keys: {
    longTerm: Credentials
    /** its session token makes tokens of about 1,280 bytes */
    temporary: Credentials
  }
  version: string
  /** the file with the plugin's decisions */
  log: string
}

export interface RealServer extends ServerDescription {
  /** What the plugin has decided so far, oldest first. Other test files may be using the server too. */
  decisions(): Promise<Decision[]>
  /** As root over the unix socket. Several statements may be given. */
  query(sql: string): Promise<unknown[]>
  stop(): Promise<void>
}

export interface StartOptions {
  /** instead of one for `rdsHost` from an authority made for the server; `ca` is what the server's `ca` will be */
  certificate?: { certificate: string; key: string; ca?: string }
  /** more lines for the server's settings */
  extraConfig?: string
  /** words before the server's command that end in it, for example ip netns exec NAME */
  launcher?: readonly string[]
}

/** MariaDB or MySQL: where they differ. */
export interface ServerKind {
  /** the name of its program */
  program: string
  /** the words that run it, before its options */
  command: readonly string[]
  /** with `data`, an initialised data directory, and the plugin; copied for each start */
  prepared: string
  /** SQL, a statement a line */
  accounts: string
  /** settings that only this kind has */
  config: string
}

const rdsHost = 'database-1.xxxxxxxxxxx.ap-northeast-1.rds.amazonaws.com'
const rdsPort = 3306
const region = 'ap-northeast-1'

export const isRoot = process.getuid?.() === 0

/** A server in its own directory, which is removed with it. It stops when this process ends for any reason. */
export async function startServer(kind: ServerKind, options: StartOptions): Promise<RealServer> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-server-'))
  try {
    const keys = makeKeys()
    await Promise.all([
      run('cp', ['-a', join(kind.prepared, 'data'), join(directory, 'data')]),
      mkdir(join(directory, 'tmp')),
      writeFile(join(directory, 'iam.conf'), iamConfig(keys)),
      writeFile(join(directory, 'decisions.jsonl'), ''),
      writeFile(join(directory, 'error.log'), ''),
      writeFile(join(directory, 'init.sql'), kind.accounts),
    ])
    const ca = await writeCertificate(directory, options.certificate)
    if (isRoot) await run('chown', ['-R', 'mysql:', directory])
    // Another process may take the free port before the server does.
    for (let attempt = 1; ; attempt++) {
      const port = await freePort()
      await writeFile(join(directory, 'my.cnf'), serverConfig(directory, kind, port, options.extraConfig ?? ''))
      const child = await spawnServer(directory, [...(options.launcher ?? []), ...kind.command])
      const description: ServerDescription = {
        host: '127.0.0.1',
        port,
        socketPath: join(directory, 'server.sock'),
        rdsHost,
        rdsPort,
        region,
        ca,
        keys,
        version: '',
        log: join(directory, 'decisions.jsonl'),
      }
      try {
        description.version = await waitUntilReady(child, description.socketPath)
      } catch (error) {
        await stopServer(child)
        const log = await readFile(join(directory, 'error.log'), 'utf8').catch(() => '')
        if (attempt < 3 && /already in use/.test(log)) continue
        throw new Error(
          `${kind.program} has not started: ${(error as Error).message}\n${log.split('\n').slice(-20).join('\n')}`,
        )
      }
      return attach(description, async () => {
        await stopServer(child)
        await rm(directory, { recursive: true, force: true })
      })
    }
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    throw error
  }
}

/** The server that another process has started. */
export function attach(description: ServerDescription, stop: () => Promise<void>): RealServer {
  async function decisions(): Promise<Decision[]> {
    const text = await readFile(description.log, 'utf8')
    return text
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line) as Decision)
  }

  async function query(sql: string): Promise<unknown[]> {
    const connection = await connectAsRoot(description.socketPath)
    try {
      const [result] = await connection.query(sql)
      return Array.isArray(result) ? result : [result]
    } finally {
      await connection.end()
    }
  }

  return { ...description, decisions, query, stop }
}

function connectAsRoot(socketPath: string): Promise<mysql.Connection> {
  return mysql.createConnection({ socketPath, user: 'root', multipleStatements: true })
}

// ---- settings ----

// Without skip-name-resolve, 127.0.0.1 would count as localhost. Nothing has to outlive the machine, so nothing is
// synced; nothing is large, so everything is small.
function serverConfig(
  directory: string,
  { program, prepared, config }: ServerKind,
  port: number,
  extra: string,
): string {
  return `[${program}]
datadir=${directory}/data
tmpdir=${directory}/tmp
socket=${directory}/server.sock
pid-file=${directory}/server.pid
log-error=${directory}/error.log
init-file=${directory}/init.sql
bind-address=127.0.0.1
port=${port}
skip-name-resolve
plugin-dir=${prepared}
ssl-cert=${directory}/server.pem
ssl-key=${directory}/server-key.pem
max_connections=500
max_allowed_packet=256M
local_infile=ON
secure-file-priv=
server-id=1
log-bin=binlog
binlog-format=ROW
performance_schema=ON
innodb_buffer_pool_size=64M
innodb_flush_log_at_trx_commit=0
innodb_flush_method=nosync
sync_binlog=0
${config}
${extra}
`
}

function iamConfig(keys: ServerDescription['keys']): string {
  const lines = [`host ${rdsHost}`, `port ${rdsPort}`, `region ${region}`, 'skew 300']
  for (const key of Object.values(keys)) {
    lines.push(`key ${key.accessKeyId} ${key.secretAccessKey} ${key.sessionToken ?? '-'}`)
  }
  return `${lines.join('\n')}\n`
}

function makeKeys(): ServerDescription['keys'] {
  const id = () => randomBytes(8).toString('hex').toUpperCase()
  const secret = () => randomBytes(30).toString('base64')
  return {
    longTerm: { accessKeyId: `AKIA${id()}`, secretAccessKey: secret() },
    // real session tokens are base64 too, with characters that a URL must escape
    temporary: {
      accessKeyId: `ASIA${id()}`,
      secretAccessKey: secret(),
      sessionToken: randomBytes(624).toString('base64'),
    },
  }
}

async function writeCertificate(directory: string, given: StartOptions['certificate']): Promise<string> {
  const authority = given?.ca ? undefined : await createAuthority('mysql-iam-proxy test authority')
  const { certificate, key } = given ?? (await authority!.issue({ names: [rdsHost] }))
  await writeFile(join(directory, 'server.pem'), certificate)
  await writeFile(join(directory, 'server-key.pem'), key, { mode: 0o600 })
  return given?.ca ?? authority!.certificate
}

// ---- the process ----

// The shell keeps the server company: its standard input is a pipe from this process, which the kernel closes when this
// process ends, even by SIGKILL. Then it kills the server and removes its files, but leaves those of a server that has
// ended by itself, for its log. (A parent-death signal would be shorter, but it leaves the files, and is lost when the
// user id changes.) The files are throw-away, so an ordinary stop is the same thing. `detached` below keeps a Ctrl-C in
// the terminal from killing the shell first.
const guardian = `
exec 3<&0
"$@" 3<&- </dev/null &
server=$!
( read -r _ <&3; kill -KILL $server ) &
guard=$!
wait $server
status=$?
kill $guard 2>/dev/null
[ $status = 137 ] && rm -rf "$DIRECTORY"
exit $status
`

async function spawnServer(directory: string, words: readonly string[]): Promise<ChildProcess> {
  const output = await open(join(directory, 'error.log'), 'a')
  const command = [...words, `--defaults-file=${join(directory, 'my.cnf')}`]
  if (isRoot) command.push('--user=mysql')
  const child = spawn('sh', ['-c', guardian, 'sh', ...command], {
    env: {
      ...env,
      AUTH_RDS_IAM_CONFIG: join(directory, 'iam.conf'),
      AUTH_RDS_IAM_LOG: join(directory, 'decisions.jsonl'),
      DIRECTORY: directory,
    },
    stdio: ['pipe', output.fd, output.fd],
    detached: true,
  })
  await output.close()
  // A test that forgets to stop the server should end anyway.
  child.unref()
  ;(child.stdin as unknown as { unref(): void }).unref()
  return child
}

async function waitUntilReady(child: ChildProcess, socketPath: string): Promise<string> {
  const deadline = Date.now() + 60_000
  for (;;) {
    try {
      const connection = await connectAsRoot(socketPath)
      const [rows] = await connection.query('SELECT VERSION() AS version')
      await connection.end()
      return (rows as { version: string }[])[0]!.version
    } catch (error) {
      if (child.exitCode !== null) throw new Error(`it has exited with ${child.exitCode}`)
      if (Date.now() > deadline) throw error
    }
    await sleep(20)
  }
}

async function stopServer(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.ref()
  const exit = once(child, 'exit')
  child.stdin!.end()
  await exit
}

// ---- what starts have in common, made once ----

/** Compiles the authentication plugin for a server. @param source of test/support @param output the file */
export async function compilePlugin(source: string, output: string, flags: string[] = []): Promise<void> {
  await run('cc', [
    '-shared',
    '-fPIC',
    '-O2',
    '-D_GNU_SOURCE',
    ...flags,
    '-o',
    output,
    fileURLToPath(new URL(source, import.meta.url)),
  ])
}

/** The sources of a plugin, for a name that changes with them. */
export async function pluginSources(source: string): Promise<Buffer[]> {
  const files = [source, 'mariadb-plugin/iam_token.h']
  return await Promise.all(files.map(file => readFile(new URL(file, import.meta.url))))
}

/** The server loads code from it: another user's directory of that name is refused. */
export async function ownDirectory(parent: string): Promise<string> {
  const path = join(parent, `mysql-iam-proxy-test-${process.getuid?.() ?? 'x'}`)
  await mkdir(path, { mode: 0o755, recursive: true })
  const { uid } = await lstat(path)
  if (uid !== process.getuid?.()) throw new Error(`${path} belongs to another user`)
  return path
}

export function hash(...parts: (string | Buffer)[]): string {
  const digest = createHash('sha256')
  for (const part of parts) digest.update(part)
  return digest.digest('hex').slice(0, 16)
}

/** Made under another name and then renamed: of two processes at it at the same time, one's work is thrown away. */
export async function makeOnce(path: string, make: (directory: string) => Promise<void>): Promise<string> {
  if (await exists(path)) return path
  const directory = await mkdtemp(`${path}.`)
  try {
    await chmod(directory, 0o755)
    await make(directory)
    await rename(directory, path)
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    if (!(await exists(path))) throw error
  }
  return path
}

export async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  )
}

const execFileAsync = promisify(execFile)

export function run(program: string, args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  return execFileAsync(program, args, { env, maxBuffer: 64 << 20, ...options })
}
