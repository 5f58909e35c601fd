/** The listener of one endpoint: which clients it accepts, how many, and how it ends their sessions. */
import { randomInt } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { within } from '../abort.ts'
import { addressRefusal } from '../client/access.ts'
import { sendError } from '../client/handshake.ts'
import { type Clock, monotonicClock, wait } from '../clock.ts'
import { formatListen, hintValues, type Listen } from '../endpoint.ts'
import { ERRORS, type ErrorCode } from '../error-codes.ts'
import { hintFor, ProxyError, systemCode, toERR_Packet } from '../errors.ts'
import { emitLoginFailed, UNKNOWN } from '../events.ts'
import { type FileShares, shareOpenFiles } from '../file-limit.ts'
import type { Logger } from '../log.ts'
import { listenOn } from '../net/listen.ts'
import { closeListener } from '../net/listeners.ts'
import { createWire, endGracefully } from '../net/wire.ts'
import { countOutcome, removeSession, type Session } from '../state.ts'
import { wakeWatch } from '../wake.ts'
import { recover } from './recover.ts'
import type { Served } from './served.ts'
import { type EndOfSession, emitEnd, runSession } from './session.ts'

export interface ProxyServer {
  /** the address that it listens on, with the real port if 0 was requested */
  address: Listen
  /** stops listening; sessions go on */
  stopListening(): void
  /** the same, but the socket goes on for the server that takes it over: no client is refused meanwhile */
  handOver(): Server
  /**
   * Stops listening and ends every session: those that log in or are idle at once, others when their transaction ends, the rest
   * after `delay` milliseconds. Resolves when all sessions have ended, a second after that at the latest. Of two calls, the one
   * that ends sooner counts.
   */
  close(delay: number): Promise<void>
}

/** Interval for polling busy sessions while draining. */
const DRAIN_POLL_MS = 20

/** After the delay, how long sessions may take to send their last packets. Then their sockets are destroyed. */
const LINGER_MS = 900

/** How long sessions may take to end without their sockets, before `close` goes on without them. */
const FORCE_MS = 100

/** How often the same refusal may be logged. */
const LOG_INTERVAL_MS = 1_000

/** Tells the sessions of processes apart: those of replicas, and of this program before a restart. */
const idPrefix = randomInt(36 ** 4)
  .toString(36)
  .padStart(4, '0')
let sessionCount = 0

/** over all endpoints of this process */
let openSessions = 0

/**
 * Starts to listen.
 * @param takeOver the server whose socket to take over, which stops listening
 * @param check throws for an unsafe address; the address of a socket from systemd is known only now
 * @throws ProxyError LISTEN_FAILED, CONFIG_INVALID
 */
export async function startServer(
  listen: Listen,
  target: Served,
  log: Logger,
  check: (address: Listen) => void,
  clock: Clock = monotonicClock,
  room: FileShares = shareOpenFiles(),
  takeOver?: () => Server,
): Promise<ProxyServer> {
  const { access, state } = target
  const sessions = new Map<Session, Promise<void>>()
  /** of all clients, those that are refused too */
  const sockets = new Set<Socket>()
  const stop = new AbortController()
  setMaxListeners(0, stop.signal) // one listener per session
  const logSeldom = createRateLimitedLog(log, clock)
  let refusals = 0
  let isHandedOver = false
  /** when sessions must end, in the time of `clock` */
  let deadline = Number.POSITIVE_INFINITY
  let closing: Promise<void> | undefined

  const keepAliveInitialDelay = target.endpoint.keepalive
  const options = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay }
  const server = createServer(options, socket => {
    wakeWatch.look()
    socket.setKeepAlive(true, keepAliveInitialDelay) // another server may have accepted it
    const client = addressOf(socket)
    const error = reasonToRefuse(target, client, room.sessions)
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    if (!error) {
      const session = createSessionInfo(socket, client, clock)
      state.sessions.add(session)
      openSessions++
      const run = () => runSession(socket, session, target, log, stop.signal)
      sessions.set(
        session,
        (state.tracer ? state.tracer.run(run) : run()).then(end => forget(session, end)),
      )
      return
    }
    countOutcome(state, error.code)
    logSeldom(error, { client })
    emitLoginFailed(state, { ...UNKNOWN, client }, error, 0, hintFor(error, hintValues(target.endpoint, undefined)))
    if (refusals >= room.refusals) {
      socket.destroy()
      return
    }
    refusals++
    sendRefusal(socket, error, () => refusals--)
  })

  const forget = (session: Session, end: EndOfSession | undefined) => {
    sessions.delete(session)
    openSessions--
    removeSession(state, session)
    unsubscribeIfDone()
    if (end) emitEnd(session, end, target)
  }

  let unsubscribe = () => {}
  const unsubscribeIfDone = () => {
    if (state.retired && sessions.size === 0) unsubscribe()
  }

  const address = await listenOn(server, listen, state.name, takeOver?.())
  try {
    check(address)
  } catch (error) {
    closeListener(server)
    throw error
  }
  unsubscribe = wakeWatch.subscribe(() => recover(target))
  state.address = formatListen(address)
  state.localCertificateExpires = () => access.tls?.expires()
  // A failed accept concerns one client only.
  server.on('error', error => {
    logSeldom(new ProxyError('FILE_LIMIT_REACHED', `a client could not be accepted (${systemCode(error)})`), {})
  })

  return {
    address,
    stopListening() {
      state.retired = true
      if (!isHandedOver) closeListener(server)
      void target.prepared?.close()
      unsubscribeIfDone()
    },
    handOver() {
      state.retired = true
      isHandedOver = true
      void target.prepared?.close()
      unsubscribeIfDone()
      return server
    },
    close(delay) {
      deadline = Math.min(deadline, clock.now() + delay)
      closing ??= end()
      return closing
    },
  }

  async function end(): Promise<void> {
    if (!isHandedOver) closeListener(server)
    unsubscribe()
    const preparedEnded = target.prepared?.close()
    while (sessions.size > 0 && clock.now() < deadline) {
      // Wait before the first look: a command may have arrived that was not read yet.
      await wait(clock, Math.min(DRAIN_POLL_MS, deadline - clock.now()))
      for (const session of sessions.keys()) {
        // A login would be ended as soon as it has succeeded.
        const isBusy = session.phase === 'open' && !session.isIdle()
        if (!session.endedBy && !isBusy) session.close('PROXY_STOPPING')
      }
    }
    for (const session of sessions.keys()) if (!session.endedBy) session.close('PROXY_STOPPING')
    const socketsClosed = [...sockets].map(socket => new Promise(resolve => socket.once('close', resolve)))
    const ended = Promise.all([...sessions.values(), ...socketsClosed, preparedEnded])
    await within(ended, LINGER_MS, clock)
    stop.abort()
    for (const socket of sockets) socket.destroy()
    await within(ended, FORCE_MS, clock)
  }
}

/** Why a client gets an error instead of a greeting; undefined if it may log in. */
function reasonToRefuse({ access, state }: Served, client: string, maxSessions: number): ProxyError | undefined {
  // Behind a load balancer, the client's address is known only after the PROXY protocol header.
  const refusal = access.expectsProxyHeader(client) ? undefined : addressRefusal(access, client)
  if (refusal) return refusal
  if (state.maxConnections > 0 && state.sessions.size >= state.maxConnections) {
    return new ProxyError('TOO_MANY_CONNECTIONS', `too many connections: ${state.maxConnections} are open`)
  }
  if (openSessions >= maxSessions) {
    return new ProxyError(
      'FILE_LIMIT_REACHED',
      `too many connections: the limit of open files leaves room for ${maxSessions}`,
    )
  }
  return undefined
}

/** Sends an ERR_Packet instead of a greeting. */
function sendRefusal(socket: Socket, error: ProxyError, done: () => void): void {
  socket.once('close', done)
  const wire = createWire(socket, 'client', 0)
  sendError(wire, toERR_Packet(error, {}))
  endGracefully(wire)
}

/** Logs at most one line a second for each code, so that a flood of clients does not flood the log. */
function createRateLimitedLog(log: Logger, clock: Clock): (error: ProxyError, fields: object) => void {
  const last = new Map<ErrorCode, { at: number; suppressed: number }>()
  return (error, fields) => {
    const before = last.get(error.code)
    if (before && clock.now() - before.at < LOG_INTERVAL_MS) {
      before.suppressed++
      return
    }
    const { level } = ERRORS[error.code]
    const more = before?.suppressed ? { moreBefore: before.suppressed } : {}
    log[level]({ code: error.code, ...fields, ...more, hint: hintFor(error, {}) }, error.message)
    last.set(error.code, { at: clock.now(), suppressed: 0 })
  }
}

function createSessionInfo(socket: Socket, client: string, clock: Clock): Session {
  return {
    id: `${idPrefix}-${++sessionCount}`,
    since: Date.now(),
    started: clock.now(),
    phase: 'logging in',
    client,
    localUser: undefined,
    user: undefined,
    database: undefined,
    program: undefined,
    tls: undefined,
    threadId: undefined,
    traffic: { bytesFromClient: 0, bytesFromUpstream: 0 },
    compressed: undefined,
    endedBy: undefined,
    isIdle: () => false,
    activity: () => 'open',
    close(why) {
      this.endedBy = why
      socket.destroy()
    },
  }
}

/** The address for the log and the allow list. IPv4 addresses stay IPv4 on an IPv6 listener. */
function addressOf({ remoteAddress }: Socket): string {
  return remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '') ?? 'unix'
}
