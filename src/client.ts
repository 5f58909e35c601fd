/** The leg to the client: greet → HandshakeResponse41; local login; result. */
import { ProxyError } from './errors.ts'
import {
  CACHING_SHA2_PASSWORD,
  createSalt,
  isEmptyPassword,
  MYSQL_CLEAR_PASSWORD,
  MYSQL_NATIVE_PASSWORD,
} from './protocol/auth.ts'
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
  isSSLRequest,
  parseHandshakeResponse41,
} from './protocol/packets.ts'
import { parsed, readPacket, type Wire, writePacket } from './wire.ts'

/** A client that has answered the greeting. */
export interface Client {
  wire: Wire
  response: HandshakeResponse41
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
  const offeredPlugin = pluginForClients(server)
  const capabilities = offeredToClient(server.capabilities, false)
  writePacket(wire, encodeHandshakeV10({ ...server, salt: createSalt(), capabilities, authPlugin: offeredPlugin }))
  const payload = await readPacket(wire, 'HandshakeResponse41')
  if (isSSLRequest(payload))
    throw new ProxyError('CLIENT_WANTS_TLS', 'the client insists on TLS, which is not offered here')
  const response = parsed(wire, 'HandshakeResponse41', () => parseHandshakeResponse41(payload))
  return { wire, response, offeredPlugin, awaitsFastAuthSuccess: false }
}

/** A method that clients of this server know: old and MariaDB ones lack caching_sha2_password. */
function pluginForClients(server: HandshakeV10): string {
  return server.authPlugin === CACHING_SHA2_PASSWORD ? CACHING_SHA2_PASSWORD : MYSQL_NATIVE_PASSWORD
}

/**
 * Takes the client's login: any password, or none. Clients still have to be led through the method of their choice:
 * those of MySQL 9 lack mysql_native_password, those of MariaDB caching_sha2_password.
 */
export async function authenticateClient(client: Client): Promise<void> {
  const { authPlugin, authResponse } = client.response
  // A client that names another method than the greeting's may have kept its answer back.
  if (authPlugin !== undefined && authPlugin !== client.offeredPlugin && authPlugin !== MYSQL_CLEAR_PASSWORD) {
    return await switchClient(client, authPlugin)
  }
  client.awaitsFastAuthSuccess = authPlugin === CACHING_SHA2_PASSWORD && !isEmptyPassword(authResponse)
}

/** Leads the client through an AuthSwitchRequest, for the method that it named where that can be done. */
export async function switchClient(client: Client, named: string): Promise<void> {
  const { wire } = client
  const authPlugin = pluginToSwitchTo(client, named)
  writePacket(wire, encodeAuthSwitchRequest({ authPlugin, data: createSalt() }))
  const answer = await readPacket(wire, 'the answer to AuthSwitchRequest')
  client.awaitsFastAuthSuccess = authPlugin === CACHING_SHA2_PASSWORD && !isEmptyPassword(answer)
}

function pluginToSwitchTo({ response }: Client, named: string): string {
  if (named === CACHING_SHA2_PASSWORD || named === MYSQL_NATIVE_PASSWORD) return named
  // MariaDB's clients leave the flag clear.
  return has(response.capabilities, CLIENT_LONG_PASSWORD) ? CACHING_SHA2_PASSWORD : MYSQL_NATIVE_PASSWORD
}

/** The database user to log in as. @throws ProxyError CLIENT_NO_USER */
export function databaseUser(named: Buffer, configured: string | undefined): string {
  const user = configured ?? named.toString()
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
