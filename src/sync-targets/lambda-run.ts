/** One invocation of the Lambda function: a pass, or many after an RDS event. lambda.ts is what the package exports. */
import { hintFor, ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { SyncResult } from './plan.ts'
import { errorOf, NEXT_STEPS } from './refusals.ts'
import { createDependencies, createMemory, type Dependencies, logResult, type SyncJob, syncOnce } from './sync.ts'

/** Time reserved for the answer. */
const RESERVED_FOR_ANSWER_MS = 5_000

/** How long to follow up an RDS event. Names change some time after "failover started". */
const FOLLOW_UP_MS = 3 * 60_000

/** Pause between two passes of a follow-up. */
const FOLLOW_UP_INTERVAL_MS = 5_000

/**
 * @param remainingMs until Lambda stops the function
 * @throws ProxyError SYNC_…, AWS_…, CREDENTIALS_…
 */
export async function runInLambda(
  job: SyncJob,
  log: Logger,
  event: unknown,
  remainingMs: number,
  dependencies: Dependencies = createDependencies(job),
): Promise<SyncResult> {
  const stop = new AbortController()
  const timer = setTimeout(() => stop.abort(), Math.max(0, remainingMs - RESERVED_FOR_ANSWER_MS))
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
