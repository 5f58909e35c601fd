/** Metrics and status for sessions on a real server. */
import { once } from 'node:events'
import mysql from 'mysql2/promise'
import { test } from 'tap'
import { startAdmin } from '../../src/admin/server.ts'
import type { Status } from '../../src/admin/status.ts'
import { silent } from '../../src/log.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import { realServer } from '../support/mariadb.ts'
import { parseMetrics, valueIn } from '../support/prometheus.ts'
import { connect, startProxy } from '../support/raw-client.ts'

test('logins, sessions, bytes and closing, on a real server', async t => {
  const server = await realServer(t)
  const proxy = createProxy({
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    listen: '127.0.0.1:0',
    name: 'real',
    credentials: server.keys.longTerm,
    ca: [server.ca],
    caOnly: true,
  })
  t.teardown(() => proxy.close())
  const admin = await startAdmin(
    {
      listen: { host: '127.0.0.1', port: 0 },
      token: undefined,
      readyWhen: 'any',
      endpoints: () => [proxy.state],
      isStarted: () => true,
      isStopping: () => false,
      version: '1.2.3',
    },
    silent,
  )
  t.teardown(() => admin.close())
  const url = `http://127.0.0.1:${admin.address?.port}`
  const scrape = async () => parseMetrics(await (await fetch(`${url}/metrics`)).text())
  const status = async () => (await (await fetch(`${url}/api/status`)).json()) as Status

  const { host, port } = await proxy.listen()
  const client = await mysql.createConnection({
    host,
    port,
    user: 'iam_user',
    connectAttributes: { program_name: 'tap' },
  })
  client.on('error', () => {})
  await client.query("SELECT REPEAT('x', 100000)")
  await mysql.createConnection({ host, port, user: 'app' }).catch(() => undefined)

  const metrics = await scrape()
  const value = (name: string, labels: Record<string, string> = {}) =>
    valueIn(metrics, `mysql_iam_proxy_${name}`, { endpoint: 'real', ...labels }) ?? -1
  t.equal(value('sessions'), 1)
  t.equal(value('logins_total', { code: 'OK', source: 'none' }), 1)
  t.equal(value('logins_total', { code: 'AUTH_PLUGIN_UNEXPECTED', source: 'database' }), 1)
  t.equal(value('credentials_ok'), 1)
  t.ok(value('bytes_total', { direction: 'from_server' }) > 100_000)
  t.ok(value('certificate_expiry_timestamp_seconds', { certificate: 'server' }) > Date.now() / 1_000)
  t.equal(value('login_duration_seconds_count'), 1)
  for (const phase of ['dial', 'client', 'token', 'tls', 'login']) {
    t.ok(value('login_phase_duration_seconds_count', { phase }) >= 1, phase)
  }

  const { endpoints, sessions, errors, notReady } = await status()
  t.same(notReady, [])
  t.match(endpoints, [{ name: 'real', open: 1, loginsOK: 1, loginsFailed: 1, loginTime: { median: Number } }])
  t.match(sessions, [
    { user: 'iam_user', client: '127.0.0.1', program: 'tap', threadId: client.threadId, status: 'idle' },
  ])
  t.match(errors, [{ code: 'AUTH_PLUGIN_UNEXPECTED', user: 'app' }])

  const clientEnd = once(client, 'end').catch(error => error)
  const answer = await fetch(`${url}/api/sessions/real/${sessions[0]?.id}/close`, { method: 'POST' })
  t.equal(answer.status, 200)
  await clientEnd
  await t.rejects(client.query('SELECT 1'), 'the client lost its connection')
  const after = await scrape()
  t.equal(valueIn(after, 'mysql_iam_proxy_sessions', { endpoint: 'real' }), 0)
  t.equal(
    valueIn(after, 'mysql_iam_proxy_bytes_total', { endpoint: 'real', direction: 'from_server' }),
    value('bytes_total', { direction: 'from_server' }),
    'the bytes of the closed session stay counted',
  )
})

test('the version of TLS to each client', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server, { caOnly: true })
  const plain = await connect(proxy)
  const encrypted = await connect(proxy, { ssl: { rejectUnauthorized: false } })
  const [first, second] = proxy.state.sessions
  t.equal(first?.tls, undefined)
  t.match(second?.tls, /^TLSv1\.[23]$/)
  await Promise.all([plain.end(), encrypted.end()])
})
