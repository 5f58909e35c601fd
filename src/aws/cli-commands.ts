/** Commands of the AWS CLI to copy. */
import type { UserAuthConfigInfo } from '@aws-sdk/client-rds'
import { DEFAULT_PORT, formatHostPort, type HostPort } from '../endpoint.ts'
import { shellLines, shellWord } from '../shell-quote.ts'

/** For an instance or a cluster; an RDS Proxy has no such switch. */
export function enableIamCommand(region: string, kind: 'instance' | 'cluster' | 'proxy', identifier: string): string {
  const [command, option] =
    kind === 'cluster'
      ? ['modify-db-cluster', '--db-cluster-identifier']
      : ['modify-db-instance', '--db-instance-identifier']
  return shell(
    `aws rds ${command}`,
    `--region ${region}`,
    `${option} ${shellWord(identifier)}`,
    '--enable-iam-database-authentication',
    '--apply-immediately',
  )
}

/** Shows the mode of an RDS Proxy and its secrets. */
export function describeProxyCommand(region: string, name: string): string {
  const query = "'DBProxies[0].[DefaultAuthScheme,Auth]'"
  return shell(
    'aws rds describe-db-proxies',
    `--region ${region}`,
    `--db-proxy-name ${shellWord(name)}`,
    `--query ${query}`,
  )
}

/**
 * @param auth replaces the proxy's whole list: an entry that is not in it is removed
 * https://docs.aws.amazon.com/cli/latest/reference/rds/modify-db-proxy.html
 */
export function modifyProxyCommand(region: string, name: string, auth: readonly UserAuthConfigInfo[]): string {
  // ARNs have separate lines: they are longer than most terminals are wide.
  const json = JSON.stringify(auth, null, 2).replaceAll('"SecretArn": ', '"SecretArn":\n')
  return shell(
    'aws rds modify-db-proxy',
    `--region ${region}`,
    `--db-proxy-name ${shellWord(name)}`,
    `--auth ${shellWord(json)}`,
  )
}

/** A target as `aws elbv2` takes it. */
export interface CliTarget {
  address: string
  port: number
  /** only `all` has to be named */
  zone?: string | undefined
}

/**
 * https://docs.aws.amazon.com/cli/latest/reference/elbv2/register-targets.html
 * https://docs.aws.amazon.com/cli/latest/reference/elbv2/deregister-targets.html
 */
export function targetsCommand(
  command: 'register-targets' | 'deregister-targets',
  targetGroup: string,
  targets: readonly CliTarget[],
): string {
  const ids = targets.map(
    ({ address, port, zone }) => `Id=${address},Port=${port}${zone === 'all' ? ',AvailabilityZone=all' : ''}`,
  )
  // The ARN comes last, on a separate line: it is longer than most terminals are wide.
  const region = targetGroup.split(':')[3] ?? ''
  return shell(`aws elbv2 ${command}`, `--region ${region}`, '--targets', ...ids, '--target-group-arn', targetGroup)
}

export function syncTargetsCommand(targetGroup: string, rds: HostPort): string {
  const endpoint = rds.port === DEFAULT_PORT ? rds.host : formatHostPort(rds)
  return shell('mysql-iam-proxy sync-targets', `--rds-endpoint ${endpoint}`, '--target-group-arn', targetGroup)
}

/** A command with one option per line, as far as the shell of this machine allows. */
export function shell(command: string, ...options: string[]): string {
  return shellLines(command, options)
}
