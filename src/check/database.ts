/** The AWS side, as far as the credentials may see it: the database in RDS, and the load balancer before it. */
import type { RDSClient } from '@aws-sdk/client-rds'
import { callAws, clientSettings } from '../aws/api.ts'
import { ProxyError } from '../errors.ts'
import type { Context, Database } from './context.ts'
import { orWarn, type StepLog } from './steps.ts'

/** What is found in one look-up; undefined: no such thing. */
type Looked<Value> = Promise<Value | undefined>

/**
 * What RDS says of the database, looked up by the endpoint's name.
 * @throws ProxyError AWS_…, CREDENTIALS_REJECTED
 */
export async function describeDatabase({ target, credentials }: Context): Promise<Database> {
  const { rds } = target.endpoint
  const { RDSClient } = await import('@aws-sdk/client-rds')
  const client = new RDSClient(clientSettings(rds.region, credentials))
  try {
    const found = await findDatabase(client, rds.host)
    if (found) return found
    throw new ProxyError('AWS_NOT_FOUND', `RDS knows no database with the endpoint ${rds.host} in ${rds.region}`)
  } finally {
    client.destroy()
  }
}

// NAME.x.REGION.rds.amazonaws.com, NAME.cluster-x., NAME.cluster-ro-x., NAME.cluster-custom-x., NAME.proxy-x.,
// NAME.endpoint.proxy-x.: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html
function findDatabase(client: RDSClient, host: string): Looked<Database> {
  const [name, second, third] = host.split('.') as [string, string | undefined, string | undefined]
  if (second?.startsWith('proxy-')) return findProxy(client, name)
  if (second === 'endpoint' && third?.startsWith('proxy-')) return findProxyOfEndpoint(client, name)
  if (second?.startsWith('cluster-custom-')) return findClusterOfCustomEndpoint(client, host)
  if (second?.startsWith('cluster-')) return findCluster(client, name, host)
  return findInstance(client, name, host)
}

async function findInstance(client: RDSClient, name: string, host: string): Looked<Database> {
  const { DescribeDBInstancesCommand } = await import('@aws-sdk/client-rds')
  const command = new DescribeDBInstancesCommand({ DBInstanceIdentifier: name })
  const answer = await callAws('rds:DescribeDBInstances', () => client.send(command))
  const instance = answer?.DBInstances?.find(({ Endpoint }) => Endpoint?.Address?.toLowerCase() === host)
  if (!instance) return undefined
  const { DBClusterIdentifier: cluster } = instance
  // In a cluster, IAM authentication and the policy's resource are those of the cluster.
  const ofCluster = cluster === undefined ? undefined : await findCluster(client, cluster, undefined)
  return {
    kind: ofCluster ? 'cluster' : 'instance',
    identifier: ofCluster?.identifier ?? name,
    resourceId: ofCluster ? ofCluster.resourceId : instance.DbiResourceId,
    iamAuthentication: ofCluster?.iamAuthentication ?? instance.IAMDatabaseAuthenticationEnabled,
    status: instance.DBInstanceStatus ?? 'not told',
    ca: instance.CACertificateIdentifier,
    engine: engineOf(instance),
  }
}

/** @param host one of the cluster's endpoints; undefined where the name is known to be right */
async function findCluster(client: RDSClient, name: string, host: string | undefined): Looked<Database> {
  const { DescribeDBClustersCommand } = await import('@aws-sdk/client-rds')
  const command = new DescribeDBClustersCommand({ DBClusterIdentifier: name })
  const answer = await callAws('rds:DescribeDBClusters', () => client.send(command))
  const cluster = answer?.DBClusters?.find(
    ({ Endpoint, ReaderEndpoint }) =>
      host === undefined || Endpoint?.toLowerCase() === host || ReaderEndpoint?.toLowerCase() === host,
  )
  return cluster && toDatabase(cluster)
}

async function findClusterOfCustomEndpoint(client: RDSClient, host: string): Looked<Database> {
  const { paginateDescribeDBClusters } = await import('@aws-sdk/client-rds')
  return callAws('rds:DescribeDBClusters', async () => {
    for await (const { DBClusters = [] } of paginateDescribeDBClusters({ client }, {})) {
      const cluster = DBClusters.find(({ CustomEndpoints }) => CustomEndpoints?.includes(host))
      if (cluster) return toDatabase(cluster)
    }
    return undefined
  })
}

interface ClusterOfRds {
  DBClusterIdentifier?: string | undefined
  DbClusterResourceId?: string | undefined
  IAMDatabaseAuthenticationEnabled?: boolean | undefined
  Status?: string | undefined
  Engine?: string | undefined
  EngineVersion?: string | undefined
}

function toDatabase(cluster: ClusterOfRds): Database {
  return {
    kind: 'cluster',
    identifier: cluster.DBClusterIdentifier ?? '',
    resourceId: cluster.DbClusterResourceId,
    iamAuthentication: cluster.IAMDatabaseAuthenticationEnabled,
    status: cluster.Status ?? 'not told',
    ca: undefined,
    engine: engineOf(cluster),
  }
}

async function findProxyOfEndpoint(client: RDSClient, name: string): Looked<Database> {
  const { DescribeDBProxyEndpointsCommand } = await import('@aws-sdk/client-rds')
  const command = new DescribeDBProxyEndpointsCommand({ DBProxyEndpointName: name })
  const answer = await callAws('rds:DescribeDBProxyEndpoints', () => client.send(command))
  const proxy = answer?.DBProxyEndpoints?.[0]?.DBProxyName
  return proxy === undefined ? undefined : await findProxy(client, proxy)
}

async function findProxy(client: RDSClient, name: string): Looked<Database> {
  const { DescribeDBProxiesCommand } = await import('@aws-sdk/client-rds')
  const command = new DescribeDBProxiesCommand({ DBProxyName: name })
  const answer = await callAws('rds:DescribeDBProxies', () => client.send(command))
  const proxy = answer?.DBProxies?.[0]
  if (!proxy) return undefined
  const settings = (proxy.Auth ?? []).flatMap(({ IAMAuth }) => IAMAuth ?? [])
  return {
    kind: 'proxy',
    identifier: name,
    // arn:aws:rds:REGION:ACCOUNT:db-proxy:prx-…
    resourceId: proxy.DBProxyArn?.split(':').at(-1),
    iamAuthentication: settings.length > 0 ? settings.some(setting => setting !== 'DISABLED') : undefined,
    status: proxy.Status ?? 'not told',
    ca: undefined,
    engine: proxy.EngineFamily,
  }
}

function engineOf({ Engine, EngineVersion }: ClusterOfRds): string | undefined {
  return Engine && `${Engine} ${EngineVersion ?? ''}`.trim()
}

/** A database of these can't be logged in to. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html */
const NOT_UP =
  /^(stopped|stopping|starting|creating|deleting|deleted|failed|rebooting|restore-error|inaccessible-|incompatible-|storage-full|suspended)/

/** @throws ProxyError IAM_AUTHENTICATION_OFF, DATABASE_NOT_AVAILABLE */
export async function checkDatabase(path: Context, notes: StepLog): Promise<void> {
  const { rds } = path.target.endpoint
  const database = await orWarn(notes, () => describeDatabase(path))
  path.rdsDatabase = database ?? null
  if (!database) return
  notes.fact(
    database.kind,
    `${database.identifier}, ${database.status}${database.engine ? `, ${database.engine}` : ''}`,
  )
  notes.fact('resource id', database.resourceId ?? 'not told')
  if (database.ca) notes.fact('certificate authority', database.ca)
  notes.fact('IAM authentication', { true: 'on', false: 'off' }[String(database.iamAuthentication)] ?? 'not told')
  if (NOT_UP.test(database.status)) {
    throw new ProxyError('DATABASE_NOT_AVAILABLE', `the database of ${rds.host} is ${database.status}`)
  }
  if (database.iamAuthentication === false) {
    throw new ProxyError('IAM_AUTHENTICATION_OFF', `IAM authentication of ${rds.host} is off`)
  }
}
