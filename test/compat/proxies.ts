/** The proxy as users run it, with one process per route. */
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
 * @param scratch a directory for passwords, certificates and sockets
 */
export async function startProxies(server: Server, program: string[], scratch: string): Promise<Proxies> {
  const addresses: Proxies['addresses'] = {}
  const missing: Route[] = []
  const stops: (() => Promise<void>)[] = []
  const has = (...names: string[]) => names.every(name => (optionNames as string[]).includes(name))

  async function add(route: Route, flags: string[], more: Partial<Address> = {}): Promise<void> {
    const address = { host: '127.0.0.1', port: await freePort(), ...more }
    const listen = address.socket ? `unix:${address.socket}` : formatHostPort(address)
    stops.push(await startProxy(server, [...program, '--listen', listen, ...flags], address))
    addresses[route] = address
  }

  const passwordFile = join(scratch, 'local-password')
  await writeFile(passwordFile, LOCAL_PASSWORD, { mode: 0o600 })
  const users = ['--local-user', LOCAL_USER, '--local-password-file', passwordFile, '--user', server.iamUsers[0]]
  try {
    await add('plain', [])
    await add('short keepalive', ['--keepalive', `${SHORT_KEEPALIVE_MS}ms`])
    if (has('local-user', 'local-password-file')) await add('local user', users)
    else missing.push('local user')
    if (has('tls-cert', 'tls-key', 'require-tls')) {
      const { flags, ca, cafile } = await makeCertificate(scratch)
      await add('local TLS', [...users, ...flags, '--require-tls'], { ca, cafile })
    } else missing.push('local TLS')
    if (has('local-user')) await add('unix socket', [], { socket: join(scratch, 'proxy.sock') })
    else missing.push('unix socket')
  } catch (error) {
    await stopAll()
    throw error
  }

  async function stopAll(): Promise<void> {
    await Promise.all(stops.map(stop => stop()))
  }
  return { addresses, missing, stop: stopAll }
}

async function makeCertificate(scratch: string): Promise<{ flags: string[]; ca: string; cafile: string }> {
  const authority = await createAuthority('compatibility test authority')
  const { certificate, key } = await authority.issue({ names: ['127.0.0.1', 'localhost'] })
  const cafile = join(scratch, 'local-ca.pem')
  await writeFile(cafile, authority.certificate)
  await writeFile(join(scratch, 'local.pem'), certificate)
  await writeFile(join(scratch, 'local-key.pem'), key, { mode: 0o600 })
  const flags = ['--tls-cert', join(scratch, 'local.pem'), '--tls-key', join(scratch, 'local-key.pem')]
  return { flags, ca: authority.certificate, cafile }
}

async function startProxy(server: Server, command: string[], address: Address): Promise<() => Promise<void>> {
  const [program = '', ...flags] = command
  const args = [...flags, '--rds-endpoint', formatHostPort(server.rds), '--connect', formatHostPort(server)]
  args.push('--ca', server.caFile, '--log-level', 'error')
  if (server.profile) args.push('--profile', server.profile)
  const { credentials } = server
  // The proxy would read each inherited MYSQL_IAM_PROXY_… variable as an option.
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('MYSQL_IAM_PROXY_'))
  const child = spawn(program, args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      ...Object.fromEntries(inherited),
      ...(credentials && {
        AWS_ACCESS_KEY_ID: credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        AWS_SESSION_TOKEN: credentials.sessionToken,
        AWS_PROFILE: undefined,
      }),
    },
  })
  running.add(child)
  const exit = once(child, 'exit')
  const deadline = performance.now() + 120_000
  const listening = address.socket ? { path: address.socket } : address
  while (!(await isListening(listening))) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`no proxy with ${args.join(' ')}`)
    await sleep(50)
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
