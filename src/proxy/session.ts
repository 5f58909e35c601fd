/** One connection, top to bottom, in wire order: the diagram in docs/architecture.md. */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { type Access, addressRefusal } from '../client/access.ts'
import { authenticateClient, type Client, greet, sendError, sendOK, type Users, usersOf } from '../client/handshake.ts'
import { sourceOf } from '../client/source.ts'
import { monotonicClock } from '../clock.ts'
import { formatHostPort, hintValues } from '../endpoint.ts'
import { ERRORS } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError, systemCode, toERR_Packet } from '../errors.ts'
import { emitLoginFailed, type SessionEnd } from '../events.ts'
import { type Logger, withFields } from '../log.ts'
import { readProxyHeader } from '../net/proxy-protocol.ts'
import { createWire, endGracefully, malformed, unlessDisconnected, type Wire, whileConnected } from '../net/wire.ts'
import { MalformedPacket } from '../protocol/bytes.ts'
import { isCompressed } from '../protocol/capabilities.ts'
import { type HandshakeResponse41, programName } from '../protocol/packets.ts'
import { createFlow, type Flow, type RelayEnd, relay } from '../relay/relay.ts'
import { countOutcome, eventFields, keepError, type Session, sessionFields, timed } from '../state.ts'
import { abandonLogin } from '../upstream/abandon.ts'
import { dial, dialWithRoom, isDialError, mayHaveMoved, type Upstream } from '../upstream/dial.ts'
import { assertOK, login, waitForSlot } from '../upstream/login.ts'
import { requireWriter } from '../upstream/require-writer.ts'
import type { Place } from './admission.ts'
import { changeUser, refuseCompressed } from './change-user.ts'
import {
  cutOff,
  delayRefusal,
  type Ending,
  endError,
  endWith,
  installClose,
  installStop,
  writeError,
} from './end-session.ts'
import type { Dialling } from './orphans.ts'
import type { Served } from './served.ts'
import { watchdog } from './watchdog.ts'

/** How long a login to be refused may wait for its slot of the rate: the server counts its own time limit as an error. */
const ABANDON_WAIT_MS = 1_000

const NOTHING_YET = { bytesFromClient: 0, bytesFromUpstream: 0 }

const NOT_COMPRESSED = { compression: undefined, lineBytesFromClient: undefined, lineBytesFromServer: undefined }

/** The two connections of a session. */
interface Legs {
  client: Wire
  /** undefined before the greeting */
  upstream: Wire | undefined
  /** why the tunnel to the server was lost; undefined without a tunnel */
  lost: Upstream['lost']
  /** a connection that waits for its greeting */
  dialling: Dialling | undefined
  /** An upstream that sent its greeting but got no login yet. Send it one before disconnecting (abandon.ts). */
  unauthenticatedUpstream: Upstream | undefined
  /** among the clients that have not logged in; undefined before, and once the login has its slot of the rate */
  place: Place | undefined
  /** whether packets travel inside compressed packets now */
  compressed: boolean
}

/** How an open session ended. */
export interface EndOfSession {
  /** the code of `error`, or words */
  endedBy: string
  /** what broke a connection */
  cause: string | undefined
  /** undefined if the client or the server ended it */
  error: ProxyError | undefined
}

/**
 * Serves one client from accept to close. Never rejects: an error goes to the client, and once to the log.
 * @param session what others see of the session, and how they end it
 * @param endpointLog names the endpoint in each line
 * @param stop ends the upstream connection, and with it the session
 * @returns undefined if the client did not log in
 */
export async function runSession(
  socket: Socket,
  session: Session,
  target: Served,
  endpointLog: Logger,
  stop: AbortSignal,
): Promise<EndOfSession | undefined> {
  const log = withFields(endpointLog, () => sessionFields(session))
  const { connectTimeout, loginTimeout } = target.endpoint
  const wire = createWire(socket, 'client', connectTimeout + loginTimeout)
  installStop(session, wire)
  const legs: Legs = {
    client: wire,
    upstream: undefined,
    lost: undefined,
    dialling: undefined,
    unauthenticatedUpstream: undefined,
    place: undefined,
    compressed: false,
  }
  const flow = createFlow()
  session.traffic = flow
  let unwatch = () => {}
  let unmeasure = () => {}
  let failure: ProxyError | undefined
  try {
    const [client, upstream] = await handshake(legs, session, target, log, stop)
    const ending: Ending = { session, flow, client: wire, upstream, compressed: legs.compressed }
    installClose(ending)
    unmeasure = target.compression?.line?.watch(upstream.carrier ?? upstream.socket) ?? unmeasure
    unwatch = watchdog.watch({
      endpoint: target.endpoint,
      traffic: flow,
      client: wire.socket,
      upstream: upstream.socket,
      clientTransport: socket,
      end(error, isOfAddress) {
        failure = error
        endUnreachable(error, isOfAddress, ending, socket, target, log)
      },
    })
    const onUpstreamError = (thrown: Error) => {
      if (!(thrown instanceof MalformedPacket) || session.endedBy) return
      failure = new ProxyError(
        'UPSTREAM_MALFORMED',
        `the server sent an invalid compressed packet: ${thrown.message}`,
        { cause: thrown },
      )
      logError(session, target, failure, log)
      endWith(ending, failure)
    }
    const end = await relayCommands(client, ending, onUpstreamError, target, log)
    const cause = end.error ? systemCode(end.error) || end.error.message : undefined
    const isLost = end.by === 'upstream' && !flow.hasQuit && !session.endedBy
    if (isLost) distrustName(target)
    const lost = end.by === 'upstream' && !session.endedBy ? await legs.lost?.() : undefined
    if (lost) logError(session, target, lost, log)
    failure = session.endedBy ? endError(session.endedBy, failure) : lost
    return logEnd(session, { endedBy: failure?.code ?? howItEnded(end, flow), cause, error: failure }, log)
  } catch (thrown) {
    const error = await orLost(asProxyError(thrown), legs)
    if (session.phase === 'logging in') target.breaker.failed(error, session.user, session)
    if (mayHaveMoved(error)) distrustName(target)
    const abandoned = session.phase === 'open' ? undefined : abandon(legs, session, target, stop)
    if (error.delay) await delayRefusal(error.delay, session, wire.socket)
    refuse(legs, session, target, error, log)
    endGracefully(wire) // the database may take a minute to greet
    await abandoned
    if (session.phase !== 'open') return undefined
    failure = endError(session.endedBy ?? error.code, failure ?? error)
    return logEnd(session, { endedBy: failure.code, cause: undefined, error: failure }, log)
  } finally {
    unwatch()
    unmeasure()
    legs.upstream?.socket.destroySoon()
    endGracefully(wire)
  }
}

/** The name that is dialled may lead elsewhere: the next logins look it up. */
function distrustName({ addresses, endpoint, prepared }: Served): void {
  addresses.names.distrust((endpoint.proxy ?? endpoint.dial).host)
  void prepared?.clear()
}

/** The error of the tunnel, if its end has closed the connection to the server. */
async function orLost(error: ProxyError, { lost }: Legs): Promise<ProxyError> {
  return (error.code === 'UPSTREAM_CLOSED' && (await lost?.())) || error
}

/** Runs both handshakes, interleaved as in docs/architecture.md. @throws ProxyError */
async function handshake(
  legs: Legs,
  session: Session,
  target: Served,
  log: Logger,
  stop: AbortSignal,
): Promise<[Client, Wire]> {
  const { endpoint, access, breaker, state } = target
  if (access.expectsProxyHeader(session.client)) await readClientAddress(legs.client, session, access)
  breaker.throwIfOpen(undefined, session)
  const dialling = target.orphans.take(sourceOf(session.client)) ?? (await startToDial(legs, session, target, stop))
  const { place } = dialling
  Object.assign(legs, { place, dialling })
  const greeted = await timed(state, 'dial', receiveGreeting(legs, target)) // HandshakeV10
  legs.dialling = undefined
  legs.unauthenticatedUpstream = greeted
  greeted.wire.stop = legs.client.stop
  legs.upstream = greeted.wire
  legs.lost = greeted.lost
  session.threadId = greeted.greeting.threadId
  legs.client.deadline = greeted.wire.deadline
  place.watch(legs.client.socket)
  const logInHere = async () => {
    const [client, response] = await timed(state, 'client', greet(legs.client, greeted.greeting, access)) // HandshakeResponse41
    const users = usersOf(response.user, endpoint.user, access)
    describe(session, response, users)
    if (client.wire.socket instanceof TLSSocket) session.tls = client.wire.socket.getProtocol() ?? undefined
    await authenticateClient(client, { ...response, switchFirst: false }, access, session.client)
    return { client, response, user: users.user }
  }
  const { client, response, user } = await Promise.race([logInHere(), place.lost])
  place.unwatch()
  breaker.throwIfOpen(user, session)
  await waitForSlot(target, legs.client, greeted.wire)
  place.leave()
  legs.place = undefined
  const source = sourceOf(session.client)
  target.prepared?.expect(source, response, () => dial(target.endpoint, stop, target))
  const { upstream, payload, hint } = await login(greeted, target, response, user, stop)
  legs.unauthenticatedUpstream = undefined
  legs.upstream = upstream.wire
  legs.lost = upstream.lost
  session.threadId = upstream.greeting.threadId
  assertOK(upstream.wire, payload, user, hint)
  target.prepared?.succeeded(source, response, user)
  const capabilities = response.capabilities & upstream.greeting.capabilities
  if (endpoint.requireWriter) await requireWriter(upstream.wire, endpoint, capabilities)
  legs.client.stop = upstream.wire.stop = undefined
  session.compressed = upstream.wire.compressed
  if (session.compressed) Object.assign(session.compressed, NOTHING_YET)
  loggedIn(session, target, user)
  log.info(loginFields(session), 'session started')
  state.emit('sessionStart', () => [{ ...eventFields(session), durationMs: roundedAge(session) }])
  sendOK(client, payload)
  legs.compressed = isCompressed(capabilities)
  return [client, upstream.wire]
}

/** Reads the PROXY protocol header, which names the real client. @throws ProxyError PROXY_HEADER_INVALID, CLIENT_NOT_ALLOWED */
async function readClientAddress(client: Wire, session: Session, access: Access): Promise<void> {
  const header = await readProxyHeader(client)
  session.client = header.client ?? session.client
  const refusal = addressRefusal(access, session.client)
  if (refusal) throw refusal
}

/** Waits for a place among the clients that have not logged in. @throws ProxyError TOO_MANY_UNAUTHENTICATED, CLIENT_CLOSED */
async function enter(
  client: Wire,
  session: Session,
  { admission, endpoint, greetings, state, tunnel }: Served,
): Promise<Place> {
  const source = sourceOf(session.client)
  const place = admission.tryEnter(source)
  if (place) return place
  const isSilent = () => greetings.isSilent() || tunnel?.isStarting() === true
  const work = (left: AbortSignal) => admission.enter(source, endpoint.loginTimeout, left, isSilent)
  state.loginsQueued++
  try {
    return await timed(state, 'queue', whileConnected(client, 'its turn to log in', work))
  } finally {
    state.loginsQueued--
  }
}

/** Starts to dial, once the client has a place. @throws ProxyError TOO_MANY_UNAUTHENTICATED, CLIENT_CLOSED; the error of an open circuit */
async function startToDial(legs: Legs, session: Session, target: Served, stop: AbortSignal): Promise<Dialling> {
  const place = await enter(legs.client, session, target)
  legs.place = place
  target.breaker.throwIfOpen(undefined, session)
  const dialled = () => connect(target, stop)
  const prepared = target.prepared?.take(sourceOf(session.client))
  return { upstream: prepared?.catch(dialled) ?? dialled(), place }
}

/** @throws ProxyError DIAL_…, UPSTREAM_… */
function connect(target: Served, stop: AbortSignal): Promise<Upstream> {
  // Prepared connections may have the last places.
  return dialWithRoom(
    () => dial(target.endpoint, stop, target),
    async () => (await target.prepared?.clear()) === true,
  )
}

/**
 * Waits for the server's greeting while the client stays. A server that is out of reach is so for the clients that wait for a
 * place as well.
 * @throws ProxyError DIAL_…, UPSTREAM_…, CLIENT_CLOSED
 */
async function receiveGreeting(legs: Legs, { admission, endpoint }: Served): Promise<Upstream> {
  const { upstream } = legs.dialling!
  const step = `the greeting of ${formatHostPort(endpoint.dial)}`
  try {
    return await unlessDisconnected(legs.client, step, upstream)
  } catch (thrown) {
    const error = asProxyError(thrown)
    if (error.code !== 'CLIENT_CLOSED' && !legs.client.stop?.aborted) legs.dialling = undefined
    if (isDialError(error) || error.code === 'UPSTREAM_TIMEOUT') admission.shareFailure(error)
    throw error
  }
}

/** Ends a login that has failed. A refused login counts towards the rate, unless the slot of the real one is unused. */
async function abandon(legs: Legs, { client }: Session, target: Served, stop: AbortSignal): Promise<void> {
  const { limiter, state, orphans } = target
  const { dialling, place } = legs
  if (dialling) {
    if (await orphans.keep(sourceOf(client), dialling)) return
    const upstream = await dialling.upstream.catch(() => undefined)
    legs.unauthenticatedUpstream = upstream
    legs.upstream = upstream?.wire
  }
  if (legs.unauthenticatedUpstream) legs.unauthenticatedUpstream.wire.stop = undefined
  const waitForSlot = () => limiter.takeSoon(ABANDON_WAIT_MS, state, stop)
  if (legs.unauthenticatedUpstream) await abandonLogin(legs.unauthenticatedUpstream, place && waitForSlot)
  place?.leave()
}

/** Relays until a side closes. COM_CHANGE_USER is a login, and interrupts the relay. @throws ProxyError */
async function relayCommands(
  client: Client,
  ending: Ending,
  onUpstreamError: (error: Error) => void,
  target: Served,
  log: Logger,
): Promise<RelayEnd> {
  const { session, flow, upstream, compressed } = ending
  for (;;) {
    // Before the relay's own listener, which ends the client's connection.
    upstream.socket.on('error', onUpstreamError)
    let end: RelayEnd
    try {
      end = await relay(client.wire.socket, upstream.socket, flow, compressed)
    } catch (error) {
      if (error instanceof MalformedPacket) throw malformed(client.wire, error.message, error)
      throw error
    } finally {
      upstream.socket.off('error', onUpstreamError)
    }
    if (end.by !== 'COM_CHANGE_USER') return end
    if (compressed) {
      const error = new ProxyError('CHANGE_USER_UNSUPPORTED', 'a compressed session cannot change its user')
      await refuseCompressed(client.wire, target, error, end, session.id)
      logError(session, target, error, log)
    } else {
      // It may wait for credentials, as a login does.
      installStop(session, client.wire, upstream)
      const users = await changeUser(client, upstream, target, session.client, end)
      client.wire.stop = upstream.stop = undefined
      installClose(ending)
      if (!users) continue
      const { localUser: localUserBefore, user: userBefore } = session
      Object.assign(session, users)
      log.info({ localUserBefore, userBefore }, 'session changed its user')
    }
  }
}

/** Ends a session for the watchdog: only a client that still reads can get the error. */
function endUnreachable(
  error: ProxyError,
  isOfAddress: boolean,
  ending: Ending,
  socket: Socket,
  target: Served,
  log: Logger,
): void {
  logError(ending.session, target, error, log)
  if (error.code !== 'UPSTREAM_UNREACHABLE') {
    cutOff(ending, socket, error.code)
    return
  }
  const { remoteAddress } = ending.upstream.socket
  if (remoteAddress && isOfAddress) target.addresses.failed(remoteAddress)
  distrustName(target)
  endWith(ending, error)
}

/** Keeps what the client said about itself. */
function describe(session: Session, response: HandshakeResponse41, users: Users): void {
  Object.assign(session, users)
  session.database = response.database?.toString()
  session.program = programName(response.attributes)
}

function loggedIn(session: Session, { breaker, state }: Served, user: string): void {
  session.phase = 'open'
  breaker.succeeded(user)
  countOutcome(state, 'OK')
  state.tracer?.end(session, 'OK')
  state.onPhase?.('total', age(session))
}

/** Milliseconds since accept. */
function age({ started }: Session): number {
  return monotonicClock.now() - started
}

function roundedAge(session: Session): number {
  return Math.round(age(session))
}

function loginFields(session: Session): object {
  const { database, program } = session
  return { database, program, durationMs: roundedAge(session) }
}

/** In words, where no error of ours ended the session. A server closes first after a COM_QUIT. */
function howItEnded({ by, error }: RelayEnd, { hasQuit }: Flow): string {
  if (hasQuit) return 'client quit'
  const how = error ? (systemCode(error) === 'ETIMEDOUT' ? 'timed out' : 'reset') : 'closed'
  return `${by === 'client' ? 'client' : 'server'} ${how}`
}

function logEnd(session: Session, end: EndOfSession, log: Logger): EndOfSession {
  const { endedBy, cause } = end
  const { bytesFromClient, bytesFromUpstream: bytesFromServer } = session.traffic
  const bytes = { bytesFromClient, bytesFromServer, ...lineFields(session) }
  log.info({ ...loginFields(session), endedBy, cause, ...bytes }, 'session ended')
  return end
}

/** For listeners of the library, once the session is no longer in `status()`. */
export function emitEnd(session: Session, { endedBy, cause, error }: EndOfSession, { endpoint, state }: Served): void {
  state.emit('sessionEnd', () => {
    const { bytesFromClient, bytesFromUpstream: bytesFromServer } = session.traffic
    const bytes = { bytesFromClient, bytesFromServer, ...NOT_COMPRESSED, ...lineFields(session) }
    const of = { ...eventFields(session), durationMs: roundedAge(session), endedBy, cause, ...bytes }
    const hint = error && hintFor(error, hintValues(endpoint, session.user))
    return [{ ...of, code: error?.code, message: error?.message, hint }]
  })
}

type LineFields = Pick<SessionEnd, keyof typeof NOT_COMPRESSED>

/**
 * Ends a session that close() no longer waits for, because what it waits for itself does not end. Its event comes now.
 * @returns undefined if the client did not log in
 */
export function giveUp(session: Session, { endpoint, state }: Served): EndOfSession | undefined {
  const error = endError(session.endedBy ?? 'PROXY_STOPPING')
  if (session.phase === 'open') return { endedBy: error.code, cause: undefined, error }
  if (!session.hasFailed) {
    emitLoginFailed(state, eventFields(session), error, roundedAge(session), hintValues(endpoint, session.user))
  }
  return undefined
}

/** What compression made of the bytes of a session. */
function lineFields({ compressed }: Session): Partial<LineFields> {
  if (!compressed) return {}
  const { compression, bytesFromClient: lineBytesFromClient, bytesFromUpstream: lineBytesFromServer } = compressed
  return { compression, lineBytesFromClient, lineBytesFromServer }
}

/** Logs the error, and sends it to the client. */
function refuse({ client, compressed }: Legs, session: Session, target: Served, error: ProxyError, log: Logger): void {
  logError(session, target, error, log)
  if (client.socket.destroyed) return
  const packet = toERR_Packet(error, hintValues(target.endpoint, session.user), session.id)
  if (compressed) writeError(client.socket, packet, compressed)
  else sendError(client, packet)
}

function logError(session: Session, { endpoint, state }: Served, error: ProxyError, log: Logger): void {
  const values = hintValues(endpoint, session.user)
  const isLogin = session.phase === 'logging in'
  if (isLogin) {
    countOutcome(state, error.code)
    state.tracer?.end(session, error.code)
  }
  keepError(state, error, values, session)
  const { level } = ERRORS[error.code]
  log[level](
    {
      code: error.code,
      errno: error.serverError?.errno,
      ...(isLogin ? loginFields(session) : {}),
      hint: hintFor(error, values) || undefined,
      stack: error.code === 'INTERNAL' && error.cause instanceof Error ? error.cause.stack : undefined,
    },
    error.message,
  )
  if (!isLogin) return
  session.hasFailed = true
  emitLoginFailed(state, eventFields(session), error, roundedAge(session), values)
}
