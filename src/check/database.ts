/** The database in RDS, if the credentials may see it. */
import type { RDSClient, UserAuthConfigInfo } from '@aws-sdk/client-rds'
import { callAws, clientSettings } from '../aws/api.ts'
import { enableIamCommand } from '../aws/cli-commands.ts'
import { createAwsAgent } from '../aws/https-agent.ts'
import { isDown, isOtherEngine } from '../aws/rds-words.ts'
import { isGlobalEndpoint } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { engineOf, type Found, findCluster, toDatabase } from './cluster.ts'
import {
  type Context,
  type Database,
  type GlobalMember,
  type ProxyAuthentication,
  regionOfDatabase,
} from './context.ts'
import { describeGlobalDatabase } from './global-database.ts'
import { orWarn, type StepLog } from './steps.ts'

/**
 * Finds the database in RDS by the name of its endpoint.
 * @throws ProxyError AWS_…, CREDENTIALS_REJECTED
 */
export async function describeDatabase(context: Context): Promise<Database> {
  const { target, credentials, profile, user } = context
  const { rds } = target.endpoint
  if (isGlobalEndpoint(rds.host)) return await describeGlobalDatabase(context)
  const region = regionOfDatabase(context)
  const { RDSClient } = await import('../aws/sdk-rds.ts')
  const client = new RDSClient(clientSettings(region, credentials, createAwsAgent({ profile })))
  try {
    const found = await findDatabase(client, rds.host, user)
    if (found) return found
    throw new ProxyError('AWS_NOT_FOUND', `RDS has no database with the endpoint ${rds.host} in ${region}`)
  } finally {
    client.destroy()
  }
}

// NAME.x.REGION.rds.amazonaws.com, NAME.cluster-x., NAME.cluster-ro-x., NAME.cluster-custom-x., NAME.proxy-x.,
// NAME.endpoint.proxy-x.: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html
function findDatabase(client: RDSClient, host: string, user: string): Found<Database> {
  const [name, second, third] = host.split('.') as [string, string | undefined, string | undefined]
  if (second?.startsWith('proxy-')) return findProxy(client, name, user)
  if (second === 'endpoint' && third?.startsWith('proxy-')) return findProxyOfEndpoint(client, name, user)
  if (second?.startsWith('cluster-custom-')) return findClusterOfCustomEndpoint(client, host)
  if (second?.startsWith('cluster-')) return findCluster(client, name, host)
  return findInstance(client, name, host)
}

async function findInstance(client: RDSClient, name: string, host: string): Found<Database> {
  const { DescribeDBInstancesCommand } = await import('../aws/sdk-rds.ts')
  const command = new DescribeDBInstancesCommand({ DBInstanceIdentifier: name })
  const answer = await callAws('rds:DescribeDBInstances', () => client.send(command))
  const instance = answer?.DBInstances?.find(({ Endpoint }) => Endpoint?.Address?.toLowerCase() === host)
  if (!instance) return undefined
  const { DBClusterIdentifier: cluster } = instance
  // In a cluster, IAM authentication and the resource of the policy belong to the cluster.
  const ofCluster = cluster === undefined ? undefined : await findCluster(client, cluster, undefined)
  return {
    kind: ofCluster ? 'cluster' : 'instance',
    identifier: ofCluster?.identifier ?? name,
    resourceId: ofCluster ? ofCluster.resourceId : instance.DbiResourceId,
    iamAuthentication: ofCluster?.iamAuthentication ?? instance.IAMDatabaseAuthenticationEnabled,
    status: instance.DBInstanceStatus ?? 'unknown',
    ca: instance.CACertificateIdentifier,
    engine: engineOf(instance),
  }
}

async function findClusterOfCustomEndpoint(client: RDSClient, host: string): Found<Database> {
  const { paginateDescribeDBClusters } = await import('../aws/sdk-rds.ts')
  return callAws('rds:DescribeDBClusters', async () => {
    for await (const { DBClusters = [] } of paginateDescribeDBClusters({ client }, {})) {
      const cluster = DBClusters.find(({ CustomEndpoints }) => CustomEndpoints?.includes(host))
      if (cluster) return toDatabase(cluster)
    }
    return undefined
  })
}

async function findProxyOfEndpoint(client: RDSClient, name: string, user: string): Found<Database> {
  const { DescribeDBProxyEndpointsCommand } = await import('../aws/sdk-rds.ts')
  const command = new DescribeDBProxyEndpointsCommand({ DBProxyEndpointName: name })
  const answer = await callAws('rds:DescribeDBProxyEndpoints', () => client.send(command))
  const proxy = answer?.DBProxyEndpoints?.[0]?.DBProxyName
  return proxy === undefined ? undefined : await findProxy(client, proxy, user)
}

async function findProxy(client: RDSClient, name: string, user: string): Found<Database> {
  const { DescribeDBProxiesCommand } = await import('../aws/sdk-rds.ts')
  const command = new DescribeDBProxiesCommand({ DBProxyName: name })
  const answer = await callAws('rds:DescribeDBProxies', () => client.send(command))
  const proxy = answer?.DBProxies?.[0]
  if (!proxy) return undefined
  const mode = proxy.DefaultAuthScheme === 'IAM_AUTH' ? 'end-to-end' : 'standard'
  const authentication: ProxyAuthentication = { mode, auth: proxy.Auth ?? [], role: proxy.RoleArn }
  return {
    kind: 'proxy',
    identifier: name,
    // arn:aws:rds:REGION:ACCOUNT:db-proxy:prx-…
    resourceId: proxy.DBProxyArn?.split(':').at(-1),
    iamAuthentication: takesTokens(authentication, user),
    status: proxy.Status ?? 'unknown',
    ca: undefined,
    engine: proxy.EngineFamily,
    proxy: authentication,
  }
}

/** Whether an RDS Proxy takes tokens of `user`; undefined if it does not say. */
function takesTokens({ mode, auth }: ProxyAuthentication, user: string): boolean | undefined {
  const entries = entriesOf(auth, user)
  if (mode === 'end-to-end' && entries.every(({ UserName }) => UserName !== user)) return true
  const settings = entries.flatMap(({ IAMAuth }) => IAMAuth ?? [])
  return settings.length > 0 ? settings.some(setting => setting !== 'DISABLED') : undefined
}

/** The entries that are for `user`, or else those that do not name their user: the secret has the name then. */
export function entriesOf(auth: readonly UserAuthConfigInfo[], user: string): UserAuthConfigInfo[] {
  const named = auth.filter(({ UserName }) => UserName === user)
  return named.length > 0 ? named : auth.filter(({ UserName }) => !UserName)
}

/** @throws ProxyError DATABASE_NOT_MYSQL, IAM_AUTHENTICATION_OFF, DATABASE_NOT_AVAILABLE */
export async function checkDatabase(context: Context, log: StepLog): Promise<void> {
  const { rds } = context.target.endpoint
  const database = await orWarn(log, () => describeDatabase(context))
  context.rdsDatabase = database ?? null
  if (!database) return
  log.fact(database.kind, `${database.identifier}, ${database.status}${database.engine ? `, ${database.engine}` : ''}`)
  log.fact('resource id', database.resourceId ?? 'unknown')
  if (database.ca) log.fact('certificate authority', database.ca)
  if (database.proxy) noteProxy(database.proxy, log)
  if (database.members) noteMembers(database.members, log)
  log.fact('IAM authentication', { true: 'on', false: 'off' }[String(database.iamAuthentication)] ?? 'unknown')
  if (database.engine && isOtherEngine(database.engine)) {
    throw new ProxyError('DATABASE_NOT_MYSQL', `the database of ${rds.host} is ${database.engine}, not MySQL`)
  }
  if (isDown(database.status)) {
    throw new ProxyError('DATABASE_NOT_AVAILABLE', `the database of ${rds.host} is ${database.status}`)
  }
  if (database.iamAuthentication === false) {
    throw new ProxyError('IAM_AUTHENTICATION_OFF', `IAM authentication of ${rds.host} is off`)
  }
}

function noteProxy({ mode, auth, role }: ProxyAuthentication, log: StepLog): void {
  const standard = 'standard: to the database, it logs in with a password from Secrets Manager'
  log.fact('mode', mode === 'standard' ? standard : 'end-to-end IAM: to the database too, it logs in with IAM')
  if (role) log.fact('role', role)
  const secrets = auth.map(({ SecretArn, UserName, IAMAuth }) => {
    const name = SecretArn?.split(':').at(-1) ?? 'unnamed'
    const ofUser = UserName ? ` for ${UserName}` : ''
    return `${name}${ofUser}, IAM ${IAMAuth?.toLowerCase() ?? 'unknown'}`
  })
  if (secrets.length > 0) log.fact('secrets', secrets)
}

function noteMembers(members: GlobalMember[], log: StepLog): void {
  const spoken = members.map(({ region, identifier, resourceId, iamAuthentication }, index) => {
    const iam = { true: 'IAM on', false: 'IAM off' }[String(iamAuthentication)] ?? 'IAM unknown'
    return `${identifier} in ${region}, ${index === 0 ? 'writer' : 'secondary'}, ${resourceId ?? 'resource id unknown'}, ${iam}`
  })
  log.fact('clusters', spoken)
  for (const { region, identifier, iamAuthentication } of members.slice(1)) {
    if (iamAuthentication !== false) continue
    const message = `IAM authentication is off in ${identifier} in ${region}, so logins fail once it has the writer`
    const snippet = enableIamCommand(region, 'cluster', identifier)
    log.warn(new ProxyError('IAM_AUTHENTICATION_OFF', message), [{ text: 'Turn it on:', snippet }])
  }
}
