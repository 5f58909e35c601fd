/** The login to the database after its HandshakeV10: TLS, token, OK_Packet or ERR_Packet. */
import { TLSSocket } from 'node:tls'
import { unlessAborted } from '../abort.ts'
import type { ConfirmMember } from '../aws/global-members.ts'
import type { TokenSource } from '../aws/token.ts'
import { type Endpoint, formatHostPort, isRdsProxy } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import {
  framePacket,
  frameUncompressed,
  isOpen,
  malformed,
  parsed,
  readPacket,
  startCompression,
  timeLeft,
  type Wire,
  whileConnected,
  writePacket,
} from '../net/wire.ts'
import { CACHING_SHA2_PASSWORD, clearPassword, MYSQL_CLEAR_PASSWORD, MYSQL_NATIVE_PASSWORD } from '../protocol/auth.ts'
import {
  CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
  CLIENT_SSL,
  COMPRESSION_FLAG,
  has,
  isCompressed,
  sentUpstream,
} from '../protocol/capabilities.ts'
import type { Compression } from '../protocol/inflate.ts'
import {
  AUTH_MORE_DATA,
  AUTH_SWITCH_REQUEST,
  ERR,
  encodeHandshakeResponse41,
  encodeSSLRequest,
  type HandshakeResponse41,
  type HandshakeV10,
  isERR,
  OK,
  parseAuthSwitchRequest,
  parseERR_Packet,
  type SSLRequest,
} from '../protocol/packets.ts'
import { type EndpointState, timed } from '../state.ts'
import type { AddressBook } from './address-book.ts'
import type { LineCompression } from './compression.ts'
import { dial, dialWithRoom, type Upstream, type Way } from './dial.ts'
import type { GreetingWatch } from './greeting-watch.ts'
import type { RateLimiter } from './rate-limiter.ts'
import type { LoginHistory } from './refusal.ts'
import { regionToSign } from './server-region.ts'
import { startTls } from './tls.ts'
import type { Trust } from './trust.ts'

/** An endpoint and the state that its logins share. */
export interface LoginTarget {
  endpoint: Endpoint
  limiter: RateLimiter
  state: EndpointState
  trust: Trust
  addresses: AddressBook
  greetings: GreetingWatch
  /** undefined if it is off */
  compression?: LineCompression | undefined
  /** undefined without a tunnel */
  tunnel: Way | undefined
  /** called with each TCP connection to the server */
  onConnect?: (wire: Wire) => void
  createToken: TokenSource
  /** the error for credentials that are late, if the host program gives them; undefined: that of the network to AWS */
  lateCredentials?: (() => ProxyError) | undefined
  /** called when the server has refused a token of this user; undefined if tokens are not reused */
  forgetToken?: ((user: string) => void) | undefined
  /** of an Aurora global endpoint: asks RDS about a certificate that names only a cluster */
  confirmMember?: ConfirmMember | undefined
  /** whether the server accepts a token inside HandshakeResponse41; undefined until a login has shown it */
  takesTokenInHandshake: boolean | undefined
  history: LoginHistory
}

/** The server's own default. https://dev.mysql.com/doc/refman/8.4/en/mysql-command-options.html#option_mysql_zstd-compression-level */
const ZSTD_LEVEL = 3

/** Part of the login's time that slow credentials must leave for TLS and the server. */
const RESERVED_FOR_LOGIN_MS = 1_000

/** The payload of the server's OK_Packet or ERR_Packet, and the connection that it came over. */
export interface LoginResult {
  upstream: Upstream
  payload: Buffer
  /** what to do about a refused login, if something points to its reason */
  hint: string | undefined
}

/** A command without parameters. @param compressed whether the session has compressed packets */
export function writeCommand(wire: Wire, command: number, compressed: boolean): void {
  const packet = framePacket(Buffer.of(command), 0)
  wire.sequence = 1
  wire.socket.write(compressed ? frameUncompressed(packet, 0) : packet)
}

/** Turns the server's refusal into our error, which is the only way to answer a client. @throws ProxyError UPSTREAM_REFUSED_LOGIN */
export function assertOK(wire: Wire, payload: Buffer, user: string, hint?: string): void {
  if (payload[0] === OK) return
  const serverError = parsed(wire, 'the result of the login', () => parseERR_Packet(payload))
  throw new ProxyError('UPSTREAM_REFUSED_LOGIN', serverError.message, { serverError, hint, hintValues: { user } })
}

/**
 * Logs in: SSLRequest, TLS verified as the RDS endpoint, HandshakeResponse41 with a token for `user`.
 *
 * HandshakeResponse41 carries the token, which saves a round trip. AWS does not document that every RDS front end accepts
 * this. Until it has worked once, a refused login is retried with an AuthSwitchRequest over a second connection.
 * @param client the client's own response, for its flags, charset, database and connection attributes
 * @throws ProxyError DIAL_…, TLS_…, UPSTREAM_…, AUTH_PLUGIN_UNEXPECTED, CREDENTIALS_…
 */
export async function login(
  upstream: Upstream,
  target: LoginTarget,
  client: HandshakeResponse41,
  user: string,
  stop: AbortSignal,
): Promise<LoginResult> {
  const { tokenInHandshake: setting } = target.endpoint
  const atOnce = sendsTokenAtOnce(target)
  const attempt = (on: Upstream) => loginOnce(on, target, client, user, atOnce)
  const isUsable = isPreparedFor(upstream, client) && !(upstream.end && !isUntouched(upstream.wire))
  const first = isUsable ? await attempt(upstream).catch(ifStale(upstream)) : undefined
  if (!first) {
    void upstream.end?.()
    return await logInAgain(upstream, target, stop, attempt)
  }
  const { payload } = first
  if (payload[0] === OK && atOnce) target.takesTokenInHandshake = true
  const undecided = setting === 'auto' && target.takesTokenInHandshake === undefined
  if (!undecided || !isAccessDenied(payload)) return { upstream, ...first }

  upstream.wire.socket.destroy()
  return await logInAgain(upstream, target, stop, async second => {
    await target.limiter.acquire(tokenDeadline(second.wire), target.state, stop)
    const result = await loginOnce(second, target, client, user, false)
    if (result.payload[0] === OK) target.takesTokenInHandshake = false
    return result
  })
}

/** Whether the next login has its token in HandshakeResponse41. */
export function sendsTokenAtOnce({ endpoint, takesTokenInHandshake }: LoginTarget): boolean {
  const { tokenInHandshake: setting } = endpoint
  return setting === 'auto' ? (takesTokenInHandshake ?? true) : setting === 'always'
}

/** Whether a connection that waits for its login is open, and the server has sent nothing, as far as this process has read. */
export function isUntouched(wire: Wire): boolean {
  return isOpen(wire) && wire.socket.readableLength === 0
}

/**
 * Undefined for the error of a prepared connection that the server has closed while it waited. MySQL sends an ERR_Packet before,
 * with a sequence id that does not follow the login.
 */
function ifStale({ end }: Upstream) {
  return (error: unknown): undefined => {
    const isClosed = error instanceof ProxyError && /^UPSTREAM_(CLOSED|NOT_MYSQL)$/.test(error.code)
    if (!end || !isClosed) throw error
  }
}

/** Runs `work` on a second connection. The server has just answered, so it greets soon. */
async function logInAgain(
  first: Upstream,
  target: LoginTarget,
  stop: AbortSignal,
  work: (second: Upstream) => Promise<Omit<LoginResult, 'upstream'>>,
): Promise<LoginResult> {
  const { loginTimeout } = target.endpoint
  const stopOfClient = first.wire.stop
  const dialAgain = () => dial({ ...target.endpoint, greetingTimeout: loginTimeout }, stop, target)
  // The first may have the last place.
  const second = await dialWithRoom(dialAgain, async () => {
    await first.end?.()
    return first.end !== undefined
  })
  second.wire.stop = stopOfClient
  try {
    return { upstream: second, ...(await work(second)) }
  } catch (error) {
    second.wire.socket.destroy()
    throw error
  }
}

/** Whether a connection that is in TLS already (prepared.ts) has the flags of this client. */
function isPreparedFor({ compression, greeting, sslRequest }: Upstream, client: HandshakeResponse41): boolean {
  if (!sslRequest) return true
  // A client that asks for compression itself compresses from end to end.
  if (compression && isCompressed(client.capabilities)) return false
  return encodeSSLRequest(sslRequest).equals(encodeSSLRequest(requestOf(client, greeting, compression)))
}

/** Sends the SSLRequest of a client, with the compression that the proxy adds. */
export function sendRequestOf(client: HandshakeResponse41, upstream: Upstream, target: LoginTarget): void {
  upstream.compression = target.compression?.choose(client.capabilities, upstream.greeting.capabilities)
  sendSSLRequest(upstream, requestOf(client, upstream.greeting, upstream.compression))
}

/** The client's flags, as far as the server has them, and that of `compression`. */
function requestOf(
  client: HandshakeResponse41,
  greeting: HandshakeV10,
  compression: Compression | undefined,
): SSLRequest {
  const capabilities = sentUpstream(client.capabilities, greeting.capabilities, {
    database: client.database !== undefined,
    attributes: client.attributes !== undefined,
  })
  return { ...client, capabilities: compression ? (capabilities | COMPRESSION_FLAG[compression]) >>> 0 : capabilities }
}

const ER_ACCESS_DENIED_ERROR = 1045

function isAccessDenied(payload: Buffer): boolean {
  return isERR(payload, ER_ACCESS_DENIED_ERROR)
}

/** Checks by its greeting that the server can receive a token. @throws ProxyError TLS_NOT_OFFERED, UPSTREAM_TOO_OLD */
export function assertSupportsTokens(greeting: HandshakeV10, endpoint: Endpoint): void {
  if (!has(greeting.capabilities, CLIENT_SSL)) {
    throw new ProxyError('TLS_NOT_OFFERED', `the server at ${formatHostPort(endpoint.dial)} does not offer TLS`)
  }
  if (!has(greeting.capabilities, CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)) {
    throw new ProxyError(
      'UPSTREAM_TOO_OLD',
      `the server at ${formatHostPort(endpoint.dial)}, version ${greeting.serverVersion}, cannot receive a token`,
    )
  }
}

/** Sends the SSLRequest. HandshakeResponse41 must repeat its flags: to MySQL, other flags are a bad handshake. */
export function sendSSLRequest(upstream: Upstream, sslRequest: SSLRequest): void {
  upstream.sslRequest = sslRequest
  writePacket(upstream.wire, encodeSSLRequest(sslRequest))
}

/** One attempt to log in, on a connection that is greeted, or in TLS already with the flags of `client`. */
export async function loginOnce(
  upstream: Upstream,
  target: LoginTarget,
  client: HandshakeResponse41,
  user: string,
  tokenInHandshake: boolean,
): Promise<Omit<LoginResult, 'upstream'>> {
  const { endpoint, trust } = target
  const { wire, greeting } = upstream
  assertSupportsTokens(greeting, endpoint)
  const createToken = () => timed(target.state, 'token', createTokenInTime(target, user, wire))
  // A global endpoint's region is on the server's certificate.
  const isGlobal = endpoint.rds.region === undefined
  const early = isGlobal ? undefined : await createToken()

  if (!upstream.sslRequest) {
    sendRequestOf(client, upstream, target)
    await timed(target.state, 'tls', startTls(wire, endpoint, trust, target.confirmMember))
  }
  const { compression } = upstream
  const { capabilities } = upstream.sslRequest!
  target.state.certificateExpires = trust.certificateExpires()
  const token = early ?? (await createToken())

  const response = {
    ...client,
    capabilities,
    user: Buffer.from(user),
    authResponse: tokenInHandshake ? clearPassword(token) : Buffer.alloc(0),
    authPlugin: tokenInHandshake ? MYSQL_CLEAR_PASSWORD : placeholderPlugin(greeting),
    zstdLevel: compression === 'zstd' ? ZSTD_LEVEL : client.zstdLevel,
  }
  sendSecret(wire, encodeHandshakeResponse41(response))
  const { payload, wasAsked } = await timed(target.state, 'login', resultOfLogin(wire, user, token))
  if (compression && payload[0] === OK) startCompression(wire, compression, target.compression?.onTooLarge())
  // The first of two attempts has shown already that the server expects a token: it asked for nothing else.
  const isSecond = endpoint.tokenInHandshake === 'auto' && target.takesTokenInHandshake === undefined
  const expectsToken = wasAsked || tokenInHandshake || isSecond
  return { payload, hint: noteResult(target, payload, user, token, expectsToken) }
}

/**
 * Keeps the result of a login with `token`. Returns what to do about a refusal, if something points to its reason.
 * @param expectsToken whether the server asked for the token, or took it as the answer to a method that it expects
 */
export function noteResult(
  { endpoint, forgetToken, history, state }: LoginTarget,
  payload: Buffer,
  user: string,
  token: string,
  expectsToken = true,
): string | undefined {
  if (payload[0] === OK) history.succeeded(user, token)
  if (!isAccessDenied(payload)) return undefined
  forgetToken?.(user)
  // An RDS Proxy has its own rules: its database users need no plugin for IAM.
  const isExpected = expectsToken || isRdsProxy(endpoint.rds.host)
  return history.hintFor({ user, token, expectsToken: isExpected, credentialsExpire: state.credentialsExpire })
}

/** The server's OK_Packet or ERR_Packet, after an AuthSwitchRequest if the server sends one. */
async function resultOfLogin(wire: Wire, user: string, token: string): Promise<{ payload: Buffer; wasAsked: boolean }> {
  let wasAsked = false
  let result = await readPacket(wire, 'the result of the login')
  if (result[0] === AUTH_SWITCH_REQUEST) {
    const question = result
    const { authPlugin } = parsed(wire, 'AuthSwitchRequest', () => parseAuthSwitchRequest(question))
    if (authPlugin !== MYSQL_CLEAR_PASSWORD) throw await refuseToSwitch(wire, user, authPlugin)
    sendSecret(wire, clearPassword(token))
    wasAsked = true
    result = await readPacket(wire, 'the result of the login')
  }
  if (result[0] === OK || result[0] === ERR) return { payload: result, wasAsked }
  if (result[0] === AUTH_MORE_DATA || result[0] === AUTH_SWITCH_REQUEST) throw unexpectedPlugin(user, 'more data')
  throw malformed(wire, 'the result of the login: neither OK_Packet nor ERR_Packet')
}

/** Creates a token within the time of this login. @throws ProxyError CREDENTIALS_…; the reason of `wire.stop` */
export async function createTokenInTime(target: LoginTarget, user: string, wire: Wire): Promise<string> {
  let cancelTimer = () => {}
  const late = new Promise<never>((_resolve, reject) => {
    const giveUp = () => reject((target.lateCredentials ?? lateCredentials)())
    cancelTimer = wire.clock.after(tokenDeadline(wire) - wire.clock.now(), giveUp)
  })
  try {
    const token = Promise.race([target.createToken(user, regionToSign(target.endpoint, wire)), late])
    return await (wire.stop ? unlessAborted(token, wire.stop) : token)
  } finally {
    cancelTimer()
  }
}

function lateCredentials(): ProxyError {
  return new ProxyError('CREDENTIALS_TIMEOUT', 'AWS credentials did not arrive in time for this login')
}

/**
 * Waits for the login's slot in the rate limit. If the client disconnects meanwhile, no token is signed.
 * @throws ProxyError LOGIN_QUEUE_FULL, CLIENT_CLOSED
 */
export async function waitForSlot({ limiter, state }: LoginTarget, client: Wire, upstream: Wire): Promise<void> {
  if (isOpen(client) && limiter.tryAcquire()) return
  const work = (disconnected: AbortSignal) => limiter.acquire(tokenDeadline(upstream), state, disconnected)
  await whileConnected(client, 'its slot of the login rate', work)
}

/** When the token must be there, in the time of the wire's clock. */
function tokenDeadline(wire: Wire): number {
  const left = timeLeft(wire)
  return wire.clock.now() + Math.max(left - RESERVED_FOR_LOGIN_MS, left / 2)
}

/** Any plugin except mysql_clear_password: with that one, the empty response would be the password. */
export function placeholderPlugin(greeting: HandshakeV10): string {
  return greeting.authPlugin === CACHING_SHA2_PASSWORD ? CACHING_SHA2_PASSWORD : MYSQL_NATIVE_PASSWORD
}

/**
 * Answers an AuthSwitchRequest for another method with an empty response, so that the server refuses the login itself.
 * A connection that just closes would count towards max_connect_errors. Resolves with the error for the client.
 */
export async function refuseToSwitch(wire: Wire, user: string, asked: string): Promise<ProxyError> {
  writePacket(wire, Buffer.alloc(0))
  await readPacket(wire, 'the refusal of the login').catch(() => undefined)
  return unexpectedPlugin(user, asked)
}

/** The error for a server that wants another login than a token. @param asked what the server asks for */
export function unexpectedPlugin(user: string, asked: string): ProxyError {
  const message = `access denied for user '${user}': the server asks for ${asked}, not for an IAM token`
  return new ProxyError('AUTH_PLUGIN_UNEXPECTED', message, { hintValues: { user } })
}

/** Sends a token. No other code does. */
export function sendSecret(wire: Wire, payload: Buffer): void {
  const socket = wire.carrier ?? wire.socket
  if (!(socket instanceof TLSSocket) || !socket.authorized) throw new Error('a token outside verified TLS')
  writePacket(wire, payload)
}
