import { test } from 'tap'
import { createActivities } from '../../src/admin/activity.ts'
import { createHistory } from '../../src/admin/history.ts'
import { pageStatus } from '../../src/admin/status.ts'
import { countOutcome } from '../../src/state.ts'
import { addSession, makeState } from '../support/states.ts'

test('rates and logins of the last five minutes', async t => {
  const state = makeState()
  const history = createHistory(0)
  const { traffic } = addSession(state)
  traffic.bytesFromClient = 200
  for (const milliseconds of [3, 1, 2]) history.addLogin(state, milliseconds)
  history.tick([state], 2_000)
  traffic.bytesFromUpstream = 4_000
  history.tick([state], 4_000)
  t.same(history.slots(state, '5m'), [
    { at: 2_000, fromClient: 100, fromServer: 0, logins: 3, failed: 0, median: 2, slowest: 3 },
    { at: 4_000, fromClient: 0, fromServer: 2_000, logins: 0, failed: 0 },
  ])
  for (let i = 3; i < 400; i++) history.tick([state], i * 2_000)
  t.equal(history.slots(state, '5m').length, 150)
  for (let i = 0; i < 1_000; i++) history.addLogin(state, 9)
  t.same(history.loginTime(state), { median: 9, p95: 9 }, 'over the newest logins')
  history.tick([state], 999_000)
  t.equal(history.slots(state, '5m').at(-1)?.logins, 1_000)
  t.equal(history.loginTime(makeState()), undefined)
})

test('an endpoint that a reload adds starts with the rate of its first slot', t => {
  const history = createHistory(0)
  history.tick([], 600_000)
  const state = makeState()
  addSession(state).traffic.bytesFromClient = 4_000
  history.tick([state], 602_000)
  t.equal(history.slots(state, '5m')[0]?.fromClient, 2_000)
  t.end()
})

test('steps of the wall clock move neither uptime nor slots', t => {
  const state = makeState()
  const history = createHistory(0)
  history.tick([state], 2_000)
  const statusAt = (wallClock: number) => {
    t.intercept(Date, 'now', { value: () => wallClock })
    const facts = {
      version: '1.2.3',
      uptime: 3_000,
      isReady: true,
      notReady: [],
      busy: 0,
      sessionsLimit: undefined,
      mayClose: true,
      drainingSessions: 0,
    }
    return pageStatus([state], { history, activities: createActivities() }, facts)
  }
  for (const wallClock of [1_800_000_000_000, 1_800_000_000_000 - 3_600_000]) {
    const { now, startedAt, uptime, endpoints } = statusAt(wallClock)
    t.same({ now, startedAt, uptime }, { now: wallClock, startedAt: wallClock - 3_000, uptime: 3_000 })
    t.equal(endpoints[0]?.history[0]?.at, wallClock - 1_000)
  }
  t.end()
})

test('24 hours in four ranges, with a bounded number of slots', t => {
  const state = makeState()
  const history = createHistory(0)
  for (let now = 2_000; now <= 26 * 3_600_000; now += 2_000) {
    if (now === 3_600_000) history.addLogin(state, 500)
    history.addLogin(state, 10)
    if (now % 4_000 === 0) countOutcome(state, 'DIAL_TIMEOUT')
    history.tick([state], now)
  }
  for (const [range, length, logins] of [
    ['5m', 150, 1],
    ['1h', 180, 10],
    ['6h', 180, 60],
    ['24h', 180, 240],
  ] as const) {
    const slots = history.slots(state, range)
    t.equal(slots.length, length, range)
    t.match(slots.at(-1), { logins, median: 10, slowest: 10 }, range)
    t.equal(slots.at(-1)?.failed, range === '5m' ? 1 : logins / 2)
  }
  t.notOk(
    history.slots(state, '24h').some(({ slowest }) => slowest === 500),
    'older than the range',
  )
  t.same(history.lastMinute(state, 26 * 3_600_000), { logins: 30, failed: 15 })
  t.equal(history.peaks(state).loginsPerMinute, 31)
  t.equal(history.lastLogin(state), 26 * 3_600_000)
  t.equal(history.lastLogin(makeState()), undefined)
  t.end()
})
