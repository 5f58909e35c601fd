/** Reading the answers of Elastic Load Balancing. Pure. */
import type { Listener, TargetGroup, TargetHealthDescription } from '@aws-sdk/client-elastic-load-balancing-v2'

/** A target as DescribeTargetHealth returns it. */
export interface FoundTarget {
  address: string
  port: number
  /** `all` if the address is outside the VPC of the target group */
  zone: string | undefined
  state: string
  why: string | undefined
}

/** @param otherPort for a target whose port is neither in the answer nor that of its group */
export function targetsIn(
  descriptions: readonly TargetHealthDescription[],
  group: TargetGroup,
  otherPort: number,
): FoundTarget[] {
  return descriptions.map(({ Target, TargetHealth }) => ({
    address: Target?.Id ?? '',
    port: Target?.Port ?? group.Port ?? otherPort,
    zone: Target?.AvailabilityZone,
    state: TargetHealth?.State ?? 'unknown',
    why: TargetHealth?.Description ?? TargetHealth?.Reason,
  }))
}

/** Whether a listener or a target group passes TCP on as it is: TCP, TCP_UDP or TCP_QUIC. */
export function isTcp(protocol: string | undefined): boolean {
  return /^TCP(_|$)/.test(protocol ?? '')
}

/** The ARNs of the target groups that a listener forwards to. */
export function targetGroupsOf({ DefaultActions = [] }: Listener): string[] {
  const arns = DefaultActions.flatMap(({ TargetGroupArn, ForwardConfig }) => [
    TargetGroupArn,
    ...(ForwardConfig?.TargetGroups ?? []).map(group => group.TargetGroupArn),
  ])
  return [...new Set(arns.filter(arn => arn !== undefined))]
}
