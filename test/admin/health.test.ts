import { test } from 'tap'
import { createCredentialsRetry, whyNotReady } from '../../src/admin/health.ts'
import type { EndpointState } from '../../src/state.ts'
import { addSession, makeState } from '../support/states.ts'

test('reasons not to be ready', async t => {
  const now = 1_000_000
  const life = { isStarted: () => true, isStopping: () => false }
  const reasons = (overrides: Partial<EndpointState>) => whyNotReady([makeState(overrides)], life, now)
  t.same(reasons({}), [])
  t.same(reasons({ maxConnections: 0, sessions: new Set([addSession(makeState())]) }), [], '0 is no limit')
  t.same(reasons({ credentialsFailed: true }), ['database-1: no AWS credentials'])
  t.same(reasons({ credentialsFailed: true, credentialsExpire: now }), ['database-1: no AWS credentials'])
  t.same(
    reasons({ credentialsFailed: true, credentialsExpire: now + 1 }),
    [],
    'the previous credentials are still valid',
  )
  t.same(reasons({ credentialsExpire: now - 1 }), [], 'the next login requests new ones')
  const down = new Map([['DIAL_REFUSED', 99] as const])
  t.same(reasons({ outcomes: down, certificateExpires: 1 }), [], 'an unreachable database is not a reason')
  t.same(reasons({ credentialsFailed: true, retired: true }), [], 'it accepts no more clients')
  const two = [makeState({ credentialsFailed: true }), makeState({ name: 'two', credentialsFailed: true })]
  t.equal(whyNotReady(two, life, now).length, 2)
})

test('a login in progress uses a connection', async t => {
  const state = makeState({ maxConnections: 1 })
  addSession(state, { phase: 'logging in' })
  const life = { isStarted: () => true, isStopping: () => false }
  t.equal(whyNotReady([state], life).length, 1)
})

test('missing credentials are requested again without a login', async t => {
  let requests = 0
  const retryCredentials = () => {
    requests++
  }
  const state = makeState({ retryCredentials, credentialsFailed: true })
  const retry = createCredentialsRetry(0)
  for (let now = 0; now <= 30_000; now += 2_000) retry([state, makeState({ credentialsFailed: true })], now)
  t.equal(requests, 3, 'every ten seconds')
  state.credentialsFailed = false
  retry([state], 60_000)
  t.equal(requests, 3)
})
