/** For tests of sessions: a proxy in front of a real server, and a client that sends and reads single packets. */
import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import mysql from 'mysql2/promise'
import type { HostPort, Logger } from '../../src/index.ts'
import {
  ERR,
  encodeHandshakeResponse41,
  type HandshakeV10,
  OK,
  parseERR_Packet,
  parseHandshakeV10,
} from '../../src/protocol/packets.ts'
import { createProxy, type ProxyOptions } from '../../src/proxy/proxy.ts'
import { PLAIN_CLIENT } from './capabilities.ts'
import type { RealServer } from './mariadb.ts'
import { optionsOfRun } from './modes.ts'

export interface LogLine {
  level: keyof Logger
  message: string
  fields: Record<string, unknown>
}

/** A listening proxy in front of a real server. */
export interface TestProxy extends HostPort {
  close(delay?: number): Promise<void>
  /** its log lines so far */
  log: LogLine[]
  state: ReturnType<typeof createProxy>['state']
}

/** Starts a proxy, which closes when the test ends. */
export async function startProxy(
  t: { teardown(stop: () => Promise<void>): unknown },
  server: RealServer,
  options: Partial<ProxyOptions> = {},
): Promise<TestProxy> {
  const log: LogLine[] = []
  const say = (level: LogLine['level']) => (fields: object, message: string) => {
    log.push({ level, message, fields: { ...fields } })
  }
  const proxy = createProxy({
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    listen: '127.0.0.1:0',
    credentials: server.keys.longTerm,
    ca: [server.ca],
    // A busy machine must not fail a login.
    connectTimeout: 60_000,
    loginTimeout: 120_000,
    ...optionsOfRun,
    logger: { error: say('error'), warn: say('warn'), info: say('info'), debug: say('debug') },
    ...options,
  })
  const address = await proxy.listen()
  t.teardown(() => proxy.close())
  return { ...address, close: delay => proxy.close(delay), log, state: proxy.state }
}

/** mysql2 through the proxy, as iam_user without a password unless `options` say otherwise. */
export function connect(
  { host, port }: HostPort,
  options: Partial<mysql.ConnectionOptions> = {},
): Promise<mysql.Connection> {
  return mysql.createConnection({ host, port, user: 'iam_user', ...options })
}

/** mysql2 directly to the server, as the account with a password. */
export function connectDirectly(
  { host, port }: RealServer,
  options: Partial<mysql.ConnectionOptions> = {},
): Promise<mysql.Connection> {
  return mysql.createConnection({ host, port, user: 'app', password: 'app-pw', ...options })
}

/** The first column of the first row. */
export async function value(connection: mysql.Connection, sql: string, values: unknown[] = []): Promise<unknown> {
  const [rows] = await connection.query<mysql.RowDataPacket[]>({ sql, values })
  return Object.values(rows[0]!)[0]
}

/** Waits until `condition` is true. The limit is for a test that hangs, so it is long. @throws after `timeout` milliseconds */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeout = 120_000,
): Promise<void> {
  const deadline = performance.now() + timeout
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeout} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

// ---- packet by packet ----

export const COM_INIT_DB = 0x02
export const COM_QUERY = 0x03
export const COM_PING = 0x0e
export const COM_RESET_CONNECTION = 0x1f

const EOF = 0xfe
const HEADER_LENGTH = 4

/** A socket that reads only on request. Without requests it buffers little and then stops. */
export interface RawClient {
  socket: Socket
  greeting: HandshakeV10
}

/** Connects and reads the greeting. */
export async function connectRaw({ host, port }: HostPort): Promise<RawClient> {
  const socket = connectTcp({ host, port, allowHalfOpen: true, noDelay: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  // It would stay half open after the other side has refused it.
  return orDestroy(socket, async () => ({ socket, greeting: parseHandshakeV10(await readPacket(socket)) }))
}

async function orDestroy<T>(socket: Socket, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** Connects and logs in as iam_user without a password. */
export async function logInRaw(address: HostPort): Promise<RawClient> {
  const client = await connectRaw(address)
  client.socket.write(loginPacket(client))
  await orDestroy(client.socket, async () => expectOK(await readPacket(client.socket)))
  return client
}

/** A HandshakeResponse41 as iam_user without a password. @param more flags beside those of a plain client */
export function loginPacket({ greeting }: RawClient, more = 0): Buffer {
  const response = encodeHandshakeResponse41({
    capabilities: PLAIN_CLIENT | more,
    maxPacketSize: 1 << 30,
    charset: 45, // utf8mb4_general_ci
    reserved: Buffer.alloc(23),
    user: Buffer.from('iam_user'),
    authResponse: Buffer.alloc(0),
    database: undefined,
    authPlugin: greeting.authPlugin,
    attributes: undefined,
    zstdLevel: undefined,
  })
  return framePacket(response, 1)
}

export function sendPacket(socket: Socket, payload: Buffer, sequence: number): void {
  socket.write(framePacket(payload, sequence))
}

function framePacket(payload: Buffer, sequence: number): Buffer {
  const header = Buffer.alloc(HEADER_LENGTH)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, payload])
}

export function sendCommand({ socket }: RawClient, command: number, argument = ''): void {
  sendPacket(socket, Buffer.concat([Buffer.of(command), Buffer.from(argument)]), 0)
}

/** For commands whose answer is a single packet. @throws the error of an ERR_Packet */
export async function runCommand(client: RawClient, command: number, argument = ''): Promise<void> {
  sendCommand(client, command, argument)
  expectOK(await readPacket(client.socket))
}

/**
 * Sends a query whose rows have one column, and reads them one by one.
 * @throws the error of an ERR_Packet
 */
export async function* queryRaw(client: RawClient, sql: string): AsyncGenerator<Buffer, void> {
  sendCommand(client, COM_QUERY, sql)
  yield* readRows(client)
}

/** The answer to a sent query, up to its last packet. */
export async function* readRows({ socket }: RawClient): AsyncGenerator<Buffer, void> {
  const columns = expectNoError(await readPacket(socket))
  if (columns.length !== 1 || columns[0] !== 1) throw new Error('not a result set of one column')
  await readPacket(socket)
  if (!isEOF(await readPacket(socket))) throw new Error('no EOF_Packet after the columns')
  for (;;) {
    const packet = expectNoError(await readPacket(socket))
    if (isEOF(packet)) return
    yield textOf(packet)
  }
}

/** The payload of the next packet. @throws if the connection ends first */
export async function readPacket(socket: Socket): Promise<Buffer> {
  const header = await readBytes(socket, HEADER_LENGTH)
  const length = header.readUIntLE(0, 3)
  return length === 0 ? Buffer.alloc(0) : await readBytes(socket, length)
}

/** The next bytes. @throws if the connection ends first */
// One listener until all bytes are there: 'readable' fires at once for each new listener.
export function readBytes(socket: Socket, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const attempt = () => {
      const bytes: Buffer | null = socket.read(length)
      const isOver = bytes !== null || socket.readableEnded || socket.destroyed
      if (!isOver) return
      socket.off('readable', attempt).off('end', attempt).off('close', attempt)
      if (bytes?.length === length) resolve(bytes)
      else reject(new Error(`the connection ended ${length - (bytes?.length ?? 0)} bytes short of what was to be read`))
    }
    socket.on('readable', attempt).on('end', attempt).on('close', attempt)
    attempt()
  })
}

/** @throws the error of an ERR_Packet */
export function expectOK(packet: Buffer): void {
  if (expectNoError(packet)[0] !== OK) throw new Error(`neither OK_Packet nor ERR_Packet: ${packet[0]}`)
}

function expectNoError(packet: Buffer): Buffer {
  if (packet[0] !== ERR) return packet
  const { errno, sqlState, message } = parseERR_Packet(packet)
  throw Object.assign(new Error(message), { errno, sqlState })
}

function isEOF(packet: Buffer): boolean {
  return packet[0] === EOF && packet.length < 9
}

/** The only value of a row of the text protocol. */
function textOf(row: Buffer): Buffer {
  const lengthBytes = { 252: 2, 253: 3, 254: 8 }[row[0]!] ?? 0
  return row.subarray(1 + lengthBytes)
}
