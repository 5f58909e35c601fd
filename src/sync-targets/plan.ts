/**
 * What to do next about a target group. Pure: look-ups and targets in, one action out; sync.ts carries it out, looks again,
 * and asks again, until there is nothing to do or nothing that may be done.
 */

/** A target as DescribeTargetHealth tells of it. */
export interface Target {
  address: string
  port: number
  /** the Availability Zone that it was registered with, 'all' where it is outside the VPC */
  zone: string | undefined
  /** TargetHealth.State: initial, healthy, unhealthy, unhealthy.draining, unused, draining, unavailable */
  health: string
  /** TargetHealth.Reason, for example Target.FailedHealthChecks */
  reason: string | undefined
}

/** What the name servers said once: the addresses, or why the answer is not one to act on. */
export type LookUp = { addresses: readonly string[] } | { problem: string }

export interface Situation {
  /** the database's port; targets on others are somebody else's */
  port: number
  /** each answer names one of several instances (an Aurora reader endpoint), rather than all that there is */
  collectAnswers: boolean
  /** look-ups that must agree before anything is removed; at least 1 */
  confirmations: number
  /** addresses that are never removed */
  keepTargets: readonly string[]
  /** oldest first, each after the time to live of the one before */
  lookUps: readonly LookUp[]
  targets: readonly Target[]
  /** whether new targets may still become healthy in their time */
  withinHealthTimeout: boolean
}

export type Plan =
  /** the targets are what they should be */
  | { action: 'none' }
  | { action: 'register'; addresses: string[] }
  /** ask the name servers once more */
  | { action: 'look-up'; reason: string }
  /** give the load balancer time for its health checks */
  | { action: 'wait'; reason: string }
  | { action: 'deregister'; targets: Target[] }
  | { action: 'refuse'; reason: string }

/** The one next thing to do. */
export function plan(situation: Situation): Plan {
  const { collectAnswers, confirmations, lookUps, withinHealthTimeout } = situation
  const newest = lookUps.at(-1)
  if (!newest) return { action: 'look-up', reason: 'nobody was asked yet' }
  if ('problem' in newest) {
    const badInARow = lookUps.length - 1 - lookUps.findLastIndex(isGood)
    if (badInARow >= confirmations) return { action: 'refuse', reason: newest.problem }
    return { action: 'look-up', reason: newest.problem }
  }

  const wanted = wantedAddresses(situation)
  const missing = missingAddresses(situation)
  if (missing.length > 0) return { action: 'register', addresses: missing }

  const stale = staleTargets(situation)
  const { seen, needed, limit } = confirmation(situation)
  // An answer names one reader of several: a single one says too little to be content with.
  if (stale.length === 0 && (!collectAnswers || seen >= confirmations)) return { action: 'none' }
  if (seen < needed) {
    if (lookUps.length >= limit) {
      return { action: 'refuse', reason: `the answers kept changing over ${lookUps.length} look-ups` }
    }
    return { action: 'look-up', reason: `${seen} of ${needed} look-ups agree so far` }
  }

  const unhealthy = situation.targets.filter(
    target => isWanted(target, situation, wanted) && target.health !== 'healthy',
  )
  if (unhealthy.length > 0) {
    const reason = unhealthy.map(describe).join(', ')
    // Nothing checks the health of a group that no listener forwards to.
    const willNeverBeHealthy = unhealthy.some(target => target.reason === 'Target.NotInUse')
    return withinHealthTimeout && !willNeverBeHealthy ? { action: 'wait', reason } : { action: 'refuse', reason }
  }
  return { action: 'deregister', targets: stale }
}

/** Where the endpoint is, as far as the look-ups show; [] while they show nothing. */
export function wantedAddresses({ collectAnswers, lookUps }: Situation): string[] {
  const good = sinceLastProblem(lookUps)
  const counted = collectAnswers ? good : good.slice(-1)
  return [...new Set(counted.flatMap(({ addresses }) => addresses))].sort()
}

/** Wanted addresses that are not registered, or are on their way out. */
export function missingAddresses(situation: Situation): string[] {
  return wantedAddresses(situation).filter(
    address => !situation.targets.some(target => target.address === address && isLive(target, situation.port)),
  )
}

/** Registered targets on this port at which the endpoint is no more, without those to keep. */
export function staleTargets(situation: Situation): Target[] {
  const { targets, port, keepTargets } = situation
  const wanted = wantedAddresses(situation)
  return targets.filter(
    target => isLive(target, port) && !wanted.includes(target.address) && !keepTargets.includes(target.address),
  )
}

/** Whether the target is on `port` and meant to get connections. */
export function isLive(target: Target, port: number): boolean {
  return target.port === port && target.health !== 'draining' && target.reason !== 'Target.NotRegistered'
}

function isWanted(target: Target, { port }: Situation, wanted: readonly string[]): boolean {
  return isLive(target, port) && wanted.includes(target.address)
}

/** `10.0.1.10:3306 is unhealthy (Target.FailedHealthChecks)` */
export function describe({ address, port, health, reason }: Target): string {
  return `${address}:${port} is ${health}${reason ? ` (${reason})` : ''}`
}

interface Confirmation {
  /** look-ups that agree, up to the newest */
  seen: number
  /** as many as must before anything is removed */
  needed: number
  /** as many look-ups as one pass makes at most */
  limit: number
}

function confirmation(situation: Situation): Confirmation {
  const { collectAnswers, confirmations, lookUps } = situation
  const good = sinceLastProblem(lookUps)
  if (collectAnswers) {
    const needed = Math.max(
      confirmations,
      windowFor(wantedAddresses(situation).length + staleTargets(situation).length),
    )
    return { seen: good.length, needed, limit: 3 * needed }
  }
  const newest = good.at(-1)
  const lastOther = good.findLastIndex(lookUp => !sameAddresses(lookUp, newest))
  return { seen: good.length - 1 - lastOther, needed: confirmations, limit: 10 * confirmations }
}

/** How likely it may be that a reader which is there was in no answer. */
const CHANCE_TO_MISS = 1e-6

/** As many random answers as are needed before one of `readers` that was in none of them is taken for stale. */
function windowFor(readers: number): number {
  return readers <= 1 ? 1 : Math.ceil(Math.log(CHANCE_TO_MISS) / Math.log(1 - 1 / readers))
}

type GoodLookUp = Extract<LookUp, { addresses: readonly string[] }>

function isGood(lookUp: LookUp): lookUp is GoodLookUp {
  return 'addresses' in lookUp
}

/** A look-up that failed breaks the row: what came before it confirms nothing. */
function sinceLastProblem(lookUps: readonly LookUp[]): GoodLookUp[] {
  return lookUps.slice(lookUps.findLastIndex(lookUp => !isGood(lookUp)) + 1).filter(isGood)
}

function sameAddresses(left: GoodLookUp, right: GoodLookUp | undefined): boolean {
  const [one, other] = [new Set(left.addresses), new Set(right?.addresses)]
  return one.size === other.size && [...one].every(address => other.has(address))
}
