import { test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { createAdmission, type Place } from '../../src/proxy/admission.ts'
import { createTestClock } from '../support/clock.ts'

/** Lets promises that are settled run their callbacks. */
const settled = () => new Promise(resolve => setImmediate(resolve))

const TIMEOUT_MS = 8_000

function create(max: number) {
  const clock = createTestClock(1_000)
  const admission = createAdmission(max, clock)
  /** A client that wants a place; `place` is its place, `error` what it got instead. */
  let isPatient = false
  const come = (source = 'a') => {
    const disconnected = new AbortController()
    const client = {
      place: admission.tryEnter(source) as Place | undefined,
      error: undefined as ProxyError | Error | undefined,
      leave: () => disconnected.abort(new Error('gone')),
    }
    if (!client.place) {
      admission
        .enter(source, TIMEOUT_MS, disconnected.signal, () => isPatient)
        .then(
          place => {
            client.place = place
          },
          error => {
            client.error = error
          },
        )
    }
    return client
  }
  const comeMany = (count: number, source?: string) => Array.from({ length: count }, () => come(source))
  const pass = async (milliseconds: number) => {
    for (let left = milliseconds; left >= 0; left -= 250) {
      await settled()
      if (left > 0) clock.advance(Math.min(left, 250))
    }
    await settled()
  }
  const setPatient = (value: boolean) => {
    isPatient = value
  }
  return { clock, admission, come, comeMany, pass, setPatient }
}

type Client = ReturnType<ReturnType<typeof create>['come']>

const inside = (clients: Client[]) => clients.filter(({ place }) => place).length
const codeOf = ({ error }: Client) => (error instanceof ProxyError ? error.code : error?.message)

/** A client that has its greeting and says nothing; `wasLost` once it has lost its place, which it then leaves. */
function beSilent({ place }: Client) {
  const silent = { socket: { bytesRead: 0 }, wasLost: false, code: '' }
  place!.watch(silent.socket)
  place!.lost.catch((error: ProxyError) => {
    Object.assign(silent, { wasLost: true, code: error.code })
    place!.leave()
  })
  return silent
}

test('one source gets three quarters of the places', async t => {
  const { come, comeMany } = create(20)
  const many = comeMany(300, 'a')
  t.equal(inside(many), 15)
  t.ok(come('b').place)
  t.equal(inside(comeMany(300, 'c')), 4, 'the others together get the rest')
  t.notOk(come('d').place)
  t.equal(inside(create(1).comeMany(3)), 1)
  t.equal(inside(create(0).comeMany(3_000)), 3_000, '0 is no limit')
})

test('sources take turns', async t => {
  const { comeMany, pass } = create(4)
  const held = comeMany(3, 'a')
  const last = comeMany(1, 'x')
  const order: string[] = []
  const waiting = ['a', 'a', 'a', 'b', 'c', 'b'].map((source, index) => ({
    source,
    index,
    client: comeMany(1, source)[0]!,
  }))
  for (let time = 0; time < 6; time++) {
    held.push(...last.splice(0))
    const next = held.shift()!
    next.place!.leave()
    await pass(0)
    for (const { source, index, client } of waiting) {
      if (!client.place || order.includes(`${source}${index}`)) continue
      order.push(`${source}${index}`)
      held.push(client)
    }
  }
  t.same(order, ['a0', 'b3', 'c4', 'a1', 'b5', 'a2'])
})

test('of one source the oldest is next, and the newest once the oldest has waited a second', async t => {
  const { come, pass } = create(1)
  const holder = come()
  const [first, second, third] = [come(), come(), come()]
  await pass(1_000)
  holder.place!.leave()
  await pass(0)
  t.same(
    [first, second, third].map(({ place }) => Boolean(place)),
    [true, false, false],
  )
  await pass(250)
  first.place!.leave()
  await pass(0)
  t.same(
    [second, third].map(({ place }) => Boolean(place)),
    [false, true],
  )
})

test('a silent client loses its place while others wait', async t => {
  const { comeMany, come, pass } = create(20)
  const silent = comeMany(15).map(beSilent)
  await pass(60_000)
  t.notOk(
    silent.some(({ wasLost }) => wasLost),
    'not while nobody waits',
  )
  const next = come()
  await pass(250)
  t.ok(next.place, 'its silence before counts')
  t.equal(silent.filter(({ wasLost }) => wasLost).length, 1, 'only as many as others need')
  t.equal(silent[0]!.code, 'CLIENT_TIMEOUT')
})

test('a process that did not run blames no client for its silence', async t => {
  const { clock, comeMany, come, pass, setPatient } = create(20)
  setPatient(true)
  const silent = comeMany(15).map(beSilent)
  const next = come()
  // As after a sleep, where the clock went on and the timers did not.
  clock.skip(5_000)
  await pass(2_500)
  t.notOk(silent.some(({ wasLost }) => wasLost))
  await pass(1_000)
  t.ok(next.place, 'from then on it counts again')
})

test('a flood of silent clients: a later honest client of the same source gets in within its deadline', async t => {
  const { comeMany, come, pass } = create(20)
  const flood = comeMany(310)
  for (const client of flood) if (client.place) beSilent(client)
  await pass(1_250)
  const honest = come()
  await pass(3_000)
  t.ok(honest.place)
})

test('a client that sends bytes is not silent, and neither is one that waits for the proxy', async t => {
  const { comeMany, come, pass } = create(4)
  const [talks, waits, unwatched] = comeMany(3)
  const talking = beSilent(talks!)
  const waiting = beSilent(waits!)
  const inDial = { wasLost: false }
  unwatched!.place!.lost.catch(() => {
    inDial.wasLost = true
  })
  come()
  waits!.place!.unwatch()
  for (let time = 0; time < 7; time++) {
    talking.socket.bytesRead++
    await pass(1_000)
  }
  t.same([talking.wasLost, waiting.wasLost, inDial.wasLost], [false, false, false])
})

test('a silent client keeps its place where it is in nobody’s way', async t => {
  const { comeMany, come, pass } = create(20)
  const silent = beSilent(come('a'))
  const others = comeMany(15, 'b').map(beSilent)
  come('b')
  await pass(5_000)
  t.notOk(silent.wasLost, 'the client that waits could not have this place')
  t.ok(others.some(({ wasLost }) => wasLost))
})

test('a client that waits too long gets an error, and one that disconnects gives up its turn', async t => {
  const { come, pass } = create(1)
  const holder = come()
  const [late, gone, aborted] = [come(), come(), come()]
  gone.leave()
  await pass(TIMEOUT_MS)
  t.equal(codeOf(late), 'TOO_MANY_UNAUTHENTICATED')
  t.match(late.error!.message, 'waited 8 s for one of 1 places')
  t.equal(codeOf(gone), 'gone')
  t.equal(codeOf(aborted), 'TOO_MANY_UNAUTHENTICATED')
  holder.place!.leave()
  t.ok(come().place, 'no place is lost')
})

test('a client that has disconnected does not begin to wait', async t => {
  const { admission, come } = create(1)
  const holder = come()
  await t.rejects(admission.enter('a', TIMEOUT_MS, AbortSignal.abort(new Error('gone'))), { message: 'gone' })
  holder.place!.leave()
  t.ok(come().place)
})

test('1,000 clients wait; beyond, the oldest of the source with most of them is refused', async t => {
  const { comeMany, come, pass } = create(1)
  come('x')
  const few = comeMany(10, 'few')
  const many = comeMany(1_000, 'many')
  await pass(0)
  t.equal(few.filter(codeOf).length, 0)
  t.equal(many.filter(codeOf).length, 10)
  t.equal(codeOf(many[9]!), 'TOO_MANY_UNAUTHENTICATED')
  t.notOk(codeOf(many[10]!))
})

test('a failure to reach the server is shared with those that wait', async t => {
  const { admission, comeMany, pass } = create(10)
  const failing = comeMany(8, 'a')
  const waiting = comeMany(80, 'a')
  const error = new ProxyError('DIAL_TIMEOUT', 'no answer')
  admission.shareFailure(error)
  await pass(0)
  t.equal(waiting.filter(client => codeOf(client) === 'DIAL_TIMEOUT').length, 10, 'an eighth: eight are trying')
  t.equal(codeOf(waiting[0]!), 'DIAL_TIMEOUT', 'the oldest first')
  for (const { place } of failing) place!.leave()
  await pass(0)
  t.equal(inside(waiting), 8)
  admission.shareFailure(error)
  admission.shareFailure(error)
})

test('a place can be left once only', async t => {
  const { come } = create(1)
  const { place } = come()
  place!.leave()
  come()
  place!.leave()
  t.notOk(come().place)
})

test('while the database resumes, a client waits for a place for longer', async t => {
  const { come, pass, setPatient } = create(1)
  const first = come('b')
  const second = come()
  setPatient(true)
  await pass(3 * TIMEOUT_MS)
  t.equal(codeOf(second), undefined)
  setPatient(false)
  await pass(TIMEOUT_MS)
  t.equal(codeOf(second), 'TOO_MANY_UNAUTHENTICATED')
  t.match(second.error?.message, /waited 32 s/)
  first.place!.leave()
})
