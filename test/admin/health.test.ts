import { test } from 'tap'
import { createCredentialsRetry, readinessOf } from '../../src/admin/health.ts'
import { createTunnelState, type EndpointState } from '../../src/state.ts'
import { addSession, makeState } from '../support/states.ts'

const running = { isStarted: () => true, isStopping: () => false }

test('reasons not to be ready', async t => {
  const now = 1_000_000
  const reasons = (overrides: Partial<EndpointState>) => {
    const { isReady, reasons } = readinessOf([makeState(overrides)], running, 'any', now)
    t.equal(isReady, reasons.length === 0, 'the one endpoint decides')
    return reasons
  }
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
})

test('several endpoints: any or all', async t => {
  const good = makeState({ name: 'good' })
  const bad = makeState({ name: 'bad', credentialsFailed: true })
  const retired = makeState({ name: 'retired', retired: true })
  const reasons = ['bad: no AWS credentials']
  t.same(readinessOf([good, bad], running, 'any'), { isReady: true, reasons }, 'the reasons are listed anyway')
  t.same(readinessOf([good, bad], running, 'all'), { isReady: false, reasons })
  for (const rule of ['any', 'all'] as const) {
    t.same(readinessOf([bad, bad], running, rule), { isReady: false, reasons: [...reasons, ...reasons] }, rule)
    t.same(readinessOf([bad, retired], running, rule), { isReady: false, reasons }, 'a former endpoint does not count')
    t.same(readinessOf([good, good], running, rule), { isReady: true, reasons: [] }, rule)
    t.same(readinessOf([], running, rule), { isReady: true, reasons: [] }, 'no endpoint')
    const stopping = { ...running, isStopping: () => true }
    t.same(readinessOf([good], stopping, rule), { isReady: false, reasons: ['stopping'] })
  }
})

test('a login in progress uses a connection', async t => {
  const state = makeState({ maxConnections: 1 })
  addSession(state, { phase: 'logging in' })
  t.equal(readinessOf([state], running, 'any').isReady, false)
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

test('a tunnel that stays open counts, one that starts with a client does not', async t => {
  const reasons = (overrides: Partial<EndpointState>) => readinessOf([makeState(overrides)], running, 'any').reasons
  const failed = (isPermanent: boolean) => ({
    ...createTunnelState('the tunnel command ssh', undefined, isPermanent),
    word: 'failed' as const,
  })
  t.same(reasons({ tunnel: failed(true) }), ['database-1: the tunnel has failed'])
  t.same(reasons({ tunnel: { ...failed(true), word: 'open' } }), [])
  t.same(reasons({ tunnel: failed(false) }), [])
})
