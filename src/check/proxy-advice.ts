/**
 * Advice about a refused login to an RDS Proxy. It is not that for a database: with a standard proxy, the database user keeps
 * its password, and AWSAuthenticationPlugin would lock the proxy out.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-connecting.html#rds-proxy-connecting-iam
 */
import { describeProxyCommand, modifyProxyCommand } from '../aws/cli-commands.ts'
import { type Context, type Database, type ProxyAuthentication, regionOfDatabase } from './context.ts'
import { entriesOf } from './database.ts'
import { databaseUserArn } from './policy.ts'
import { createIamUser } from './sql.ts'
import type { Advice } from './steps.ts'

/** What the login needs beyond the IAM policy of its credentials. */
export function adviseOnProxyLogin(context: Context): Advice[] {
  const { rdsDatabase } = context
  if (!rdsDatabase?.proxy) return adviseOnUnknownProxy(context)
  return rdsDatabase.proxy.mode === 'standard'
    ? adviseOnStandardProxy(context, rdsDatabase, rdsDatabase.proxy)
    : adviseOnEndToEndProxy(context, rdsDatabase.proxy)
}

function adviseOnUnknownProxy(context: Context): Advice[] {
  const { target, user } = context
  const [name = '', second] = target.endpoint.rds.host.split('.')
  return [
    {
      text: 'This is an RDS Proxy. What it needs depends on its mode, which these credentials may not read (rds:DescribeDBProxies). An administrator can:',
      snippet: describeProxyCommand(regionOfDatabase(context), second === 'endpoint' ? 'PROXY_NAME' : name),
    },
    {
      text: `If DefaultAuthScheme is NONE, the proxy logs in to the database with a password. It needs a secret with the user name ${user} (case matters) and the password of that user, and IAMAuth REQUIRED in the entry of that secret. The database user must not have AWSAuthenticationPlugin.`,
    },
    {
      text: `If DefaultAuthScheme is IAM_AUTH, the role of the proxy needs rds-db:connect for the database, IAM authentication must be on there, and the user must be created for IAM:`,
      snippet: createIamUser(user),
    },
  ]
}

function adviseOnStandardProxy(context: Context, database: Database, proxy: ProxyAuthentication): Advice[] {
  const { user } = context
  const { identifier } = database
  const region = regionOfDatabase(context)
  const advice: Advice[] = []
  const entries = entriesOf(proxy.auth, user)
  const off = entries.filter(({ IAMAuth }) => IAMAuth !== 'REQUIRED')
  const text = 'The command replaces the whole list, so it names every secret.'
  if (off.length > 0 && entries.length === 1) {
    const auth = proxy.auth.map(entry => (off.includes(entry) ? { ...entry, IAMAuth: 'REQUIRED' as const } : entry))
    advice.push({
      text: `RDS Proxy: the secret must take IAM tokens. ${text} Clients of this user can then no longer log in with its password.`,
      snippet: modifyProxyCommand(region, identifier, auth),
    })
  } else if (off.length > 0) {
    advice.push({
      text: `RDS Proxy: the secret of ${user} must take IAM tokens. Set IAMAuth to REQUIRED in its entry only: other users of the proxy may need their passwords. ${text}`,
      snippet: modifyProxyCommand(region, identifier, proxy.auth),
    })
  }
  advice.push(
    {
      text: `RDS Proxy: ${identifier} logs in to the database with a password. One of its secrets must have the user name ${user} (case matters) and the password of that database user, and its role must be allowed to read that secret.`,
    },
    {
      text: `Database: the user ${user} must exist and keep its password. Do not create or alter it with AWSAuthenticationPlugin, because the proxy could then no longer log in.`,
    },
  )
  return advice
}

function adviseOnEndToEndProxy(context: Context, { role }: ProxyAuthentication): Advice[] {
  const { user, identity } = context
  const region = regionOfDatabase(context)
  const [, partition = 'aws', , , account] = (role ?? identity?.arn ?? '').split(':')
  const arn = databaseUserArn({ partition, region, account, resourceId: 'RESOURCE_ID', user })
  return [
    {
      text: `RDS Proxy: it logs in to the database with IAM too. Its role${role ? ` ${role.split('/').at(-1)}` : ''} needs rds-db:connect for the database behind it. RESOURCE_ID is that of the instance (db-…) or the cluster (cluster-…):`,
      snippet: arn,
    },
    {
      text: 'Database: IAM authentication must be on, and the user must be created for IAM:',
      snippet: createIamUser(user),
    },
  ]
}
