/** The leg to the client: greet → HandshakeResponse41; local login; result. */
import { ProxyError } from './errors.ts'
import {
  CACHING_SHA2_PASSWORD,
  createSalt,
  isEmptyPassword,
  MYSQL_CLEAR_PASSWORD,
  MYSQL_NATIVE_PASSWORD,
} from './protocol/auth.ts'
import { MalformedPacket } from './protocol/bytes.ts'
import { CLIENT_LONG_PASSWORD, has, offeredToClient } from './protocol/capabilities.ts'
import {
  type ERR_Packet,
  encodeAuthMoreData,
  encodeAuthSwitchRequest,
  encodeERR_Packet,
  encodeHandshakeV10,
  FAST_AUTH_SUCCESS,
  type HandshakeResponse41,
  type HandshakeV10,
  parseHandshakeResponse41,
} from './protocol/packets.ts'
import { malformed, readPacket, type Wire, writePacket } from './wire.ts'

/** A client that has answered the greeting. */
export interface Client {
  wire: Wire
  response: HandshakeResponse41
  /** the random data of the greeting, for scrambles */
  salt: Buffer
  /** the method that our greeting named */
  offeredPlugin: string
  /** what the client waits for before its OK_Packet */
  awaitsFastAuthSuccess: boolean
}

/**
 * Greets a client as the server greeted us: version, thread id, charset, status and MariaDB's extensions are the server's;
 * capabilities are those that both legs can keep; the salt is our own.
 * @throws ProxyError CLIENT_…
 */
export async function greet(wire: Wire, server: HandshakeV10): Promise<Client> {
  const salt = createSalt()
  const offeredPlugin = pluginForClients(server)
  const capabilities = offeredToClient(server.capabilities, false)
  writePacket(wire, encodeHandshakeV10({ ...server, salt, capabilities, authPlugin: offeredPlugin }))
  const payload = await readPacket(wire, 'HandshakeResponse41')
  return { wire, response: parseResponse(wire, payload), salt, offeredPlugin, awaitsFastAuthSuccess: false }
}

/** A method that clients of this server know: old and MariaDB ones lack caching_sha2_password. */
function pluginForClients(server: HandshakeV10): string {
  return server.authPlugin === CACHING_SHA2_PASSWORD ? CACHING_SHA2_PASSWORD : MYSQL_NATIVE_PASSWORD
}

function parseResponse(wire: Wire, payload: Buffer): HandshakeResponse41 {
  try {
    return parseHandshakeResponse41(payload)
  } catch (error) {
    if (error instanceof MalformedPacket) throw malformed(wire, `HandshakeResponse41: ${error.message}`, error)
    throw error
  }
}

/**
 * Takes the client's login: any password, or none. Clients still have to be led through the method of their choice:
 * those of MySQL 9 lack mysql_native_password, those of MariaDB caching_sha2_password.
 */
export async function authenticateClient(client: Client): Promise<void> {
  const { wire, response, offeredPlugin, salt } = client
  let plugin = response.authPlugin ?? MYSQL_NATIVE_PASSWORD
  let answer = response.authResponse
  // A client that names another method than the greeting's may have kept its answer back.
  if (response.authPlugin !== undefined && plugin !== offeredPlugin && plugin !== MYSQL_CLEAR_PASSWORD) {
    plugin = pluginToSwitchTo(client)
    writePacket(wire, encodeAuthSwitchRequest({ authPlugin: plugin, data: salt }))
    answer = await readPacket(wire, 'the answer to AuthSwitchRequest')
  }
  client.awaitsFastAuthSuccess = plugin === CACHING_SHA2_PASSWORD && !isEmptyPassword(answer)
}

function pluginToSwitchTo({ response }: Client): string {
  const own = response.authPlugin
  if (own === CACHING_SHA2_PASSWORD || own === MYSQL_NATIVE_PASSWORD) return own
  // MariaDB's clients leave the flag clear.
  return has(response.capabilities, CLIENT_LONG_PASSWORD) ? CACHING_SHA2_PASSWORD : MYSQL_NATIVE_PASSWORD
}

/** The database user to log in as. @throws ProxyError CLIENT_NO_USER */
export function databaseUser(client: Client, configured: string | undefined): string {
  const user = configured ?? client.response.user.toString()
  if (user === '') throw new ProxyError('CLIENT_NO_USER', 'the client named no user')
  return user
}

/** Hands the server's OK_Packet on, as the next packet of this leg. */
export function sendOK(client: Client, payload: Buffer): void {
  const { wire } = client
  wire.socket.cork()
  if (client.awaitsFastAuthSuccess) writePacket(wire, encodeAuthMoreData(FAST_AUTH_SUCCESS))
  writePacket(wire, payload)
  wire.socket.uncork()
}

/** Tells a client what went wrong, and ends the connection once that is sent. */
export function sendError(wire: Wire, error: ERR_Packet): void {
  // Before the greeting no flags are agreed on: such a packet has no SQL state.
  const sqlState = wire.sequence === 0 ? undefined : (error.sqlState ?? 'HY000')
  writePacket(wire, encodeERR_Packet({ ...error, sqlState }))
  wire.socket.end()
}
