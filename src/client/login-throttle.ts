/**
 * Slows down password guessing. After several failures, a user name from one address waits for each answer and has few
 * attempts at a time. Other names from that address do not wait: many clients may share it.
 */
import { isIPv6 } from 'node:net'
import { type Clock, monotonicClock } from '../clock.ts'

/** Failed attempts before delays start. */
const FREE_ATTEMPTS = 3
const FIRST_DELAY_MS = 250
const MAX_DELAY_MS = 4_000

/** Attempts at a time of a name that is throttled. */
const MAX_CONCURRENT = 4

/** Failures are forgotten this long after the last. */
const FORGET_AFTER_MS = 10 * 60_000
const MAX_RECORDS = 10_000

/** Characters of a name that make up its key: clients send any name. */
const MAX_NAME_CHARACTERS = 64

export interface LoginThrottle {
  /** whether this name may try now from this address; if so, call one of the others at the end of the attempt */
  begin(address: string, user: string): boolean
  succeed(address: string, user: string): void
  /** wrong user or password; resolves when the client may get its answer */
  fail(address: string, user: string): Promise<void>
  /** the attempt ended for another reason */
  cancel(address: string, user: string): void
}

interface Attempts {
  failures: number
  trying: number
  last: number
}

export function createLoginThrottle(clock: Clock = monotonicClock): LoginThrottle {
  // Least recently used first; the first is evicted.
  const records = new Map<string, Attempts>()
  const use = (address: string, user: string): Attempts => {
    const key = `${networkOf(address)} ${user.slice(0, MAX_NAME_CHARACTERS)}`
    const found = records.get(key)
    const isFresh = found && (found.trying > 0 || clock.now() - found.last < FORGET_AFTER_MS)
    const record = isFresh ? found : { failures: 0, trying: 0, last: clock.now() }
    records.delete(key)
    records.set(key, record)
    if (records.size > MAX_RECORDS) evictOldest(records)
    return record
  }
  return {
    begin(address, user) {
      const record = use(address, user)
      if (record.failures >= FREE_ATTEMPTS && record.trying >= MAX_CONCURRENT) return false
      record.trying++
      return true
    },
    succeed(address, user) {
      const record = use(address, user)
      record.failures = 0
      record.trying--
    },
    async fail(address, user) {
      const record = use(address, user)
      record.last = clock.now()
      record.failures++
      const excess = record.failures - FREE_ATTEMPTS
      if (excess > 0) await wait(clock, Math.min(FIRST_DELAY_MS * 2 ** (excess - 1), MAX_DELAY_MS))
      record.trying--
    },
    cancel(address, user) {
      use(address, user).trying--
    },
  }
}

/** Evicts the least recently used record that has no attempt in progress. */
function evictOldest(records: Map<string, Attempts>): void {
  for (const [key, { trying }] of records) {
    if (trying > 0) continue
    records.delete(key)
    return
  }
}

function wait(clock: Clock, milliseconds: number): Promise<void> {
  return new Promise(resolve => clock.after(milliseconds, resolve))
}

/** One client may own all addresses of an IPv6 /64. */
function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) return address
  const [head = '', tail] = address.split('::')
  const groups = head.split(':').filter(Boolean)
  const rest = tail === undefined ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - groups.length - rest.length
  return [...groups, ...Array<string>(Math.max(zeros, 0)).fill('0'), ...rest].slice(0, 4).join(':')
}
