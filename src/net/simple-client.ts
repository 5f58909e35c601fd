/**
 * A small MySQL client: it logs in without a password and without TLS, and runs statements. `check` and the demo need no
 * more of a proxy on this machine.
 */
import { connect } from 'node:net'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { Reader } from '../protocol/bytes.ts'
import {
  CLIENT_CONNECT_WITH_DB,
  CLIENT_LONG_PASSWORD,
  CLIENT_PLUGIN_AUTH,
  CLIENT_PROTOCOL_41,
  CLIENT_SECURE_CONNECTION,
} from '../protocol/capabilities.ts'
import { COM_QUIT } from '../protocol/command-scanner.ts'
import {
  AUTH_SWITCH_REQUEST,
  ERR,
  encodeComQuery,
  encodeHandshakeResponse41,
  OK,
  parseERR_Packet,
  parseHandshakeV10,
} from '../protocol/packets.ts'
import { createWire, endGracefully, malformed, parsed, readPacket, type Wire, writePacket } from './wire.ts'

export interface SimpleClientOptions {
  host: string
  port: number
  user: string
  database?: string | undefined
  /** in milliseconds, for the login and for each statement */
  timeout: number
  clock?: Clock
}

/** A value as text, by the name of its column. */
export type Row = Record<string, string | null>

export interface SimpleClient {
  /** The rows of a result set; none for a statement without one. @throws ProxyError as connectClient */
  query(sql: string): Promise<Row[]>
  /** Says goodbye and ends the connection. */
  end(): void
  destroy(): void
}

/** utf8mb4_general_ci, which all servers support */
const CHARSET = 45
const MAX_PACKET_BYTES = 1 << 24

/**
 * Connects and logs in.
 * @throws ProxyError UPSTREAM_REFUSED_LOGIN with `serverError` for an ERR_Packet; else UPSTREAM_CLOSED, UPSTREAM_TIMEOUT,
 * UPSTREAM_NOT_MYSQL
 */
export async function connectClient(options: SimpleClientOptions): Promise<SimpleClient> {
  const { host, port, user, database, timeout, clock = monotonicClock } = options
  const socket = connect({ host, port, noDelay: true, allowHalfOpen: true })
  const wire = createWire(socket, 'upstream', timeout, clock)
  try {
    const greeting = await readNoError(wire, 'greeting')
    const { authPlugin } = parsed(wire, 'greeting', () => parseHandshakeV10(greeting))
    const response = encodeHandshakeResponse41({
      capabilities:
        CLIENT_LONG_PASSWORD |
        CLIENT_PROTOCOL_41 |
        CLIENT_SECURE_CONNECTION |
        CLIENT_PLUGIN_AUTH |
        (database === undefined ? 0 : CLIENT_CONNECT_WITH_DB),
      maxPacketSize: MAX_PACKET_BYTES,
      charset: CHARSET,
      reserved: Buffer.alloc(23),
      user: Buffer.from(user),
      authResponse: Buffer.alloc(0),
      database: database === undefined ? undefined : Buffer.from(database),
      authPlugin,
      attributes: undefined,
      zstdLevel: undefined,
    })
    writePacket(wire, response)
    let answer = await readNoError(wire, 'login')
    if (answer[0] === AUTH_SWITCH_REQUEST) {
      writePacket(wire, Buffer.alloc(0)) // no password, with any method
      answer = await readNoError(wire, 'login')
    }
    if (answer[0] !== OK) throw malformed(wire, `login: a packet that begins with ${answer[0]}`)
  } catch (error) {
    socket.destroy()
    throw error
  }
  return {
    query(sql) {
      wire.deadline = clock.now() + timeout
      wire.sequence = 0
      writePacket(wire, encodeComQuery(sql, 0))
      return readResult(wire)
    },
    end() {
      wire.sequence = 0
      writePacket(wire, Buffer.of(COM_QUIT))
      endGracefully(wire)
    },
    destroy() {
      socket.destroy()
    },
  }
}

/** https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset.html */
async function readResult(wire: Wire): Promise<Row[]> {
  const step = 'result'
  const first = await readNoError(wire, step)
  if (first[0] === OK) return []
  const count = parsed(wire, step, () => new Reader(first).lenencInt('columns'))
  const names: string[] = []
  while (names.length < count) {
    const definition = await readNoError(wire, step)
    names.push(parsed(wire, step, () => nameOfColumn(definition)))
  }
  if (!isEOF(await readNoError(wire, step))) throw malformed(wire, `${step}: no EOF_Packet after the columns`)
  const rows: Row[] = []
  for (;;) {
    const packet = await readNoError(wire, step)
    if (isEOF(packet)) return rows
    rows.push(parsed(wire, step, () => rowOf(packet, names)))
  }
}

/** The fifth field, after the catalog, the schema, the table and its original name. */
function nameOfColumn(definition: Buffer): string {
  const reader = new Reader(definition)
  for (const field of ['catalog', 'schema', 'table', 'original table']) reader.lenencBytes(field)
  return reader.lenencBytes('name').toString()
}

const NULL = 0xfb

function rowOf(packet: Buffer, names: readonly string[]): Row {
  const reader = new Reader(packet)
  const value = () => {
    if (packet[reader.offset] !== NULL) return reader.lenencBytes('value').toString()
    reader.bytes(1, 'NULL')
    return null
  }
  return Object.fromEntries(names.map(name => [name, value()]))
}

const EOF = 0xfe
/** A row may begin with the same byte, but is then longer. */
const EOF_LENGTH_BYTES = 5

function isEOF(packet: Buffer): boolean {
  return packet[0] === EOF && packet.length <= EOF_LENGTH_BYTES
}

async function readNoError(wire: Wire, step: string): Promise<Buffer> {
  const packet = await readPacket(wire, step)
  if (packet[0] !== ERR) return packet
  const serverError = parsed(wire, step, () => parseERR_Packet(packet))
  throw new ProxyError('UPSTREAM_REFUSED_LOGIN', serverError.message, { serverError })
}
