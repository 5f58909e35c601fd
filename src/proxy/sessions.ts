/** Which clients get a session, how many, and how sessions end. */
import { randomInt } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { within } from '../abort.ts'
import { addressRefusal } from '../client/access.ts'
import { sendError } from '../client/handshake.ts'
import { type Clock, monotonicClock, wait } from '../clock.ts'
import { hintValues } from '../endpoint.ts'
import { ERRORS, type ErrorCode } from '../error-codes.ts'
import { hintFor, ProxyError, systemCode, toERR_Packet } from '../errors.ts'
import { emitLoginFailed, UNKNOWN } from '../events.ts'
import { type FileShares, shareOpenFiles } from '../file-limit.ts'
import type { Logger } from '../log.ts'
import { createWire, endGracefully } from '../net/wire.ts'
import type { ERR_Packet } from '../protocol/packets.ts'
import { countOutcome, removeSession, type Session } from '../state.ts'
import { wakeWatch } from '../wake.ts'
import { recover } from './recover.ts'
import type { Served } from './served.ts'
import { type EndOfSession, emitEnd, giveUp, runSession } from './session.ts'

/** The sessions of one endpoint. */
export interface Sessions {
  /** Called before the first client: from now on, a sleep or another network is noticed. */
  begin(): void
  /**
   * Serves a client, or refuses it.
   * @param client its address, or a word such as 'unix'
   * @param served as what; by default the endpoint itself
   */
  serve(socket: Socket, client: string, served?: Served): void
  /** A client could not be accepted. This concerns it alone. */
  acceptFailed(error: Error): void
  /** No more clients come; sessions go on. */
  retire(): void
  /**
   * Ends every session: those that log in or are idle at once, others when their transaction ends, the rest after `delay`
   * milliseconds. Resolves when all sessions have ended, a second after that at the latest. Of two calls, the one that ends
   * sooner counts.
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

export function createSessions(
  target: Served,
  log: Logger,
  clock: Clock = monotonicClock,
  room: FileShares = shareOpenFiles(),
): Sessions {
  const { state } = target
  const sessions = new Map<Session, Promise<void>>()
  /** of all clients, those that are refused too */
  const sockets = new Set<Socket>()
  const stop = new AbortController()
  setMaxListeners(0, stop.signal) // one listener per session
  const values = hintValues(target.endpoint, undefined)
  const logSeldom = createRateLimitedLog(log, clock, values)
  let refusals = 0
  /** when sessions must end, in the time of `clock` */
  let deadline = Number.POSITIVE_INFINITY
  let closing: Promise<void> | undefined

  let unsubscribe: (() => void) | undefined

  const forget = (session: Session, end: EndOfSession | undefined) => {
    if (!sessions.delete(session)) return
    openSessions--
    removeSession(state, session)
    unsubscribeIfDone()
    if (end) emitEnd(session, end, target)
  }

  const unsubscribeIfDone = () => {
    if (state.retired && sessions.size === 0) unsubscribe?.()
  }

  return {
    begin() {
      unsubscribe ??= wakeWatch.subscribe(() => recover(target))
    },
    serve(socket, client, served = target) {
      const error = reasonToRefuse(served, client, room.sessions)
      sockets.add(socket)
      // once() would keep a wrapper with five fields for as long as the session lives.
      socket.on('close', () => sockets.delete(socket))
      if (!error) {
        const session = createSessionInfo(socket, client, clock)
        state.sessions.add(session)
        openSessions++
        const run = () => runSession(socket, session, served, log, stop.signal)
        sessions.set(
          session,
          (state.tracer ? state.tracer.run(run) : run()).then(end => forget(session, end)),
        )
        return
      }
      countOutcome(state, error.code)
      logSeldom(error, { client })
      emitLoginFailed(state, { ...UNKNOWN, client }, error, 0, values)
      if (refusals >= room.refusals) {
        socket.destroy()
        return
      }
      refusals++
      sendRefusal(socket, toERR_Packet(error, values), () => refusals--)
    },
    acceptFailed(error) {
      logSeldom(new ProxyError('FILE_LIMIT_REACHED', `a client could not be accepted (${systemCode(error)})`), {})
    },
    retire() {
      state.retired = true
      void target.prepared?.close()
      unsubscribeIfDone()
    },
    close(delay) {
      deadline = Math.min(deadline, clock.now() + delay)
      closing ??= end()
      return closing
    },
  }

  async function end(): Promise<void> {
    unsubscribe?.()
    const preparedEnded = target.prepared?.close()
    await readWhatHasArrived()
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
    // What hangs now goes on without a socket, and nobody waits for it.
    for (const session of sessions.keys()) forget(session, giveUp(session, target))
  }
}

/** A COM_QUIT may have arrived that was not read yet. The second turn of the event loop has read from all sockets. */
async function readWhatHasArrived(): Promise<void> {
  await setImmediate()
  await setImmediate()
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
function sendRefusal(socket: Socket, error: ERR_Packet, done: () => void): void {
  socket.once('close', done)
  const wire = createWire(socket, 'client', 0)
  sendError(wire, error)
  endGracefully(wire)
}

/** Logs at most one line a second for each code, so that a flood of clients does not flood the log. */
function createRateLimitedLog(
  log: Logger,
  clock: Clock,
  values: ReturnType<typeof hintValues>,
): (error: ProxyError, fields: object) => void {
  const last = new Map<ErrorCode, { at: number; suppressed: number }>()
  return (error, fields) => {
    const before = last.get(error.code)
    if (before && clock.now() - before.at < LOG_INTERVAL_MS) {
      before.suppressed++
      return
    }
    const { level } = ERRORS[error.code]
    const more = before?.suppressed ? { moreBefore: before.suppressed } : {}
    log[level]({ code: error.code, ...fields, ...more, hint: hintFor(error, values) }, error.message)
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
