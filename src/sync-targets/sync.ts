/** `sync-targets`: keeps the targets of an NLB in sync with the addresses of the database, in one pass or many. */
import { isIP } from 'node:net'
import { setTimeout as sleepFor } from 'node:timers/promises'
import { type CredentialsProvider, createCredentials } from '../aws/credentials.ts'
import { DEFAULT_PORT, formatHostPort, type HostPort, parseHostPort, parseRemote } from '../endpoint.ts'
import type { ErrorCode } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { LIBRARY_NAMES, OPTION_VALUES, type OptionNames } from '../option-values.ts'
import { createTrust, type Trust } from '../upstream/trust.ts'
import { resolverProblem } from '../value-checks.ts'
import { canonicalAddress, type Family } from './address.ts'
import { lookUp, type TimedLookup } from './lookup.ts'
import { isLive, missingAddresses, plan, type Situation, staleTargets, type Target, wantedAddresses } from './plan.ts'
import { openTargetGroup, regionOfTargetGroup, type TargetGroup } from './targets.ts'
import { verifyAddress } from './verify.ts'

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
  /** milliseconds for new targets to become healthy; default 5 minutes */
  healthTimeout?: number | undefined
  /** milliseconds between two passes of `startSync`; default 30,000 */
  interval?: number | undefined
  /** one lookup, no change */
  dryRun?: boolean | undefined
  /** a profile of ~/.aws/config; default: the credential chain of the AWS SDK */
  profile?: string | undefined
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
}

/** The result of one pass. */
export interface SyncResult {
  /** 'refused' if a needed change was not safe or not completed; see `reason` */
  outcome: 'unchanged' | 'changed' | 'refused'
  /** the addresses of the endpoint */
  wanted: string[]
  /** addresses that were registered, or would be in a dry run */
  registered: string[]
  /** addresses that were removed, or would be in a dry run once confirmed */
  deregistered: string[]
  /** all targets of the group at the end */
  targets: Target[]
  lookups: number
  reason: string | undefined
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

/** Names that resolve to one of several instances at a time: readers, custom endpoints, RDS Proxy. */
const ONE_OF_SEVERAL = /\.(cluster-ro|cluster-custom|proxy)-/

/** @param names how errors call the options. @throws ProxyError CONFIG_INVALID */
export function createSyncJob(options: SyncOptions, names: OptionNames = LIBRARY_NAMES): SyncJob {
  const invalid = (option: string, problem: string) =>
    new ProxyError('CONFIG_INVALID', `${names.place(option)}: ${problem}`)
  const rds = parseRemote(options.rdsEndpoint, DEFAULT_PORT, names.place('rdsEndpoint'))
  if (isIP(rds.host)) throw invalid('rdsEndpoint', `${rds.host} is an address, not a name`)
  const region = regionOfTargetGroup(options.targetGroupArn, names)
  const { collectAnswers = OPTION_VALUES.collectAnswers.default, confirmations = OPTION_VALUES.confirmations.default } =
    options
  if (confirmations < 1) throw invalid('confirmations', 'must be at least 1')
  return {
    rds,
    targetGroupArn: options.targetGroupArn,
    resolvers: (options.resolvers ?? []).map(resolver => {
      const problem = resolverProblem(resolver)
      if (problem) throw invalid('resolvers', problem)
      return toResolver(resolver)
    }),
    collectAnswers: collectAnswers === 'auto' ? ONE_OF_SEVERAL.test(rds.host) : collectAnswers === 'always',
    confirmations,
    keepTargets: (options.keepTargets ?? []).map(text => {
      const address = canonicalAddress(text)
      if (address === undefined) throw invalid('keepTargets', `"${text}" is not an IP address`)
      return address
    }),
    verify: options.verify ? withoutResumption(createTrust(options.ca ?? [], options.caOnly ?? false)) : undefined,
    healthTimeout: options.healthTimeout ?? OPTION_VALUES.healthTimeout.default,
    interval: options.interval ?? OPTION_VALUES.interval.default,
    dryRun: options.dryRun ?? false,
    credentials: options.credentials ?? createCredentials(region, options.profile),
  }
}

/** With the port of DNS, if it has none. */
function toResolver(text: string): string {
  return formatHostPort(parseHostPort(isIP(text) === 6 ? `[${text}]` : text, DNS_PORT, 'resolvers'))
}

/** A resumed TLS session shows no certificate, but `verify` must see it. */
function withoutResumption(trust: Trust): Trust {
  return { ...trust, session: () => undefined, remember: () => {} }
}

/** The real dependencies: name servers, AWS, and the database for `verify`. */
export function createDependencies(job: SyncJob): Dependencies {
  const { verify, rds } = job
  let group: Promise<TargetGroup> | undefined
  let family: Family | undefined
  const open = (signal: AbortSignal) => {
    group ??= openTargetGroup(job.targetGroupArn, job.credentials, signal)
    return group
  }
  return {
    async lookUp(signal) {
      family ??= await (await open(signal)).family()
      return lookUp({ host: rds.host, family, resolvers: job.resolvers, collectAnswers: job.collectAnswers }, signal)
    },
    openTargetGroup: open,
    verify: verify && ((address, signal) => verifyAddress(address, rds, verify, signal)),
    sleep: async (milliseconds, signal) => void (await sleepFor(milliseconds, undefined, { signal })),
    now: () => performance.now(),
  }
}

/** Pause between two reads of the targets' health. */
const POLL_MS = 2_000

/** Limits for the pause between two lookups, which is otherwise the time to live. */
const MIN_PAUSE_MS = 5_000
const MIN_PAUSE_GATHERING_MS = 1_000
const MAX_PAUSE_MS = 60_000

/**
 * Runs one pass: looks up the endpoint, registers new addresses, waits until they are healthy, removes stale ones. If nothing
 * has changed, it needs one lookup (for readers a few). A removal takes as long as lookups and health checks take.
 * @throws ProxyError SYNC_…, CREDENTIALS_…; the signal's reason
 */
export async function syncOnce(
  job: SyncJob,
  log: Logger,
  signal: AbortSignal,
  dependencies = createDependencies(job),
): Promise<SyncResult> {
  const group = await dependencies.openTargetGroup(signal)
  const lookups: TimedLookup[] = []
  const registered = new Set<string>()
  const deregistered = new Set<string>()
  const wasLive = new Set<string>()
  let nextLookup = Number.NEGATIVE_INFINITY
  let healthDeadline: number | undefined
  let verifyProblem: string | undefined

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
    const situation: Situation = { ...job, port: job.rds.port, lookups, targets, withinHealthTimeout }
    const next = plan(situation)
    const finish = (outcome: SyncResult['outcome'], reason?: string): SyncResult => ({
      outcome,
      wanted: wantedAddresses(situation),
      registered: [...registered],
      deregistered: [...deregistered],
      targets,
      lookups: lookups.length,
      reason,
    })
    if (job.dryRun) return preview(situation, finish)

    switch (next.action) {
      case 'none':
        return finish(registered.size + deregistered.size > 0 ? 'changed' : 'unchanged')
      case 'refuse':
        return finish('refused', next.reason)
      case 'register': {
        healthDeadline ??= dependencies.now() + job.healthTimeout
        const removedByOthers = next.addresses.filter(address => wasLive.has(address))
        const { verified, problem, isFinal } = await verifyAll(next.addresses, dependencies, signal)
        if (verified.length > 0) {
          await group.register(verified, job.rds.port)
          for (const address of verified) registered.add(address)
          log.info({ addresses: verified }, `registered ${verified.join(', ')}`)
        }
        // It is registered again now. A person must find out who removed it.
        if (removedByOthers.length > 0) {
          return finish('refused', `somebody else removed ${removedByOthers.join(', ')}, an address of ${job.rds.host}`)
        }
        if (problem && problem !== verifyProblem) log.warn({}, `not registered: ${problem}`)
        verifyProblem = problem
        if (problem && (isFinal || !withinHealthTimeout)) return finish('refused', `not registered: ${problem}`)
        await dependencies.sleep(POLL_MS, signal)
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
      case 'deregister':
        await group.deregister(next.targets)
        for (const { address } of next.targets) deregistered.add(address)
        log.info(
          { addresses: next.targets.map(({ address }) => address), lookups: lookups.length },
          `deregistered ${next.targets.map(({ address }) => address).join(', ')}`,
        )
        await dependencies.sleep(POLL_MS, signal)
        break
    }
    for (const target of targets) if (isLive(target, job.rds.port)) wasLive.add(target.address)
  }
}

/** What a pass would do, as far as one lookup shows. */
function preview(
  situation: Situation,
  finish: (outcome: SyncResult['outcome'], reason?: string) => SyncResult,
): SyncResult {
  const newest = situation.lookups.at(-1)
  if (newest && 'problem' in newest) return finish('refused', newest.problem)
  const registered = missingAddresses(situation)
  // One answer of a reader endpoint says nothing about the other readers.
  const deregistered = situation.collectAnswers ? [] : staleTargets(situation).map(({ address }) => address)
  const outcome = registered.length + deregistered.length > 0 ? 'changed' : 'unchanged'
  return { ...finish(outcome), registered, deregistered }
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
  while (!signal.aborted) {
    try {
      const result = await syncOnce(job, log, signal, dependencies)
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

/** Logs a pass in one line: an error if it was refused, debug if there was nothing to do. */
export function logResult(job: SyncJob, result: SyncResult, log: Logger): void {
  const { outcome, reason, wanted, registered, deregistered, lookups } = result
  const fields = { outcome, rds: formatHostPort(job.rds), wanted, registered, deregistered, lookups }
  if (outcome === 'refused') {
    const error = new ProxyError('SYNC_REFUSED', reason ?? '')
    log.error({ code: error.code, hint: hintFor(error, { rds: job.rds.host }), ...fields }, `refused to act: ${reason}`)
  } else if (outcome === 'changed') {
    log.info(fields, `the targets now follow ${job.rds.host} to ${wanted.join(', ')}`)
  } else log.debug(fields, 'nothing to do')
}
