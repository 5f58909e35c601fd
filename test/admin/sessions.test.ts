import { test } from 'tap'
import { createActivities } from '../../src/admin/activity.ts'
import { listSessions, readQuery } from '../../src/admin/sessions.ts'
import type { EndpointState } from '../../src/state.ts'
import { addSession, makeState } from '../support/states.ts'

/** The users of the rows that a request with these parameters gets. */
function usersOf(states: EndpointState[], parameters: string, activities = createActivities()) {
  const { rows } = listSessions(states, readQuery(new URLSearchParams(parameters)), activities, 100_000)
  return rows.map(({ user }) => user).join(' ')
}

test('sorting', t => {
  const state = makeState()
  const traffic = (bytesFromUpstream: number) => ({ bytesFromClient: 100 - bytesFromUpstream, bytesFromUpstream })
  addSession(state, { user: 'b', started: 1, traffic: traffic(2), program: undefined, threadId: 7, client: '10.0.0.1' })
  addSession(state, { user: 'a', started: 2, traffic: traffic(10), program: 'Tool', threadId: 8, client: '10.0.0.1' })
  addSession(state, { user: 'C', started: 3, traffic: traffic(1), threadId: undefined, activity: () => 'open' })
  for (const [parameters, users] of [
    ['', 'b a C'],
    ['sort=age&order=up', 'C a b'],
    ['sort=user&order=up', 'a b C'],
    ['sort=user', 'C b a'],
    ['sort=received', 'a b C'],
    ['sort=sent', 'C b a'],
    ['sort=thread', 'a b C'],
    ['sort=thread&order=up', 'b a C'],
    ['sort=program&order=up', 'C a b'],
    ['sort=client&order=up', 'b a C'],
    ['sort=status', 'C b a'],
    ['sort=session&order=up', 'b a C'],
    ['sort=database&order=up', 'b a C'],
    ['sort=endpoint', 'b a C'],
    ['sort=rate', 'b a C'],
    ['sort=quiet', 'b a C'],
    ['sort=toString', 'b a C'],
    ['rows=2', 'b a'],
  ] as const) {
    t.equal(usersOf([state], parameters), users, parameters)
  }
  t.end()
})

test('filters', t => {
  const shop = makeState({ name: 'shop' })
  const mail = makeState({ name: 'mail' })
  addSession(shop, {
    user: 'app',
    localUser: 'Team',
    started: 1,
    program: 'DBeaver',
    activity: () => 'in a transaction',
  })
  addSession(shop, { user: 'batch', started: 2, threadId: 777, client: '10.1.2.3' })
  addSession(mail, { user: 'new', started: 3, phase: 'logging in' })
  const states = [shop, mail]
  for (const [parameters, users] of [
    ['filter=team', 'app'],
    ['filter=DBEAVER+app', 'app'],
    ['filter=dbeaver+batch', ''],
    ['filter=10.1.', 'batch'],
    ['filter=777', 'batch'],
    ['filter=mail', 'new'],
    ['filter=%20', 'app batch new'],
    ['endpoint=shop', 'app batch'],
    ['endpoint=sho', ''],
    ['status=in+a+transaction', 'app'],
    ['status=logging+in', 'new'],
    ['status=idle&endpoint=shop', 'batch'],
  ] as const) {
    t.equal(usersOf(states, parameters), users, parameters)
  }
  const query = readQuery(new URLSearchParams('endpoint=shop&rows=1'))
  t.match(listSessions(states, query, createActivities(), 0), { rows: { length: 1 }, matching: 2, total: 3 })
  t.end()
})

test('the rate of a session, and since when it moves nothing', t => {
  const state = makeState()
  const busy = addSession(state, { user: 'busy', started: 1_000 })
  addSession(state, { user: 'quiet', started: 2_000 })
  const activities = createActivities()
  activities.tick([state], 10_000)
  t.equal(activities.rateOf(busy), undefined)
  busy.traffic.bytesFromUpstream = 4_000
  activities.tick([state], 12_000)
  t.equal(usersOf([state], 'sort=rate', activities), 'busy quiet')
  t.equal(usersOf([state], 'sort=quiet&order=up', activities), 'busy quiet')
  const { rows } = listSessions([state], readQuery(new URLSearchParams()), activities, 15_000)
  t.match(rows, [
    { age: 14_000, quiet: 3_000, rate: 2_000 },
    { age: 13_000, quiet: 5_000, rate: 0 },
  ])
  t.end()
})
