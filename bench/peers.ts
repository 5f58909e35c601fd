/** The peers of a comparison (this proxy, MySQL Router, HAProxy and no proxy): start, stop, and resource usage. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { formatHostPort, type HostPort, regionOf } from '../src/endpoint.ts'
import { freePort } from '../test/support/free-port.ts'
import { findProgram } from '../test/support/packages.ts'
import type { BareTask } from './bare-proxy.ts'
import type { Route } from './client.ts'
import type { Server } from './server.ts'

export const PROXY = 'mysql-iam-proxy'
export const ROUTER = 'MySQL Router'
export const HAPROXY = 'HAProxy'
export const BARE = 'bare script'
export const DIRECT_TLS = 'direct TLS'
export const DIRECT_PLAIN = 'direct plain'

/** One row of a table. */
export interface Peer {
  name: string
  /** undefined if the peer is unavailable */
  route?: Route
  /** why the peer is unavailable */
  missing?: string
  /** the process between client and server, if it is on this machine */
  pid?: number
  /** from spawn to listening, in milliseconds */
  startedIn?: number
  stop(): Promise<void>
}

export interface PeerSettings {
  server: Server
  /** a directory for temporary files */
  scratch: string
  /** a running Router to use; otherwise one is started */
  router?: HostPort | undefined
}

const START_TIMEOUT_MS = 20_000
export const proxyProgram = fileURLToPath(new URL('../dist/bin/mysql-iam-proxy.js', import.meta.url))

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts all peers, in the order of the tables. */
export async function startPeers(settings: PeerSettings): Promise<Peer[]> {
  const { server } = settings
  const direct = { host: server.host, port: server.port, ...server.account }
  return [
    await startProxy(settings),
    await startRouter(settings),
    await startHaproxy(settings),
    { name: DIRECT_TLS, route: { name: DIRECT_TLS, ...direct, tls: server.tls }, stop },
    { name: DIRECT_PLAIN, route: { name: DIRECT_PLAIN, ...direct }, stop },
  ]
}

/** @param dial the address to connect to; the server by default. @param more further options */
export async function startProxy(
  { server, scratch }: PeerSettings,
  dial: HostPort = server,
  more: string[] = [],
): Promise<Peer> {
  const { accessKeyId, secretAccessKey, sessionToken } = server.credentials
  const address = { host: '127.0.0.1', port: await freePort() }
  const args = ['--rds-endpoint', formatHostPort(server.rds), '--connect', formatHostPort(dial)]
  args.push('--ca', server.caFile, '--listen', formatHostPort(address), '--max-logins-per-second', '0', ...more)
  const started = await start(process.execPath, [proxyProgram, ...args], address.port, {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
    AWS_PROFILE: undefined,
    // `mysql-iam-proxy stop` of somebody else on this machine must not find it.
    RUNTIME_DIRECTORY: scratch,
  })
  return { name: PROXY, route: { name: PROXY, ...address, user: server.iamUser, password: '' }, ...started }
}

export async function startRouter({ server, scratch, router }: PeerSettings): Promise<Peer> {
  const route = (address: HostPort) => ({ name: ROUTER, ...address, ...server.account })
  if (router) {
    const pid = pidListeningOn(router.port)
    return { name: ROUTER, route: route(router), ...(pid ? { pid } : {}), stop }
  }
  const program = findProgram('mysqlrouter')
  if (!program) return { name: ROUTER, missing: 'not installed', stop }
  const directory = await mkdtemp(join(scratch, 'router-'))
  const address = { host: '127.0.0.1', port: await freePort() }
  const config = join(directory, 'router.conf')
  await writeFile(
    config,
    `[DEFAULT]
logging_folder=${directory}
runtime_folder=${directory}
data_folder=${directory}
max_total_connections=6000
[logger]
level=warning
[routing:bench]
bind_address=${address.host}
bind_port=${address.port}
destinations=${formatHostPort(server)}
routing_strategy=first-available
protocol=classic
max_connections=6000
max_connect_errors=1000000
client_ssl_mode=DISABLED
server_ssl_mode=REQUIRED
server_ssl_ca=${server.caFile}
server_ssl_verify=VERIFY_CA
`,
  )
  return { name: ROUTER, route: route(address), ...(await start(program, ['-c', config], address.port)) }
}

export async function startHaproxy({ server, scratch }: PeerSettings): Promise<Peer> {
  const program = findProgram('haproxy')
  if (!program) return { name: HAPROXY, missing: 'not installed', stop }
  const address = { host: '127.0.0.1', port: await freePort() }
  const config = join(scratch, 'haproxy.cfg')
  await writeFile(
    config,
    `global
  maxconn 6000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind ${formatHostPort(address)}
  server bench ${formatHostPort(server)}
`,
  )
  const started = await start(program, ['-db', '-f', config], address.port)
  return { name: HAPROXY, route: { name: HAPROXY, ...address, ...server.account }, ...started }
}

/** The least that a proxy has to do for a login, on the same Node.js. */
export async function startBareProxy({ server }: PeerSettings): Promise<Peer> {
  const { host, port, rds, tls, iamUser: user, credentials } = server
  const address = { host: '127.0.0.1', port: await freePort() }
  const signed = { ...rds, region: regionOf(rds.host)! }
  const task: BareTask = { listen: address, server: { host, port }, tls, rds: signed, user, credentials }
  const program = fileURLToPath(new URL('bare-proxy.ts', import.meta.url))
  const started = await start(process.execPath, ['--import=tsx', program], address.port, {
    BARE_TASK: JSON.stringify(task),
  })
  return { name: BARE, route: { name: BARE, ...address, user, password: '' }, ...started }
}

export async function stopPeers(peers: Peer[]): Promise<void> {
  await Promise.all(peers.map(peer => peer.stop()))
}

async function stop(): Promise<void> {}

/** Starts a program that listens on `port`, and waits until it does. */
async function start(
  program: string,
  args: string[],
  port: number,
  environment: NodeJS.ProcessEnv = {},
): Promise<Required<Pick<Peer, 'pid' | 'startedIn' | 'stop'>>> {
  const spawned = performance.now()
  const child = spawn(program, args, { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk).slice(-2_000)
    })
  }
  const exit = once(child, 'exit')
  exit.then(() => running.delete(child)).catch(() => running.delete(child))
  const deadline = spawned + START_TIMEOUT_MS
  while (!inodeListeningOn(port)) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`${program} did not start:\n${output}`)
    await sleep(1)
  }
  return {
    pid: child.pid!,
    startedIn: performance.now() - spawned,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGTERM')
      const kill = setTimeout(() => child.kill('SIGKILL'), 3_000)
      await exit
      clearTimeout(kill)
    },
  }
}

export function versionOf(name: string): string | undefined {
  const program = findProgram(name)
  if (!program) return undefined
  const text = execFileSync(program, [name === 'haproxy' ? '-v' : '--version'], { encoding: 'utf8' })
  return /\d+(\.\d+)+/.exec(text)?.[0]
}

/** Runs `npm run build` if dist/ is missing or older than the sources. */
export function buildIfStale(): void {
  const root = fileURLToPath(new URL('..', import.meta.url))
  const newest = ['src', 'bin'].flatMap(directory => modified(join(root, directory)))
  const built = existsSync(proxyProgram) ? modified(join(root, 'dist')) : []
  if (Math.max(...newest) > Math.max(0, ...built)) {
    execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: ['ignore', 2, 2] })
  }
}

function modified(directory: string): number[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map(name => statSync(join(directory, name)))
    .filter(file => file.isFile())
    .map(file => file.mtimeMs)
}

// ---- resource usage of a process, from /proc of Linux ----

export interface Usage {
  /** user and system */
  cpuSeconds: number
  residentMB: number
  /** since `forgetPeak`, or its start */
  peakMB: number
}

const TICKS_PER_SECOND = 100

export function usageOf(pid: number): Usage {
  // The name in parentheses may contain any characters.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const megabytes = (name: string) => (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024) / 1e6
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    residentMB: megabytes('VmRSS'),
    peakMB: megabytes('VmHWM'),
  }
}

/** Resets the peak memory of a process that ran before. */
export function forgetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5')
  } catch {} // a process of another user keeps its peak
}

const LISTEN = '0A'

function inodeListeningOn(port: number): string | undefined {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    if (!existsSync(file)) continue
    for (const line of readFileSync(file, 'utf8').split('\n').slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
      if (state === LISTEN && local?.endsWith(wanted)) return inode
    }
  }
  return undefined
}

function pidListeningOn(port: number): number | undefined {
  const socket = `socket:[${inodeListeningOn(port)}]`
  return readdirSync('/proc')
    .map(Number)
    .filter(pid => pid > 0)
    .find(pid => openFiles(pid).includes(socket))
}

function openFiles(pid: number): string[] {
  const directory = `/proc/${pid}/fd`
  try {
    return readdirSync(directory).map(file => readlinkSync(join(directory, file)))
  } catch {
    return [] // the process has exited or belongs to another user
  }
}
