/** The target group, through the API of Elastic Load Balancing (version 2015-12-01). */

import { canonicalAddress, type Family } from '../address.ts'
import { type AwsErrorCodes, explainAwsError, listIn } from '../aws/api.ts'
import type { CredentialsProvider } from '../aws/credentials.ts'
import { createAwsAgent } from '../aws/https-agent.ts'
import { ProxyError } from '../errors.ts'
import { LIBRARY_NAMES, type OptionNames } from '../option-values.ts'
import { TARGET_GROUP_ARN, targetGroupProblem } from '../value-checks.ts'
import type { Target } from './plan.ts'

/** The targets of one target group. Every method throws ProxyError SYNC_…, AWS_…, CREDENTIALS_… */
export interface TargetGroup {
  /** the kind of addresses that it takes. @throws ProxyError SYNC_TARGET_GROUP_INVALID if its targets are not IP addresses */
  family(): Promise<Family>
  targets(): Promise<Target[]>
  /** No error for addresses that are registered already. */
  register(addresses: readonly string[], port: number): Promise<void>
  /** No error for targets that are not registered. */
  deregister(targets: readonly Target[]): Promise<void>
}

/** The region of a target group. @param names how errors call the option. @throws ProxyError CONFIG_INVALID */
export function regionOfTargetGroup(arn: string, names: OptionNames = LIBRARY_NAMES): string {
  const region = TARGET_GROUP_ARN.exec(arn)?.[1]
  if (region) return region
  throw new ProxyError('CONFIG_INVALID', `${names.place('targetGroupArn')}: ${targetGroupProblem(arn)}`)
}

/** Attempts for a call that is throttled, with pauses that grow to 20 s. */
const MAX_ATTEMPTS = 8

const CODES: AwsErrorCodes = {
  denied: 'SYNC_DENIED',
  notFound: 'SYNC_TARGET_GROUP_INVALID',
  failed: 'SYNC_FAILED',
}

const REQUEST_TIMEOUT_MS = 15_000

/** Loads the SDK's client for Elastic Load Balancing on first use, because loading it would delay the start of the proxy. */
export async function openTargetGroup(
  arn: string,
  credentials: CredentialsProvider,
  signal: AbortSignal,
  profile?: string,
): Promise<TargetGroup> {
  const region = regionOfTargetGroup(arn)
  const elb = await import('../aws/sdk-elb.ts')
  const client = new elb.ElasticLoadBalancingV2Client({
    region,
    credentials,
    retryMode: 'standard',
    maxAttempts: MAX_ATTEMPTS,
    requestHandler: {
      httpsAgent: createAwsAgent({ profile }),
      requestTimeout: REQUEST_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      socketTimeout: REQUEST_TIMEOUT_MS,
    },
  })
  const TargetGroupArn = arn
  const options = { abortSignal: signal }
  async function call<Output>(action: string, send: () => Promise<Output>): Promise<Output> {
    try {
      return await send()
    } catch (error) {
      signal.throwIfAborted()
      throw explainAwsError(error, `elasticloadbalancing:${action}`, CODES)
    }
  }

  return {
    async family() {
      const { TargetGroups } = await call('DescribeTargetGroups', () =>
        client.send(new elb.DescribeTargetGroupsCommand({ TargetGroupArns: [arn] }), options),
      )
      const [group] = listIn(TargetGroups, 'elasticloadbalancing:DescribeTargetGroups', CODES)
      if (group?.TargetType !== 'ip') {
        const message = `the targets of ${arn} are of type ${group?.TargetType ?? '(none)'}, not ip`
        throw new ProxyError('SYNC_TARGET_GROUP_INVALID', message)
      }
      return group.IpAddressType === 'ipv6' ? 'ipv6' : 'ipv4'
    },
    async targets() {
      const { TargetHealthDescriptions } = await call('DescribeTargetHealth', () =>
        client.send(new elb.DescribeTargetHealthCommand({ TargetGroupArn }), options),
      )
      const found = listIn(TargetHealthDescriptions, 'elasticloadbalancing:DescribeTargetHealth', CODES)
      return found.map(({ Target, TargetHealth }) => ({
        address: canonicalAddress(Target?.Id ?? '') ?? Target?.Id ?? '',
        port: Target?.Port ?? 0,
        zone: Target?.AvailabilityZone,
        health: TargetHealth?.State ?? 'unavailable',
        reason: TargetHealth?.Reason,
      }))
    },
    async register(addresses, Port) {
      const register = (zone: object) => {
        const Targets = addresses.map(Id => ({ Id, Port, ...zone }))
        return client.send(new elb.RegisterTargetsCommand({ TargetGroupArn, Targets }), options)
      }
      await call('RegisterTargets', () =>
        register({}).catch(error => {
          if (!isOutsideVpc(error)) throw error
          return register({ AvailabilityZone: 'all' })
        }),
      )
    },
    async deregister(targets) {
      const Targets = targets.map(({ address, port, zone }) => ({
        Id: address,
        Port: port,
        ...(zone === 'all' ? { AvailabilityZone: zone } : {}),
      }))
      await call('DeregisterTargets', () =>
        client.send(new elb.DeregisterTargetsCommand({ TargetGroupArn, Targets }), options),
      )
    },
  }
}

/**
 * An address in a peered VPC needs the zone "all", and one inside the VPC must not have it: "You must specify a valid Availability Zone or
 * select 'all' …, since the IP address '10.1.2.3' is outside the VPC", or "The Availability Zone is required for …".
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetDescription.html
 */
function isOutsideVpc(error: unknown): boolean {
  return (
    error instanceof Error &&
    /ValidationError|InvalidTarget/.test(error.name) &&
    /Availability Zone/.test(error.message)
  )
}
