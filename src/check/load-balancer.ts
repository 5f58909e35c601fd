/** The load balancer in front of the database: its listener, its targets, their health. */
import { resolveCname } from 'node:dns/promises'
import { callAws, clientSettings, listIn } from '../aws/api.ts'
import { createAwsAgent } from '../aws/https-agent.ts'
import { isTcp, targetGroupsOf, targetsIn } from '../aws/load-balancers.ts'
import { formatHostPort, isIndirect, isLocalForward, isOnFarEnd } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { type Context, regionOfDatabase } from './context.ts'
import { FAR_END, FORWARD, orWarn, type StepLog } from './steps.ts'
import { checkTargetGroup, type TargetGroupProblem } from './target-group.ts'

/**
 * Checks the load balancer that the proxy connects to: its listener, target groups, targets and their health.
 * @throws ProxyError NLB_NOT_ACTIVE, NLB_LISTENER_MISSING, NLB_LISTENER_NOT_TCP, NLB_TARGET_GROUP_NOT_TCP, NLB_TARGETS_MISSING
 */
export async function checkLoadBalancer(context: Context, log: StepLog): Promise<void> {
  const { endpoint } = context.target
  if (!isIndirect(endpoint)) log.fact('load balancer', 'none: the proxy connects to the RDS endpoint itself')
  else if (isLocalForward(endpoint)) log.fact('load balancer', `none: ${formatHostPort(endpoint.dial)} is ${FORWARD}`)
  else if (isOnFarEnd(endpoint)) log.fact('load balancer', `none: ${formatHostPort(endpoint.dial)} is ${FAR_END}`)
  else await orWarn(log, () => describeLoadBalancer(context, log))
}

async function describeLoadBalancer(context: Context, log: StepLog): Promise<void> {
  const { endpoint } = context.target
  const elb = await import('../aws/sdk-elb.ts')
  const region = /\.elb\.([a-z0-9-]+)\.amazonaws\./.exec(endpoint.dial.host)?.[1] ?? regionOfDatabase(context)
  const client = new elb.ElasticLoadBalancingV2Client(
    clientSettings(region, context.credentials, createAwsAgent({ profile: context.profile })),
  )
  const dial = formatHostPort(endpoint.dial)
  try {
    const names = await canonicalNames(endpoint.dial.host)
    const balancer = await callAws('elasticloadbalancing:DescribeLoadBalancers', async () => {
      for await (const { LoadBalancers } of elb.paginateDescribeLoadBalancers({ client }, {})) {
        const found = listIn(LoadBalancers, 'elasticloadbalancing:DescribeLoadBalancers').find(
          ({ DNSName }) => DNSName && names.some(name => isNameOf(name, DNSName)),
        )
        if (found) return found
      }
      return undefined
    })
    if (!balancer)
      throw new ProxyError('AWS_NOT_FOUND', `no load balancer of ${region} has the name ${endpoint.dial.host}`)
    const { LoadBalancerArn, LoadBalancerName, Type, Scheme, State } = balancer
    log.fact('load balancer', `${LoadBalancerName}, ${Type}, ${Scheme}, ${State?.Code}`)
    if (State?.Code !== 'active') {
      const reason = State?.Reason ? `: ${State.Reason}` : ''
      const error = new ProxyError('NLB_NOT_ACTIVE', `the state of ${LoadBalancerName} is ${State?.Code}${reason}`)
      if (State?.Code === 'failed') throw error
      log.warn(error)
    }

    const listeners = await callAws('elasticloadbalancing:DescribeListeners', async () => {
      const all = []
      for await (const { Listeners } of elb.paginateDescribeListeners({ client }, { LoadBalancerArn })) {
        all.push(...listIn(Listeners, 'elasticloadbalancing:DescribeListeners'))
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
    if (!isTcp(listener.Protocol)) {
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

    const groups = await callAws('elasticloadbalancing:DescribeTargetGroups', async () => {
      const { TargetGroups } = await client.send(
        new elb.DescribeTargetGroupsCommand({ TargetGroupArns: targetGroupsOf(listener) }),
      )
      return listIn(TargetGroups, 'elasticloadbalancing:DescribeTargetGroups')
    })
    const problems: TargetGroupProblem[] = []
    for (const group of groups ?? []) {
      const {
        TargetGroupName: name = '',
        TargetGroupArn: arn = '',
        TargetType: type = '',
        Protocol: protocol = '',
      } = group
      const health = await callAws('elasticloadbalancing:DescribeTargetHealth', async () => {
        const answer = await client.send(new elb.DescribeTargetHealthCommand({ TargetGroupArn: arn }))
        return listIn(answer.TargetHealthDescriptions, 'elasticloadbalancing:DescribeTargetHealth')
      })
      const targets = targetsIn(health ?? [], group, endpoint.rds.port)
      const found = { name, arn, type, protocol, targets }
      const problem = checkTargetGroup(found, context.addresses?.rds ?? [], endpoint.rds, log)
      if (problem) problems.push(problem)
    }
    const [first] = problems
    if (first && problems.length === groups?.length) {
      context.loadBalancer.advice = first.advice
      throw first.error
    }
    for (const { error, advice } of problems) log.warn(error, advice)
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
