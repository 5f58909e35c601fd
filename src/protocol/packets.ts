/**
 * The packets of the connection phase, without their 4-byte headers: `parse…` takes a payload and throws MalformedPacket,
 * `encode…` gives one.
 */
import { lenencBytes, lenencInt, MalformedPacket, nulBytes, Reader, uint8, uint16, uint32 } from './bytes.ts'
import {
  CLIENT_CONNECT_ATTRS,
  CLIENT_CONNECT_WITH_DB,
  CLIENT_LONG_PASSWORD,
  CLIENT_PLUGIN_AUTH,
  CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
  CLIENT_PROTOCOL_41,
  CLIENT_QUERY_ATTRIBUTES,
  CLIENT_SECURE_CONNECTION,
  CLIENT_SSL,
  CLIENT_ZSTD_COMPRESSION_ALGORITHM,
  has,
} from './capabilities.ts'
import { COM_CHANGE_USER, COM_QUERY } from './command-scanner.ts'

/** First byte of a packet, which gives its kind. */
export const OK = 0x00
export const AUTH_MORE_DATA = 0x01
export const AUTH_SWITCH_REQUEST = 0xfe
export const ERR = 0xff

/** AuthMoreData of caching_sha2_password: the scramble was right, an OK_Packet follows. */
export const FAST_AUTH_SUCCESS: Buffer = uint8(3)

/** AuthMoreData of caching_sha2_password: the server asks for the password itself. */
export const PERFORM_FULL_AUTHENTICATION: Buffer = uint8(4)

/** The answer of a client without TLS, which then sends the password encrypted. */
export const REQUEST_PUBLIC_KEY: Buffer = uint8(2)

/** Length of the random data in a scramble. */
export const SALT_LENGTH = 20

/**
 * The server's greeting.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html
 */
export interface HandshakeV10 {
  serverVersion: string
  threadId: number
  /** 20 bytes, without the NUL behind them on the wire */
  salt: Buffer
  capabilities: number
  /** low byte of the server's default collation id */
  charset: number
  status: number
  /** MariaDB's extended capabilities, in the last 4 of the 10 reserved bytes; 0 of a server that sets CLIENT_LONG_PASSWORD */
  mariadbCapabilities: number
  authPlugin: string
}

const PROTOCOL_VERSION = 10

export function parseHandshakeV10(payload: Buffer): HandshakeV10 {
  const reader = new Reader(payload)
  const protocolVersion = reader.uint8('protocol version')
  if (protocolVersion !== PROTOCOL_VERSION) throw new MalformedPacket(`protocol version ${protocolVersion}, not 10`)
  const serverVersion = reader.nulBytes('server version').toString('latin1')
  const threadId = reader.uint32('thread id')
  const saltFirst = reader.bytes(8, 'auth-plugin-data-part-1')
  reader.uint8('filler')
  const capabilitiesLow = reader.uint16('capability flags, lower 2 bytes')
  const charset = reader.uint8('character set')
  const status = reader.uint16('status flags')
  const capabilitiesHigh = reader.uint16('capability flags, upper 2 bytes')
  const capabilities = (capabilitiesLow | (capabilitiesHigh << 16)) >>> 0
  const saltLength = reader.uint8('length of auth-plugin-data')
  reader.bytes(6, 'reserved')
  const reserved = reader.uint32('reserved, or MariaDB extended capabilities')
  const saltRest = reader.bytes(Math.max(13, saltLength - 8), 'auth-plugin-data-part-2')
  const authPlugin = has(capabilities, CLIENT_PLUGIN_AUTH)
    ? reader.nulOrEofBytes('auth plugin name').toString('latin1')
    : ''
  return {
    serverVersion,
    threadId,
    salt: joinedSalt(saltFirst, saltRest),
    capabilities,
    charset,
    status,
    mariadbCapabilities: has(capabilities, CLIENT_LONG_PASSWORD) ? 0 : reserved,
    authPlugin,
  }
}

/** Not from the pool of small buffers: a session keeps its greeting, and would keep 8 KiB of the pool. */
function joinedSalt(first: Buffer, rest: Buffer): Buffer {
  const salt = Buffer.allocUnsafeSlow(SALT_LENGTH).fill(0)
  first.copy(salt)
  rest.copy(salt, first.length)
  return salt
}

export function encodeHandshakeV10(greeting: HandshakeV10): Buffer {
  return Buffer.concat([
    uint8(PROTOCOL_VERSION),
    nulBytes(Buffer.from(greeting.serverVersion, 'latin1')),
    uint32(greeting.threadId),
    greeting.salt.subarray(0, 8),
    uint8(0),
    uint16(greeting.capabilities & 0xffff),
    uint8(greeting.charset),
    uint16(greeting.status),
    uint16(greeting.capabilities >>> 16),
    uint8(SALT_LENGTH + 1),
    Buffer.alloc(6),
    uint32(greeting.mariadbCapabilities),
    nulBytes(greeting.salt.subarray(8)),
    nulBytes(Buffer.from(greeting.authPlugin, 'latin1')),
  ])
}

/**
 * The first fields of SSLRequest and of HandshakeResponse41. The server uses those of the packet that comes first.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_ssl_request.html
 */
export interface SSLRequest {
  capabilities: number
  maxPacketSize: number
  /** low byte of the client's collation id */
  charset: number
  /** 23 bytes as the client sent them: zeros, or MariaDB's extended capabilities in the last 4 */
  reserved: Buffer
}

/** Longer than any name that a server has. The protocol allows 128 KiB, and clients choose: longer names are not kept. */
export const MAX_KEPT_NAME_LENGTH = 256

/**
 * The client's answer to the greeting. Text stays as bytes, in the client's own charset.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_response.html
 */
export interface HandshakeResponse41 extends SSLRequest {
  user: Buffer
  authResponse: Buffer
  /** undefined if the client names none */
  database: Buffer | undefined
  /** undefined without CLIENT_PLUGIN_AUTH, or if the packet ends before it */
  authPlugin: string | undefined
  /** the connection attributes, still length-encoded keys and values; undefined as `authPlugin`, by CLIENT_CONNECT_ATTRS */
  attributes: Buffer | undefined
  /** 1-22; undefined as `authPlugin`, by CLIENT_ZSTD_COMPRESSION_ALGORITHM */
  zstdLevel: number | undefined
}

/** Whether a client's first payload is an SSLRequest: 32 bytes, or 4 bytes from an old Connector/J (protocol before 4.1). */
export function isSSLRequest(payload: Buffer): boolean {
  return (payload.length === 32 || payload.length === 4) && has(payload.readUInt16LE(), CLIENT_SSL)
}

export function encodeSSLRequest(request: SSLRequest): Buffer {
  return Buffer.concat([
    uint32(request.capabilities),
    uint32(request.maxPacketSize),
    uint8(request.charset),
    request.reserved,
  ])
}

export function parseHandshakeResponse41(payload: Buffer): HandshakeResponse41 {
  const reader = new Reader(payload)
  const capabilities = reader.uint32('client capabilities')
  if (!has(capabilities, CLIENT_PROTOCOL_41)) throw new MalformedPacket('HandshakeResponse320, from before MySQL 4.1')
  const maxPacketSize = reader.uint32('max packet size')
  const charset = reader.uint8('character set')
  const reserved = reader.bytes(23, 'reserved')
  const user = reader.nulBytes('user name')
  const authResponse = parseAuthResponse(reader, capabilities)
  const withDatabase = has(capabilities, CLIENT_CONNECT_WITH_DB) && reader.remaining > 0
  const database = withDatabase ? reader.nulOrEofBytes('database') : undefined
  const withPlugin = has(capabilities, CLIENT_PLUGIN_AUTH) && reader.remaining > 0
  const authPlugin = withPlugin ? reader.nulOrEofBytes('auth plugin name').toString('latin1') : undefined
  const withAttributes = has(capabilities, CLIENT_CONNECT_ATTRS) && reader.remaining > 0
  const attributes = withAttributes ? reader.lenencBytes('connection attributes') : undefined
  const withZstd = has(capabilities, CLIENT_ZSTD_COMPRESSION_ALGORITHM) && reader.remaining > 0
  const zstdLevel = withZstd ? reader.uint8('zstd compression level') : undefined
  return {
    capabilities,
    maxPacketSize,
    charset,
    reserved,
    user,
    authResponse,
    database: database?.length ? database : undefined,
    authPlugin,
    attributes,
    zstdLevel,
  }
}

function parseAuthResponse(reader: Reader, capabilities: number): Buffer {
  if (has(capabilities, CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)) return reader.lenencBytes('auth response')
  if (has(capabilities, CLIENT_SECURE_CONNECTION)) return reader.bytes(reader.uint8('auth response'), 'auth response')
  return reader.nulBytes('auth response')
}

/** Writes the fields that are set. `capabilities` must say the same. The auth response is always length-encoded. */
export function encodeHandshakeResponse41(response: HandshakeResponse41): Buffer {
  const parts = [encodeSSLRequest(response), nulBytes(response.user), lenencBytes(response.authResponse)]
  if (response.database) parts.push(nulBytes(response.database))
  if (response.authPlugin !== undefined) parts.push(nulBytes(Buffer.from(response.authPlugin, 'latin1')))
  if (response.attributes) parts.push(lenencBytes(response.attributes))
  if (response.zstdLevel !== undefined && has(response.capabilities, CLIENT_ZSTD_COMPRESSION_ALGORITHM)) {
    parts.push(uint8(response.zstdLevel))
  }
  return Buffer.concat(parts)
}

/**
 * The server asks for another authentication method.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_auth_switch_request.html
 */
export interface AuthSwitchRequest {
  authPlugin: string
  data: Buffer
}

export function parseAuthSwitchRequest(payload: Buffer): AuthSwitchRequest {
  const reader = new Reader(payload)
  if (reader.uint8('header') !== AUTH_SWITCH_REQUEST) throw new MalformedPacket('not an AuthSwitchRequest')
  // A lone 0xFE is the switch to the scrambles from before MySQL 4.1.
  if (reader.remaining === 0) return { authPlugin: 'mysql_old_password', data: reader.rest() }
  return { authPlugin: reader.nulOrEofBytes('auth plugin name').toString('latin1'), data: reader.rest() }
}

export function encodeAuthSwitchRequest(request: AuthSwitchRequest): Buffer {
  return Buffer.concat([
    uint8(AUTH_SWITCH_REQUEST),
    nulBytes(Buffer.from(request.authPlugin, 'latin1')),
    nulBytes(request.data),
  ])
}

/**
 * A client logs in again over its open connection.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_change_user.html
 */
export interface ComChangeUser {
  user: Buffer
  /** at most 255 bytes */
  authResponse: Buffer
  database: Buffer
  /** 2 bytes; undefined if the client stops before it, as the first clients of 4.1 did */
  charset: number | undefined
  /** undefined without CLIENT_PLUGIN_AUTH, or if the packet ends before it */
  authPlugin: string | undefined
  /** undefined without CLIENT_CONNECT_ATTRS, or if the packet ends before it */
  attributes: Buffer | undefined
}

/** @param capabilities the flags of the client's HandshakeResponse41: they decide which fields exist */
export function parseComChangeUser(payload: Buffer, capabilities: number): ComChangeUser {
  const reader = new Reader(payload)
  if (reader.uint8('command') !== COM_CHANGE_USER) throw new MalformedPacket('not a COM_CHANGE_USER')
  const user = reader.nulBytes('user name')
  const authResponse = has(capabilities, CLIENT_SECURE_CONNECTION)
    ? reader.bytes(reader.uint8('auth response'), 'auth response')
    : reader.nulBytes('auth response')
  const database = reader.nulOrEofBytes('database')
  // Like MariaDB, take a lone byte for nothing.
  if (reader.remaining < 2) {
    return { user, authResponse, database, charset: undefined, authPlugin: undefined, attributes: undefined }
  }
  const charset = reader.uint16('character set')
  const withPlugin = has(capabilities, CLIENT_PLUGIN_AUTH) && reader.remaining > 0
  const authPlugin = withPlugin ? reader.nulOrEofBytes('auth plugin name').toString('latin1') : undefined
  const withAttributes = has(capabilities, CLIENT_CONNECT_ATTRS) && reader.remaining > 0
  const attributes = withAttributes ? reader.lenencBytes('connection attributes') : undefined
  return { user, authResponse, database, charset, authPlugin, attributes }
}

/** With CLIENT_SECURE_CONNECTION, as always upstream. The fields end before the first undefined one. */
export function encodeComChangeUser(command: ComChangeUser): Buffer {
  if (command.authResponse.length > 255) throw new MalformedPacket('an auth response of more than 255 bytes')
  const parts = [
    uint8(COM_CHANGE_USER),
    nulBytes(command.user),
    uint8(command.authResponse.length),
    command.authResponse,
    nulBytes(command.database),
  ]
  if (command.charset !== undefined) parts.push(uint16(command.charset))
  if (command.authPlugin !== undefined) parts.push(nulBytes(Buffer.from(command.authPlugin, 'latin1')))
  if (command.attributes) parts.push(lenencBytes(command.attributes))
  return Buffer.concat(parts)
}

/**
 * A statement without parameters.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query.html
 * @param capabilities with CLIENT_QUERY_ATTRIBUTES, the counts of parameters (0) and of sets of them (1) come first
 */
export function encodeComQuery(sql: string, capabilities: number): Buffer {
  const counts = has(capabilities, CLIENT_QUERY_ATTRIBUTES) ? Buffer.of(0, 1) : Buffer.alloc(0)
  return Buffer.concat([uint8(COM_QUERY), counts, Buffer.from(sql)])
}

/** Longest program name that is kept, in characters: a client may send any length. */
const LONGEST_NAME = 64

/** The client's own name among its connection attributes; undefined if there is none. */
export function programName(attributes: Buffer | undefined): string | undefined {
  if (!attributes) return undefined
  const reader = new Reader(attributes)
  const found = new Map<string, string>()
  try {
    while (reader.offset < attributes.length) {
      found.set(reader.lenencBytes('key').toString(), reader.lenencBytes('value').toString())
    }
  } catch {
    // The attributes before the malformed one are good enough.
  }
  return (found.get('program_name') ?? found.get('_client_name'))?.slice(0, LONGEST_NAME)
}

/** https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_auth_more_data.html */
export function encodeAuthMoreData(data: Buffer): Buffer {
  return Buffer.concat([uint8(AUTH_MORE_DATA), data])
}

/** https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html */
export interface ERR_Packet {
  errno: number
  /** 5 characters; undefined in an ERR_Packet that comes instead of a greeting */
  sqlState: string | undefined
  message: string
}

/** Whether a payload is an ERR_Packet with this error code. */
export function isERR(payload: Buffer, errno: number): boolean {
  return payload[0] === ERR && payload.length >= 3 && payload.readUInt16LE(1) === errno
}

export function parseERR_Packet(payload: Buffer): ERR_Packet {
  const reader = new Reader(payload)
  if (reader.uint8('header') !== ERR) throw new MalformedPacket('not an ERR_Packet')
  const errno = reader.uint16('error code')
  const withState = reader.remaining >= 6 && payload[reader.offset] === 0x23 // '#'
  const sqlState = withState ? reader.bytes(6, 'SQL state').toString('latin1', 1) : undefined
  return { errno, sqlState, message: reader.rest().toString() }
}

export function encodeERR_Packet(error: ERR_Packet): Buffer {
  const state = error.sqlState === undefined ? '' : `#${error.sqlState}`
  return Buffer.concat([uint8(ERR), uint16(error.errno), Buffer.from(state, 'latin1'), Buffer.from(error.message)])
}

/** https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html (without session-state changes) */
export interface OK_Packet {
  affectedRows: number
  lastInsertId: number
  status: number
  warnings: number
}

export function encodeOK_Packet(ok: OK_Packet): Buffer {
  return Buffer.concat([
    uint8(OK),
    lenencInt(ok.affectedRows),
    lenencInt(ok.lastInsertId),
    uint16(ok.status),
    uint16(ok.warnings),
  ])
}
