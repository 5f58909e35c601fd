import { test } from 'tap'
import { createMetrics } from '../../src/admin/metrics.ts'
import { changeTunnel, createTunnelState, type EndpointState } from '../../src/state.ts'
import { parseMetrics, promtool, samples, valueIn } from '../support/prometheus.ts'
import { addSession, makeState } from '../support/states.ts'

/** Metrics of these states, and a function that scrapes them. */
function scraper(states: EndpointState[]) {
  const metrics = createMetrics(() => states, '1.2.3')
  return { metrics, scrape: async () => parseMetrics(await metrics.text()) }
}

const ENDPOINT = { endpoint: 'database-1' }

test('gauges and counters of a state', async t => {
  const state = makeState({
    maxConnections: 50,
    loginsQueued: 3,
    outcomes: new Map([
      ['OK', 7],
      ['DIAL_TIMEOUT', 2],
    ]),
    credentialsExpire: 1_800_000_000_500,
    certificateExpires: 1_900_000_000_000,
    localCertificateExpires: () => 2_000_000_000_000,
    rolesAnywhereCertificateExpires: 2_100_000_000_000,
  })
  addSession(state)
  addSession(state)
  addSession(state, { phase: 'logging in', user: undefined })
  const found = await scraper([state]).scrape()
  const value = (name: string, labels = {}) => valueIn(found, `mysql_iam_proxy_${name}`, { ...ENDPOINT, ...labels })
  t.equal(value('sessions'), 2)
  t.equal(value('logins_in_progress'), 1)
  t.equal(value('max_connections'), 50)
  t.equal(value('logins_queued'), 3)
  t.equal(value('logins_total', { code: 'OK', source: 'none' }), 7)
  t.equal(value('logins_total', { code: 'DIAL_TIMEOUT', source: 'network' }), 2)
  t.equal(value('credentials_ok'), 1)
  t.equal(value('credentials_expiry_timestamp_seconds'), 1_800_000_000.5)
  t.equal(value('certificate_expiry_timestamp_seconds', { certificate: 'server' }), 1_900_000_000)
  t.equal(value('certificate_expiry_timestamp_seconds', { certificate: 'local' }), 2_000_000_000)
  t.equal(value('certificate_expiry_timestamp_seconds', { certificate: 'roles_anywhere' }), 2_100_000_000)
  t.equal(valueIn(found, 'mysql_iam_proxy_build_info', { version: '1.2.3', node: process.version }), 1)
  t.equal(samples(found, 'nodejs_eventloop_lag_p99_seconds').length, 1)
  t.equal(samples(found, 'process_resident_memory_bytes').length, 1)
})

test('unknown times have no sample; counters start at 0', async t => {
  const found = await scraper([makeState({ credentialsFailed: true })]).scrape()
  t.same(samples(found, 'mysql_iam_proxy_credentials_expiry_timestamp_seconds'), [])
  t.same(samples(found, 'mysql_iam_proxy_certificate_expiry_timestamp_seconds'), [])
  t.equal(valueIn(found, 'mysql_iam_proxy_credentials_ok', ENDPOINT), 0)
  t.equal(valueIn(found, 'mysql_iam_proxy_logins_total', { ...ENDPOINT, code: 'OK', source: 'none' }), 0)
  t.equal(valueIn(found, 'mysql_iam_proxy_bytes_total', { ...ENDPOINT, direction: 'from_client' }), 0)
})

test('bytes as they travelled: fewer in compressed sessions, the same in others', async t => {
  const state = makeState()
  const { scrape } = scraper([state])
  addSession(state, { traffic: { bytesFromClient: 10, bytesFromUpstream: 100 } })
  const compressed = addSession(state, {
    traffic: { bytesFromClient: 10, bytesFromUpstream: 10_000 },
    compressed: { compression: 'zstd', bytesFromClient: 17, bytesFromUpstream: 4_000 },
  })
  const values = async () => {
    const found = await scrape()
    return ['bytes', 'line_bytes'].map(name =>
      ['from_client', 'from_server'].map(direction =>
        valueIn(found, `mysql_iam_proxy_${name}_total`, { ...ENDPOINT, direction }),
      ),
    )
  }
  const expected = [
    [20, 10_100],
    [27, 4_100],
  ]
  t.same(await values(), expected)
  compressed.close('SESSION_CLOSED')
  t.same(await values(), expected, 'also once the session has ended')
})

test('phases of a login, in seconds', async t => {
  const { metrics, scrape } = scraper([makeState()])
  metrics.observe('database-1', 'tls', 3)
  metrics.observe('database-1', 'tls', 700)
  const found = await scrape()
  const labels = { ...ENDPOINT, phase: 'tls' }
  const bucket = (le: string) =>
    valueIn(found, 'mysql_iam_proxy_login_phase_duration_seconds_bucket', { ...labels, le })
  t.same(['0.0025', '0.005', '0.5', '1', '+Inf'].map(bucket), [0, 1, 1, 2, 2])
  t.equal(valueIn(found, 'mysql_iam_proxy_login_phase_duration_seconds_count', labels), 2)
  t.equal(valueIn(found, 'mysql_iam_proxy_login_phase_duration_seconds_sum', labels), 0.703)
})

test('counters never decrease', async t => {
  const states = [makeState()]
  const { scrape } = scraper(states)
  const bytes = async (direction: string) =>
    valueIn(await scrape(), 'mysql_iam_proxy_bytes_total', { ...ENDPOINT, direction })

  const traffic = { bytesFromClient: 100, bytesFromUpstream: 1_000 }
  const session = addSession(states[0]!, { traffic })
  t.equal(await bytes('from_client'), 100)
  t.equal(await bytes('from_server'), 1_000)
  traffic.bytesFromUpstream = 3_000
  t.equal(await bytes('from_server'), 3_000)
  session.close('SESSION_CLOSED')
  t.equal(await bytes('from_server'), 3_000, 'when a session ends')
  const { ended } = states[0]!
  states[0]!.ended = { bytesFromClient: 0, bytesFromUpstream: 0 }
  t.equal(await bytes('from_server'), 3_000, 'even before the session is added to the ended ones')
  states[0]!.ended = ended
  ended.bytesFromUpstream += 5
  t.equal(await bytes('from_server'), 3_005)

  states[0]!.outcomes.set('OK', 4)
  await scrape()
  states[0] = makeState({ outcomes: new Map([['OK', 1]]), ended: { bytesFromClient: 1, bytesFromUpstream: 1 } })
  t.equal(await bytes('from_server'), 3_006, 'when a reload replaces the state')
  t.equal(valueIn(await scrape(), 'mysql_iam_proxy_logins_total', { ...ENDPOINT, code: 'OK', source: 'none' }), 5)
})

test('a removed endpoint leaves the metrics', async t => {
  const states = [makeState({ certificateExpires: 1, credentialsExpire: 1 })]
  const { metrics, scrape } = scraper(states)
  metrics.observe('database-1', 'total', 5)
  states[0]!.outcomes.set('TLS_EXPIRED', 1)
  await scrape()
  states[0] = makeState({ name: 'database-2' })
  const text = await metrics.text()
  t.notMatch(text, 'database-1')
  t.equal(valueIn(parseMetrics(text), 'mysql_iam_proxy_sessions', { endpoint: 'database-2' }), 0)
})

test('a retired endpoint whose sessions are still open', async t => {
  const states = [makeState({ maxConnections: 5, loginsQueued: 1, credentialsExpire: 1_000 })]
  const old = states[0]!
  const traffic = { bytesFromClient: 0, bytesFromUpstream: 100 }
  const session = addSession(old, { traffic })
  const { scrape } = scraper(states)
  await scrape()
  old.retired = true
  states.unshift(makeState({ maxConnections: 9 }))
  addSession(states[0]!)
  const both = await scrape()
  t.equal(valueIn(both, 'mysql_iam_proxy_sessions', ENDPOINT), 2, 'the sum of both')
  t.equal(valueIn(both, 'mysql_iam_proxy_logins_queued', ENDPOINT), 1)
  t.equal(valueIn(both, 'mysql_iam_proxy_max_connections', ENDPOINT), 9, 'the limit of the current endpoint')
  t.same(samples(both, 'mysql_iam_proxy_credentials_expiry_timestamp_seconds'), [])
  traffic.bytesFromUpstream = 400
  session.close('SESSION_CLOSED')
  states.pop()
  const labels = { ...ENDPOINT, direction: 'from_server' }
  t.equal(
    valueIn(await scrape(), 'mysql_iam_proxy_bytes_total', labels),
    400,
    'with the last bytes of the retired endpoint',
  )
  old.ended.bytesFromUpstream += 1
  t.equal(
    valueIn(await scrape(), 'mysql_iam_proxy_bytes_total', labels),
    400,
    'after that, its state is no longer read',
  )
})

test('users, addresses and messages are never labels', async t => {
  const state = makeState({ loginsQueued: 1 })
  const { metrics, scrape } = scraper([state])
  const before = ownSamples(await scrape()).length
  for (let i = 0; i < 100; i++) {
    addSession(state, { user: `user-${i}`, client: `10.0.0.${i}`, program: `program-${i}` })
    const who = { session: `user-${i}`, localUser: `user-${i}`, user: `user-${i}`, client: `10.0.0.${i}` }
    state.recentErrors.push({
      at: 1,
      firstAt: 1,
      count: 1,
      code: 'INTERNAL',
      message: `message-${i}`,
      hint: `hint-${i}`,
      ...who,
    })
  }
  t.equal(ownSamples(await scrape()).length, before)
  t.notMatch(await metrics.text(), /user-|10\.0\.0|program-|message-|hint-/)
})

function ownSamples(found: Awaited<ReturnType<ReturnType<typeof scraper>['scrape']>>) {
  return [...found].filter(([name]) => name.startsWith('mysql_iam_proxy_')).flatMap(([, { samples }]) => samples)
}

test('special characters in an endpoint name are escaped', async t => {
  const found = await scraper([makeState({ name: 'a "b"\\c\nd' })]).scrape()
  t.equal(valueIn(found, 'mysql_iam_proxy_sessions', { endpoint: 'a \\"b\\"\\\\c\\nd' }), 0)
})

test('promtool reports no problem', async t => {
  const state = makeState({ certificateExpires: 1, credentialsExpire: 1, outcomes: new Map([['OK', 1]]) })
  const { metrics } = scraper([state, makeState({ name: 'two' })])
  metrics.observe('database-1', 'total', 5)
  addSession(state)
  t.equal(await promtool(['check', 'metrics'], await metrics.text()), '')
})

test('the state of a tunnel and its restarts', async t => {
  const state = makeState({ tunnel: createTunnelState('the tunnel command ssh') })
  const states = [state, makeState({ name: 'other' })]
  const metrics = createMetrics(() => states, '1.2.3')
  changeTunnel(state.tunnel!, 'open')
  state.tunnel!.restarts = 2
  const found = parseMetrics(await metrics.text())
  const samples = found.get('mysql_iam_proxy_tunnel_state')!.samples.map(({ labels, value }) => [labels, value])
  t.same(
    samples,
    ['idle', 'starting', 'open', 'failed'].map(word => [
      { endpoint: 'database-1', state: word },
      word === 'open' ? 1 : 0,
    ]),
  )
  t.equal(valueIn(found, 'mysql_iam_proxy_tunnel_restarts_total', { endpoint: 'database-1' }), 2)
  states.shift()
  t.notMatch(await metrics.text(), /tunnel_restarts_total\{/)
})
