/**
 * A stand-in for an RDS server with IAM authentication. It presents a certificate with the RDS endpoint's name and verifies
 * tokens. A backend handles commands and results.
 *
 * It shares only the codec and the framing with the proxy, because it tests the rest.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { ProxyError } from '../errors.ts'
import {
  closed,
  createWire,
  readPacket,
  switchSocket,
  timedOut,
  timeLeft,
  type Wire,
  writePacket,
} from '../net/wire.ts'
import { createSalt, MYSQL_CLEAR_PASSWORD } from '../protocol/auth.ts'
import { MalformedPacket } from '../protocol/bytes.ts'
import { offeredToClient } from '../protocol/capabilities.ts'
import {
  type ERR_Packet,
  encodeAuthSwitchRequest,
  encodeERR_Packet,
  encodeHandshakeV10,
  type HandshakeResponse41,
  isSSLRequest,
  OK,
  parseHandshakeResponse41,
} from '../protocol/packets.ts'
import type { Backend } from './backend.ts'
import { type AccessKey, verifyToken } from './verify-token.ts'

export interface FakeRdsOptions {
  backend: Backend
  /** PEM of its certificate and key */
  certificate: string
  key: string
  /** the RDS endpoint that tokens must be signed for; it differs from the address of the stand-in */
  host: string
  port: number
  region: string
  /** tokens must be signed with one of these */
  accessKeys: readonly AccessKey[]
  /** all accounts; each logs in with tokens */
  users: readonly string[]
  /** the address to listen on; 127.0.0.1 and a free port by default */
  listen?: { host?: string; port?: number }
  /** the clock for the expiry of tokens */
  now?: () => Date
  onDecision?: (decision: Decision) => void
}

/** The result of one login. Never contains the token. */
export interface Decision {
  user: string
  /** length of the token, without its NUL */
  tokenBytes: number
  /** whether the token came in the HandshakeResponse41; otherwise it came after an AuthSwitchRequest */
  tokenInHandshake: boolean
  /** for example 'TLSv1.3' */
  tls: string
  /** why the login was refused; undefined if it was accepted */
  refusal: string | undefined
}

export interface FakeRds {
  address: AddressInfo
  /** Stops listening and closes all connections. The backend keeps running. */
  close(): Promise<void>
}

/** Longest login: the default connect_timeout of servers. */
const LOGIN_TIMEOUT_MS = 10_000

/** How long a client has to read its ERR_Packet and disconnect. */
const LINGER_MS = 1_000

const INSECURE_TRANSPORT: ERR_Packet = {
  errno: 3159,
  sqlState: 'HY000',
  message: 'Connections using insecure transport are prohibited while --require_secure_transport=ON.',
}

const BAD_HANDSHAKE: ERR_Packet = { errno: 1043, sqlState: '08S01', message: 'Bad handshake' }
const NO_BACKEND: ERR_Packet = {
  errno: 1040,
  sqlState: undefined,
  message: 'The backend of the stand-in is unavailable',
}

/** Starts to listen. Rejects if the address is in use or the key does not match the certificate. */
export async function startFakeRds(options: FakeRdsOptions): Promise<FakeRds> {
  const { certificate: cert, key } = options
  const secureContext = createSecureContext({ cert, key, minVersion: 'TLSv1.2' })
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    void serve(socket, secureContext, options)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.listen?.port ?? 0, options.listen?.host ?? '127.0.0.1', resolve)
  })
  return {
    address: server.address() as AddressInfo,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** Serves one connection, in wire order. */
async function serve(socket: Socket, secureContext: SecureContext, options: FakeRdsOptions): Promise<void> {
  const wire = createWire(socket, 'client', LOGIN_TIMEOUT_MS)
  const session = await options.backend.connect().catch(() => undefined)
  if (!session) return closeGracefully(wire, NO_BACKEND)
  try {
    const capabilities = offeredToClient(session.greeting.capabilities, true)
    writePacket(wire, encodeHandshakeV10({ ...session.greeting, salt: createSalt(), capabilities }))

    const request = await readPacket(wire, 'SSLRequest')
    if (!isSSLRequest(request)) return closeGracefully(wire, INSECURE_TRANSPORT)
    await acceptTls(wire, secureContext)

    const response = await readResponse(wire, request)
    const refusal = await authenticate(wire, response, options)
    if (refusal) return closeGracefully(wire, refusal)

    const result = await session.login(response)
    writePacket(wire, result)
    if (result[0] === OK) await session.serve(wire)
    closeGracefully(wire)
  } catch (error) {
    closeGracefully(wire, error instanceof MalformedPacket ? BAD_HANDSHAKE : undefined)
  } finally {
    session.end()
  }
}

/** Reads the HandshakeResponse41, but takes flags, size and charset from the SSLRequest, as servers do. */
async function readResponse(wire: Wire, request: Buffer): Promise<HandshakeResponse41> {
  const payload = await readPacket(wire, 'HandshakeResponse41')
  return parseHandshakeResponse41(Buffer.concat([request, payload.subarray(request.length)]))
}

/** @returns the ERR_Packet of a refused login, or undefined */
async function authenticate(
  wire: Wire,
  response: HandshakeResponse41,
  options: FakeRdsOptions,
): Promise<ERR_Packet | undefined> {
  const tokenInHandshake = response.authPlugin === MYSQL_CLEAR_PASSWORD && response.authResponse.length > 0
  const password = tokenInHandshake ? response.authResponse : await askForToken(wire)
  const token = password.subarray(0, password.at(-1) === 0 ? -1 : undefined).toString()
  const user = response.user.toString()
  const refusal = options.users.includes(user)
    ? verifyToken(token, { ...options, user, keys: options.accessKeys }, options.now?.())
    : 'unknown account'
  options.onDecision?.({
    user,
    tokenBytes: Buffer.byteLength(token),
    tokenInHandshake,
    tls: (wire.socket as TLSSocket).getProtocol() ?? '',
    refusal,
  })
  if (refusal === undefined) return undefined
  const host = wire.socket.remoteAddress?.replace(/^::ffff:/, '') ?? ''
  const using = token === '' ? 'NO' : 'YES'
  const message = `Access denied for user '${user}'@'${host}' (using password: ${using})`
  return { errno: 1045, sqlState: '28000', message }
}

async function askForToken(wire: Wire): Promise<Buffer> {
  writePacket(wire, encodeAuthSwitchRequest({ authPlugin: MYSQL_CLEAR_PASSWORD, data: Buffer.alloc(0) }))
  return await readPacket(wire, 'the token')
}

async function acceptTls(wire: Wire, secureContext: SecureContext): Promise<void> {
  const socket = new TLSSocket(wire.socket, { isServer: true, secureContext })
  switchSocket(wire, socket)
  await new Promise<void>((resolve, reject) => {
    const cancelTimer = wire.clock.after(timeLeft(wire), () => reject(timedOut(wire, 'TLS')))
    socket.once('close', cancelTimer)
    socket.once('close', () => reject(closed(wire, 'TLS')))
    // The only event for a failed handshake on a server socket without a tls.Server.
    socket.once('_tlsError', error => reject(new ProxyError('CLIENT_MALFORMED', 'TLS', { cause: error })))
    socket.once('secure', () => {
      cancelTimer()
      resolve()
    })
  })
}

/** Sends `error`, if any, and closes the connection. Keeps reading until the client has disconnected. */
function closeGracefully(wire: Wire, error?: ERR_Packet): void {
  const { socket } = wire
  if (socket.destroyed) return
  if (error) writePacket(wire, encodeERR_Packet(error))
  socket.end()
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}
