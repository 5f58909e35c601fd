/** `sync-targets`: the targets of an NLB follow the addresses of the database. One pass, or one after the other. */
import { isIP } from 'node:net'
import { setTimeout as sleepFor } from 'node:timers/promises'
import { type CredentialsProvider, createCredentials } from '../aws/credentials.ts'
import { DEFAULT_PORT, formatHostPort, type HostPort, parseHostPort } from '../endpoint.ts'
import type { ErrorCode } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { createTrust, type Trust } from '../upstream/trust.ts'
import { canonicalAddress, type Family } from './address.ts'
import { lookUp, type TimedLookUp } from './look-up.ts'
import { isLive, missingAddresses, plan, type Situation, staleTargets, type Target, wantedAddresses } from './plan.ts'
import { openTargetGroup, regionOfTargetGroup, type TargetGroup } from './targets.ts'
import { verifyAddress } from './verify.ts'

export interface SyncOptions {
  /** host[:port] of the RDS or Aurora endpoint to follow; targets on this port are ours */
  rdsEndpoint: string
  targetGroupArn: string
  /** address[:port] of name servers that all have to agree; default: those of the system */
  resolvers?: readonly string[] | undefined
  /** whether each answer names one of several instances; default 'auto': from the endpoint's name */
  collectAnswers?: 'auto' | 'always' | 'never' | undefined
  /** look-ups that must agree before anything is removed; default 6 */
  confirmations?: number | undefined
  /** addresses that are never removed */
  keepTargets?: readonly string[] | undefined
  /** ask a new address for the endpoint's certificate before it is registered */
  verify?: boolean | undefined
  /** PEM texts of authorities for `verify`, beside the RDS bundle and the public roots */
  ca?: readonly string[] | undefined
  /** trust only `ca` */
  caOnly?: boolean | undefined
  /** milliseconds for new targets to become healthy; default 5 minutes */
  healthTimeout?: number | undefined
  /** milliseconds between two passes of `startSync`; default 30,000 */
  interval?: number | undefined
  /** look once, change nothing */
  dryRun?: boolean | undefined
  /** of ~/.aws/config; default: the credential chain of the AWS SDK */
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

/** How one pass came out. */
export interface SyncResult {
  /** 'refused' where something should have been done and was not safe, or did not come to its end; see `reason` */
  outcome: 'unchanged' | 'changed' | 'refused'
  /** where the endpoint is */
  wanted: string[]
  /** what was registered, or with a dry run would be */
  registered: string[]
  /** what was removed, or with a dry run would be, once it is confirmed */
  deregistered: string[]
  /** all targets of the group, as they were at the end */
  targets: Target[]
  lookUps: number
  reason: string | undefined
}

/** A pass that could not be made, in `startSync`. */
export interface SyncFailure {
  outcome: 'failed'
  code: ErrorCode
  reason: string
}

/** All that a pass deals with outside this process. */
export interface Dependencies {
  lookUp(signal: AbortSignal): Promise<TimedLookUp>
  openTargetGroup(signal: AbortSignal): Promise<TargetGroup>
  /** undefined: nobody is to be asked */
  verify: ((address: string, signal: AbortSignal) => Promise<void>) | undefined
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>
  /** milliseconds */
  now(): number
}

/** Names whose answers are one of several instances each: readers, custom endpoints, RDS Proxy. */
const ONE_OF_SEVERAL = /\.(cluster-ro|cluster-custom|proxy)-/

/** @throws ProxyError CONFIG_INVALID */
export function createSyncJob(options: SyncOptions): SyncJob {
  const rds = parseHostPort(options.rdsEndpoint, DEFAULT_PORT, '--rds-endpoint')
  if (isIP(rds.host)) throw new ProxyError('CONFIG_INVALID', `--rds-endpoint: ${rds.host} is an address, not a name`)
  const region = regionOfTargetGroup(options.targetGroupArn)
  const { collectAnswers = 'auto', confirmations = 6 } = options
  if (confirmations < 1) throw new ProxyError('CONFIG_INVALID', '--confirmations: must be at least 1')
  return {
    rds,
    targetGroupArn: options.targetGroupArn,
    resolvers: (options.resolvers ?? []).map(toResolver),
    collectAnswers: collectAnswers === 'auto' ? ONE_OF_SEVERAL.test(rds.host) : collectAnswers === 'always',
    confirmations,
    keepTargets: (options.keepTargets ?? []).map(toKept),
    verify: options.verify ? withoutResumption(createTrust(options.ca ?? [], options.caOnly ?? false)) : undefined,
    healthTimeout: options.healthTimeout ?? 5 * 60_000,
    interval: options.interval ?? 30_000,
    dryRun: options.dryRun ?? false,
    credentials: options.credentials ?? createCredentials(region, options.profile),
  }
}

function toResolver(text: string): string {
  const server = parseHostPort(isIP(text) === 6 ? `[${text}]` : text, 53, '--resolver')
  if (!isIP(server.host))
    throw new ProxyError('CONFIG_INVALID', `--resolver: "${text}" is not the address of a name server`)
  return formatHostPort(server)
}

function toKept(text: string): string {
  const address = canonicalAddress(text)
  if (address === undefined) throw new ProxyError('CONFIG_INVALID', `--keep-target: "${text}" is not an IP address`)
  return address
}

/** A resumed TLS session shows no certificate, which is what `--verify` is to see. */
function withoutResumption(trust: Trust): Trust {
  return { ...trust, session: () => undefined, remember: () => {} }
}

/** The real one: name servers, AWS, and the database for `verify`. */
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

/** Milliseconds between two reads of the targets' health. */
const POLL_MS = 2_000

/** Milliseconds between two look-ups, where the time to live says less or more. */
const MIN_PAUSE_MS = 5_000
const MIN_PAUSE_GATHERING_MS = 1_000
const MAX_PAUSE_MS = 60_000

/**
 * One pass: looks, registers what is new, waits until it is healthy, removes what is gone. With nothing to do that is one
 * look-up (of readers a few); with something to remove it takes as long as look-ups and health checks take.
 * @throws ProxyError SYNC_…, CREDENTIALS_…; the signal's reason
 */
export async function syncOnce(
  job: SyncJob,
  log: Logger,
  signal: AbortSignal,
  world = createDependencies(job),
): Promise<SyncResult> {
  const group = await world.openTargetGroup(signal)
  const lookUps: TimedLookUp[] = []
  const registered = new Set<string>()
  const deregistered = new Set<string>()
  const wasLive = new Set<string>()
  let nextLookUp = Number.NEGATIVE_INFINITY
  let healthDeadline: number | undefined
  let verifyProblem: string | undefined

  for (;;) {
    signal.throwIfAborted()
    if (world.now() >= nextLookUp) {
      const answer = await world.lookUp(signal)
      log.debug({ ...answer }, `look-up ${lookUps.length + 1} of ${job.rds.host}`)
      lookUps.push(answer)
      nextLookUp = world.now() + pauseAfter(answer, job.collectAnswers)
    }
    // Read anew before each step: another copy, or a person, may be at work too.
    const targets = await group.targets()
    const withinHealthTimeout = healthDeadline === undefined || world.now() < healthDeadline
    const situation: Situation = { ...job, port: job.rds.port, lookUps, targets, withinHealthTimeout }
    const next = plan(situation)
    const finish = (outcome: SyncResult['outcome'], reason?: string): SyncResult => ({
      outcome,
      wanted: wantedAddresses(situation),
      registered: [...registered],
      deregistered: [...deregistered],
      targets,
      lookUps: lookUps.length,
      reason,
    })
    if (job.dryRun) return preview(situation, finish)

    switch (next.action) {
      case 'none':
        return finish(registered.size + deregistered.size > 0 ? 'changed' : 'unchanged')
      case 'refuse':
        return finish('refused', next.reason)
      case 'register': {
        healthDeadline ??= world.now() + job.healthTimeout
        const removedByOthers = next.addresses.filter(address => wasLive.has(address))
        const { verified, problem, isFinal } = await verifyAll(next.addresses, world, signal)
        if (verified.length > 0) {
          await group.register(verified, job.rds.port)
          for (const address of verified) registered.add(address)
          log.info({ addresses: verified }, `registered ${verified.join(', ')}`)
        }
        // It is back now; that whoever removed it thinks otherwise is for a person to see.
        if (removedByOthers.length > 0) {
          return finish('refused', `somebody else removed ${removedByOthers.join(', ')}, where ${job.rds.host} is`)
        }
        if (problem && problem !== verifyProblem) log.warn({}, `not registered: ${problem}`)
        verifyProblem = problem
        if (problem && (isFinal || !withinHealthTimeout)) return finish('refused', `not registered: ${problem}`)
        await world.sleep(POLL_MS, signal)
        break
      }
      case 'wait':
        healthDeadline ??= world.now() + job.healthTimeout
        log.debug({}, `waiting: ${next.reason}`)
        await world.sleep(POLL_MS, signal)
        break
      case 'look-up':
        log.debug({}, `looking up again: ${next.reason}`)
        await world.sleep(Math.max(nextLookUp - world.now(), 0), signal)
        break
      case 'deregister':
        await group.deregister(next.targets)
        for (const { address } of next.targets) deregistered.add(address)
        log.info(
          { addresses: next.targets.map(({ address }) => address), lookUps: lookUps.length },
          `deregistered ${next.targets.map(({ address }) => address).join(', ')}`,
        )
        await world.sleep(POLL_MS, signal)
        break
    }
    for (const target of targets) if (isLive(target, job.rds.port)) wasLive.add(target.address)
  }
}

/** What a pass would do, as far as one look-up shows. */
function preview(
  situation: Situation,
  finish: (outcome: SyncResult['outcome'], reason?: string) => SyncResult,
): SyncResult {
  const newest = situation.lookUps.at(-1)
  if (newest && 'problem' in newest) return finish('refused', newest.problem)
  const registered = missingAddresses(situation)
  // One answer of a reader endpoint says nothing about the other readers.
  const deregistered = situation.collectAnswers ? [] : staleTargets(situation).map(({ address }) => address)
  const outcome = registered.length + deregistered.length > 0 ? 'changed' : 'unchanged'
  return { ...finish(outcome), registered, deregistered }
}

function pauseAfter({ ttl }: TimedLookUp, collectAnswers: boolean): number {
  return Math.min(Math.max(ttl * 1_000, collectAnswers ? MIN_PAUSE_GATHERING_MS : MIN_PAUSE_MS), MAX_PAUSE_MS)
}

interface Verification {
  verified: string[]
  problem: string | undefined
  /** trying again soon would bring the same */
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
    // A server that is still starting refuses connections; one with another certificate is another server.
    isFinal: problems.some(({ code }) => code.startsWith('TLS_')),
  }
}

/**
 * Passes every `interval` until `signal` ends it; then resolves. What fails is logged, told to `onResult`, and tried again.
 * @param onResult after each pass
 */
export async function startSync(
  job: SyncJob,
  log: Logger,
  signal: AbortSignal,
  onResult: (result: SyncResult | SyncFailure) => void = () => {},
  world = createDependencies(job),
): Promise<void> {
  while (!signal.aborted) {
    try {
      const result = await syncOnce(job, log, signal, world)
      logResult(job, result, log)
      onResult(result)
    } catch (thrown) {
      if (signal.aborted) return
      const error = asProxyError(thrown)
      const { code, message: reason } = error
      log.error({ code, hint: hintFor(error, { rds: job.rds.host }) }, reason)
      onResult({ outcome: 'failed', code, reason })
    }
    // Copies that were started together drift apart.
    await world.sleep(job.interval * (0.9 + 0.2 * Math.random()), signal).catch(() => undefined)
  }
}

/** One line for a pass: loud where it was refused, silent but for debugging where there was nothing to do. */
export function logResult(job: SyncJob, result: SyncResult, log: Logger): void {
  const { outcome, reason, wanted, registered, deregistered, lookUps } = result
  const fields = { outcome, rds: formatHostPort(job.rds), wanted, registered, deregistered, lookUps }
  if (outcome === 'refused') {
    const error = new ProxyError('SYNC_REFUSED', reason ?? '')
    log.error({ code: error.code, hint: hintFor(error, { rds: job.rds.host }), ...fields }, `refused to act: ${reason}`)
  } else if (outcome === 'changed') {
    log.info(fields, `the targets have followed ${job.rds.host} to ${wanted.join(', ')}`)
  } else log.debug(fields, 'nothing to do')
}
