/**
 * What the stand-in for the AWS APIs answers for an account with databases and load balancers. All lists have pages of two
 * entries, as those of large accounts have pages of a hundred.
 */
import type { Answer, AwsApi, Signer } from './aws-api.ts'

export const ACCOUNT_ID = '123456789012'

export interface Account {
  /** by region; others are empty */
  regions: Record<string, Partial<Region>>
  /** of DescribeSourceRegions; default: those of `regions` */
  sourceRegions?: string[]
  /** answers an action instead, before the regions are read; undefined: not this one */
  instead?: (action: string, signer: Signer) => Answer | undefined | Promise<Answer | undefined>
}

export interface Region {
  instances: Instance[]
  clusters: Cluster[]
  proxies: Proxy[]
  proxyEndpoints: ProxyEndpoint[]
  loadBalancers: Balancer[]
  targetGroups: Group[]
}

/** https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBInstance.html */
export interface Instance {
  name: string
  /** default: its usual name; null while it is being created */
  host?: string | null
  port?: number
  engine?: string
  version?: string
  status?: string
  iam?: boolean
  isPublic?: boolean
  vpc?: string
  cluster?: string
}

/** https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBCluster.html */
export interface Cluster {
  name: string
  custom?: string[]
  port?: number
  engine?: string
  version?: string
  status?: string
  iam?: boolean
  /** only Multi-AZ clusters say it */
  isPublic?: boolean
  /** of Aurora Serverless v2 */
  minCapacity?: number
}

/** https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBProxy.html */
export interface Proxy {
  name: string
  family?: string
  status?: string
  vpc?: string
  scheme?: 'NONE' | 'IAM_AUTH'
  /** of each secret */
  auth?: ('REQUIRED' | 'DISABLED')[]
}

/** https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBProxyEndpoint.html */
export interface ProxyEndpoint {
  name: string
  proxy: string
  isDefault?: boolean
}

/** https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancer.html */
export interface Balancer {
  name: string
  host?: string
  type?: string
  scheme?: string
  listeners: { port: number; group: string; protocol?: string }[]
}

/** https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroup.html */
export interface Group {
  name: string
  vpc?: string
  type?: string
  protocol?: string
  targets: { address: string; port: number; zone?: string; state?: string }[]
}

const PAGE = 2

/** The answers for startAwsApi. */
export function answersOf(account: Account): AwsApi['answers'] {
  const regionOf = ({ region }: Signer) => account.regions[region] ?? {}
  const lists: Record<string, (region: Partial<Region>, signer: Signer, parameters: Record<string, string>) => List> = {
    DescribeDBInstances: ({ instances = [] }, { region }) => ({
      name: 'DBInstances',
      items: instances.map(each => element('DBInstance', instanceXml(each, region))),
    }),
    DescribeDBClusters: ({ clusters = [], instances = [] }, { region }) => ({
      name: 'DBClusters',
      items: clusters.map(each => element('DBCluster', clusterXml(each, instances, region))),
    }),
    DescribeDBProxies: ({ proxies = [] }, { region }) => ({
      name: 'DBProxies',
      items: proxies.map(each => element('member', proxyXml(each, region))),
    }),
    DescribeDBProxyEndpoints: ({ proxyEndpoints = [] }, { region }) => ({
      name: 'DBProxyEndpoints',
      items: proxyEndpoints.map(each => element('member', proxyEndpointXml(each, region))),
    }),
    DescribeSourceRegions: () => ({
      name: 'SourceRegions',
      items: (account.sourceRegions ?? Object.keys(account.regions)).map(name =>
        element('SourceRegion', element('RegionName', name) + element('Status', 'available')),
      ),
    }),
    DescribeTargetGroups: ({ targetGroups = [], loadBalancers = [] }, { region }) => ({
      name: 'TargetGroups',
      marker: 'NextMarker',
      items: targetGroups.map(group => element('member', targetGroupXml(group, loadBalancers, region))),
    }),
    DescribeTargetHealth: ({ targetGroups = [] }, { region }, { TargetGroupArn }) => ({
      name: 'TargetHealthDescriptions',
      isWhole: true,
      items: (targetGroups.find(({ name }) => groupArn(name, region) === TargetGroupArn)?.targets ?? []).map(target =>
        element('member', targetXml(target)),
      ),
    }),
    DescribeLoadBalancers: ({ loadBalancers = [] }, { region }, parameters) => {
      const wanted = Object.entries(parameters).filter(([name]) => name.startsWith('LoadBalancerArns.member.'))
      const arns = wanted.map(([, arn]) => arn)
      const found = loadBalancers.filter(({ name }) => arns.length === 0 || arns.includes(balancerArn(name, region)))
      const items = found.map(each => element('member', balancerXml(each, region)))
      return { name: 'LoadBalancers', marker: 'NextMarker', isWhole: arns.length > 0, items }
    },
    DescribeListeners: ({ loadBalancers = [] }, { region }, { LoadBalancerArn }) => {
      const balancer = loadBalancers.find(({ name }) => balancerArn(name, region) === LoadBalancerArn)
      const items = (balancer?.listeners ?? []).map(each => element('member', listenerXml(each, region)))
      return { name: 'Listeners', marker: 'NextMarker', items }
    },
  }
  return Object.fromEntries(
    Object.entries(lists).map(([action, listOf]) => [
      action,
      async (parameters, signer) =>
        (await account.instead?.(action, signer)) ?? page(listOf(regionOf(signer), signer, parameters), parameters),
    ]),
  )
}

interface List {
  name: string
  /** the element of the next page's marker */
  marker?: string
  /** without pages */
  isWhole?: boolean
  items: string[]
}

function page({ name, marker = 'Marker', isWhole = false, items }: List, { Marker = '0' }: Record<string, string>) {
  const start = isWhole ? 0 : Number(Marker)
  const end = isWhole ? items.length : start + PAGE
  return element(name, items.slice(start, end).join('')) + (end < items.length ? element(marker, String(end)) : '')
}

function element(name: string, content: string | number | boolean | undefined): string {
  return content === undefined ? '' : `<${name}>${content}</${name}>`
}

/** The usual names of RDS. */
export function rdsHost(name: string, region: string, kind = ''): string {
  return `${name}.${kind}abcdefghijkl.${region}.rds.amazonaws.com`
}

function instanceXml(instance: Instance, region: string): string {
  const { name, host = rdsHost(name, region), port = 3306, vpc } = instance
  return [
    element('DBInstanceIdentifier', name),
    element('DBInstanceArn', `arn:aws:rds:${region}:${ACCOUNT_ID}:db:${name}`),
    element('Engine', instance.engine ?? 'mysql'),
    element('EngineVersion', instance.version ?? '8.4.6'),
    element('DBInstanceStatus', instance.status ?? 'available'),
    host === null ? '' : element('Endpoint', element('Address', host) + element('Port', port)),
    element('IAMDatabaseAuthenticationEnabled', instance.iam ?? true),
    element('PubliclyAccessible', instance.isPublic ?? false),
    vpc === undefined ? '' : element('DBSubnetGroup', element('VpcId', vpc)),
    element('DBClusterIdentifier', instance.cluster),
  ].join('')
}

function clusterXml(cluster: Cluster, instances: readonly Instance[], region: string): string {
  const { name, custom = [], isPublic, minCapacity } = cluster
  const members = instances.filter(instance => instance.cluster === name)
  return [
    element('DBClusterIdentifier', name),
    element('DBClusterArn', `arn:aws:rds:${region}:${ACCOUNT_ID}:cluster:${name}`),
    element('Engine', cluster.engine ?? 'aurora-mysql'),
    element('EngineVersion', cluster.version ?? '8.0.mysql_aurora.3.08.0'),
    element('Status', cluster.status ?? 'available'),
    element('Endpoint', rdsHost(name, region, 'cluster-')),
    element('ReaderEndpoint', rdsHost(name, region, 'cluster-ro-')),
    element(
      'CustomEndpoints',
      custom.map(each => element('member', rdsHost(each, region, 'cluster-custom-'))).join(''),
    ),
    element('Port', cluster.port ?? 3306),
    element('IAMDatabaseAuthenticationEnabled', cluster.iam ?? true),
    element('PubliclyAccessible', isPublic),
    element(
      'DBClusterMembers',
      members.map(each => element('DBClusterMember', element('DBInstanceIdentifier', each.name))).join(''),
    ),
    minCapacity === undefined
      ? ''
      : element('ServerlessV2ScalingConfiguration', element('MinCapacity', minCapacity) + element('MaxCapacity', 4)),
  ].join('')
}

function proxyXml({ name, auth = ['REQUIRED'], ...proxy }: Proxy, region: string): string {
  return [
    element('DBProxyName', name),
    element('DBProxyArn', `arn:aws:rds:${region}:${ACCOUNT_ID}:db-proxy:prx-0123456789abcdef0`),
    element('Status', proxy.status ?? 'available'),
    element('EngineFamily', proxy.family ?? 'MYSQL'),
    element('VpcId', proxy.vpc),
    element('DefaultAuthScheme', proxy.scheme ?? 'NONE'),
    element('Auth', auth.map(iam => element('member', element('IAMAuth', iam))).join('')),
    element('Endpoint', rdsHost(name, region, 'proxy-')),
  ].join('')
}

function proxyEndpointXml({ name, proxy, isDefault = false }: ProxyEndpoint, region: string): string {
  const kind = isDefault ? 'proxy-' : 'endpoint.proxy-'
  return [
    element('DBProxyEndpointName', name),
    element('DBProxyName', proxy),
    element('Status', 'available'),
    element('Endpoint', rdsHost(name, region, kind)),
    element('TargetRole', 'READ_ONLY'),
    element('IsDefault', isDefault),
  ].join('')
}

function arn(region: string, rest: string): string {
  return `arn:aws:elasticloadbalancing:${region}:${ACCOUNT_ID}:${rest}`
}

function groupArn(name: string, region: string): string {
  return arn(region, `targetgroup/${name}/0123456789abcdef`)
}

function balancerArn(name: string, region: string): string {
  return arn(region, `loadbalancer/net/${name}/0123456789abcdef`)
}

function targetGroupXml(group: Group, balancers: readonly Balancer[], region: string): string {
  const users = balancers.filter(({ listeners }) => listeners.some(listener => listener.group === group.name))
  return [
    element('TargetGroupArn', groupArn(group.name, region)),
    element('TargetGroupName', group.name),
    element('Protocol', group.protocol ?? 'TCP'),
    element('Port', 3306),
    element('TargetType', group.type ?? 'ip'),
    element('VpcId', group.vpc),
    element('LoadBalancerArns', users.map(({ name }) => element('member', balancerArn(name, region))).join('')),
  ].join('')
}

function targetXml({ address, port, zone = 'eu-west-1a', state = 'healthy' }: Group['targets'][0]): string {
  const target = element('Id', address) + element('Port', port) + element('AvailabilityZone', zone)
  return element('Target', target) + element('TargetHealth', element('State', state))
}

function balancerXml({ name, ...balancer }: Balancer, region: string): string {
  return [
    element('LoadBalancerArn', balancerArn(name, region)),
    element('LoadBalancerName', name),
    element('DNSName', balancer.host ?? `${name}-0123456789abcdef.elb.${region}.amazonaws.com`),
    element('Type', balancer.type ?? 'network'),
    element('Scheme', balancer.scheme ?? 'internal'),
    element('State', element('Code', 'active')),
  ].join('')
}

function listenerXml({ port, group, protocol = 'TCP' }: Balancer['listeners'][0], region: string): string {
  const action = element('Type', 'forward') + element('TargetGroupArn', groupArn(group, region))
  return [
    element('ListenerArn', arn(region, `listener/net/x/0123456789abcdef/${port}`)),
    element('Port', port),
    element('Protocol', protocol),
    element('DefaultActions', element('member', action)),
  ].join('')
}
