import type { LookupFunction } from 'node:net'
import { test } from 'tap'
import { createNameLookup, hasMore } from '../../src/upstream/name-lookup.ts'
import type { AskTimeToLive } from '../../src/upstream/time-to-live.ts'
import { createTestClock } from '../support/clock.ts'

const NLB = 'nlb.test'
const READER = 'db.cluster-ro-abc.eu-west-1.rds.amazonaws.com'

/** A system resolver and name servers that answer when the test says so. */
function setUp(ttl: number | 'unknown' = 60) {
  const clock = createTestClock(1_000)
  let addresses = ['10.0.0.1', '10.0.0.2']
  const asked: string[] = []
  const askedTtl: string[] = []
  const waiting: ((error?: Error) => void)[] = []
  let isSlow = false
  const resolve: LookupFunction = (host, { all }, done) => {
    asked.push(`${host}${all ? '' : ' one'}`)
    const found = addresses.map(address => ({ address, family: 4 }))
    const answer = (error?: Error) => (error ? done(error, []) : done(null, found))
    if (isSlow) waiting.push(answer)
    else answer()
  }
  const askTtl: AskTimeToLive = async (host, found) => {
    askedTtl.push([host, ...found.map(({ address }) => address)].join(' '))
    return ttl === 'unknown' ? undefined : ttl
  }
  const names = createNameLookup(askTtl, clock, resolve)
  /** The addresses of an answer, and where it is from. */
  const find = async (host = NLB) => {
    const { addresses, isReused } = await names.find(host)
    return [...addresses.map(({ address }) => address), isReused ? 'again' : 'new']
  }
  return {
    clock,
    names,
    find,
    asked,
    askedTtl,
    moveTo: (...to: string[]) => {
      addresses = to
    },
    setTtl: (seconds: number | 'unknown') => {
      ttl = seconds
    },
    /** From now on, the system's resolver answers with `answer`. */
    slowDown: () => {
      isSlow = true
    },
    waiting,
    answer: (error?: Error) => {
      for (const one of waiting.splice(0)) one(error)
    },
  }
}

test('an answer is used again for its time to live, and no longer', async t => {
  const { clock, find, asked, askedTtl, slowDown } = setUp(5)
  t.same(await find(), ['10.0.0.1', '10.0.0.2', 'new'])
  t.same(await find(), ['10.0.0.1', '10.0.0.2', 'again'])
  t.same(askedTtl, [`${NLB} 10.0.0.1 10.0.0.2`])
  clock.advance(2_499)
  t.same(await find(), ['10.0.0.1', '10.0.0.2', 'again'])
  t.equal(asked.length, 1)
  slowDown()
  clock.advance(1)
  t.same(await find(), ['10.0.0.1', '10.0.0.2', 'again'])
  t.equal(asked.length, 2, 'after half of it, the name is looked up in the background')
  clock.advance(2_499)
  t.same(await find(), ['10.0.0.1', '10.0.0.2', 'again'])
  t.equal(asked.length, 2)
  clock.advance(1)
  const late = find()
  t.equal(asked.length, 2, 'a login after it waits for that lookup')
  late.catch(() => {})
})

test('a new answer in the background begins a new time to live', async t => {
  const { clock, find, asked, askedTtl, moveTo } = setUp(5)
  await find()
  clock.advance(3_000)
  moveTo('10.0.0.2', '10.0.0.1')
  await find()
  clock.advance(4_000)
  t.same(await find(), ['10.0.0.2', '10.0.0.1', 'again'], 'with its order')
  t.equal(asked.length, 3)
  t.equal(askedTtl.length, 3)
})

test('other addresses replace an answer at once, and their own time to live counts', async t => {
  const { clock, find, asked, moveTo, setTtl } = setUp(60)
  await find()
  clock.advance(30_000)
  moveTo('10.0.0.3')
  setTtl('unknown')
  t.same(await find(), ['10.0.0.1', '10.0.0.2', 'again'])
  t.same(await find(), ['10.0.0.3', 'new'])
  t.same(await find(), ['10.0.0.3', 'new'])
  t.equal(asked.length, 4)
})

test('no answer is used for longer than a minute', async t => {
  const { clock, find } = setUp(86_400)
  await find()
  clock.advance(59_999)
  t.equal((await find()).at(-1), 'again')
  const { clock: other, find: findOther, slowDown } = setUp(86_400)
  await findOther()
  slowDown()
  other.advance(60_000)
  let settled = false
  void findOther().then(() => {
    settled = true
  })
  await new Promise(setImmediate)
  t.notOk(settled, 'it waits for a lookup')
})

test('after eight logins the name is looked up again, because DNS changes the order of addresses', async t => {
  const { find, asked, askedTtl, moveTo } = setUp(60)
  await find()
  moveTo('10.0.0.2', '10.0.0.1')
  for (let use = 1; use < 8; use++) {
    t.same(await find(), ['10.0.0.1', '10.0.0.2', 'again'])
    t.equal(asked.length, 1)
  }
  t.same(await find(), ['10.0.0.1', '10.0.0.2', 'again'])
  t.equal(asked.length, 2)
  t.same(await find(), ['10.0.0.2', '10.0.0.1', 'again'])
  t.equal(askedTtl.length, 1, 'its time to live goes on')
})

test('DNS without a time to live, or with 0: each login looks up the name', async t => {
  for (const ttl of ['unknown', 0] as const) {
    const { clock, find, asked, askedTtl } = setUp(ttl)
    for (let login = 1; login <= 3; login++) t.equal((await find()).at(-1), 'new')
    t.equal(asked.length, 3)
    clock.advance(9_999)
    await find()
    t.equal(askedTtl.length, 1, 'DNS is asked for it once in ten seconds')
    clock.advance(1)
    await find()
    t.equal(askedTtl.length, 2)
  }
})

test('without name servers to ask, nothing is used again', async t => {
  let lookups = 0
  const names = createNameLookup(undefined, createTestClock(), (_host, _options, done) => {
    lookups++
    done(null, '10.0.0.1', 4)
  })
  t.same(await names.find(NLB), { addresses: [{ address: '10.0.0.1', family: 4 }], isReused: false })
  await names.find(NLB)
  t.equal(lookups, 2)
})

test('a name that leads to another reader each time is looked up at each login', async t => {
  const { find, asked, askedTtl } = setUp(60)
  for (let login = 1; login <= 3; login++) t.equal((await find(READER)).at(-1), 'new')
  t.equal(asked.length, 3)
  t.same(askedTtl, [])
})

test('logins at the same time share one lookup, of each name', async t => {
  const { find, asked, slowDown, answer } = setUp()
  slowDown()
  const found = [...Array.from({ length: 50 }, () => find()), find('other.test')]
  t.same(asked, [NLB, 'other.test'])
  answer()
  for (const one of await Promise.all(found)) t.same(one, ['10.0.0.1', '10.0.0.2', 'new'])
})

test('logins share the failure of a lookup, and the next login looks up again', async t => {
  const { find, asked, slowDown, answer } = setUp()
  slowDown()
  const found = [find(), find()]
  answer(Object.assign(new Error('no answer'), { code: 'EAI_AGAIN' }))
  for (const one of found) await t.rejects(one, { code: 'EAI_AGAIN' })
  t.equal(asked.length, 1)
  const again = find()
  t.equal(asked.length, 2)
  answer()
  await again
})

test('a lookup that fails in the background leaves the answer until it expires', async t => {
  const { clock, find, slowDown, answer } = setUp(5)
  await find()
  slowDown()
  clock.advance(2_500)
  await find()
  answer(new Error('SERVFAIL'))
  await new Promise(setImmediate)
  clock.advance(2_499)
  t.equal((await find()).at(-1), 'again')
})

test('after a failure, each login looks up the name for two minutes', async t => {
  const { clock, names, find, asked } = setUp(5)
  await find()
  names.distrust(NLB)
  t.equal((await find()).at(-1), 'new')
  clock.advance(119_999)
  t.equal((await find()).at(-1), 'new')
  t.equal((await find()).at(-1), 'new')
  clock.advance(1)
  t.equal((await find()).at(-1), 'new')
  t.equal((await find()).at(-1), 'again')
  t.equal(asked.length, 5)
})

test('a failure while DNS is asked for the time to live counts', async t => {
  const clock = createTestClock()
  let say: (seconds: number) => void = () => {}
  const names = createNameLookup(
    () =>
      new Promise(resolve => {
        say = resolve
      }),
    clock,
    (_host, _options, done) => done(null, [{ address: '10.0.0.1', family: 4 }]),
  )
  await names.find(NLB)
  names.distrust(NLB)
  say(60)
  await new Promise(setImmediate)
  t.notOk((await names.find(NLB)).isReused)
})

test('a time to live counts only for the addresses that it was asked for', async t => {
  const clock = createTestClock()
  const say: ((seconds: number) => void)[] = []
  let address = '10.0.0.1'
  const names = createNameLookup(
    () => new Promise(resolve => say.push(resolve)),
    clock,
    (_host, _options, done) => done(null, [{ address, family: 4 }]),
  )
  await names.find(NLB)
  address = '10.0.0.2'
  await names.find(NLB)
  t.equal(say.length, 1)
  say[0]!(60)
  await new Promise(setImmediate)
  t.notOk((await names.find(NLB)).isReused)
})

test('after a change of the network, nobody waits for a lookup from before', async t => {
  const { names, find, asked, slowDown, waiting, answer } = setUp()
  slowDown()
  const before = find()
  names.forget()
  const after = find()
  t.equal(asked.length, 2)
  waiting.pop()!()
  t.same(await after, ['10.0.0.1', '10.0.0.2', 'new'])
  answer(new Error('the old network'))
  await t.rejects(before)
  t.equal((await find()).at(-1), 'again', 'the old failure changes nothing')
})

test('an address is no name to distrust, and old names are forgotten beyond 100', async t => {
  const { names, find, asked } = setUp()
  await find()
  names.distrust('10.0.0.1')
  t.equal((await find()).at(-1), 'again')
  for (let n = 1; n < 100; n++) await find(`nlb${n}.test`)
  t.equal((await find()).at(-1), 'again')
  await find('nlb100.test')
  t.equal((await find()).at(-1), 'new')
  t.equal(asked.length, 102)
})

test('whether an answer has an address that another has not', t => {
  const [one, two] = [
    { address: '10.0.0.1', family: 4 },
    { address: '10.0.0.2', family: 4 },
  ]
  t.ok(hasMore([one], [two]))
  t.ok(hasMore([one], [two, one]))
  t.notOk(hasMore([one, two], [two]))
  t.notOk(hasMore([one], [one]))
  t.end()
})
