import { type Test, test } from 'tap'
import { regionByDns } from '../../src/check/global-database.ts'
import type { ProxyOptions } from '../../src/proxy/proxy.ts'
import { type Answer, type AwsApi, identity, startAwsApi } from '../support/aws-api.ts'
import { type Checked, failsWith, runCheck, setEnvironment, warningsOf } from '../support/check.ts'
import { freePort } from '../support/free-port.ts'
import {
  ACCESS_DENIED,
  authSwitch,
  refuseLogin,
  type Script,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

const ROLE = 'arn:aws:sts::123456789012:assumed-role/rds-connect/session'
const IN_REGION = 'abcdefghijkl.eu-west-1.rds.amazonaws.com'
const INSTANCE = `database-1.${IN_REGION}`

/** https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBInstance.html */
function instance(
  changes: { endpoint?: string; iam?: boolean; status?: string; cluster?: string; engine?: string } = {},
): string {
  const { endpoint = INSTANCE, iam = true, status = 'available', cluster, engine = 'mysql' } = changes
  return `<DBInstances><DBInstance>
    <DBInstanceIdentifier>database-1</DBInstanceIdentifier>
    <Engine>${engine}</Engine><EngineVersion>8.4.6</EngineVersion>
    <DBInstanceStatus>${status}</DBInstanceStatus>
    <Endpoint><Address>${endpoint}</Address><Port>3306</Port></Endpoint>
    <CACertificateIdentifier>rds-ca-rsa2048-g1</CACertificateIdentifier>
    <DbiResourceId>db-ABCDEFGHIJKLMNOPQRSTUVWXYZ</DbiResourceId>
    <IAMDatabaseAuthenticationEnabled>${iam}</IAMDatabaseAuthenticationEnabled>
    ${cluster === undefined ? '' : `<DBClusterIdentifier>${cluster}</DBClusterIdentifier>`}
  </DBInstance></DBInstances>`
}

/** https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBCluster.html */
function cluster(): string {
  return `<DBClusters><DBCluster>
    <DBClusterIdentifier>shop</DBClusterIdentifier>
    <Engine>aurora-mysql</Engine><EngineVersion>8.0.mysql_aurora.3.08.0</EngineVersion>
    <Status>available</Status>
    <Endpoint>shop.cluster-${IN_REGION}</Endpoint>
    <ReaderEndpoint>shop.cluster-ro-${IN_REGION}</ReaderEndpoint>
    <CustomEndpoints><member>etl.cluster-custom-${IN_REGION}</member></CustomEndpoints>
    <DbClusterResourceId>cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ</DbClusterResourceId>
    <IAMDatabaseAuthenticationEnabled>true</IAMDatabaseAuthenticationEnabled>
  </DBCluster></DBClusters>`
}

interface Secret {
  name: string
  iam?: 'REQUIRED' | 'DISABLED'
  user?: string
}

/** https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBProxy.html */
function rdsProxy(secrets: Secret[] = [{ name: 'app-AbCdEf' }], scheme = 'NONE'): string {
  const auth = secrets.map(
    ({ name, iam = 'REQUIRED', user }) => `<member>
      <AuthScheme>SECRETS</AuthScheme><IAMAuth>${iam}</IAMAuth>${user ? `<UserName>${user}</UserName>` : ''}
      <SecretArn>${secretArn(name)}</SecretArn><ClientPasswordAuthType>MYSQL_NATIVE_PASSWORD</ClientPasswordAuthType>
    </member>`,
  )
  return `<DBProxies><member>
    <DBProxyName>pool</DBProxyName>
    <DBProxyArn>arn:aws:rds:eu-west-1:123456789012:db-proxy:prx-0123456789abcdef0</DBProxyArn>
    <Status>available</Status><EngineFamily>MYSQL</EngineFamily>
    <RoleArn>arn:aws:iam::123456789012:role/service-role/rds-proxy-role</RoleArn>
    <DefaultAuthScheme>${scheme}</DefaultAuthScheme><Auth>${auth.join('')}</Auth>
  </member></DBProxies>`
}

function secretArn(name: string): string {
  return `arn:aws:secretsmanager:eu-west-1:123456789012:secret:${name}`
}

const LOAD_BALANCER = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/my-nlb/0123456789abcdef'
const LISTENER = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/net/my-nlb/0123456789abcdef/1'
const GROUP = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/mysql/0123456789abcdef'

interface Target {
  id: string
  /** default: that of the listener */
  port?: number
  zone?: string
  state?: string
  why?: string
}

interface Balancer {
  name: string
  port: number
  protocol?: string
  targets?: Target[]
  idle?: number
  state?: string
  groupProtocol?: string
  groupType?: string
}

/** https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Operations.html */
function balancer({ name, port, protocol = 'TCP', targets = [], idle = 350, ...more }: Balancer): AwsApi['answers'] {
  const { state: balancerState = 'active', groupProtocol = 'TCP', groupType = 'ip' } = more
  return {
    DescribeLoadBalancers: ({ Marker }) =>
      // On the second page, as in accounts with many.
      Marker === undefined
        ? `<LoadBalancers/><NextMarker>2</NextMarker>`
        : `<LoadBalancers><member>
            <LoadBalancerArn>${LOAD_BALANCER}</LoadBalancerArn><LoadBalancerName>my-nlb</LoadBalancerName>
            <DNSName>${name}</DNSName><Type>network</Type><Scheme>internal</Scheme><State><Code>${balancerState}</Code></State>
          </member></LoadBalancers>`,
    DescribeListeners: `<Listeners><member>
        <ListenerArn>${LISTENER}</ListenerArn><LoadBalancerArn>${LOAD_BALANCER}</LoadBalancerArn>
        <Protocol>${protocol}</Protocol><Port>${port}</Port>
        <DefaultActions><member><Type>forward</Type><TargetGroupArn>${GROUP}</TargetGroupArn>
          <ForwardConfig><TargetGroups><member><TargetGroupArn>${GROUP}</TargetGroupArn></member></TargetGroups></ForwardConfig>
        </member></DefaultActions>
      </member></Listeners>`,
    DescribeListenerAttributes: `<Attributes><member><Key>tcp.idle_timeout.seconds</Key><Value>${idle}</Value></member></Attributes>`,
    DescribeTargetGroups: `<TargetGroups><member>
        <TargetGroupArn>${GROUP}</TargetGroupArn><TargetGroupName>mysql</TargetGroupName>
        <Protocol>${groupProtocol}</Protocol><Port>${port}</Port><TargetType>${groupType}</TargetType>
      </member></TargetGroups>`,
    DescribeTargetHealth: `<TargetHealthDescriptions>${targets
      .map(
        ({ id, state = 'healthy', why, zone = 'eu-west-1a', port: onPort = port }) => `<member>
          <Target><Id>${id}</Id><Port>${onPort}</Port><AvailabilityZone>${zone}</AvailabilityZone></Target>
          <TargetHealth><State>${state}</State>${why ? `<Description>${why}</Description>` : ''}</TargetHealth>
        </member>`,
      )
      .join('')}</TargetHealthDescriptions>`,
  }
}

async function setUp(t: Test, answers: AwsApi['answers']): Promise<AwsApi> {
  setEnvironment(t)
  return await startAwsApi(t, { GetCallerIdentity: identity(ROLE), ...answers })
}

/** Stands for the load balancer. It is another spelling of 127.0.0.1, which by itself would be a local tunnel. */
const NLB_ALIAS = '127.1'

/** Nobody listens on the port of NLB_ALIAS, where the walk ends if it comes so far. */
function look(t: Test, options: Partial<ProxyOptions>): Promise<Checked> {
  return runCheck(t, { aws: true, options })
}

function factsOf({ json }: Checked, step: string): Record<string, string | string[]> {
  return json.steps.find(found => found.step === step)?.facts ?? {}
}

test('the database in RDS, for every kind of endpoint', async t => {
  const clusterId = 'cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ'
  const proxyId = 'prx-0123456789abcdef0'
  const cases: [name: string, rdsEndpoint: string, answers: AwsApi['answers'], id: string, action: string][] = [
    [
      'an instance',
      INSTANCE,
      { DescribeDBInstances: instance() },
      'db-ABCDEFGHIJKLMNOPQRSTUVWXYZ',
      'DescribeDBInstances',
    ],
    [
      'an instance of a cluster',
      INSTANCE,
      { DescribeDBInstances: instance({ cluster: 'shop', iam: false }), DescribeDBClusters: cluster() },
      clusterId,
      'DescribeDBClusters',
    ],
    ['a cluster', `shop.cluster-${IN_REGION}`, { DescribeDBClusters: cluster() }, clusterId, 'DescribeDBClusters'],
    ['its readers', `shop.cluster-ro-${IN_REGION}`, { DescribeDBClusters: cluster() }, clusterId, 'DescribeDBClusters'],
    [
      'a custom endpoint',
      `etl.cluster-custom-${IN_REGION}`,
      { DescribeDBClusters: cluster() },
      clusterId,
      'DescribeDBClusters',
    ],
    ['an RDS Proxy', `pool.proxy-${IN_REGION}`, { DescribeDBProxies: rdsProxy() }, proxyId, 'DescribeDBProxies'],
    [
      'an endpoint of an RDS Proxy',
      `reader.endpoint.proxy-${IN_REGION}`,
      {
        DescribeDBProxyEndpoints:
          '<DBProxyEndpoints><member><DBProxyName>pool</DBProxyName></member></DBProxyEndpoints>',
        DescribeDBProxies: rdsProxy(),
      },
      proxyId,
      'DescribeDBProxyEndpoints',
    ],
  ]
  for (const [name, rdsEndpoint, answers, id, action] of cases) {
    await t.test(name, async t => {
      const api = await setUp(t, answers)
      const checked = await look(t, { rdsEndpoint, connect: `${NLB_ALIAS}:${await freePort()}` })
      t.match(factsOf(checked, 'AWS: database'), { 'resource id': id, 'IAM authentication': 'on' })
      t.ok(api.requests.some(request => request.action === action))
    })
  }
})

test('a database that does not exist, is not running, or has IAM authentication off', async t => {
  const connect = `${NLB_ALIAS}:${await freePort()}`
  await t.test('IAM authentication is off', async t => {
    await setUp(t, { DescribeDBInstances: instance({ iam: false }) })
    failsWith(t, await look(t, { connect }), 'AWS: database', 'IAM_AUTHENTICATION_OFF', [
      new RegExp(`IAM authentication of ${INSTANCE} is off`),
      /aws rds modify-db-instance .*--region eu-west-1 .*--db-instance-identifier database-1 .*--enable-iam-database-authentication/,
    ])
  })

  await t.test('of an RDS Proxy', async t => {
    await setUp(t, { DescribeDBProxies: rdsProxy([{ name: 'app-AbCdEf', iam: 'DISABLED' }]) })
    const checked = await look(t, { connect, rdsEndpoint: `pool.proxy-${IN_REGION}` })
    failsWith(t, checked, 'AWS: database', 'IAM_AUTHENTICATION_OFF', [/modify-db-proxy .*--db-proxy-name pool/])
  })

  await t.test('it is of another engine', async t => {
    for (const engine of ['postgres', 'aurora-postgresql', 'sqlserver-ex', 'oracle-se2']) {
      await setUp(t, { DescribeDBInstances: instance({ engine }) })
      failsWith(t, await look(t, { connect }), 'AWS: database', 'DATABASE_NOT_MYSQL', [
        new RegExp(`the database of ${INSTANCE} is ${engine} 8.4.6, not MySQL`),
      ])
    }
    await setUp(t, { DescribeDBProxies: rdsProxy().replace('>MYSQL<', '>POSTGRESQL<') })
    const checked = await look(t, { connect, rdsEndpoint: `pool.proxy-${IN_REGION}` })
    t.equal(checked.json.code, 'DATABASE_NOT_MYSQL')
    for (const engine of ['mariadb', 'aurora-mysql', 'aurora']) {
      await setUp(t, { DescribeDBInstances: instance({ engine }) })
      t.equal((await look(t, { connect })).json.code, 'DIAL_REFUSED', engine)
    }
  })

  await t.test('it is stopped', async t => {
    await setUp(t, { DescribeDBInstances: instance({ status: 'stopped' }) })
    failsWith(t, await look(t, { connect }), 'AWS: database', 'DATABASE_NOT_AVAILABLE', [/is stopped/])
  })

  await t.test('it is backing up, which is fine', async t => {
    await setUp(t, { DescribeDBInstances: instance({ status: 'backing-up' }), ...balancer({ name: 'x', port: 1 }) })
    t.equal((await look(t, { connect })).json.code, 'DIAL_REFUSED')
  })

  const missing: Answer[] = [
    { error: 'DBInstanceNotFound', message: 'DBInstance database-1 not found.', status: 404 },
    instance({ endpoint: `database-1.zzzzzzzzzzzz.eu-west-1.rds.amazonaws.com` }),
  ]
  for (const answer of missing) {
    await t.test('it is not of this account', async t => {
      await setUp(t, { DescribeDBInstances: answer })
      const warning = warningsOf(await look(t, { connect })).find(({ code }) => code === 'AWS_NOT_FOUND')
      t.match(warning, { message: new RegExp(`no database with the endpoint ${INSTANCE} in eu-west-1`) })
    })
  }
})

test('missing permissions are warnings', async t => {
  await setUp(t, {})
  const checked = await look(t, { connect: `${NLB_ALIAS}:${await freePort()}` })
  t.same(
    warningsOf(checked).map(({ code, message }) => [code, message.split(' ', 1)[0]]),
    [
      ['AWS_ACCESS_DENIED', 'rds:DescribeDBInstances'],
      ['AWS_ACCESS_DENIED', 'elasticloadbalancing:DescribeLoadBalancers'],
    ],
  )
  t.equal(checked.json.code, 'DIAL_REFUSED')
})

test('the load balancer', async t => {
  const port = await freePort()
  const options = { rdsEndpoint: `127.0.0.1:${port}`, region: 'eu-west-1', connect: `${NLB_ALIAS}:${port}` }
  const rds = { DescribeDBInstances: instance() }

  await t.test('in good order', async t => {
    await setUp(t, { ...rds, ...balancer({ name: NLB_ALIAS, port, targets: [{ id: '127.0.0.1' }] }) })
    const checked = await look(t, options)
    t.match(factsOf(checked, 'AWS: load balancer'), {
      'load balancer': 'my-nlb, network, internal, active',
      listener: `TCP ${port}, idle timeout 350 s`,
      'targets of mysql': [`127.0.0.1:${port} healthy, an address of 127.0.0.1`],
    })
    t.same(
      warningsOf(checked).map(({ code }) => code),
      ['AWS_NOT_FOUND'],
    )
  })

  const warned = async (t: Test, code: string, targets: Target[], more: Partial<Balancer> = {}) => {
    await setUp(t, { ...rds, ...balancer({ name: NLB_ALIAS, port, targets, ...more }) })
    return warningsOf(await look(t, options)).find(warning => warning.code === code)
  }
  const snippetsOf = ({ advice }: { advice: { snippet?: string | undefined }[] }) =>
    advice.map(({ snippet = '' }) => snippet.replaceAll(' \\\n ', ''))
  const command = (name: string, targets: string) =>
    `aws elbv2 ${name} --region eu-west-1 --targets ${targets} --target-group-arn ${GROUP}`
  const sync = `mysql-iam-proxy sync-targets --rds-endpoint 127.0.0.1:${port} --target-group-arn ${GROUP}`

  await t.test('with a stale target, before the right one is registered', async t => {
    const warning = await warned(t, 'NLB_TARGETS_STALE', [{ id: '10.0.1.9' }, { id: '10.0.1.8', state: 'draining' }])
    t.match(warning, {
      message: new RegExp(`127\\.0\\.0\\.1.*does not have: 10\\.0\\.1\\.9:${port}$`),
      hint: /sync-targets/,
    })
    t.same(snippetsOf(warning!), [
      command('register-targets', `Id=127.0.0.1,Port=${port}`),
      command('deregister-targets', `Id=10.0.1.9,Port=${port}`),
      sync,
    ])
  })

  await t.test('with a stale target beside the right one', async t => {
    const targets = [{ id: '127.0.0.1' }, { id: '10.0.1.9', zone: 'all' }]
    t.same(snippetsOf((await warned(t, 'NLB_TARGETS_STALE', targets))!), [
      command('deregister-targets', `Id=10.0.1.9,Port=${port},AvailabilityZone=all`),
      sync,
    ])
  })

  await t.test('with the right address, also on a wrong port', async t => {
    const warning = await warned(t, 'NLB_TARGETS_STALE', [{ id: '127.0.0.1' }, { id: '127.0.0.1', port: 1 }])
    t.match(warning, { message: /does not have: 127\.0\.0\.1:1$/ })
    t.same(snippetsOf(warning!), [command('deregister-targets', 'Id=127.0.0.1,Port=1'), sync])
  })

  await t.test('with instances as targets, which are not compared', async t => {
    const targets = [{ id: 'i-0123456789abcdef0', port: 1 }]
    t.equal(await warned(t, 'NLB_TARGETS_STALE', targets, { groupType: 'instance' }), undefined)
  })

  await t.test('with an unhealthy target', async t => {
    const targets = [{ id: '127.0.0.1', state: 'unhealthy', why: 'Health checks failed' }]
    t.match(await warned(t, 'NLB_TARGETS_UNHEALTHY', targets), {
      message: /127\.0\.0\.1:\d+ unhealthy \(Health checks/,
    })
  })

  const useless: [name: string, targets: Target[], says: RegExp, commands: string[]][] = [
    ['without targets', [], /mysql has no targets/, [command('register-targets', `Id=127.0.0.1,Port=${port}`), sync]],
    [
      'with a target that is draining',
      [{ id: '127.0.0.1', state: 'draining' }],
      /no target of mysql takes connections for 127\.0\.0\.1:\d+: 127\.0\.0\.1:\d+ draining/,
      [command('register-targets', `Id=127.0.0.1,Port=${port}`), sync],
    ],
    [
      'with a target that is unused',
      [{ id: '127.0.0.1', state: 'unused', why: 'Target.NotInUse' }],
      /unused \(Target\.NotInUse\)/,
      ['', sync],
    ],
    [
      'with a target on the wrong port',
      [{ id: '127.0.0.1', port: 1 }],
      /127\.0\.0\.1:1 healthy, not the port of the database/,
      [
        command('register-targets', `Id=127.0.0.1,Port=${port}`),
        command('deregister-targets', 'Id=127.0.0.1,Port=1'),
        sync,
      ],
    ],
  ]
  for (const [name, targets, says, commands] of useless) {
    await t.test(name, async t => {
      await setUp(t, { ...rds, ...balancer({ name: NLB_ALIAS, port, targets }) })
      const checked = await look(t, options)
      failsWith(t, checked, 'AWS: load balancer', 'NLB_TARGETS_MISSING', [says, /let sync-targets do it/])
      t.same(snippetsOf(checked.json.error!), commands)
    })
  }

  await t.test('in a state other than active', async t => {
    await setUp(t, { ...rds, ...balancer({ name: NLB_ALIAS, port, state: 'failed' }) })
    failsWith(t, await look(t, options), 'AWS: load balancer', 'NLB_NOT_ACTIVE', [/the state of my-nlb is failed/])
    const targets = [{ id: '127.0.0.1' }]
    for (const state of ['provisioning', 'active_impaired']) {
      t.match(await warned(t, 'NLB_NOT_ACTIVE', targets, { state }), { message: `the state of my-nlb is ${state}` })
    }
  })

  await t.test('with a target group of another protocol', async t => {
    const targets = [{ id: '127.0.0.1' }]
    for (const groupProtocol of ['UDP', 'TLS', 'HTTP']) {
      await setUp(t, { ...rds, ...balancer({ name: NLB_ALIAS, port, targets, groupProtocol }) })
      failsWith(t, await look(t, options), 'AWS: load balancer', 'NLB_TARGET_GROUP_NOT_TCP', [
        new RegExp(`the target group mysql has the protocol ${groupProtocol}`),
      ])
    }
    const allowed = { name: NLB_ALIAS, port, targets, groupProtocol: 'TCP_UDP', protocol: 'TCP_UDP' }
    await setUp(t, { ...rds, ...balancer(allowed) })
    t.equal((await look(t, options)).json.code, 'DIAL_REFUSED')
  })

  await t.test('with an empty target group beside another one', async t => {
    const second = `${GROUP}2`
    const answers = balancer({ name: NLB_ALIAS, port })
    const group = (arn: string, name: string) =>
      `<member><TargetGroupArn>${arn}</TargetGroupArn><TargetGroupName>${name}</TargetGroupName><Protocol>TCP</Protocol><Port>${port}</Port><TargetType>ip</TargetType></member>`
    const target = `<member><Target><Id>127.0.0.1</Id><Port>${port}</Port></Target><TargetHealth><State>healthy</State></TargetHealth></member>`
    await setUp(t, {
      ...rds,
      ...answers,
      DescribeTargetGroups: `<TargetGroups>${group(GROUP, 'mysql')}${group(second, 'empty')}</TargetGroups>`,
      DescribeTargetHealth: ({ TargetGroupArn }) =>
        `<TargetHealthDescriptions>${TargetGroupArn === GROUP ? target : ''}</TargetHealthDescriptions>`,
    })
    const checked = await look(t, options)
    t.equal(checked.json.code, 'DIAL_REFUSED', 'the check goes on')
    t.match(
      warningsOf(checked).find(({ code }) => code === 'NLB_TARGETS_MISSING'),
      { message: /empty has no targets/ },
    )
  })

  await t.test('and something else that answers for AWS', async t => {
    const page = '<p>Sign in to the network</p>'
    await setUp(t, { ...rds, DescribeLoadBalancers: page })
    const found = warningsOf(await look(t, options)).filter(({ code }) => code === 'AWS_UNREACHABLE')
    t.match(found, [{ message: /DescribeLoadBalancers failed: the answer is not from AWS/ }])
  })

  await t.test('without a listener on the port', async t => {
    await setUp(t, { ...rds, ...balancer({ name: NLB_ALIAS, port: 3307 }) })
    failsWith(t, await look(t, options), 'AWS: load balancer', 'NLB_LISTENER_MISSING', [
      new RegExp(`my-nlb has no listener for ${NLB_ALIAS}:${port}; its listeners: TCP 3307`),
    ])
  })

  await t.test('with a TLS listener', async t => {
    await setUp(t, { ...rds, ...balancer({ name: NLB_ALIAS, port, protocol: 'TLS' }) })
    failsWith(t, await look(t, options), 'AWS: load balancer', 'NLB_LISTENER_NOT_TCP', [/a TLS listener/])
  })

  await t.test('of another account', async t => {
    await setUp(t, { ...rds, ...balancer({ name: 'other.elb.eu-west-1.amazonaws.com', port }) })
    const found = warningsOf(await look(t, options)).filter(({ code }) => code === 'AWS_NOT_FOUND')
    t.match(found.at(-1), { message: /no load balancer of eu-west-1 has the name 127\.1/ })
  })

  await t.test('that is not dialled', async t => {
    await setUp(t, rds)
    const checked = await look(t, { rdsEndpoint: `127.0.0.1:${port}`, region: 'eu-west-1' })
    t.match(factsOf(checked, 'AWS: load balancer'), { 'load balancer': /^none/ })
  })

  await t.test('a tunnel on this machine is dialled instead', async t => {
    await setUp(t, rds)
    const checked = await look(t, { connect: `127.0.0.1:${port}` })
    const none = `none: 127.0.0.1:${port} is a tunnel or port forward on this machine`
    t.match(factsOf(checked, 'AWS: load balancer'), { 'load balancer': none })
  })
})

test('a refused login: the policy has the resource id, also without --aws', async t => {
  const { authority } = await testCertificates()
  const cases: [rdsEndpoint: string, answers: AwsApi['answers'], id: string][] = [
    [INSTANCE, { DescribeDBInstances: instance() }, 'db-ABCDEFGHIJKLMNOPQRSTUVWXYZ'],
    [`shop.cluster-${IN_REGION}`, { DescribeDBClusters: cluster() }, 'cluster-ABCDEFGHIJKLMNOPQRSTUVWXYZ'],
    [`pool.proxy-${IN_REGION}`, { DescribeDBProxies: rdsProxy() }, 'prx-0123456789abcdef0'],
  ]
  for (const [rdsEndpoint, answers, id] of cases) {
    await t.test(id, async t => {
      await setUp(t, answers)
      const certificate = await authority.issue({ names: [rdsEndpoint] })
      const upstream = await startScriptedUpstream(t, [refuseLogin(certificate)])
      const checked = await runCheck(t, { options: { rdsEndpoint, connect: upstream.address } })
      const arn = `arn:aws:rds-db:eu-west-1:123456789012:dbuser:${id}/iam_user`
      failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [new RegExp(`"Resource": ?"${arn}"`)])
      t.notMatch(checked.text, /--enable-iam-database-authentication/, 'it is on, RDS says')
    })
  }
})

const POOL = `pool.proxy-${IN_REGION}`

/** The list after `--auth` in the first command that changes an RDS Proxy. */
function authIn({ json }: Checked): { SecretArn: string; IAMAuth: string }[] {
  const command = json.error?.advice.find(({ snippet }) => snippet?.includes('modify-db-proxy'))?.snippet ?? ''
  return JSON.parse(/--auth '([^']+)'/.exec(command)?.[1] ?? '[]')
}

test('an RDS Proxy: its mode and its secrets', async t => {
  const connect = `${NLB_ALIAS}:${await freePort()}`

  await t.test('standard', async t => {
    await setUp(t, { DescribeDBProxies: rdsProxy([{ name: 'a-1' }, { name: 'b-2', iam: 'DISABLED', user: 'app' }]) })
    const checked = await look(t, { connect, rdsEndpoint: POOL })
    t.match(factsOf(checked, 'AWS: database'), {
      proxy: 'pool, available, MYSQL',
      mode: /^standard: .* a password from Secrets Manager/,
      role: 'arn:aws:iam::123456789012:role/service-role/rds-proxy-role',
      secrets: ['a-1, IAM required', 'b-2 for app, IAM disabled'],
      'IAM authentication': 'on',
    })
  })

  await t.test('end to end, without secrets', async t => {
    await setUp(t, { DescribeDBProxies: rdsProxy([], 'IAM_AUTH') })
    const checked = await look(t, { connect, rdsEndpoint: POOL })
    t.match(factsOf(checked, 'AWS: database'), { mode: /^end-to-end IAM/, 'IAM authentication': 'on' })
    t.notOk(factsOf(checked, 'AWS: database')['secrets'])
  })

  await t.test('end to end, but this user has a secret that disallows IAM', async t => {
    await setUp(t, { DescribeDBProxies: rdsProxy([{ name: 'a-1', iam: 'DISABLED', user: 'iam_user' }], 'IAM_AUTH') })
    failsWith(t, await look(t, { connect, rdsEndpoint: POOL }), 'AWS: database', 'IAM_AUTHENTICATION_OFF', [/IAMAuth/])
  })
})

test('the command that turns IAM on keeps every secret of the RDS Proxy', async t => {
  const connect = `${NLB_ALIAS}:${await freePort()}`
  const cases: [name: string, secrets: Secret[], wanted: [secret: string, iam: string][]][] = [
    ['the only one', [{ name: 'a-1', iam: 'DISABLED' }], [['a-1', 'REQUIRED']]],
    [
      'the one that names the user',
      [
        { name: 'a-1' },
        { name: 'b-2', iam: 'DISABLED', user: 'iam_user' },
        { name: 'c-3', iam: 'DISABLED', user: 'x' },
      ],
      [
        ['a-1', 'REQUIRED'],
        ['b-2', 'REQUIRED'],
        ['c-3', 'DISABLED'],
      ],
    ],
    [
      'one of several that name no user: a person decides',
      [
        { name: 'a-1', iam: 'DISABLED' },
        { name: 'b-2', iam: 'DISABLED' },
      ],
      [
        ['a-1', 'DISABLED'],
        ['b-2', 'DISABLED'],
      ],
    ],
  ]
  for (const [name, secrets, wanted] of cases) {
    await t.test(name, async t => {
      await setUp(t, { DescribeDBProxies: rdsProxy(secrets) })
      const checked = await look(t, { connect, rdsEndpoint: POOL })
      failsWith(t, checked, 'AWS: database', 'IAM_AUTHENTICATION_OFF', [/replaces the whole list/])
      const auth = authIn(checked)
      t.match(auth[0], { AuthScheme: 'SECRETS', ClientPasswordAuthType: 'MYSQL_NATIVE_PASSWORD' })
      t.same(
        auth.map(({ SecretArn, IAMAuth }) => [SecretArn, IAMAuth]),
        wanted.map(([secret, iam]) => [secretArn(secret), iam]),
      )
      t.notMatch(checked.text, /CREATE USER|ALTER USER|enable-iam-database-authentication/)
    })
  }
})

test('a login that an RDS Proxy refuses', async t => {
  const { authority } = await testCertificates()
  const certificate = await authority.issue({ names: [POOL, `reader.endpoint.proxy-${IN_REGION}`] })

  async function refusedBy(t: Test, answers: AwsApi['answers'], rdsEndpoint = POOL): Promise<Checked> {
    await setUp(t, answers)
    const upstream = await startScriptedUpstream(t, [refuseLogin(certificate)])
    return await runCheck(t, { options: { rdsEndpoint, connect: upstream.address } })
  }

  await t.test('standard: the user keeps its password', async t => {
    const checked = await refusedBy(t, { DescribeDBProxies: rdsProxy() })
    failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [
      /dbuser:prx-0123456789abcdef0\/iam_user/,
      /One of its secrets must have the user name iam_user \(case matters\)/,
      /must exist and keep its password\. Do not create or alter it with AWSAuthenticationPlugin/,
    ])
    t.notMatch(checked.text, /CREATE USER|ALTER USER|modify-db-/)
  })

  await t.test('standard, and its secret disallows IAM', async t => {
    const checked = await refusedBy(t, { DescribeDBProxies: rdsProxy([{ name: 'a-1', iam: 'DISABLED' }]) })
    t.same(authIn(checked).length, 1)
    t.match(checked.text.replace(/\s+/g, ' '), /no longer log in with its password/)
  })

  await t.test('end to end: its role needs the database', async t => {
    const checked = await refusedBy(t, { DescribeDBProxies: rdsProxy([], 'IAM_AUTH') })
    failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [
      /dbuser:prx-0123456789abcdef0\/iam_user/,
      /Its role rds-proxy-role needs rds-db:connect/,
      /arn:aws:rds-db:eu-west-1:123456789012:dbuser:RESOURCE_ID\/iam_user/,
      /CREATE USER 'iam_user'@'%' IDENTIFIED WITH AWSAuthenticationPlugin/,
    ])
    t.notMatch(checked.text, /modify-db-|Secrets Manager/)
  })

  await t.test('its mode is unknown', async t => {
    const checked = await refusedBy(t, {})
    failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [
      /describe-db-proxies .*--db-proxy-name pool/,
      /If DefaultAuthScheme is NONE, .* secret with the user name iam_user/,
      /If DefaultAuthScheme is IAM_AUTH, .*CREATE USER/,
      /resource id of the RDS Proxy \(prx-…\), .*\(rds:DescribeDBProxies\)/,
    ])
    t.notMatch(checked.text, /ALTER USER|modify-db-/)
  })

  await t.test('its mode is unknown, and so is the name of the proxy', async t => {
    const checked = await refusedBy(t, {}, `reader.endpoint.proxy-${IN_REGION}`)
    t.match(checked.text, /--db-proxy-name PROXY_NAME/)
  })

  await t.test('it asks for a password', async t => {
    await setUp(t, { DescribeDBProxies: rdsProxy([{ name: 'a-1', iam: 'DISABLED' }]) })
    const asksForPassword: Script = async peer => {
      await untilResponse(peer, {}, certificate)
      peer.send(authSwitch('mysql_native_password'))
      await peer.expect()
      peer.send(ACCESS_DENIED)
    }
    const upstream = await startScriptedUpstream(t, [refuseLogin(certificate), asksForPassword])
    const checked = await runCheck(t, { options: { rdsEndpoint: POOL, connect: upstream.address } })
    failsWith(t, checked, 'login', 'AUTH_PLUGIN_UNEXPECTED', [/keep its password/, /modify-db-proxy/])
    t.notMatch(checked.text, /ALTER USER|\n +CREATE USER/)
  })
})

const GLOBAL = 'shop.global-abcdefghijkl.global.rds.amazonaws.com'

/** https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_GlobalCluster.html */
const globalClusters = `<GlobalClusters><GlobalClusterMember>
    <GlobalClusterIdentifier>shop</GlobalClusterIdentifier><Endpoint>${GLOBAL}</Endpoint>
    <GlobalClusterMembers>
      <GlobalClusterMember><DBClusterArn>arn:aws:rds:us-east-2:123456789012:cluster:shop-us</DBClusterArn><IsWriter>false</IsWriter></GlobalClusterMember>
      <GlobalClusterMember><DBClusterArn>arn:aws:rds:eu-west-1:123456789012:cluster:shop-eu</DBClusterArn><IsWriter>true</IsWriter></GlobalClusterMember>
    </GlobalClusterMembers>
  </GlobalClusterMember></GlobalClusters>`

function memberCluster(
  { DBClusterIdentifier = '' }: Record<string, string>,
  iam: Record<string, boolean> = {},
): string {
  return `<DBClusters><DBCluster>
    <DBClusterIdentifier>${DBClusterIdentifier}</DBClusterIdentifier><Status>available</Status>
    <Engine>aurora-mysql</Engine><EngineVersion>8.0.mysql_aurora.3.08.0</EngineVersion>
    <DbClusterResourceId>cluster-${DBClusterIdentifier.toUpperCase()}</DbClusterResourceId>
    <IAMDatabaseAuthenticationEnabled>${iam[DBClusterIdentifier] ?? true}</IAMDatabaseAuthenticationEnabled>
  </DBCluster></DBClusters>`
}

test('an Aurora Global Database: the clusters of all its regions', async t => {
  const connect = `${NLB_ALIAS}:${await freePort()}`

  await t.test('the writer first', async t => {
    await setUp(t, {
      DescribeGlobalClusters: globalClusters,
      DescribeDBClusters: parameters => memberCluster(parameters),
    })
    const checked = await look(t, { rdsEndpoint: GLOBAL, connect })
    t.match(factsOf(checked, 'configuration'), { 'signs for': /region of the server, from its certificate/ })
    t.match(factsOf(checked, 'token'), { for: /the region is on the server's certificate/ })
    t.match(factsOf(checked, 'AWS: database'), {
      cluster: 'shop-eu, available, aurora-mysql 8.0.mysql_aurora.3.08.0',
      clusters: [
        'shop-eu in eu-west-1, writer, cluster-SHOP-EU, IAM on',
        'shop-us in us-east-2, secondary, cluster-SHOP-US, IAM on',
      ],
      'IAM authentication': 'on',
    })
  })

  await t.test('IAM authentication is off in a secondary cluster', async t => {
    await setUp(t, {
      DescribeGlobalClusters: globalClusters,
      DescribeDBClusters: parameters => memberCluster(parameters, { 'shop-us': false }),
    })
    const warning = warningsOf(await look(t, { rdsEndpoint: GLOBAL, connect })).find(
      ({ code }) => code === 'IAM_AUTHENTICATION_OFF',
    )
    t.match(warning, { message: /off in shop-us in us-east-2, so logins fail once it has the writer/ })
    t.match(warning?.advice[0]?.snippet, /modify-db-cluster \\\n {2}--region us-east-2 \\\n.*shop-us/)
  })

  await t.test('IAM authentication is off in the writer', async t => {
    await setUp(t, {
      DescribeGlobalClusters: globalClusters,
      DescribeDBClusters: parameters => memberCluster(parameters, { 'shop-eu': false }),
    })
    failsWith(t, await look(t, { rdsEndpoint: GLOBAL, connect }), 'AWS: database', 'IAM_AUTHENTICATION_OFF', [
      /modify-db-cluster .*--region eu-west-1 .*--db-cluster-identifier shop-eu/,
    ])
  })

  await t.test('of another account, or not described', async t => {
    const answers: AwsApi['answers'][] = [
      { DescribeGlobalClusters: '<GlobalClusters/>' },
      { DescribeGlobalClusters: globalClusters },
    ]
    for (const answer of answers) {
      await setUp(t, answer)
      const warning = warningsOf(await look(t, { rdsEndpoint: GLOBAL, connect }))[0]
      t.match(warning, { code: 'AWS_NOT_FOUND', message: /no global database with|does not describe the writer of/ })
    }
  })

  await t.test('with a region that is set, it says what that means', async t => {
    await setUp(t, {
      DescribeGlobalClusters: globalClusters,
      DescribeDBClusters: parameters => memberCluster(parameters),
    })
    const checked = await look(t, { rdsEndpoint: GLOBAL, region: 'eu-west-1', connect })
    t.match(warningsOf(checked)[0], { code: 'CONFIG_INVALID', message: /the writer may move to another region/ })
  })
})

test('a login that the writer of a global database refuses: the policy has the clusters of all regions', async t => {
  const { authority } = await testCertificates()
  const certificate = await authority.issue({ names: [GLOBAL, 'shop-eu.cluster-abc.eu-west-1.rds.amazonaws.com'] })

  await t.test('as RDS describes them', async t => {
    const api = await setUp(t, {
      DescribeGlobalClusters: globalClusters,
      DescribeDBClusters: parameters => memberCluster(parameters),
    })
    const upstream = await startScriptedUpstream(t, [refuseLogin(certificate)])
    const checked = await runCheck(t, { options: { rdsEndpoint: GLOBAL, connect: upstream.address } })
    failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [
      /region eu-west-1, .*this machine's clock/,
      /"arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-SHOP-EU\/iam_user", "arn:aws:rds-db:us-east-2:123456789012:dbuser:cluster-SHOP-US\/iam_user"/,
    ])
    t.match(factsOf(checked, 'TLS'), { region: 'eu-west-1' })
    t.notMatch(checked.text, /enable-iam-database-authentication/)
    t.match(api.requests.find(({ action }) => action === 'DescribeGlobalClusters')?.parameters, {
      GlobalClusterIdentifier: 'shop',
    })
  })

  await t.test('the region is set, and no longer that of the writer', async t => {
    await setUp(t, {
      DescribeGlobalClusters: globalClusters,
      DescribeDBClusters: parameters => memberCluster(parameters),
    })
    const upstream = await startScriptedUpstream(t, [refuseLogin(certificate)])
    const options = { rdsEndpoint: GLOBAL, region: 'us-east-2', connect: upstream.address }
    failsWith(t, await runCheck(t, { options }), 'login', 'UPSTREAM_REFUSED_LOGIN', [
      /signed for region us-east-2, but the certificate of the server says eu-west-1: do not set the region/,
      /"arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-SHOP-EU\/iam_user"/,
    ])
  })

  await t.test('without permission to read them', async t => {
    await setUp(t, {})
    const upstream = await startScriptedUpstream(t, [refuseLogin(certificate)])
    const checked = await runCheck(t, { options: { rdsEndpoint: GLOBAL, connect: upstream.address } })
    failsWith(t, checked, 'login', 'UPSTREAM_REFUSED_LOGIN', [
      /"arn:aws:rds-db:eu-west-1:123456789012:dbuser:\*\/iam_user"/,
      /a cluster with its own resource id in each region\. List them all/,
      /modify-db-cluster .*--region eu-west-1 .*--db-cluster-identifier CLUSTER_NAME/,
    ])
  })
})

test('regionByDns: the region in the name that a global endpoint is an alias of', async t => {
  const aliases: Record<string, string> = {
    [GLOBAL]: 'alias.example.com',
    'alias.example.com': 'Shop-EU.cluster-abc.EU-WEST-1.rds.amazonaws.com.',
    'loop.example.com': 'loop.example.com',
  }
  const resolve = async (name: string) => {
    const next = aliases[name]
    if (next === undefined) throw new Error('ENODATA')
    return [next]
  }
  t.equal(await regionByDns(GLOBAL, resolve), 'eu-west-1')
  t.equal(await regionByDns('none.example.com', resolve), undefined)
  t.equal(await regionByDns('loop.example.com', resolve), undefined)
})
