/** One connection, top to bottom, in the order in which it happens on the wire. */
import type { Socket } from 'node:net'
import { answerCompressed, changeUser } from './change-user.ts'
import { authenticateClient, type Client, databaseUser, greet, sendError, sendOK } from './client.ts'
import { hintValues } from './endpoint.ts'
import { asProxyError, ERRORS, hintFor, ProxyError, systemCode, toERR_Packet } from './errors.ts'
import type { Logger } from './log.ts'
import { isCompressed } from './protocol/capabilities.ts'
import { relay, type Traffic } from './relay.ts'
import { dial, leave, login, type Target, throwUnlessOK, type Upstream } from './upstream.ts'
import { createWire, type Wire } from './wire.ts'

/** Milliseconds that a socket gets to deliver its last bytes. */
const LINGER = 1_000

/**
 * Serves one client from accept to close. Never rejects: what goes wrong is told to the client and logged once.
 * @param stop ends the upstream connection, and with it the session
 */
export async function runSession(socket: Socket, target: Target, log: Logger, stop: AbortSignal): Promise<void> {
  const { endpoint } = target
  const clientWire = createWire(socket, 'client', endpoint.connectTimeout + endpoint.loginTimeout)
  let upstream: Upstream | undefined
  let user: string | undefined
  let loggedIn = false
  const started = Date.now()
  try {
    upstream = await dial(endpoint, stop) // HandshakeV10
    clientWire.deadline = upstream.wire.deadline
    const client = await greet(clientWire, upstream.greeting) // HandshakeResponse41
    user = databaseUser(client.response.user, endpoint.user)
    await authenticateClient(client)
    const result = await login(upstream, target, client.response, user, stop)
    upstream = result.upstream
    throwUnlessOK(upstream.wire, result.payload, user)
    loggedIn = true
    const fields = { user, threadId: upstream.greeting.threadId }
    log.debug({ ...fields, ms: Date.now() - started }, 'session started')
    sendOK(client, result.payload)

    const traffic: Traffic = { bytesFromClient: 0, bytesFromUpstream: 0 }
    const compressed = isCompressed(client.response.capabilities & upstream.greeting.capabilities)
    let end = await relay(clientWire.socket, upstream.wire.socket, traffic, compressed)
    while (end.by === 'COM_CHANGE_USER') {
      if (compressed) await refuseChangeUser(client, target, log)
      else await changeUser(client, upstream, target)
      end = await relay(clientWire.socket, upstream.wire.socket, traffic, compressed)
    }
    const broken = end.error ? systemCode(end.error) || end.error.message : undefined
    log.debug({ ...fields, endedBy: end.by, broken, ...traffic, ms: Date.now() - started }, 'session ended')
  } catch (thrown) {
    refuse(clientWire, target, user, thrown, log)
    if (upstream && !loggedIn) await leave(upstream)
  } finally {
    upstream?.wire.socket.destroySoon()
    hangUp(clientWire)
  }
}

/** The session lives on: the client may do without the change. */
async function refuseChangeUser(client: Client, target: Target, log: Logger): Promise<void> {
  const error = new ProxyError('CHANGE_USER_COMPRESSED', 'a compressed session cannot change its user')
  logRefusal(client.wire, target, undefined, error, log)
  await answerCompressed(client.wire, toERR_Packet(error, {}))
}

function refuse(wire: Wire, target: Target, user: string | undefined, thrown: unknown, log: Logger): void {
  const error = asProxyError(thrown)
  logRefusal(wire, target, user, error, log)
  if (!wire.socket.destroyed) sendError(wire, toERR_Packet(error, hintValues(target.endpoint, user)))
}

function logRefusal(wire: Wire, target: Target, user: string | undefined, error: ProxyError, log: Logger): void {
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
