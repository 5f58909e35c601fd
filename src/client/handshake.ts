/** The connection to the client: HandshakeV10 → [TLS] → HandshakeResponse41, local login, result. */
import { constants, generateKeyPair, type KeyObject, privateDecrypt } from 'node:crypto'
import { TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { ProxyError } from '../errors.ts'
import { parsed, readPacket, type Wire, whileConnected, writePacket } from '../net/wire.ts'
import {
  CACHING_SHA2_PASSWORD,
  checkNative,
  checkSha2,
  clearText,
  createSalt,
  isEmptyPassword,
  MYSQL_CLEAR_PASSWORD,
  MYSQL_NATIVE_PASSWORD,
  unmaskPassword,
} from '../protocol/auth.ts'
import { CLIENT_LONG_PASSWORD, CLIENT_PLUGIN_AUTH, has, offeredToClient } from '../protocol/capabilities.ts'
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
  PERFORM_FULL_AUTHENTICATION,
  parseHandshakeResponse41,
  REQUEST_PUBLIC_KEY,
} from '../protocol/packets.ts'
import type { Access } from './access.ts'
import { checkPassword, type LocalUser } from './local-users.ts'
import type { LoginAttempt } from './login-throttle.ts'
import { startClientTls } from './tls.ts'

/** What a session keeps of a client that has sent its HandshakeResponse41. */
export interface Client {
  wire: Wire
  /** those of its HandshakeResponse41 */
  capabilities: number
  charset: number
  /** the authentication method in our HandshakeV10 */
  offeredPlugin: string
  /** the salt of our HandshakeV10, as latin1: a Buffer would take 300 bytes for as long as the session lives */
  salt: string
  /** whether the client waits for AuthMoreData (fast_auth_success) before its OK_Packet */
  awaitsFastAuthSuccess: boolean
}

/**
 * Sends the client the server's own version, thread id, charset, status and MariaDB extensions. Capabilities are those that
 * both connections support. Salt and TLS are ours.
 * @throws ProxyError CLIENT_…
 */
export async function greet(wire: Wire, server: HandshakeV10, access: Access): Promise<[Client, HandshakeResponse41]> {
  const offeredPlugin = pluginForClients(server)
  const offered = offeredToClient(server.capabilities, access.tls !== undefined)
  const salt = createSalt()
  writePacket(wire, encodeHandshakeV10({ ...server, salt, capabilities: offered, authPlugin: offeredPlugin }))
  let payload = await readPacket(wire, 'HandshakeResponse41')
  if (isSSLRequest(payload)) {
    if (!access.tls)
      throw new ProxyError('CLIENT_TLS_NOT_OFFERED', 'the client requires TLS, which is not offered here')
    await startClientTls(wire, access.tls)
    payload = await readPacket(wire, 'HandshakeResponse41')
  } else if (access.requireTls && !access.overUnixSocket) {
    throw new ProxyError('CLIENT_TLS_REQUIRED', 'this address takes TLS connections only')
  }
  const response = parsed(wire, 'HandshakeResponse41', () => parseHandshakeResponse41(payload))
  const { capabilities, charset } = response
  const client = {
    wire,
    capabilities,
    charset,
    offeredPlugin,
    salt: salt.toString('latin1'),
    awaitsFastAuthSuccess: false,
  }
  return [client, response]
}

/** A method that this server's clients support: old ones and MariaDB's lack caching_sha2_password. */
function pluginForClients(server: HandshakeV10): string {
  return server.authPlugin === CACHING_SHA2_PASSWORD ? CACHING_SHA2_PASSWORD : MYSQL_NATIVE_PASSWORD
}

/** Bytes of a mysql_native_password response: a SHA-1 digest. */
const NATIVE_RESPONSE_LENGTH = 20

/** A client's own login data, from HandshakeResponse41 or COM_CHANGE_USER. */
export interface LocalLogin {
  user: Buffer
  /** undefined if the client names none, be it with CLIENT_PLUGIN_AUTH or without */
  authPlugin: string | undefined
  authResponse: Buffer
  /** whether to ignore `authResponse` and send an AuthSwitchRequest first */
  switchFirst: boolean
}

/** A client's response to one of our salts, and its method. */
interface Answer {
  plugin: string
  salt: Buffer
  bytes: Buffer
}

/**
 * Authenticates the client: as a local user if there are any, else with any password or none. Each client uses a method that
 * it supports: those of MySQL 9 lack mysql_native_password, those of MariaDB caching_sha2_password.
 * @param address the client's address
 * @throws ProxyError CLIENT_ACCESS_DENIED, CLIENT_THROTTLED, CLIENT_…
 */
export async function authenticateClient(
  client: Client,
  login: LocalLogin,
  access: Access,
  address: string,
): Promise<void> {
  client.awaitsFastAuthSuccess = false
  const { users, loginThrottle } = access
  if (!users) return await takeAnyPassword(client, login)
  const user = users.find(login.user.toString())
  const attempt = loginThrottle.attempt(address, user.name)
  const check: Check = async isRight => {
    const work = (disconnected: AbortSignal) =>
      attempt.check(async () => (await isRight()) && !user.isDecoy, disconnected)
    return await whileConnected(client.wire, 'the check of its password', work)
  }
  const answer = await usableAnswer(client, login, user, access)
  const isRight = await checkAnswer(client, user, answer, access, check, attempt).catch(error => {
    if (!(error instanceof ProxyError && error.code === 'CLIENT_THROTTLED')) attempt.broken()
    throw error
  })
  if (isRight) return
  const using = isEmptyPassword(answer.bytes) ? 'NO' : 'YES'
  const message = `access denied for local user '${user.name}' (using password: ${using})`
  throw new ProxyError('CLIENT_ACCESS_DENIED', message, { delay: attempt.delayRefusal() })
}

/** Checks a password when its turn has come. */
type Check = (isRight: () => boolean | Promise<boolean>) => Promise<boolean>

async function takeAnyPassword(client: Client, login: LocalLogin): Promise<void> {
  const { authPlugin, authResponse, switchFirst } = login
  // A client that names another method than our HandshakeV10 may not have sent its response yet.
  const isOther = authPlugin !== undefined && authPlugin !== client.offeredPlugin && authPlugin !== MYSQL_CLEAR_PASSWORD
  const mustSwitch = isOther || (switchFirst && has(client.capabilities, CLIENT_PLUGIN_AUTH))
  const answer = mustSwitch
    ? await switchClient(client, pluginToSwitchTo(client, authPlugin))
    : { plugin: authPlugin, bytes: authResponse }
  const isSha2 = answer.plugin === CACHING_SHA2_PASSWORD && !isEmptyPassword(answer.bytes)
  client.awaitsFastAuthSuccess = isSha2 && !takesPlainOK(client)
}

/**
 * Whether the client takes an OK_Packet directly after a caching_sha2_password response. sqlx and Bun take fast_auth_success
 * for the end of the login, which MySQL never sends them, as they answer its salt wrongly. Those clients of MySQL leave
 * CLIENT_LONG_PASSWORD clear; clients that need fast_auth_success set it. See docs/decisions/0102-plain-ok.md.
 */
function takesPlainOK({ capabilities, offeredPlugin }: Client): boolean {
  return offeredPlugin === CACHING_SHA2_PASSWORD && !has(capabilities, CLIENT_LONG_PASSWORD)
}

/** The client's response if the user's stored secret can check it, else its response to an AuthSwitchRequest. */
async function usableAnswer(client: Client, login: LocalLogin, user: LocalUser, access: Access): Promise<Answer> {
  const { authPlugin, authResponse, switchFirst } = login
  const salt = Buffer.from(client.salt, 'latin1')
  const given = { plugin: authPlugin ?? MYSQL_NATIVE_PASSWORD, salt, bytes: authResponse }
  if (!has(client.capabilities, CLIENT_PLUGIN_AUTH)) return given
  // MariaDB reads a missing name as mysql_native_password. MySQL sends an AuthSwitchRequest, whatever the response.
  const isNative = client.offeredPlugin === MYSQL_NATIVE_PASSWORD && authResponse.length === NATIVE_RESPONSE_LENGTH
  if (authPlugin === undefined && isNative && user.native && !switchFirst) return given
  const isSecure = isSecureFrom(client.wire, access)
  // With only a stored hash, the client must send the full password once. Without TLS, few clients do.
  const canUseSha2 = user.sha2 !== undefined || isSecure || !user.native
  const isOfGreeting = authPlugin === client.offeredPlugin && !switchFirst
  if (authPlugin === MYSQL_CLEAR_PASSWORD && isSecure && !switchFirst) return given
  if (authPlugin === CACHING_SHA2_PASSWORD && isOfGreeting && canUseSha2) return given
  if (authPlugin === MYSQL_NATIVE_PASSWORD && isOfGreeting && user.native) return given

  const wanted = pluginToSwitchTo(client, authPlugin)
  const isPossible = wanted === CACHING_SHA2_PASSWORD ? canUseSha2 : user.native !== undefined
  const other = wanted === CACHING_SHA2_PASSWORD ? MYSQL_NATIVE_PASSWORD : CACHING_SHA2_PASSWORD
  return await switchClient(client, isPossible ? wanted : other)
}

async function checkAnswer(
  client: Client,
  user: LocalUser,
  answer: Answer,
  access: Access,
  check: Check,
  attempt: LoginAttempt,
): Promise<boolean> {
  const { plugin, salt, bytes } = answer
  if (plugin === MYSQL_CLEAR_PASSWORD) return await check(() => checkPassword(user, clearText(bytes)))
  if (plugin === MYSQL_NATIVE_PASSWORD) {
    const { native } = user
    return await check(() => native !== undefined && checkNative(bytes, salt, native))
  }
  if (isEmptyPassword(bytes)) return false
  const { sha2 } = user
  client.awaitsFastAuthSuccess = sha2 !== undefined && (await check(() => checkSha2(bytes, salt, sha2)))
  if (client.awaitsFastAuthSuccess) return true
  if (sha2 && !attempt.mayAnswerAgain()) return false
  // As MySQL does: some clients answer the salt wrongly, but then send the right password.
  const password = await wholePassword(client, salt, access)
  return await check(() => checkPassword(user, password))
}

/** Full authentication of caching_sha2_password: reads the password, inside TLS or encrypted with our public key. */
async function wholePassword({ wire }: Client, salt: Buffer, access: Access): Promise<string> {
  writePacket(wire, encodeAuthMoreData(PERFORM_FULL_AUTHENTICATION))
  const packet = await readPacket(wire, 'the password')
  if (isSecureFrom(wire, access)) return clearText(packet)
  if (!packet.equals(REQUEST_PUBLIC_KEY)) return ''
  const { publicKey, privateKey } = await rsaKeys()
  writePacket(wire, encodeAuthMoreData(Buffer.from(publicKey)))
  const encrypted = await readPacket(wire, 'the encrypted password')
  try {
    return unmaskPassword(
      privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING }, encrypted),
      salt,
    )
  } catch {
    return ''
  }
}

let keys: Promise<{ publicKey: string; privateKey: KeyObject }> | undefined

/** The key pair of this process, generated at the first request. */
function rsaKeys(): Promise<{ publicKey: string; privateKey: KeyObject }> {
  keys ??= promisify(generateKeyPair)('rsa', { modulusLength: 2048 }).then(({ publicKey, privateKey }) => ({
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    privateKey,
  }))
  keys.catch(() => {
    keys = undefined
  })
  return keys
}

function isSecureFrom({ socket }: Wire, access: Access): boolean {
  return socket instanceof TLSSocket || access.overUnixSocket
}

/** Sends an AuthSwitchRequest with a fresh salt and reads the response. */
async function switchClient({ wire }: Client, authPlugin: string): Promise<Answer> {
  const salt = createSalt()
  writePacket(wire, encodeAuthSwitchRequest({ authPlugin, data: salt }))
  const bytes = await readPacket(wire, 'the answer to AuthSwitchRequest')
  return { plugin: authPlugin, salt, bytes }
}

/** The method that the client named, if the proxy supports it. Without a name, the one of the greeting. */
function pluginToSwitchTo({ capabilities, offeredPlugin }: Client, named: string | undefined): string {
  if (named === CACHING_SHA2_PASSWORD || named === MYSQL_NATIVE_PASSWORD) return named
  if (!named) return offeredPlugin
  // MariaDB's clients leave the flag clear.
  return has(capabilities, CLIENT_LONG_PASSWORD) ? CACHING_SHA2_PASSWORD : MYSQL_NATIVE_PASSWORD
}

/** Who a client is, and as whom it uses the database. */
export interface Users {
  /** undefined without local users */
  localUser: string | undefined
  /** the database user */
  user: string
}

/** The users of a login in which the client names `named`. @throws ProxyError CLIENT_NO_USER */
export function usersOf(named: Buffer, configured: string | undefined, { users }: Access): Users {
  const name = named.toString()
  const user = users?.find(name).databaseUser ?? configured ?? name
  if (user === '' && !users) throw new ProxyError('CLIENT_NO_USER', 'the client named no user')
  return { localUser: users && name, user }
}

/** Forwards the server's OK_Packet as the next packet to the client. */
export function sendOK(client: Client, payload: Buffer): void {
  const { wire } = client
  wire.socket.cork()
  if (client.awaitsFastAuthSuccess) writePacket(wire, encodeAuthMoreData(FAST_AUTH_SUCCESS))
  writePacket(wire, payload)
  wire.socket.uncork()
}

/** Sends the client an ERR_Packet, and ends the connection once it is sent. */
export function sendError(wire: Wire, error: ERR_Packet): void {
  // An ERR_Packet before the HandshakeV10 has no SQL state: no flags are negotiated yet.
  const sqlState = wire.sequence === 0 ? undefined : (error.sqlState ?? 'HY000')
  writePacket(wire, encodeERR_Packet({ ...error, sqlState }))
  wire.socket.end()
}
