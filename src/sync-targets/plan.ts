/**
 * Decides what to do next about a target group. Pure: lookups and targets in, one action out. sync.ts carries it out and
 * asks again, until nothing is left to do or the next step is not safe.
 */

/** A target as DescribeTargetHealth returns it. */
export interface Target {
  address: string
  port: number
  /** the Availability Zone that it was registered with; 'all' if it is outside the VPC */
  zone: string | undefined
  /** TargetHealth.State: initial, healthy, unhealthy, unhealthy.draining, unused, draining, unavailable */
  health: string
  /** TargetHealth.Reason, for example Target.FailedHealthChecks */
  reason: string | undefined
}

// refusals.ts says what to do about each.
/** Why a pass stops before the targets are correct. */
export type Refusal =
  /** no name server gave an address */
  | 'noAnswer'
  /** the given name servers contradict each other */
  | 'contradictoryAnswers'
  | 'outsideVpc'
  | 'changingAnswers'
  /** a new address did not present the endpoint's certificate */
  | 'notTheDatabase'
  | 'notVerified'
  /** another program or a person undoes what sync-targets does */
  | 'contested'
  /** the time limit of the Lambda function */
  | 'outOfTime'
  /** no load balancer checks the health of the target */
  | 'neverHealthy'
  | 'stillInitial'
  | 'unhealthy'

/** The result of one pass. */
export interface SyncResult {
  /**
   * 'refused' if a needed change was not safe, 'unhealthy' if the load balancer does not find the addresses of the endpoint
   * healthy; see `reason`
   */
  outcome: 'unchanged' | 'changed' | 'unhealthy' | 'refused'
  /** the addresses of the endpoint */
  wanted: string[]
  /** addresses that were registered, or would be in a dry run */
  registered: string[]
  /** addresses that were removed, or would be in a dry run once confirmed */
  deregistered: string[]
  /** all targets of the group at the end */
  targets: Target[]
  lookups: number
  /** set for 'unhealthy' and 'refused' */
  why: Refusal | undefined
  reason: string | undefined
}

/** One answer of the name servers: the addresses, or why the answer is unusable. */
export type Lookup = { addresses: readonly string[] } | { problem: string; why: Refusal }

export interface Situation {
  /** the port of the database; targets on other ports belong to others */
  port: number
  /** each answer names one of several instances (an Aurora reader endpoint), rather than all of them */
  collectAnswers: boolean
  /** lookups that must agree before anything is removed; at least 1 */
  confirmations: number
  /** addresses that are never removed */
  keepTargets: readonly string[]
  /** oldest first, each made after the time to live of the previous one */
  lookups: readonly Lookup[]
  targets: readonly Target[]
  /** addresses that this pass registered: it waits until they are healthy */
  registered: readonly string[]
  /** whether new targets still have time to become healthy */
  withinHealthTimeout: boolean
}

export type Plan =
  /** the targets are correct and healthy */
  | { action: 'none' }
  | { action: 'register'; addresses: string[] }
  /** ask the name servers once more */
  | { action: 'lookup'; reason: string }
  /** wait for the health checks of the load balancer */
  | { action: 'wait'; reason: string }
  | { action: 'deregister'; targets: Target[] }
  | { action: 'refuse'; why: Refusal; reason: string }
  /** the addresses of the endpoint are registered, but the load balancer does not use them */
  | { action: 'unhealthy'; why: Refusal; reason: string }

/** The one next thing to do. */
export function plan(situation: Situation): Plan {
  const { collectAnswers, confirmations, lookups } = situation
  const newest = lookups.at(-1)
  if (!newest) return { action: 'lookup', reason: 'no lookup so far' }
  if ('problem' in newest) {
    const badInARow = lookups.length - 1 - lookups.findLastIndex(isGood)
    if (badInARow >= confirmations) return { action: 'refuse', why: newest.why, reason: newest.problem }
    return { action: 'lookup', reason: newest.problem }
  }

  const missing = missingAddresses(situation)
  if (missing.length > 0) return { action: 'register', addresses: missing }

  const stale = staleTargets(situation)
  const { seen, needed, limit } = confirmation(situation)
  // Each answer names one of several readers, so a single answer is not enough.
  const isComplete = stale.length === 0 && (!collectAnswers || seen >= confirmations)
  if (!isComplete && seen < needed) {
    if (lookups.length >= limit) {
      const reason = `the answers kept changing over ${lookups.length} lookups`
      return { action: 'refuse', why: 'changingAnswers', reason }
    }
    return { action: 'lookup', reason: `${seen} of ${needed} lookups agree so far` }
  }

  const unhealthy = unhealthyTargets(situation)
  if (unhealthy.length > 0) return waitOrReport(unhealthy, stale, situation)
  return isComplete ? { action: 'none' } : { action: 'deregister', targets: stale }
}

/** Waits only for what can change soon: new targets, or those that a removal depends on. */
function waitOrReport(unhealthy: Target[], stale: Target[], situation: Situation): Plan {
  const { registered, withinHealthTimeout } = situation
  const why = whyNotHealthy(unhealthy)
  const isPending =
    stale.length > 0 || unhealthy.some(({ address, health }) => health === 'initial' || registered.includes(address))
  const reason = unhealthy.map(describeTarget).join(', ')
  if (isPending && withinHealthTimeout && why !== 'neverHealthy') return { action: 'wait', reason }
  const kept = stale.map(({ address }) => address).join(', ')
  return { action: 'unhealthy', why, reason: kept ? `${reason}; ${kept} stays registered` : reason }
}

/** What keeps these targets from being healthy. */
export function whyNotHealthy(unhealthy: readonly Target[]): Refusal {
  if (unhealthy.some(({ reason }) => NEVER_HEALTHY.test(reason ?? ''))) return 'neverHealthy'
  return unhealthy.every(({ health }) => health === 'initial') ? 'stillInitial' : 'unhealthy'
}

/**
 * No load balancer uses the group or the zone of the target, or the load balancer itself has the address.
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
 */
const NEVER_HEALTHY = /^Target\.(NotInUse|IpUnusable)$/

/** The addresses of the endpoint, as far as the lookups show; [] if they show nothing. */
export function wantedAddresses({ collectAnswers, lookups }: Situation): string[] {
  const good = sinceLastProblem(lookups)
  const counted = collectAnswers ? good : good.slice(-1)
  return [...new Set(counted.flatMap(({ addresses }) => addresses))].sort()
}

/** Wanted addresses that are not registered, or are draining. */
export function missingAddresses(situation: Situation): string[] {
  return wantedAddresses(situation).filter(
    address => !situation.targets.some(target => target.address === address && isLive(target, situation.port)),
  )
}

/** Registered targets on this port that the endpoint no longer resolves to, without those to keep. */
export function staleTargets(situation: Situation): Target[] {
  const { targets, port, keepTargets } = situation
  const wanted = wantedAddresses(situation)
  return targets.filter(
    target => isLive(target, port) && !wanted.includes(target.address) && !keepTargets.includes(target.address),
  )
}

/** Whether the target is on `port` and gets connections. */
export function isLive(target: Target, port: number): boolean {
  return target.port === port && target.health !== 'draining' && target.reason !== 'Target.NotRegistered'
}

/** Targets with an address of the endpoint that the load balancer does not find healthy. */
export function unhealthyTargets(situation: Situation): Target[] {
  const wanted = wantedAddresses(situation)
  return situation.targets.filter(
    target => isLive(target, situation.port) && wanted.includes(target.address) && target.health !== 'healthy',
  )
}

/** `10.0.1.10:3306 is unhealthy (Target.FailedHealthChecks)` */
export function describeTarget({ address, port, health, reason }: Target): string {
  return `${address}:${port} is ${health}${reason ? ` (${reason})` : ''}`
}

interface Confirmation {
  /** lookups in a row that agree, up to the newest */
  seen: number
  /** how many must agree before anything is removed */
  needed: number
  /** how many lookups one pass makes at most */
  limit: number
}

function confirmation(situation: Situation): Confirmation {
  const { collectAnswers, confirmations, lookups } = situation
  const good = sinceLastProblem(lookups)
  if (collectAnswers) {
    const needed = Math.max(
      confirmations,
      windowFor(wantedAddresses(situation).length + staleTargets(situation).length),
    )
    return { seen: good.length, needed, limit: 3 * needed }
  }
  const newest = good.at(-1)
  const lastOther = good.findLastIndex(lookup => !sameAddresses(lookup, newest))
  return { seen: good.length - 1 - lastOther, needed: confirmations, limit: 10 * confirmations }
}

/** The accepted probability that no answer named a reader that exists. */
const CHANCE_TO_MISS = 1e-6

/** How many random answers must omit one of `readers` before it counts as stale. */
function windowFor(readers: number): number {
  return readers <= 1 ? 1 : Math.ceil(Math.log(CHANCE_TO_MISS) / Math.log(1 - 1 / readers))
}

type GoodLookup = Extract<Lookup, { addresses: readonly string[] }>

function isGood(lookup: Lookup): lookup is GoodLookup {
  return 'addresses' in lookup
}

/** A failed lookup restarts the count: lookups before it confirm nothing. */
function sinceLastProblem(lookups: readonly Lookup[]): GoodLookup[] {
  return lookups.slice(lookups.findLastIndex(lookup => !isGood(lookup)) + 1).filter(isGood)
}

function sameAddresses(left: GoodLookup, right: GoodLookup | undefined): boolean {
  const [one, other] = [new Set(left.addresses), new Set(right?.addresses)]
  return one.size === other.size && [...one].every(address => other.has(address))
}
