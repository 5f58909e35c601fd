/** The load balancer in front of the database: its listener, its targets, their health. */
import { resolveCname } from 'node:dns/promises'
import { callAws, clientSettings } from '../aws/api.ts'
import { createAwsAgent } from '../aws/https-agent.ts'
import { type Endpoint, formatHostPort, isIndirect } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { registerTargetsCommand } from './aws-cli.ts'
import type { Context } from './context.ts'
import { orWarn, type StepLog } from './steps.ts'

/**
 * Checks the load balancer that the proxy connects to: its listener, target groups, targets and their health.
 * @throws ProxyError NLB_LISTENER_MISSING, NLB_LISTENER_NOT_TCP, NLB_TARGETS_MISSING
 */
export async function checkLoadBalancer(context: Context, log: StepLog): Promise<void> {
  const { endpoint } = context.target
  if (!isIndirect(endpoint)) log.fact('load balancer', 'none: the proxy connects to the RDS endpoint itself')
  else await orWarn(log, () => describeLoadBalancer(context, log))
}

async function describeLoadBalancer(context: Context, log: StepLog): Promise<void> {
  const { endpoint } = context.target
  const elb = await import('@aws-sdk/client-elastic-load-balancing-v2')
  const region = /\.elb\.([a-z0-9-]+)\.amazonaws\./.exec(endpoint.dial.host)?.[1] ?? endpoint.rds.region
  const client = new elb.ElasticLoadBalancingV2Client(
    clientSettings(region, context.credentials, createAwsAgent({ profile: context.profile })),
  )
  const dial = formatHostPort(endpoint.dial)
  try {
    const names = await canonicalNames(endpoint.dial.host)
    const balancer = await callAws('elasticloadbalancing:DescribeLoadBalancers', async () => {
      for await (const { LoadBalancers = [] } of elb.paginateDescribeLoadBalancers({ client }, {})) {
        const found = LoadBalancers.find(({ DNSName }) => DNSName && names.some(name => isNameOf(name, DNSName)))
        if (found) return found
      }
      return undefined
    })
    if (!balancer)
      throw new ProxyError('AWS_NOT_FOUND', `no load balancer of ${region} has the name ${endpoint.dial.host}`)
    const { LoadBalancerArn, LoadBalancerName, Type, Scheme, State } = balancer
    log.fact('load balancer', `${LoadBalancerName}, ${Type}, ${Scheme}, ${State?.Code}`)

    const listeners = await callAws('elasticloadbalancing:DescribeListeners', async () => {
      const all = []
      for await (const { Listeners = [] } of elb.paginateDescribeListeners({ client }, { LoadBalancerArn })) {
        all.push(...Listeners)
      }
      return all
    })
    const listener = listeners?.find(({ Port }) => Port === endpoint.dial.port)
    if (!listener) {
      const ports = listeners?.map(({ Protocol, Port }) => `${Protocol} ${Port}`).join(', ') || 'none'
      throw new ProxyError(
        'NLB_LISTENER_MISSING',
        `${LoadBalancerName} has no listener for ${dial}; its listeners: ${ports}`,
      )
    }
    if (listener.Protocol !== 'TCP' && listener.Protocol !== 'TCP_UDP') {
      throw new ProxyError('NLB_LISTENER_NOT_TCP', `the listener of ${dial} is a ${listener.Protocol} listener`)
    }
    const idleTimeout = await orWarn(log, async () => {
      const command = new elb.DescribeListenerAttributesCommand({ ListenerArn: listener.ListenerArn })
      const answer = await callAws('elasticloadbalancing:DescribeListenerAttributes', () => client.send(command))
      const value = answer?.Attributes?.find(({ Key }) => Key === 'tcp.idle_timeout.seconds')?.Value
      return value === undefined ? undefined : Number(value)
    })
    context.loadBalancer = { idleTimeout }
    const idle = idleTimeout === undefined ? '' : `, idle timeout ${idleTimeout} s`
    log.fact('listener', `${listener.Protocol} ${listener.Port}${idle}`)

    const arns = (listener.DefaultActions ?? []).flatMap(({ TargetGroupArn, ForwardConfig }) => [
      TargetGroupArn,
      ...(ForwardConfig?.TargetGroups ?? []).map(group => group.TargetGroupArn),
    ])
    const unique = [...new Set(arns.filter(arn => arn !== undefined))]
    const described = await callAws('elasticloadbalancing:DescribeTargetGroups', () =>
      client.send(new elb.DescribeTargetGroupsCommand({ TargetGroupArns: unique })),
    )
    for (const group of described?.TargetGroups ?? []) {
      const health = await callAws('elasticloadbalancing:DescribeTargetHealth', () =>
        client.send(new elb.DescribeTargetHealthCommand({ TargetGroupArn: group.TargetGroupArn })),
      )
      const targets = (health?.TargetHealthDescriptions ?? []).map(({ Target, TargetHealth }) => ({
        address: Target?.Id ?? '',
        port: Target?.Port ?? endpoint.rds.port,
        state: TargetHealth?.State ?? 'unknown',
        why: TargetHealth?.Description ?? TargetHealth?.Reason,
      }))
      const { TargetGroupName: name = '', TargetGroupArn: arn = '', TargetType: type = '' } = group
      noteTargets({ name, arn, type, targets }, context.addresses?.rds ?? [], endpoint, log)
    }
  } finally {
    client.destroy()
  }
}

/** The name itself, and the name that it is an alias of. */
async function canonicalNames(host: string): Promise<string[]> {
  const isOfElb = /\.elb\.[a-z0-9-]+\.amazonaws\./.test(host)
  return [host, ...(isOfElb ? [] : await resolveCname(host).catch(() => []))]
}

/** True also for the zonal names of a load balancer: `eu-west-1a.NAME`. */
function isNameOf(host: string, dnsName: string): boolean {
  const name = dnsName.toLowerCase()
  return host.toLowerCase() === name || host.toLowerCase().endsWith(`.${name}`)
}

interface FoundTargetGroup {
  name: string
  arn: string
  type: string
  targets: { address: string; port: number; state: string; why: string | undefined }[]
}

function noteTargets(group: FoundTargetGroup, present: string[], endpoint: Endpoint, log: StepLog): void {
  const { name, arn, type, targets } = group
  const rds = endpoint.rds.host
  log.fact(
    `targets of ${name}`,
    targets.map(({ address, port, state, why }) => {
      const whose = present.length === 0 ? '' : present.includes(address) ? `, an address of ${rds}` : `, NOT of ${rds}`
      return `${formatHostPort({ host: address, port })} ${state}${why ? ` (${why})` : ''}${type === 'ip' ? whose : ''}`
    }),
  )
  const registration =
    present.length > 0
      ? [
          {
            text: 'Register the current addresses of the RDS endpoint:',
            snippet: registerTargetsCommand(arn, present, endpoint.rds.port),
          },
        ]
      : []
  if (targets.length === 0) {
    throw new ProxyError('NLB_TARGETS_MISSING', `the target group ${name} has no targets`)
  }
  const inUse = targets.filter(({ state }) => state !== 'draining')
  const stale = inUse.filter(({ address }) => !present.includes(address))
  // Targets of other types are not addresses of the database.
  if (type === 'ip' && present.length > 0 && stale.length > 0) {
    const addresses = stale.map(({ address }) => address).join(', ')
    const message = `${name} has targets that ${rds} (${present.join(', ')}) does not have: ${addresses}`
    log.warn(new ProxyError('NLB_TARGETS_STALE', message), registration)
  }
  const unhealthy = inUse.filter(({ state }) => state === 'unhealthy')
  if (unhealthy.length > 0) {
    const spoken = unhealthy.map(({ address, why }) => `${address}${why ? ` (${why})` : ''}`).join(', ')
    log.warn(new ProxyError('NLB_TARGETS_UNHEALTHY', `unhealthy targets of ${name}: ${spoken}`))
  }
}
