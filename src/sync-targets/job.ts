/** Makes a job of sync-targets from the settings of a command or a configuration file. */

import type { Settings } from '../config/settings.ts'
import { ProxyError } from '../errors.ts'
import { readCa } from '../upstream/trust.ts'
import { createSyncJob, type SyncJob } from './sync.ts'

/** @throws ProxyError CONFIG_INVALID */
export async function toJob(settings: Settings): Promise<SyncJob> {
  const rdsEndpoint = settings['rds-endpoint']
  const targetGroupArn = settings['target-group-arn']
  if (!rdsEndpoint) throw new ProxyError('CONFIG_INVALID', '--rds-endpoint is missing')
  if (!targetGroupArn) throw new ProxyError('CONFIG_INVALID', '--target-group-arn is missing')
  return createSyncJob({
    rdsEndpoint,
    targetGroupArn,
    resolvers: settings.resolver,
    collectAnswers: settings['collect-answers'],
    confirmations: settings.confirmations,
    keepTargets: settings['keep-target'],
    verify: settings.verify,
    ca: await Promise.all(settings.ca.map(file => readCa(file))),
    caOnly: settings['ca-only'],
    healthTimeout: settings['health-timeout'],
    interval: settings.interval,
    dryRun: settings['dry-run'],
    profile: settings.profile,
  })
}
