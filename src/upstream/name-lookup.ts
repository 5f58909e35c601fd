/**
 * The addresses of names that are dialled. Logins at the same time share one lookup, so a name server that is silent holds one
 * thread of the process for each name. While DNS says how long an answer is valid, later logins use it too:
 * docs/decisions/0173-dns-answers-used-again.md has the rules.
 */
import { type LookupAddress, lookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { type Clock, monotonicClock } from '../clock.ts'
import { namesOneOfSeveral } from '../endpoint.ts'
import { type AskTimeToLive, timeToLive } from './time-to-live.ts'

export interface Answer {
  /** in the order of the system's resolver */
  addresses: readonly LookupAddress[]
  /** whether it is from before this login */
  isReused: boolean
}

export interface NameLookup {
  /** @throws the error of the system's resolver */
  find(host: string): Promise<Answer>
  /** The name may lead elsewhere now: for two minutes, its answers are not used again. */
  distrust(host: string): void
  /** Forgets all answers and lookups: the network has changed. */
  forget(): void
}

/** A direct client asks at each login. So an answer is not used for longer than this, whatever its time to live is. */
const MAX_TTL_MS = 60_000

/** Logins that use an answer before the name is looked up again: DNS spreads logins over several addresses by their order. */
const MAX_USES = 8

/**
 * How long no answer of a name is used again after a failure. A failover takes up to two minutes:
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.MultiAZ.Failover.html
 */
const DISTRUST_MS = 120_000

/** How long DNS is not asked again for a time to live that it did not say, or that is 0. */
const UNKNOWN_TTL_MS = 10_000

/** Names that are kept. A process has a few at a time. */
const MAX_NAMES = 100

/** What is known of a name. */
interface Name {
  addresses: readonly LookupAddress[]
  uses: number
  /** when the time to live began, and when it ends */
  since: number
  until: number
  /** whether DNS is being asked for the time to live */
  isAsking: boolean
  /** until when DNS is not asked for it */
  unknownUntil: number
  distrustedUntil: number
  /** the lookup that is under way */
  pending: Promise<readonly LookupAddress[]> | undefined
}

/**
 * @param askTimeToLive asks how long an answer is valid; undefined to use none again
 * @param resolve asks the system
 */
export function createNameLookup(
  askTimeToLive: AskTimeToLive | undefined,
  clock: Clock = monotonicClock,
  resolve: LookupFunction = lookup,
): NameLookup {
  let names = new Map<string, Name>()

  function nameOf(host: string): Name {
    const known = names.get(host)
    if (known) return known
    const never = Number.NEGATIVE_INFINITY
    const name: Name = {
      addresses: [],
      uses: 0,
      since: never,
      until: never,
      isAsking: false,
      unknownUntil: never,
      distrustedUntil: never,
      pending: undefined,
    }
    if (names.size >= MAX_NAMES) names.delete(names.keys().next().value!)
    names.set(host, name)
    return name
  }

  function lookUp(host: string, name: Name): Promise<readonly LookupAddress[]> {
    const asked = askSystem(host, resolve)
    name.pending = asked
    const done = (addresses: readonly LookupAddress[] | undefined) => {
      name.pending = undefined
      if (addresses) keep(host, name, addresses)
    }
    asked.then(done, () => done(undefined))
    return asked
  }

  function keep(host: string, name: Name, addresses: readonly LookupAddress[]): void {
    if (!isSameSet(name.addresses, addresses)) name.until = Number.NEGATIVE_INFINITY
    name.addresses = addresses
    name.uses = 0
    const now = clock.now()
    // One of several instances, a different one each time: that is how these names spread logins.
    if (!askTimeToLive || namesOneOfSeveral(host) || !isHalfOver(name, now)) return
    if (name.isAsking || now < Math.max(name.unknownUntil, name.distrustedUntil)) return
    name.isAsking = true
    void askTimeToLive(host, addresses).then(seconds => {
      name.isAsking = false
      if (!seconds) name.unknownUntil = clock.now() + UNKNOWN_TTL_MS
      else if (isSameSet(name.addresses, addresses) && now >= name.distrustedUntil) {
        name.since = now
        name.until = now + Math.min(seconds * 1_000, MAX_TTL_MS)
      }
    })
  }

  return {
    async find(host) {
      const name = nameOf(host)
      const now = clock.now()
      if (now >= name.until) return { addresses: await (name.pending ?? lookUp(host, name)), isReused: false }
      name.uses++
      // Before it expires, so that the next logins need not wait.
      if (!name.pending && (name.uses >= MAX_USES || isHalfOver(name, now))) lookUp(host, name).catch(() => {})
      return { addresses: name.addresses, isReused: true }
    },
    distrust(host) {
      if (isIP(host)) return
      const name = nameOf(host)
      name.until = Number.NEGATIVE_INFINITY
      name.distrustedUntil = clock.now() + DISTRUST_MS
    },
    forget() {
      names = new Map()
    },
  }
}

function isHalfOver({ since, until }: Name, now: number): boolean {
  return now >= (since + until) / 2
}

/** Whether both have the same addresses, in whatever order. */
function isSameSet(one: readonly LookupAddress[], other: readonly LookupAddress[]): boolean {
  return one.length === other.length && !hasMore(one, other)
}

/** Whether `after` has an address that `before` has not. */
export function hasMore(before: readonly LookupAddress[], after: readonly LookupAddress[]): boolean {
  const known = new Set(before.map(({ address }) => address))
  return after.some(({ address }) => !known.has(address))
}

function askSystem(host: string, resolve: LookupFunction): Promise<readonly LookupAddress[]> {
  return new Promise((done, fail) => {
    resolve(host, { all: true }, (error, found, family) => {
      if (error) fail(error)
      else done(Array.isArray(found) ? found : [{ address: found, family: family ?? isIP(found) }])
    })
  })
}

/** The names of this process. */
export const nameLookup = createNameLookup(timeToLive)
