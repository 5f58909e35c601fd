import { test } from 'tap'
import type { ErrorCode } from '../../src/error-codes.ts'
import { nextCommand } from '../../src/list/document.ts'
import type { Found, FoundDatabase, FoundEndpoint, FoundLoadBalancer, Problem, Reach } from '../../src/list/found.ts'
import { toTable } from '../../src/list/table.ts'

const PLAIN = { width: 80, colours: false, withRegion: false }

const yes: Reach = { state: 'yes', code: undefined, reason: undefined, milliseconds: 12 }

function no(code: ErrorCode, state: Reach['state'] = 'no'): Reach {
  return { state, code, reason: 'the reason', milliseconds: undefined }
}

function endpoint(name: string, reach: Reach | undefined, more: Partial<FoundEndpoint> = {}): FoundEndpoint {
  const host = `${name}.abcdefghijkl.eu-west-1.rds.amazonaws.com`
  return { name, role: 'instance', host, port: 3306, addresses: [], loadBalancers: [], reach, ...more }
}

function balancer(reach: Reach | undefined, port = 3306): FoundLoadBalancer {
  return {
    profile: undefined,
    region: 'eu-west-1',
    name: 'my-nlb',
    host: 'my-nlb.elb.eu-west-1.amazonaws.com',
    port,
    scheme: 'internal',
    targetGroupArn: 'arn',
    targets: [{ address: '10.0.1.10', health: 'healthy' }],
    reach,
  }
}

function database(endpoints: FoundEndpoint[], more: Partial<FoundDatabase> = {}): FoundDatabase {
  return {
    kind: 'instance',
    identifier: endpoints[0]?.name ?? 'new',
    profile: undefined,
    region: 'eu-west-1',
    account: '123456789012',
    engine: 'mysql',
    version: '8.4.6',
    status: 'available',
    iam: 'on',
    public: false,
    vpc: undefined,
    cluster: undefined,
    pauses: false,
    endpoints,
    ...more,
  }
}

function found(databases: FoundDatabase[], problems: Problem[] = [], complete = true): Found {
  return { databases, problems, complete, rejectedRegions: [] }
}

const SHOP = database(
  [
    endpoint('shop', no('DIAL_TIMEOUT'), { role: 'writer' }),
    endpoint('shop-reader', no('DIAL_TIMEOUT'), { role: 'reader', loadBalancers: [balancer(no('DIAL_REFUSED'))] }),
    endpoint('etl', yes, { role: 'custom' }),
  ],
  { kind: 'cluster', engine: 'aurora-mysql', version: '8.0.mysql_aurora.3.08.0' },
)

test('a table', t => {
  const text = toTable(
    found([
      database([endpoint('orders', no('DIAL_TIMEOUT'), { loadBalancers: [balancer(yes, 3307)] })]),
      database([endpoint('pool', no('DIAL_TIMEOUT'), { role: 'proxy' })], { kind: 'proxy', iam: 'required' }),
      SHOP,
      database([endpoint('shop-1', yes)], { cluster: 'shop' }),
    ]),
    PLAIN,
  )
  t.equal(
    text,
    `eu-west-1, account 123456789012

NAME         ENGINE               IAM       NETWORK  REACHABLE
orders       mysql 8.4.6          on        private  by NLB my-nlb:3307
  mysql-iam-proxy add orders
pool         RDS Proxy            required  private  no: no answer
  mysql-iam-proxy add pool
shop         aurora-mysql 3.08.0  on        private  no: no answer
  mysql-iam-proxy add shop
shop-reader  reader endpoint      on        private  no: no answer; by NLB
                                                     my-nlb: refused
  mysql-iam-proxy add shop-reader
etl          custom endpoint      on        private  yes
  mysql-iam-proxy add etl

Not shown: 1 instance of clusters. --json lists them.
`,
  )
  t.end()
})

test('no line is wider than the terminal, unless one word is', t => {
  const long = 'a-very-long-name-of-a-database-in-production-number-2'
  const reach = no('TLS_WRONG_NAME', 'other')
  const databases = [
    database([endpoint(long, reach, { loadBalancers: [balancer(reach), balancer(no('UPSTREAM_TIMEOUT'), 3307)] })]),
    database([endpoint('serverless', { ...no('INTERNAL', 'not-tried'), code: undefined })], { pauses: true }),
    SHOP,
  ]
  const message = 'elasticloadbalancing:DescribeTargetGroups failed: not authorized to perform this action'
  const problems = [
    {
      ...{ profile: undefined, region: 'eu-west-1', action: 'elasticloadbalancing:DescribeTargetGroups' },
      ...{ code: 'AWS_ACCESS_DENIED' as const, message, hint: 'Allow it.', unknown: 'which load balancers lead there' },
    },
  ]
  for (const width of [120, 80, 60, 40]) {
    const text = toTable(found(databases, problems), { ...PLAIN, width })
    t.match(
      text.replace(/\s+/g, ' '),
      /another server answers; by NLB my-nlb: another server answers; by NLB my-nlb:3307/,
    )
    t.match(text.replace(/\s+/g, ' '), /not tried: the reason/)
    t.match(text, `\n${long}\n`)
    for (const line of text.split('\n').filter(line => line.length > Math.max(width, 57))) {
      t.match(line, /^ {2}mysql-iam-proxy add \S+$|^\S+$/, `${width}: ${line}`)
    }
  }
  t.end()
})

test('profiles and regions have their own tables; add gets them', t => {
  const text = toTable(
    found([
      database([endpoint('orders', yes)], { profile: 'dev' }),
      database([endpoint('orders', yes)], { profile: 'my prod', region: 'us-east-1', account: undefined }),
    ]),
    { ...PLAIN, withRegion: true },
  )
  t.match(text, /^profile dev, eu-west-1, account 123456789012\n/)
  t.match(text, /\n\nprofile my prod, us-east-1\n/)
  t.match(text, '\n  mysql-iam-proxy add orders --profile dev --region eu-west-1\n')
  t.match(text, "\n  mysql-iam-proxy add orders --profile 'my prod' --region us-east-1\n")
  t.equal(nextCommand({ profile: undefined, region: 'x' }, { name: 'a' }, false), 'mysql-iam-proxy add a')
  t.end()
})

test('a database whose IAM authentication is off', t => {
  const text = toTable(
    found([
      database([endpoint('legacy', yes)], { iam: 'off', public: true }),
      database([endpoint('shop', yes)], { iam: 'off', kind: 'cluster' }),
      database([endpoint('pool', yes)], { iam: 'off', kind: 'proxy' }),
    ]),
    PLAIN,
  )
  t.match(text, /IAM authentication of legacy is off\. To turn it on:\n\n {4}aws rds modify-db-instance \\\n/)
  t.match(text, /IAM authentication of shop is off\. To turn it on:\n\n {4}aws rds modify-db-cluster \\\n/)
  t.notMatch(text, 'IAM authentication of pool', 'an RDS Proxy has no such switch')
  t.end()
})

test('without connections, and while it is being created', t => {
  const text = toTable(
    found([
      database([endpoint('orders', undefined, { loadBalancers: [balancer(undefined)] })]),
      database([endpoint('other', undefined)], { public: undefined }),
      database([], { identifier: 'new', status: 'creating' }),
    ]),
    PLAIN,
  )
  t.match(text, /^orders .* private {2}not tried; NLB my-nlb$/m)
  t.match(text, /^other .* unknown {2}not tried$/m)
  t.match(text, /^new .* private {2}creating$/m)
  t.notMatch(text, 'add new')
  t.end()
})

test('problems: the same one in several regions is one note', t => {
  const problem = (region: string | undefined, code: ErrorCode, profile?: string): Problem => ({
    ...{ profile, region, action: 'rds:DescribeDBProxies', code, message: `it \x1b[31m failed` },
    ...{ hint: 'Do something.', unknown: 'RDS Proxies' },
  })
  const problems = [
    problem('eu-west-1', 'AWS_ACCESS_DENIED'),
    problem('us-east-1', 'AWS_ACCESS_DENIED'),
    problem(undefined, 'CREDENTIALS_SSO_EXPIRED', 'dev'),
  ]
  const text = toTable(found([], problems, false), PLAIN).replace(/\n {2}/g, ' ')
  t.match(text, 'No MySQL or MariaDB database found; the list is incomplete.')
  t.match(text, '! eu-west-1, us-east-1: it  [31m failed (AWS_ACCESS_DENIED). Unknown because of this:')
  t.match(text, '! profile dev: it  [31m failed (CREDENTIALS_SSO_EXPIRED). Unknown because of this: RDS')
  t.end()
})

test('regions that reject the credentials', t => {
  const rejectedRegions = [
    { profile: undefined, region: 'af-south-1' },
    { profile: 'dev', region: 'ap-east-1' },
    { profile: 'dev', region: 'me-south-1' },
  ]
  const text = toTable({ ...found([database([endpoint('orders', yes)])]), rejectedRegions }, PLAIN).replace(/\s+/g, ' ')
  t.match(text, 'Regions that reject the credentials, usually because the account has not enabled them: af-south-1.')
  t.match(
    text,
    'credentials of the profile dev, usually because the account has not enabled them: ap-east-1, me-south-1.',
  )
  t.end()
})

test('nothing found', t => {
  t.match(toTable(found([]), PLAIN), 'No MySQL or MariaDB database found here. Other regions: --region NAME')
  const member = database([endpoint('shop-1', yes)], { cluster: 'shop' })
  const text = toTable(found([member, member]), PLAIN)
  t.match(text, 'No MySQL or MariaDB database found, except instances of clusters.')
  t.match(text, 'Not shown: 2 instances of clusters.')
  t.end()
})
