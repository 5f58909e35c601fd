/** The life of a proxy without a proxy: every call in every state, and every pair of calls. */
import { getEventListeners } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { createLife, END_MS, type Running } from '../../src/proxy/life.ts'
import { createTestClock } from '../support/clock.ts'

/** A promise that the test settles. */
function gate<Value>() {
  let open = (_value: Value) => {}
  let fail = (_error: unknown) => {}
  const promise = new Promise<Value>((resolve, reject) => {
    open = resolve
    fail = reject
  })
  return { promise, open, fail }
}

function start({ signal, opensAtOnce = true }: { signal?: AbortSignal; opensAtOnce?: boolean } = {}) {
  const clock = createTestClock()
  const life = createLife<string>(signal, clock)
  const calls: string[] = []
  const opened = gate<Running<string>>()
  const ended = gate<void>()
  const running: Running<string> = {
    address: 'address',
    stopListening: () => void calls.push('stopListening'),
    close(delay) {
      calls.push(`close ${delay}`)
      return ended.promise
    },
  }
  const listen = () =>
    life.listen(() => {
      calls.push('open')
      return opensAtOnce ? Promise.resolve(running) : opened.promise
    })
  return { life, calls, clock, listen, running, opened, ended }
}

/** What has become of a promise by now. */
async function settled(work: Promise<unknown>): Promise<string> {
  await setImmediate()
  const outcome = work.then(
    value => `resolves ${value ?? ''}`.trim(),
    error => (error instanceof ProxyError ? error.code : String(error)),
  )
  return await Promise.race([outcome, setImmediate('waits')])
}

type Started = ReturnType<typeof start>

/** What leads to a state. */
const STATES: Record<string, () => Promise<Started>> = {
  idle: async () => start(),
  'listen() is pending': async () => {
    const one = start({ opensAtOnce: false })
    one.listen().catch(() => {})
    return one
  },
  listening: async () => {
    const one = start()
    await one.listen()
    return one
  },
  'stopListening() was called': async () => {
    const one = await STATES['listening']!()
    one.life.stopListening()
    return one
  },
  'close() is pending': async () => {
    const one = await STATES['listening']!()
    void one.life.close(5)
    return one
  },
  closed: async () => {
    const one = start()
    await one.life.close()
    return one
  },
}

const CALLS: Record<string, (one: Started) => Promise<unknown>> = {
  'listen()': one => one.listen(),
  'stopListening()': async one => one.life.stopListening(),
  'close()': one => one.life.close(),
}

/** By state and call: its outcome, the state after it, and what the listener got. As in the table of docs/library.md. */
const TABLE: Record<string, Record<string, [outcome: string, state: string, calls: string[]]>> = {
  idle: {
    'listen()': ['resolves address', 'listening', ['open']],
    'stopListening()': ['resolves', 'idle', []],
    'close()': ['resolves', 'closed', []],
  },
  'listen() is pending': {
    'listen()': ['waits', 'listening', ['open']],
    'stopListening()': ['resolves', 'closing', ['open']],
    'close()': ['waits', 'closing', ['open']],
  },
  listening: {
    'listen()': ['resolves address', 'listening', ['open']],
    'stopListening()': ['resolves', 'closing', ['open', 'stopListening']],
    'close()': ['waits', 'closing', ['open', 'close 0']],
  },
  'stopListening() was called': {
    'listen()': ['PROXY_STOPPING', 'closing', ['open', 'stopListening']],
    'stopListening()': ['resolves', 'closing', ['open', 'stopListening']],
    'close()': ['waits', 'closing', ['open', 'stopListening', 'close 0']],
  },
  'close() is pending': {
    'listen()': ['PROXY_STOPPING', 'closing', ['open', 'close 5']],
    'stopListening()': ['resolves', 'closing', ['open', 'close 5']],
    'close()': ['waits', 'closing', ['open', 'close 5', 'close 0']],
  },
  closed: {
    'listen()': ['PROXY_STOPPING', 'closed', []],
    'stopListening()': ['resolves', 'closed', []],
    'close()': ['resolves', 'closed', []],
  },
}

test('every call in every state', async t => {
  t.same(Object.keys(TABLE), Object.keys(STATES))
  for (const [name, arrive] of Object.entries(STATES)) {
    t.same(Object.keys(TABLE[name]!), Object.keys(CALLS))
    for (const [call, run] of Object.entries(CALLS)) {
      const one = await arrive()
      const result = run(one)
      result.catch(() => {})
      const expected = TABLE[name]![call]!
      t.same([await settled(result), one.life.state(), one.calls], expected, `${name}: ${call}`)
    }
  }
})

test('every pair of calls at the same time ends with nothing open', async t => {
  for (const opensAtOnce of [true, false]) {
    for (const [first, runFirst] of Object.entries(CALLS)) {
      for (const [second, runSecond] of Object.entries(CALLS)) {
        const one = start({ opensAtOnce })
        const results = [runFirst(one), runSecond(one)]
        for (const result of results) result.catch(() => {})
        one.opened.open(one.running)
        one.ended.open()
        const outcomes = await Promise.all(results.map(settled))
        const name = `${first}, ${second}: ${outcomes}`
        t.notOk(outcomes.includes('waits'), name)
        if (first !== 'listen()' && second !== 'listen()') t.notOk(one.calls.includes('open'), name)
        await one.life.close()
        t.equal(one.life.state(), 'closed', name)
        t.equal(one.calls.includes('open'), one.calls.includes('close 0'), `${name}; what was opened is closed`)
        t.equal(one.clock.pending(), 0, `${name}; no timer is left`)
      }
    }
  }
})

test('a listen() that is given up never listens', async t => {
  for (const giveUp of ['close()', 'stopListening()']) {
    const one = start({ opensAtOnce: false })
    const listening = one.listen()
    listening.catch(() => {})
    const ended = CALLS[giveUp]!(one)
    t.equal(await settled(listening), 'PROXY_STOPPING', giveUp)
    one.opened.open(one.running)
    await setImmediate()
    t.same(one.calls, ['open', 'close 0'], `${giveUp}: what it opens is closed at once`)
    one.ended.open()
    await ended
    await setImmediate()
    t.equal(one.life.state(), 'closed')
    t.equal(one.clock.pending(), 0)
  }
  const failing = start({ opensAtOnce: false })
  failing.listen().catch(() => {})
  const closed = failing.life.close()
  failing.opened.fail(new Error('no'))
  await closed
  t.equal(failing.life.state(), 'closed', 'also one that fails then')
})

test('a listen() that hangs holds close() up for a second', async t => {
  const one = start({ opensAtOnce: false })
  one.listen().catch(() => {})
  const closed = one.life.close(60_000)
  one.clock.advance(END_MS - 1)
  t.equal(await settled(closed), 'waits')
  one.clock.advance(1)
  t.equal(await settled(closed), 'resolves')
  t.equal(one.life.state(), 'closed')
})

test('a listen() that fails may be called again', async t => {
  const controller = new AbortController()
  const one = start({ signal: controller.signal })
  await t.rejects(
    one.life.listen(() => Promise.reject(new Error('in use'))),
    { message: 'in use' },
  )
  t.equal(one.life.state(), 'idle')
  t.equal(getEventListeners(controller.signal, 'abort').length, 0)
  t.equal(await one.listen(), 'address')
})

test('the error after the end says what to do', async t => {
  const { life, listen } = start()
  await life.close()
  await t.rejects(listen(), {
    code: 'PROXY_STOPPING',
    message: 'the proxy is closed, or it no longer listens',
    hint: 'A proxy listens once. Create another one with createProxy.',
  })
})

test('a delay that is no number of milliseconds closes nothing', async t => {
  const one = start()
  await one.listen()
  const cases: [delay: unknown, shown: string][] = [
    ['5s', '5s'],
    [-1, '-1'],
    [Number.NaN, 'NaN'],
    [null, 'object'],
    [new Event('abort'), 'object'],
    [5n, 'bigint'],
  ]
  for (const [delay, shown] of cases) {
    await t.rejects(one.life.close(delay as number), {
      code: 'CONFIG_INVALID',
      message: `close: the delay (${shown}) is not a number of milliseconds from 0`,
      hint: /^Call close\(\)/,
    })
  }
  t.equal(one.life.state(), 'listening')
  one.ended.open()
  await one.life.close(Number.POSITIVE_INFINITY)
  t.same(one.calls, ['open', 'close Infinity'])
})

test('a signal: before, during and after listen()', async t => {
  const reason = new Error('the test ends')
  const before = start({ signal: AbortSignal.abort(reason) })
  await t.rejects(before.listen(), reason)
  await t.rejects(before.listen(), reason, 'each time')
  t.same([before.life.state(), before.calls], ['closed', []])

  const while_ = new AbortController()
  const during = start({ signal: while_.signal, opensAtOnce: false })
  const listening = during.listen()
  while_.abort(reason)
  await t.rejects(listening, reason)
  during.ended.open()
  during.opened.open(during.running)
  await during.life.close()
  t.same([during.life.state(), during.calls.slice(0, 2)], ['closed', ['open', 'close 0']])
  t.equal(getEventListeners(while_.signal, 'abort').length, 0)

  const later = new AbortController()
  const after = start({ signal: later.signal })
  await after.listen()
  t.equal(getEventListeners(later.signal, 'abort').length, 1)
  later.abort(reason)
  t.same([after.life.state(), after.calls], ['closing', ['open', 'close 0']])
  await t.rejects(after.listen(), reason)
  after.ended.open()
  await after.life.close()
  t.same([after.life.state(), getEventListeners(later.signal, 'abort').length], ['closed', 0])
})

test('a signal that aborts while close() waits for transactions ends them', async t => {
  const controller = new AbortController()
  const one = start({ signal: controller.signal })
  await one.listen()
  const closed = one.life.close(60_000)
  controller.abort()
  t.same(one.calls, ['open', 'close 60000', 'close 0'])
  one.ended.open()
  await closed
  t.equal(one.life.state(), 'closed')
  t.equal(getEventListeners(controller.signal, 'abort').length, 0)
})

test('proxies share a signal', async t => {
  const controller = new AbortController()
  const all = Array.from({ length: 30 }, () => start({ signal: controller.signal }))
  await Promise.all(all.map(one => one.listen()))
  controller.abort()
  for (const one of all) {
    one.ended.open()
    await one.life.close()
    t.equal(one.life.state(), 'closed')
  }
  t.equal(getEventListeners(controller.signal, 'abort').length, 0)
})
