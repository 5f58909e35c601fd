/** Commands of the AWS CLI to copy. */
import type { Context } from './context.ts'

export function enableIamCommand({ target, rdsDatabase }: Context): string {
  const { host, region } = target.endpoint.rds
  const isCluster = rdsDatabase ? rdsDatabase.kind === 'cluster' : host.includes('.cluster-')
  const identifier = quote(rdsDatabase?.identifier ?? host.split('.')[0]!)
  if (rdsDatabase?.kind === 'proxy' || /\.proxy-/.test(host)) {
    return shell(
      'aws rds modify-db-proxy',
      `--region ${region}`,
      `--db-proxy-name ${identifier}`,
      '--auth \'[{"IAMAuth":"REQUIRED","AuthScheme":"SECRETS","SecretArn":"…"}]\'',
    )
  }
  const [command, option] = isCluster
    ? ['modify-db-cluster', '--db-cluster-identifier']
    : ['modify-db-instance', '--db-instance-identifier']
  return shell(
    `aws rds ${command}`,
    `--region ${region}`,
    `${option} ${identifier}`,
    '--enable-iam-database-authentication',
    '--apply-immediately',
  )
}

/** https://docs.aws.amazon.com/cli/latest/reference/elbv2/register-targets.html */
export function registerTargetsCommand(targetGroup: string, addresses: string[], port: number): string {
  const targets = addresses.map(address => `Id=${address},Port=${port}`)
  // The ARN comes last, on a separate line: it is longer than most terminals are wide.
  return shell('aws elbv2 register-targets', '--targets', ...targets, '--target-group-arn', targetGroup)
}

/** A command with one option per line. */
export function shell(command: string, ...options: string[]): string {
  return [command, ...options].join(' \\\n  ')
}

/** `text` as one word for a shell. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
