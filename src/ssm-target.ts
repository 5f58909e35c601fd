/** The target of a session of AWS Systems Manager, as the option ssm-target and StartSession take it. */

export interface SsmTarget {
  /** `i-…`, `mi-…` or `ecs:CLUSTER_TASKID_RUNTIMEID` */
  id: string
  kind: 'instance' | 'managed' | 'ecs'
  /** of an ECS target */
  cluster?: string
  task?: string
}

/**
 * An EC2 instance, a managed node or a container of an ECS task; undefined if it is none.
 * https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartSession.html
 */
export function readSsmTarget(text: string): SsmTarget | undefined {
  if (/^i-(?:[0-9a-f]{8}|[0-9a-f]{17})$/.test(text)) return { id: text, kind: 'instance' }
  if (/^mi-[0-9a-f]{17}$/.test(text)) return { id: text, kind: 'managed' }
  // A cluster's name may have underscores; the ids of tasks and runtimes have none. On Fargate and EC2 they look different.
  const ecs = /^ecs:([A-Za-z0-9_-]{1,255})_([0-9a-f]{32}|[0-9a-f-]{36})_([0-9a-zA-Z-]{1,128})$/.exec(text)
  return ecs ? { id: text, kind: 'ecs', cluster: ecs[1]!, task: ecs[2]! } : undefined
}

/** What is wrong with a value of ssm-target; undefined if nothing is. */
export function ssmTargetProblem(text: string): string | undefined {
  if (readSsmTarget(text)) return undefined
  if (text.startsWith('ecs:')) {
    return `"${text}" is not ecs:CLUSTER_TASKID_RUNTIMEID; aws ecs describe-tasks shows the runtimeId of each container`
  }
  return `"${text}" is not an instance (i-…), a managed node (mi-…) or a container (ecs:CLUSTER_TASKID_RUNTIMEID)`
}
