/**
 * Slows down password guessing, and lets right passwords in meanwhile. A check costs little, so a client waits for its check
 * only while the allowance for wrong passwords is used up. The refusal is what is delayed.
 *
 * Each user name has one allowance for all sources. A source that has logged in as that user within a day has a separate
 * one, so that guesses from elsewhere do not keep it out. Numbers and their consequences: docs/security.md.
 */
import { type Clock, monotonicClock, wait } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { sourceOf } from './source.ts'

/** Wrong passwords that an allowance covers at once, and how long it takes to regain one. */
const MAX_WRONG_PASSWORDS = 10
const REGAIN_MS = 200

/** How long a client waits for its check at most. */
const MAX_WAIT_MS = 1_000

/** Refusals of a name from one source that are not delayed, the time between later ones, and the longest delay. */
const FREE_REFUSALS = 3
const REFUSAL_INTERVAL_MS = 4_000
const MAX_DELAY_MS = 8_000

/** Its multiples, modulo 1, are spread evenly. */
const GOLDEN_RATIO = 0.618

/** How long a source is known after its last login. */
const KNOWN_MS = 24 * 60 * 60_000

/** Records of each kind. Clients choose names, so the oldest are dropped. */
const MAX_RECORDS = 10_000

/** Characters of a name that count: clients may send long names. */
const MAX_NAME_CHARACTERS = 64

export interface LoginThrottle {
  /** @param address of the client @param user the name that it sent */
  attempt(address: string, user: string): LoginAttempt
}

/** One login of a client. */
export interface LoginAttempt {
  /**
   * Runs `isRight` when there is room for one more wrong password. May be called again for another answer of the same
   * client: a right one makes up for wrong ones before.
   * @param disconnected aborts when the client disconnects; it then gives up its turn
   * @throws ProxyError CLIENT_THROTTLED after a second without a check; the reason of `disconnected`
   */
  check(isRight: () => boolean | Promise<boolean>, disconnected?: AbortSignal): Promise<boolean>
  /**
   * Whether a client with a wrong answer may give another one. Not while refusals of its name are delayed for its source:
   * a client that leaves then would retry without any delay.
   */
  mayAnswerAgain(): boolean
  /** resolves when a refused client may get its answer */
  delayRefusal(): Promise<void>
  /** The client disconnected or failed. After a wrong answer this counts as a refusal. */
  broken(): void
}

export function createLoginThrottle(clock: Clock = monotonicClock): LoginThrottle {
  /** when a source last logged in as a user */
  const logins = new RecentMap<number>()
  const allowances = new RecentMap<Allowance>()
  /** when the next refusal of a user may go to a source */
  const refusals = new RecentMap<number>()
  let spread = 0

  return {
    attempt(address, user) {
      const name = user.slice(0, MAX_NAME_CHARACTERS)
      const key = `${sourceOf(address)} ${name}`
      const isKnown = clock.now() - (logins.get(key) ?? Number.NEGATIVE_INFINITY) < KNOWN_MS
      const allowance = allowances.getOrSet(isKnown ? `known ${key}` : `any ${name}`, () => createAllowance(clock))
      let taken = 0
      const nextRefusal = () => {
        const earliest = clock.now() - (FREE_REFUSALS - 1) * REFUSAL_INTERVAL_MS
        return Math.max(refusals.get(key) ?? earliest, earliest)
      }
      /** Counts a refusal. Returns the milliseconds until it may go out. */
      const refuse = () => {
        const now = clock.now()
        const at = nextRefusal()
        refusals.set(key, Math.min(at + REFUSAL_INTERVAL_MS, now + MAX_DELAY_MS))
        if (at - now < MAX_DELAY_MS) return at - now
        // Clients that were refused together do not come back together.
        spread = (spread + GOLDEN_RATIO) % 1
        return (MAX_DELAY_MS * (1 + spread)) / 2
      }
      const delayRefusal = async () => {
        const milliseconds = refuse()
        if (milliseconds > 0) await wait(clock, milliseconds)
      }
      return {
        async check(isRight, disconnected) {
          const hasTurn = await allowance.take(disconnected)
          if (!hasTurn) {
            const message = `not checked: too many wrong passwords for '${user}'`
            throw new ProxyError('CLIENT_THROTTLED', message, { delay: delayRefusal() })
          }
          taken++
          if (!(await isRight())) return false
          allowance.giveBack(taken)
          taken = 0
          logins.set(key, clock.now())
          return true
        },
        mayAnswerAgain: () => nextRefusal() <= clock.now(),
        delayRefusal,
        broken() {
          if (taken > 0) refuse()
        },
      }
    },
  }
}

interface Allowance {
  /** Takes one wrong password. False if none came within MAX_WAIT_MS. */
  take(disconnected?: AbortSignal): Promise<boolean>
  giveBack(count: number): void
}

/** A token bucket. Of those that wait, the newest is first: a client in good faith among a flood of guesses is a new one. */
function createAllowance(clock: Clock): Allowance {
  let used = 0
  let usedAt = clock.now()
  const waiting: (() => void)[] = []
  let isTimerSet = false

  const refill = () => {
    const now = clock.now()
    used = Math.max(0, used - (now - usedAt) / REGAIN_MS)
    usedAt = now
  }
  const hasRoom = () => used + 1 <= MAX_WRONG_PASSWORDS + 1e-6 // refill adds fractions
  const serve = () => {
    refill()
    while (waiting.length > 0 && hasRoom()) {
      used++
      waiting.pop()!()
    }
    if (waiting.length === 0 || isTimerSet) return
    isTimerSet = true
    clock.after((used + 1 - MAX_WRONG_PASSWORDS) * REGAIN_MS, () => {
      isTimerSet = false
      serve()
    })
  }
  return {
    async take(disconnected) {
      refill()
      if (hasRoom()) {
        used++
        return true
      }
      disconnected?.throwIfAborted()
      return await new Promise((resolve, reject) => {
        const leave = () => {
          const index = waiting.indexOf(onTurn)
          if (index >= 0) waiting.splice(index, 1)
          disconnected?.removeEventListener('abort', onDisconnect)
          cancelTimer()
        }
        const onTurn = () => {
          leave()
          resolve(true)
        }
        const onDisconnect = () => {
          leave()
          reject(disconnected?.reason)
        }
        const cancelTimer = clock.after(MAX_WAIT_MS, () => {
          leave()
          resolve(false)
        })
        disconnected?.addEventListener('abort', onDisconnect)
        waiting.push(onTurn)
        serve()
      })
    },
    giveBack(count) {
      used = Math.max(0, used - count)
      serve()
    },
  }
}

/** A map that keeps the entries used last. */
class RecentMap<Value> {
  readonly #map = new Map<string, Value>()

  get(key: string): Value | undefined {
    const value = this.#map.get(key)
    if (value !== undefined) this.set(key, value)
    return value
  }

  set(key: string, value: Value): void {
    this.#map.delete(key)
    this.#map.set(key, value)
    if (this.#map.size > MAX_RECORDS) this.#map.delete(this.#map.keys().next().value!)
  }

  getOrSet(key: string, create: () => Value): Value {
    const found = this.get(key)
    if (found !== undefined) return found
    const value = create()
    this.set(key, value)
    return value
  }
}
