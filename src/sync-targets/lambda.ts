/**
 * sync-targets as an AWS Lambda function: `handler` of the package's export `mysql-iam-proxy/sync-targets-lambda`. Its
 * options are the environment variables MYSQL_IAM_PROXY_…; it takes schedules and RDS events alike.
 */

import { environmentSource, namesIn, resolveSettings, type Settings } from '../config/settings.ts'
import { toJob } from '../config/sync-job.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import { createJsonLogger } from '../json-log.ts'
import type { Logger } from '../log.ts'
import { errorOf, NEXT_STEPS } from './refusals.ts'
import {
  createDependencies,
  createMemory,
  type Dependencies,
  logResult,
  type SyncJob,
  type SyncResult,
  syncOnce,
} from './sync.ts'

/** The part of Lambda's context that is used. */
export interface LambdaContext {
  /** milliseconds until Lambda stops the function */
  getRemainingTimeInMillis(): number
}

/** Time reserved for the answer. */
const RESERVED_FOR_ANSWER_MS = 5_000

/** How long to follow up an RDS event. Names change some time after "failover started". */
const FOLLOW_UP_MS = 3 * 60_000

/** Pause between two passes of a follow-up. */
const FOLLOW_UP_INTERVAL_MS = 5_000

/** Of all events of this process, whose environment does not change. */
let log: Logger | undefined

/**
 * Runs one pass. After an RDS event, it runs passes until the name has changed or three minutes have passed. It fails if it
 * refused to act or could not act, or if the targets are not healthy, so that Lambda's retries and its metric Errors are meaningful.
 * @param event from EventBridge (a schedule, or source aws.rds), or from an SNS topic that RDS notifies
 * @throws ProxyError CONFIG_INVALID, SYNC_…, AWS_…, CREDENTIALS_…
 */
export async function handler(event: unknown, context: LambdaContext): Promise<SyncResult> {
  const { settings, job } = await readEnvironment()
  log ??= createJsonLogger(settings['log-level'])
  return await runInLambda(job, log, event, context)
}

/** @throws ProxyError CONFIG_INVALID, with a hint for a function, which has no flags */
async function readEnvironment(): Promise<{ settings: Settings; job: SyncJob }> {
  const environment = environmentSource(process.env)
  try {
    const settings = resolveSettings({}, process.env)
    return { settings, job: await toJob(settings, namesIn([environment], environment)) }
  } catch (thrown) {
    const error = asProxyError(thrown)
    if (error.code !== 'CONFIG_INVALID') throw error
    const hint = 'Correct these environment variables of the function; docs/reference.md explains each one.'
    throw new ProxyError('CONFIG_INVALID', error.message, { cause: error, hint })
  }
}

export async function runInLambda(
  job: SyncJob,
  log: Logger,
  event: unknown,
  context: LambdaContext,
  dependencies: Dependencies = createDependencies(job),
): Promise<SyncResult> {
  const stop = new AbortController()
  const timer = setTimeout(() => stop.abort(), Math.max(0, context.getRemainingTimeInMillis() - RESERVED_FOR_ANSWER_MS))
  const cause = rdsEventOf(event)
  const until = dependencies.now() + (cause === undefined ? 0 : FOLLOW_UP_MS)
  if (cause !== undefined) log.info({ event: cause }, 'an RDS event: following up')
  const memory = createMemory()
  try {
    for (;;) {
      const result = await syncOnce(job, log, stop.signal, dependencies, memory)
      logResult(job, result, log)
      const isLast = dependencies.now() + FOLLOW_UP_INTERVAL_MS >= until
      if (result.outcome === 'changed' || (isLast && result.outcome === 'unchanged')) return result
      if (isLast) throw errorOf(job.rds, result)
      await dependencies.sleep(FOLLOW_UP_INTERVAL_MS, stop.signal)
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error
    const hintValues = { rds: job.rds.host, nextStep: NEXT_STEPS.outOfTime }
    const message = 'the timeout of the Lambda function came before the pass was complete'
    const late = new ProxyError('SYNC_REFUSED', message, { cause: error, hintValues })
    log.error({ code: late.code, hint: hintFor(late, {}) }, message)
    throw late
  } finally {
    clearTimeout(timer)
  }
}

/** The message of an RDS event, '' if it has none; undefined for any other event. */
export function rdsEventOf(event: unknown): string | undefined {
  const { source, detail, Records } = asObject(event)
  if (source === 'aws.rds') return text(asObject(detail)['Message'])
  const [record] = Array.isArray(Records) ? Records : []
  const { Message } = asObject(asObject(record)['Sns'])
  const notification = parse(Message)
  return 'Event Message' in notification ? text(notification['Event Message']) : undefined
}

function parse(json: unknown): Record<string, unknown> {
  try {
    return asObject(JSON.parse(String(json)))
  } catch {
    return {}
  }
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 300) : ''
}
