import { partition } from '@aws-sdk/core/client'
import { test } from 'tap'
import {
  apiRegion,
  createEndpoint,
  DEFAULT_PORT,
  DNS_SUFFIXES,
  type Endpoint,
  formatHostPort,
  hintValues,
  isGlobalEndpoint,
  isLocalForward,
  isOnFarEnd,
  isRdsProxy,
  isRegion,
  listenProblem,
  parseHostPort,
  parseRemote,
  regionOf,
  remoteProblem,
  withoutUser,
} from '../src/endpoint.ts'

function parse(text: string) {
  return parseHostPort(text, DEFAULT_PORT, '--connect')
}

test('parseHostPort', async t => {
  t.same(parse('db.example.com'), { host: 'db.example.com', port: 3306 })
  t.same(parse('db.example.com:3307'), { host: 'db.example.com', port: 3307 })
  t.same(parseHostPort('db', 13306, '--connect'), { host: 'db', port: 13306 }, 'the default is given')
  t.same(parse('10.0.0.1:1'), { host: '10.0.0.1', port: 1 })
  t.same(parse('localhost:65535'), { host: 'localhost', port: 65_535 })
  t.same(parse('127.0.0.1:0'), { host: '127.0.0.1', port: 0 }, 'a free port, for --listen')
  t.same(parse('db_1-x.internal'), { host: 'db_1-x.internal', port: 3306 })
})

test('a name is written in lower case and without its last dot', async t => {
  t.same(parse('DataBase-1.ABC.eu-west-1.RDS.amazonaws.com.'), {
    host: 'database-1.abc.eu-west-1.rds.amazonaws.com',
    port: 3306,
  })
  t.same(parse('DB.example.com.:3307'), { host: 'db.example.com', port: 3307 })
})

test('IPv6', async t => {
  t.same(parse('[::1]'), { host: '::1', port: 3306 })
  t.same(parse('[::1]:3307'), { host: '::1', port: 3307 })
  t.same(parse('[2001:DB8::1]:3307'), { host: '2001:db8::1', port: 3307 })
})

test('an invalid host:port is refused, with the option’s name', async t => {
  const bad = [
    '',
    ' ',
    ':',
    ':3306',
    '.',
    'db:',
    'db:x',
    'db:-1',
    'db:65536',
    'db:99999',
    'db:123456',
    'db:3306:3307',
    'db 1',
    'db\n',
    'mysql://db',
    'db/orders',
    'user@db',
    '::1',
    '[::1',
    '::1]',
    '[]',
    '[]:3306',
    '[::1]x',
    '[::1]3306',
    '[not an address]',
    '[db.example.com]:3306',
  ]
  for (const text of bad) {
    t.throws(
      () => parse(text),
      { name: 'ProxyError', code: 'CONFIG_INVALID', message: /--connect/ },
      JSON.stringify(text),
    )
  }
})

test('a name to connect to, as people paste it', async t => {
  const database = { host: 'database-1.abc.eu-west-1.rds.amazonaws.com', port: 3306 }
  const { host } = database
  const same = [
    ` ${host}\n`,
    `\t${host}:3306 `,
    `${host}/`,
    `${host}:3306/`,
    host.toUpperCase(),
    `${host}.`,
    `mysql://${host}`,
    `MySQL://${host}:3306/`,
    `mariadb://${host}`,
    `mysql2://${host}`,
    `mysql+pymysql://${host}`,
    `jdbc:mysql://${host}:3306/`,
    `jdbc:mariadb://${host}`,
    `jdbc:mysql:aws://${host}`,
    `jdbc:aws-wrapper:mysql://${host}`,
  ]
  for (const text of same) t.same(parseRemote(text, DEFAULT_PORT, '--rds-endpoint'), database, JSON.stringify(text))
  t.same(parseRemote('mysql://[::1]:3307/', DEFAULT_PORT, '--connect'), { host: '::1', port: 3307 })
})

test('what is no name to connect to: the error says what it is, and never repeats a password', async t => {
  const host = 'database-1.abc.eu-west-1.rds.amazonaws.com'
  const wrong: [text: string, says: RegExp][] = [
    [`${host}:0`, /has port 0; write the port of the database, usually 3306/],
    [`mysql://app:hunter2@${host}:3307/`, new RegExp(`more than a host and a port; write ${host}:3307,`)],
    [`app:hunter2@${host}`, new RegExp(`write ${host}, and give user and database to the client`)],
    [`jdbc:mysql://${host}/shop?user=app&password=hunter2`, new RegExp(`write ${host},`)],
    [`${host}/shop`, new RegExp(`write ${host},`)],
    ['mysql://app:hunter2/x@db:3306/shop', /"db:3306\/shop" is not host or host:port/],
    ['app:hunter2@db 1', /"db 1" is not host or host:port/],
    ['jdbc:mysql://db 1/shop?password=hunter2', /"db 1\/shop\?…" is not host or host:port/],
    [`postgresql://app:hunter2@${host}/`, /this is a URL of postgresql; write host or host:port of a MySQL or MariaDB/],
    [`jdbc:postgresql://${host}/`, /this is a URL of jdbc:postgresql;/],
    ['https://eu-west-1.console.aws.amazon.com/rds/home', /this is a URL of https;/],
    ['arn:aws:rds:eu-west-1:123456789012:db:database-1', /is an ARN; write the name of the endpoint/],
    ['::1', /write \[::1\] for an IPv6 address/],
    ['', /is not host or host:port/],
    ['db 1', /"db 1" is not host or host:port/],
    ['host1,host2:3306', /is not host or host:port/],
  ]
  for (const [text, says] of wrong) {
    t.match(remoteProblem(text), says, text)
    t.notMatch(remoteProblem(text), /hunter2/, 'no password')
    t.throws(() => parseRemote(text, DEFAULT_PORT, '--connect'), { code: 'CONFIG_INVALID', message: says })
  }
})

test('withoutUser', async t => {
  t.equal(withoutUser('mysql://app:hunter2@db.example.com:3306/'), 'mysql://db.example.com:3306/')
  t.equal(withoutUser('app:hun@ter2@db.example.com'), 'db.example.com')
  t.equal(withoutUser('db.example.com:3306'), 'db.example.com:3306')
})

test('names that are not those of a database', async t => {
  const nlb = 'my-nlb-0123456789abcdef.elb.eu-west-1.amazonaws.com'
  const wrong: [name: string, says: RegExp][] = [
    [nlb, /is a load balancer; give the database's own endpoint here, and that name as connect/],
    ['my-nlb-0123456789abcdef.elb.cn-north-1.amazonaws.com.cn', /is a load balancer/],
    ['my-clb-1234567890.us-east-1.elb.amazonaws.com', /is a load balancer/],
    [
      'vpce-0123456789abcdef0-abcdefgh.vpce-svc-0123456789abcdef0.eu-west-1.vpce.amazonaws.com',
      /is a VPC endpoint; .* as connect/,
    ],
    ['rds.eu-west-1.amazonaws.com', /is an endpoint of the RDS API; give the database's own endpoint here$/],
    ['rds.eu-west-1.api.aws', /is an endpoint of the RDS API/],
    [
      'db.example.com',
      /no AWS region in the name db\.example\.com:3306; .*not a CNAME or a load balancer, or set region/,
    ],
  ]
  for (const [rdsEndpoint, says] of wrong) {
    t.throws(() => createEndpoint({ rdsEndpoint }), { code: 'CONFIG_INVALID', message: says }, rdsEndpoint)
  }
  t.throws(() => createEndpoint({ rdsEndpoint: nlb, region: 'eu-west-1' }), /is a load balancer/, 'also with a region')
  t.equal(createEndpoint({ rdsEndpoint: 'db.example.com', region: 'eu-west-1' }).rds.region, 'eu-west-1')
})

test('every partition of the AWS SDK: its suffix, and the form of its regions', async t => {
  const regions = ['eu-west-1', 'cn-north-1', 'us-gov-west-1', 'eusc-de-east-1', 'us-iso-east-1', 'us-isob-east-1']
  for (const region of [...regions, 'eu-isoe-west-1', 'us-isof-south-1', 'mx-central-1', 'ap-southeast-7']) {
    const { dnsSuffix } = partition(region)
    t.ok(isRegion(region), region)
    t.ok(DNS_SUFFIXES.includes(dnsSuffix), dnsSuffix)
    t.equal(regionOf(`database-1.abc.${region}.rds.${dnsSuffix}`), region)
    t.equal(regionOf(`database-1.cluster-abc.rds.${region}.${dnsSuffix}`), region)
  }
})

test('isRdsProxy', async t => {
  const names: [name: string, isProxy: boolean][] = [
    ['pool.proxy-abc.eu-west-1.rds.amazonaws.com', true],
    ['reader.endpoint.proxy-abc.eu-west-1.rds.amazonaws.com', true],
    ['pool.proxy-abc.rds.cn-north-1.amazonaws.com.cn', true],
    ['proxy-1.abc.eu-west-1.rds.amazonaws.com', false],
    ['shop.cluster-abc.eu-west-1.rds.amazonaws.com', false],
    ['pool.proxy-abc.example.com', false],
  ]
  for (const [name, isProxy] of names) t.equal(isRdsProxy(name), isProxy, name)
})

test('the writer endpoint of an Aurora Global Database has no region', async t => {
  const rdsEndpoint = 'Shop.global-abcdefghijkl.global.rds.amazonaws.com'
  const { rds, dial } = createEndpoint({ rdsEndpoint })
  t.same(rds, { host: rdsEndpoint.toLowerCase(), port: 3306, region: undefined })
  t.equal(dial.host, rds.host)
  t.equal(createEndpoint({ rdsEndpoint, region: 'eu-west-1' }).rds.region, 'eu-west-1', 'unless it is given')
  t.ok(isGlobalEndpoint(rds.host))
  for (const name of [
    'shop.cluster-abc.eu-west-1.rds.amazonaws.com',
    'shop.global-abc.global.rds.amazonaws.com.example.com',
    'a.b.global-abc.global.rds.amazonaws.com',
    'global-abc.global.rds.amazonaws.com',
  ]) {
    t.notOk(isGlobalEndpoint(name), name)
  }
})

test('apiRegion: where to call AWS', async t => {
  const rds = { host: 'shop.global-abc.global.rds.amazonaws.com', port: 3306 }
  t.equal(apiRegion({ ...rds, region: 'eu-west-1' }, { AWS_REGION: 'us-west-2' }), 'eu-west-1')
  t.equal(apiRegion({ ...rds, region: undefined }, { AWS_REGION: 'us-west-2' }), 'us-west-2')
  t.equal(apiRegion({ ...rds, region: undefined }, { AWS_REGION: '', AWS_DEFAULT_REGION: 'ca-west-1' }), 'ca-west-1')
  t.equal(apiRegion({ ...rds, region: undefined }, {}), 'us-east-1')
})

test('formatHostPort', async t => {
  t.equal(formatHostPort({ host: 'db.example.com', port: 3306 }), 'db.example.com:3306')
  t.equal(formatHostPort({ host: '10.0.0.1', port: 3307 }), '10.0.0.1:3307')
  t.equal(formatHostPort({ host: '::1', port: 3306 }), '[::1]:3306')
  for (const text of ['db:1', '10.0.0.1:2', '[2001:db8::1]:3']) t.equal(formatHostPort(parse(text)), text)
})

test('regionOf: the names of RDS', async t => {
  const names: Record<string, string> = {
    'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com': 'eu-west-1',
    'database-1.cluster-abcdefghijkl.us-east-2.rds.amazonaws.com': 'us-east-2',
    'database-1.cluster-ro-abcdefghijkl.ap-northeast-1.rds.amazonaws.com': 'ap-northeast-1',
    'reports.cluster-custom-abcdefghijkl.ap-southeast-4.rds.amazonaws.com': 'ap-southeast-4',
    'proxy-1.proxy-abcdefghijkl.eu-central-1.rds.amazonaws.com': 'eu-central-1',
    'reader.endpoint.proxy-abcdefghijkl.eu-west-1.rds.amazonaws.com': 'eu-west-1',
    'database-1.abcdefghijkl.us-gov-west-1.rds.amazonaws.com': 'us-gov-west-1',
    'database-1.cluster-abcdefghijkl.us-gov-east-1.rds.amazonaws.com': 'us-gov-east-1',
    'database-1.abcdefghijkl.mx-central-1.rds.amazonaws.com': 'mx-central-1',
    'database-1.abcdefghijkl.rds.cn-north-1.amazonaws.com.cn': 'cn-north-1',
    'database-1.cluster-abcdefghijkl.rds.cn-northwest-1.amazonaws.com.cn': 'cn-northwest-1',
    'database-1.abcdefghijkl.cn-north-1.rds.amazonaws.com.cn': 'cn-north-1',
    'database-1.abcdefghijkl.rds.us-iso-east-1.c2s.ic.gov': 'us-iso-east-1',
    'database-1.abcdefghijkl.rds.us-isob-east-1.sc2s.sgov.gov': 'us-isob-east-1',
    'database-1.cluster-abcdefghijkl.eusc-de-east-1.rds.amazonaws.eu': 'eusc-de-east-1',
  }
  for (const [name, region] of Object.entries(names)) t.equal(regionOf(name), region, name)
})

test('regionOf: upper case and a trailing dot', async t => {
  const names = [
    'Database-1.ABCDEFGHIJKL.EU-WEST-1.RDS.AMAZONAWS.COM',
    'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com.',
    'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com:3307',
  ]
  for (const name of names) t.equal(regionOf(parse(name).host), 'eu-west-1', name)
})

test('regionOf: names without a region, or of another service', async t => {
  const names = [
    'db.example.com',
    'localhost',
    '10.0.0.1',
    '::1',
    '',
    'my-nlb-0123456789abcdef.elb.eu-west-1.amazonaws.com',
    'vpce-0123456789abcdef0-abcdefgh.vpce-svc-0123456789abcdef0.eu-west-1.vpce.amazonaws.com',
    'global-1.global-abcdefghijkl.global.rds.amazonaws.com',
    'rds.eu-west-1.amazonaws.com.example.com',
    'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com.example.com',
    'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.comx',
    'database-1.abcdefghijkl.eu-west-1.rds.amazonawsxcom',
    'database-1.abcdefghijkl.eu-west-1.rds-fake.amazonaws.com',
    'database-1.abcdefghijkl.nowhere.rds.amazonaws.com',
  ]
  for (const name of names) t.equal(regionOf(name), undefined, name)
})

test('hintValues: the values of placeholders', async t => {
  const endpoint: Endpoint = {
    name: 'test',
    rds: { host: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', port: 3306, region: 'eu-west-1' },
    dial: { host: '::1', port: 13306 },
    proxy: undefined,
    user: 'configured',
    tokenInHandshake: 'auto',
    connectTimeout: 1,
    greetingTimeout: 1,
    loginTimeout: 1,
    keepalive: 1,
    tcpUserTimeout: 1,
    clientWriteTimeout: 1,
    isTunnelled: false,
    requireWriter: false,
    compress: 'off',
  }
  t.same(hintValues(endpoint, 'named'), {
    rds: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com:3306',
    dial: '[::1]:13306',
    region: 'eu-west-1',
    user: 'named',
    forward: '[::1]:13306',
  })
  t.equal(hintValues(endpoint, undefined).user, 'configured')
})

test('isLocalForward: a port of this machine that leads to the database', async t => {
  const rdsEndpoint = 'db.abcdefghijkl.eu-west-1.rds.amazonaws.com'
  const isForward = (connect: string | undefined, more = {}) =>
    isLocalForward(createEndpoint({ rdsEndpoint, connect, ...more }))
  for (const connect of ['127.0.0.1:13306', 'localhost', '[::1]:3307', '127.0.0.5']) t.ok(isForward(connect), connect)
  for (const connect of [undefined, '10.0.0.5', 'nlb.elb.eu-west-1.amazonaws.com', 'localhost.example']) {
    t.notOk(isForward(connect), String(connect))
  }
  t.notOk(isForward('127.0.0.1:13306', { proxy: 'socks5://proxy.example' }), 'the address of the forward proxy')
  t.notOk(isLocalForward(createEndpoint({ rdsEndpoint: '127.0.0.1', region: 'eu-west-1' })), 'the database itself')
  for (const way of [{ tunnel: 'ssh -N -L {localPort}:{host}:{port} bastion' }, { ssmTarget: 'i-0123456789abcdef0' }]) {
    t.notOk(isForward('127.0.0.1:13306', way), 'the far end of a tunnel')
    t.ok(isOnFarEnd(createEndpoint({ rdsEndpoint, connect: '127.0.0.1:13306', ...way })))
    t.notOk(isOnFarEnd(createEndpoint({ rdsEndpoint, ...way })))
  }
  t.notOk(isOnFarEnd(createEndpoint({ rdsEndpoint, connect: '127.0.0.1:13306' })))
})

test('Windows has no unix sockets', t => {
  t.equal(listenProblem('unix:/run/x.sock', 'win32'), '"unix:/run/x.sock" needs Linux or macOS; write 127.0.0.1:PORT')
  t.equal(listenProblem('unix:/run/x.sock', 'darwin'), undefined)
  t.equal(listenProblem('127.0.0.1:3306', 'win32'), undefined)
  t.end()
})
