/**
 * Makes guessing slow: a user name whose logins from an address keep failing waits before it gets an answer, and may not ask
 * many times at once. Other names are not held up: many clients may share an address.
 */
import { isIPv6 } from 'node:net'

/** Failures that cost nothing: people mistype. */
const FREE = 3
const FIRST_DELAY = 250
const LONGEST_DELAY = 4_000

/** Logins at a time of a name that is being slowed down. */
const AT_ONCE = 4

/** Milliseconds after which failures are forgotten. */
const FORGET_AFTER = 10 * 60_000
const MOST_RECORDS = 10_000

/** Characters of a name that are looked at: clients name what they like. */
const LONGEST_NAME = 64

export interface SlowDown {
  /** whether this name may try now from this address; after true, one of the others is to be called */
  mayTry(address: string, user: string): boolean
  succeeded(address: string, user: string): void
  /** a wrong user or password; resolves when the client may be told */
  denied(address: string, user: string): Promise<void>
  /** for another reason */
  gaveUp(address: string, user: string): void
}

interface Failures {
  failures: number
  trying: number
  last: number
}

export function createSlowDown(): SlowDown {
  // What was used last is the last.
  const records = new Map<string, Failures>()
  const use = (address: string, user: string): Failures => {
    const key = `${networkOf(address)} ${user.slice(0, LONGEST_NAME)}`
    const found = records.get(key)
    const isFresh = found && (found.trying > 0 || Date.now() - found.last < FORGET_AFTER)
    const record = isFresh ? found : { failures: 0, trying: 0, last: Date.now() }
    records.delete(key)
    records.set(key, record)
    if (records.size > MOST_RECORDS) forgetOne(records)
    return record
  }
  return {
    mayTry(address, user) {
      const record = use(address, user)
      if (record.failures >= FREE && record.trying >= AT_ONCE) return false
      record.trying++
      return true
    },
    succeeded(address, user) {
      const record = use(address, user)
      record.failures = 0
      record.trying--
    },
    async denied(address, user) {
      const record = use(address, user)
      record.last = Date.now()
      record.failures++
      const excess = record.failures - FREE
      if (excess > 0) await wait(Math.min(FIRST_DELAY * 2 ** (excess - 1), LONGEST_DELAY))
      record.trying--
    },
    gaveUp(address, user) {
      use(address, user).trying--
    },
  }
}

/** The oldest that nobody is trying with. */
function forgetOne(records: Map<string, Failures>): void {
  for (const [key, { trying }] of records) {
    if (trying > 0) continue
    records.delete(key)
    return
  }
}

function wait(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
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
