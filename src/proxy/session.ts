/** One connection, top to bottom, in the order in which it happens on the wire. */
import type { Socket } from 'node:net'
import { authenticateClient, type Client, databaseUser, greet, sendError, sendOK } from '../client/handshake.ts'
import { hintValues } from '../endpoint.ts'
import { ERRORS } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError, systemCode, toERR_Packet } from '../errors.ts'
import type { Logger } from '../log.ts'
import { createWire, endGracefully, type Wire } from '../net/wire.ts'
import { isCompressed } from '../protocol/capabilities.ts'
import { type HandshakeResponse41, programName } from '../protocol/packets.ts'
import { createFlow, relay } from '../relay/relay.ts'
import { countOutcome, keepError, type Session, timed } from '../state.ts'
import { abandonLogin } from '../upstream/abandon.ts'
import { dial, type Upstream } from '../upstream/dial.ts'
import { assertOK, login, waitForSlot } from '../upstream/login.ts'
import { requireWriter } from '../upstream/require-writer.ts'
import { answerCompressed, changeUser } from './change-user.ts'
import { installClose } from './end-session.ts'
import type { Served } from './served.ts'

/** The two connections of a session. */
interface Legs {
  client: Wire
  /** undefined before it is there */
  upstream: Wire | undefined
  /** a server that has greeted us and waits for a login: it is not to be left without one */
  unauthenticatedUpstream: Upstream | undefined
}

/**
 * Serves one client from accept to close. Never rejects: what goes wrong is told to the client and logged once.
 * @param live what others see of the session, and how they end it
 * @param stop ends the upstream connection, and with it the session
 */
export async function runSession(
  socket: Socket,
  live: Session,
  target: Served,
  log: Logger,
  stop: AbortSignal,
): Promise<void> {
  const { connectTimeout, loginTimeout } = target.endpoint
  const clientWire = createWire(socket, 'client', connectTimeout + loginTimeout)
  const legs: Legs = { client: clientWire, upstream: undefined, unauthenticatedUpstream: undefined }
  const flow = createFlow()
  live.traffic = flow
  try {
    const { client, upstream, compressed } = await handshake(legs, live, target, log, stop)

    installClose(live, flow, clientWire, upstream, compressed)
    let end = await relay(clientWire.socket, upstream.socket, flow, compressed)
    while (end.by === 'COM_CHANGE_USER') {
      if (compressed) await refuseChangeUser(client, live, target, log)
      else live.user = (await changeUser(client, upstream, target, live.client, end)) ?? live.user
      end = await relay(clientWire.socket, upstream.socket, flow, compressed)
    }
    const broken = end.error ? systemCode(end.error) || end.error.message : undefined
    logEnd(live, live.endedBy ?? end.by, broken, log)
  } catch (thrown) {
    const error = asProxyError(thrown)
    if (live.phase === 'logging in') target.breaker.failed(error, live.user, live)
    if (error.delay) {
      if (legs.unauthenticatedUpstream) await abandonLogin(legs.unauthenticatedUpstream)
      await error.delay
    }
    refuse(clientWire, live, target, error, log)
    if (live.phase === 'open') logEnd(live, live.endedBy ?? error.code, undefined, log)
    else if (legs.unauthenticatedUpstream) await abandonLogin(legs.unauthenticatedUpstream)
  } finally {
    legs.upstream?.socket.destroySoon()
    endGracefully(clientWire)
  }
}

/** What a session keeps once both logins are done: of many sessions most do nothing but be there. */
interface OpenSession {
  client: Client
  upstream: Wire
  compressed: boolean
}

/** The client's login here and ours with the server, each in the middle of the other. @throws ProxyError */
async function handshake(
  legs: Legs,
  live: Session,
  target: Served,
  log: Logger,
  stop: AbortSignal,
): Promise<OpenSession> {
  const { endpoint, access, breaker, state } = target
  breaker.throwIfOpen(undefined, live)
  const greeted = await timed(state, 'dial', dial(endpoint, stop)) // HandshakeV10
  legs.unauthenticatedUpstream = greeted
  legs.upstream = greeted.wire
  live.threadId = greeted.greeting.threadId
  legs.client.deadline = greeted.wire.deadline
  const [client, response] = await timed(state, 'client', greet(legs.client, greeted.greeting, access)) // HandshakeResponse41
  const user = databaseUser(response.user, endpoint.user, access)
  describe(live, response, user)
  await authenticateClient(client, { ...response, switchFirst: false }, access, live.client)
  breaker.throwIfOpen(user, live)
  await waitForSlot(target, legs.client, greeted.wire)
  const { upstream, payload } = await login(greeted, target, response, user, stop)
  legs.unauthenticatedUpstream = undefined
  legs.upstream = upstream.wire
  assertOK(upstream.wire, payload, user)
  const capabilities = response.capabilities & upstream.greeting.capabilities
  if (endpoint.requireWriter) await requireWriter(upstream.wire, endpoint, capabilities)
  loggedIn(live, target, user)
  log.info(sessionFields(live), 'session started')
  sendOK(client, payload)
  return { client, upstream: upstream.wire, compressed: isCompressed(capabilities) }
}

/** What the client has said of itself. */
function describe(live: Session, response: HandshakeResponse41, user: string): void {
  live.user = user
  live.database = response.database?.toString()
  live.program = programName(response.attributes)
}

function loggedIn(live: Session, { breaker, state }: Served, user: string): void {
  live.phase = 'open'
  breaker.succeeded(user)
  countOutcome(state, 'OK')
  state.onPhase?.('total', Date.now() - live.since)
}

function sessionFields(live: Session): object {
  const { client, user, database, program, threadId } = live
  return { client, user, database, program, threadId, ms: Date.now() - live.since }
}

function logEnd(live: Session, endedBy: string, broken: string | undefined, log: Logger): void {
  const { bytesFromClient, bytesFromUpstream } = live.traffic
  log.info({ ...sessionFields(live), endedBy, broken, bytesFromClient, bytesFromUpstream }, 'session ended')
}

/** The session lives on: the client may do without the change. */
async function refuseChangeUser(client: Client, live: Session, target: Served, log: Logger): Promise<void> {
  const error = new ProxyError('CHANGE_USER_UNSUPPORTED', 'a compressed session cannot change its user')
  logRefusal(live, target, error, log)
  await answerCompressed(client.wire, toERR_Packet(error, {}))
}

function refuse(wire: Wire, live: Session, target: Served, error: ProxyError, log: Logger): void {
  logRefusal(live, target, error, log)
  if (!wire.socket.destroyed) sendError(wire, toERR_Packet(error, hintValues(target.endpoint, live.user)))
}

function logRefusal(live: Session, { endpoint, state }: Served, error: ProxyError, log: Logger): void {
  const { user } = live
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
