/** The result of one pass: text for people, or a line of JSON for programs. */
import { formatHostPort } from '../endpoint.ts'
import { hintFor } from '../errors.ts'
import type { SyncResult, Target } from './plan.ts'
import { errorOf } from './refusals.ts'
import type { SyncJob } from './sync.ts'

/** A line of JSON. */
export function toJson(job: SyncJob, result: SyncResult): string {
  const { outcome, reason, wanted, registered, deregistered, targets, lookups } = result
  const error = reason === undefined ? undefined : errorOf(job.rds, result)
  return JSON.stringify({
    outcome,
    ...(error ? { code: error.code, reason, hint: hintFor(error, {}) } : {}),
    dryRun: job.dryRun,
    rdsEndpoint: formatHostPort(job.rds),
    targetGroupArn: job.targetGroupArn,
    wanted,
    registered,
    deregistered,
    targets,
    lookups,
  })
}

/** The targets, one per line: `+` would be registered, `-` would be removed. The others have the reason why they stay. */
export function toDiff(job: SyncJob, result: SyncResult): string {
  const { port } = job.rds
  const lines = [`target group ${job.targetGroupArn}`]
  if (result.wanted.length > 0) lines.push(`${job.rds.host} is at ${result.wanted.join(', ')}`)
  for (const address of result.registered) {
    lines.push(row('+', `${address}:${port}`, '', 'to be registered'))
  }
  for (const target of result.targets) {
    const isGone = result.deregistered.includes(target.address) && target.port === port && target.health !== 'draining'
    const note = isGone ? removal(job, result) : whyItStays(job, result, target)
    lines.push(row(isGone ? '-' : ' ', `${target.address}:${target.port}`, target.health, note))
  }
  if (result.outcome === 'unhealthy') lines.push(`nothing to do, but not healthy: ${result.reason}`)
  else if (result.reason !== undefined) lines.push(`nothing would be done: ${result.reason}`)
  else if (result.outcome === 'unchanged') lines.push('nothing to do')
  return lines.join('\n')
}

function row(sign: string, target: string, health: string, note: string): string {
  return `${sign} ${target.padEnd(22)} ${health.padEnd(10)} ${note}`.trimEnd()
}

function removal({ confirmations }: SyncJob, { wanted }: SyncResult): string {
  return `to be deregistered, once ${confirmations} lookups agree and ${wanted.join(', ')} is healthy`
}

function whyItStays(job: SyncJob, { wanted }: SyncResult, { address, port, health }: Target): string {
  if (port !== job.rds.port) return 'left alone: another port'
  if (health === 'draining') return 'draining'
  if (wanted.includes(address)) return ''
  if (job.keepTargets.includes(address)) return 'kept'
  return job.collectAnswers ? 'stays until enough lookups have omitted it' : ''
}
