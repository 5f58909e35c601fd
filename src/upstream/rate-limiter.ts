/** Limits how many logins a second reach a database; the others wait in line. */
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { type EndpointState, timed } from '../state.ts'

/** Logins that may start at once after a quiet time, in seconds' worth of the rate. */
const BURST_SECONDS = 0.1

export interface RateLimiter {
  /** Takes a slot if a login may start now. */
  tryAcquire(): boolean
  /**
   * Resolves when a login may start. AWS advises fewer than 200 a second:
   * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
   * @param deadline in the time of the limiter's clock
   * @param disconnected aborts when the client disconnects; its slot goes to the next in line
   * @throws ProxyError LOGIN_QUEUE_FULL at once if the slot is after the deadline; the reason of `disconnected`
   */
  acquire(deadline: number, state: EndpointState, disconnected: AbortSignal): Promise<void>
  /** Waits up to `milliseconds` for a slot, and then takes the next one in advance. Never rejects. @param stop ends the wait */
  takeSoon(milliseconds: number, state: EndpointState, stop: AbortSignal): Promise<void>
}

/** @param perSecond logins a second; 0 for no limit */
export function createRateLimiter(perSecond: number, clock: Clock = monotonicClock): RateLimiter {
  const interval = perSecond > 0 ? 1_000 / perSecond : 0
  const burst = Math.max(1, perSecond * BURST_SECONDS) * interval
  /** when the next login may start */
  let nextSlot = Number.NEGATIVE_INFINITY
  /** callbacks of the logins in line, in their order */
  const waiters = new Set<() => void>()

  let isTimerSet = false
  const startTimer = () => {
    if (isTimerSet) return
    isTimerSet = true
    clock.after(nextSlot - clock.now(), callNext)
  }
  const callNext = () => {
    isTimerSet = false
    for (const waiter of waiters) {
      if (nextSlot > clock.now()) break
      waiters.delete(waiter)
      nextSlot += interval
      waiter()
    }
    if (waiters.size > 0) startTimer()
  }

  const limiter: RateLimiter = {
    tryAcquire() {
      if (interval === 0) return true
      const now = clock.now()
      nextSlot = Math.max(nextSlot, now - burst)
      // Behind a late timer, the slots of those in line may have passed already.
      if (nextSlot > now || waiters.size > 0) return false
      nextSlot += interval
      return true
    },
    async acquire(deadline, state, disconnected) {
      disconnected.throwIfAborted()
      if (limiter.tryAcquire()) return
      if (nextSlot + waiters.size * interval > deadline) {
        const message = `${waiters.size} logins wait in line at ${perSecond} a second: this one would start after its deadline`
        throw new ProxyError('LOGIN_QUEUE_FULL', message)
      }
      startTimer()
      state.loginsQueued++
      try {
        await timed(state, 'queue', enqueue(waiters, disconnected))
      } finally {
        state.loginsQueued--
      }
    },
    async takeSoon(milliseconds, state, stop) {
      try {
        await limiter.acquire(clock.now() + milliseconds, state, stop)
      } catch {
        nextSlot += interval
      }
    },
  }
  return limiter
}

/** Resolves when its callback in `waiters` is called; rejects with the reason of `disconnected`. */
function enqueue(waiters: Set<() => void>, disconnected: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onDisconnect = () => {
      waiters.delete(waiter)
      reject(disconnected.reason)
    }
    const waiter = () => {
      disconnected.removeEventListener('abort', onDisconnect)
      resolve()
    }
    disconnected.addEventListener('abort', onDisconnect, { once: true })
    waiters.add(waiter)
  })
}
