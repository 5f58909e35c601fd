/**
 * The tunnel of an endpoint, shared by all its sessions. It starts with the first client, is restarted with growing pauses
 * when it ends by itself, and ends after a time without connections. A TunnelTransport does the work: command.ts runs a program.
 */
import type { Socket } from 'node:net'
import { pause, unlessAborted, within } from '../abort.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import { formatHostPort, type HostPort } from '../endpoint.ts'
import { ERRORS } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError, systemCode } from '../errors.ts'
import type { Logger } from '../log.ts'
import { changeTunnel, type TunnelState } from '../state.ts'

/** A way to make a tunnel: a program, or the data channel of Session Manager. It holds no state between two tunnels. */
export interface TunnelTransport {
  /** the subject of a sentence in errors and the log, such as "the tunnel command ssh"; without secrets */
  readonly name: string
  /** the command line that it runs, for people to try; without secrets. Undefined if it runs none */
  command?(target: HostPort): string | undefined
  /**
   * Opens a tunnel to `target`. Resolves when `address` accepts connections.
   * @param target what the tunnel leads to: the address of connect, or of the RDS endpoint
   * @param stop aborts the start, because it takes too long or nobody needs it; its reason is the ProxyError to reject with.
   *   Nothing of the attempt may go on then. After `open` has resolved, `stop` means nothing: `close` ends the tunnel
   * @throws ProxyError TUNNEL_…
   */
  open(target: HostPort, stop: AbortSignal): Promise<OpenTunnel>
}

/** A tunnel that accepts connections. */
export interface OpenTunnel {
  /** where to connect on this machine. Each tunnel needs another one: two may be there for a moment */
  address: HostPort
  /**
   * The connection that showed that `address` accepts, if the transport made one. A login uses it: the server counts a
   * connection that closes before its login as a connection error (ERROR 1129). So don't connect and disconnect.
   */
  connection?: Socket | undefined
  /** when it began, on the clock that the transport got: the tunnel may say why it failed before a login has it */
  connectionSince?: number
  /** Resolves when the tunnel has ended: with why if it ended by itself, with undefined after `close`. Never rejects */
  ended: Promise<ProxyError | undefined>
  /**
   * What the tunnel said since `moment` about a connection that it closed before the greeting; undefined for nothing. May
   * wait a moment, because the words often come after the end of the connection.
   * @param moment of the clock that the transport got
   */
  wordsSince?(moment: number): Promise<string | undefined>
  /** Ends the tunnel. Resolves when nothing of it is left. Never rejects; may be called again */
  close(): Promise<void>
}

/** A connection's share of the tunnel, from the dial to the close of the connection. */
export interface TunnelUse {
  address: HostPort
  /** the transport's own connection to `address`, for the first login to ask */
  connection: Socket | undefined
  /** The error for a connection that failed or closed before the greeting: the tunnel's own, if the tunnel is the reason. */
  explain(error: ProxyError): Promise<ProxyError>
  /** Why the tunnel has ended, for a connection that has closed; undefined if it has not. May wait a moment. */
  lost(): Promise<ProxyError | undefined>
  /** Call it when the connection has closed. */
  release(): void
}

/** What dials through it need, and what ends it. */
export interface Tunnel {
  /**
   * Waits until the tunnel is open, and starts it if needed.
   * @param stop stops to wait
   * @throws ProxyError TUNNEL_…; the reason of `stop`
   */
  acquire(stop: AbortSignal): Promise<TunnelUse>
  /** whether logins wait for it */
  isStarting(): boolean
  /** Ends the present tunnel, whose way may be dead, for example after a sleep. Sessions through it end. The next one starts at once if it is needed. */
  restart(): void
  /** No new clients come: the tunnel ends with its last connection. */
  retire(): void
  /** Ends the tunnel, with all sessions through it. Resolves when nothing of it is left. */
  close(): Promise<void>
}

export interface TunnelOptions {
  transport: TunnelTransport
  /** what it leads to */
  target: HostPort
  /** milliseconds from the start until it must accept connections */
  timeout: number
  /** milliseconds without a connection after which it ends; 0: it opens with the proxy and stays */
  idleTimeout: number
  /** what others see of it */
  state: TunnelState
  log: Logger
  /**
   * Ends a connection that showed that the tunnel accepts, but that no login needs, without a connection error of the server.
   * Never rejects.
   */
  discard?: (connection: Socket) => void
  clock?: Clock
}

/** The pause after the first failure, and the longest. Each further failure doubles it. */
export const MIN_PAUSE_MS = 500
export const MAX_PAUSE_MS = 10_000

/** A tunnel that was open for so long has worked: the pauses begin from the shortest again. */
export const STABLE_MS = 10_000

/** How long the end of a tunnel may follow the end of its connections. */
const LOST_WAIT_MS = 500

/** One tunnel from its start to its end. */
interface Attempt {
  opened: Promise<OpenTunnel>
  /** undefined before it is open */
  tunnel: OpenTunnel | undefined
  stop: AbortController
  /** why it has ended or is ending; undefined before */
  loss: ProxyError | undefined
  /** resolves when nothing of it is left */
  hasEnded: Promise<void>
}

export function createTunnel(options: TunnelOptions): Tunnel {
  const { transport, target, timeout, idleTimeout, state, log, clock = monotonicClock } = options
  const isPermanent = idleTimeout === 0
  /** the one that is starting or open */
  let current: Attempt | undefined
  /** connections through it, and logins that wait for it */
  let uses = 0
  /** in a row, since a tunnel was open for STABLE_MS */
  let failures = 0
  let notBefore = clock.now()
  /** whether one was open since the last idle time: then it is restarted without a client */
  let hasWorked = false
  let isRetired = false
  let isClosed = false
  /** whether the last connection has closed, and the idle timeout has not passed */
  let isWaitingForIdle = false
  let cancelIdleTimer = () => {}
  /** those that are starting, open or ending */
  const attempts = new Set<Attempt>()

  const launch = (): Attempt => {
    const stop = new AbortController()
    let markEnded = () => {}
    const hasEnded = new Promise<void>(resolve => {
      markEnded = resolve
    })
    const attempt: Attempt = { opened: undefined!, tunnel: undefined, stop, loss: undefined, hasEnded }
    attempt.opened = start(attempt).catch(thrown => {
      markEnded()
      throw thrown
    })
    attempt.opened.then(
      tunnel => void watch(attempt, tunnel).then(markEnded),
      () => {}, // each login that waits gets the error
    )
    attempts.add(attempt)
    void hasEnded.then(() => attempts.delete(attempt))
    return attempt
  }

  const start = async (attempt: Attempt): Promise<OpenTunnel> => {
    const { stop } = attempt
    try {
      if (notBefore > clock.now()) await pause(notBefore - clock.now(), clock, stop.signal)
      if (failures > 0) state.restarts++
      changeTunnel(state, 'starting')
      const seconds = Number((timeout / 1_000).toFixed(1))
      const late = new ProxyError('TUNNEL_TIMEOUT', `${transport.name} made no port that accepts within ${seconds} s`)
      const cancelTimer = clock.after(timeout, () => stop.abort(late))
      const started = clock.now()
      try {
        attempt.tunnel = await transport.open(target, stop.signal)
      } finally {
        cancelTimer()
      }
      // It may have opened in the moment in which it was stopped.
      if (stop.signal.aborted) {
        discard(attempt.tunnel)
        await attempt.tunnel.close()
        throw stop.signal.reason
      }
      hasWorked = true
      changeTunnel(state, 'open')
      log.info({ durationMs: Math.round(clock.now() - started) }, `the tunnel to ${formatHostPort(target)} is open`)
      return attempt.tunnel
    } catch (thrown) {
      const error = asProxyError(thrown)
      fail(attempt, error)
      throw error
    }
  }

  const described = () => `the tunnel to ${formatHostPort(target)}`

  /** Waits for the end of an open tunnel. */
  const watch = async (attempt: Attempt, tunnel: OpenTunnel): Promise<void> => {
    const openedAt = clock.now()
    // The logins that wait take the connection first.
    setImmediate(() => discard(tunnel))
    const why = await tunnel.ended
    discard(tunnel)
    if (clock.now() - openedAt >= STABLE_MS) failures = 0
    fail(attempt, why ?? new ProxyError('TUNNEL_LOST', `${transport.name} ended`))
  }

  const discard = (tunnel: OpenTunnel) => {
    const { connection } = tunnel
    tunnel.connection = undefined
    if (!connection) return
    if (options.discard) options.discard(connection)
    else connection.destroy()
  }

  /** Whether there are connections, or were lately. */
  const isNeeded = () => {
    if (isClosed) return false
    return uses > 0 || isWaitingForIdle || (isPermanent && !isRetired)
  }

  /** A tunnel could not start, or has ended by itself. */
  const fail = (attempt: Attempt, error: ProxyError) => {
    // It was ended on purpose.
    if (current !== attempt) return
    current = undefined
    attempt.loss = error
    failures++
    const pauseMs = Math.min(MIN_PAUSE_MS * 2 ** (failures - 1), MAX_PAUSE_MS)
    notBefore = clock.now() + pauseMs
    const hint = hintFor(error, { dial: formatHostPort(target) })
    changeTunnel(state, 'failed', error, hint)
    const { level } = ERRORS[error.code]
    log[level]({ code: error.code, pauseMs, hint }, error.message)
    // A tunnel that never worked waits for the next client: a server may lock out a user who retries without end.
    if (isNeeded() && (hasWorked || isPermanent)) current = launch()
  }

  /** Ends the present tunnel on purpose. */
  const end = (reason: ProxyError) => {
    const attempt = current
    current = undefined
    changeTunnel(state, 'idle')
    if (!attempt) return
    attempt.loss = reason
    attempt.stop.abort(reason)
    void attempt.tunnel?.close()
  }

  const onIdle = () => {
    isWaitingForIdle = false
    if (current) log.info({}, `the tunnel to ${formatHostPort(target)} ends: nothing uses it`)
    hasWorked = false
    end(new ProxyError('TUNNEL_LOST', `${described()} was not in use`))
  }

  const waitForIdle = () => {
    cancelIdleTimer()
    // A connection may close after the tunnel: a timer would keep the process alive.
    if (isClosed) return
    if (isPermanent && !isRetired) return
    isWaitingForIdle = true
    cancelIdleTimer = clock.after(isRetired ? 0 : idleTimeout, onIdle)
  }

  const releaseOnce = () => {
    let isReleased = false
    return () => {
      if (isReleased) return
      isReleased = true
      uses--
      if (uses === 0) waitForIdle()
    }
  }

  const lostOf = async (attempt: Attempt): Promise<ProxyError | undefined> => {
    if (attempt.loss) return attempt.loss
    await within(attempt.hasEnded, LOST_WAIT_MS, clock)
    return attempt.loss
  }

  const explain = async (error: ProxyError, attempt: Attempt, since: number): Promise<ProxyError> => {
    const words = attempt.tunnel?.wordsSince?.(since)
    const [lost, said] = await Promise.race([
      lostOf(attempt).then(found => [found, undefined] as const),
      // Only words end the wait: a tunnel that says nothing may be ending.
      new Promise<readonly [undefined, string]>(resolve => words?.then(text => text && resolve([undefined, text]))),
    ])
    if (lost) return lost
    if (error.code === 'UPSTREAM_CLOSED') {
      const what = `${described()} accepted the connection and closed it before the greeting`
      return new ProxyError('TUNNEL_TARGET', said ? `${what}: ${said}` : what, { cause: error })
    }
    if (error.code === 'UPSTREAM_TIMEOUT') {
      const what = `${described()} accepted the connection, but no greeting came through it`
      return new ProxyError('TUNNEL_TARGET', said ? `${what}: ${said}` : what, { cause: error })
    }
    const how = systemCode(error.cause) || error.message
    return new ProxyError('TUNNEL_LOST', `${described()} accepts no more connections: ${how}`, { cause: error })
  }

  const tunnel: Tunnel = {
    async acquire(stop) {
      stop.throwIfAborted()
      if (isClosed) throw new ProxyError('TUNNEL_LOST', `${described()} is closed`)
      uses++
      cancelIdleTimer()
      isWaitingForIdle = false
      const release = releaseOnce()
      try {
        current ??= launch()
        const attempt = current
        const opened = await unlessAborted(attempt.opened, stop)
        const { address, connection } = opened
        const since = (connection && opened.connectionSince) ?? clock.now()
        opened.connection = undefined
        return {
          address,
          connection,
          explain: error => explain(error, attempt, since),
          lost: () => lostOf(attempt),
          release,
        }
      } catch (error) {
        release()
        throw error
      }
    },
    isStarting: () => current !== undefined && current.tunnel === undefined && uses > 0,
    restart() {
      if (!current || isClosed) return
      log.info({}, `the tunnel to ${formatHostPort(target)} is restarted`)
      end(new ProxyError('TUNNEL_LOST', `${described()} was restarted`))
      failures = 0
      notBefore = clock.now()
      if (!isNeeded()) return
      state.restarts++
      current = launch()
    },
    retire() {
      isRetired = true
      if (uses === 0) waitForIdle()
    },
    async close() {
      isClosed = true
      cancelIdleTimer()
      end(new ProxyError('PROXY_STOPPING', `${described()} ends with the proxy`))
      await Promise.all([...attempts].map(({ hasEnded }) => hasEnded))
    },
  }
  if (isPermanent) current = launch()
  return tunnel
}
