/** The databases of a region, as RDS describes them. */
import type {
  DBCluster,
  DBInstance,
  DBProxy,
  DBProxyEndpoint,
  RDSClient,
  UserAuthConfigInfo,
} from '@aws-sdk/client-rds'
import { listIn } from '../aws/api.ts'
import { isOtherEngine } from '../aws/rds-words.ts'
import { DEFAULT_PORT } from '../endpoint.ts'
import type { Action } from './actions.ts'
import type { FoundDatabase, FoundEndpoint, Scope } from './found.ts'

/** Makes a call and notes its failure; resolves with [] then. */
export type Call = <Item>(action: Action, send: () => Promise<Item[]>) => Promise<Item[]>

/** The answers about a region. */
export interface Descriptions {
  instances: DBInstance[]
  clusters: DBCluster[]
  proxies: DBProxy[]
  proxyEndpoints: DBProxyEndpoint[]
}

/** Asks RDS for everything, in parallel. */
export async function describeRegion(client: RDSClient, call: Call, abortSignal: AbortSignal): Promise<Descriptions> {
  const rds = await import('../aws/sdk-rds.ts')
  const pages = async <Page, Item>(
    action: Action,
    paginate: (config: { client: RDSClient }, input: object, options: object) => AsyncIterable<Page>,
    itemsOf: (page: Page) => Item[] | undefined,
  ) =>
    await call(action, async () => {
      const items: Item[] = []
      for await (const page of paginate({ client }, {}, { abortSignal })) items.push(...listIn(itemsOf(page), action))
      return items
    })
  const [instances, clusters, proxies, proxyEndpoints] = await Promise.all([
    pages('rds:DescribeDBInstances', rds.paginateDescribeDBInstances, page => page.DBInstances),
    pages('rds:DescribeDBClusters', rds.paginateDescribeDBClusters, page => page.DBClusters),
    pages('rds:DescribeDBProxies', rds.paginateDescribeDBProxies, page => page.DBProxies),
    pages('rds:DescribeDBProxyEndpoints', rds.paginateDescribeDBProxyEndpoints, page => page.DBProxyEndpoints),
  ])
  return { instances, clusters, proxies, proxyEndpoints }
}

/** The databases of MySQL's protocol in `descriptions`. Names are unique, and addresses still unknown. */
export function databasesIn(descriptions: Descriptions, scope: Scope): FoundDatabase[] {
  const { instances, clusters, proxies, proxyEndpoints } = descriptions
  const isOurs = ({ Engine }: { Engine?: string | undefined }) => !isOtherEngine(Engine ?? '')
  const databases = [
    ...instances.filter(isOurs).map(instance => fromInstance(instance, scope)),
    ...clusters.filter(isOurs).map(cluster => fromCluster(cluster, instances, scope)),
    ...proxies
      .filter(({ EngineFamily }) => EngineFamily === 'MYSQL')
      .map(proxy => fromProxy(proxy, proxyEndpoints, scope)),
  ]
  return withUniqueNames(databases)
}

function fromInstance(instance: DBInstance, scope: Scope): FoundDatabase {
  const { Endpoint, DBInstanceIdentifier: identifier = '', DBClusterIdentifier: cluster } = instance
  return {
    ...scope,
    kind: 'instance',
    identifier,
    account: accountIn(instance.DBInstanceArn),
    engine: instance.Engine ?? 'unknown',
    version: instance.EngineVersion,
    status: instance.DBInstanceStatus ?? 'unknown',
    iam: onOrOff(instance.IAMDatabaseAuthenticationEnabled),
    public: instance.PubliclyAccessible,
    vpc: instance.DBSubnetGroup?.VpcId,
    cluster,
    pauses: false,
    endpoints: Endpoint?.Address ? [endpoint('instance', identifier, Endpoint.Address, Endpoint.Port)] : [],
  }
}

function fromCluster(cluster: DBCluster, instances: readonly DBInstance[], scope: Scope): FoundDatabase {
  const { DBClusterIdentifier: identifier = '', Endpoint, ReaderEndpoint, CustomEndpoints = [], Port: port } = cluster
  const members = instances.filter(({ DBClusterIdentifier }) => DBClusterIdentifier === identifier)
  const ofMembers = members.flatMap(({ PubliclyAccessible }) => PubliclyAccessible ?? [])
  const isAurora = cluster.Engine?.startsWith('aurora')
  return {
    ...scope,
    kind: 'cluster',
    identifier,
    account: accountIn(cluster.DBClusterArn),
    engine: cluster.Engine ?? 'unknown',
    version: cluster.EngineVersion,
    status: cluster.Status ?? 'unknown',
    iam: onOrOff(cluster.IAMDatabaseAuthenticationEnabled),
    // For Aurora, this is a setting of the instances: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBCluster.html
    public: isAurora ? (ofMembers.length > 0 ? ofMembers.includes(true) : undefined) : cluster.PubliclyAccessible,
    vpc: members.find(({ DBSubnetGroup }) => DBSubnetGroup?.VpcId)?.DBSubnetGroup?.VpcId,
    cluster: undefined,
    pauses: cluster.ServerlessV2ScalingConfiguration?.MinCapacity === 0,
    endpoints: [
      ...(Endpoint ? [endpoint('writer', identifier, Endpoint, port)] : []),
      ...(ReaderEndpoint ? [endpoint('reader', `${identifier}-reader`, ReaderEndpoint, port)] : []),
      ...CustomEndpoints.map(host => endpoint('custom', firstLabel(host), host, port)),
    ],
  }
}

function fromProxy(proxy: DBProxy, all: readonly DBProxyEndpoint[], scope: Scope): FoundDatabase {
  const { DBProxyName: identifier = '', Endpoint } = proxy
  const further = all.filter(({ DBProxyName, IsDefault }) => DBProxyName === identifier && !IsDefault)
  return {
    ...scope,
    kind: 'proxy',
    identifier,
    account: accountIn(proxy.DBProxyArn),
    engine: 'mysql',
    version: undefined,
    status: proxy.Status ?? 'unknown',
    iam: iamOfProxy(proxy),
    // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy.html#rds-proxy.limitations
    public: false,
    vpc: proxy.VpcId,
    cluster: undefined,
    pauses: false,
    endpoints: [
      ...(Endpoint ? [endpoint('proxy', identifier, Endpoint, DEFAULT_PORT)] : []),
      ...further.flatMap(({ DBProxyEndpointName: name, Endpoint: host }) =>
        name && host ? [endpoint('proxy', name, host, DEFAULT_PORT)] : [],
      ),
    ],
  }
}

/** https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-iam-setup.html */
function iamOfProxy({ DefaultAuthScheme, Auth = [] }: DBProxy): FoundDatabase['iam'] {
  const needsToken = ({ IAMAuth }: UserAuthConfigInfo) => IAMAuth !== undefined && IAMAuth !== 'DISABLED'
  const isDefault = DefaultAuthScheme === 'IAM_AUTH'
  if (Auth.length === 0) return isDefault ? 'required' : 'unknown'
  if (Auth.every(needsToken)) return 'required'
  return isDefault || Auth.some(needsToken) ? 'some' : 'off'
}

function onOrOff(enabled: boolean | undefined): FoundDatabase['iam'] {
  return enabled === undefined ? 'unknown' : enabled ? 'on' : 'off'
}

function endpoint(role: FoundEndpoint['role'], name: string, host: string, port: number | undefined): FoundEndpoint {
  return {
    name,
    role,
    host: host.toLowerCase(),
    port: port ?? DEFAULT_PORT,
    addresses: [],
    loadBalancers: [],
    reach: undefined,
  }
}

/** arn:aws:rds:REGION:ACCOUNT:… */
function accountIn(arn: string | undefined): string | undefined {
  return arn?.split(':')[4] || undefined
}

function firstLabel(host: string): string {
  return host.split('.')[0]!
}

/** An instance, a cluster and an RDS Proxy may have the same name. Then each endpoint is called by its host. */
function withUniqueNames(databases: FoundDatabase[]): FoundDatabase[] {
  const names = databases.flatMap(({ endpoints }) => endpoints.map(({ name }) => name))
  const isDuplicate = (name: string) => names.indexOf(name) !== names.lastIndexOf(name)
  for (const { endpoints } of databases) {
    for (const endpoint of endpoints) if (isDuplicate(endpoint.name)) endpoint.name = endpoint.host
  }
  return databases
}
