import { type Test, test } from 'tap'
import { createWakeWatch, type Disturbance, isLinkLocal, wakeWatch } from '../src/wake.ts'
import { createTestClock } from './support/clock.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

/** A watch whose machine the test puts to sleep. */
function createWatched(t: Test, options: { uptime?: boolean; addresses?: string[] | undefined } = {}) {
  const clock = createTestClock()
  const system = {
    /** milliseconds of sleep, which the clock does not count */
    slept: 0,
    /** milliseconds by which the wall clock was set */
    set: 0,
    addresses: 'addresses' in options ? options.addresses : ['127.0.0.1', '192.168.1.7'],
  }
  const watch = createWakeWatch(clock, {
    uptime: () => (options.uptime === false ? undefined : clock.now() + system.slept),
    wallOffset: () => system.slept + system.set,
    addresses: () => system.addresses && new Set(system.addresses),
  })
  const seen: Disturbance[] = []
  const unsubscribe = watch.subscribe(disturbance => seen.push(disturbance))
  t.teardown(unsubscribe)
  return { clock, system, watch, seen, unsubscribe, words: () => seen.map(({ kind, what }) => [kind, what]) }
}

test('a quiet machine: nothing is reported', async t => {
  const { clock, seen } = createWatched(t)
  clock.advance(HOUR_MS)
  t.strictSame(seen, [])
})

test('Linux: a sleep, which the uptime counts and the monotonic clock does not', async t => {
  const { clock, system, words } = createWatched(t)
  clock.advance(12_000)
  system.slept += 8 * HOUR_MS
  clock.advance(5_000)
  t.strictSame(words(), [['sleep', 'this machine slept for 480 min']])
  clock.advance(HOUR_MS)
  t.equal(words().length, 1, 'once')
})

test('a sleep in words that fit its length', async t => {
  for (const [milliseconds, text] of [
    [5_000, '5 s'],
    [599_000, '599 s'],
    [HOUR_MS, '60 min'],
    [48 * HOUR_MS, '48 h'],
  ] as const) {
    const { clock, system, words } = createWatched(t)
    system.slept += milliseconds
    clock.advance(5_000)
    t.strictSame(words(), [['sleep', `this machine slept for ${text}`]])
  }
})

test('a login looks first, and finds the sleep before the timer does', async t => {
  const { clock, system, watch, words } = createWatched(t)
  clock.advance(6_000)
  system.slept += MINUTE_MS
  watch.look()
  t.strictSame(words(), [['sleep', 'this machine slept for 60 s']])
})

test('a burst of logins looks once', async t => {
  const { clock, system, watch, seen } = createWatched(t)
  clock.advance(6_000)
  watch.look()
  system.slept += MINUTE_MS
  clock.advance(500)
  watch.look()
  t.equal(seen.length, 0, 'the last look was less than a second ago')
  clock.advance(500)
  watch.look()
  t.equal(seen.length, 1)
})

test('short sleeps are no disturbance', async t => {
  const { clock, system, seen } = createWatched(t)
  for (let count = 0; count < 100; count++) {
    system.slept += 4_000
    clock.advance(5_000)
  }
  t.strictSame(seen, [])
})

test('macOS and Windows: the clock goes on during a sleep, and the timer is late', async t => {
  // Both clocks run on; timers run only once the machine is awake.
  let now = 0
  let late = () => {}
  const clock = {
    now: () => now,
    after(_milliseconds: number, work: () => void) {
      late = work
      return () => {}
    },
  }
  const watch = createWakeWatch(clock, { uptime: () => now, wallOffset: () => 0, addresses: () => undefined })
  const seen: Disturbance[] = []
  watch.subscribe(disturbance => seen.push(disturbance))
  now += 5_000
  late()
  now += 5_000 + 9_000
  late()
  t.strictSame(seen, [], 'a busy machine')
  now += 5_000 + HOUR_MS
  late()
  now += 5_000
  late()
  t.match(seen, [{ kind: 'pause', what: 'this machine slept or stopped this program for 60 min' }])
  now += 2 * HOUR_MS
  watch.look()
  t.match(seen[1], { kind: 'pause' }, 'a login may come before the timer')
})

test('a step of the wall clock: ahead it may be a paused virtual machine, back it is nothing', async t => {
  const { clock, system, words } = createWatched(t)
  for (const step of [-HOUR_MS, 9_000, -MINUTE_MS]) {
    system.set += step
    clock.advance(5_000)
  }
  t.strictSame(words(), [])
  system.set += 90_000
  clock.advance(5_000)
  t.strictSame(words(), [['clock', 'the clock of this machine jumped ahead by 90 s']])
})

test('a system that does not tell its uptime: a sleep looks like a step of the clock', async t => {
  const { clock, system, words } = createWatched(t, { uptime: false })
  system.slept += MINUTE_MS
  clock.advance(5_000)
  t.strictSame(words(), [['clock', 'the clock of this machine jumped ahead by 60 s']])
})

test('addresses that come and go', async t => {
  const { clock, system, seen, words } = createWatched(t)
  system.addresses = ['127.0.0.1', '192.168.1.7', '10.8.0.2']
  clock.advance(5_000)
  system.addresses = ['127.0.0.1', '172.16.0.1', '172.16.0.2', '172.16.0.3', '172.16.0.4', '172.16.0.5']
  clock.advance(10_000)
  t.strictSame(words(), [
    ['network', 'the network of this machine has changed (new: 10.8.0.2)'],
    [
      'network',
      'the network of this machine has changed (new: 172.16.0.1, 172.16.0.2, 172.16.0.3 and 2 more; gone: 192.168.1.7, 10.8.0.2)',
    ],
  ])
  t.ok(seen[1]?.addresses?.has('172.16.0.5'))
})

test('link-local addresses say nothing about the network', async t => {
  const { clock, system, seen } = createWatched(t)
  system.addresses = ['127.0.0.1', '192.168.1.7', 'fe80::1', '169.254.3.4']
  clock.advance(5_000)
  t.strictSame(seen, [])
  t.notOk(isLinkLocal('fec0::1'))
  t.notOk(isLinkLocal('fe8::1'))
})

test('a sleep and another network at once are one event', async t => {
  const { clock, system, seen } = createWatched(t)
  system.slept += MINUTE_MS
  system.addresses = ['127.0.0.1']
  clock.advance(10_000)
  t.match(seen, [{ kind: 'sleep' }])
  t.equal(seen.length, 1)
})

test('a system that hides its addresses', async t => {
  const { clock, system, seen } = createWatched(t, { addresses: undefined })
  clock.advance(5_000)
  system.addresses = ['10.0.0.1']
  clock.advance(5_000)
  t.strictSame(seen, [], 'addresses that were unknown before are no change')
})

test('without listeners it looks at nothing', async t => {
  const { clock, watch, system, seen, unsubscribe } = createWatched(t)
  unsubscribe()
  t.equal(clock.pending(), 0)
  system.slept += HOUR_MS
  clock.advance(HOUR_MS)
  watch.look()
  t.strictSame(seen, [])
  const stop = watch.subscribe(disturbance => seen.push(disturbance))
  clock.advance(HOUR_MS)
  t.strictSame(seen, [], 'what happened before nobody asked about')
  stop()
})

test('the real readings of this machine', async t => {
  let heard = 0
  const stop = wakeWatch.subscribe(() => heard++)
  wakeWatch.look()
  stop()
  t.equal(heard, 0)
})
