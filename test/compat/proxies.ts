/** The proxy as users run it, with an endpoint per route. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { optionNames } from '../../src/config/options.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { formatHostPort } from '../../src/endpoint.ts'
import { isListening } from '../../src/net/listen.ts'
import { freePort } from '../support/free-port.ts'
import { type Route, SHORT_KEEPALIVE_MS } from './behaviours.ts'
import type { Server } from './servers.ts'

/** The address and account for a client program. */
export interface Target {
  host: string
  port: number
  user: string
  password: string
  database: string
  /** a unix socket, instead of host and port */
  socket?: string
  /** PEM: log in over TLS, and verify the certificate and the host's name */
  ca?: string
  /** the same as a file */
  cafile?: string
}

export type Address = Pick<Target, 'host' | 'port' | 'socket' | 'ca' | 'cafile'>

export interface Proxies {
  addresses: Partial<Record<Route, Address>>
  /** routes that this version of the proxy does not support */
  missing: Route[]
  stop(): Promise<void>
}

export const LOCAL_USER = 'local_user'
// ASCII, because PyMySQL and others support nothing else in a password.
export const LOCAL_PASSWORD = 'local $password"\'; `#%@:/?'

/** Starts the result of `npm run build`. */
export const builtProxy = [
  process.execPath,
  fileURLToPath(new URL('../../dist/bin/mysql-iam-proxy.js', import.meta.url)),
]
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/**
 * @param program how to start the proxy
 * @param scratch a directory for the configuration, passwords, certificates and sockets
 */
export async function startProxies(server: Server, program: readonly string[], scratch: string): Promise<Proxies> {
  const addresses: Proxies['addresses'] = {}
  const missing: Route[] = []
  const endpoints: object[] = []
  const has = (...names: string[]) => names.every(name => (optionNames as string[]).includes(name))

  async function add(route: Route, options: object, more: Partial<Address> = {}): Promise<void> {
    const address = { host: '127.0.0.1', port: await freePort(), ...more }
    const listen = address.socket ? `unix:${address.socket}` : formatHostPort(address)
    endpoints.push({ name: route.replaceAll(' ', '-'), ...endpointOf(server), listen, ...options })
    addresses[route] = address
  }

  const passwordFile = join(scratch, 'local-password')
  await writeFile(passwordFile, LOCAL_PASSWORD, { mode: 0o600 })
  const users = { 'local-user': LOCAL_USER, 'local-password-file': passwordFile, user: server.iamUsers[0] }
  await add('plain', {})
  await add('short keepalive', { keepalive: `${SHORT_KEEPALIVE_MS}ms` })
  await add('too many connections', { 'max-connections': 1 })
  if (has('local-user', 'local-password-file')) await add('local user', users)
  else missing.push('local user')
  if (has('tls-cert', 'tls-key', 'require-tls')) {
    const { options, ca, cafile } = await makeCertificate(scratch)
    await add('local TLS', { ...users, ...options, 'require-tls': true }, { ca, cafile })
  } else missing.push('local TLS')
  if (has('local-user')) await add('unix socket', {}, { socket: join(scratch, 'proxy.sock') })
  else missing.push('unix socket')

  const file = join(scratch, 'proxies.yaml')
  await writeFile(file, JSON.stringify({ endpoints }))
  const stop = await startProxy([...program, '--config', file], Object.values(addresses), environmentOf(server))
  return { addresses, missing, stop }
}

/** What the endpoints of all routes have in common. */
export function endpointOf(server: Server): object {
  return {
    'rds-endpoint': formatHostPort(server.rds),
    connect: formatHostPort(server),
    ca: server.caFile,
    ...(server.profile ? { profile: server.profile } : {}),
  }
}

/** The credentials of the proxy, for its environment. */
export function environmentOf({ credentials }: Server): NodeJS.ProcessEnv {
  if (!credentials) return {}
  return {
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_SESSION_TOKEN: credentials.sessionToken,
    AWS_PROFILE: undefined,
  }
}

async function makeCertificate(scratch: string): Promise<{ options: object; ca: string; cafile: string }> {
  const authority = await createAuthority('compatibility test authority')
  const { certificate, key } = await authority.issue({ names: ['127.0.0.1', 'localhost'] })
  const cafile = join(scratch, 'local-ca.pem')
  await writeFile(cafile, authority.certificate)
  await writeFile(join(scratch, 'local.pem'), certificate)
  await writeFile(join(scratch, 'local-key.pem'), key, { mode: 0o600 })
  const options = { 'tls-cert': join(scratch, 'local.pem'), 'tls-key': join(scratch, 'local-key.pem') }
  return { options, ca: authority.certificate, cafile }
}

/**
 * @param addresses that it listens on
 * @param environment changes of this process's
 * @param isQuiet true to drop its log, for a proxy that is there for its errors
 */
export async function startProxy(
  command: string[],
  addresses: Address[],
  environment: NodeJS.ProcessEnv,
  isQuiet = false,
): Promise<() => Promise<void>> {
  const [program = '', ...args] = command
  // The proxy would read each inherited MYSQL_IAM_PROXY_… variable as an option.
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('MYSQL_IAM_PROXY_'))
  const child = spawn(program, [...args, '--log-level', 'error'], {
    stdio: isQuiet ? 'ignore' : ['ignore', 'inherit', 'inherit'],
    env: { ...Object.fromEntries(inherited), ...environment },
  })
  running.add(child)
  const exit = once(child, 'exit')
  const deadline = performance.now() + 120_000
  for (const address of addresses) {
    const listening = address.socket ? { path: address.socket } : address
    while (!(await isListening(listening))) {
      if (child.exitCode !== null || performance.now() > deadline) throw new Error(`no proxy with ${args.join(' ')}`)
      await sleep(50)
    }
  }
  return async () => {
    child.kill('SIGTERM')
    // Killed clients may leave sessions open. SIGKILL does not wait for them.
    const timer = setTimeout(() => child.kill('SIGKILL'), 3_000)
    await exit
    clearTimeout(timer)
    running.delete(child)
  }
}
