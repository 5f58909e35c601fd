/** What `npm run chaos` runs: a real server behind two addresses, two proxies, and everything that the faults change. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, openSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { mkdir, mkdtemp, rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Authority, createAuthority } from '../src/demo/certificates.ts'
import type { HostPort } from '../src/endpoint.ts'
import { type DistantAddress, startDistantAddress } from '../test/support/distant-address.ts'
import { freePort } from '../test/support/free-port.ts'
import { type RealServer, startMariadb } from '../test/support/mariadb.ts'
import { startMysql } from '../test/support/mysql.ts'
import { PROGRAM, programVariable } from '../test/support/program.ts'

/** Below the length of a long black hole. */
export const TCP_USER_TIMEOUT_MS = 5_000

const ZONES = ['zone-a.chaos.example', 'zone-b.chaos.example']
const DIALLED = 'nlb.chaos.example'
const FAKETIME = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64']
  .map(directory => join(directory, 'faketime/libfaketimeMT.so.1'))
  .find(existsSync)

export interface ChaosProxy {
  name: string
  child: ChildProcess
  /** anybody may log in as iam_user */
  open: HostPort
  /** a local user with a password and TLS */
  guarded: HostPort
  /** anybody may log in, as an account without privileges */
  bare: HostPort
  /** its log since the last call, as far as it was not lost */
  takeLog: () => string
}

export interface World {
  server: RealServer
  proxies: ChaosProxy[]
  /** the addresses behind the dialled name; empty without namespaces */
  zones: DistantAddress[]
  /** remove the local addresses that connections to the zones come from */
  sources: (() => void)[]
  password: string
  /** why kinds of faults are missing */
  missing: string[]
  /** undefined without libfaketime */
  setClock: ((seconds: number) => Promise<void>) | undefined
  setCredentials(state: { fails?: boolean; seconds?: number; temporary?: boolean }): Promise<void>
  /** a new certificate for clients */
  rotateCertificate(): Promise<void>
  /** a new local password, which both proxies take at the reload that this starts */
  writePassword(password: string): Promise<void>
  /** both proxies read their configuration again */
  reload(): void
  /** the second proxy's log disk; undefined without namespaces */
  fillLogDisk: (() => () => void) | undefined
  /** the first proxy's log pipe */
  stallLog(): () => void
  serverPid(): number
  /** undefined where a killed server does not come back */
  killServer: (() => void) | undefined
  stop(): Promise<void>
}

/** Runs its words again whenever they are killed. Only in a namespace for process ids, where nothing outlives the run. */
const RESTART = 'while :; do "$@"; [ $? = 137 ] || exit 0; done'

export async function createWorld(kind: 'mariadb' | 'mysql', inNamespace: boolean): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-chaos-'))
  process.on('exit', () => {
    if (inNamespace) spawnSync('umount', ['--lazy', join(directory, 'log-disk')])
    rmSync(directory, { recursive: true, force: true })
  })
  const missing: string[] = []
  if (!inNamespace) missing.push('no namespaces: no black holes, killed servers and full log disks')
  if (!FAKETIME) missing.push('no libfaketime: no clock steps')
  if (inNamespace) prepareNamespace(directory)
  const start = kind === 'mysql' ? startMysql : startMariadb
  const server = await start({
    extraConfig: `bind-address=0.0.0.0\nskip-name-resolve=OFF\nmax_connect_errors=1000000\nmax_connections=2000
connect_timeout=120\ninnodb_flush_log_at_trx_commit=2`,
    ...(inNamespace ? { launcher: ['sh', '-c', RESTART, 'sh'] } : {}),
  })
  const zones = inNamespace
    ? [await startDistantAddress(1, server.port), await startDistantAddress(2, server.port)]
    : []
  await server.query(
    `CREATE USER IF NOT EXISTS chaos_bare IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' REQUIRE SSL`,
  )

  const files = await createFiles(directory, server)
  const faked = join(directory, 'clock')
  await writeFile(faked, '+0')
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    AWS_CONFIG_FILE: join(directory, 'aws-config'),
    AWS_PROFILE: 'chaos',
    RUNTIME_DIRECTORY: directory,
    ...(FAKETIME
      ? {
          LD_PRELOAD: FAKETIME,
          FAKETIME_TIMESTAMP_FILE: faked,
          FAKETIME_CACHE_DURATION: '1',
          FAKETIME_DONT_FAKE_MONOTONIC: '1',
        }
      : {}),
  }
  const dialled = inNamespace ? `${DIALLED}:3306` : `127.0.0.1:${server.port}`
  const disk = inNamespace ? join(directory, 'log-disk') : undefined
  const proxies = [
    await startProxy('first', directory, server, dialled, environment, undefined),
    await startProxy('second', directory, server, dialled, environment, disk),
  ]
  const world: World = {
    server,
    proxies,
    zones,
    sources: zones.map(zone => zone.moveSource()),
    password: 'right-password-0',
    missing,
    setClock: FAKETIME ? async seconds => await writeFile(faked, `${seconds < 0 ? '' : '+'}${seconds}`) : undefined,
    setCredentials: files.setCredentials,
    rotateCertificate: files.rotateCertificate,
    async writePassword(password) {
      await files.writePassword(password)
      world.password = password
      world.reload()
    },
    reload() {
      for (const { child } of proxies) child.kill('SIGHUP')
    },
    fillLogDisk: disk
      ? () => {
          const ballast = join(disk, 'ballast')
          try {
            for (;;) appendFileSync(ballast, Buffer.alloc(4_096))
          } catch {}
          return () => rmSync(ballast, { force: true })
        }
      : undefined,
    stallLog() {
      proxies[0]!.child.stdout!.pause()
      return () => proxies[0]!.child.stdout!.resume()
    },
    serverPid: () => Number(readFileSync(join(dirname(server.socketPath), 'server.pid'), 'utf8')),
    killServer: inNamespace ? () => process.kill(world.serverPid(), 'SIGKILL') : undefined,
    async stop() {
      for (const { child } of proxies) {
        if (child.exitCode !== null) continue
        child.kill('SIGTERM')
        await once(child, 'exit')
      }
      for (const zone of zones) zone.stop()
      await server.stop()
    },
  }
  return world
}

/** Names of the two addresses, and a small disk for a log. All of it ends with the mount namespace. */
function prepareNamespace(directory: string): void {
  execFileSync('ip', ['link', 'set', 'lo', 'up'])
  const hosts = join(directory, 'hosts')
  const lines = ZONES.flatMap((zone, index) => [`10.78.${index + 1}.10 ${DIALLED} ${zone}`])
  appendFileSync(hosts, `127.0.0.1 localhost\n${lines.join('\n')}\n`)
  execFileSync('mount', ['--bind', hosts, '/etc/hosts'])
  const disk = join(directory, 'log-disk')
  execFileSync('mkdir', [disk])
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', disk])
}

async function createFiles(directory: string, server: RealServer) {
  let authority: Authority | undefined
  const { longTerm, temporary } = server.keys
  const write = async (name: string, content: string) => {
    // A proxy must not read half a file.
    await writeFile(join(directory, `${name}.new`), content, { mode: 0o600 })
    await rename(join(directory, `${name}.new`), join(directory, name))
  }
  const files = {
    async setCredentials({ fails = false, seconds = 330, temporary: isTemporary = false }) {
      const { accessKeyId, secretAccessKey, sessionToken } = isTemporary ? temporary : longTerm
      const token = sessionToken ? `"SessionToken":"${sessionToken}",` : ''
      const json = `{"Version":1,"AccessKeyId":"${accessKeyId}","SecretAccessKey":"${secretAccessKey}",${token}"Expiration":"'"$(date -u -d "+${seconds} seconds" +%Y-%m-%dT%H:%M:%SZ)"'"}`
      await write('credentials.sh', fails ? 'exit 1\n' : `echo '${json}'\n`)
    },
    writePassword: (password: string) => write('password', password),
    async rotateCertificate() {
      authority ??= await createAuthority('chaos')
      const { certificate, key } = await authority.issue({ names: ['localhost'] })
      await write('tls-key.pem', key)
      await write('tls-cert.pem', certificate)
    },
  }
  await files.setCredentials({})
  await files.writePassword('right-password-0')
  await files.rotateCertificate()
  await write('ca.pem', server.ca)
  await write('aws-config', `[profile chaos]\ncredential_process = sh ${join(directory, 'credentials.sh')}\n`)
  return files
}

async function startProxy(
  name: string,
  directory: string,
  server: RealServer,
  dialled: string,
  environment: NodeJS.ProcessEnv,
  disk: string | undefined,
): Promise<ChaosProxy> {
  const address = async (): Promise<HostPort> => ({ host: '127.0.0.1', port: await freePort() })
  const [open, guarded, bare] = [await address(), await address(), await address()]
  const endpoint = (endpointName: string, { host, port }: HostPort, more: object) => ({
    name: endpointName,
    'rds-endpoint': `${server.rdsHost}:${server.rdsPort}`,
    connect: dialled,
    listen: `${host}:${port}`,
    ca: [join(directory, 'ca.pem')],
    // A busy machine must not fail a login.
    'connect-timeout': '60s',
    'greeting-timeout': '90s',
    'login-timeout': '90s',
    'max-logins-per-second': 100_000,
    'tcp-user-timeout': `${TCP_USER_TIMEOUT_MS}ms`,
    'client-write-timeout': '10s',
    ...more,
  })
  const config = {
    endpoints: [
      endpoint('open', open, {}),
      endpoint('guarded', guarded, {
        'tls-cert': join(directory, 'tls-cert.pem'),
        'tls-key': join(directory, 'tls-key.pem'),
        'local-users': [{ name: 'local', user: 'iam_user', 'password-file': join(directory, 'password') }],
      }),
      endpoint('bare', bare, { user: 'chaos_bare' }),
    ],
  }
  await mkdir(join(directory, name))
  const file = join(directory, name, 'config.json')
  await writeFile(file, JSON.stringify(config))
  const built = fileURLToPath(new URL('../dist/bin/mysql-iam-proxy.js', import.meta.url))
  const [command, ...words] = process.env[programVariable] ? PROGRAM : [process.execPath, built]
  const logFile = disk && join(disk, 'log')
  const child = spawn(command, [...words, '--config', file, '--log-format', 'json'], {
    env: environment,
    stdio: ['ignore', logFile ? openSync(logFile, 'a') : 'pipe', 'inherit'],
  })
  process.on('exit', () => child.kill('SIGKILL'))
  let text = ''
  child.stdout?.setEncoding('utf8').on('data', (data: string) => {
    text += data
  })
  const takeLog = () => {
    const taken = logFile ? readFileSync(logFile, 'utf8') : text
    if (logFile) truncateSync(logFile)
    text = ''
    return taken
  }
  let started = ''
  while ((started.match(/listening on/g)?.length ?? 0) < 3) {
    if (child.exitCode !== null) throw new Error(`the proxy did not start: ${started}`)
    await sleep(50)
    started += takeLog()
  }
  return { name, child, open, guarded, bare, takeLog }
}

/** How many TCP connections of this namespace have one of these local IPv4 addresses. */
export function countFrom(addresses: readonly string[]): number {
  const keys = addresses.map(address => Buffer.from(address.split('.').map(Number)).reverse().toString('hex'))
  const established = readFileSync('/proc/net/tcp', 'latin1').matchAll(/^ *\d+: (.{8}):\S+ \S+ 01 /gm)
  return [...established].filter(([, local = '']) => keys.includes(local.toLowerCase())).length
}

/** Resident memory and open descriptors of a process. */
export function usage(pid: number): { megabytes: number; descriptors: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const megabytes = Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024
  return { megabytes, descriptors: readdirSync(`/proc/${pid}/fd`).length }
}
