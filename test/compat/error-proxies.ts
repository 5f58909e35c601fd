/** Proxies that are in the situations of the page's part on errors, and servers that send errors without a proxy. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import mysql from 'mysql2/promise'
import { formatHostPort } from '../../src/endpoint.ts'
import { ProxyError, toERR_Packet } from '../../src/errors.ts'
import * as flags from '../../src/protocol/capabilities.ts'
import { encodeERR_Packet, encodeHandshakeV10 } from '../../src/protocol/packets.ts'
import { freePort } from '../support/free-port.ts'
import { packet, takeBytes } from '../support/scripted-upstream.ts'
import { SSO_PROFILE, START_URL } from '../support/sso-profile.ts'
import type { Route, Situation } from './behaviours.ts'
import { type Address, endpointOf, environmentOf, LOCAL_USER, type Proxies, startProxy } from './proxies.ts'
import type { Server } from './servers.ts'
import type { Expected } from './shown.ts'

/** One process, with an endpoint for each of these. They do not pause logins, so that each client gets the same error. */
const OF_ONE_PROCESS = [
  'port closed',
  'DNS unknown',
  'no credentials',
  'SSO expired',
  'wrong certificate name',
  'unknown CA',
] as const

export interface ErrorProxies {
  addresses: Partial<Record<Route, Address>>
  /** Stops the proxy of the shutdown. */
  stopForShutdown(): Promise<void>
  /** Starts it again if it is stopped. */
  startAfterShutdown(): Promise<void>
  stop(): Promise<void>
}

/**
 * @param program how to start the proxy
 * @param tooMany a proxy that takes one connection
 * @param scratch a directory for their configuration
 */
export async function startErrorProxies(
  server: Server,
  program: readonly string[],
  tooMany: Address,
  scratch: string,
): Promise<ErrorProxies> {
  const addresses: ErrorProxies['addresses'] = {}
  for (const route of [...OF_ONE_PROCESS, 'shutdown'] as const) {
    addresses[route] = { host: '127.0.0.1', port: await freePort() }
  }
  const home = join(scratch, 'home')
  await writeAwsFiles(home)
  const file = join(scratch, 'errors.yaml')
  await writeFile(file, JSON.stringify({ endpoints: await endpointsOf(server, addresses) }))
  const fileOfShutdown = join(scratch, 'shutdown.yaml')
  const endpoint = { ...endpointOf(server), listen: formatHostPort(addresses.shutdown!) }
  await writeFile(fileOfShutdown, JSON.stringify({ endpoints: [endpoint] }))

  const stop = await startProxy(
    [...program, '--config', file],
    OF_ONE_PROCESS.map(route => addresses[route]!),
    withoutCredentials(home),
    true,
  )
  const holder = await holdOnlyPlace(tooMany, server.iamUsers[0])
  let stopShutdown: (() => Promise<void>) | undefined
  const stopForShutdown = async () => {
    await stopShutdown?.()
    stopShutdown = undefined
  }
  return {
    addresses,
    stopForShutdown,
    async startAfterShutdown() {
      const command = [...program, '--config', fileOfShutdown]
      stopShutdown ??= await startProxy(command, [addresses.shutdown!], environmentOf(server))
    },
    async stop() {
      holder.destroy()
      await Promise.all([stop(), stopForShutdown()])
    },
  }
}

function withoutCredentials(home: string): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter(name => name.startsWith('AWS_'))
  const environment = Object.fromEntries(names.map(name => [name, undefined]))
  return { ...environment, HOME: home, AWS_EC2_METADATA_DISABLED: 'true' }
}

/** Retries while the connection that found out that the proxy listens is still open. */
async function holdOnlyPlace({ host, port }: Address, user: string): Promise<mysql.Connection> {
  for (;;) {
    try {
      const holder = await mysql.createConnection({ host, port, user, connectTimeout: 120_000 })
      holder.on('error', () => {})
      return holder
    } catch (error) {
      if ((error as { errno?: number }).errno !== 1040) throw error
      await sleep(50)
    }
  }
}

async function endpointsOf(server: Server, addresses: ErrorProxies['addresses']): Promise<object[]> {
  const good = { ...endpointOf(server), profile: undefined }
  const differences: Record<(typeof OF_ONE_PROCESS)[number], object> = {
    'port closed': { connect: `127.0.0.1:${await freePort()}` },
    'DNS unknown': { connect: 'no-such-host.invalid:3306' },
    'no credentials': {},
    'SSO expired': { profile: 'dev' },
    'wrong certificate name': {
      profile: 'keys',
      'rds-endpoint': formatHostPort({ ...server.rds, host: `another-${server.rds.host}` }),
    },
    'unknown CA': { profile: 'keys', ca: undefined },
  }
  return OF_ONE_PROCESS.map(route => ({
    name: route.replaceAll(' ', '-'),
    ...good,
    listen: formatHostPort(addresses[route]!),
    // 0 also turns off the pause after failed logins.
    'max-logins-per-second': 0,
    ...differences[route],
  }))
}

/** A profile whose `aws sso login` has expired, and one with an access key that no token is sent with. */
async function writeAwsFiles(home: string): Promise<void> {
  const cache = join(home, '.aws', 'sso', 'cache')
  await mkdir(cache, { recursive: true })
  await writeFile(join(home, '.aws', 'config'), SSO_PROFILE)
  await writeFile(
    join(home, '.aws', 'credentials'),
    '[keys]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example\n',
  )
  const token = { accessToken: 'example', expiresAt: '2020-01-01T00:00:00Z', region: 'us-east-1', startUrl: START_URL }
  await writeFile(join(cache, `${createHash('sha1').update('corp').digest('hex')}.json`), JSON.stringify(token))
}

/** The errors as the proxy sends them, asked for with mysql2. */
export async function expectedErrors(proxies: Proxies['addresses']): Promise<Map<Situation, Expected>> {
  const stopping = new ProxyError('PROXY_STOPPING', 'the proxy is being stopped')
  const expected = new Map<Situation, Expected>([['shutdown', toERR_Packet(stopping, {})]])
  for (const situation of [...OF_ONE_PROCESS, 'too many connections'] as const) {
    expected.set(situation, await errorOf(proxies[situation]!, 'iam_user', ''))
  }
  expected.set('wrong local password', await errorOf(proxies['local user']!, LOCAL_USER, 'wrong'))
  return expected
}

async function errorOf({ host, port }: Address, user: string, password: string): Promise<Expected> {
  try {
    const connection = await mysql.createConnection({ host, port, user, password, connectTimeout: 120_000 })
    connection.destroy()
  } catch (error) {
    const { errno = 0, sqlMessage = '' } = error as { errno?: number; sqlMessage?: string }
    // Each connection has its own session.
    const message = sqlMessage.replace(/ \(session [\w-]+\)$/, '')
    if (message.startsWith('mysql-iam-proxy: ')) return { errno, message }
    throw error
  }
  throw new Error(`the proxy at port ${port} accepts the login`)
}

// ---- without a proxy ----

/** As long as an error of the proxy. */
const DIRECT: Expected = {
  errno: 1105,
  message: `direct: the server cannot log you in. ${'It says why, and what to do about it. '.repeat(6)}Then retry.`,
}

export interface DirectErrors {
  addresses: Partial<Record<Route, Address>>
  expected: Map<Situation, Expected>
  stop(): Promise<void>
}

/** Servers that send an ERR_Packet instead of a greeting, or at the end of a login. */
export async function startDirectErrors(server: Server): Promise<DirectErrors> {
  const first = await startServer(socket => {
    socket.end(packet(encodeERR_Packet({ ...DIRECT, sqlState: undefined }), 0))
  })
  const atLogin = await startServer(async socket => {
    socket.write(packet(GREETING, 0))
    const header = await takeBytes(socket, 4)
    if (header.length < 4) return
    await takeBytes(socket, header.readUIntLE(0, 3))
    socket.end(packet(encodeERR_Packet({ ...DIRECT, sqlState: '08004' }), header[3]! + 1))
  })
  const addresses: DirectErrors['addresses'] = {}
  const expected = new Map<Situation, Expected>()
  for (const situation of ['port closed', 'DNS unknown', 'too many connections'] as const) {
    addresses[situation] = first.address
    expected.set(situation, DIRECT)
  }
  for (const situation of ['no credentials', 'SSO expired', 'wrong certificate name', 'unknown CA'] as const) {
    addresses[situation] = atLogin.address
    expected.set(situation, DIRECT)
  }
  expected.set('wrong local password', { errno: 1045, message: 'Access denied for user' })
  addresses.shutdown = { host: server.host, port: server.port }
  // What MariaDB sends to a session that KILL ends. MySQL only closes the connection.
  expected.set('shutdown', { errno: 1927, message: 'Connection was killed' })
  return {
    addresses,
    expected,
    async stop() {
      await Promise.all([first.stop(), atLogin.stop()])
    },
  }
}

const GREETING = encodeHandshakeV10({
  serverVersion: '8.0.39',
  threadId: 4711,
  salt: Buffer.from('abcdefghijklmnopqrst'),
  capabilities:
    flags.CLIENT_LONG_PASSWORD |
    flags.CLIENT_CONNECT_WITH_DB |
    flags.CLIENT_PROTOCOL_41 |
    flags.CLIENT_TRANSACTIONS |
    flags.CLIENT_SECURE_CONNECTION |
    flags.CLIENT_MULTI_RESULTS |
    flags.CLIENT_PLUGIN_AUTH |
    flags.CLIENT_CONNECT_ATTRS |
    flags.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
  charset: 45,
  status: 2,
  mariadbCapabilities: 0,
  authPlugin: 'mysql_native_password',
})

async function startServer(serve: (socket: Socket) => void): Promise<{ address: Address; stop(): Promise<void> }> {
  const listener = createServer({ noDelay: true }, socket => {
    socket.on('error', () => {})
    serve(socket)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    address: { host: '127.0.0.1', port: (listener.address() as AddressInfo).port },
    async stop() {
      listener.close()
    },
  }
}
