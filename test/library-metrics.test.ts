/** The metrics of the library have the names, labels and values of the admin listener's. */
import { test } from 'tap'
import { createMetrics } from '../src/admin/metrics.ts'
import { createDurations, metricsText } from '../src/admin/metrics-text.ts'
import { createProxy } from '../src/index.ts'
import { LIBRARY_VERSION } from '../src/library-version.ts'
import { changeTunnel, countOutcome, createTunnelState, noteSync } from '../src/state.ts'
import { packageVersion } from '../src/version.ts'
import { createTestState } from './support/endpoint.ts'
import { parseMetrics, promtool } from './support/prometheus.ts'

test('metrics() has the lines of the admin listener', async t => {
  const state = createTestState()
  state.name = 'a "name" with \\'
  state.credentialsExpire = 1_700_000_000_000
  state.certificateExpires = 1_800_000_000_500
  state.tunnel = createTunnelState('the tunnel')
  changeTunnel(state.tunnel, 'open')
  countOutcome(state, 'OK')
  countOutcome(state, 'CLIENT_CLOSED')
  state.ended.bytesFromClient = 12
  noteSync(state, { outcome: 'changed', reason: undefined })
  const durations = createDurations()
  const metrics = createMetrics(() => [state], LIBRARY_VERSION)
  for (const [phase, milliseconds] of [
    ['dial', 3],
    ['dial', 5],
    ['tls', 20_000],
    ['total', 0.1],
    ['total', 700],
  ] as const) {
    durations.observe(phase, milliseconds)
    metrics.observe(state.name, phase, milliseconds)
  }
  const text = metricsText(state, durations)
  const [all, own] = [parseMetrics(await metrics.text()), parseMetrics(text)]
  const names = (found: typeof all) => [...found.keys()].filter(name => name.startsWith('mysql_iam_proxy_')).sort()
  const ofProgram = ['mysql_iam_proxy_draining_sessions', 'mysql_iam_proxy_log_lines_dropped_total']
  t.same(
    names(own),
    names(all).filter(name => !ofProgram.includes(name)),
    'every metric but those of the program itself',
  )
  for (const [name, { type, help, samples }] of own) {
    const other = all.get(name)
    t.match({ type, help }, { type: other?.type, help: other?.help })
    const sorted = (of: typeof samples) =>
      of.map(one => JSON.stringify([one.name, Object.entries(one.labels).sort(), one.value])).sort()
    t.same(sorted(samples), sorted(other?.samples ?? []), name)
  }
  t.match(text, /logins_total\{.*CLIENT_CLOSED/)
  t.equal(await promtool(['check', 'metrics'], text), '')
})

test('the version of the library is that of the package', t => {
  t.equal(LIBRARY_VERSION, packageVersion())
  t.end()
})

test('a proxy has metrics before it listens', t => {
  const proxy = createProxy({ rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', name: 'orders' })
  t.match(proxy.metrics(), /^mysql_iam_proxy_sessions\{endpoint="orders"\} 0$/m)
  t.notMatch(proxy.metrics(), /tunnel_state|process_/)
  t.ok(proxy.metrics().endsWith('\n'))
  t.end()
})
