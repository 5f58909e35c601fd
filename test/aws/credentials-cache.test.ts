/** How long credentials are kept, with a provider that answers when the test says so. */
import { execFile } from 'node:child_process'
import { watch } from 'node:fs'
import { setImmediate as settle } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { type Credentials, cacheUntilExpiry } from '../../src/aws/credentials.ts'
import { createClock } from '../support/moving-clock.ts'

const minute = 60_000

/** Replaces setTimeout for one test. The timers fire when the test calls them. */
function captureTimers(t: Test) {
  const timers: { milliseconds: number; fire(): void; isCleared: boolean }[] = []
  const value = (fire: () => void, milliseconds: number) => {
    const timer = { milliseconds, fire, isCleared: false }
    timers.push(timer)
    return { unref: () => timer }
  }
  t.intercept(globalThis, 'setTimeout', { value })
  t.intercept(globalThis, 'clearTimeout', {
    value: (timer: (typeof timers)[number]) => {
      timer.isCleared = true
    },
  })
  return timers
}

/** A provider that answers when the test says so. */
function createProvider() {
  const waiting: { resolve(credentials: Credentials): void; reject(error: Error): void }[] = []
  let calls = 0
  return {
    calls: () => calls,
    provider: () => {
      calls += 1
      return new Promise<Credentials>((resolve, reject) => waiting.push({ resolve, reject }))
    },
    answer: (credentials: Credentials) => waiting.shift()!.resolve(credentials),
    fail: (error: Error) => waiting.shift()!.reject(error),
  }
}

/** Credentials that expire in `milliseconds`. */
function expiring(accessKeyId: string, milliseconds: number): Credentials {
  return { accessKeyId, secretAccessKey: 'x', expiration: new Date(Date.now() + milliseconds) }
}

test('concurrent logins share one lookup', async t => {
  const { provider, calls, answer } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const waiting = [credentials(), credentials(), credentials()]
  await settle()
  t.equal(calls(), 1)
  answer(expiring('first', 60 * minute))
  t.same(
    (await Promise.all(waiting)).map(({ accessKeyId }) => accessKeyId),
    ['first', 'first', 'first'],
  )
})

/** Credentials that were looked up once and expire in an hour. */
async function keepFirst(t: Test) {
  const clock = createClock(t)
  const { provider, ...told } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const first = credentials()
  told.answer(expiring('first', 60 * minute))
  await first
  return { clock, credentials, ...told }
}

test('credentials are cached', async t => {
  const { clock, credentials, calls } = await keepFirst(t)
  for (const minutes of [0, 10, 40]) {
    clock.advance(minutes * minute)
    t.equal((await credentials()).accessKeyId, 'first')
  }
  t.equal(calls(), 1)
})

test('after a sleep, a lookup from before does not keep logins waiting', async t => {
  const { provider, calls, answer } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const before = credentials()
  await settle()
  credentials.refresh()
  const after = credentials()
  await settle()
  t.equal(calls(), 2, 'the first may hang on a dead connection')
  answer(expiring('of the first', 60 * minute))
  answer(expiring('of the second', 60 * minute))
  t.equal((await before).accessKeyId, 'of the first')
  t.equal((await after).accessKeyId, 'of the second')
  t.equal((await credentials()).accessKeyId, 'of the second')
})

test('after a sleep, credentials with an expiry stay until then, whatever the monotonic clock says', async t => {
  const { clock, credentials, calls, answer } = await keepFirst(t)
  credentials.refresh()
  t.equal((await credentials()).accessKeyId, 'first')
  t.equal(calls(), 1)
  clock.sleep(61 * minute)
  credentials.refresh()
  const renewed = credentials()
  await settle()
  t.equal(calls(), 2, 'they expired during the sleep')
  answer(expiring('second', 60 * minute))
  t.equal((await renewed).accessKeyId, 'second')
})

test('after a sleep, credentials without an expiry are looked up again', async t => {
  const { provider, calls, answer } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const first = credentials()
  answer({ accessKeyId: 'first', secretAccessKey: 'x' })
  await first
  await credentials()
  t.equal(calls(), 1)
  credentials.refresh()
  const second = credentials()
  await settle()
  answer({ accessKeyId: 'second', secretAccessKey: 'x' })
  t.equal((await second).accessKeyId, 'second')
  t.equal(calls(), 2)
})

test('credentials are renewed in the background before they expire', async t => {
  const { clock, credentials, calls, answer } = await keepFirst(t)
  clock.advance(57 * minute)
  t.equal((await credentials()).accessKeyId, 'first', 'no login waits for the renewal')
  t.equal((await credentials()).accessKeyId, 'first')
  t.equal(calls(), 2, 'one renewal at a time')
  answer(expiring('second', 60 * minute))
  await settle()
  t.equal((await credentials()).accessKeyId, 'second')
  t.equal(calls(), 2)
})

test('credentials that are handed out shortly before they expire are not requested again for every login', async t => {
  const clock = createClock(t)
  const { provider, calls, answer } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const expires = Date.now() + 4 * minute
  const last = () => answer({ accessKeyId: 'last', secretAccessKey: 'x', expiration: new Date(expires) })
  const first = credentials()
  last()
  await first
  for (const ms of [0, 10_000, 19_000]) {
    clock.advance(ms)
    t.equal((await credentials()).accessKeyId, 'last')
  }
  t.equal(calls(), 1)
  clock.advance(1_000)
  await credentials()
  await credentials()
  t.equal(calls(), 2, 'but every 30 s')
  last()
  await settle()
  clock.advance(4 * minute)
  const waiting = credentials()
  t.equal(calls(), 3, 'and always if they have expired')
  answer(expiring('next', 60 * minute))
  t.equal((await waiting).accessKeyId, 'next')
})

test('expired credentials are never used', async t => {
  const { clock, credentials, calls, answer } = await keepFirst(t)
  clock.advance(60 * minute)
  const waiting = credentials()
  await settle()
  t.equal(calls(), 2)
  answer(expiring('second', 60 * minute))
  t.equal((await waiting).accessKeyId, 'second', 'they wait for new ones')
})

test('a failed renewal keeps the old credentials until they expire, and is retried', async t => {
  const { clock, credentials, calls, fail } = await keepFirst(t)
  clock.advance(57 * minute)
  await credentials()
  fail(new Error('no network'))
  await settle()
  t.equal((await credentials()).accessKeyId, 'first')
  t.equal(calls(), 2, 'not at once')
  clock.advance(minute / 2)
  t.equal((await credentials()).accessKeyId, 'first')
  t.equal(calls(), 3)
  fail(new Error('no network'))
  await settle()
  clock.advance(4 * minute)
  const last = credentials()
  fail(new Error('still no network'))
  await t.rejects(last, { message: 'still no network' }, 'then the login fails')
})

test('a failure is not cached', async t => {
  const { provider, calls, answer, fail } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const both = [credentials(), credentials()]
  fail(new Error('no network'))
  for (const one of both) await t.rejects(one, { message: 'no network' })
  const next = credentials()
  answer(expiring('second', 60 * minute))
  t.equal((await next).accessKeyId, 'second')
  t.equal(calls(), 2)
})

test('a provider that throws synchronously fails like any other', async t => {
  let calls = 0
  const credentials = cacheUntilExpiry(() => {
    calls += 1
    if (calls === 1) throw new Error('at once')
    return Promise.resolve(expiring('second', 60 * minute))
  })
  await t.rejects(credentials(), { message: 'at once' })
  t.equal((await credentials()).accessKeyId, 'second')
})

test('a lookup that takes too long does not block later logins', async t => {
  const timers = captureTimers(t)
  const { provider, calls, answer } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const first = credentials()
  t.same(
    timers.map(({ milliseconds }) => milliseconds),
    [minute],
  )
  timers[0]?.fire()
  const second = credentials()
  t.equal(calls(), 2, 'a new lookup')
  answer(expiring('slow', 60 * minute))
  t.equal((await first).accessKeyId, 'slow', 'the login that waited still gets it')
  answer(expiring('second', 60 * minute))
  t.equal((await second).accessKeyId, 'second')
})

test('a program that hangs is ended at the limit, and the error says so', async t => {
  const timers = captureTimers(t)
  const directory = t.testdir({})
  const started = new Promise<void>(resolve => {
    const watcher = watch(directory, () => {
      watcher.close()
      resolve()
    })
  })
  const hang = () =>
    new Promise<Credentials>((_resolve, reject) => {
      execFile('/bin/sh', ['-c', 'trap "" TERM; : > started; sleep 600'], { cwd: directory }, reject)
    })
  const waiting = cacheUntilExpiry(hang)()
  await started
  timers[0]?.fire()
  await t.rejects(waiting, {
    code: 'CREDENTIALS_FAILED',
    message: 'credential_process did not finish within 60 s and was ended',
  })
})

test('an abandoned lookup does not replace newer credentials', async t => {
  const timers = captureTimers(t)
  const { provider, calls, answer } = createProvider()
  const late: ((credentials: Credentials) => void)[] = []
  const credentials = cacheUntilExpiry(() =>
    late.length === 0 ? new Promise(resolve => late.push(resolve)) : provider(),
  )
  const first = credentials()
  timers[0]?.fire()
  const second = credentials()
  answer(expiring('newer', 60 * minute))
  t.equal((await second).accessKeyId, 'newer')
  late[0]?.(expiring('older', 60 * minute))
  t.equal((await first).accessKeyId, 'older')
  t.equal((await credentials()).accessKeyId, 'newer', 'the newer ones stay')
  t.equal(calls(), 1)
})

test('a step of the wall clock does not shorten or prolong the cache of credentials without an expiry', async t => {
  const now = Date.now
  const { provider, calls, answer } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const first = credentials()
  answer({ accessKeyId: 'first', secretAccessKey: 'x' })
  await first
  for (const step of [-24 * 60 * minute, 24 * 60 * minute]) {
    t.intercept(Date, 'now', { value: () => now() + step })
    t.equal((await credentials()).accessKeyId, 'first')
  }
  t.equal(calls(), 1)
})

test('a step of the wall clock never keeps credentials for longer than they had left', async t => {
  for (const step of [-24 * 60 * minute, -minute]) {
    const { clock, credentials, calls, answer } = await keepFirst(t)
    const now = Date.now
    t.intercept(Date, 'now', { value: () => now() + step })
    clock.advance(50 * minute)
    await credentials()
    t.equal(calls(), 1)
    clock.advance(10 * minute)
    const waiting = credentials()
    t.equal(calls(), 2)
    answer(expiring('second', 60 * minute))
    t.equal((await waiting).accessKeyId, 'second')
  }
})

test('credentials without an expiry are kept for a minute', async t => {
  const clock = createClock(t)
  const { provider, calls, answer } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const first = credentials()
  answer({ accessKeyId: 'first', secretAccessKey: 'x' })
  await first
  clock.advance(minute - 1)
  await credentials()
  t.equal(calls(), 1)
  clock.advance(1)
  t.equal((await credentials()).accessKeyId, 'first', 'and used while new ones are requested')
  t.equal(calls(), 2)
})

test('credentials are used up to the last millisecond', async t => {
  const clock = createClock(t)
  for (const lifetime of [20_000, minute]) {
    const { provider, calls, answer } = createProvider()
    const credentials = cacheUntilExpiry(provider)
    const first = credentials()
    answer(expiring('first', lifetime))
    await first
    clock.advance(lifetime - 1)
    const { accessKeyId } = await Promise.race([credentials(), settle({ accessKeyId: 'it waits' })])
    t.equal(accessKeyId, 'first')
    t.equal(calls(), lifetime === minute ? 2 : 1, 'no renewal within 30 s')
    clock.advance(1)
    const next = Promise.race([credentials(), settle({ accessKeyId: 'it waits' })])
    t.equal((await next).accessKeyId, 'it waits')
    t.equal(calls(), 2)
  }
})

test('after a sleep, credentials that expire soon are renewed without a pause', async t => {
  createClock(t)
  const { provider, calls, answer } = createProvider()
  const credentials = cacheUntilExpiry(provider)
  const first = credentials()
  answer(expiring('first', 4 * minute))
  await first
  await credentials()
  t.equal(calls(), 1)
  credentials.refresh()
  t.equal((await credentials()).accessKeyId, 'first')
  t.equal(calls(), 2)
})

test('a lookup that is done has no limit any more', async t => {
  const timers = captureTimers(t)
  const { provider, answer, fail } = createProvider()
  const failing = cacheUntilExpiry(provider)()
  fail(new Error('no network'))
  await t.rejects(failing, { message: 'no network' })
  const lookup = cacheUntilExpiry(provider)()
  answer(expiring('first', 60 * minute))
  await lookup
  t.same(
    timers.map(({ isCleared }) => isCleared),
    [true, true],
  )
})
