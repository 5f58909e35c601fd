/** `sync-targets`: keeps the targets of an NLB in sync with the addresses of the database, in one pass or many. */
import { isIP } from 'node:net'
import { setTimeout as sleepFor } from 'node:timers/promises'
import { canonicalAddress, type Family } from '../address.ts'
import { type CredentialsProvider, createCredentials } from '../aws/credentials.ts'
import { type RolesAnywhereOptions, rolesAnywhereProblems } from '../aws/roles-anywhere-options.ts'
import {
  DEFAULT_PORT,
  formatHostPort,
  type HostPort,
  namesOneOfSeveral,
  parseHostPort,
  parseRemote,
  rdsEndpointProblem,
} from '../endpoint.ts'
import type { ErrorCode } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { LIBRARY_NAMES, OPTION_VALUES, type OptionNames } from '../option-values.ts'
import { createRegionBundle } from '../upstream/region-bundle.ts'
import { createTrust, type Trust } from '../upstream/trust.ts'
import { verifyServer } from '../upstream/verify-server.ts'
import { resolverProblem } from '../value-checks.ts'
import { lookUp, type TimedLookup } from './lookup.ts'
import {
  describeTarget,
  isLive,
  missingAddresses,
  plan,
  type Refusal,
  type Situation,
  type SyncResult,
  staleTargets,
  type Target,
  unhealthyTargets,
  wantedAddresses,
  whyNotHealthy,
} from './plan.ts'
import { errorOf } from './refusals.ts'
import { openTargetGroup, regionOfTargetGroup, type TargetGroup } from './targets.ts'

export interface SyncOptions {
  /** host[:port] of the RDS or Aurora endpoint; only targets on this port are changed */
  rdsEndpoint: string
  targetGroupArn: string
  /** address[:port] of name servers, which must all agree; default: those of the system */
  resolvers?: readonly string[] | undefined
  /** whether each answer names one of several instances; default 'auto': from the endpoint's name */
  collectAnswers?: 'auto' | 'always' | 'never' | undefined
  /** lookups that must agree before anything is removed; default 6 */
  confirmations?: number | undefined
  /** addresses that are never removed */
  keepTargets?: readonly string[] | undefined
  /** check the certificate of a new address before it is registered */
  verify?: boolean | undefined
  /** PEM texts of CAs for `verify`, in addition to the RDS bundle and the public roots */
  ca?: readonly string[] | undefined
  /** trust only `ca` */
  caOnly?: boolean | undefined
  /** which downloaded CA certificates of RDS to trust; default 'cached' */
  regionBundle?: 'cached' | 'auto' | 'off' | undefined
  /** their folder; default: none */
  bundleCache?: string | undefined
  /** milliseconds for new targets to become healthy; default 5 minutes */
  healthTimeout?: number | undefined
  /** milliseconds between two passes of `startSync`; default 30,000 */
  interval?: number | undefined
  /** one lookup, no change */
  dryRun?: boolean | undefined
  /** a profile of ~/.aws/config; default: the credential chain of the AWS SDK */
  profile?: string | undefined
  /** IAM Roles Anywhere, instead of `profile` and the chain */
  rolesAnywhere?: RolesAnywhereOptions | undefined
  credentials?: CredentialsProvider | undefined
}

/** SyncOptions, checked and complete. */
export interface SyncJob {
  rds: HostPort
  targetGroupArn: string
  resolvers: readonly string[]
  collectAnswers: boolean
  confirmations: number
  keepTargets: readonly string[]
  verify: Trust | undefined
  healthTimeout: number
  interval: number
  dryRun: boolean
  credentials: CredentialsProvider
  /** the profile in ~/.aws/config; its ca_bundle counts for all calls to AWS */
  profile: string | undefined
}

/** A pass of `startSync` that failed. */
export interface SyncFailure {
  outcome: 'failed'
  code: ErrorCode
  reason: string
}

/** Everything outside this process that a pass uses. */
export interface Dependencies {
  lookUp(signal: AbortSignal): Promise<TimedLookup>
  openTargetGroup(signal: AbortSignal): Promise<TargetGroup>
  /** undefined: no check */
  verify: ((address: string, signal: AbortSignal) => Promise<void>) | undefined
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>
  /** milliseconds on a monotonic clock */
  now(): number
}

const DNS_PORT = 53

/** @param names how errors call the options. @throws ProxyError CONFIG_INVALID */
export function createSyncJob(options: SyncOptions, names: OptionNames = LIBRARY_NAMES): SyncJob {
  const invalid = (option: string, problem: string) =>
    new ProxyError('CONFIG_INVALID', `${names.place(option)}: ${problem}`)
  const rds = parseRemote(options.rdsEndpoint, DEFAULT_PORT, names.place('rdsEndpoint'))
  if (isIP(rds.host)) throw invalid('rdsEndpoint', `${rds.host} is an address, not a name`)
  const region = regionOfTargetGroup(options.targetGroupArn, names)
  const problem = rdsEndpointProblem({ rdsEndpoint: options.rdsEndpoint, region }, names)
  if (problem) throw new ProxyError('CONFIG_INVALID', problem)
  const { collectAnswers = OPTION_VALUES.collectAnswers.default, confirmations = OPTION_VALUES.confirmations.default } =
    options
  if (confirmations < 1) throw invalid('confirmations', 'must be at least 1')
  const problems = rolesAnywhereProblems(options, names)
  if (problems.length > 0) throw new ProxyError('CONFIG_INVALID', problems.join('; '))
  return {
    rds,
    targetGroupArn: options.targetGroupArn,
    resolvers: (options.resolvers ?? []).map(resolver => {
      const problem = resolverProblem(resolver)
      if (problem) throw invalid('resolvers', problem)
      return toResolver(resolver)
    }),
    collectAnswers: collectAnswers === 'auto' ? namesOneOfSeveral(rds.host) : collectAnswers === 'always',
    confirmations,
    keepTargets: (options.keepTargets ?? []).map(text => {
      const address = canonicalAddress(text)
      if (address === undefined) throw invalid('keepTargets', `"${text}" is not an IP address`)
      return address
    }),
    verify: options.verify ? trustOf(options, region) : undefined,
    healthTimeout: options.healthTimeout ?? OPTION_VALUES.healthTimeout.default,
    interval: options.interval ?? OPTION_VALUES.interval.default,
    dryRun: options.dryRun ?? false,
    credentials: options.credentials ?? createCredentials({ ...options, region }),
    profile: options.profile,
  }
}

function trustOf({ ca = [], caOnly = false, regionBundle, bundleCache }: SyncOptions, region: string): Trust {
  const mode = regionBundle ?? OPTION_VALUES.regionBundle.default
  return createTrust(ca, caOnly, undefined, createRegionBundle({ region, mode, folder: bundleCache }))
}

/** With the port of DNS, if it has none. */
function toResolver(text: string): string {
  return formatHostPort(parseHostPort(isIP(text) === 6 ? `[${text}]` : text, DNS_PORT, 'resolvers'))
}

/** The real dependencies: name servers, AWS, and the database for `verify`. */
export function createDependencies(job: SyncJob): Dependencies {
  const { verify, rds } = job
  let group: Promise<TargetGroup> | undefined
  let family: Family | undefined
  const open = (signal: AbortSignal) => {
    group ??= openTargetGroup(job.targetGroupArn, job.credentials, signal, job.profile)
    return group
  }
  return {
    async lookUp(signal) {
      family ??= await (await open(signal)).family()
      return lookUp({ host: rds.host, family, resolvers: job.resolvers, collectAnswers: job.collectAnswers }, signal)
    },
    openTargetGroup: open,
    verify:
      verify &&
      (async (address, signal) => void (await verifyServer({ host: address, port: rds.port }, rds, verify, signal))),
    sleep: async (milliseconds, signal) => void (await sleepFor(milliseconds, undefined, { signal })),
    now: () => performance.now(),
  }
}

/** Pause between two reads of the targets' health. */
const POLL_MS = 2_000

/** How often a pass registers an address that disappears again, and a process removes one that comes back. */
const MAX_REGISTRATIONS = 3
const MAX_REMOVALS = 2

/** After this long without a removal of an address, earlier ones no longer count. */
const FORGET_REMOVALS_MS = 3_600_000

/** What a process saw and did in all its passes. It shows whether another program undoes the changes. */
export interface Memory {
  /** addresses of the endpoint that were registered when the targets were read last */
  live: Set<string>
  /** how often this process removed an address, and when it did so last */
  removals: Map<string, { times: number; at: number }>
}

export function createMemory(): Memory {
  return { live: new Set(), removals: new Map() }
}

/** Limits for the pause between two lookups, which is otherwise the time to live. */
const MIN_PAUSE_MS = 5_000
const MIN_PAUSE_GATHERING_MS = 1_000
const MAX_PAUSE_MS = 60_000

/**
 * Runs one pass: looks up the endpoint, registers new addresses, waits until they are healthy, removes stale ones. If nothing
 * has changed, it needs one lookup (for readers a few). A removal takes as long as lookups and health checks take.
 * @param memory of the process, if it runs several passes
 * @throws ProxyError SYNC_…, AWS_…, CREDENTIALS_…; the signal's reason
 */
export async function syncOnce(
  job: SyncJob,
  log: Logger,
  signal: AbortSignal,
  dependencies = createDependencies(job),
  memory = createMemory(),
): Promise<SyncResult> {
  const group = await dependencies.openTargetGroup(signal)
  const lookups: TimedLookup[] = []
  const registrations = new Map<string, number>()
  const deregistered = new Set<string>()
  let nextLookup = Number.NEGATIVE_INFINITY
  let healthDeadline: number | undefined
  let verifyProblem: string | undefined
  // An answer names only one of several readers, so what earlier passes saw says nothing about the others.
  if (job.collectAnswers) memory.live.clear()

  for (;;) {
    signal.throwIfAborted()
    if (dependencies.now() >= nextLookup) {
      const answer = await dependencies.lookUp(signal)
      log.debug({ ...answer }, `lookup ${lookups.length + 1} of ${job.rds.host}`)
      lookups.push(answer)
      nextLookup = dependencies.now() + pauseAfter(answer, job.collectAnswers)
    }
    // Read before each step: another copy, or a person, may change the targets too.
    const targets = await group.targets()
    const withinHealthTimeout = healthDeadline === undefined || dependencies.now() < healthDeadline
    const registered = [...registrations.keys()]
    const situation: Situation = { ...job, port: job.rds.port, lookups, targets, registered, withinHealthTimeout }
    const next = plan(situation)
    const finish = (outcome: SyncResult['outcome'], stopped?: { why: Refusal; reason: string }): SyncResult => ({
      outcome,
      wanted: wantedAddresses(situation),
      registered: [...registrations.keys()],
      deregistered: [...deregistered],
      targets,
      lookups: lookups.length,
      why: stopped?.why,
      reason: stopped?.reason,
    })
    if (job.dryRun) return preview(situation, finish)
    rememberLive(memory, situation)

    switch (next.action) {
      case 'none':
        return finish(registrations.size + deregistered.size > 0 ? 'changed' : 'unchanged')
      case 'refuse':
        return finish('refused', next)
      case 'unhealthy':
        return finish('unhealthy', next)
      case 'register': {
        healthDeadline ??= dependencies.now() + job.healthTimeout
        const { verified, problem, isFinal } = await verifyAll(next.addresses, dependencies, signal)
        if (verified.length > 0) {
          await group.register(verified, job.rds.port)
          for (const address of verified) {
            registrations.set(address, (registrations.get(address) ?? 0) + 1)
            memory.removals.delete(address)
          }
          log.info({ addresses: verified }, `registered ${verified.join(', ')}`)
        }
        // It is registered again now. A person must find out who removes it.
        const contested = verified.filter(
          address => memory.live.has(address) || registrations.get(address)! >= MAX_REGISTRATIONS,
        )
        if (contested.length > 0) {
          const reason = `another program removed ${contested.join(', ')}, an address of ${job.rds.host}`
          return finish('refused', { why: 'contested', reason })
        }
        if (problem && problem !== verifyProblem) log.warn({}, `not registered: ${problem}`)
        verifyProblem = problem
        if (problem && (isFinal || !withinHealthTimeout)) {
          return finish('refused', {
            why: isFinal ? 'notTheDatabase' : 'notVerified',
            reason: `not registered: ${problem}`,
          })
        }
        await dependencies.sleep(POLL_MS * Math.max(1, ...registrations.values()), signal)
        break
      }
      case 'wait':
        healthDeadline ??= dependencies.now() + job.healthTimeout
        log.debug({}, `waiting: ${next.reason}`)
        await dependencies.sleep(POLL_MS, signal)
        break
      case 'lookup':
        log.debug({}, `looking up again: ${next.reason}`)
        await dependencies.sleep(Math.max(nextLookup - dependencies.now(), 0), signal)
        break
      case 'deregister': {
        const now = dependencies.now()
        const isContested = ({ address }: Target) => timesRemoved(memory, address, now) >= MAX_REMOVALS
        const stale = next.targets.filter(target => !isContested(target))
        const addresses = stale.map(({ address }) => address)
        if (stale.length === 0) {
          const all = next.targets.map(({ address }) => address).join(', ')
          const reason = `another program keeps registering ${all}, which ${job.rds.host} does not have`
          return finish('refused', { why: 'contested', reason })
        }
        await group.deregister(stale)
        for (const address of addresses) {
          deregistered.add(address)
          memory.live.delete(address)
          memory.removals.set(address, { times: timesRemoved(memory, address, now) + 1, at: now })
        }
        log.info({ addresses, lookups: lookups.length }, `deregistered ${addresses.join(', ')}`)
        await dependencies.sleep(POLL_MS, signal)
        break
      }
    }
  }
}

/** An address that the endpoint left meanwhile may disappear: another copy removes it then. */
function rememberLive(memory: Memory, situation: Situation): void {
  const wanted = wantedAddresses(situation)
  if (!situation.collectAnswers && wanted.length > 0) {
    for (const address of memory.live) if (!wanted.includes(address)) memory.live.delete(address)
  }
  for (const target of situation.targets) if (isLive(target, situation.port)) memory.live.add(target.address)
}

function timesRemoved({ removals }: Memory, address: string, now: number): number {
  const last = removals.get(address)
  return last && now - last.at < FORGET_REMOVALS_MS ? last.times : 0
}

/** What a pass would do, as far as one lookup shows. */
function preview(
  situation: Situation,
  finish: (outcome: SyncResult['outcome'], stopped?: { why: Refusal; reason: string }) => SyncResult,
): SyncResult {
  const newest = situation.lookups.at(-1)
  if (newest && 'problem' in newest) return finish('refused', { why: newest.why, reason: newest.problem })
  const registered = missingAddresses(situation)
  // One answer of a reader endpoint says nothing about the other readers.
  const deregistered = situation.collectAnswers ? [] : staleTargets(situation).map(({ address }) => address)
  if (registered.length + deregistered.length > 0) return { ...finish('changed'), registered, deregistered }
  const unhealthy = unhealthyTargets(situation)
  if (unhealthy.length === 0) return finish('unchanged')
  return finish('unhealthy', { why: whyNotHealthy(unhealthy), reason: unhealthy.map(describeTarget).join(', ') })
}

function pauseAfter({ ttl }: TimedLookup, collectAnswers: boolean): number {
  return Math.min(Math.max(ttl * 1_000, collectAnswers ? MIN_PAUSE_GATHERING_MS : MIN_PAUSE_MS), MAX_PAUSE_MS)
}

interface Verification {
  verified: string[]
  problem: string | undefined
  /** a retry soon would have the same result */
  isFinal: boolean
}

async function verifyAll(
  addresses: readonly string[],
  { verify }: Dependencies,
  signal: AbortSignal,
): Promise<Verification> {
  if (!verify) return { verified: [...addresses], problem: undefined, isFinal: false }
  const verified: string[] = []
  const problems: ProxyError[] = []
  for (const address of addresses) {
    try {
      await verify(address, signal)
      verified.push(address)
    } catch (error) {
      signal.throwIfAborted()
      problems.push(asProxyError(error))
    }
  }
  return {
    verified,
    problem: problems.map(({ message }) => message).join('; ') || undefined,
    // A server that is still starting refuses connections. One with another certificate is another server.
    isFinal: problems.some(({ code }) => code.startsWith('TLS_')),
  }
}

/**
 * Runs a pass every `interval` until `signal` aborts, then resolves. A failed pass is logged, passed to `onResult` and retried.
 * @param onResult after each pass
 */
export async function startSync(
  job: SyncJob,
  log: Logger,
  signal: AbortSignal,
  onResult: (result: SyncResult | SyncFailure) => void = () => {},
  dependencies = createDependencies(job),
): Promise<void> {
  const memory = createMemory()
  while (!signal.aborted) {
    try {
      const result = await syncOnce(job, log, signal, dependencies, memory)
      logResult(job, result, log)
      onResult(result)
    } catch (thrown) {
      if (signal.aborted) return
      const error = asProxyError(thrown)
      const { code, message: reason } = error
      log.error({ code, hint: hintFor(error, { rds: job.rds.host }) }, reason)
      onResult({ outcome: 'failed', code, reason })
    }
    // Jitter, so that copies that started together drift apart.
    await dependencies.sleep(job.interval * (0.9 + 0.2 * Math.random()), signal).catch(() => undefined)
  }
}

/** Logs a pass in one line: an error if it was refused or left unhealthy targets, debug if there was nothing to do. */
export function logResult(job: SyncJob, result: SyncResult, log: Logger): void {
  const { outcome, wanted, registered, deregistered, lookups } = result
  const fields = { outcome, rds: formatHostPort(job.rds), wanted, registered, deregistered, lookups }
  if (outcome === 'refused' || outcome === 'unhealthy') {
    const error = errorOf(job.rds, result)
    log.error({ code: error.code, hint: hintFor(error, {}), ...fields }, error.message)
  } else if (outcome === 'changed') {
    log.info(fields, `the targets now follow ${job.rds.host} to ${wanted.join(', ')}`)
  } else log.debug(fields, 'nothing to do')
}
