import { readdir, readFile } from 'node:fs/promises'
import { test } from 'tap'
import { monotonicClock } from '../src/clock.ts'
import { createTestClock } from './support/clock.ts'

/** Files that read the wall clock: for certificates, credentials, signatures and display. */
const WALL_CLOCK_FILES = [
  'admin/health.ts',
  'admin/history.ts',
  'admin/server.ts',
  'admin/status.ts',
  'aws/credentials.ts',
  'aws/host-credentials.ts',
  'aws/roles-anywhere.ts',
  'check/credentials.ts',
  'check/tls.ts',
  'client/self-signed.ts', // the validity of its certificate
  'client/tls.ts',
  'clock.ts', // notices that the wall clock was set
  'demo/certificates.ts',
  'sign-in/on-demand.ts', // since when a sign-in is shown
  'sign-in/token-cache.ts', // when tokens and registrations expire
  'proxy/sessions.ts', // the time of a session's start, for display
  'state.ts',
  'tunnel/ssm-channel.ts', // the date of a message, as the protocol asks for
  'upstream/bundle-cache.ts', // the validity of certificates
  'upstream/rds-bundle.ts',
  'upstream/refusal.ts', // when credentials expire
  'upstream/trust.ts',
]

test('durations, deadlines and rates do not use the wall clock', async t => {
  const src = new URL('../src/', import.meta.url)
  const files = (await readdir(src, { recursive: true })).filter(file => file.endsWith('.ts'))
  t.ok(files.length > 50)
  for (const file of files) {
    const text = await readFile(new URL(file, src), 'utf8')
    // A mention in a comment is not a call.
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '')
    const readsWallClock = /\bDate\.now\b/.test(code)
    t.ok(!readsWallClock || WALL_CLOCK_FILES.includes(file), `${file}: use monotonicClock, or add the file to the list`)
    t.notMatch(
      code,
      /set(Timeout|Interval)\([^;\n]*(deadline|timeLeft)/,
      `${file}: a timer until a deadline is monotonicClock.after`,
    )
  }
})

test('the monotonic clock: a step of the wall clock does not move it', async t => {
  const before = monotonicClock.now()
  t.intercept(Date, 'now', { value: () => 0 })
  t.ok(monotonicClock.now() >= before)
})

test('a timer runs once, and not after it is cancelled', async t => {
  const cancel = monotonicClock.after(0, () => t.fail('cancelled'))
  cancel()
  await new Promise<void>(resolve => monotonicClock.after(1, resolve))
})

test('a timer never gets a negative or invalid time, because Node.js would warn', async t => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  for (const time of [-1, Number.NEGATIVE_INFINITY, Number.NaN]) {
    await new Promise<void>(resolve => monotonicClock.after(time, resolve))
  }
  for (const time of [2 ** 31, Number.POSITIVE_INFINITY]) {
    const cancel = monotonicClock.after(time, () => t.fail('at once'))
    await new Promise<void>(resolve => monotonicClock.after(2, resolve))
    cancel()
  }
  t.same(warnings, [])
})

test('the test clock runs timers in their order, each at its time', async t => {
  const clock = createTestClock()
  const ran: [string, number][] = []
  clock.after(20, () => ran.push(['second', clock.now()]))
  clock.after(10, () => {
    ran.push(['first', clock.now()])
    clock.after(5, () => ran.push(['set by the first', clock.now()]))
  })
  const cancel = clock.after(12, () => ran.push(['cancelled', 0]))
  cancel()
  clock.advance(30)
  t.same(ran, [
    ['first', 10],
    ['set by the first', 15],
    ['second', 20],
  ])
  t.equal(clock.now(), 30)
  t.equal(clock.pending(), 0)
})
