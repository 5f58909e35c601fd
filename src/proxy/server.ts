/** The listener of one endpoint: who may come in, how many, and how all of them leave. */
import { setMaxListeners } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { sendError } from '../client/handshake.ts'
import { formatListen, type Listen } from '../endpoint.ts'
import { ERRORS, type ErrorCode } from '../error-codes.ts'
import { hintFor, ProxyError, systemCode, toERR_Packet } from '../errors.ts'
import type { Logger } from '../log.ts'
import { listenOn } from '../net/listen.ts'
import { createWire, endGracefully } from '../net/wire.ts'
import { countOutcome, type Session } from '../state.ts'
import { sessionLimitFromFileLimit } from './file-limit.ts'
import type { Served } from './served.ts'
import { runSession } from './session.ts'

export interface ProxyServer {
  /** the address that it listens on; its port is the real one where 0 was asked for */
  address: Listen
  /** stops listening; sessions go on */
  stopListening(): void
  /**
   * Stops listening and ends every session: at once where it is between transactions, the others as they get there, and
   * what is left after `delay` milliseconds all the same. Resolves when all are gone.
   */
  close(delay: number): Promise<void>
}

/** Milliseconds between two looks at sessions that are not to be broken off. */
const DRAIN_POLL_MS = 20

/** Milliseconds for the last packets of sessions that are ended. */
const LINGER_MS = 1_000

let sessionCount = 0

/** of all endpoints of this process */
let openSessions = 0

/**
 * Starts to listen.
 * @param check throws for an address that is not to be listened on, which of one handed over is not known before
 * @throws ProxyError LISTEN_FAILED, CONFIG_INVALID
 */
export async function startServer(
  listen: Listen,
  target: Served,
  log: Logger,
  check: (address: Listen) => void,
): Promise<ProxyServer> {
  const { access, state } = target
  const sessions = new Map<Session, Promise<void>>()
  const stop = new AbortController()
  setMaxListeners(0, stop.signal) // one of each session
  const complain = createRateLimitedLog(log)
  const room = sessionLimitFromFileLimit()
  let refusals = 0

  const options = {
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: target.endpoint.keepalive,
  }
  const server = createServer(options, socket => {
    const client = addressOf(socket)
    const error = reasonToRefuse(target, client, room.sessions)
    if (!error) {
      const live = createSessionInfo(socket, client)
      state.sessions.add(live)
      openSessions++
      sessions.set(
        live,
        runSession(socket, live, target, log, stop.signal).finally(() => forget(live)),
      )
      return
    }
    countOutcome(state, error.code)
    complain(error, { client })
    if (refusals >= room.refusals) {
      socket.destroy()
      return
    }
    refusals++
    refuse(socket, error, () => refusals--)
  })

  const forget = (live: Session) => {
    sessions.delete(live)
    openSessions--
    state.sessions.delete(live)
    state.ended.bytesFromClient += live.traffic.bytesFromClient
    state.ended.bytesFromUpstream += live.traffic.bytesFromUpstream
  }

  const address = await listenOn(server, listen)
  try {
    check(address)
  } catch (error) {
    server.close()
    throw error
  }
  state.address = formatListen(address)
  state.localCertificateExpires = access.tls?.expires()
  // A failed accept concerns that one client: the others go on.
  server.on('error', error => {
    complain(new ProxyError('FILE_LIMIT_REACHED', `a client could not be accepted (${systemCode(error)})`), {})
  })

  return {
    address,
    stopListening() {
      state.retired = true
      server.close()
    },
    async close(delay) {
      server.close()
      const deadline = Date.now() + delay
      while (sessions.size > 0 && Date.now() < deadline) {
        // First wait: what a client has just sent is to be seen.
        await new Promise(resolve => setTimeout(resolve, DRAIN_POLL_MS))
        for (const live of sessions.keys()) if (!live.endedBy && live.isIdle()) live.close('PROXY_STOPPING')
      }
      for (const live of sessions.keys()) if (!live.endedBy) live.close('PROXY_STOPPING')
      const gone = Promise.all(sessions.values())
      const patience = setTimeout(() => stop.abort(), LINGER_MS)
      await gone
      clearTimeout(patience)
      stop.abort()
    },
  }
}

/** Why a client may not even be greeted. */
function reasonToRefuse({ access, state }: Served, client: string, mostSessions: number): ProxyError | undefined {
  if (!access.allows(access.overUnixSocket ? undefined : client)) {
    return new ProxyError('CLIENT_NOT_ALLOWED', `clients from ${client} are not allowed`)
  }
  if (state.maxConnections > 0 && state.sessions.size >= state.maxConnections) {
    return new ProxyError('TOO_MANY_CONNECTIONS', `too many connections: ${state.maxConnections} are open`)
  }
  if (openSessions >= mostSessions) {
    return new ProxyError(
      'FILE_LIMIT_REACHED',
      `too many connections: the limit of open files leaves room for ${mostSessions}`,
    )
  }
  return undefined
}

/** Tells a client in the place of a greeting. */
function refuse(socket: Socket, error: ProxyError, done: () => void): void {
  socket.once('close', done)
  const wire = createWire(socket, 'client', 0)
  sendError(wire, toERR_Packet(error, {}))
  endGracefully(wire)
}

/** Floods come with a line a second for each reason, not with one for each client. */
function createRateLimitedLog(log: Logger): (error: ProxyError, fields: object) => void {
  const last = new Map<ErrorCode, { at: number; unsaid: number }>()
  return (error, fields) => {
    const before = last.get(error.code)
    if (before && Date.now() - before.at < 1_000) {
      before.unsaid++
      return
    }
    const { level } = ERRORS[error.code]
    const more = before?.unsaid ? { moreBefore: before.unsaid } : {}
    log[level]({ code: error.code, ...fields, ...more, hint: hintFor(error, {}) }, error.message)
    last.set(error.code, { at: Date.now(), unsaid: 0 })
  }
}

function createSessionInfo(socket: Socket, client: string): Session {
  return {
    id: ++sessionCount,
    since: Date.now(),
    phase: 'logging in',
    client,
    user: undefined,
    database: undefined,
    program: undefined,
    threadId: undefined,
    traffic: { bytesFromClient: 0, bytesFromUpstream: 0 },
    endedBy: undefined,
    isIdle: () => false,
    close(why) {
      this.endedBy = why
      socket.destroy()
    },
  }
}

/** As it is logged and allowed: an IPv4 address as such, also where it came to an IPv6 listener. */
function addressOf({ remoteAddress }: Socket): string {
  return remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '') ?? 'unix'
}
