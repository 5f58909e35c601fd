/** A session packet by packet, through the proxy or directly: what is sent is a script, what comes back are bytes. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { HostPort } from '../../src/index.ts'
import { framePacket, frameUncompressed } from '../../src/net/wire.ts'
import { clearPassword, MYSQL_CLEAR_PASSWORD, MYSQL_NATIVE_PASSWORD } from '../../src/protocol/auth.ts'
import {
  CLIENT_COMPRESS,
  CLIENT_CONNECT_ATTRS,
  CLIENT_CONNECT_WITH_DB,
  CLIENT_LONG_PASSWORD,
  CLIENT_SSL,
  CLIENT_ZSTD_COMPRESSION_ALGORITHM,
  has,
  isCompressed,
} from '../../src/protocol/capabilities.ts'
import { inflateWhole } from '../../src/protocol/inflate.ts'
import {
  AUTH_SWITCH_REQUEST,
  ERR,
  encodeComChangeUser,
  encodeHandshakeResponse41,
  encodeSSLRequest,
  type HandshakeV10,
  OK,
} from '../../src/protocol/packets.ts'
import type { RealServer } from '../support/database-server.ts'
import { connectRaw, readBytes } from '../support/raw-client.ts'
import { signToken } from '../support/token.ts'

/** A client, and all that it sends. */
export interface Script {
  user: string
  /** flags that it sets where the server offers them */
  capabilities: number
  /** MariaDB's extended flags, where the server offers them; they need CLIENT_LONG_PASSWORD clear */
  mariadbCapabilities: number
  database: string
  attributes: Buffer
  steps: Step[]
}

export type Step =
  /** commands that are sent without waiting, and leave the session open; whether they begin without prepared statements */
  | { kind: 'burst'; packets: Packet[]; forget?: 'statements' }
  /** a command that has one packet for an answer, or after which the server closes */
  | { kind: 'single'; payload: Buffer }
  /** the same, with an answer that has numbers which change from one moment to the next */
  | { kind: 'numbers'; payload: Buffer }
  | { kind: 'change user'; user: string; database: string }

export interface Packet {
  sequence: number
  payload: Buffer
  /** for a command with the id of a prepared statement at offset 1: its index among the session's statements */
  statement?: number
}

/** What the client got, with nothing in it that differs from session to session. */
export interface Trace {
  greeting: Omit<HandshakeV10, 'threadId' | 'salt' | 'authPlugin'>
  /** payload of the OK_Packet of the login, in hex */
  login: string
  /** what each step brought, in hex */
  steps: string[]
}

/** A way to the server: its greeting is read, and the login's packets are sent. */
type LogIn = (script: Script) => Promise<Session>

interface Session {
  socket: Socket
  greeting: HandshakeV10
  capabilities: number
  /** the ids of the statements that the session has prepared; on MariaDB all sessions share the numbers */
  statements: number[]
  changeUser(user: string, database: string): Promise<Buffer>
}

/**
 * The end of a burst's answers is the error for an unknown database with this prefix and the step's number. The users have
 * privileges on such databases. The error must be short, because servers compress packets from 50 bytes on.
 */
export const MARKER = 'zz'

/** Plays the script. A connection that the server closes is the end of its trace. */
export async function play(script: Script, logIn: LogIn): Promise<Trace> {
  const session = await logIn(script)
  const { threadId: _threadId, salt: _salt, authPlugin: _authPlugin, ...greeting } = session.greeting
  const trace: Trace = { greeting, login: (await readPayload(session.socket)).toString('hex'), steps: [] }
  try {
    if (trace.login.startsWith('00')) {
      for (const [number, step] of script.steps.entries()) trace.steps.push(await playStep(session, step, number))
    }
  } catch (error) {
    if (!/the connection ended/.test((error as Error).message)) throw error
    trace.steps.push('the server closes')
  } finally {
    session.socket.destroy()
  }
  return trace
}

async function playStep(session: Session, step: Step, number: number): Promise<string> {
  const { socket, capabilities } = session
  if (step.kind === 'change user') return (await session.changeUser(step.user, step.database)).toString('hex')
  if (step.kind === 'burst') {
    const marker = `${MARKER}${String(number).padStart(4, '0')}`
    if (step.forget) session.statements.length = 0
    const packets = [...step.packets, { sequence: 0, payload: Buffer.from(`\x02${marker}`) }]
    socket.write(Buffer.concat(packets.map(packet => framed(withStatement(packet, session), capabilities))))
    const answer = await readUntil(socket, Buffer.from(`Unknown database '${marker}'`))
    return comparable(session, answer)
  }
  socket.write(framed({ sequence: 0, payload: step.payload }, capabilities))
  const answer = await readFrame(socket, capabilities)
  return step.kind === 'numbers' ? answer.toString('latin1', 4).replace(/[\d.]+/g, '#') : comparable(session, answer)
}

const UNKNOWN_STATEMENT = 999_999_999

function withStatement({ sequence, payload, statement }: Packet, { statements }: Session): Packet {
  if (statement !== undefined) payload.writeUInt32LE(statements[statement] ?? UNKNOWN_STATEMENT, 1)
  return { sequence, payload }
}

/**
 * The bytes in hex. From MariaDB packet by packet, without the ids of prepared statements: it numbers those of all
 * sessions together.
 */
function comparable({ greeting, capabilities, statements }: Session, answer: Buffer): string {
  const isMariadb = /mariadb/i.test(greeting.serverVersion)
  const isZstd = has(capabilities, CLIENT_ZSTD_COMPRESSION_ALGORITHM) && !has(capabilities, CLIENT_COMPRESS)
  // MySQL's statements have the ids 1, 2 and so on: its zstd need not be read.
  if (isZstd && statements.length === 0) statements.push(1, 2, 3, 4)
  const packets = isZstd ? [] : packetsOf(isCompressed(capabilities) ? inflated(answer) : answer)
  const shown = packets.map(({ sequence, payload }) => {
    if (payload[0] === ERR) return `${sequence}:${payload.toString('latin1').replace(/\(\d+\)/, '(id)')}`
    if (!isStatement({ sequence, payload })) return `${sequence}:${payload.toString('hex')}`
    statements.push(payload.readUInt32LE(1))
    return `${sequence}:statement ${payload.toString('hex', 5)}`
  })
  if (!isMariadb) return answer.toString('hex')
  return shown.join(' ')
}

/** COM_STMT_PREPARE_OK, or what has its form. */
function isStatement({ sequence, payload }: Packet): boolean {
  return sequence === 1 && payload[0] === OK && (payload.length === 12 || payload.length === 13) && payload[9] === 0
}

function inflated(answer: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let offset = 0; offset < answer.length; ) {
    const end = offset + 7 + answer.readUIntLE(offset, 3)
    const payload = answer.subarray(offset + 7, end)
    const length = answer.readUIntLE(offset + 4, 3)
    parts.push(length === 0 ? payload : inflateWhole(payload, length))
    offset = end
  }
  return Buffer.concat(parts)
}

function packetsOf(stream: Buffer): Packet[] {
  const packets: Packet[] = []
  for (let offset = 0; offset < stream.length; ) {
    const end = offset + 4 + stream.readUIntLE(offset, 3)
    packets.push({ sequence: stream[offset + 3]!, payload: stream.subarray(offset + 4, end) })
    offset = end
  }
  return packets
}

// ---- the two ways ----

/** As a client of the proxy: without TLS, without a password. */
export function through(address: HostPort): LogIn {
  return async script => {
    const { socket, greeting } = await connectRaw(address)
    const { authPlugin } = greeting
    const fields = responseFields(script, greeting, 0)
    socket.write(framePacket(encodeHandshakeResponse41({ ...fields, authResponse: Buffer.alloc(0), authPlugin }), 1))
    const changeUser = async (user: string, database: string) => {
      const authResponse = Buffer.alloc(0)
      socket.write(framePacket(comChangeUser({ ...fields, user, database, authResponse }), 0))
      if ((await readPayload(socket))[0] !== AUTH_SWITCH_REQUEST) throw new Error('not an AuthSwitchRequest')
      socket.write(framePacket(Buffer.alloc(0), 2))
      return await readPayload(socket)
    }
    return { socket, greeting, capabilities: fields.capabilities, statements: [], changeUser }
  }
}

/** As a client of the server: with TLS and tokens. */
export function directly(server: RealServer): LogIn {
  const tokenFor = (user: string) => {
    const { rdsHost: host, rdsPort: port, region } = server
    return clearPassword(signToken({ host, port, region, user, credentials: server.keys.longTerm }))
  }
  return async script => {
    const { socket: tcp, greeting } = await connectRaw(server)
    const fields = responseFields(script, greeting, CLIENT_SSL)
    tcp.write(framePacket(encodeSSLRequest(fields), 1))
    const socket = connectTls({ socket: tcp, ca: server.ca, servername: server.rdsHost })
    socket.on('error', () => {})
    await once(socket, 'secureConnect')
    const login = { ...fields, authResponse: tokenFor(script.user), authPlugin: MYSQL_CLEAR_PASSWORD }
    socket.write(framePacket(encodeHandshakeResponse41(login), 2))
    const changeUser = async (user: string, database: string) => {
      const authResponse = Buffer.alloc(20, 1)
      socket.write(framePacket(comChangeUser({ ...fields, user, database, authResponse }), 0))
      if ((await readPayload(socket))[0] !== AUTH_SWITCH_REQUEST) throw new Error('not an AuthSwitchRequest')
      socket.write(framePacket(tokenFor(user), 2))
      return await readPayload(socket)
    }
    return { socket, greeting, capabilities: fields.capabilities, statements: [], changeUser }
  }
}

function responseFields(script: Script, greeting: HandshakeV10, more: number) {
  const mariadbCapabilities = script.mariadbCapabilities & greeting.mariadbCapabilities
  const offered = greeting.capabilities | CLIENT_LONG_PASSWORD | CLIENT_CONNECT_WITH_DB
  const wanted = mariadbCapabilities ? script.capabilities & ~CLIENT_LONG_PASSWORD : script.capabilities
  const capabilities = ((wanted & offered) | more) >>> 0
  const reserved = Buffer.alloc(23)
  reserved.writeUInt32LE(mariadbCapabilities >>> 0, 19)
  return {
    capabilities,
    maxPacketSize: 1 << 30,
    charset: 45, // utf8mb4_general_ci
    reserved,
    user: Buffer.from(script.user),
    database: has(capabilities, CLIENT_CONNECT_WITH_DB) ? Buffer.from(script.database) : undefined,
    attributes: has(capabilities, CLIENT_CONNECT_ATTRS) ? script.attributes : undefined,
    zstdLevel: has(capabilities, CLIENT_ZSTD_COMPRESSION_ALGORITHM) ? 3 : undefined,
  }
}

interface ChangeUser {
  user: string
  database: string
  authResponse: Buffer
  charset: number
  attributes: Buffer | undefined
}

function comChangeUser({ user, database, ...rest }: ChangeUser): Buffer {
  const { authResponse, charset, attributes } = rest
  return encodeComChangeUser({
    user: Buffer.from(user),
    authResponse,
    database: Buffer.from(database),
    charset,
    authPlugin: MYSQL_NATIVE_PASSWORD,
    attributes,
  })
}

// ---- bytes ----

function framed({ sequence, payload }: Packet, capabilities: number): Buffer {
  const packet = framePacket(payload, sequence)
  return isCompressed(capabilities) ? frameUncompressed(packet, sequence) : packet
}

async function readPayload(socket: Socket): Promise<Buffer> {
  return (await readFrame(socket, 0)).subarray(4)
}

/** A packet, or a compressed packet, with its header. */
async function readFrame(socket: Socket, capabilities: number): Promise<Buffer> {
  const header = await readBytes(socket, isCompressed(capabilities) ? 7 : 4)
  const length = header.readUIntLE(0, 3)
  return length === 0 ? header : Buffer.concat([header, await readBytes(socket, length)])
}

/** All that comes, up to and including `end`. It is inside no compressed packet. */
async function readUntil(socket: Socket, end: Buffer): Promise<Buffer> {
  const chunks: Buffer[] = []
  let tail = Buffer.alloc(0)
  while (!tail.subarray(-end.length).equals(end)) {
    const chunk = await readSome(socket)
    chunks.push(chunk)
    tail = Buffer.concat([tail, chunk]).subarray(-end.length)
  }
  return Buffer.concat(chunks)
}

function readSome(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const attempt = () => {
      const chunk: Buffer | null = socket.read()
      if (!chunk && !socket.readableEnded && !socket.destroyed) return
      socket.off('readable', attempt).off('end', attempt).off('close', attempt)
      if (chunk) resolve(chunk)
      else reject(new Error('the connection ended in the middle of a burst'))
    }
    socket.on('readable', attempt).on('end', attempt).on('close', attempt)
    attempt()
  })
}
