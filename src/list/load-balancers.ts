/** Which Network Load Balancers lead to which databases: those whose targets have an address of the database. */
import type { ElasticLoadBalancingV2Client, LoadBalancer, TargetGroup } from '@aws-sdk/client-elastic-load-balancing-v2'
import { canonicalAddress } from '../address.ts'
import { listIn } from '../aws/api.ts'
import { type FoundTarget, isTcp, targetGroupsOf, targetsIn } from '../aws/load-balancers.ts'
import { DEFAULT_PORT } from '../endpoint.ts'
import { mapBounded } from './bounded.ts'
import type { Call } from './databases.ts'
import type { FoundDatabase, FoundEndpoint, FoundLoadBalancer, Scope } from './found.ts'

/** Calls for the health of target groups at a time: all callers in an account share a limit. */
const HEALTH_CALLS = 4

/** DescribeLoadBalancers takes no more names in one call. */
const MAX_NAMES = 20

/** A target group behind a TCP listener. */
export interface Route {
  loadBalancer: Omit<FoundLoadBalancer, 'targets' | 'reach'>
  /** of the target group */
  vpc: string | undefined
  targets: FoundTarget[]
}

/** The routes of a region to one of `addresses`. Few calls: it reads only what may lead there. */
export async function findRoutes(
  client: ElasticLoadBalancingV2Client,
  scope: Scope,
  addresses: ReadonlySet<string>,
  call: Call,
  abortSignal: AbortSignal,
): Promise<Route[]> {
  const elb = await import('../aws/sdk-elb.ts')
  const options = { abortSignal }
  const groups = await call('elasticloadbalancing:DescribeTargetGroups', async () => {
    const all: TargetGroup[] = []
    for await (const { TargetGroups } of elb.paginateDescribeTargetGroups({ client }, {}, options)) {
      all.push(...listIn(TargetGroups, 'elasticloadbalancing:DescribeTargetGroups'))
    }
    return all
  })
  const candidates = groups.filter(
    ({ TargetType, Protocol, LoadBalancerArns = [] }) =>
      TargetType === 'ip' && isTcp(Protocol) && LoadBalancerArns.length > 0,
  )
  const withTargets = await mapBounded(candidates, HEALTH_CALLS, async group => {
    const command = new elb.DescribeTargetHealthCommand({ TargetGroupArn: group.TargetGroupArn })
    const health = await call('elasticloadbalancing:DescribeTargetHealth', async () =>
      listIn(
        (await client.send(command, options)).TargetHealthDescriptions,
        'elasticloadbalancing:DescribeTargetHealth',
      ),
    )
    const targets = targetsIn(health, group, DEFAULT_PORT).filter(({ address }) =>
      addresses.has(canonicalAddress(address) ?? address),
    )
    return { group, targets }
  })
  const used = withTargets.filter(({ targets }) => targets.length > 0)
  const arns = [...new Set(used.flatMap(({ group }) => group.LoadBalancerArns ?? []))]
  const balancers: LoadBalancer[] = []
  for (let start = 0; start < arns.length; start += MAX_NAMES) {
    const LoadBalancerArns = arns.slice(start, start + MAX_NAMES)
    const found = await call('elasticloadbalancing:DescribeLoadBalancers', async () =>
      listIn(
        (await client.send(new elb.DescribeLoadBalancersCommand({ LoadBalancerArns }), options)).LoadBalancers,
        'elasticloadbalancing:DescribeLoadBalancers',
      ),
    )
    balancers.push(...found)
  }
  const routes: Route[] = []
  for (const balancer of balancers.filter(({ Type }) => Type === 'network')) {
    const { LoadBalancerArn, LoadBalancerName: name = '', DNSName: host = '', Scheme: scheme } = balancer
    const listeners = await call('elasticloadbalancing:DescribeListeners', async () => {
      const all = []
      for await (const { Listeners } of elb.paginateDescribeListeners({ client }, { LoadBalancerArn }, options)) {
        all.push(...listIn(Listeners, 'elasticloadbalancing:DescribeListeners'))
      }
      return all
    })
    for (const listener of listeners.filter(({ Protocol }) => isTcp(Protocol))) {
      for (const targetGroupArn of targetGroupsOf(listener)) {
        const found = used.find(({ group }) => group.TargetGroupArn === targetGroupArn)
        if (!found || listener.Port === undefined) continue
        const loadBalancer = { ...scope, name, host: host.toLowerCase(), port: listener.Port, scheme, targetGroupArn }
        routes.push({ loadBalancer, vpc: found.group.VpcId, targets: found.targets })
      }
    }
  }
  return routes
}

/**
 * The load balancers that lead to `endpoint`. Two VPCs may use the same private addresses. So the target group must be of the
 * database's VPC, or must say that the target is outside its own.
 */
export function loadBalancersOf(
  endpoint: Pick<FoundEndpoint, 'addresses' | 'port'>,
  { vpc }: Pick<FoundDatabase, 'vpc'>,
  routes: readonly Route[],
): FoundLoadBalancer[] {
  return routes.flatMap(route => {
    const isOfVpc = vpc === undefined || route.vpc === undefined || vpc === route.vpc
    const targets = route.targets.filter(
      ({ address, port, zone }) =>
        port === endpoint.port &&
        endpoint.addresses.includes(canonicalAddress(address) ?? address) &&
        (isOfVpc || zone === 'all'),
    )
    if (targets.length === 0) return []
    const shown = targets.map(({ address, state }) => ({ address, health: state }))
    return [{ ...route.loadBalancer, targets: shown, reach: undefined }]
  })
}
