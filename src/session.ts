/** One connection, top to bottom, in the order in which it happens on the wire. */
import type { Socket } from 'node:net'
import { answerCompressed, changeUser } from './change-user.ts'
import { authenticateClient, type Client, databaseUser, greet, sendError, sendOK } from './client.ts'
import { hintValues } from './endpoint.ts'
import { asProxyError, ERRORS, hintFor, ProxyError, systemCode, toERR_Packet } from './errors.ts'
import { allowFarewell } from './farewell.ts'
import type { Logger } from './log.ts'
import { isCompressed } from './protocol/capabilities.ts'
import { programName } from './protocol/packets.ts'
import { createFlow, relay } from './relay.ts'
import { countOutcome, keepError, type LiveSession, timed } from './state.ts'
import { dial, leave, login, type Target, takeTurn, throwUnlessOK, type Upstream } from './upstream.ts'
import { createWire, hangUp, type Wire } from './wire.ts'
import { requireWriter } from './writer.ts'

/**
 * Serves one client from accept to close. Never rejects: what goes wrong is told to the client and logged once.
 * @param live what others see of the session, and how they end it
 * @param stop ends the upstream connection, and with it the session
 */
export async function runSession(
  socket: Socket,
  live: LiveSession,
  target: Target,
  log: Logger,
  stop: AbortSignal,
): Promise<void> {
  const { endpoint, access, queue, state } = target
  const clientWire = createWire(socket, 'client', endpoint.connectTimeout + endpoint.loginTimeout)
  const flow = createFlow()
  live.traffic = flow
  let upstream: Upstream | undefined
  let user: string | undefined
  try {
    queue.throwIfPaused(undefined)
    upstream = await timed(state, 'dial', dial(endpoint, stop)) // HandshakeV10
    live.threadId = upstream.greeting.threadId
    clientWire.deadline = upstream.wire.deadline
    const client = await timed(state, 'client', greet(clientWire, upstream.greeting, access)) // HandshakeResponse41
    const { response } = client
    user = databaseUser(response.user, endpoint.user, access)
    describe(live, client, user)
    await authenticateClient(client, { ...response, switchFirst: false }, access, live.client)
    queue.throwIfPaused(user)
    await takeTurn(target, clientWire, upstream.wire)
    const result = await login(upstream, target, response, user, stop)
    upstream = result.upstream
    throwUnlessOK(upstream.wire, result.payload, user)
    const compressed = isCompressed(response.capabilities & upstream.greeting.capabilities)
    if (endpoint.requireWriter) await requireWriter(upstream.wire, endpoint, compressed)
    loggedIn(live, target, user)
    log.info(sessionFields(live), 'session started')
    sendOK(client, result.payload)

    allowFarewell(live, flow, clientWire, upstream.wire, compressed)
    let end = await relay(clientWire.socket, upstream.wire.socket, flow, compressed)
    while (end.by === 'COM_CHANGE_USER') {
      if (compressed) await refuseChangeUser(client, live, target, log)
      else live.user = (await changeUser(client, upstream, target, live.client, end)) ?? live.user
      end = await relay(clientWire.socket, upstream.wire.socket, flow, compressed)
    }
    const broken = end.error ? systemCode(end.error) || end.error.message : undefined
    logEnd(live, live.endedBy ?? end.by, broken, log)
  } catch (thrown) {
    const error = asProxyError(thrown)
    if (live.phase === 'logging in') queue.failed(error, user)
    if (error.after) {
      if (upstream) await leave(upstream)
      await error.after
    }
    refuse(clientWire, live, target, user, error, log)
    if (live.phase === 'open') logEnd(live, live.endedBy ?? error.code, undefined, log)
    else if (upstream) await leave(upstream)
  } finally {
    upstream?.wire.socket.destroySoon()
    hangUp(clientWire)
  }
}

/** What the client has said of itself. */
function describe(live: LiveSession, { response }: Client, user: string): void {
  live.user = user
  live.database = response.database?.toString()
  live.program = programName(response.attributes)
}

function loggedIn(live: LiveSession, { queue, state }: Target, user: string): void {
  live.phase = 'open'
  queue.succeeded(user)
  countOutcome(state, 'OK')
  state.onPhase?.('total', Date.now() - live.since)
}

function sessionFields(live: LiveSession): object {
  const { client, user, database, program, threadId } = live
  return { client, user, database, program, threadId, ms: Date.now() - live.since }
}

function logEnd(live: LiveSession, endedBy: string, broken: string | undefined, log: Logger): void {
  const { bytesFromClient, bytesFromUpstream } = live.traffic
  log.info({ ...sessionFields(live), endedBy, broken, bytesFromClient, bytesFromUpstream }, 'session ended')
}

/** The session lives on: the client may do without the change. */
async function refuseChangeUser(client: Client, live: LiveSession, target: Target, log: Logger): Promise<void> {
  const error = new ProxyError('CHANGE_USER_COMPRESSED', 'a compressed session cannot change its user')
  logRefusal(live, target, undefined, error, log)
  await answerCompressed(client.wire, toERR_Packet(error, {}))
}

function refuse(
  wire: Wire,
  live: LiveSession,
  target: Target,
  user: string | undefined,
  error: ProxyError,
  log: Logger,
): void {
  logRefusal(live, target, user, error, log)
  if (!wire.socket.destroyed) sendError(wire, toERR_Packet(error, hintValues(target.endpoint, user)))
}

function logRefusal(
  live: LiveSession,
  { endpoint, state }: Target,
  user: string | undefined,
  error: ProxyError,
  log: Logger,
): void {
  const values = hintValues(endpoint, user)
  if (live.phase === 'logging in') countOutcome(state, error.code)
  keepError(state, error, values, live.client)
  const { level } = ERRORS[error.code]
  log[level](
    {
      code: error.code,
      errno: error.serverError?.errno,
      user,
      client: live.client,
      hint: hintFor(error, values) || undefined,
      stack: error.code === 'INTERNAL' && error.cause instanceof Error ? error.cause.stack : undefined,
    },
    error.message,
  )
}
