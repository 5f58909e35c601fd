import { test } from 'tap'
import { silent } from '../../src/log.ts'
import { handler } from '../../src/sync-targets/lambda.ts'
import { rdsEventOf, runInLambda } from '../../src/sync-targets/lambda-run.ts'
import { createSyncJob, type Dependencies } from '../../src/sync-targets/sync.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { startElb, TARGET_GROUP } from '../support/elb.ts'

const HOST = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'

// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
const schedule = {
  version: '0',
  id: '53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa',
  'detail-type': 'Scheduled Event',
  source: 'aws.events',
  account: '123456789012',
  time: '2015-10-08T16:53:06Z',
  region: 'eu-west-1',
  resources: ['arn:aws:events:eu-west-1:123456789012:rule/my-scheduled-rule'],
  detail: {},
}

// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-cloud-watch-events.html
const rdsEvent = {
  ...schedule,
  'detail-type': 'RDS DB Instance Event',
  source: 'aws.rds',
  resources: ['arn:aws:rds:eu-west-1:123456789012:db:database-1'],
  detail: {
    EventCategories: ['failover'],
    SourceType: 'DB_INSTANCE',
    SourceArn: 'arn:aws:rds:eu-west-1:123456789012:db:database-1',
    Date: '2018-09-27T22:36:43.292Z',
    Message: 'Multi-AZ instance failover started.',
    SourceIdentifier: 'database-1',
    EventID: 'RDS-EVENT-0013',
  },
}

const notification = {
  Records: [
    {
      EventSource: 'aws:sns',
      Sns: {
        Type: 'Notification',
        Message: JSON.stringify({
          'Event Source': 'db-instance',
          'Event Time': '2018-09-27 22:36:43.292',
          'Source ID': 'database-1',
          'Event ID': 'http://docs.amazonwebservices.com/AmazonRDS/latest/UserGuide/USER_Events.html#RDS-EVENT-0049',
          'Event Message': 'Multi-AZ instance failover completed',
        }),
      },
    },
  ],
}

const REMAINING_MS = 300_000
const context = { getRemainingTimeInMillis: () => REMAINING_MS }

/** A world whose time passes only during sleeps, and the name moves from A to B after `movesAfter` seconds. */
function createWorld(movesAfter: number): Dependencies & { lookups: number } {
  let now = 0
  const registered = new Set(['10.0.0.1'])
  const world = {
    lookups: 0,
    now: () => now,
    async sleep(milliseconds: number) {
      now += milliseconds
    },
    async lookUp() {
      world.lookups++
      return { addresses: [now < movesAfter * 1_000 ? '10.0.0.1' : '10.0.0.2'], ttl: 5 }
    },
    verify: undefined,
    profile: undefined,
    openTargetGroup: async () => ({
      family: async () => 'ipv4' as const,
      targets: async () =>
        [...registered].map(address => ({
          address,
          port: 3306,
          zone: undefined,
          health: 'healthy',
          reason: undefined,
        })),
      register: async (addresses: readonly string[]) => {
        for (const address of addresses) registered.add(address)
      },
      deregister: async (targets: readonly { address: string }[]) => {
        for (const { address } of targets) registered.delete(address)
      },
    }),
  }
  return world
}

const job = createSyncJob({ rdsEndpoint: HOST, targetGroupArn: TARGET_GROUP, confirmations: 2 })

test('RDS events are recognised', async t => {
  t.equal(rdsEventOf(rdsEvent), 'Multi-AZ instance failover started.')
  t.equal(rdsEventOf(notification), 'Multi-AZ instance failover completed')
  t.equal(rdsEventOf({ source: 'aws.rds' }), '')
  for (const other of [schedule, {}, undefined, null, 'x', { Records: [] }, { Records: [{ Sns: { Message: 'x' } }] }]) {
    t.equal(rdsEventOf(other), undefined, JSON.stringify(other))
  }
})

test('a schedule makes one pass', async t => {
  const world = createWorld(10)
  t.match(await runInLambda(job, silent, schedule, REMAINING_MS, world), { outcome: 'unchanged' })
  t.equal(world.lookups, 1)
})

test('an RDS event is followed up until the name has moved', async t => {
  for (const event of [rdsEvent, notification]) {
    const world = createWorld(60)
    const result = await runInLambda(job, silent, event, REMAINING_MS, world)
    t.match(result, { outcome: 'changed', registered: ['10.0.0.2'], deregistered: ['10.0.0.1'] })
    t.ok(world.now() >= 60_000 && world.now() < 80_000, `${world.now()} ms`)
  }
})

test('an RDS event after which the name stays', async t => {
  const world = createWorld(Number.POSITIVE_INFINITY)
  t.match(await runInLambda(job, silent, rdsEvent, REMAINING_MS, world), { outcome: 'unchanged' })
  t.ok(world.now() > 150_000 && world.now() <= 180_000, `${world.now()} ms`)
})

test('a refused pass is a failed invocation', async t => {
  const world = createWorld(10)
  world.lookUp = async () => ({ problem: 'ESERVFAIL', why: 'noAnswer', ttl: 0 })
  await t.rejects(runInLambda(job, silent, schedule, REMAINING_MS, world), {
    code: 'SYNC_REFUSED',
    message: /ESERVFAIL/,
  })
})

test('a pass that leaves unhealthy targets is a failed invocation', async t => {
  const world = createWorld(10)
  const group = await world.openTargetGroup(new AbortController().signal)
  world.openTargetGroup = async () => ({
    ...group,
    targets: async () => (await group.targets()).map(target => ({ ...target, health: 'unhealthy' })),
  })
  await t.rejects(runInLambda(job, silent, schedule, REMAINING_MS, world), {
    code: 'SYNC_UNHEALTHY',
    message: /10\.0\.0\.1:3306 is unhealthy/,
  })
})

test('the timeout of the function', async t => {
  const world = createWorld(0)
  world.sleep = async (_milliseconds, signal) => {
    await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  }
  await t.rejects(runInLambda(job, silent, schedule, 5_001, world), {
    code: 'SYNC_REFUSED',
    message: /timeout/,
    hintValues: { nextStep: /^Raise the timeout of the Lambda function/ },
  })
})

test('the handler, with its options in the environment', async t => {
  const [elb, dns] = [await startElb(), await startDnsServer()]
  t.teardown(() => Promise.all([elb.close(), dns.close()]))
  elb.add('10.0.0.1')
  dns.answer({ addresses: ['10.0.0.1'] })
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2: elb.url,
    AWS_ACCESS_KEY_ID: 'ASIAEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'secret-access-key-of-the-tests',
    MYSQL_IAM_PROXY_RDS_ENDPOINT: HOST,
    MYSQL_IAM_PROXY_TARGET_GROUP_ARN: TARGET_GROUP,
    MYSQL_IAM_PROXY_RESOLVER: `${dns.address},${dns.address}`,
    MYSQL_IAM_PROXY_LOG_LEVEL: 'error',
  })
  t.match(await handler(schedule, context), { outcome: 'unchanged', wanted: ['10.0.0.1'] })
  elb.targets = []
  t.match(await handler(schedule, context), { outcome: 'changed', registered: ['10.0.0.1'] })
  process.env['MYSQL_IAM_PROXY_TARGET_GROUP_ARN'] = ''
  await t.rejects(handler(schedule, context), {
    code: 'CONFIG_INVALID',
    message: 'MYSQL_IAM_PROXY_TARGET_GROUP_ARN is missing',
    hint: /^Correct these environment variables of the function/,
  })
})
