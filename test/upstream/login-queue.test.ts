import { test } from 'tap'
import { createLoginThrottle } from '../../src/client/login-throttle.ts'
import { type Clock, monotonicClock } from '../../src/clock.ts'
import { parseHostPort } from '../../src/endpoint.ts'
import type { ErrorCode } from '../../src/error-codes.ts'
import { ProxyError } from '../../src/errors.ts'
import { createState } from '../../src/state.ts'
import { createLoginQueue, type LoginQueue } from '../../src/upstream/login-queue.ts'

const rds = { ...parseHostPort('database-1.abc.eu-west-1.rds.amazonaws.com', 3306, ''), region: 'eu-west-1' }
const state = createState(
  {
    name: 'test',
    rds,
    dial: rds,
    user: undefined,
    tokenInHandshake: 'auto',
    connectTimeout: 1,
    loginTimeout: 1,
    keepalive: 1,
    requireWriter: false,
  },
  0,
)

/** Of a client that does not leave. */
const stays = new AbortController().signal

let time = 0
const clock: Clock = { now: () => time, after: monotonicClock.after }

/** Runs `work` at a time that only moves when it is told to. */
function atTime<Result>(now: number, work: () => Result): Result {
  time = now
  return work()
}

const denied = (errno = 1045) =>
  new ProxyError('UPSTREAM_REFUSED_LOGIN', 'no', { serverError: { errno, sqlState: '28000', message: 'no' } })
const fails = (code: ErrorCode) => new ProxyError(code, 'no')

function isPaused(queue: LoginQueue, now: number, user: string | undefined = undefined): boolean {
  try {
    atTime(now, () => queue.throwIfPaused(user))
    return false
  } catch (error) {
    return error instanceof ProxyError && error.fromOpenCircuit
  }
}

test('a rate, after a burst of a tenth of a second', async t => {
  const queue = createLoginQueue(100)
  const started = performance.now()
  const deadline = started + 60_000
  const turns = Array.from({ length: 40 }, async () => {
    await queue.turn(deadline, state, stays)
    return performance.now() - started
  })
  t.equal(state.loginsQueued, 40 - 11, 'those behind the burst wait')
  const times = await Promise.all(turns)
  t.ok(times[39]! >= 280, `the 40th after ${times[39]} ms`)
  t.equal(state.loginsQueued, 0)
  t.same(
    [...times].sort((a, b) => a - b),
    times,
    'in the order in which they came',
  )
})

test('who would wait too long is refused at once', async t => {
  const queue = createLoginQueue(10)
  const deadline = performance.now() + 500
  const turns = Array.from({ length: 20 }, () =>
    queue.turn(deadline, state, stays).then(
      () => 'turn',
      error => error.code,
    ),
  )
  const outcomes = await Promise.all(turns)
  t.same(new Set(outcomes.slice(0, 6)), new Set(['turn']))
  t.same(new Set(outcomes.slice(8)), new Set(['LOGIN_QUEUE_FULL']))
})

test('who leaves makes room for those behind', async t => {
  const queue = createLoginQueue(10)
  const far = performance.now() + 60_000
  for (const _ of ['a burst', 'is one more']) await queue.turn(far, state, stays)
  const leaver = new AbortController()
  const leaving = Array.from({ length: 50 }, () => queue.turn(far, state, leaver.signal))
  const outcomes = Promise.allSettled(leaving)
  const last = queue.turn(far, state, stays)
  t.equal(state.loginsQueued, 51)
  const started = performance.now()
  const reason = fails('CLIENT_CLOSED')
  leaver.abort(reason)
  await last
  t.ok(performance.now() - started < 2_000, 'its turn came at once, not after 5 s')
  t.same(new Set((await outcomes).map(({ status }) => status)), new Set(['rejected']))
  await t.rejects(queue.turn(far, state, leaver.signal), { code: 'CLIENT_CLOSED' }, 'nor may it join')
  t.equal(state.loginsQueued, 0)
})

test('no limit', async t => {
  const queue = createLoginQueue(0, clock)
  for (let login = 0; login < 10_000; login++) await queue.turn(0, state, stays)
  for (let at = 0; at < 50; at++) atTime(at, () => queue.failed(fails('TLS_WRONG_NAME'), 'iam_user'))
  t.notOk(isPaused(queue, 50), 'nor a pause')
  t.equal(state.loginsQueued, 0)
})

test('a pause while every login fails for the same reason', async t => {
  const queue = createLoginQueue(150, clock)
  const fail = (at: number) => atTime(at, () => queue.failed(fails('TLS_WRONG_NAME'), 'iam_user'))
  for (const at of [0, 1, 2, 3]) fail(at)
  t.notOk(isPaused(queue, 4), 'four may be chance')
  fail(4)
  t.ok(isPaused(queue, 5), 'five are not')
  t.ok(isPaused(queue, 5, 'somebody else'), 'a certificate is the same for everybody')
  fail(6)
  t.ok(isPaused(queue, 1_003), 'a second; those that were on their way do not make it longer')
  t.notOk(isPaused(queue, 1_004), 'then one login finds out')
  t.ok(isPaused(queue, 1_005), 'and the others wait for what it finds')
  fail(1_100)
  t.ok(isPaused(queue, 3_000), 'the pause is longer now')
  t.notOk(isPaused(queue, 3_101))
  atTime(3_200, () => queue.succeeded('iam_user'))
  t.notOk(isPaused(queue, 3_201), 'until one succeeds')
  for (const at of [4_000, 4_001, 4_002, 4_003]) fail(at)
  t.notOk(isPaused(queue, 4_004), 'then counting starts anew')
})

test('a pause is ten seconds at most, and is forgotten after a quiet time', async t => {
  const queue = createLoginQueue(150, clock)
  const fail = (at: number) => atTime(at, () => queue.failed(fails('CREDENTIALS_MISSING'), undefined))
  let at = 0
  for (let login = 0; login < 5; login++) fail(at++)
  for (let round = 0; round < 10; round++) {
    while (isPaused(queue, at)) at += 100
    fail(at)
  }
  t.ok(isPaused(queue, at + 9_000))
  t.notOk(isPaused(queue, at + 10_000))
  t.notOk(isPaused(queue, at + 60_000), 'a minute later, one may ask')
  t.notOk(isPaused(queue, at + 60_001), 'and so may the next')
})

test('one user who is refused is paused alone', async t => {
  const queue = createLoginQueue(150, clock)
  for (let at = 0; at < 5; at++) atTime(at, () => queue.failed(denied(), 'wrong'))
  t.ok(isPaused(queue, 5, 'wrong'))
  t.notOk(isPaused(queue, 5, 'right'))
  t.notOk(isPaused(queue, 5))
})

test('what makes no pause', async t => {
  const codes: ErrorCode[] = [
    'DIAL_REFUSED',
    'DIAL_TIMEOUT',
    'UPSTREAM_CLOSED',
    'UPSTREAM_TIMEOUT',
    'CLIENT_CLOSED',
    'CLIENT_ACCESS_DENIED',
    'LOGIN_QUEUE_FULL',
  ]
  for (const code of codes) {
    const queue = createLoginQueue(150, clock)
    for (let at = 0; at < 50; at++) atTime(at, () => queue.failed(fails(code), 'iam_user'))
    t.notOk(isPaused(queue, 50, 'iam_user'), code)
  }
  const queue = createLoginQueue(150, clock)
  for (let at = 0; at < 50; at++) atTime(at, () => queue.failed(denied(at % 2 ? 1045 : 1049), 'iam_user'))
  t.notOk(isPaused(queue, 50, 'iam_user'), 'different reasons')
  for (let at = 0; at < 50; at++) atTime(at * 11_000, () => queue.failed(denied(), 'person'))
  t.notOk(isPaused(queue, 49 * 11_000, 'person'), 'a person who tries now and then')
})

test('a name with wrong passwords is slowed down, and no other', async t => {
  const slow = createLoginThrottle()
  const guess = async (address: string) => {
    const started = performance.now()
    t.ok(slow.begin(address, 'a'))
    await slow.fail(address, 'a')
    return performance.now() - started
  }
  for (let time = 0; time < 3; time++) t.ok((await guess('10.0.0.1')) < 200, 'mistyping costs nothing')
  t.ok((await guess('10.0.0.1')) >= 245)
  t.ok((await guess('10.0.0.1')) >= 495)
  t.ok((await guess('10.0.0.2')) < 200)

  const waiting = Array.from({ length: 4 }, () => guess('10.0.0.1'))
  t.notOk(slow.begin('10.0.0.1', 'a'), 'no more than four at a time')
  t.ok(slow.begin('10.0.0.3', 'a'))
  slow.cancel('10.0.0.3', 'a')
  t.ok(slow.begin('10.0.0.1', 'another'), 'nor is another name held up')
  slow.cancel('10.0.0.1', 'another')
  await Promise.all(waiting)
  t.ok(slow.begin('10.0.0.1', 'a'))
  slow.succeed('10.0.0.1', 'a')
  t.ok((await guess('10.0.0.1')) < 200, 'a right password makes up for it')
})

test('the addresses of an IPv6 /64 are one, those of others are not', async t => {
  const slow = createLoginThrottle()
  for (let time = 0; time < 3; time++) {
    slow.begin(`2001:db8::${time}`, 'a')
    await slow.fail(`2001:db8::${time}`, 'a')
  }
  const trying = Array.from({ length: 4 }, (_, index) => slow.begin(`2001:db8:0:0:${index + 1}::1`, 'a'))
  t.same(trying, [true, true, true, true])
  t.notOk(slow.begin('2001:db8::abcd', 'a'))
  t.ok(slow.begin('2001:db8:0:1::1', 'a'))
  t.ok(slow.begin('::ffff:10.0.0.1', 'a'))
})
