/** What to do about an error, with this path's own values: commands, SQL and policies to copy. */

import { stderrOf } from '../aws/redact.ts'
import { formatHostPort, isIndirect, regionOf } from '../endpoint.ts'
import type { ErrorCode } from '../error-codes.ts'
import type { ProxyError } from '../errors.ts'
import { enableIamCommand, quote, shell } from './aws-cli.ts'
import type { Context } from './context.ts'
import { describeDatabase } from './database.ts'
import { connectPolicy, type DatabaseUser, partitionOf } from './policy.ts'
import type { Advice } from './steps.ts'

/** Never rejects: what cannot be found out is left out. */
export async function adviseOn(error: ProxyError, path: Context | undefined): Promise<Advice[]> {
  const stderr = stderrOf(error)
  if (stderr !== undefined && error.code !== 'CREDENTIALS_PROGRAM_MISSING')
    return [{ text: `It wrote to stderr: ${stderr}` }]
  if (error.code === 'CREDENTIALS_SSO_EXPIRED')
    return [{ text: 'Sign in again:', snippet: error.hintValues['ssoLogin'] }]
  if (!path) return []
  if (error.serverError) return await adviseOnRefusal(error.serverError.errno, path)
  return (await ADVICE[error.code]?.(path)) ?? []
}

const ADVICE: Partial<Record<ErrorCode, (path: Context) => Advice[] | Promise<Advice[]>>> = {
  DIAL_REFUSED: adviseOnNetwork,
  DIAL_TIMEOUT: adviseOnNetwork,
  DIAL_FAILED: adviseOnNetwork,
  UPSTREAM_TIMEOUT: adviseOnNetwork,
  UPSTREAM_CLOSED: adviseOnNetwork,
  UPSTREAM_NOT_MYSQL: adviseOnNetwork,
  TLS_WRONG_NAME: adviseOnWrongName,
  TLS_UNKNOWN_CA: adviseOnUnknownCa,
  AUTH_PLUGIN_UNEXPECTED: ({ user }) => [createUserAdvice(user), alterUserAdvice(user)],
  IAM_AUTHENTICATION_OFF: path => [enableIamAdvice(path)],
}

async function adviseOnRefusal(errno: number, path: Context): Promise<Advice[]> {
  const { user, database } = path
  switch (errno) {
    case 1045:
      return await adviseOnAccessDenied(path)
    case 1044:
      return [
        {
          text: 'As an administrator of the database:',
          snippet: `GRANT SELECT ON ${sqlName(database ?? '')}.* TO ${sqlUser(user)};`,
        },
      ]
    case 1049:
      return [
        {
          text: `Correct --database ${database}. What there is, as far as ${user} may see it:`,
          snippet: 'SHOW DATABASES;',
        },
      ]
    case 1129:
      return [
        {
          text: 'At once, from another address or with another user who is logged in (MySQL 8.4 and newer):',
          snippet: 'TRUNCATE TABLE performance_schema.host_cache;',
        },
        { text: 'Or, before 8.4:', snippet: 'FLUSH HOSTS;' },
        {
          text: 'Then set max_connect_errors to 1000000 in the parameter group, and find who connects and leaves: often the health check of the load balancer.',
        },
      ]
    case 1130:
      return [
        {
          text: 'Let the user come from anywhere; its token is what counts:',
          snippet: `RENAME USER 'USER'@'ITS_HOST' TO ${sqlUser(user)};`.replace("'USER'", sqlText(user)),
        },
      ]
    case 1524:
      return [enableIamAdvice(path)]
    case 3118:
      return [{ text: 'As an administrator of the database:', snippet: `ALTER USER ${sqlUser(user)} ACCOUNT UNLOCK;` }]
    default:
      return []
  }
}

/** The server says the same for all of these; they come in the order in which they are worth a look. */
async function adviseOnAccessDenied(path: Context): Promise<Advice[]> {
  const { rds } = path.target.endpoint
  const advice: Advice[] = []
  const named = regionOf(rds.host)
  if (named !== undefined && named !== rds.region) {
    advice.push({
      text: `The token was signed for region ${rds.region}, but the name of the endpoint says ${named}: leave --region out.`,
    })
  }
  if (path.rdsDatabase === undefined) path.rdsDatabase = await describeDatabase(path).catch(() => null)
  const { rdsDatabase, identity, user } = path
  const wanted: DatabaseUser = {
    partition: identity?.arn.split(':')[1] ?? partitionOf(rds.region),
    region: named ?? rds.region,
    account: identity?.account,
    resourceId: rdsDatabase?.resourceId,
    user,
  }
  const who = identity ? describeIdentity(identity.arn) : 'whoever these credentials are of'
  advice.push({
    text: `IAM: this policy for ${who}. A permissions boundary, SCP or session policy must not take it away again.`,
    snippet: connectPolicy(wanted),
  })
  const attach = identity && attachCommand(identity.arn)
  if (attach) advice.push({ text: 'With that in policy.json:', snippet: attach })
  if (!rdsDatabase) {
    advice.push({
      text: 'The * in the ARN stands for the resource id of the database, which these credentials may not look up (rds:DescribeDBInstances, rds:DescribeDBClusters).',
    })
  }
  advice.push(createUserAdvice(user))
  advice.push({ text: `Case matters: the user of the database, of the policy and of --user must all be ${user}.` })
  if (rdsDatabase?.iamAuthentication !== true) advice.push(enableIamAdvice(path))
  advice.push({
    text: `The token was signed for ${formatHostPort(rds)}, region ${rds.region}: that must be the database's own endpoint and port, not a CNAME.`,
  })
  return advice
}

/** As whom, in words that say where to attach a policy. */
export function describeIdentity(arn: string): string {
  const permissionSet = permissionSetOf(arn)
  if (permissionSet) return `the permission set ${permissionSet} of IAM Identity Center`
  const role = roleOf(arn)
  if (role) return `the role ${role}`
  return arn.includes(':user/') ? `the user ${arn.split('/').at(-1)}` : arn
}

/** `arn:aws:sts::123456789012:assumed-role/ROLE/SESSION` */
function roleOf(arn: string): string | undefined {
  return /:assumed-role\/([^/]+)\//.exec(arn)?.[1]
}

/** The roles of IAM Identity Center are named AWSReservedSSO_NAME_16HEX; their policies are the permission set's. */
function permissionSetOf(arn: string): string | undefined {
  return /^AWSReservedSSO_(.+)_[0-9a-f]{16}$/.exec(roleOf(arn) ?? '')?.[1]
}

function attachCommand(arn: string): string | undefined {
  if (permissionSetOf(arn)) return undefined
  const role = roleOf(arn)
  const rest = ['--policy-name rds-connect', '--policy-document file://policy.json']
  if (role) return shell('aws iam put-role-policy', `--role-name ${quote(role)}`, ...rest)
  const user = /:user\/(?:.*\/)?([^/]+)$/.exec(arn)?.[1]
  return user && shell('aws iam put-user-policy', `--user-name ${quote(user)}`, ...rest)
}

function createUserAdvice(user: string): Advice {
  return {
    text: 'Database: the user must be there, and made for IAM:',
    snippet: `CREATE USER ${sqlUser(user)}\n  IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' REQUIRE SSL;`,
  }
}

function alterUserAdvice(user: string): Advice {
  return {
    text: 'Or, where it is there with a password:',
    snippet: `ALTER USER ${sqlUser(user)}\n  IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS' REQUIRE SSL;`,
  }
}

function enableIamAdvice(path: Context): Advice {
  return { text: 'RDS: IAM authentication must be on:', snippet: enableIamCommand(path) }
}

function adviseOnNetwork({ target, addresses, loadBalancer }: Context): Advice[] {
  const { endpoint } = target
  const { dial, rds } = endpoint
  const advice: Advice[] = []
  if (isIndirect(endpoint)) {
    const present = addresses?.rds ?? []
    const must =
      present.length > 0 ? `${present.join(', ')}, port ${rds.port}` : `what ${rds.host} resolves to in its VPC`
    advice.push({
      text: `The load balancer ${dial.host} needs a TCP listener on ${dial.port} and, as targets, the present addresses of the database: ${must}.`,
    })
    advice.push({
      text: "Its security group must let this machine in, and the database's must let the load balancer in.",
    })
    if (!loadBalancer) advice.push({ text: 'check --aws looks at its listener, targets and their health.' })
  } else {
    advice.push({
      text: `The security group of ${rds.host} must let this machine in on port ${dial.port}. An endpoint that is not publicly accessible is reached from inside its VPC, by VPN, or through a load balancer (--connect).`,
    })
  }
  return advice
}

function adviseOnWrongName({ target, certificateNames = [], loadBalancer }: Context): Advice[] {
  const { endpoint } = target
  const names = certificateNames.filter(name => regionOf(name) !== undefined && !name.startsWith('*'))
  const advice: Advice[] = []
  if (isIndirect(endpoint)) {
    advice.push({
      text: `Either a target of ${endpoint.dial.host} is stale, and its address now belongs to another database: register what ${endpoint.rds.host} resolves to now, and deregister the rest.${loadBalancer ? '' : ' (check --aws compares the two.)'}`,
    })
  } else {
    advice.push({
      text: `What ${endpoint.rds.host} resolves to here is another server: look for it in DNS, /etc/hosts and VPN.`,
    })
  }
  if (names.length > 0)
    advice.push({
      text: 'Or that server is the database that you mean; then its own name is the one to give:',
      snippet: `--rds-endpoint ${names[0]}`,
    })
  return advice
}

function adviseOnUnknownCa({ options, certificateRoot }: Context): Advice[] {
  const advice: Advice[] = []
  if (certificateRoot) advice.push({ text: `The chain of the server ends with "${certificateRoot}".` })
  if (options.caOnly)
    advice.push({ text: '--ca-only leaves the RDS bundle and the public roots out: without it they count too.' })
  advice.push({
    text: 'RDS and RDS Proxy have certificates of the RDS bundle or of public roots, so this is most likely another server, or somebody on the path. If it is yours, with a CA of its own:',
    snippet: '--ca FILE',
  })
  return advice
}

function sqlUser(user: string): string {
  return `${sqlText(user)}@'%'`
}

function sqlText(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}

function sqlName(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}
