import { test } from 'tap'
import { ProxyError } from '../src/errors.ts'
import { countFailed, countOutcome, keepError } from '../src/state.ts'
import { addSession, makeState } from './support/states.ts'

test('equal errors share a record, and do not displace others', async t => {
  const state = makeState()
  const keep = (message: string, user: string) =>
    keepError(state, new ProxyError('DIAL_TIMEOUT', message), { user }, addSession(makeState(), { id: user }))
  keep('rare', 'a')
  for (let i = 0; i < 500; i++) keep('frequent', `b${i}`)
  keep('rare', 'c')
  t.match(state.recentErrors, [
    { message: 'frequent', count: 500, user: 'b499', session: 'b499' },
    { message: 'rare', count: 2, user: 'c' },
  ])
  t.ok(state.recentErrors.every(({ firstAt, at }) => firstAt <= at))
  for (let i = 0; i < 100; i++) keep(`other ${i}`, 'd')
  t.equal(state.recentErrors.length, 50)
})

test('failures in a row', async t => {
  const state = makeState()
  countOutcome(state, 'DIAL_TIMEOUT')
  countOutcome(state, 'TLS_WRONG_NAME')
  countOutcome(state, 'CLIENT_ACCESS_DENIED')
  t.match(state.failing, { count: 2, code: 'TLS_WRONG_NAME' }, 'a mistake of a client does not count')
  t.equal(countFailed(state), 3)
  countOutcome(state, 'OK')
  t.equal(state.failing, undefined)
  t.equal(countFailed(state), 3)
})
