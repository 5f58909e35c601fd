import { getEventListeners } from 'node:events'
import { type Test, test } from 'tap'
import { createLoginThrottle } from '../../src/client/login-throttle.ts'
import { createTestClock } from '../support/clock.ts'

/** Lets promises that are settled run their callbacks. */
const settled = () => new Promise(resolve => setImmediate(resolve))

function createThrottle() {
  const clock = createTestClock(1_000_000)
  const throttle = createLoginThrottle(clock)
  let checks = 0
  /** The result of one password; 'waits' if there is none yet. */
  const tryPassword = (isRight: boolean, address = '10.0.0.1', user = 'a', disconnected?: AbortSignal) => {
    const login = { result: 'waits' as boolean | string }
    const counted = () => {
      checks++
      return isRight
    }
    throttle
      .attempt(address, user)
      .check(counted, disconnected)
      .then(
        result => {
          login.result = result
        },
        error => {
          login.result = error.code ?? error.message
        },
      )
    return login
  }
  const wrong = (count: number, address?: string, user?: string) =>
    Array.from({ length: count }, () => tryPassword(false, address, user))
  const pass = async (milliseconds: number) => {
    await settled()
    clock.advance(milliseconds)
    await settled()
  }
  /** The milliseconds until a refused client gets its answer. */
  const delay = async (address = '10.0.0.1', user = 'a') => {
    const started = clock.now()
    let answered = false
    void throttle
      .attempt(address, user)
      .delayRefusal()
      .then(() => {
        answered = true
      })
    await settled()
    for (; !answered; await settled()) clock.advance(250)
    return clock.now() - started
  }
  return { clock, throttle, tryPassword, wrong, pass, delay, checks: () => checks }
}

const results = (logins: { result: boolean | string }[]) => logins.map(({ result }) => result)

test('of 200 wrong passwords at once, 10 are checked, and then 5 a second', async t => {
  const { wrong, tryPassword, pass, checks } = createThrottle()
  const logins = wrong(200)
  await pass(0)
  t.equal(checks(), 10)
  await pass(200)
  t.equal(checks(), 11)
  await pass(700)
  t.equal(checks(), 14)
  await pass(100)
  const notChecked = results(logins).filter(result => result === 'CLIENT_THROTTLED')
  t.ok(checks() <= 15, 'the others are not checked')
  t.equal(notChecked.length, 200 - checks(), 'they are refused after a second')
  await pass(200)
  const late = tryPassword(false)
  await pass(0)
  t.equal(late.result, false, 'those that were refused take no turn')
  await pass(60_000)
  const before = checks()
  wrong(200)
  await pass(0)
  t.equal(checks() - before, 10, 'the allowance does not grow beyond 10')
})

test('the newest is checked first, so a right password gets in at the next check', async t => {
  const { wrong, tryPassword, pass } = createThrottle()
  wrong(200)
  const right = tryPassword(true)
  await pass(0)
  t.equal(right.result, 'waits')
  await pass(200)
  t.equal(right.result, true)
})

test('right passwords are not limited', async t => {
  const { tryPassword, pass } = createThrottle()
  const logins = Array.from({ length: 1_000 }, () => tryPassword(true))
  await pass(0)
  await pass(0)
  t.ok(results(logins).every(result => result === true))
})

test('checks in progress count: no more than 10 at once', async t => {
  const { throttle } = createThrottle()
  const finish: (() => void)[] = []
  const slowCheck = () => new Promise<boolean>(resolve => finish.push(() => resolve(true)))
  const checks = Array.from({ length: 12 }, () => throttle.attempt('10.0.0.1', 'a').check(slowCheck))
  await settled()
  t.equal(finish.length, 10)
  finish[0]!()
  await settled()
  t.equal(finish.length, 11, 'a right one makes room at once')
  for (let index = 1; index < 12; index++) {
    finish[index]!()
    await settled()
  }
  t.same(await Promise.all(checks), Array(12).fill(true))
})

test('a right password makes up for a wrong answer of the same client', async t => {
  const { throttle, tryPassword, pass, wrong, checks } = createThrottle()
  for (let time = 0; time < 50; time++) {
    const attempt = throttle.attempt('10.0.0.1', 'a')
    t.notOk(await attempt.check(() => false))
    t.ok(await attempt.check(() => true))
  }
  wrong(20, '10.0.0.1')
  await pass(0)
  t.equal(checks(), 10, 'all of the allowance is left')
  t.equal(tryPassword(true).result, 'waits')
})

test('all sources share the allowance of a name, and another name has its own', async t => {
  const { tryPassword, wrong, pass } = createThrottle()
  for (let host = 1; host <= 10; host++) wrong(1, `10.0.0.${host}`)
  const another = tryPassword(false, '10.0.0.99')
  const otherName = tryPassword(false, '10.0.0.1', 'b')
  await pass(0)
  t.equal(another.result, 'waits')
  t.equal(otherName.result, false)
})

test('a source that has logged in within a day keeps its own allowance', async t => {
  const { tryPassword, wrong, pass } = createThrottle()
  tryPassword(true, '10.0.0.7')
  await pass(0)
  wrong(200, '10.0.0.1')
  const known = tryPassword(true, '10.0.0.7')
  const asAnother = tryPassword(true, '10.0.0.7', 'b')
  await pass(0)
  t.equal(known.result, true, 'guesses from elsewhere do not make it wait')
  t.equal(asAnother.result, true)

  await pass(60_000)
  const guesses = wrong(30, '10.0.0.7')
  await pass(0)
  t.equal(results(guesses).filter(result => result === false).length, 10, 'it is limited as well')

  await pass(24 * 60 * 60_000)
  wrong(200, '10.0.0.1')
  const forgotten = tryPassword(true, '10.0.0.7')
  await pass(0)
  t.equal(forgotten.result, 'waits', 'a day later it is one of all')
})

test('a login is remembered for 24 hours', async t => {
  const { tryPassword, wrong, pass } = createThrottle()
  tryPassword(true, '10.0.0.7')
  await pass(0)
  const day = 24 * 60 * 60_000
  for (const [elapsed, result] of [
    [day - 1, true],
    [day, 'waits'],
  ] as const) {
    await pass(elapsed)
    wrong(200, '10.0.0.1')
    const login = tryPassword(true, '10.0.0.7')
    await pass(0)
    t.equal(login.result, result)
  }
})

test('a flood of names does not make a known source unknown', async t => {
  const { throttle, tryPassword, wrong, pass } = createThrottle()
  tryPassword(true, '10.0.0.7')
  await pass(0)
  for (let user = 0; user < 10_001; user++) throttle.attempt('10.0.0.1', `user ${user}`)
  wrong(200, '10.0.0.1')
  const known = tryPassword(true, '10.0.0.7')
  await pass(0)
  t.equal(known.result, true)
})

test('a right password gives back what its client took, once', async t => {
  const { throttle, wrong, pass, checks } = createThrottle()
  wrong(5)
  await pass(0)
  const attempt = throttle.attempt('10.0.0.1', 'a')
  for (let time = 0; time < 3; time++) t.ok(await attempt.check(() => true))
  wrong(20, '10.0.0.2')
  await pass(0)
  t.equal(checks(), 10)
})

test('clients that wait have one timer for all, and leave nothing behind', async t => {
  const { clock, tryPassword, wrong, pass } = createThrottle()
  wrong(10)
  const { signal } = new AbortController()
  const waiting = [1, 2].map(() => tryPassword(false, '10.0.0.1', 'a', signal))
  await pass(0)
  t.equal(clock.pending(), 3, 'and each a time limit')
  await pass(200)
  await pass(200)
  t.same(results(waiting), [false, false])
  t.equal(clock.pending(), 0)
  t.same(getEventListeners(signal, 'abort'), [])
})

test('the turn of a client that disconnects is for the others', async t => {
  for (const order of ['alone', 'before', 'after']) {
    const { tryPassword, wrong, pass } = createThrottle()
    wrong(10)
    const gone = new AbortController()
    const others = order === 'after' ? [tryPassword(false)] : []
    tryPassword(false, '10.0.0.1', 'a', gone.signal)
    if (order === 'before') others.push(tryPassword(false))
    await pass(100)
    gone.abort(new Error('gone'))
    await pass(100)
    if (order === 'alone') others.push(tryPassword(false))
    await pass(0)
    t.same(results(others), [false], order)
    const next = tryPassword(false)
    await pass(200)
    t.equal(next.result, false, 'nor is a later one lost')
  }
})

test('a client that has disconnected before does not wait', async t => {
  const { tryPassword, wrong, pass } = createThrottle()
  wrong(10)
  const gone = new AbortController()
  gone.abort(new Error('gone'))
  const login = tryPassword(false, '10.0.0.1', 'a', gone.signal)
  await pass(0)
  t.equal(login.result, 'gone')
})

test('a client that disconnects gives up its turn', async t => {
  const { tryPassword, wrong, pass, checks } = createThrottle()
  wrong(10)
  const gone = new AbortController()
  const left = tryPassword(false, '10.0.0.1', 'a', gone.signal)
  await pass(100)
  gone.abort(new Error('gone'))
  await pass(1_000)
  t.equal(left.result, 'gone')
  t.equal(checks(), 10, 'and its password is not checked')
  t.equal(tryPassword(false, '10.0.0.1', 'a', gone.signal).result, 'waits')
  await pass(0)
  t.equal(checks(), 11, 'without a wait nothing is lost by the check')
})

test('a check that throws uses up one wrong password', async t => {
  const { throttle, wrong, pass, checks } = createThrottle()
  await t.rejects(
    throttle.attempt('10.0.0.1', 'a').check(() => {
      throw new Error('broken')
    }),
    { message: 'broken' },
  )
  wrong(20)
  await pass(0)
  t.equal(checks(), 9)
})

async function delaysOf(t: Test, count: number, address?: string, user?: string) {
  const { delay } = createThrottle()
  t.comment(`${count} refusals in sequence`)
  const delays: number[] = []
  for (let time = 0; time < count; time++) delays.push(await delay(address, user))
  return delays
}

test('three refusals are not delayed, later ones go out every four seconds', async t => {
  t.same(await delaysOf(t, 6), [0, 0, 0, 4_000, 4_000, 4_000])
})

test('parallel refusals are delayed by four to eight seconds, each by another time', async t => {
  const { throttle, clock } = createThrottle()
  const answers: number[] = []
  const started = clock.now()
  for (let time = 0; time < 8; time++) {
    void throttle
      .attempt('10.0.0.1', 'a')
      .delayRefusal()
      .then(() => answers.push(clock.now() - started))
  }
  for (let tenth = 0; tenth < 90; tenth++) {
    await settled()
    clock.advance(100)
  }
  await settled()
  t.same(answers, [0, 0, 0, 4_000, 5_000, 5_900, 6_500, 7_500])
})

test('refusals are delayed by name and source', async t => {
  const { delay, pass } = createThrottle()
  for (let time = 0; time < 3; time++) await delay()
  t.equal(await delay('10.0.0.2'), 0)
  t.equal(await delay('10.0.0.1', 'b'), 0)
  t.equal(await delay(), 4_000)
  await pass(12_000)
  t.equal(await delay(), 0, 'after a quiet time they are free again')
})

test('a right password does not shorten the delays of wrong ones', async t => {
  const { delay, tryPassword, pass } = createThrottle()
  for (let time = 0; time < 3; time++) await delay()
  tryPassword(true)
  await pass(0)
  t.equal(await delay(), 4_000)
})

test('only the first 64 characters of a name count', async t => {
  const { delay } = createThrottle()
  const name = 'x'.repeat(64)
  for (let time = 0; time < 3; time++) await delay('10.0.0.1', `${name}1`)
  t.equal(await delay('10.0.0.1', `${name}2`), 4_000, 'so that its length has a bound')
  t.equal(await delay('10.0.0.1', 'x'.repeat(63)), 0)
})

test('10,000 names are kept, those used last', async t => {
  const { delay, wrong, pass, tryPassword } = createThrottle()
  wrong(10, '10.0.0.1', 'first')
  wrong(10, '10.0.0.1', 'second')
  await pass(0)
  const again = tryPassword(false, '10.0.0.1', 'first')
  for (let user = 0; user < 9_999; user++) void delay('10.0.0.2', `user ${user}`)
  const first = tryPassword(false, '10.0.0.1', 'first')
  const second = tryPassword(false, '10.0.0.1', 'second')
  await pass(0)
  t.same(results([again, first, second]), ['waits', 'waits', false])
})

test('a client that leaves after a wrong answer counts as refused, and later ones may not answer again', async t => {
  const { throttle, pass } = createThrottle()
  const leave = async () => {
    const attempt = throttle.attempt('10.0.0.1', 'a')
    await attempt.check(() => false)
    const may = attempt.mayAnswerAgain()
    attempt.broken()
    return may
  }
  t.same([await leave(), await leave(), await leave(), await leave()], [true, true, true, false])
  t.ok(throttle.attempt('10.0.0.2', 'a').mayAnswerAgain(), 'not so another source')
  throttle.attempt('10.0.0.2', 'a').broken()
  await pass(60_000)
  for (let time = 0; time < 20; time++) {
    const attempt = throttle.attempt('10.0.0.1', 'a')
    await attempt.check(() => false)
    t.ok(attempt.mayAnswerAgain(), 'clients whose second answer is right are not limited')
    await attempt.check(() => true)
    attempt.broken()
  }
})
