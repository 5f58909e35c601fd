import { test } from 'tap'
import { DEFAULT_PORT, type Endpoint, formatHostPort, hintValues, parseHostPort, regionOf } from '../src/endpoint.ts'

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
    user: 'configured',
    tokenInHandshake: 'auto',
    connectTimeout: 1,
    loginTimeout: 1,
    keepalive: 1,
    tcpUserTimeout: 1,
    clientWriteTimeout: 1,
    requireWriter: false,
  }
  t.same(hintValues(endpoint, 'named'), {
    rds: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com:3306',
    dial: '[::1]:13306',
    region: 'eu-west-1',
    user: 'named',
  })
  t.equal(hintValues(endpoint, undefined).user, 'configured')
})
