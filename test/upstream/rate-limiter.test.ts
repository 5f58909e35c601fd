import { getEventListeners, setMaxListeners } from 'node:events'
import { test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { createRateLimiter } from '../../src/upstream/rate-limiter.ts'
import { createTestClock } from '../support/clock.ts'
import { createTestState } from '../support/endpoint.ts'

/** The signal of a client that stays. */
const stays = new AbortController().signal
setMaxListeners(0, stays)

/** Lets promises that are settled run their callbacks. */
const settled = () => new Promise(resolve => setImmediate(resolve))

/** A limiter on a test clock; `slots` holds the name and time of each login that has started, or the code of its error. */
function createLogins(perSecond: number) {
  const clock = createTestClock(1_000_000)
  const state = createTestState()
  const limiter = createRateLimiter(perSecond, clock)
  const slots: [string, number | string][] = []
  const start = clock.now()
  return {
    clock,
    state,
    limiter,
    slots,
    async login(name: string, timeLimit = 60_000, disconnected = stays) {
      await limiter.acquire(clock.now() + timeLimit, state, disconnected).then(
        () => slots.push([name, clock.now() - start]),
        error => slots.push([name, error.code]),
      )
    },
  }
}

test('a burst of a tenth of a second, then the rate, in the order of arrival', async t => {
  const { clock, state, slots, login } = createLogins(100)
  const logins = Array.from({ length: 40 }, (_, index) => login(String(index)))
  await settled()
  t.same(
    slots,
    Array.from({ length: 11 }, (_, index) => [String(index), 0]),
    '10 and the one that is due',
  )
  t.equal(state.loginsQueued, 29, 'the others wait')
  t.equal(clock.pending(), 1, 'for one timer')
  for (let ms = 0; ms < 290; ms += 10) {
    clock.advance(10)
    await settled()
  }
  await Promise.all(logins)
  t.same(
    slots.slice(11),
    Array.from({ length: 29 }, (_, index) => [String(index + 11), (index + 1) * 10]),
  )
  t.equal(state.loginsQueued, 0)
  t.equal(clock.pending(), 0, 'no timer is left')
})

test('an idle time earns one burst, however long it was', async t => {
  const { clock, slots, login } = createLogins(100)
  clock.advance(3_600_000)
  for (let index = 0; index < 40; index++) void login(String(index))
  await settled()
  t.equal(slots.length, 11)
})

test('a slot that is free is taken without waiting', async t => {
  const { clock, slots, login, limiter } = createLogins(10)
  t.same([limiter.tryAcquire(), limiter.tryAcquire(), limiter.tryAcquire()], [true, true, false])
  const waits = login('first')
  clock.advance(99)
  t.notOk(limiter.tryAcquire())
  clock.advance(1)
  await waits
  t.same(slots, [['first', 100]])
  t.notOk(limiter.tryAcquire(), 'its slot counts')
  const next = login('next')
  clock.advance(150)
  t.notOk(limiter.tryAcquire(), 'nobody passes those in line')
  await next
  t.equal(clock.pending(), 0)
  t.ok(createLogins(0).limiter.tryAcquire(), 'without a limit')
})

test('a slot after the deadline is refused at once', async t => {
  const { clock, state, slots, login } = createLogins(10)
  for (let index = 0; index < 20; index++) void login(String(index), 500)
  await settled()
  const refused = slots.filter(([, outcome]) => outcome === 'LOGIN_QUEUE_FULL')
  t.equal(refused.length, 20 - 2 - 5, 'all but the burst and five in half a second')
  t.equal(state.loginsQueued, 5)
  for (let ms = 0; ms < 500; ms += 100) {
    clock.advance(100)
    await settled()
  }
  t.same(
    slots.slice(-5).map(([, at]) => at),
    [100, 200, 300, 400, 500],
  )
})

test('when a client disconnects, the next one gets its slot', async t => {
  const { clock, state, limiter, slots, login } = createLogins(10)
  for (const name of ['burst', 'due']) await login(name)
  const leaver = new AbortController()
  setMaxListeners(0, leaver.signal)
  for (let index = 0; index < 50; index++) void login(`leaver ${index}`, 60_000, leaver.signal)
  void login('last')
  await settled()
  t.equal(state.loginsQueued, 51)
  leaver.abort(new ProxyError('CLIENT_CLOSED', 'left'))
  await settled()
  t.equal(slots.filter(([, outcome]) => outcome === 'CLIENT_CLOSED').length, 50)
  clock.advance(100)
  await settled()
  t.same(slots.at(-1), ['last', 100], 'the next slot, not the 51st')
  await t.rejects(limiter.acquire(Number.POSITIVE_INFINITY, state, leaver.signal), { code: 'CLIENT_CLOSED' })
  t.equal(state.loginsQueued, 0)
})

test('a late timer does not change the order', async t => {
  const clock = createTestClock()
  let late: (() => void) | undefined
  // A busy machine: the timer is due, and has not run yet.
  const busy = {
    now: clock.now,
    after(_ms: number, work: () => void) {
      late = work
      return () => {}
    },
  }
  const limiter = createRateLimiter(10, busy)
  const order: string[] = []
  const login = (name: string) => limiter.acquire(60_000, state, stays).then(() => order.push(name))
  const state = createTestState()
  for (const name of ['burst', 'due', 'first in line']) void login(name)
  clock.advance(5_000)
  void login('newcomer')
  await settled()
  t.same(order, ['burst', 'due'])
  late?.()
  await settled()
  t.same(order, ['burst', 'due', 'first in line', 'newcomer'])
})

test('one login a second', async t => {
  const { clock, slots, login } = createLogins(1)
  for (const name of ['burst', 'due', 'later']) void login(name)
  await settled()
  clock.advance(1_000)
  await settled()
  t.same(slots, [
    ['burst', 0],
    ['due', 0],
    ['later', 1_000],
  ])
})

test('the time in line is a phase of the login', async t => {
  const { clock, state, login } = createLogins(1)
  const phases: string[] = []
  state.onPhase = phase => void phases.push(phase)
  for (const name of ['burst', 'due', 'later']) void login(name)
  await settled()
  t.same(phases, [], 'those at once were not in line')
  clock.advance(1_000)
  await settled()
  t.same(phases, ['queue'])
})

test('a login that has its slot does not listen to its client any more', async t => {
  const { clock, login } = createLogins(1)
  const { signal } = new AbortController()
  for (const name of ['burst', 'due', 'later']) void login(name, 60_000, signal)
  await settled()
  t.equal(getEventListeners(signal, 'abort').length, 1)
  clock.advance(1_000)
  await settled()
  t.equal(getEventListeners(signal, 'abort').length, 0)
})

test('0 is no limit', async t => {
  const { clock, state, slots, login } = createLogins(0)
  for (let index = 0; index < 1_000; index++) void login('x', -1)
  await settled()
  t.equal(slots.filter(([, at]) => at === 0).length, 1_000)
  t.equal(state.loginsQueued, 0)
  t.equal(clock.pending(), 0)
})
