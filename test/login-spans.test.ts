/** Traces of logins through a proxy. */
import { type Test, test } from 'tap'
import { createLoginTracer } from '../src/login-spans.ts'
import type { Span } from '../src/otlp.ts'
import type { ProxyOptions } from '../src/proxy/options.ts'
import { checkNoSecrets, connectMysql, logIn, startProxy, until } from './support/proxy.ts'
import { goodLogin, refuseLogin, type Script, startScriptedUpstream } from './support/scripted-upstream.ts'

async function traced(t: Test, scripts: Script[], ratio = 1, options: Partial<ProxyOptions> = {}) {
  const upstream = await startScriptedUpstream(t, scripts)
  const found = await startProxy(t, {
    connect: upstream.address,
    name: 'orders',
    tokenInHandshake: 'always',
    ...options,
  })
  const { proxy } = found
  const spans: Span[] = []
  proxy.state.tracer = createLoginTracer(proxy.endpoint, { add: more => spans.push(...more) }, ratio)
  return { ...found, upstream, spans }
}

test('a login is a span with its phases as children', async t => {
  const { address, spans, upstream, log } = await traced(t, [goodLogin])
  const connection = await connectMysql(address, { database: 'shop' })
  await connection.end()
  t.same(
    spans.map(({ name }) => name),
    ['mysql login', 'dial', 'client', 'token', 'tls', 'login'],
  )
  const [root, ...phases] = spans as [Span, ...Span[]]
  t.match(root, {
    kind: 2,
    parentSpanId: undefined,
    error: undefined,
    traceId: /^[0-9a-f]{32}$/,
    spanId: /^[0-9a-f]{16}$/,
  })
  t.match(root.attributes, {
    'db.system.name': 'mysql',
    'db.namespace': 'shop',
    'server.address': upstream.address.split(':')[0],
    'client.address': '127.0.0.1',
    'mysql_iam_proxy.endpoint': 'orders',
    'mysql_iam_proxy.session': log.find(({ message }) => message === 'session started')?.fields['session'],
    'mysql_iam_proxy.user': 'iam_user',
    'mysql_iam_proxy.thread_id': Number,
  })
  t.ok(Math.abs(root.start - Date.now()) < 3_600_000, 'in wall-clock time')
  for (const phase of phases) {
    t.match(phase, { traceId: root.traceId, parentSpanId: root.spanId, error: undefined }, phase.name)
    t.ok(phase.start >= root.start && phase.end <= root.end && phase.start <= phase.end, phase.name)
  }
  t.equal(new Set(spans.map(({ spanId }) => spanId)).size, spans.length)
  t.match(Object.fromEntries(phases.map(({ name, kind }) => [name, kind])), { dial: 3, client: 1, token: 1, tls: 3 })
  checkNoSecrets(t, spans as never)
})

test('a failed login has its error, and so has the phase that failed', async t => {
  const { address, spans, log } = await traced(t, [async peer => peer.close()])
  const { error } = await logIn(t, address)
  t.ok(error)
  t.match(spans, [
    { name: 'mysql login', error: 'UPSTREAM_CLOSED' },
    { name: 'dial', error: 'UPSTREAM_CLOSED' },
  ])
  checkNoSecrets(t, [...log, ...(spans as never[])])
})

test('names that clients choose are cut: many spans may wait', async t => {
  const { address, spans } = await traced(t, [goodLogin])
  const connection = await connectMysql(address, { database: 'd'.repeat(60_000) })
  await connection.end()
  t.equal(spans[0]?.attributes['db.namespace'], `${'d'.repeat(256)}…`)
})

test('a login that the server refuses', async t => {
  const { address, spans } = await traced(t, [refuseLogin()])
  await logIn(t, address)
  await until(() => spans.length > 0)
  t.match(spans[0], { name: 'mysql login', error: String })
})

test('logins at the same time do not mix; each is in one trace', async t => {
  const { address, spans } = await traced(t, [goodLogin, goodLogin, goodLogin])
  await Promise.all([1, 2, 3].map(async () => (await connectMysql(address)).end()))
  const ids = new Set(spans.map(({ traceId }) => traceId))
  t.equal(ids.size, 3)
  for (const id of ids) {
    const trace = spans.filter(({ traceId }) => traceId === id)
    t.equal(trace.length, 6)
    t.equal(trace.filter(({ parentSpanId }) => parentSpanId === undefined).length, 1)
  }
})

test('a sampler leaves logins out', async t => {
  const { address, spans } = await traced(t, [goodLogin], 0)
  await (await connectMysql(address)).end()
  t.same(spans, [])
})
