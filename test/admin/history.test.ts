import { test } from 'tap'
import { createHistory } from '../../src/admin/history.ts'
import { pageStatus } from '../../src/admin/status.ts'
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
  t.same(history.slots(state), [
    { at: 2_000, fromClient: 100, fromServer: 0, logins: 3, median: 2, slowest: 3 },
    { at: 4_000, fromClient: 0, fromServer: 2_000, logins: 0 },
  ])
  for (let i = 3; i < 400; i++) history.tick([state], i * 2_000)
  t.equal(history.slots(state).length, 150)
  for (let i = 0; i < 1_000; i++) history.addLogin(state, 9)
  t.same(history.loginTime(state), { median: 9, p95: 9 }, 'over the newest logins')
  history.tick([state], 999_000)
  t.equal(history.slots(state).at(-1)?.logins, 1_000)
  t.equal(history.loginTime(makeState()), undefined)
})

test('an endpoint that a reload adds starts with the rate of its first slot', t => {
  const history = createHistory(0)
  history.tick([], 600_000)
  const state = makeState()
  addSession(state).traffic.bytesFromClient = 4_000
  history.tick([state], 602_000)
  t.equal(history.slots(state)[0]?.fromClient, 2_000)
  t.end()
})

test('steps of the wall clock move neither uptime nor slots', t => {
  const state = makeState()
  const history = createHistory(0)
  history.tick([state], 2_000)
  const statusAt = (wallClock: number) => {
    t.intercept(Date, 'now', { value: () => wallClock })
    return pageStatus([state], history, { version: '1.2.3', uptime: 3_000, isReady: true, notReady: [] })
  }
  for (const wallClock of [1_800_000_000_000, 1_800_000_000_000 - 3_600_000]) {
    const { now, startedAt, uptime, endpoints } = statusAt(wallClock)
    t.same({ now, startedAt, uptime }, { now: wallClock, startedAt: wallClock - 3_000, uptime: 3_000 })
    t.equal(endpoints[0]?.history[0]?.at, wallClock - 1_000)
  }
  t.end()
})
