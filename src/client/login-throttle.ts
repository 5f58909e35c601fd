/**
 * Makes guessing slow: a user name whose logins from an address keep failing waits before it gets an answer, and may not ask
 * many times at once. Other names are not held up: many clients may share an address.
 */
import { isIPv6 } from 'node:net'
import { type Clock, monotonicClock } from '../clock.ts'

/** Failures that cost nothing: people mistype. */
const FREE_ATTEMPTS = 3
const FIRST_DELAY_MS = 250
const MAX_DELAY_MS = 4_000

/** Logins at a time of a name that is being slowed down. */
const MAX_CONCURRENT = 4

/** Milliseconds after which failures are forgotten. */
const FORGET_AFTER_MS = 10 * 60_000
const MAX_RECORDS = 10_000

/** Characters of a name that are looked at: clients name what they like. */
const MAX_NAME_CHARACTERS = 64

export interface LoginThrottle {
  /** whether this name may try now from this address; after true, one of the others is to be called */
  begin(address: string, user: string): boolean
  succeed(address: string, user: string): void
  /** a wrong user or password; resolves when the client may be told */
  fail(address: string, user: string): Promise<void>
  /** for another reason */
  cancel(address: string, user: string): void
}

interface Attempts {
  failures: number
  trying: number
  last: number
}

export function createLoginThrottle(clock: Clock = monotonicClock): LoginThrottle {
  // What was used last is the last.
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

/** The oldest that nobody is trying with. */
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
