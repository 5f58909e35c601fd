/** One connection, top to bottom, in the order in which it happens on the wire. */
import type { Socket } from 'node:net'
import { authenticateClient, databaseUser, greet, sendError, sendOK } from './client.ts'
import { hintValues } from './endpoint.ts'
import { asProxyError, ERRORS, hintFor, ProxyError, systemCode, toERR_Packet } from './errors.ts'
import type { Logger } from './log.ts'
import { ERR, parseERR_Packet } from './protocol/packets.ts'
import { relay } from './relay.ts'
import { dial, type LoginResult, login, type Target, type Upstream } from './upstream.ts'
import { createWire, type Wire } from './wire.ts'

/** Milliseconds that a socket gets to deliver its last bytes. */
const LINGER = 1_000

/** Serves one client from accept to close. Never rejects: what goes wrong is told to the client and logged once. */
export async function runSession(socket: Socket, target: Target, log: Logger): Promise<void> {
  const { endpoint } = target
  const clientWire = createWire(socket, 'client', endpoint.connectTimeout + endpoint.loginTimeout)
  let upstream: Upstream | undefined
  let user: string | undefined
  const started = Date.now()
  try {
    upstream = await dial(endpoint) // HandshakeV10
    clientWire.deadline = upstream.wire.deadline
    const client = await greet(clientWire, upstream.greeting) // HandshakeResponse41
    user = databaseUser(client, endpoint.user)
    await authenticateClient(client)
    const result = await login(upstream, target, client.response, user)
    upstream = result.upstream
    throwUnlessOK(result)
    const threadId = upstream.greeting.threadId
    log.debug({ user, threadId, ms: Date.now() - started }, 'session started')
    sendOK(client, result.payload)
    const { endedBy, error, ...bytes } = await relay(clientWire.socket, upstream.wire.socket)
    const broken = error ? systemCode(error) || error.message : undefined
    log.debug({ user, threadId, endedBy, broken, ...bytes, ms: Date.now() - started }, 'session ended')
  } catch (thrown) {
    refuse(clientWire, target, user, thrown, log)
  } finally {
    upstream?.wire.socket.destroySoon()
    hangUp(clientWire)
  }
}

/** The server's refusal becomes our error, so that there is one way to tell a client. */
function throwUnlessOK({ payload }: LoginResult): void {
  if (payload[0] !== ERR) return
  const serverError = parseERR_Packet(payload)
  throw new ProxyError('UPSTREAM_REFUSED_LOGIN', serverError.message, { serverError })
}

function refuse(wire: Wire, target: Target, user: string | undefined, thrown: unknown, log: Logger): void {
  const error = asProxyError(thrown)
  const values = hintValues(target.endpoint, user)
  const { level } = ERRORS[error.code]
  log[level](
    {
      code: error.code,
      errno: error.serverError?.errno,
      user,
      client: wire.socket.remoteAddress,
      hint: hintFor(error, values) || undefined,
      stack: error.code === 'INTERNAL' && error.cause instanceof Error ? error.cause.stack : undefined,
    },
    error.message,
  )
  if (!wire.socket.destroyed) sendError(wire, toERR_Packet(error, values))
}

/** Ends the client's socket so that its last packet arrives: unread bytes at close would turn the end into a reset. */
function hangUp({ socket }: Wire): void {
  if (socket.destroyed) return
  socket.end()
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), LINGER)
  socket.once('end', () => socket.destroySoon())
  socket.once('close', () => clearTimeout(timer))
}
