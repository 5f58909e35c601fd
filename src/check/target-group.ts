/** The targets of the load balancer, compared with the addresses of the database. */

import { syncTargetsCommand, targetsCommand } from '../aws/cli-commands.ts'
import { type FoundTarget, isTcp } from '../aws/load-balancers.ts'
import { formatHostPort, type HostPort, namesOneOfSeveral } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { Advice, StepLog } from './steps.ts'

export interface FoundTargetGroup {
  name: string
  arn: string
  /** ip, instance, alb */
  type: string
  protocol: string
  targets: FoundTarget[]
}

/** An error of a target group, with the commands that correct it. */
export interface TargetGroupProblem {
  error: ProxyError
  advice: Advice[]
}

/**
 * Shows the targets and warns of those that are stale or not healthy.
 * @param present the addresses that the RDS endpoint resolves to; [] if unknown
 * @returns why the group takes no connections for the database; undefined if it takes some
 */
export function checkTargetGroup(
  group: FoundTargetGroup,
  present: readonly string[],
  rds: HostPort,
  log: StepLog,
): TargetGroupProblem | undefined {
  const { name, type, protocol, targets } = group
  const isIp = type === 'ip'
  const isOfDatabase = ({ address }: FoundTarget) => isIp && present.includes(address)
  const isOnWrongPort = (target: FoundTarget) => isOfDatabase(target) && target.port !== rds.port
  log.fact(
    `targets of ${name}`,
    targets.map(target => {
      const isCompared = isIp && present.length > 0
      const whose = isOfDatabase(target) ? `, an address of ${rds.host}` : `, NOT of ${rds.host}`
      const port = isOnWrongPort(target) ? `, NOT its port ${rds.port}` : ''
      return `${describe(target)}${isCompared ? whose + port : ''}`
    }),
  )
  // A listener of protocol TCP forwards to groups of TCP, TCP_UDP and TCP_QUIC.
  if (!isTcp(protocol)) {
    const message = `the target group ${name} has the protocol ${protocol}`
    return { error: new ProxyError('NLB_TARGET_GROUP_NOT_TCP', message), advice: [] }
  }
  const inUse = targets.filter(({ state }) => state !== 'draining')
  // Targets of other types are not addresses of the database.
  const stale = isIp && present.length > 0 ? inUse.filter(each => !isOfDatabase(each) || isOnWrongPort(each)) : []
  const advice = adviseTargets(group, present, stale, rds)
  if (!inUse.some(target => target.state !== 'unused' && !isOnWrongPort(target))) {
    const why = targets.map(
      target => `${describe(target)}${isOnWrongPort(target) ? ', not the port of the database' : ''}`,
    )
    const message =
      targets.length === 0
        ? `the target group ${name} has no targets`
        : `no target of ${name} takes connections for ${formatHostPort(rds)}: ${why.join('; ')}`
    return { error: new ProxyError('NLB_TARGETS_MISSING', message), advice }
  }
  // Such a name resolves to one of its instances at a time, so the other targets may be right too.
  const isEnough = namesOneOfSeveral(rds.host) && inUse.some(each => isOfDatabase(each) && !isOnWrongPort(each))
  if (stale.length > 0 && !isEnough) {
    const them = stale.map(({ address, port }) => formatHostPort({ host: address, port })).join(', ')
    const message = `${name} has targets that ${formatHostPort(rds)} (${present.join(', ')}) does not have: ${them}`
    log.warn(new ProxyError('NLB_TARGETS_STALE', message), advice)
  }
  const unhealthy = inUse.filter(({ state }) => state !== 'healthy' && state !== 'initial')
  if (unhealthy.length > 0) {
    const message = `targets of ${name} that are not healthy: ${unhealthy.map(describe).join(', ')}`
    log.warn(new ProxyError('NLB_TARGETS_UNHEALTHY', message))
  }
  return undefined
}

function describe({ address, port, state, why }: FoundTarget): string {
  return `${formatHostPort({ host: address, port })} ${state}${why ? ` (${why})` : ''}`
}

/** The commands that make the targets those of the database: register first, then deregister. */
function adviseTargets(
  { arn, type, targets }: FoundTargetGroup,
  present: readonly string[],
  stale: readonly FoundTarget[],
  rds: HostPort,
): Advice[] {
  if (type !== 'ip') return []
  const isRegistered = (address: string) =>
    targets.some(each => each.address === address && each.port === rds.port && each.state !== 'draining')
  const missing = present.filter(address => !isRegistered(address))
  const advice: Advice[] = []
  if (missing.length > 0) {
    const added = missing.map(address => ({ address, port: rds.port }))
    advice.push({
      text: 'Register the current addresses of the RDS endpoint:',
      snippet: targetsCommand('register-targets', arn, added),
    })
  }
  // Other readers must stay: this lookup does not name them.
  if (stale.length > 0 && !namesOneOfSeveral(rds.host)) {
    advice.push({
      text:
        missing.length > 0
          ? 'When they are healthy, deregister the stale targets:'
          : 'The current addresses are registered. Deregister the stale targets:',
      snippet: targetsCommand('deregister-targets', arn, stale),
    })
  }
  if (targets.some(({ state }) => state === 'unused')) {
    advice.push({
      text: 'An unused target gets no connections: no load balancer uses its target group, or its Availability Zone is not enabled for the load balancer.',
    })
  }
  advice.push({
    text: 'sync-targets does this now and after each failover:',
    snippet: syncTargetsCommand(arn, rds),
  })
  return advice
}
