/** `mysql-iam-proxy sync-targets`: one pass, or with --watch passes in sequence until a signal ends it. */
import type { Settings } from '../config/settings.ts'
import { toJob } from '../config/sync-job.ts'
import { createEndpoint, formatHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { OptionNames } from '../option-values.ts'
import { createLogger } from '../program-log.ts'
import { createState, noteSync } from '../state.ts'
import { errorOf } from '../sync-targets/refusals.ts'
import { toDiff, toJson } from '../sync-targets/report.ts'
import { logResult, startSync, syncOnce } from '../sync-targets/sync.ts'
import { regionOfTargetGroup } from '../sync-targets/targets.ts'
import { startAdminAsSet } from './start-admin.ts'

/** Exit code of a pass that changed the target group, so that scripts can tell it from a pass with nothing to do. */
const CHANGED = 10

/**
 * Resolves with the exit code; undefined after a signal, which has its own.
 * @param names how the settings were written, for errors
 * @throws ProxyError CONFIG_INVALID, SYNC_…, AWS_…, CREDENTIALS_…
 */
export async function syncTargets(
  settings: Settings,
  names: OptionNames,
  print: (line: string) => void,
  stop: AbortSignal,
): Promise<number | undefined> {
  const job = await toJob(settings, names)
  // Standard output holds only JSON then.
  const log = await createLogger(settings['log-level'], settings['log-format'], settings.json ? 2 : 1)
  if (settings.watch) {
    if (job.dryRun)
      throw new ProxyError(
        'CONFIG_INVALID',
        `${names.name('watch')} and ${names.name('dryRun')} cannot be used together`,
      )
    log.info(
      { intervalMs: job.interval, collectAnswers: job.collectAnswers },
      `watching ${job.rds.host} for ${job.targetGroupArn}`,
    )
    const region = regionOfTargetGroup(job.targetGroupArn)
    const state = createState(createEndpoint({ rdsEndpoint: formatHostPort(job.rds), region }), 0)
    const life = { isStarted: () => state.sync !== undefined, isStopping: () => stop.aborted }
    const admin = await startAdminAsSet(settings, { endpoints: () => [state], ...life }, log, names)
    try {
      await startSync(job, log, stop, result => {
        noteSync(state, result)
        if (settings.json && result.outcome !== 'failed') print(toJson(job, result))
      })
    } finally {
      await admin?.close()
    }
    return undefined
  }
  const result = await syncOnce(job, log, stop)
  if (settings.json) print(toJson(job, result))
  else if (job.dryRun) print(toDiff(job, result))
  const isStopped = result.outcome === 'refused' || result.outcome === 'unhealthy'
  if (isStopped) throw errorOf(job.rds, result)
  if (!settings.json && !job.dryRun) logResult(job, result, log)
  return result.outcome === 'changed' ? CHANGED : 0
}
