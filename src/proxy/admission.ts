/**
 * Limits how many server connections clients hold before they have logged in. The other clients wait before their greeting,
 * which costs the server nothing.
 *
 * - One source (../client/source.ts) gets three quarters of the places at most. Sources that wait take turns.
 * - Of one source, the oldest client is next. Once it has waited a second, the newest is: under a flood, an honest client
 *   that has just come would otherwise wait behind all of it.
 * - While others wait, a client that is silent after its greeting loses its place. People type a password before they
 *   connect, so this is a program, and a program that answers does so at once.
 */
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError } from '../errors.ts'

const MAX_SHARE_OF_SOURCE = 0.75
const MAX_SILENCE_MS = 3_000
const POLL_MS = 250

/** How long the oldest client of a source may wait before the newest is preferred. */
const NEWEST_FIRST_AFTER_MS = 1_000

/** Clients that wait at most. Beyond this, the oldest of the source with most of them is refused. */
const MAX_WAITING = 1_000

/** A place among the clients that are logging in. */
export interface Place {
  /** Watches for silence: from now on the client is the side that has to speak. @param socket counts its bytes */
  watch(socket: { readonly bytesRead: number }): void
  /** Stops to watch: the client waits for the proxy. */
  unwatch(): void
  /** rejects with CLIENT_TIMEOUT when the client has lost its place */
  readonly lost: Promise<never>
  /** Gives the place to the next client. May be called again. */
  leave(): void
}

export interface Admission {
  /** a place; undefined if this source has to wait for one */
  tryEnter(source: string): Place | undefined
  /**
   * Waits for a place.
   * @param timeout milliseconds
   * @param isPatient asked after that time; if it returns true, the client waits for as long again
   * @throws ProxyError TOO_MANY_UNAUTHENTICATED, an error of `shareFailure`; the reason of `disconnected`
   */
  enter(source: string, timeout: number, disconnected: AbortSignal, isPatient?: () => boolean): Promise<Place>
  /**
   * A client with a place cannot reach the server. Clients that wait would have the same failure if they had a place:
   * each failure speaks for a share of them. Otherwise they would wait for many timeouts in sequence.
   */
  shareFailure(error: ProxyError): void
}

interface Waiting {
  since: number
  settle(result: Place | ProxyError): void
}

interface Holder {
  source: string
  /** set while the proxy waits for the client */
  socket: { readonly bytesRead: number } | undefined
  bytes: number
  silentSince: number
  lose(error: ProxyError): void
  isLosing: boolean
}

/** @param max places; 0 for no limit */
export function createAdmission(max: number, clock: Clock = monotonicClock): Admission {
  const limit = max || Number.POSITIVE_INFINITY
  const limitOfSource = max ? Math.max(1, Math.ceil(max * MAX_SHARE_OF_SOURCE)) : limit
  const holders = new Set<Holder>()
  /** places by source */
  const held = new Map<string, number>()
  /** by source, which take turns in the order of the map; the oldest client first */
  const queues = new Map<string, Waiting[]>()
  let waitingCount = 0
  let isPolling = false

  const hasPlace = (source: string) => holders.size < limit && (held.get(source) ?? 0) < limitOfSource

  function take(source: string): Place {
    const holder: Holder = { source, socket: undefined, bytes: 0, silentSince: 0, lose: () => {}, isLosing: false }
    const lost = new Promise<never>((_resolve, reject) => {
      holder.lose = reject
    })
    lost.catch(() => {})
    holders.add(holder)
    held.set(source, (held.get(source) ?? 0) + 1)
    return {
      lost,
      watch(socket) {
        Object.assign(holder, { socket, bytes: socket.bytesRead, silentSince: clock.now() })
      },
      unwatch() {
        holder.socket = undefined
      },
      leave() {
        if (!holders.delete(holder)) return
        const count = held.get(source)! - 1
        if (count === 0) held.delete(source)
        else held.set(source, count)
        serve()
      },
    }
  }

  function remove(source: string, waiting: Waiting): void {
    const queue = queues.get(source)
    const index = queue?.indexOf(waiting) ?? -1
    if (index < 0) return
    queue!.splice(index, 1)
    waitingCount--
    if (queue!.length === 0) queues.delete(source)
  }

  function serve(): void {
    for (;;) {
      const next = [...queues].find(([source]) => hasPlace(source))
      if (!next) break
      const [source, queue] = next
      const newestFirst = clock.now() - queue[0]!.since > NEWEST_FIRST_AFTER_MS
      const waiting = (newestFirst ? queue.at(-1) : queue[0])!
      // The others of this source come after those of the other sources.
      queues.delete(source)
      queues.set(source, queue)
      remove(source, waiting)
      waiting.settle(take(source))
    }
    if (waitingCount > 0) poll()
  }

  /** Takes places back from silent clients, as many as others need. */
  function poll(): void {
    if (isPolling) return
    isPolling = true
    const dueAt = clock.now() + POLL_MS
    clock.after(POLL_MS, () => {
      isPolling = false
      const now = clock.now()
      // This process did not run either: their answers may wait in the sockets.
      if (now - dueAt > MAX_SILENCE_MS) for (const holder of holders) holder.silentSince = now
      let needed = waitingCount
      for (const { isLosing } of holders) if (isLosing) needed--
      // In the order of their greetings.
      for (const holder of holders) {
        const { socket, source } = holder
        if (!socket || needed <= 0) continue
        if (socket.bytesRead !== holder.bytes) Object.assign(holder, { bytes: socket.bytesRead, silentSince: now })
        const isInTheWay = holders.size >= limit || queues.has(source)
        if (now - holder.silentSince < MAX_SILENCE_MS || !isInTheWay) continue
        Object.assign(holder, { socket: undefined, isLosing: true })
        needed--
        const message = `no answer to the greeting within ${MAX_SILENCE_MS / 1_000} s, and other clients wait to log in`
        holder.lose(new ProxyError('CLIENT_TIMEOUT', message))
      }
      serve()
    })
  }

  function tooMany(waited: number): ProxyError {
    const message = `too many clients are logging in: waited ${Math.round(waited / 1_000)} s for one of ${max} places`
    return new ProxyError('TOO_MANY_UNAUTHENTICATED', message)
  }

  return {
    tryEnter: source => (hasPlace(source) && !queues.has(source) ? take(source) : undefined),
    enter(source, timeout, disconnected, isPatient = () => false) {
      return new Promise((resolve, reject) => {
        if (disconnected.aborted) return reject(disconnected.reason)
        const since = clock.now()
        const settle = (result: unknown) => {
          cancelTimer()
          disconnected.removeEventListener('abort', onDisconnect)
          remove(source, waiting)
          if (result instanceof ProxyError || result === disconnected.reason) reject(result)
          else resolve(result as Place)
        }
        const waiting: Waiting = { since, settle }
        const onDisconnect = () => settle(disconnected.reason)
        const onTimeout = () => {
          if (isPatient()) cancelTimer = clock.after(timeout, onTimeout)
          else settle(tooMany(clock.now() - since))
        }
        let cancelTimer = clock.after(timeout, onTimeout)
        disconnected.addEventListener('abort', onDisconnect)
        const queue = queues.get(source)
        if (queue) queue.push(waiting)
        else queues.set(source, [waiting])
        waitingCount++
        if (waitingCount > MAX_WAITING) {
          const [longest] = [...queues.values()].sort((a, b) => b.length - a.length)
          const [oldest] = longest!
          oldest!.settle(tooMany(clock.now() - oldest!.since))
        }
        serve()
      })
    },
    shareFailure(error) {
      const share = Math.ceil(waitingCount / Math.max(1, holders.size))
      const all = [...queues.values()].flat().sort((a, b) => a.since - b.since)
      for (const waiting of all.slice(0, share)) waiting.settle(error)
    },
  }
}
