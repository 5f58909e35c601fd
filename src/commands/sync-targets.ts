/** `mysql-iam-proxy sync-targets`: one pass, or with --watch one after the other until a signal ends it. */

import type { Settings } from '../config/settings.ts'
import { formatHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { createLogger } from '../log.ts'
import { createProxy } from '../proxy/proxy.ts'
import { noteSync } from '../state.ts'
import { toJob } from '../sync-targets/job.ts'
import { toDiff, toJson } from '../sync-targets/report.ts'
import { logResult, startSync, syncOnce } from '../sync-targets/sync.ts'
import { regionOfTargetGroup } from '../sync-targets/targets.ts'
import { startAdminAsSet } from './start-admin.ts'

/** Exit code of a pass that changed the target group: neither success as usual nor an error. */
const CHANGED = 10

/**
 * Resolves with the exit code, undefined where a signal says it.
 * @throws ProxyError CONFIG_INVALID, SYNC_…, CREDENTIALS_…
 */
export async function syncTargets(
  settings: Settings,
  print: (line: string) => void,
  stop: AbortSignal,
): Promise<number | undefined> {
  const job = await toJob(settings)
  // What is printed for programs must not be mixed with the log.
  const log = await createLogger(settings['log-level'], settings['log-format'], settings.json ? 2 : 1)
  if (settings.watch) {
    if (job.dryRun) throw new ProxyError('CONFIG_INVALID', '--watch and --dry-run do not go together')
    log.info(
      { interval: job.interval, collectAnswers: job.collectAnswers },
      `watching ${job.rds.host} for ${job.targetGroupArn}`,
    )
    const { state } = createProxy({
      rdsEndpoint: formatHostPort(job.rds),
      region: regionOfTargetGroup(job.targetGroupArn),
    })
    const life = { isStarted: () => state.sync !== undefined, isStopping: () => stop.aborted }
    const admin = await startAdminAsSet(settings, { endpoints: () => [state], ...life }, log)
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
  else if (result.outcome !== 'refused') logResult(job, result, log)
  if (result.outcome === 'refused') {
    throw new ProxyError('SYNC_REFUSED', `refused to act: ${result.reason}`, { hintValues: { rds: job.rds.host } })
  }
  return result.outcome === 'changed' ? CHANGED : 0
}
