import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { ACTIONS, listPolicy } from '../../src/list/actions.ts'
import { type FindOptions, findDatabases } from '../../src/list/find.ts'
import { type Found, wayTo } from '../../src/list/found.ts'
import { ACCOUNT_ID, type Account, answersOf, type Region, rdsHost } from '../support/aws-account.ts'
import { type AwsApi, startAwsApi } from '../support/aws-api.ts'
import { setEnvironment } from '../support/check.ts'
import { createTestClock } from '../support/clock.ts'
import {
  ACCESS_DENIED,
  RDS_HOST,
  refuseLogin,
  type Script,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'
import { SSO_PROFILE } from '../support/sso-profile.ts'

const HOME = 'eu-west-1'
const KEYS = { AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret-access-key-of-the-tests' }

interface Setting {
  account: Partial<Region> | Account
  /** the addresses of hosts; others have none */
  dns?: Record<string, string[]>
  options?: FindOptions
  environment?: Record<string, string>
}

/** Runs findDatabases against an account; without connections unless `options` say so. */
async function find(t: Test, { account, dns = {}, options, environment }: Setting): Promise<[Found, AwsApi]> {
  setEnvironment(t, { ...KEYS, AWS_REGION: HOME, ...environment })
  const api = await startAwsApi(t, answersOf('regions' in account ? account : { regions: { [HOME]: account } }))
  const resolve = async (host: string) => dns[host] ?? []
  return [await findDatabases({ reach: false, tools: { resolve }, ...options }), api]
}

function namesIn({ databases }: Found): string[] {
  return databases.flatMap(({ endpoints }) => endpoints.map(({ name }) => name))
}

const SHOP: Partial<Region> = {
  instances: [
    { name: 'orders', vpc: 'vpc-a' },
    { name: 'audit', engine: 'postgres' },
    { name: 'legacy', engine: 'mariadb', version: '10.11.8', iam: false, isPublic: true, port: 3307 },
    { name: 'shop-1', engine: 'aurora-mysql', cluster: 'shop', vpc: 'vpc-a' },
    { name: 'shop-2', engine: 'aurora-mysql', cluster: 'shop', vpc: 'vpc-a' },
  ],
  clusters: [
    { name: 'shop', custom: ['etl'] },
    { name: 'graph', engine: 'neptune' },
    { name: 'papers', engine: 'docdb' },
    { name: 'reports', engine: 'mysql', version: '8.0.39', isPublic: true, minCapacity: 0 },
  ],
  proxies: [
    { name: 'pool', vpc: 'vpc-a' },
    { name: 'pg-pool', family: 'POSTGRESQL' },
  ],
  proxyEndpoints: [
    { name: 'pool', proxy: 'pool', isDefault: true },
    { name: 'pool-ro', proxy: 'pool' },
    { name: 'other-ro', proxy: 'pg-pool' },
  ],
}

test('the databases of MySQL’s protocol, with all their endpoints', async t => {
  const [found, api] = await find(t, { account: SHOP })
  t.same(found.problems, [])
  t.equal(found.complete, true)
  t.same(
    found.databases.map(({ kind, identifier, engine, version, iam, public: isPublic, cluster, pauses }) => [
      ...[kind, identifier, engine, version, iam, isPublic, cluster, pauses],
    ]),
    [
      ['instance', 'legacy', 'mariadb', '10.11.8', 'off', true, undefined, false],
      ['instance', 'orders', 'mysql', '8.4.6', 'on', false, undefined, false],
      ['proxy', 'pool', 'mysql', undefined, 'required', false, undefined, false],
      ['cluster', 'reports', 'mysql', '8.0.39', 'on', true, undefined, true],
      ['cluster', 'shop', 'aurora-mysql', '8.0.mysql_aurora.3.08.0', 'on', false, undefined, false],
      ['instance', 'shop-1', 'aurora-mysql', '8.4.6', 'on', false, 'shop', false],
      ['instance', 'shop-2', 'aurora-mysql', '8.4.6', 'on', false, 'shop', false],
    ],
    'sorted by name',
  )
  t.same(
    found.databases.flatMap(({ endpoints }) => endpoints.map(({ name, role, host, port }) => [name, role, host, port])),
    [
      ['legacy', 'instance', rdsHost('legacy', HOME), 3307],
      ['orders', 'instance', rdsHost('orders', HOME), 3306],
      ['pool', 'proxy', rdsHost('pool', HOME, 'proxy-'), 3306],
      ['pool-ro', 'proxy', rdsHost('pool-ro', HOME, 'endpoint.proxy-'), 3306],
      ['reports', 'writer', rdsHost('reports', HOME, 'cluster-'), 3306],
      ['reports-reader', 'reader', rdsHost('reports', HOME, 'cluster-ro-'), 3306],
      ['shop', 'writer', rdsHost('shop', HOME, 'cluster-'), 3306],
      ['shop-reader', 'reader', rdsHost('shop', HOME, 'cluster-ro-'), 3306],
      ['etl', 'custom', rdsHost('etl', HOME, 'cluster-custom-'), 3306],
      ['shop-1', 'instance', rdsHost('shop-1', HOME), 3306],
      ['shop-2', 'instance', rdsHost('shop-2', HOME), 3306],
    ],
  )
  t.ok(found.databases.every(({ account, region, profile }) => account === ACCOUNT_ID && region === HOME && !profile))
  t.ok(api.requests.filter(({ action }) => action === 'DescribeDBInstances').length === 3, 'all pages')
})

test('IAM of an RDS Proxy', async t => {
  const cases = [
    ['required', { auth: ['REQUIRED', 'REQUIRED'] }],
    ['off', { auth: ['DISABLED'] }],
    ['some', { auth: ['REQUIRED', 'DISABLED'] }],
    ['some', { auth: ['DISABLED'], scheme: 'IAM_AUTH' }],
    ['required', { auth: [], scheme: 'IAM_AUTH' }],
    ['unknown', { auth: [] }],
  ] as const
  const proxies = cases.map(([, proxy], index) => ({ name: `p${index}`, ...proxy, auth: [...proxy.auth] }))
  const [found] = await find(t, { account: { proxies } })
  t.same(
    found.databases.map(({ iam }) => iam),
    cases.map(([iam]) => iam),
  )
})

test('names that are not unique become hosts', async t => {
  const [found] = await find(t, { account: { instances: [{ name: 'orders' }], proxies: [{ name: 'orders' }] } })
  t.same(namesIn(found), [rdsHost('orders', HOME), rdsHost('orders', HOME, 'proxy-')])
})

test('a database that is being created has no endpoint', async t => {
  const [found] = await find(t, { account: { instances: [{ name: 'new', host: null, status: 'creating' }] } })
  t.match(found.databases, [{ identifier: 'new', status: 'creating', endpoints: [] }])
})

const ORDERS = { [rdsHost('orders', HOME)]: ['10.0.1.10'] }

test('load balancers whose targets are the database', async t => {
  const group = (name: string, target: Partial<Region['targetGroups'][0]['targets'][0]>, more = {}) => ({
    ...{ name, vpc: 'vpc-a', targets: [{ address: '10.0.1.10', port: 3306, ...target }] },
    ...more,
  })
  const groups = [
    group('right', { state: 'unhealthy' }),
    group('other-address', { address: '10.0.1.11' }),
    group('other-port', { port: 3307 }),
    group('other-vpc', {}, { vpc: 'vpc-b' }),
    group('peered', { zone: 'all' }, { vpc: 'vpc-b' }),
    group('instances', {}, { type: 'instance' }),
    group('tls', {}, { protocol: 'TLS' }),
    group('unused', {}),
    group('behind-alb', {}),
  ]
  const listeners = groups.slice(0, 7).map(({ name }, index) => ({ port: 3306 + index, group: name }))
  const loadBalancers = [
    { name: 'nlb', listeners: [...listeners, { port: 9000, group: 'right', protocol: 'UDP' }] },
    { name: 'alb', type: 'application', listeners: [{ port: 80, group: 'behind-alb' }] },
  ]
  const account = { instances: [{ name: 'orders', vpc: 'vpc-a' }], targetGroups: groups, loadBalancers }
  const [found] = await find(t, { account, dns: ORDERS })
  const [endpoint] = found.databases[0]!.endpoints
  t.same(endpoint?.addresses, ['10.0.1.10'])
  t.same(
    endpoint?.loadBalancers.map(({ name, port, targetGroupArn, targets }) => [
      ...[name, port, targetGroupArn.split('/')[1]],
      targets,
    ]),
    [
      ['nlb', 3306, 'right', [{ address: '10.0.1.10', health: 'unhealthy' }]],
      ['nlb', 3310, 'peered', [{ address: '10.0.1.10', health: 'healthy' }]],
    ],
  )
  t.match(endpoint?.loadBalancers[0], { host: /^nlb-.*\.elb\.eu-west-1\.amazonaws\.com$/, scheme: 'internal' })
})

test('a target with an IPv6 address in another form; a reader endpoint by the addresses of its instances', async t => {
  const account = {
    instances: [{ name: 'shop-1', engine: 'aurora-mysql', cluster: 'shop', vpc: 'vpc-a' }],
    clusters: [{ name: 'shop' }],
    targetGroups: [{ name: 'g', targets: [{ address: '2a05:d018:0:0:0:0:0:1', port: 3306 }] }],
    loadBalancers: [{ name: 'nlb', listeners: [{ port: 3306, group: 'g' }] }],
  }
  const [found] = await find(t, { account, dns: { [rdsHost('shop-1', HOME)]: ['2a05:d018::1'] } })
  const balancers = Object.fromEntries(
    found.databases.flatMap(({ endpoints }) =>
      endpoints.map(each => [each.name, each.loadBalancers.map(({ name }) => name)]),
    ),
  )
  t.same(balancers, { shop: [], 'shop-reader': ['nlb'], 'shop-1': ['nlb'] })
})

test('name servers that do not answer', async t => {
  const clock = createTestClock()
  const resolve = () => {
    setImmediate(() => clock.advance(5_000))
    return new Promise<string[]>(() => {})
  }
  const account = { instances: [{ name: 'orders' }] }
  const [found] = await find(t, { account, options: { tools: { resolve, clock } } })
  t.match(found.databases, [{ endpoints: [{ name: 'orders', addresses: [] }] }])
})

test('the policy names exactly the calls', async t => {
  const account: Account = {
    regions: {
      [HOME]: {
        ...SHOP,
        targetGroups: [{ name: 'g', targets: [{ address: '10.0.1.10', port: 3306 }] }],
        loadBalancers: [{ name: 'nlb', listeners: [{ port: 3306, group: 'g' }] }],
      },
    },
  }
  const called = ({ requests }: AwsApi) => {
    const rds = /^Describe(DB|SourceRegions)/
    const names = requests.map(({ action }) => `${rds.test(action) ? 'rds' : 'elasticloadbalancing'}:${action}`)
    return [...new Set(names)].sort()
  }
  const allowed = (allRegions: boolean) => JSON.parse(listPolicy({ allRegions })).Statement[0].Action.sort()
  const [, api] = await find(t, { account, dns: ORDERS })
  t.same(called(api), allowed(false))
  const [, ofAll] = await find(t, { account, dns: ORDERS, options: { regions: 'all' } })
  t.same(called(ofAll), allowed(true))
})

test('without one permission, everything else is there', async t => {
  for (const action of Object.keys(ACTIONS)) {
    const [, name] = action.split(':')
    const account: Account = {
      regions: {
        [HOME]: {
          ...SHOP,
          targetGroups: [{ name: 'g', targets: [{ address: '10.0.1.10', port: 3306 }] }],
          loadBalancers: [{ name: 'nlb', listeners: [{ port: 3306, group: 'g' }] }],
        },
      },
      instead: called =>
        called === name ? { error: 'AccessDenied', message: `may not perform ${action}` } : undefined,
    }
    const [found] = await find(t, { account, dns: ORDERS })
    t.equal(found.problems.length, 1, action)
    t.match(found.problems[0], {
      action,
      code: 'AWS_ACCESS_DENIED',
      region: HOME,
      message: `${action} failed`,
      hint: /--print-policy/,
      unknown: ACTIONS[action as keyof typeof ACTIONS],
    })
    t.equal(found.complete, !action.startsWith('rds:'), action)
    t.ok(found.databases.length >= 3, `${action}: ${found.databases.length} databases`)
    if (action === 'rds:DescribeDBInstances') t.equal(found.databases.at(-1)?.public, undefined, 'Aurora does not say')
  }
})

test('several regions; a region without databases is not asked for load balancers', async t => {
  const account: Account = {
    regions: {
      'eu-west-1': { instances: [{ name: 'b' }] },
      'us-east-1': { instances: [{ name: 'a' }] },
      'sa-east-1': {},
    },
  }
  const options = { regions: ['us-east-1', 'sa-east-1', 'eu-west-1', 'us-east-1'] }
  const [found, api] = await find(t, { account, options })
  t.same(
    found.databases.map(({ region, identifier }) => [region, identifier]),
    [
      ['eu-west-1', 'b'],
      ['us-east-1', 'a'],
    ],
  )
  const asked = api.requests.filter(({ action }) => action === 'DescribeTargetGroups').map(({ region }) => region)
  t.same(asked.sort(), ['eu-west-1', 'us-east-1'])
})

const notOptedIn = { error: 'OptInRequired', message: 'The AWS Access Key Id needs a subscription for the service' }
const invalidToken = { error: 'InvalidClientTokenId', message: 'The security token included in the request is invalid' }

test('all regions', async t => {
  const regions = { 'eu-west-1': { instances: [{ name: 'b' }] }, 'us-east-1': { instances: [{ name: 'a' }] } }
  const sourceRegions = ['us-east-1', 'af-south-1', 'ap-east-1']

  await t.test('one that the account has not enabled', async t => {
    const account: Account = {
      regions,
      sourceRegions: [...sourceRegions, 'ap-northeast-3'],
      instead: (_action, { region }) =>
        region === 'af-south-1' ? invalidToken : region === 'ap-northeast-3' ? notOptedIn : undefined,
    }
    const [found, api] = await find(t, { account, options: { regions: 'all' } })
    t.match(found, { complete: true, problems: [] })
    t.same(
      found.rejectedRegions.map(({ region }) => region),
      ['af-south-1', 'ap-northeast-3'],
    )
    t.same(namesIn(found), ['b', 'a'])
    t.ok(api.requests.some(({ region }) => region === 'ap-east-1'))
  })

  await t.test('none accepts the credentials', async t => {
    const account: Account = { regions, sourceRegions, instead: () => invalidToken }
    const [found] = await find(t, { account, options: { regions: 'all' } })
    t.equal(found.complete, false)
    t.same(found.rejectedRegions, [])
    t.ok(found.problems.every(({ code }) => code === 'CREDENTIALS_REJECTED'))
  })

  await t.test('without the permission to list them', async t => {
    const account: Account = {
      regions,
      instead: action => (action === 'DescribeSourceRegions' ? { error: 'AccessDenied', message: 'no' } : undefined),
    }
    const [found] = await find(t, { account, options: { regions: 'all' } })
    t.same(namesIn(found), ['b'], 'only the region of the profile')
    t.match(found.problems, [{ action: 'rds:DescribeSourceRegions', unknown: 'the other regions' }])
    t.equal(found.complete, false)
  })

  await t.test('without a region to start from', async t => {
    const [found] = await find(t, {
      account: { regions },
      options: { regions: 'all' },
      environment: { AWS_REGION: '' },
    })
    t.same(namesIn(found), ['b', 'a'])
  })
})

test('regions of profiles, and profiles whose credentials do not work', async t => {
  const directory = t.testdir()
  const config = join(directory, 'config')
  const keys = (id: string) => `aws_access_key_id = ${id}\naws_secret_access_key = secret-access-key-of-the-tests\n`
  writeFileSync(
    config,
    `${SSO_PROFILE}
[profile prod]
region = us-east-1
${keys('AKIAPROD')}
[profile nowhere]
${keys('AKIANOWHERE')}`,
  )
  const environment = { AWS_CONFIG_FILE: config, AWS_REGION: '', HOME: directory }
  const account: Account = { regions: { 'us-east-1': { instances: [{ name: 'orders' }] } } }

  const [found, api] = await find(t, { account, environment, options: { profiles: ['dev', 'prod', 'prod'] } })
  t.match(found.databases, [{ identifier: 'orders', profile: 'prod', region: 'us-east-1' }])
  t.ok(api.requests.every(({ accessKeyId }) => accessKeyId === 'AKIAPROD'))
  t.equal(found.complete, false)
  t.match(found.problems, [
    {
      profile: 'dev',
      region: undefined,
      action: undefined,
      code: 'CREDENTIALS_SSO_EXPIRED',
      hint: 'Run: mysql-iam-proxy login --profile dev',
      unknown: 'all databases of this profile',
    },
  ])

  const [missing] = await find(t, { account, environment, options: { profiles: ['none'], regions: ['us-east-1'] } })
  t.match(missing, { databases: [], complete: false, problems: [{ code: 'CREDENTIALS_PROFILE_MISSING' }] })

  await t.rejects(find(t, { account, environment, options: { profiles: ['nowhere'] } }), {
    code: 'CONFIG_INVALID',
    message: '--region: the profile nowhere has no region; give one, or all',
  })
})

test('a profile that needs the code of an MFA device', async t => {
  const config = join(t.testdir(), 'config')
  const serial = 'arn:aws:iam::123456789012:mfa/me'
  writeFileSync(
    config,
    `[profile me]
aws_access_key_id = AKIAME
aws_secret_access_key = secret-access-key-of-the-tests
[profile role]
source_profile = me
role_arn = arn:aws:iam::123456789012:role/reader
mfa_serial = ${serial}
region = ${HOME}
`,
  )
  const account: Account = { regions: { [HOME]: { instances: [{ name: 'orders' }] } } }
  const environment = { AWS_CONFIG_FILE: config, AWS_REGION: '' }
  const [without] = await find(t, { account, environment, options: { profiles: ['role'] } })
  t.match(without, { databases: [], problems: [{ code: 'CREDENTIALS_MFA_REQUIRED', message: serial }] })

  setEnvironment(t, { ...environment })
  const api = await startAwsApi(t, {
    ...answersOf(account),
    AssumeRole: ({ TokenCode }) =>
      TokenCode === '123456'
        ? '<Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>'
        : { error: 'AccessDenied' },
  })
  const asked: string[] = []
  const codes = {
    async take(serial: string, profile: string) {
      asked.push(`${profile} ${serial}`)
      return '123456'
    },
  }
  const found = await findDatabases({ profiles: ['role'], codes, reach: false, tools: { resolve: async () => [] } })
  t.match(found, { problems: [], databases: [{ identifier: 'orders', profile: 'role' }] })
  t.same(asked, [`role ${serial}`], 'asked once')
  t.ok(api.requests.some(({ accessKeyId }) => accessKeyId === 'ASIAROLE'))
})

test('without any region', async t => {
  await t.rejects(find(t, { account: {}, environment: { AWS_REGION: '' } }), {
    message: /the default profile has no region/,
  })
})

test('a throttled call is tried again', async t => {
  let calls = 0
  const throttled = { error: 'Throttling', message: 'Rate exceeded', status: 400 }
  const account: Account = {
    regions: { [HOME]: SHOP },
    instead: action => (action === 'DescribeDBClusters' && ++calls <= 2 ? throttled : undefined),
  }
  const [found] = await find(t, { account })
  t.same(found.problems, [])
  t.ok(namesIn(found).includes('shop'))
})

test('a login page of a network is a problem, and not an empty account', async t => {
  const account: Account = { regions: {}, instead: () => '<html>Sign in</html>' }
  const [found] = await find(t, { account })
  t.equal(found.complete, false)
  t.match(found.problems[0], { code: 'AWS_UNREACHABLE', message: /not from AWS/, hint: /NAT gateway/ })
})

test('an abort while AWS does not answer', async t => {
  const stop = new AbortController()
  const account: Account = {
    regions: {},
    instead: () => {
      stop.abort()
      return new Promise(() => {})
    },
  }
  await t.rejects(find(t, { account, options: { signal: stop.signal } }), { name: 'AbortError' })
})

test('what this machine reaches', async t => {
  const { authority } = await testCertificates()
  const other = await authority.issue({ names: ['other.abcdefghijkl.eu-west-1.rds.amazonaws.com'] })
  const right: Script = refuseLogin()
  const wrong: Script = async peer => {
    await untilResponse(peer, {}, other)
    peer.send(ACCESS_DENIED)
  }
  const database = await startScriptedUpstream(t, [right])
  const stranger = await startScriptedUpstream(t, [wrong])
  const web = await startScriptedUpstream(t, [async peer => peer.sendRaw('HTTP/1.1 400 Bad Request\r\n\r\n')])
  const [name = '', ...rest] = RDS_HOST.split('.')
  t.equal(rest.join('.'), rdsHost('', HOME).slice(1), 'the certificate of the tests is that of an instance')
  const target = (port: number) => ({ address: '127.0.0.1', port })
  const find_ = (port: number, listeners: [port: number, group: string][], more: Partial<Region> = {}) =>
    find(t, {
      account: {
        instances: [{ name, port }],
        targetGroups: [{ name: 'g', targets: [target(port)] }],
        loadBalancers: [
          { name: 'nlb', host: 'nlb.test', listeners: listeners.map(([port, group]) => ({ port, group })) },
        ],
        ...more,
      },
      dns: { [RDS_HOST]: ['127.0.0.1'], 'nlb.test': ['127.0.0.1'] },
      options: {
        reach: true,
        ca: [authority.certificate],
        caOnly: true,
        tools: { resolve: async () => ['127.0.0.1'] },
      },
    })

  await t.test('the endpoint itself', async t => {
    const [found] = await find_(database.port, [])
    const [endpoint] = found.databases[0]!.endpoints
    t.match(endpoint?.reach, { state: 'yes', milliseconds: Number })
    t.same(wayTo(endpoint!), { loadBalancer: undefined, isReachable: true })
  })

  await t.test('only through the load balancer', async t => {
    const [found] = await find_(1, [
      [stranger.port, 'g'],
      [database.port, 'g'],
      [web.port, 'g'],
    ])
    const [endpoint] = found.databases[0]!.endpoints
    t.match(endpoint?.reach, { state: 'no', code: 'DIAL_REFUSED', reason: /refused/ })
    t.match(
      endpoint?.loadBalancers.map(({ reach }) => reach),
      [{ state: 'other', code: 'TLS_WRONG_NAME' }, { state: 'yes' }, { state: 'other', code: 'UPSTREAM_NOT_MYSQL' }],
    )
    const way = wayTo(endpoint!)
    t.equal(way.loadBalancer?.port, database.port)
    t.equal(way.isReachable, true)
  })

  await t.test('nothing: the load balancer is the way that should work', async t => {
    const [found] = await find_(1, [[2, 'g']])
    const way = wayTo(found.databases[0]!.endpoints[0]!)
    t.equal(way.loadBalancer?.name, 'nlb')
    t.equal(way.isReachable, false)
  })

  await t.test('a database that is stopped, or that a connection would wake up', async t => {
    const connections = database.connections.length
    const [found] = await find_(database.port, [], {
      instances: [{ name: 'stopped', status: 'stopped', port: database.port }],
      clusters: [{ name: 'serverless', minCapacity: 0, port: database.port }],
    })
    const reasons = found.databases.map(({ identifier, endpoints }) => [identifier, endpoints[0]?.reach?.reason])
    t.same(reasons, [
      ['serverless', 'a connection would wake the database if it is paused'],
      ['stopped', 'the database is stopped'],
    ])
    t.equal(database.connections.length, connections, 'no connection')
    t.same(wayTo(found.databases[0]!.endpoints[0]!), { loadBalancer: undefined, isReachable: undefined })
  })
})
