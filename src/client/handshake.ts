/** The leg to the client: greet → [TLS] → HandshakeResponse41; local login; result. */
import { constants, generateKeyPair, type KeyObject, privateDecrypt } from 'node:crypto'
import { TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { ProxyError } from '../errors.ts'
import { parsed, readPacket, type Wire, writePacket } from '../net/wire.ts'
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
import { CLIENT_LONG_PASSWORD, has, offeredToClient } from '../protocol/capabilities.ts'
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
import { startClientTls } from './tls.ts'

/** A client that has answered the greeting: what a session keeps of it. */
export interface Client {
  wire: Wire
  /** those of its answer */
  capabilities: number
  charset: number
  /** the method that our greeting named */
  offeredPlugin: string
  /** the salt of our greeting */
  salt: Buffer
  /** what the client waits for before its OK_Packet */
  awaitsFastAuthSuccess: boolean
}

/**
 * Greets a client as the server greeted us: version, thread id, charset, status and MariaDB's extensions are the server's;
 * capabilities are those that both legs can keep; the salt is our own, and so is TLS.
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
      throw new ProxyError('CLIENT_TLS_NOT_OFFERED', 'the client insists on TLS, which is not offered here')
    await startClientTls(wire, access.tls)
    payload = await readPacket(wire, 'HandshakeResponse41')
  } else if (access.requireTls && !access.overUnixSocket) {
    throw new ProxyError('CLIENT_TLS_REQUIRED', 'this address takes TLS connections only')
  }
  const response = parsed(wire, 'HandshakeResponse41', () => parseHandshakeResponse41(payload))
  const { capabilities, charset } = response
  return [{ wire, capabilities, charset, offeredPlugin, salt, awaitsFastAuthSuccess: false }, response]
}

/** A method that clients of this server know: old and MariaDB ones lack caching_sha2_password. */
function pluginForClients(server: HandshakeV10): string {
  return server.authPlugin === CACHING_SHA2_PASSWORD ? CACHING_SHA2_PASSWORD : MYSQL_NATIVE_PASSWORD
}

/** What a client says of itself, at its login or with COM_CHANGE_USER. */
export interface LocalLogin {
  user: Buffer
  /** undefined of a client that knows of no methods: mysql_native_password */
  authPlugin: string | undefined
  authResponse: Buffer
  /** whether `authResponse` counts for nothing, and an AuthSwitchRequest is to come first */
  switchFirst: boolean
}

/** A client's answer to a salt of ours, by the method it was made with. */
interface Answer {
  plugin: string
  salt: Buffer
  bytes: Buffer
}

/**
 * Takes the client's login: with local users, theirs alone; without, any password or none. Clients still have to be led
 * through the method of their choice: those of MySQL 9 lack mysql_native_password, those of MariaDB caching_sha2_password.
 * @param address where the client comes from
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
  if (!loginThrottle.begin(address, user.name)) {
    const message = `too many logins at a time as '${user.name}' from ${address}, whose last ones had a wrong password`
    throw new ProxyError('CLIENT_THROTTLED', message)
  }
  let using = 'NO'
  try {
    const answer = await usableAnswer(client, login, user, access)
    if (!isEmptyPassword(answer.bytes)) using = 'YES'
    const isRight = await checkAnswer(client, user, answer, access)
    if (isRight && !user.isDecoy) return loginThrottle.succeed(address, user.name)
  } catch (error) {
    loginThrottle.cancel(address, user.name)
    throw error
  }
  const message = `access denied for local user '${user.name}' (using password: ${using})`
  throw new ProxyError('CLIENT_ACCESS_DENIED', message, { delay: loginThrottle.fail(address, user.name) })
}

async function takeAnyPassword(client: Client, login: LocalLogin): Promise<void> {
  const { authPlugin, authResponse, switchFirst } = login
  // A client that names another method than the greeting's may have kept its answer back.
  const isOther = authPlugin !== undefined && authPlugin !== client.offeredPlugin && authPlugin !== MYSQL_CLEAR_PASSWORD
  const mustSwitch = isOther || (switchFirst && authPlugin !== undefined)
  const answer = mustSwitch
    ? await switchClient(client, pluginToSwitchTo(client, authPlugin))
    : { plugin: authPlugin, bytes: authResponse }
  client.awaitsFastAuthSuccess = answer.plugin === CACHING_SHA2_PASSWORD && !isEmptyPassword(answer.bytes)
}

/** The client's answer, if it can be checked against what is known of the user; or what it answers to an AuthSwitchRequest. */
async function usableAnswer(client: Client, login: LocalLogin, user: LocalUser, access: Access): Promise<Answer> {
  const { authPlugin, authResponse, switchFirst } = login
  const given = { plugin: authPlugin ?? MYSQL_NATIVE_PASSWORD, salt: client.salt, bytes: authResponse }
  if (authPlugin === undefined) return given
  const isSecure = isSecureFrom(client.wire, access)
  // A password of which only the hash is known must be sent whole once, which without TLS few clients do.
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

async function checkAnswer(client: Client, user: LocalUser, answer: Answer, access: Access): Promise<boolean> {
  const { plugin, salt, bytes } = answer
  if (plugin === MYSQL_CLEAR_PASSWORD) return checkPassword(user, clearText(bytes))
  if (plugin === MYSQL_NATIVE_PASSWORD) return user.native !== undefined && checkNative(bytes, salt, user.native)
  if (isEmptyPassword(bytes)) return false
  if (!user.sha2) return checkPassword(user, await wholePassword(client, salt, access))
  client.awaitsFastAuthSuccess = checkSha2(bytes, salt, user.sha2)
  return client.awaitsFastAuthSuccess
}

/** The full authentication of caching_sha2_password: the password itself, inside TLS or encrypted for our key. */
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

/** A key pair for this process, made when a client first asks. */
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

/** Leads the client through an AuthSwitchRequest. */
async function switchClient({ wire }: Client, authPlugin: string): Promise<Answer> {
  const salt = createSalt()
  writePacket(wire, encodeAuthSwitchRequest({ authPlugin, data: salt }))
  const bytes = await readPacket(wire, 'the answer to AuthSwitchRequest')
  return { plugin: authPlugin, salt, bytes }
}

/** The method that the client named where that can be done. */
function pluginToSwitchTo({ capabilities }: Client, named: string): string {
  if (named === CACHING_SHA2_PASSWORD || named === MYSQL_NATIVE_PASSWORD) return named
  // MariaDB's clients leave the flag clear.
  return has(capabilities, CLIENT_LONG_PASSWORD) ? CACHING_SHA2_PASSWORD : MYSQL_NATIVE_PASSWORD
}

/** The database user to log in as. @throws ProxyError CLIENT_NO_USER */
export function databaseUser(named: Buffer, configured: string | undefined, access: Access): string {
  const name = named.toString()
  const user = access.users?.find(name).databaseUser ?? configured ?? name
  if (user === '' && !access.users) throw new ProxyError('CLIENT_NO_USER', 'the client named no user')
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
