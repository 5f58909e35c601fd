/**
 * Capability flags, and what each peer gets of them.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html
 * https://mariadb.com/docs/server/reference/clientserver-protocol/1-connecting/connection (extended capabilities)
 */

import { type Compression, hasZstd } from './inflate.ts'

/** Also CLIENT_MYSQL: MariaDB servers and clients leave it clear to say that their extended capabilities follow. */
export const CLIENT_LONG_PASSWORD = 1 << 0
export const CLIENT_FOUND_ROWS = 1 << 1
export const CLIENT_LONG_FLAG = 1 << 2
export const CLIENT_CONNECT_WITH_DB = 1 << 3
export const CLIENT_NO_SCHEMA = 1 << 4
export const CLIENT_COMPRESS = 1 << 5
export const CLIENT_ODBC = 1 << 6
export const CLIENT_LOCAL_FILES = 1 << 7
export const CLIENT_IGNORE_SPACE = 1 << 8
export const CLIENT_PROTOCOL_41 = 1 << 9
export const CLIENT_INTERACTIVE = 1 << 10
export const CLIENT_SSL = 1 << 11
export const CLIENT_IGNORE_SIGPIPE = 1 << 12
export const CLIENT_TRANSACTIONS = 1 << 13
export const CLIENT_RESERVED = 1 << 14
export const CLIENT_SECURE_CONNECTION = 1 << 15
export const CLIENT_MULTI_STATEMENTS = 1 << 16
export const CLIENT_MULTI_RESULTS = 1 << 17
export const CLIENT_PS_MULTI_RESULTS = 1 << 18
export const CLIENT_PLUGIN_AUTH = 1 << 19
export const CLIENT_CONNECT_ATTRS = 1 << 20
export const CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA = 1 << 21
export const CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS = 1 << 22
export const CLIENT_SESSION_TRACK = 1 << 23
export const CLIENT_DEPRECATE_EOF = 1 << 24
export const CLIENT_OPTIONAL_RESULTSET_METADATA = 1 << 25
export const CLIENT_ZSTD_COMPRESSION_ALGORITHM = 1 << 26
export const CLIENT_QUERY_ATTRIBUTES = 1 << 27
export const CLIENT_SSL_VERIFY_SERVER_CERT = 1 << 30
export const CLIENT_REMEMBER_OPTIONS = 1 << 31

/** zstd only where Node.js can decompress it: a session whose commands nobody can read is not safe (command-scanner.ts). */
const COMPRESSION = CLIENT_COMPRESS | (hasZstd ? CLIENT_ZSTD_COMPRESSION_ALGORITHM : 0)

/** Flags that change the bytes or the meaning of the command phase. They must be the same on both legs. */
const COMMAND_PHASE =
  CLIENT_LONG_PASSWORD |
  CLIENT_FOUND_ROWS |
  CLIENT_LONG_FLAG |
  CLIENT_NO_SCHEMA |
  COMPRESSION |
  CLIENT_ODBC |
  CLIENT_LOCAL_FILES |
  CLIENT_IGNORE_SPACE |
  CLIENT_PROTOCOL_41 |
  CLIENT_INTERACTIVE |
  CLIENT_IGNORE_SIGPIPE |
  CLIENT_TRANSACTIONS |
  CLIENT_RESERVED |
  CLIENT_MULTI_STATEMENTS |
  CLIENT_MULTI_RESULTS |
  CLIENT_PS_MULTI_RESULTS |
  CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS |
  CLIENT_SESSION_TRACK |
  CLIENT_DEPRECATE_EOF |
  CLIENT_OPTIONAL_RESULTSET_METADATA |
  CLIENT_QUERY_ATTRIBUTES |
  CLIENT_SSL_VERIFY_SERVER_CERT |
  CLIENT_REMEMBER_OPTIONS

/** Flags of the handshake, which this proxy speaks on each leg separately. */
const HANDSHAKE =
  CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA

/** Whether all bits of `flag` are set in `capabilities`. */
export function has(capabilities: number, flag: number): boolean {
  return (capabilities & flag) === flag
}

/** Whether packets travel inside compressed packets after the login. @param capabilities flags that client and server both have */
export function isCompressed(capabilities: number): boolean {
  return (capabilities & COMPRESSION) !== 0
}

/** The flag of the login that asks for it. */
export const COMPRESSION_FLAG = { zlib: CLIENT_COMPRESS, zstd: CLIENT_ZSTD_COMPRESSION_ALGORITHM } as const

/**
 * The compression that we can have with a server, for a client that asks for none itself; undefined without one.
 * @param wanted zstd means zlib where this Node.js or the server has no zstd
 */
export function compressionWith(wanted: Compression, client: number, server: number): Compression | undefined {
  if (client & (CLIENT_COMPRESS | CLIENT_ZSTD_COMPRESSION_ALGORITHM)) return undefined
  if (wanted === 'zstd' && hasZstd && has(server, CLIENT_ZSTD_COMPRESSION_ALGORITHM)) return 'zstd'
  return has(server, CLIENT_COMPRESS) ? 'zlib' : undefined
}

/**
 * The flags for our greeting: the server's own for the command phase, ours for the handshake.
 * An allow-list, so that we never claim a future flag without its payload.
 */
export function offeredToClient(server: number, localTls: boolean): number {
  const handshake = HANDSHAKE | CLIENT_CONNECT_WITH_DB | (server & CLIENT_CONNECT_ATTRS)
  return ((server & COMMAND_PHASE) | handshake | (localTls ? CLIENT_SSL : 0)) >>> 0
}

/**
 * The flags for our SSLRequest and HandshakeResponse41.
 * CLIENT_LONG_PASSWORD is always the client's own: with a MariaDB server it says which kind of client it is.
 */
export function sentUpstream(
  client: number,
  server: number,
  fields: { database: boolean; attributes: boolean },
): number {
  const commandPhase = client & COMMAND_PHASE & (server | CLIENT_LONG_PASSWORD)
  return (
    (commandPhase |
      HANDSHAKE |
      CLIENT_SSL |
      (fields.database ? CLIENT_CONNECT_WITH_DB : 0) |
      (fields.attributes ? CLIENT_CONNECT_ATTRS : 0)) >>>
    0
  )
}
