/** The SDK's own client against the stand-in for the API. */
import { type Test, test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { openTargetGroup, regionOfTargetGroup } from '../../src/sync-targets/targets.ts'
import { type ElbStandIn, FAULTS, startElb, TARGET_GROUP } from '../support/elb.ts'

const credentials = async () => ({ accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'secret-access-key-of-the-tests' })

async function open(t: Test, arn = TARGET_GROUP) {
  const elb = await startElb()
  process.env.AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2 = elb.url
  t.teardown(() => elb.close())
  const stop = new AbortController()
  return { elb, stop, group: await openTargetGroup(arn, credentials, stop.signal) }
}

async function failure(promise: Promise<unknown>): Promise<ProxyError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof ProxyError) return error
  throw new Error(`not a ProxyError: ${error}`)
}

function fail(elb: ElbStandIn, fault: keyof typeof FAULTS, times = 1): void {
  for (let n = 0; n < times; n++) elb.faults.push({ fault: FAULTS[fault] })
}

test('targets are registered and deregistered', async t => {
  const { elb, group } = await open(t)
  t.equal(await group.family(), 'ipv4')
  t.same(await group.targets(), [])
  await group.register(['10.0.0.1', '10.0.0.2'], 3306)
  const [first, second] = await group.targets()
  t.same(first, {
    address: '10.0.0.1',
    port: 3306,
    zone: 'eu-west-1a',
    health: 'initial',
    reason: 'Elb.RegistrationInProgress',
  })
  t.match(await group.targets(), [{ health: 'healthy', reason: undefined }, { address: '10.0.0.2' }])
  await group.deregister([second!])
  t.match(await group.targets(), [{ address: '10.0.0.1' }, { address: '10.0.0.2', health: 'draining' }])
  t.equal(elb.leastLive, 0)
  t.ok(elb.calls.includes('RegisterTargets 10.0.0.1:3306 10.0.0.2:3306'))
  t.ok(elb.calls.includes('DeregisterTargets 10.0.0.2:3306'), 'no zone is named where none has to be')
})

test('registering and deregistering twice are no errors', async t => {
  const { elb, group } = await open(t)
  await group.register(['10.0.0.1'], 3306)
  await group.register(['10.0.0.1'], 3306)
  t.equal(elb.targets.length, 1)
  await group.deregister([{ address: '10.0.0.9', port: 3306, zone: undefined, health: 'healthy', reason: undefined }])
  t.equal(elb.targets.length, 1)
})

test('an IPv6 group: addresses are compared in canonical form', async t => {
  const { elb, group } = await open(t)
  elb.group.addressType = 'ipv6'
  elb.add('2a05:d018:0:1:0:0:0:a')
  t.equal(await group.family(), 'ipv6')
  t.match(await group.targets(), [{ address: '2a05:d018:0:1::a' }])
})

test('an address outside the VPC is registered and deregistered for all zones', async t => {
  const { elb, group } = await open(t)
  elb.outsideVpc.add('10.9.0.1')
  await group.register(['10.9.0.1'], 3306)
  const targets = await group.targets()
  t.match(targets, [{ address: '10.9.0.1', zone: 'all' }])
  await group.deregister(targets)
  t.match(await group.targets(), [{ health: 'draining' }])
  t.ok(elb.calls.includes('DeregisterTargets 10.9.0.1:3306@all'))
})

test('throttled calls and server errors are retried', async t => {
  const { elb, group } = await open(t)
  elb.add('10.0.0.1')
  fail(elb, 'throttling', 3)
  t.match(await group.targets(), [{ address: '10.0.0.1' }])
  t.equal(elb.calls.length, 4)
  fail(elb, 'broken')
  t.match(await group.targets(), [{ address: '10.0.0.1' }])
})

test('errors of AWS', async t => {
  const { elb, group } = await open(t)
  fail(elb, 'denied')
  t.match(await failure(group.targets()), {
    code: 'SYNC_DENIED',
    hintValues: { action: 'elasticloadbalancing:DescribeTargetHealth' },
  })
  fail(elb, 'denied')
  t.match(await failure(group.register(['10.0.0.1'], 3306)), {
    code: 'SYNC_DENIED',
    message: /^elasticloadbalancing:RegisterTargets failed: /,
  })
  fail(elb, 'expired')
  t.match(await failure(group.targets()), { code: 'CREDENTIALS_REJECTED' })
  t.match(await failure(group.register(['8.8.8.8'], 3306)), {
    code: 'AWS_CALL_REFUSED',
    message: /8\.8\.8\.8/,
  })
  elb.faults.push({ fault: { status: 400, code: 'TooManyTargets', message: 'Too many' } })
  t.match(await failure(group.register(['10.0.0.1'], 3306)), {
    code: 'AWS_CALL_REFUSED',
    message: /^elasticloadbalancing:RegisterTargets failed: TooManyTargets/,
  })
  elb.group.targetType = 'instance'
  t.match(await failure(group.family()), { code: 'SYNC_TARGET_GROUP_INVALID', message: /type instance, not ip/ })
  const other = await openTargetGroup(TARGET_GROUP.replace('my-', 'your-'), credentials, new AbortController().signal)
  t.match(await failure(other.targets()), { code: 'SYNC_TARGET_GROUP_INVALID', message: /not found/ })
})

test('an answer that is not from AWS is not an empty group', async t => {
  const { elb, group } = await open(t)
  for (const page of ['<html><body>Sign in to the network</body></html>', '<p>not XML<br>', 'hello', '']) {
    elb.loginPage = page
    for (const read of [group.targets(), group.family()]) {
      t.match(await failure(read), { code: 'SYNC_FAILED', message: /the answer is not from AWS/ }, page)
    }
  }
})

test('missing credentials keep their own error', async t => {
  await open(t)
  const missing = async () => {
    throw new ProxyError('CREDENTIALS_MISSING', 'no AWS credentials found')
  }
  const group = await openTargetGroup(TARGET_GROUP, missing, new AbortController().signal)
  t.match(await failure(group.targets()), { code: 'CREDENTIALS_MISSING' })
})

test('a signal aborts a call', async t => {
  const { elb, group, stop } = await open(t)
  fail(elb, 'throttling', 100)
  const pending = group.targets()
  stop.abort(new Error('enough'))
  await t.rejects(pending, { message: 'enough' })
})

test('the region of a target group', async t => {
  t.equal(regionOfTargetGroup(TARGET_GROUP), 'eu-west-1')
  t.equal(
    regionOfTargetGroup('arn:aws-us-gov:elasticloadbalancing:us-gov-west-1:123456789012:targetgroup/a/0f'),
    'us-gov-west-1',
  )
  for (const arn of ['', 'my-database', TARGET_GROUP.replace('targetgroup', 'loadbalancer/net')]) {
    t.throws(() => regionOfTargetGroup(arn), { code: 'CONFIG_INVALID' }, arn)
  }
})
