/**
 * sync-targets as an AWS Lambda function: `handler` of the package's export `mysql-iam-proxy/sync-targets-lambda`. Its
 * options are the environment variables MYSQL_IAM_PROXY_…; it takes schedules and RDS events alike.
 */

import { environmentSource, namesIn, resolveSettings, type Settings } from '../config/settings.ts'
import { toJob } from '../config/sync-job.ts'
import { asProxyError, ProxyError } from '../errors.ts'
import { createJsonLogger } from '../json-log.ts'
import type { Logger } from '../log.ts'
import { runInLambda } from './lambda-run.ts'
import type { SyncResult } from './plan.ts'
import type { SyncJob } from './sync.ts'

export type { Refusal, SyncResult, Target } from './plan.ts'

/** The part of Lambda's context that is used. */
export interface LambdaContext {
  /** milliseconds until Lambda stops the function */
  getRemainingTimeInMillis(): number
}

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
  return await runInLambda(job, log, event, context.getRemainingTimeInMillis())
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
