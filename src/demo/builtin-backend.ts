/** A minimal server for machines without MariaDB or MySQL. Clients can log in and query a few expressions. */

import { readPacket, type Wire, writePacket } from '../net/wire.ts'
import { createSalt } from '../protocol/auth.ts'
import { lenencBytes, lenencInt, uint8, uint16, uint32 } from '../protocol/bytes.ts'
import * as flags from '../protocol/capabilities.ts'
import { type ERR_Packet, encodeERR_Packet, encodeOK_Packet, type HandshakeResponse41 } from '../protocol/packets.ts'
import type { Backend, BackendSession } from './backend.ts'

const VERSION = '8.4.0-demo'
const VERSION_COMMENT = 'The built-in backend of the mysql-iam-proxy demo'

const CAPABILITIES =
  flags.CLIENT_LONG_PASSWORD |
  flags.CLIENT_LONG_FLAG |
  flags.CLIENT_CONNECT_WITH_DB |
  flags.CLIENT_PROTOCOL_41 |
  flags.CLIENT_TRANSACTIONS |
  flags.CLIENT_RESERVED |
  flags.CLIENT_SECURE_CONNECTION |
  flags.CLIENT_MULTI_RESULTS |
  flags.CLIENT_PLUGIN_AUTH |
  flags.CLIENT_CONNECT_ATTRS |
  flags.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA |
  flags.CLIENT_DEPRECATE_EOF

const SERVER_STATUS_AUTOCOMMIT = 2
const UTF8MB4_GENERAL_CI = 45
const MYSQL_TYPE_VAR_STRING = 0xfd

/** Longest time between commands: the default wait_timeout of servers. */
const WAIT_TIMEOUT_MS = 8 * 3_600_000

/** https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html */
const COM_QUIT = 0x01
const COM_INIT_DB = 0x02
const COM_QUERY = 0x03
const COM_STATISTICS = 0x09
const COM_PING = 0x0e
const COM_RESET_CONNECTION = 0x1f

interface LoggedIn {
  threadId: number
  user: string
  host: string
  database: string | undefined
  /** the client's flags that affect results */
  capabilities: number
}

interface ResultSet {
  columns: string[]
  rows: (string | null)[][]
}

type Answer = 'ok' | ResultSet | ERR_Packet

const EXPRESSIONS: Record<string, (session: LoggedIn) => string | null> = {
  'version()': () => VERSION,
  '@@version': () => VERSION,
  '@@version_comment': () => VERSION_COMMENT,
  'current_user()': ({ user }) => `${user}@%`,
  current_user: ({ user }) => `${user}@%`,
  'user()': ({ user, host }) => `${user}@${host}`,
  'database()': ({ database }) => database ?? null,
  'connection_id()': ({ threadId }) => String(threadId),
  'now()': () => now(),
  '@@autocommit': () => '1',
  '@@max_allowed_packet': () => '67108864',
  '@@character_set_client': () => 'utf8mb4',
  '@@character_set_connection': () => 'utf8mb4',
  '@@character_set_server': () => 'utf8mb4',
  '@@character_set_database': () => 'utf8mb4',
}

/** @param database the only database */
export function createBuiltinBackend(database: string): Backend {
  let threads = 0
  return {
    name: 'a small built-in backend',
    async connect() {
      threads += 1
      return createSession(threads, database)
    },
    async stop() {},
  }
}

function createSession(threadId: number, onlyDatabase: string): BackendSession {
  const greeting = {
    serverVersion: VERSION,
    threadId,
    salt: createSalt(),
    capabilities: CAPABILITIES,
    charset: UTF8MB4_GENERAL_CI,
    status: SERVER_STATUS_AUTOCOMMIT,
    mariadbCapabilities: 0,
    authPlugin: 'caching_sha2_password',
  }
  const session: LoggedIn = { threadId, user: '', host: '', database: undefined, capabilities: 0 }

  function use(database: string): 'ok' | ERR_Packet {
    if (database !== onlyDatabase) {
      return { errno: 1049, sqlState: '42000', message: `Unknown database '${database}'` }
    }
    session.database = database
    return 'ok'
  }

  async function login(response: HandshakeResponse41): Promise<Buffer> {
    session.user = response.user.toString()
    session.capabilities = response.capabilities & CAPABILITIES
    const answer = response.database ? use(response.database.toString()) : 'ok'
    return encodeAnswer(answer, session)[0]!
  }

  function query(sql: string): Answer {
    const text = sql.trim().replace(/;$/, '').trimEnd()
    if (/^show\s+databases$/i.test(text)) return { columns: ['Database'], rows: [[onlyDatabase]] }
    const used = text.match(/^use\s+`?(\w+)`?$/i)?.[1]
    if (used !== undefined) return use(used)
    if (/^(set\s|begin$|start\s+transaction$|commit$|rollback$)/i.test(text)) return 'ok'
    const list = text.match(/^select\s+(.*?)(\s+limit\s+\d+)?$/is)?.[1]
    return (list !== undefined && select(list, session)) || unsupported('a few SELECTs, SHOW DATABASES, USE and SET')
  }

  function answer(command: Buffer): Answer | Buffer {
    const text = command.toString('utf8', 1)
    switch (command[0]) {
      case COM_INIT_DB:
        return use(text)
      case COM_QUERY:
        return query(text)
      case COM_PING:
      case COM_RESET_CONNECTION:
        return 'ok'
      case COM_STATISTICS:
        return Buffer.from(`Uptime: ${Math.round(process.uptime())}  Threads: 1`)
      default:
        return unsupported('COM_QUERY, COM_INIT_DB and COM_PING')
    }
  }

  async function serve(client: Wire): Promise<void> {
    session.host = client.socket.remoteAddress ?? ''
    for (;;) {
      client.sequence = 0
      client.deadline = client.clock.now() + WAIT_TIMEOUT_MS
      const command = await readPacket(client, 'a command')
      if (command[0] === COM_QUIT) return
      const reply = answer(command)
      for (const payload of Buffer.isBuffer(reply) ? [reply] : encodeAnswer(reply, session))
        writePacket(client, payload)
    }
  }

  return { greeting, login, serve, end() {} }
}

function unsupported(known: string): ERR_Packet {
  return { errno: 1235, sqlState: '42000', message: `The built-in backend of this demo supports only ${known}` }
}

/** The row of a SELECT list of known expressions, numbers and strings, each with an optional alias; undefined if unsupported. */
function select(list: string, session: LoggedIn): ResultSet | undefined {
  const columns: string[] = []
  const row: (string | null)[] = []
  for (const item of list.split(',').map(part => part.trim())) {
    const [, expression = item, name = expression] = item.match(/^(.+?)\s+(?:as\s+)?[`'"]?(\w+)[`'"]?$/is) ?? []
    const literal = expression.match(/^(?:(\d+)|'([^'\\]*)'|"([^"\\]*)")$/)
    const known = EXPRESSIONS[expression.toLowerCase().replace(/\s+|^@@(session|global)\.(?=\w)/g, '')]
    if (!literal && !known) return undefined
    columns.push(name)
    row.push(literal ? (literal[1] ?? literal[2] ?? literal[3]!) : known!(session))
  }
  return { columns, rows: [row] }
}

/** The payloads of an answer, in wire order. */
function encodeAnswer(answer: Answer, { capabilities }: LoggedIn): Buffer[] {
  const ok = encodeOK_Packet({ affectedRows: 0, lastInsertId: 0, status: SERVER_STATUS_AUTOCOMMIT, warnings: 0 })
  if (answer === 'ok') return [ok]
  if ('errno' in answer) return [encodeERR_Packet(answer)]
  const { columns, rows } = answer
  const encodedRows = rows.map(row =>
    Buffer.concat(row.map(value => (value === null ? uint8(0xfb) : lenencBytes(Buffer.from(value))))),
  )
  const head = [lenencInt(columns.length), ...columns.map(encodeColumn)]
  if (flags.has(capabilities, flags.CLIENT_DEPRECATE_EOF)) {
    return [...head, ...encodedRows, Buffer.concat([uint8(0xfe), ok.subarray(1)])]
  }
  const eof = Buffer.concat([uint8(0xfe), uint16(0), uint16(SERVER_STATUS_AUTOCOMMIT)])
  return [...head, eof, ...encodedRows, eof]
}

/** ColumnDefinition41. Every column is text. */
function encodeColumn(name: string): Buffer {
  const text = (value: string) => lenencBytes(Buffer.from(value))
  return Buffer.concat([
    ...['def', '', '', '', name, name].map(text),
    lenencInt(0x0c),
    uint16(UTF8MB4_GENERAL_CI),
    uint32(1024),
    uint8(MYSQL_TYPE_VAR_STRING),
    uint16(0),
    uint8(0),
    uint16(0),
  ])
}

/** The UTC time in the format of SQL. */
function now(): string {
  return new Date().toISOString().replace('T', ' ').slice(0, 19)
}
