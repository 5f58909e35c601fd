/** The job of sync-targets, from the settings of a command or a configuration file. */

import { ProxyError } from '../errors.ts'
import type { OptionNames } from '../option-values.ts'
import { createSyncJob, type SyncJob, type SyncOptions } from '../sync-targets/sync.ts'
import { defaultCacheFolder } from '../upstream/bundle-cache.ts'
import { readCa } from '../upstream/trust.ts'
import { toRolesAnywhere } from './roles-anywhere.ts'
import type { Settings } from './settings.ts'

/** @param names how the settings were written, for errors. @throws ProxyError CONFIG_INVALID */
export async function toJob(settings: Settings, names: OptionNames): Promise<SyncJob> {
  const rdsEndpoint = settings['rds-endpoint']
  const targetGroupArn = settings['target-group-arn']
  if (!rdsEndpoint) throw new ProxyError('CONFIG_INVALID', `${names.place('rdsEndpoint')} is missing`)
  if (!targetGroupArn) throw new ProxyError('CONFIG_INVALID', `${names.place('targetGroupArn')} is missing`)
  const options: SyncOptions = {
    rdsEndpoint,
    targetGroupArn,
    resolvers: settings.resolver,
    collectAnswers: settings['collect-answers'],
    confirmations: settings.confirmations,
    keepTargets: settings['keep-target'],
    verify: settings.verify,
    ca: await Promise.all(settings.ca.map(file => readCa(file, names.place('ca')))),
    caOnly: settings['ca-only'],
    regionBundle: settings['region-bundle'],
    bundleCache: settings['bundle-cache'] ?? defaultCacheFolder(),
    healthTimeout: settings['health-timeout'],
    interval: settings.interval,
    dryRun: settings['dry-run'],
    profile: settings.profile,
    rolesAnywhere: toRolesAnywhere(settings),
  }
  return createSyncJob(options, names)
}
