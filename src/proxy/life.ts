/**
 * The life of a proxy: idle, listening, closing, closed, in this order. Only a listen() that fails goes back to idle. What each
 * call does in each state is a table in docs/library.md, and test/proxy/life.test.ts walks through all pairs of calls.
 */
import { followSignal, unlessAborted, within } from '../abort.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError } from '../errors.ts'

/**
 * idle: before listen(). listening: from the call of listen() on. closing: it accepts no more clients, because of
 * stopListening() or close(), but connections may be open. closed: all of them are closed.
 */
export type LifeState = 'idle' | 'listening' | 'closing' | 'closed'

/** A proxy that listens. */
export interface Running<Address> {
  address: Address
  stopListening(): void
  /** @param delay milliseconds for transactions. Of two calls, the one that ends sooner counts */
  close(delay: number): Promise<void>
}

export interface Life<Address> {
  state(): LifeState
  /**
   * @param open starts to listen. It may go on after `stop` has aborted: what it opens then is closed at once
   * @throws what `open` throws; ProxyError PROXY_STOPPING after the end; the reason of the signal that ended it
   */
  listen(open: (stop: AbortSignal) => Promise<Running<Address>>): Promise<Address>
  /**
   * A client of this process wants a connection, which needs no listen().
   * @param close ends such connections
   * @throws ProxyError PROXY_STOPPING after the end
   */
  enter(close: (delay: number) => Promise<void>): void
  stopListening(): void
  /** @throws ProxyError CONFIG_INVALID if `delay` is not a number from 0; the proxy then stays as it is */
  close(delay?: number): Promise<void>
}

/** After the delay of close(), how long the end may take. */
export const END_MS = 1_000

/** Gets changes of state. */
export interface LifeWatcher<Address> {
  listening(address: Address): void
  /** once */
  closed(): void
}

/** @param signal ends it when it aborts, as close() does */
export function createLife<Address>(
  signal?: AbortSignal,
  clock: Clock = monotonicClock,
  watcher?: LifeWatcher<Address>,
): Life<Address> {
  let state: LifeState = 'idle'
  let opening: Promise<Running<Address>> | undefined
  let listening: Promise<Address> | undefined
  let running: Running<Address> | undefined
  let unfollow = () => {}
  let hasClosed = false
  /** set once a client of this process had a connection */
  let closeEntered: ((delay: number) => Promise<void>) | undefined
  /** ends a listen() that is pending; its reason is the error of every listen() from then on */
  const stop = new AbortController()

  function follow(): void {
    unfollow()
    if (signal) unfollow = followSignal(signal, onAbort)
  }

  async function begin(open: (stop: AbortSignal) => Promise<Running<Address>>): Promise<Address> {
    state = 'listening'
    follow()
    opening = open(stop.signal)
    try {
      const opened = await unlessAborted(opening, stop.signal)
      stop.signal.throwIfAborted()
      running = opened
      watcher?.listening(opened.address)
      return opened.address
    } catch (error) {
      if (!stop.signal.aborted) {
        state = 'idle'
        listening = undefined
        if (!closeEntered) unfollow()
      }
      throw error
    }
  }

  async function close(delay: number): Promise<void> {
    if (state === 'closed') return
    const isOpen = state !== 'idle' || closeEntered !== undefined
    state = isOpen ? 'closing' : 'closed'
    stop.abort(hasEnded())
    if (isOpen) await Promise.all([running ? running.close(delay) : closeLate(), closeEntered?.(delay)])
    if (hasClosed) return
    hasClosed = true
    state = 'closed'
    unfollow()
    watcher?.closed()
  }

  /** Closes what a listen() that was given up opens after all. A file system that does not answer holds up nobody. */
  async function closeLate(): Promise<void> {
    const closed = opening?.then(
      opened => opened.close(0),
      () => {},
    )
    await within(closed, END_MS, clock)
  }

  const onAbort = () => {
    stop.abort(signal?.reason)
    void close(0)
  }

  return {
    state: () => state,
    async listen(open) {
      if (state === 'idle' && signal?.aborted) onAbort()
      if (stop.signal.aborted) throw stop.signal.reason
      listening ??= begin(open)
      return await listening
    },
    enter(close) {
      if (state === 'idle' && signal?.aborted) onAbort()
      if (stop.signal.aborted) throw hasEnded()
      if (closeEntered) return
      closeEntered = close
      follow()
    },
    stopListening() {
      if (state !== 'listening') return
      if (!running) return void close(0)
      state = 'closing'
      stop.abort(hasEnded())
      running.stopListening()
    },
    async close(delay = 0) {
      if (typeof delay !== 'number' || !(delay >= 0)) throw invalidDelay(delay)
      await close(delay)
    },
  }
}

function hasEnded(): ProxyError {
  const hint = 'A proxy listens once. Create another one with createProxy.'
  return new ProxyError('PROXY_STOPPING', 'the proxy is closed, or it no longer listens', { hint })
}

function invalidDelay(delay: unknown): ProxyError {
  const shown = typeof delay === 'string' || typeof delay === 'number' ? `${delay}` : typeof delay
  const hint = 'Call close() for an end without a delay, or close(5_000) for 5 s.'
  return new ProxyError('CONFIG_INVALID', `close: the delay (${shown}) is not a number of milliseconds from 0`, {
    hint,
  })
}
