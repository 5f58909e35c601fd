/** Why a pass of sync-targets stops, what to do about it, and the error of such a pass. */
import { formatHostPort, type HostPort } from '../endpoint.ts'
import { fillHint, ProxyError } from '../errors.ts'
import type { Refusal } from './plan.ts'

/** The next step of a person for each reason. docs/sync-targets.md has the same list. */
export const NEXT_STEPS: Readonly<Record<Refusal, string>> = {
  noAnswer: 'Check the name servers of this machine or those of resolver: dig {rds}.',
  contradictoryAnswers: 'Give only resolvers that have the same view of {rds}: one may be stale or outside the VPC.',
  outsideVpc: 'Run it where {rds} resolves to its private address, or set resolver to the name server of the VPC.',
  changingAnswers:
    'Wait until the failover of {rds} is complete. If its name always returns one of several addresses, set collect-answers to always.',
  notTheDatabase:
    'Check the name servers: the server at that address is not {rds}. If it is and has its own CA, set ca.',
  notVerified: "Let this machine reach the new address: check the database's security group and routes.",
  contested:
    'Stop the other program that changes this target group, or give it the same name servers. To keep a target of your own, add it with keep-target.',
  outOfTime: 'Raise the timeout of the Lambda function above health-timeout, or lower health-timeout.',
  neverHealthy:
    'Let a TCP listener of the NLB forward to this target group, and enable the Availability Zone of the target.',
  stillInitial: 'Raise health-timeout: the health checks of the target group take longer.',
  unhealthy:
    "Check that {rds} is up and that its security group lets the load balancer's health checks in on its port.",
}

/** The part of a pass's result that its error needs. */
export interface StoppedPass {
  outcome: string
  why: Refusal | undefined
  reason: string | undefined
  registered: readonly string[]
  deregistered: readonly string[]
}

/** The error of a pass that was refused or that left unhealthy targets. Its message says what the pass changed before. */
export function errorOf(rds: HostPort, pass: StoppedPass): ProxyError {
  const { outcome, why = 'noAnswer', reason, registered, deregistered } = pass
  const hintValues = { rds: rds.host, nextStep: fillHint(NEXT_STEPS[why], { rds: rds.host }) }
  const done = [
    ...(registered.length > 0 ? [`registered ${registered.join(', ')}`] : []),
    ...(deregistered.length > 0 ? [`deregistered ${deregistered.join(', ')}`] : []),
  ].join(' and ')
  if (outcome === 'unhealthy') {
    const message = `the load balancer does not find ${formatHostPort(rds)} healthy: ${reason}`
    return new ProxyError('SYNC_UNHEALTHY', done ? `${done}, but ${message}` : message, { hintValues })
  }
  const message = `${done ? `${done}, then stopped` : 'changed nothing'}: ${reason}`
  return new ProxyError('SYNC_REFUSED', message, { hintValues })
}
