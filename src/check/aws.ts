/** The AWS side, as far as the credentials may see it: the database in RDS, and the load balancer before it. */
import { resolveCname } from 'node:dns/promises'
import type { RDSClient } from '@aws-sdk/client-rds'
import { type Endpoint, formatHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { clientSettings, explainAwsError } from './aws-client.ts'
import { registerTargetsCommand } from './commands.ts'
import { isIndirect, type Path } from './path.ts'
import type { Notes } from './walk.ts'

/** What RDS says of the database behind an endpoint. */
export interface Database {
  kind: 'instance' | 'cluster' | 'proxy'
  /** the name that RDS commands take */
  identifier: string
  /** of the policy: `db-…`, `cluster-…` or `prx-…` */
  resourceId: string | undefined
  /** undefined where RDS does not say */
  iamAuthentication: boolean | undefined
  status: string
  /** certificate authority of an instance */
  ca: string | undefined
  engine: string | undefined
}

/** What ELB says of the load balancer that is dialled. */
export interface LoadBalancer {
  /** seconds; undefined where ELB does not say */
  idleTimeout: number | undefined
}

/** What is found in one look-up; undefined: no such thing. */
type Looked<Value> = Promise<Value | undefined>

/**
 * What RDS says of the database, looked up by the endpoint's name.
 * @throws ProxyError AWS_…, CREDENTIALS_REJECTED
 */
export async function describeDatabase({ target, credentials }: Path): Promise<Database> {
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
  const answer = await ask('rds:DescribeDBInstances', () => client.send(command))
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
  const answer = await ask('rds:DescribeDBClusters', () => client.send(command))
  const cluster = answer?.DBClusters?.find(
    ({ Endpoint, ReaderEndpoint }) =>
      host === undefined || Endpoint?.toLowerCase() === host || ReaderEndpoint?.toLowerCase() === host,
  )
  return cluster && toDatabase(cluster)
}

async function findClusterOfCustomEndpoint(client: RDSClient, host: string): Looked<Database> {
  const { paginateDescribeDBClusters } = await import('@aws-sdk/client-rds')
  return ask('rds:DescribeDBClusters', async () => {
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
  const answer = await ask('rds:DescribeDBProxyEndpoints', () => client.send(command))
  const proxy = answer?.DBProxyEndpoints?.[0]?.DBProxyName
  return proxy === undefined ? undefined : await findProxy(client, proxy)
}

async function findProxy(client: RDSClient, name: string): Looked<Database> {
  const { DescribeDBProxiesCommand } = await import('@aws-sdk/client-rds')
  const command = new DescribeDBProxiesCommand({ DBProxyName: name })
  const answer = await ask('rds:DescribeDBProxies', () => client.send(command))
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

/** What `send` resolves with; undefined where there is no such thing. @throws ProxyError AWS_…, CREDENTIALS_REJECTED */
async function ask<Answer>(action: string, send: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await send()
  } catch (error) {
    if (error instanceof Error && /NotFound/.test(error.name)) return undefined
    throw explainAwsError(error, action)
  }
}

/** A database of these can't be logged in to. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html */
const NOT_UP =
  /^(stopped|stopping|starting|creating|deleting|deleted|failed|rebooting|restore-error|inaccessible-|incompatible-|storage-full|suspended)/

/** @throws ProxyError IAM_AUTHENTICATION_OFF, DATABASE_NOT_AVAILABLE */
export async function checkDatabase(path: Path, notes: Notes): Promise<void> {
  const { rds } = path.target.endpoint
  const database = await orWarn(notes, () => describeDatabase(path))
  path.rdsSays = database ?? null
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

/** What may not be seen, or can't be reached, is told and passed over. */
async function orWarn<Value>(notes: Notes, look: () => Promise<Value>): Promise<Value | undefined> {
  try {
    return await look()
  } catch (thrown) {
    if (!(thrown instanceof ProxyError) || !/^(AWS_|CREDENTIALS_)/.test(thrown.code)) throw thrown
    notes.warn(thrown)
    return undefined
  }
}

/**
 * The load balancer whose name is dialled: its listener, target groups, targets, and what it thinks of their health.
 * @throws ProxyError NLB_LISTENER_MISSING, NLB_LISTENER_NOT_TCP, NLB_TARGETS_MISSING
 */
export async function checkLoadBalancer(path: Path, notes: Notes): Promise<void> {
  const { endpoint } = path.target
  if (!isIndirect(endpoint)) notes.fact('load balancer', 'none: the RDS endpoint itself is dialled')
  else await orWarn(notes, () => describeLoadBalancer(path, notes))
}

async function describeLoadBalancer(path: Path, notes: Notes): Promise<void> {
  const { endpoint } = path.target
  const elb = await import('@aws-sdk/client-elastic-load-balancing-v2')
  const region = /\.elb\.([a-z0-9-]+)\.amazonaws\./.exec(endpoint.dial.host)?.[1] ?? endpoint.rds.region
  const client = new elb.ElasticLoadBalancingV2Client(clientSettings(region, path.credentials))
  const dial = formatHostPort(endpoint.dial)
  try {
    const names = await namesOf(endpoint.dial.host)
    const balancer = await ask('elasticloadbalancing:DescribeLoadBalancers', async () => {
      for await (const { LoadBalancers = [] } of elb.paginateDescribeLoadBalancers({ client }, {})) {
        const found = LoadBalancers.find(({ DNSName }) => DNSName && names.some(name => isNameOf(name, DNSName)))
        if (found) return found
      }
      return undefined
    })
    if (!balancer)
      throw new ProxyError('AWS_NOT_FOUND', `no load balancer of ${region} has the name ${endpoint.dial.host}`)
    const { LoadBalancerArn, LoadBalancerName, Type, Scheme, State } = balancer
    notes.fact('load balancer', `${LoadBalancerName}, ${Type}, ${Scheme}, ${State?.Code}`)

    const listeners = await ask('elasticloadbalancing:DescribeListeners', async () => {
      const all = []
      for await (const { Listeners = [] } of elb.paginateDescribeListeners({ client }, { LoadBalancerArn })) {
        all.push(...Listeners)
      }
      return all
    })
    const listener = listeners?.find(({ Port }) => Port === endpoint.dial.port)
    if (!listener) {
      const ports = listeners?.map(({ Protocol, Port }) => `${Protocol} ${Port}`).join(', ') || 'none'
      throw new ProxyError(
        'NLB_LISTENER_MISSING',
        `${LoadBalancerName} has no listener for ${dial}; its listeners: ${ports}`,
      )
    }
    if (listener.Protocol !== 'TCP' && listener.Protocol !== 'TCP_UDP') {
      throw new ProxyError('NLB_LISTENER_NOT_TCP', `the listener of ${dial} is a ${listener.Protocol} listener`)
    }
    const idleTimeout = await orWarn(notes, async () => {
      const command = new elb.DescribeListenerAttributesCommand({ ListenerArn: listener.ListenerArn })
      const answer = await ask('elasticloadbalancing:DescribeListenerAttributes', () => client.send(command))
      const value = answer?.Attributes?.find(({ Key }) => Key === 'tcp.idle_timeout.seconds')?.Value
      return value === undefined ? undefined : Number(value)
    })
    path.loadBalancer = { idleTimeout }
    const idle = idleTimeout === undefined ? '' : `, idle timeout ${idleTimeout} s`
    notes.fact('listener', `${listener.Protocol} ${listener.Port}${idle}`)

    const arns = (listener.DefaultActions ?? []).flatMap(({ TargetGroupArn, ForwardConfig }) => [
      TargetGroupArn,
      ...(ForwardConfig?.TargetGroups ?? []).map(group => group.TargetGroupArn),
    ])
    const unique = [...new Set(arns.filter(arn => arn !== undefined))]
    const described = await ask('elasticloadbalancing:DescribeTargetGroups', () =>
      client.send(new elb.DescribeTargetGroupsCommand({ TargetGroupArns: unique })),
    )
    for (const group of described?.TargetGroups ?? []) {
      const health = await ask('elasticloadbalancing:DescribeTargetHealth', () =>
        client.send(new elb.DescribeTargetHealthCommand({ TargetGroupArn: group.TargetGroupArn })),
      )
      const targets = (health?.TargetHealthDescriptions ?? []).map(({ Target, TargetHealth }) => ({
        address: Target?.Id ?? '',
        port: Target?.Port ?? endpoint.rds.port,
        state: TargetHealth?.State ?? 'unknown',
        why: TargetHealth?.Description ?? TargetHealth?.Reason,
      }))
      const { TargetGroupName: name = '', TargetGroupArn: arn = '', TargetType: type = '' } = group
      noteTargets({ name, arn, type, targets }, path.addresses?.rds ?? [], endpoint, notes)
    }
  } finally {
    client.destroy()
  }
}

/** The name itself, and what it is an alias of. */
async function namesOf(host: string): Promise<string[]> {
  const isOfElb = /\.elb\.[a-z0-9-]+\.amazonaws\./.test(host)
  return [host, ...(isOfElb ? [] : await resolveCname(host).catch(() => []))]
}

/** Also the names of a load balancer's zones: `eu-west-1a.NAME`. */
function isNameOf(host: string, dnsName: string): boolean {
  const name = dnsName.toLowerCase()
  return host.toLowerCase() === name || host.toLowerCase().endsWith(`.${name}`)
}

interface TargetGroup {
  name: string
  arn: string
  type: string
  targets: { address: string; port: number; state: string; why: string | undefined }[]
}

function noteTargets(group: TargetGroup, present: string[], endpoint: Endpoint, notes: Notes): void {
  const { name, arn, type, targets } = group
  const rds = endpoint.rds.host
  notes.fact(
    `targets of ${name}`,
    targets.map(({ address, port, state, why }) => {
      const whose = present.length === 0 ? '' : present.includes(address) ? `, an address of ${rds}` : `, NOT of ${rds}`
      return `${formatHostPort({ host: address, port })} ${state}${why ? ` (${why})` : ''}${type === 'ip' ? whose : ''}`
    }),
  )
  const registration =
    present.length > 0
      ? [
          {
            say: 'Register what the RDS endpoint says now:',
            copy: registerTargetsCommand(arn, present, endpoint.rds.port),
          },
        ]
      : []
  if (targets.length === 0) {
    throw new ProxyError('NLB_TARGETS_MISSING', `the target group ${name} has no targets`)
  }
  const inUse = targets.filter(({ state }) => state !== 'draining')
  const stale = inUse.filter(({ address }) => !present.includes(address))
  // Of other types the targets are not the database's addresses; and from outside, its name may have other ones.
  if (type === 'ip' && present.length > 0 && stale.length > 0) {
    const addresses = stale.map(({ address }) => address).join(', ')
    const message = `${name} has targets that ${rds} (${present.join(', ')}) does not have: ${addresses}`
    notes.warn(new ProxyError('NLB_TARGETS_STALE', message), registration)
  }
  const unhealthy = inUse.filter(({ state }) => state === 'unhealthy')
  if (unhealthy.length > 0) {
    const spoken = unhealthy.map(({ address, why }) => `${address}${why ? ` (${why})` : ''}`).join(', ')
    notes.warn(new ProxyError('NLB_TARGETS_UNHEALTHY', `unhealthy targets of ${name}: ${spoken}`))
  }
}
