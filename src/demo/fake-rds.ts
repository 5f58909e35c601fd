/**
 * A stand-in for an RDS server with IAM authentication: TLS with a certificate of the RDS endpoint's name, and tokens
 * that are truly verified. Commands and results are a backend's business.
 *
 * It shares the codec and the framing with the proxy, and nothing of its logic: it is there to check that.
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
  /** PEM of what it presents, and of its key */
  certificate: string
  key: string
  /** what tokens must be signed for: the RDS endpoint, wherever this stand-in listens */
  host: string
  port: number
  region: string
  /** what tokens must be signed with: any of these */
  accessKeys: readonly AccessKey[]
  /** the accounts that log in with tokens; there are no others */
  users: readonly string[]
  /** where it listens; 127.0.0.1 and a free port by default */
  listen?: { host?: string; port?: number }
  /** the clock that tokens are held against */
  now?: () => Date
  onDecision?: (decision: Decision) => void
}

/** What the stand-in made of one login. Never holds the token. */
export interface Decision {
  user: string
  /** length of the token, without its NUL */
  tokenBytes: number
  /** whether it came with the HandshakeResponse41, rather than after an AuthSwitchRequest */
  tokenInHandshake: boolean
  /** for example 'TLSv1.3' */
  tls: string
  /** why the login was refused; undefined where it was not */
  refusal: string | undefined
}

export interface FakeRds {
  address: AddressInfo
  /** Ends all connections. Leaves the backend running. */
  close(): Promise<void>
}

/** Time for a login, in milliseconds: connect_timeout of servers. */
const LOGIN_TIMEOUT = 10_000

/** Time for a client to take its ERR_Packet and leave, in milliseconds. */
const LINGER = 1000

const INSECURE_TRANSPORT: ERR_Packet = {
  errno: 3159,
  sqlState: 'HY000',
  message: 'Connections using insecure transport are prohibited while --require_secure_transport=ON.',
}

const BAD_HANDSHAKE: ERR_Packet = { errno: 1043, sqlState: '08S01', message: 'Bad handshake' }
const BACKEND_GONE: ERR_Packet = {
  errno: 1040,
  sqlState: undefined,
  message: 'The backend of the stand-in is not there',
}

/** Starts to listen; rejects where the address is taken or the certificate and key are not a pair. */
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

/** One connection, top to bottom. */
async function serve(socket: Socket, secureContext: SecureContext, options: FakeRdsOptions): Promise<void> {
  const wire = createWire(socket, 'client', LOGIN_TIMEOUT)
  const behind = await options.backend.connect().catch(() => undefined)
  if (!behind) return closeGracefully(wire, BACKEND_GONE)
  try {
    const capabilities = offeredToClient(behind.greeting.capabilities, true)
    writePacket(wire, encodeHandshakeV10({ ...behind.greeting, salt: createSalt(), capabilities }))

    const request = await readPacket(wire, 'SSLRequest')
    if (!isSSLRequest(request)) return closeGracefully(wire, INSECURE_TRANSPORT)
    await startTls(wire, secureContext)

    const response = await readResponse(wire, request)
    const refusal = await authenticate(wire, response, options)
    if (refusal) return closeGracefully(wire, refusal)

    const result = await behind.login(response)
    writePacket(wire, result)
    if (result[0] === OK) await behind.serve(wire)
    closeGracefully(wire)
  } catch (error) {
    closeGracefully(wire, error instanceof MalformedPacket ? BAD_HANDSHAKE : undefined)
  } finally {
    behind.end()
  }
}

/** A HandshakeResponse41 whose flags, sizes and charset are those of the SSLRequest before it, as servers have it. */
async function readResponse(wire: Wire, request: Buffer): Promise<HandshakeResponse41> {
  const payload = await readPacket(wire, 'HandshakeResponse41')
  return parseHandshakeResponse41(Buffer.concat([request, payload.subarray(request.length)]))
}

/** @returns the ERR_Packet for a login that is refused */
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
    : 'there is no such account'
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

async function startTls(wire: Wire, secureContext: SecureContext): Promise<void> {
  const socket = new TLSSocket(wire.socket, { isServer: true, secureContext })
  switchSocket(wire, socket)
  await new Promise<void>((resolve, reject) => {
    const cancelTimer = wire.clock.after(timeLeft(wire), () => reject(timedOut(wire, 'TLS')))
    socket.once('close', cancelTimer)
    socket.once('close', () => reject(closed(wire, 'TLS')))
    // Nothing else tells of a handshake that failed on a server's socket that no tls.Server made.
    socket.once('_tlsError', error => reject(new ProxyError('CLIENT_MALFORMED', 'TLS', { cause: error })))
    socket.once('secure', () => {
      cancelTimer()
      resolve()
    })
  })
}

/** Says why, if there is something to say, and closes; the socket is read on so that its end is seen. */
function closeGracefully(wire: Wire, error?: ERR_Packet): void {
  const { socket } = wire
  if (socket.destroyed) return
  if (error) writePacket(wire, encodeERR_Packet(error))
  socket.end()
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), LINGER)
  socket.once('close', () => clearTimeout(timer))
}
