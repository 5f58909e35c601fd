import { test } from 'tap'
import { createLoginThrottle } from '../../src/client/login-throttle.ts'
import { createTestClock } from '../support/clock.ts'

/** Lets promises that are settled run their callbacks. */
const settled = () => new Promise(resolve => setImmediate(resolve))

function createThrottle() {
  const clock = createTestClock(1_000_000)
  const throttle = createLoginThrottle(clock)
  /** A wrong password; resolves with the milliseconds until the client gets its answer. */
  const guess = async (address: string, user = 'a'): Promise<number> => {
    if (!throttle.begin(address, user)) throw new Error('not allowed to try')
    let answered: number | undefined
    const started = clock.now()
    void throttle.fail(address, user).then(() => {
      answered = clock.now()
    })
    await settled()
    // In steps of the smallest delay, so that the answer has its own time.
    while (answered === undefined) {
      clock.advance(250)
      await settled()
    }
    return answered - started
  }
  const guesses = async (count: number, address: string, user?: string) => {
    for (let time = 0; time < count; time++) await guess(address, user)
  }
  /** Whether a fourth failure is next, so that the record is there. */
  const isThrottled = async (address: string, user?: string) => (await guess(address, user)) > 0
  return { clock, throttle, guess, guesses, isThrottled }
}

test('three failures cost nothing, then delays double up to four seconds', async t => {
  const { guess } = createThrottle()
  const delays: number[] = []
  for (let time = 0; time < 10; time++) delays.push(await guess('10.0.0.1'))
  t.same(delays, [0, 0, 0, 250, 500, 1_000, 2_000, 4_000, 4_000, 4_000])
  t.equal(await guess('10.0.0.2'), 0, 'not so another address')
  t.equal(await guess('10.0.0.1', 'b'), 0, 'nor another name')
})

test('a right password clears the failures', async t => {
  const { throttle, guess, guesses } = createThrottle()
  await guesses(5, '10.0.0.1')
  t.ok(throttle.begin('10.0.0.1', 'a'))
  throttle.succeed('10.0.0.1', 'a')
  t.equal(await guess('10.0.0.1'), 0)
})

test('a login that ends for another reason is neither failure nor success', async t => {
  const { throttle, guess, guesses } = createThrottle()
  await guesses(3, '10.0.0.1')
  for (let time = 0; time < 10; time++) {
    t.ok(throttle.begin('10.0.0.1', 'a'))
    throttle.cancel('10.0.0.1', 'a')
  }
  t.equal(await guess('10.0.0.1'), 250)
})

test('a name with failures may try four times at once, any other as often as it likes', async t => {
  const { clock, throttle, guesses } = createThrottle()
  for (let time = 0; time < 20; time++) t.ok(throttle.begin('10.0.0.9', 'a'))
  await guesses(3, '10.0.0.1')
  const waiting = Array.from({ length: 4 }, () => {
    t.ok(throttle.begin('10.0.0.1', 'a'))
    return throttle.fail('10.0.0.1', 'a')
  })
  t.notOk(throttle.begin('10.0.0.1', 'a'))
  t.ok(throttle.begin('10.0.0.1', 'another'))
  t.ok(throttle.begin('10.0.0.3', 'a'))
  clock.advance(4_000)
  await Promise.all(waiting)
  t.ok(throttle.begin('10.0.0.1', 'a'), 'once the delays are over')
})

test('the addresses of an IPv6 /64 are one, others are not', async t => {
  const { guess, guesses } = createThrottle()
  await guesses(1, '2001:db8::1')
  await guesses(1, '2001:db8:0:0:ffff::1')
  await guesses(1, '2001:db8:0:0:1:2:3:4')
  t.equal(await guess('2001:db8::abcd'), 250)
  t.equal(await guess('2001:db8:0:1::1'), 0, 'the next /64')
  t.equal(await guess('2001:db9::1'), 0)
})

test('IPv4 clients of a dual-stack listener are told apart', async t => {
  const { guess, guesses } = createThrottle()
  await guesses(5, '::ffff:10.0.0.1')
  t.equal(await guess('::ffff:10.0.0.2'), 0)
  t.equal(await guess('::ffff:10.0.0.1'), 1_000)
})

test('failures are forgotten ten minutes after the last', async t => {
  const { clock, guess, guesses } = createThrottle()
  await guesses(3, '10.0.0.1')
  await guesses(3, '10.0.0.2')
  clock.advance(10 * 60_000 - 1)
  t.equal(await guess('10.0.0.1'), 250, 'not before')
  clock.advance(10 * 60_000)
  t.equal(await guess('10.0.0.2'), 0)
  t.equal(await guess('10.0.0.1'), 0)
})

test('a name counts by its first 64 characters', async t => {
  const { guess, guesses } = createThrottle()
  const name = 'x'.repeat(64)
  await guesses(3, '10.0.0.1', `${name}1`)
  t.equal(await guess('10.0.0.1', `${name}2`), 250, 'so that its length has a bound')
  t.equal(await guess('10.0.0.1', 'x'.repeat(63)), 0)
})

test('10,000 records are kept, those used last', async t => {
  const { guess, guesses, throttle } = createThrottle()
  await guesses(3, '10.0.0.1', 'first')
  await guesses(3, '10.0.0.1', 'second')
  await guesses(1, '10.0.0.1', 'first')
  for (let user = 0; user < 9_999; user++) {
    throttle.begin('10.0.0.2', `user ${user}`)
    throttle.cancel('10.0.0.2', `user ${user}`)
  }
  t.equal(await guess('10.0.0.1', 'first'), 500, 'used later, and kept')
  t.equal(await guess('10.0.0.1', 'second'), 0, 'evicted')
})

test('a record in use is not evicted', async t => {
  const { clock, guesses, throttle } = createThrottle()
  await guesses(3, '10.0.0.1', 'busy')
  const waiting = Array.from({ length: 4 }, () => {
    throttle.begin('10.0.0.1', 'busy')
    return throttle.fail('10.0.0.1', 'busy')
  })
  for (let user = 0; user < 20_000; user++) {
    throttle.begin('10.0.0.2', `user ${user}`)
    throttle.cancel('10.0.0.2', `user ${user}`)
  }
  t.notOk(throttle.begin('10.0.0.1', 'busy'), 'a flood of names does not lift its limit')
  clock.advance(4_000)
  await Promise.all(waiting)
})
