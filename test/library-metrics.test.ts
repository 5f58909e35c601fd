/** The metrics of the library have the names, labels and values of the admin listener's. */
import { test } from 'tap'
import { createMetrics } from '../src/admin/metrics.ts'
import { metricsText } from '../src/admin/metrics-text.ts'
import { createProxy } from '../src/index.ts'
import { changeTunnel, countOutcome, createTunnelState } from '../src/state.ts'
import { createTestState } from './support/endpoint.ts'

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
  const all = new Set((await createMetrics(() => [state], '1.2.3').text()).split('\n'))
  const lines = metricsText(state).trimEnd().split('\n')
  t.ok(lines.length > 30)
  for (const line of lines) t.ok(all.has(line), line)
  t.ok(lines.some(line => line.startsWith('mysql_iam_proxy_logins_total') && line.includes('CLIENT_CLOSED')))
})

test('a proxy has metrics before it listens', t => {
  const proxy = createProxy({ rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', name: 'orders' })
  t.match(proxy.metrics(), /^mysql_iam_proxy_sessions\{endpoint="orders"\} 0$/m)
  t.notMatch(proxy.metrics(), /tunnel_state|process_/)
  t.ok(proxy.metrics().endsWith('\n'))
  t.end()
})
