/** The Grafana dashboard and the alert rules: their metrics exist, and their PromQL is valid. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { createMetrics } from '../../src/admin/metrics.ts'
import { createTunnelState, noteSync } from '../../src/state.ts'
import { parseMetrics, promtool } from '../support/prometheus.ts'
import { makeState } from '../support/states.ts'

const pathOf = (name: string) => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url))

const dashboard = JSON.parse(readFileSync(pathOf('grafana/dashboard.json'), 'utf8')) as {
  templating: { list: { name: string; definition?: string }[] }
  panels: { id: number; title: string; gridPos: object; targets: { expr: string; refId: string }[] }[]
}
const alerts = readFileSync(pathOf('prometheus/alerts.yaml'), 'utf8')
const expressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))

/** The names and labels of all possible samples. */
async function allMetrics() {
  const state = makeState({ credentialsExpire: 1, certificateExpires: 1, localCertificateExpires: () => 1 })
  noteSync(state, { outcome: 'unchanged', reason: undefined })
  state.tunnel = createTunnelState('the tunnel command ssh')
  const metrics = createMetrics(() => [state], '1.2.3')
  metrics.observe('database-1', 'total', 1)
  metrics.observe('database-1', 'tls', 1)
  const found = parseMetrics(await metrics.text())
  const samples = [...found.values()].flatMap(({ samples }) => samples)
  const names = new Set(samples.map(({ name }) => name))
  const labels = new Set(samples.flatMap(({ labels }) => Object.keys(labels)))
  return { names, labels, families: found }
}

function metricsIn(text: string): string[] {
  return text.match(/\b(?:mysql_iam_proxy|nodejs|process)_[a-z0-9_]+/g) ?? []
}

test('every metric and label of the examples exists', async t => {
  const { names, labels, families } = await allMetrics()
  const definitions = dashboard.templating.list.map(({ definition = '' }) => definition)
  const found = metricsIn([...expressions, ...definitions, alerts].join('\n'))
  t.ok(found.length > 40)
  for (const name of new Set(found)) t.ok(names.has(name) || families.has(name), name)
  // `instance` comes from Prometheus itself.
  const used = [...expressions, alerts].join('\n').matchAll(/([a-z]+)(?:=~|!~|!=|=)"/g)
  for (const label of new Set(Array.from(used, match => match[1] ?? '')))
    t.ok(labels.has(label) || label === 'instance', label)
})

test('each metric of the proxy is on the dashboard or in an alert', async t => {
  const { names } = await allMetrics()
  const shown = new Set(metricsIn([...expressions, alerts].join('\n')))
  const left = [...names].filter(name => name.startsWith('mysql_iam_proxy_') && !shown.has(name))
  t.same(left.sort(), [
    'mysql_iam_proxy_credentials_expiry_timestamp_seconds', // logins renew credentials, so expiry alone is no problem
    'mysql_iam_proxy_login_duration_seconds_count',
    'mysql_iam_proxy_login_duration_seconds_sum',
    'mysql_iam_proxy_login_phase_duration_seconds_count',
    'mysql_iam_proxy_login_phase_duration_seconds_sum',
    'mysql_iam_proxy_sync_last_pass_timestamp_seconds', // passes that fail are in mysql_iam_proxy_sync_passes_total
  ])
})

test('promtool accepts the alerts and each query of the dashboard', async t => {
  t.equal(await promtool(['check', 'rules', '--lint=all', '--lint-fatal', pathOf('prometheus/alerts.yaml')]), '')
  const rules = expressions.map((expr, index) => ({
    record: `query:${index}`,
    expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '6h'),
  }))
  const directory = t.testdir({ 'rules.json': JSON.stringify({ groups: [{ name: 'dashboard', rules }] }) })
  t.equal(await promtool(['check', 'rules', `${directory}/rules.json`]), '')
})

test('the dashboard is valid: unique ids, no overlapping panels, known variables', async t => {
  const { panels, templating } = dashboard
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  const places = new Set<string>()
  for (const { title, gridPos } of panels) {
    const { x, y, w, h } = gridPos as { x: number; y: number; w: number; h: number }
    t.ok(x + w <= 24, title)
    for (let i = x; i < x + w; i++) {
      for (let j = y; j < y + h; j++) {
        t.notOk(places.has(`${i} ${j}`), `${title} overlaps no other panel`)
        places.add(`${i} ${j}`)
      }
    }
  }
  const known = ['__rate_interval', '__range', '__all', ...templating.list.map(({ name }) => name)]
  const used = readFileSync(pathOf('grafana/dashboard.json'), 'utf8').matchAll(/\$\{?(\w+)/g)
  for (const variable of new Set(Array.from(used, match => match[1] ?? ''))) t.ok(known.includes(variable), variable)
})

/** The series of an idle proxy over two hours, in the notation of promtool: start+step×times. */
const IDLE = {
  'mysql_iam_proxy_build_info{instance="a"}': '1x120',
  'mysql_iam_proxy_credentials_ok{endpoint="db",instance="a"}': '1x120',
  'mysql_iam_proxy_sessions{endpoint="db",instance="a"}': '5x120',
  'mysql_iam_proxy_logins_in_progress{endpoint="db",instance="a"}': '0x120',
  'mysql_iam_proxy_max_connections{endpoint="db",instance="a"}': '0x120',
  'mysql_iam_proxy_logins_queued{endpoint="db",instance="a"}': '0x120',
  'mysql_iam_proxy_logins_total{code="OK",source="none",endpoint="db",instance="a"}': '0+60x120',
  'mysql_iam_proxy_logins_total{code="CLIENT_CLOSED",source="client",endpoint="db",instance="a"}': '0+60x120',
  'mysql_iam_proxy_login_duration_seconds_bucket{le="1",endpoint="db",instance="a"}': '0+60x120',
  'mysql_iam_proxy_login_duration_seconds_bucket{le="5",endpoint="db",instance="a"}': '0+60x120',
  'mysql_iam_proxy_login_duration_seconds_bucket{le="+Inf",endpoint="db",instance="a"}': '0+60x120',
  'mysql_iam_proxy_certificate_expiry_timestamp_seconds{certificate="server",endpoint="db",instance="a"}':
    '8640000x120',
  'mysql_iam_proxy_certificate_expiry_timestamp_seconds{certificate="roles_anywhere",endpoint="db",instance="a"}':
    '86400x120',
  'mysql_iam_proxy_sync_passes_total{outcome="unchanged",endpoint="db",instance="a"}': '0+2x120',
  'mysql_iam_proxy_sync_passes_total{outcome="failed",endpoint="db",instance="a"}': '0+1x120',
  'mysql_iam_proxy_tunnel_state{state="failed",endpoint="db",instance="a"}': '0x120',
  'mysql_iam_proxy_tunnel_restarts_total{endpoint="db",instance="a"}': '0x120',
  'mysql_iam_proxy_log_lines_dropped_total{instance="a"}': '0x120',
  'mysql_iam_proxy_draining_sessions{instance="a"}': '0x120',
  'nodejs_eventloop_lag_p99_seconds{instance="a"}': '0.011x120',
  'nodejs_eventloop_lag_p99_seconds{instance="another program"}': '9x120',
}

const PROBLEMS: Record<string, Record<string, string>> = {
  Absent: { 'mysql_iam_proxy_build_info{instance="a"}': '_x120' },
  NoCredentials: { 'mysql_iam_proxy_credentials_ok{endpoint="db",instance="a"}': '0x120' },
  LoginsFail: {
    'mysql_iam_proxy_logins_total{code="DIAL_TIMEOUT",source="network",endpoint="db",instance="a"}': '0+30x120',
  },
  WrongServer: {
    'mysql_iam_proxy_logins_total{code="TLS_WRONG_NAME",source="network",endpoint="db",instance="a"}': '_x115 1x4',
  },
  ConnectionsNearlyUsedUp: {
    'mysql_iam_proxy_max_connections{endpoint="db",instance="a"}': '10x120',
    'mysql_iam_proxy_logins_in_progress{endpoint="db",instance="a"}': '4.5x120',
  },
  LoginsQueue: { 'mysql_iam_proxy_logins_queued{endpoint="db",instance="a"}': '1x120' },
  LoginsSlow: {
    'mysql_iam_proxy_login_duration_seconds_bucket{le="1",endpoint="db",instance="a"}': '0+50x120',
  },
  CertificateExpiresSoon: {
    'mysql_iam_proxy_certificate_expiry_timestamp_seconds{certificate="server",endpoint="db",instance="a"}':
      '518400x120',
  },
  RolesAnywhereCertificateExpiresSoon: {
    'mysql_iam_proxy_certificate_expiry_timestamp_seconds{certificate="roles_anywhere",endpoint="db",instance="a"}':
      '20000x120',
  },
  TargetsOutOfSync: {
    'mysql_iam_proxy_sync_passes_total{outcome="unchanged",endpoint="db",instance="a"}': '5x120',
    'mysql_iam_proxy_sync_passes_total{outcome="unhealthy",endpoint="db",instance="a"}': '0+2x120',
  },
  TunnelFails: { 'mysql_iam_proxy_tunnel_restarts_total{endpoint="db",instance="a"}': '0+1x120' },
  LogLinesDropped: { 'mysql_iam_proxy_log_lines_dropped_total{instance="a"}': '0x110 5x10' },
  Busy: { 'nodejs_eventloop_lag_p99_seconds{instance="a"}': '0.2x120' },
}

test('each alert fires for its own problem only, and none fires on an idle proxy', async t => {
  const names = Array.from(alerts.matchAll(/alert: MysqlIamProxy(\w+)/g), match => match[1])
  t.same(names.toSorted(), Object.keys(PROBLEMS).toSorted())
  const scenarios: [string | undefined, Record<string, string>][] = [[undefined, {}], ...Object.entries(PROBLEMS)]
  const tests = scenarios.map(([name, series]) => ({
    interval: '1m',
    input_series: Object.entries({ ...IDLE, ...series }).map(([series, values]) => ({ series, values })),
    promql_expr_test: [
      {
        expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
        eval_time: '119m',
        exp_samples: name ? [{ labels: `{alertname="MysqlIamProxy${name}"}`, value: 1 }] : [],
      },
    ],
  }))
  const file = { rule_files: [pathOf('prometheus/alerts.yaml')], evaluation_interval: '1m', tests }
  const directory = t.testdir({ 'alerts.json': JSON.stringify(file) })
  t.equal(await promtool(['test', 'rules', `${directory}/alerts.json`]), '')
})
