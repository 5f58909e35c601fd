/** A real database server for the tests: Debian's MariaDB, with a plugin that verifies IAM tokens as RDS does. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, lstat, mkdir, mkdtemp, open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import mysql from 'mysql2/promise'
import { createAuthority } from '../../src/demo/certificates.ts'
import { freePort } from './free-port.ts'
import { ensurePackages, env, findProgram, updateLists } from './packages.ts'
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
  /** more lines for the server's [mariadbd] settings */
  extraConfig?: string
  /** words before the server's command that end in it, for example ip netns exec NAME */
  launcher?: readonly string[]
}

export const serverVariable = 'TEST_SERVER_OF_MYSQL_IAM_PROXY'

const rdsHost = 'database-1.xxxxxxxxxxx.ap-northeast-1.rds.amazonaws.com'
const rdsPort = 3306
const region = 'ap-northeast-1'

const packages = ['mariadb-server', 'mariadb-client', 'gcc', 'libc6-dev']
const isRoot = process.getuid?.() === 0
const pluginSource = fileURLToPath(new URL('mariadb-plugin/auth_rds_iam.c', import.meta.url))

/** The server that test/support/run.ts has started, or else one of the test's own. */
export async function realServer(t: { teardown(stop: () => Promise<void>): unknown }): Promise<RealServer> {
  const shared = process.env[serverVariable]
  if (shared) return attach(JSON.parse(shared) as ServerDescription, async () => {})
  const server = await startMariadb()
  t.teardown(() => server.stop())
  return server
}

/** A server in a directory of its own, which goes with it. It ends when this process does, however it ends. */
export async function startMariadb(options: StartOptions = {}): Promise<RealServer> {
  await ensurePackages('a MariaDB server and a C compiler', hasPrograms, packages)
  const prepared = await prepare()
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-server-'))
  try {
    const keys = makeKeys()
    await Promise.all([
      run('cp', ['-a', join(prepared, 'data'), join(directory, 'data')]),
      mkdir(join(directory, 'tmp')),
      writeFile(join(directory, 'iam.conf'), iamConfig(keys)),
      writeFile(join(directory, 'decisions.jsonl'), ''),
      writeFile(join(directory, 'init.sql'), accounts),
    ])
    const ca = await writeCertificate(directory, options.certificate)
    if (isRoot) await run('chown', ['-R', 'mysql:', directory])
    // Somebody else may take the free port before the server does.
    for (let attempt = 1; ; attempt++) {
      const port = await freePort()
      await writeFile(join(directory, 'my.cnf'), serverConfig(directory, prepared, port, options.extraConfig ?? ''))
      const child = await spawnServer(directory, options.launcher ?? [])
      const description: ServerDescription = {
        host: '127.0.0.1',
        port,
        socketPath: join(directory, 'mariadb.sock'),
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
          `mariadbd has not started: ${(error as Error).message}\n${log.split('\n').slice(-20).join('\n')}`,
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

function attach(description: ServerDescription, stop: () => Promise<void>): RealServer {
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

// root, who has no password, may come only over the unix socket
const accounts = `SET sql_log_bin = 0;
DELETE FROM mysql.global_priv WHERE User = 'root' AND Host <> 'localhost';
FLUSH PRIVILEGES;
CREATE DATABASE IF NOT EXISTS lab;
CREATE USER IF NOT EXISTS iam_user IDENTIFIED VIA AWSAuthenticationPlugin USING 'RDS' REQUIRE SSL;
CREATE USER IF NOT EXISTS iam2 IDENTIFIED VIA AWSAuthenticationPlugin USING 'RDS' REQUIRE SSL;
CREATE USER IF NOT EXISTS app IDENTIFIED BY 'app-pw';
GRANT ALL ON *.* TO iam_user, iam2, app;
`

// Without skip-name-resolve, 127.0.0.1 would count as localhost. Nothing has to outlive the machine, so nothing is
// synced; nothing is large, so everything is small.
function serverConfig(directory: string, prepared: string, port: number, extra: string): string {
  return `[mariadbd]
datadir=${directory}/data
tmpdir=${directory}/tmp
socket=${directory}/mariadb.sock
pid-file=${directory}/mariadbd.pid
log-error=${directory}/error.log
init-file=${directory}/init.sql
bind-address=127.0.0.1
port=${port}
skip-name-resolve
plugin-dir=${prepared}
plugin-maturity=unknown
plugin-load-add=auth_rds_iam.so
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
${logSize}
innodb_buffer_pool_size=64M
innodb_flush_log_at_trx_commit=0
innodb_flush_method=nosync
sync_binlog=0
aria-checkpoint-interval=0
${extra}
`
}

const logSize = 'innodb_log_file_size=32M'

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

async function spawnServer(directory: string, launcher: readonly string[]): Promise<ChildProcess> {
  const output = await open(join(directory, 'error.log'), 'a')
  const command = [...launcher, findProgram('mariadbd')!, `--defaults-file=${join(directory, 'my.cnf')}`]
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
  // A test that forgets to stop the server should end all the same.
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

// ---- what starts have in common, made once: the compiled plugin and an initialised data directory ----

async function prepare(): Promise<string> {
  const { stdout: version } = await run(findProgram('mariadbd')!, ['--no-defaults', '--version'])
  const source = await readFile(pluginSource)
  const key = hash(version, source, logSize)
  const root = join(tmpdir(), `mysql-iam-proxy-test-${process.getuid?.() ?? 'x'}`)
  await mkdir(root, { mode: 0o755, recursive: true })
  // The server will load code from it: somebody else's directory of that name won't do.
  const { uid } = await lstat(root)
  if (uid !== process.getuid?.()) throw new Error(`${root} belongs to another user`)
  return await makeOnce(join(root, key), async directory => {
    const headers = await findHeaders(join(root, `headers-${hash(version)}`))
    const flags = ['-shared', '-fPIC', '-O2', '-D_GNU_SOURCE', '-DMYSQL_DYNAMIC_PLUGIN', '-I', headers]
    const data = join(directory, 'data')
    const init = ['--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal']
    init.push('--skip-test-db', '--skip-name-resolve', '--innodb-flush-method=nosync', `--${logSize}`)
    if (isRoot) init.push('--user=mysql')
    await Promise.all([
      run('cc', [...flags, '-o', join(directory, 'auth_rds_iam.so'), pluginSource]),
      run(findProgram('mariadb-install-db')!, init),
    ])
  })
}

function hash(...parts: (string | Buffer)[]): string {
  const digest = createHash('sha256')
  for (const part of parts) digest.update(part)
  return digest.digest('hex').slice(0, 16)
}

/** Made under another name and then renamed: of two processes at it at the same time, one's work is thrown away. */
async function makeOnce(path: string, make: (directory: string) => Promise<void>): Promise<string> {
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

/**
 * The headers for plugins are in libmariadbd-dev, whose static library takes 600 MB when installed: unpack only the
 * headers. This needs no root.
 */
async function findHeaders(cache: string): Promise<string> {
  const installed = '/usr/include/mariadb/server'
  if (await exists(join(installed, 'mysql/plugin_auth.h'))) return installed
  const directory = await makeOnce(cache, async directory => {
    const script = `
version=$(dpkg-query -W -f '\${Version}' mariadb-server-core)
apt-get download "libmariadbd-dev=$version" || apt-get download libmariadbd-dev
dpkg-deb --fsys-tarfile libmariadbd-dev_*.deb | tar x ./usr/include
rm libmariadbd-dev_*.deb
test -e usr/include/mariadb/server/mysql/plugin_auth.h`
    try {
      await run('sh', ['-ec', isRoot ? `${updateLists}\n${script}` : script], { cwd: directory })
    } catch (error) {
      const advice = 'The headers for MariaDB plugins are missing. Please run as root: apt-get install libmariadbd-dev'
      throw new Error(`${advice}\n${(error as Error).message}`)
    }
  })
  return join(directory, 'usr/include/mariadb/server')
}

function hasPrograms(): boolean {
  const programs = ['mariadbd', 'mariadb-install-db', 'cc']
  return programs.every(name => findProgram(name) !== undefined) && existsSync('/usr/include/stdio.h')
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false,
  )
}

const execFileAsync = promisify(execFile)

function run(program: string, args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  return execFileAsync(program, args, { env, maxBuffer: 64 << 20, ...options })
}
