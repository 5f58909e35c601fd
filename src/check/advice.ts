/** Advice about an error, with the values of this login: commands, SQL and policies to copy. */

import { enableIamCommand, shell } from '../aws/cli-commands.ts'
import { stderrOf } from '../aws/redact.ts'
import {
  type Endpoint,
  formatHostPort,
  isGlobalEndpoint,
  isIndirect,
  isLocalForward,
  isOnFarEnd,
  isRdsProxy,
  regionOf,
} from '../endpoint.ts'
import type { ErrorCode } from '../error-codes.ts'
import type { ProxyError } from '../errors.ts'
import type { ERR_Packet } from '../protocol/packets.ts'
import { shellWord } from '../shell-quote.ts'
import { type Context, type Database, regionOfDatabase } from './context.ts'
import { describeDatabase } from './database.ts'
import { adviseFromIamLog } from './iam-log.ts'
import { connectPolicy, type DatabaseUser, partitionOf } from './policy.ts'
import { adviseOnProxyLogin } from './proxy-advice.ts'
import { alterToIamUser, createIamUser, sqlName, sqlText, sqlUser } from './sql.ts'
import { adviseOnSsmPolicy, adviseOnSsmTarget } from './ssm.ts'
import type { Advice } from './steps.ts'

/** Never rejects: it omits what it cannot find out. */
export async function adviseOn(error: ProxyError, context: Context | undefined): Promise<Advice[]> {
  const stderr = stderrOf(error)
  if (stderr !== undefined && error.code !== 'CREDENTIALS_PROGRAM_MISSING')
    return [{ text: `It wrote to stderr: ${stderr}` }]
  if (error.code === 'CREDENTIALS_SSO_EXPIRED')
    return [{ text: 'Sign in again:', snippet: error.hintValues['ssoLogin'] }]
  if (!context) return []
  if (error.serverError) return await adviseOnRefusal(error.serverError, context)
  return (await ADVICE[error.code]?.(context)) ?? []
}

const ADVICE: Partial<Record<ErrorCode, (context: Context) => Advice[] | Promise<Advice[]>>> = {
  DIAL_REFUSED: adviseOnNetwork,
  DIAL_TIMEOUT: adviseOnNetwork,
  DIAL_FAILED: adviseOnNetwork,
  UPSTREAM_TIMEOUT: adviseOnNetwork,
  UPSTREAM_CLOSED: adviseOnNetwork,
  UPSTREAM_NOT_MYSQL: adviseOnNetwork,
  TUNNEL_PROGRAM_MISSING: adviseOnTunnel,
  TUNNEL_FAILED: adviseOnTunnel,
  TUNNEL_TIMEOUT: adviseOnTunnel,
  TUNNEL_LOST: adviseOnTunnel,
  TUNNEL_TARGET: adviseOnTunnel,
  SSM_ACCESS_DENIED: context => [...adviseOnSsmPolicy(context), ...adviseOnTunnel(context)],
  SSM_TARGET_NOT_CONNECTED: context => [...adviseOnSsmTarget(context), ...adviseOnTunnel(context)],
  SSM_UNSUPPORTED: adviseOnSsmTarget,
  NLB_TARGETS_MISSING: ({ loadBalancer }) => loadBalancer?.advice ?? [],
  TLS_WRONG_NAME: adviseOnWrongName,
  TLS_UNKNOWN_CA: adviseOnUnknownCa,
  AUTH_PLUGIN_UNEXPECTED: adviseOnUnexpectedPlugin,
  IAM_AUTHENTICATION_OFF: adviseToEnableIam,
}

async function adviseOnRefusal({ errno, message }: ERR_Packet, context: Context): Promise<Advice[]> {
  const { user, database } = context
  switch (errno) {
    case 1045:
      return await adviseOnAccessDenied(context)
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
          text: `Correct the database name ${database}. The databases that ${user} may see:`,
          snippet: 'SHOW DATABASES;',
        },
      ]
    case 1129:
      return [
        ...unblockAdvice(message),
        {
          text: 'Then set max_connect_errors to 1000000 in the parameter group, and find out what connects without a login. Often it is the health check of the load balancer.',
        },
      ]
    case 1130:
      return [
        {
          text: 'Let the user log in from any host. The token protects the login:',
          snippet: `RENAME USER 'USER'@'ITS_HOST' TO ${sqlUser(user)};`.replace("'USER'", sqlText(user)),
        },
      ]
    case 1524:
      return await adviseToEnableIam(context)
    case 3118:
    case 4151: // MariaDB's
      return [{ text: 'As an administrator of the database:', snippet: `ALTER USER ${sqlUser(user)} ACCOUNT UNLOCK;` }]
    default:
      return []
  }
}

/** https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.html#UsingWithRDS.IAMDBAuth.GlobalContextKeys */
const UNSUPPORTED_KEYS = 'aws:Referer, aws:SourceIp, aws:SourceVpc, aws:SourceVpce, aws:UserAgent or aws:VpcSourceIp'

/** The server gives the same answer in all these cases. The most likely causes come first. */
async function adviseOnAccessDenied(context: Context): Promise<Advice[]> {
  const { rds } = context.target.endpoint
  const advice: Advice[] = []
  const named = regionOf(rds.host) ?? context.serverRegion
  if (named !== undefined && rds.region !== undefined && named !== rds.region) {
    const who = isGlobalEndpoint(rds.host) ? 'certificate of the server' : 'name of the endpoint'
    advice.push({
      text: `The token was signed for region ${rds.region}, but the ${who} says ${named}: do not set the region.`,
    })
  }
  const rdsDatabase = await knownDatabase(context)
  advice.push(...(await adviseFromIamLog(context)))
  const { identity, user } = context
  const signedFor = regionOfDatabase(context)
  const wanted: DatabaseUser = {
    partition: identity?.arn.split(':')[1] ?? partitionOf(signedFor),
    region: named ?? signedFor,
    account: identity?.account,
    resourceId: rdsDatabase?.resourceId,
    user,
  }
  // Any cluster of a global database may become the writer's.
  const [, ...secondaries] = rdsDatabase?.members ?? []
  const more = secondaries.map(({ region, resourceId }) => ({ ...wanted, region, resourceId }))
  const who = identity ? describeIdentity(identity.arn) : 'the owner of these credentials'
  advice.push({
    text: `IAM: attach this policy to ${who}. No permissions boundary, SCP or session policy may deny it. A condition on ${UNSUPPORTED_KEYS} never matches.`,
    snippet: connectPolicy(wanted, ...more),
  })
  const attach = identity && attachCommand(identity.arn)
  if (attach) advice.push({ text: 'Save it as policy.json, then run:', snippet: attach })
  if (identity) {
    advice.push({
      text: `These credentials belong to account ${identity.account}, and the database must be in it too. For a database in another account, assume a role there.`,
    })
  }
  const isProxy = isRdsProxy(rds.host)
  if (!rdsDatabase && isGlobalEndpoint(rds.host)) {
    advice.push({
      text: 'A global database has a cluster with its own resource id in each region. List them all, so that logins work after a switchover; these credentials may not read them (rds:DescribeGlobalClusters, rds:DescribeDBClusters).',
    })
  } else if (!rdsDatabase) {
    const [what, actions] = isProxy
      ? ['RDS Proxy (prx-…)', 'rds:DescribeDBProxies']
      : ['database', 'rds:DescribeDBInstances, rds:DescribeDBClusters']
    advice.push({
      text: `The * in the ARN stands for the resource id of the ${what}, which these credentials may not read (${actions}).`,
    })
  }
  if (isProxy) advice.push(...adviseOnProxyLogin(context))
  else advice.push(createUserAdvice(user))
  advice.push({ text: `Case matters: the user must be ${user} in the database, in the policy and in the proxy.` })
  if (!isProxy) advice.push(...enableIamAdvice(context))
  advice.push({
    text: `The token was signed for ${formatHostPort(rds)}, region ${signedFor}: that must be the database's own endpoint and port, not a CNAME.`,
  })
  return advice
}

/** The owner of the credentials, in words that say where to attach a policy. */
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

/** The roles of IAM Identity Center are named AWSReservedSSO_NAME_16HEX; the permission set holds their policies. */
function permissionSetOf(arn: string): string | undefined {
  return /^AWSReservedSSO_(.+)_[0-9a-f]{16}$/.exec(roleOf(arn) ?? '')?.[1]
}

function attachCommand(arn: string): string | undefined {
  if (permissionSetOf(arn)) return undefined
  const role = roleOf(arn)
  const rest = ['--policy-name rds-connect', '--policy-document file://policy.json']
  if (role) return shell('aws iam put-role-policy', `--role-name ${shellWord(role)}`, ...rest)
  const user = /:user\/(?:.*\/)?([^/]+)$/.exec(arn)?.[1]
  return user && shell('aws iam put-user-policy', `--user-name ${shellWord(user)}`, ...rest)
}

/** The database as RDS describes it, asked for once; null if RDS does not answer. */
async function knownDatabase(context: Context): Promise<Database | null> {
  if (context.rdsDatabase === undefined) context.rdsDatabase = await describeDatabase(context).catch(() => null)
  return context.rdsDatabase
}

/** https://mariadb.com/docs/server/reference/sql-statements/administrative-sql-statements/flush-commands/flush */
function unblockAdvice(message: string): Advice[] {
  const flush = { text: 'Now, from another address or in an open session (MariaDB):', snippet: 'FLUSH HOSTS;' }
  // MariaDB's message names mariadb-admin.
  if (/mariadb/i.test(message)) return [flush]
  return [
    {
      text: 'Now, from another address or in an open session (MySQL 8.4 and newer):',
      snippet: 'TRUNCATE TABLE performance_schema.host_cache;',
    },
    {
      text: 'MySQL before 8.4, and MariaDB. There, TRUNCATE has no effect while performance_schema is off, which is its default:',
      snippet: 'FLUSH HOSTS;',
    },
  ]
}

async function adviseOnUnexpectedPlugin(context: Context): Promise<Advice[]> {
  const { user } = context
  if (isRdsProxy(context.target.endpoint.rds.host)) {
    await knownDatabase(context)
    return adviseOnProxyLogin(context)
  }
  return [createUserAdvice(user), { text: 'If the user exists with a password:', snippet: alterToIamUser(user) }]
}

async function adviseToEnableIam(context: Context): Promise<Advice[]> {
  const { host } = context.target.endpoint.rds
  if (isRdsProxy(host) || isGlobalEndpoint(host)) await knownDatabase(context)
  if (!isRdsProxy(host)) return enableIamAdvice(context)
  return adviseOnProxyLogin(context)
}

function createUserAdvice(user: string): Advice {
  return { text: 'Database: the user must exist and be created for IAM:', snippet: createIamUser(user) }
}

/** Nothing if RDS says that it is on. Each cluster of a global database has its own setting. */
function enableIamAdvice(context: Context): Advice[] {
  const { rdsDatabase } = context
  const text = 'RDS: IAM authentication must be on:'
  const region = regionOfDatabase(context)
  if (rdsDatabase?.members) {
    const off = rdsDatabase.members.filter(({ iamAuthentication }) => iamAuthentication !== true)
    return off.map(member => ({ text, snippet: enableIamCommand(member.region, 'cluster', member.identifier) }))
  }
  if (rdsDatabase?.iamAuthentication === true) return []
  const { host } = context.target.endpoint.rds
  const kind = rdsDatabase?.kind ?? (host.includes('.cluster-') || isGlobalEndpoint(host) ? 'cluster' : 'instance')
  const identifier = isGlobalEndpoint(host) ? 'CLUSTER_NAME' : host.split('.')[0]!
  return [{ text, snippet: enableIamCommand(region, kind, rdsDatabase?.identifier ?? identifier) }]
}

function adviseOnNetwork({ target, addresses, loadBalancer }: Context): Advice[] {
  const { endpoint } = target
  const { dial, rds } = endpoint
  const advice: Advice[] = []
  if (isLocalForward(endpoint)) return adviseOnForward(endpoint)
  if (isOnFarEnd(endpoint)) return []
  if (isIndirect(endpoint)) {
    const present = addresses?.rds ?? []
    const must =
      present.length > 0
        ? `${present.join(', ')}, port ${rds.port}`
        : `the addresses that ${rds.host} resolves to in its VPC`
    advice.push({
      text: `The load balancer ${dial.host} needs a TCP listener on ${dial.port} and, as targets, the current addresses of the database: ${must}.`,
    })
    advice.push({
      text: "Its security group must let this machine in, and the database's must let the load balancer in.",
    })
    if (!loadBalancer) advice.push({ text: 'check --aws inspects its listener, its targets and their health.' })
  } else {
    // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.html#rds-proxy.limitations
    const what = isRdsProxy(rds.host) ? 'An RDS Proxy is never' : 'An endpoint that is not'
    advice.push({
      text: `The security group of ${rds.host} must let this machine in on port ${dial.port}. ${what} publicly accessible${isRdsProxy(rds.host) ? ': it' : ''} can be reached only from its VPC, through a VPN, or through a load balancer (option connect).`,
    })
  }
  return advice
}

function adviseOnTunnel({ target }: Context): Advice[] {
  const command = target.state.tunnel?.command
  return command ? [{ text: 'The command of the tunnel, to try by hand with any free port:', snippet: command }] : []
}

function adviseOnForward({ dial, rds }: Endpoint): Advice[] {
  return [
    {
      text: `${formatHostPort(dial)} is a port of this machine: a tunnel or port forward must listen there, and lead to ${formatHostPort(rds)}. For example with SSH:`,
      snippet: shell('ssh -N USER@BASTION', `-L${formatHostPort(dial)}:${formatHostPort(rds)}`),
    },
    {
      text: `The security group of ${rds.host} must let in the machine at the other end of the tunnel.`,
    },
  ]
}

function adviseOnWrongName({ target, certificateNames = [], loadBalancer }: Context): Advice[] {
  const { endpoint } = target
  const names = certificateNames.filter(name => regionOf(name) !== undefined && !name.startsWith('*'))
  const advice: Advice[] = []
  if (isLocalForward(endpoint)) {
    const { dial, rds } = endpoint
    advice.push({
      text: `The tunnel or port forward on ${formatHostPort(dial)} leads to another database, or another one listens there. It must lead to ${formatHostPort(rds)}.`,
    })
  } else if (isOnFarEnd(endpoint)) {
    const { dial, rds } = endpoint
    advice.push({
      text: `At the far end of the tunnel, ${formatHostPort(dial)} leads to another database. It must lead to ${formatHostPort(rds)}.`,
    })
  } else if (isIndirect(endpoint)) {
    advice.push({
      text: `A target of ${endpoint.dial.host} may be stale, so that its address now belongs to another database. Register the addresses that ${endpoint.rds.host} resolves to now, and deregister the rest.${loadBalancer ? '' : ' (check --aws compares the two.)'}`,
    })
  } else {
    advice.push({
      text: `${endpoint.rds.host} resolves to another server on this machine. Check DNS, /etc/hosts and the VPN.`,
    })
  }
  if (names.length > 0)
    advice.push({
      text: 'If that server is the database that you want, use its own name:',
      snippet: `--rds-endpoint ${names[0]}`,
    })
  return advice
}

function adviseOnUnknownCa({ options, certificateRoot, target }: Context): Advice[] {
  const { endpoint, trust } = target
  const advice: Advice[] = []
  if (certificateRoot) advice.push({ text: `The chain of the server ends with "${certificateRoot}".` })
  if (options.caOnly) advice.push({ text: 'The option ca-only turns the RDS bundle and the public roots off.' })
  const isMissing = trust.bundle && !trust.bundle.isKnown()
  const isOfRds = certificateRoot?.startsWith('Amazon RDS ')
  if (isMissing || isOfRds) {
    advice.push({
      text: isMissing
        ? `The built-in RDS bundle has no CA of ${endpoint.rds.region}. Download them from AWS:`
        : 'That is the name of a CA of RDS which is not built in. Download the CA certificates of the region from AWS:',
      snippet: shell('mysql-iam-proxy trust update', `--rds-endpoint ${shellWord(endpoint.rds.host)}`),
    })
  } else {
    advice.push({
      text: 'RDS and RDS Proxy in this region use certificates of the RDS bundle or of public roots, so this is probably another server, or something on the path intercepts TLS.',
    })
  }
  advice.push({ text: 'If it is your server with its own CA:', snippet: '--ca FILE' })
  return advice
}
