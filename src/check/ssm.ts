/** What check says about a tunnel through Session Manager: the way it takes, and the least IAM policy. */

import { readSsmTarget, type SsmTarget } from '../ssm-target.ts'
import { installedPlugin, isUsable, MIN_PLUGIN_VERSION, SSM_PLUGIN } from '../tunnel/ssm-plugin.ts'
import { SSM_DOCUMENT } from '../tunnel/ssm-session.ts'
import type { Context } from './context.ts'
import { regionOfDatabase } from './context.ts'
import { partitionOf } from './policy.ts'
import type { Advice, StepLog } from './steps.ts'

/** Which of the two ways the tunnel takes. */
export async function noteSsm(log: StepLog, findPlugin = installedPlugin): Promise<void> {
  const version = await findPlugin()
  if (version === undefined) log.fact('plugin', `no ${SSM_PLUGIN} is installed; the proxy speaks the protocol itself`)
  else if (isUsable(version)) log.fact('plugin', `${SSM_PLUGIN} ${version}`)
  else {
    const why = `older than ${MIN_PLUGIN_VERSION}, which hide the session's token from other users`
    log.fact('plugin', `${SSM_PLUGIN} ${version} is not used: it is ${why}`)
  }
}

/**
 * The least policy, as JSON to copy.
 * https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-restrict-access-quickstart.html
 * @param account 12 digits; undefined: any
 */
export function ssmPolicy(target: SsmTarget, region: string, account = '*'): string {
  const partition = partitionOf(region)
  const arn = (service: string, resource: string, owner = account) =>
    `arn:${partition}:${service}:${region}:${owner}:${resource}`
  const targets: Record<SsmTarget['kind'], string> = {
    instance: arn('ec2', `instance/${target.id}`),
    managed: arn('ssm', `managed-instance/${target.id}`),
    ecs: arn('ecs', `task/${target.cluster}/${target.task}`),
  }
  const Statement = [
    {
      Effect: 'Allow',
      Action: 'ssm:StartSession',
      // The document belongs to AWS: its ARN has no account.
      Resource: [targets[target.kind], arn('ssm', `document/${SSM_DOCUMENT}`, '*')],
    },
    {
      Effect: 'Allow',
      Action: ['ssm:ResumeSession', 'ssm:TerminateSession', 'ssmmessages:OpenDataChannel'],
      // The ids of a user's own sessions begin so.
      Resource: `arn:${partition}:ssm:*:*:session/\${aws:userid}-*`,
    },
  ]
  return JSON.stringify({ Version: '2012-10-17', Statement }, null, 2)
}

export function adviseOnSsmPolicy(context: Context): Advice[] {
  const target = readSsmTarget(context.options.ssmTarget ?? '')
  if (!target) return []
  const policy = ssmPolicy(target, regionOfDatabase(context), context.identity?.account)
  return [{ text: 'The least IAM policy for the tunnel:', snippet: policy }]
}

/** https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html */
export function adviseOnSsmTarget(context: Context): Advice[] {
  const target = readSsmTarget(context.options.ssmTarget ?? '')
  if (!target) return []
  const region = regionOfDatabase(context)
  if (target.kind === 'ecs') {
    const text = 'Whether the task runs and has ECS Exec (enableExecuteCommand); a new task has another id:'
    const command = `aws ecs describe-tasks --region ${region} --cluster ${target.cluster} --tasks ${target.task}`
    return [{ text, snippet: command }]
  }
  const filter = `--filters Key=InstanceIds,Values=${target.id}`
  return [
    {
      text: 'Whether its SSM agent is online (PingStatus), and its version:',
      snippet: `aws ssm describe-instance-information --region ${region} ${filter}`,
    },
  ]
}
