import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { readAdminToken } from '../../src/admin/guard.ts'
import { type AdminOptions, startAdmin } from '../../src/admin/server.ts'
import { MAX_SESSIONS } from '../../src/admin/sessions.ts'
import type { Status } from '../../src/admin/status.ts'
import { type Logger, silent } from '../../src/log.ts'
import { freePort } from '../support/free-port.ts'
import { parseMetrics, valueIn } from '../support/prometheus.ts'
import { addSession, makeState, NLB, RDS } from '../support/states.ts'

const TOKEN = 'admin-token-of-the-tests'
const bearer = { authorization: `Bearer ${TOKEN}` }

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

interface TestAdmin {
  port: number
  healthPort: number | undefined
  watchAll(): void
  ask(method: string, path: string, headers?: Record<string, string>, body?: string): Promise<Answer>
  status(): Promise<Status>
}

async function start(t: Test, options: Partial<AdminOptions> = {}, log: Logger = silent): Promise<TestAdmin> {
  const admin = await startAdmin(
    {
      listen: { host: '127.0.0.1', port: 0 },
      token: undefined,
      readyWhen: 'any',
      endpoints: () => [],
      isStarted: () => true,
      isStopping: () => false,
      version: '1.2.3',
      ...options,
    },
    log,
  )
  t.teardown(() => admin.close())
  const port = (admin.address ?? admin.healthAddress)!.port
  const ask: TestAdmin['ask'] = (...request) => askAt(port, ...request)
  return {
    port,
    healthPort: admin.healthAddress?.port,
    watchAll: admin.watchAll,
    ask,
    status: async () => JSON.parse((await ask('GET', '/api/status')).body),
  }
}

async function askAt(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body = '',
): Promise<Answer> {
  const sent = request({ host: '127.0.0.1', port, method, path, headers, agent: false })
  sent.end(body)
  const [response] = await once(sent, 'response')
  let text = ''
  for await (const chunk of response) text += chunk
  return { status: response.statusCode, headers: response.headers, body: text }
}

// ---- health ----

test('startup, readiness and liveness', async t => {
  let isStarted = false
  let isStopping = false
  const state = makeState({ maxConnections: 1 })
  const { ask } = await start(t, {
    endpoints: () => [state],
    isStarted: () => isStarted,
    isStopping: () => isStopping,
  })
  const probe = async (path: string) => {
    const { status, body } = await ask('GET', path)
    return `${status} ${body}`
  }
  t.equal(await probe('/startup'), '503 not started yet\n')
  t.equal(await probe('/readiness'), '503 not started yet\n')
  t.equal(await probe('/liveness'), '200 ok\n')
  isStarted = true
  t.equal(await probe('/startup'), '200 ok\n')
  t.equal(await probe('/readiness'), '200 ok\n')
  addSession(state)
  t.equal(await probe('/readiness'), '503 database-1: all 1 connections are in use\n')
  t.equal(await probe('/startup'), '200 ok\n')
  isStopping = true
  t.equal(await probe('/readiness'), '503 stopping\n')
  t.equal(await probe('/startup'), '200 ok\n')
  t.equal(await probe('/liveness'), '200 ok\n')
})

test('readiness of one endpoint', async t => {
  let isStarted = false
  const states = [
    makeState({ name: 'shop' }),
    makeState({ name: 'a/b é', credentialsFailed: true }),
    makeState({ name: 'former', retired: true }),
  ]
  const { ask } = await start(t, { endpoints: () => (isStarted ? states : []), isStarted: () => isStarted })
  const probe = async (query: string) => {
    const { status, body } = await ask('GET', `/readiness${query}`)
    return `${status} ${body}`
  }
  const broken = 'a/b é: no AWS credentials'
  t.equal(await probe('?endpoint=shop'), '503 not started yet\n', 'the endpoints are unknown before the start')
  isStarted = true
  t.equal(await probe('?endpoint=shop'), '200 ok\n')
  t.equal(await probe('?endpoint=a%2Fb+%C3%A9'), `503 ${broken}\n`)
  t.equal(await probe('?endpoint=shop&endpoint=a/b%20%C3%A9'), `503 ${broken}\n`, 'several: all of them')
  const unknown = '404 There is no such endpoint. There are: shop, a/b é\n'
  for (const name of ['other', 'former', '', '%zz']) t.equal(await probe(`?endpoint=${name}`), unknown, name)
  t.equal(await probe(''), `200 ok\n${broken}\n`, 'any')
  t.equal(await probe('?other=1'), `200 ok\n${broken}\n`)
  const all = await start(t, { endpoints: () => states, readyWhen: 'all' })
  t.match(await all.ask('GET', '/readiness'), { status: 503, body: `${broken}\n` })
  t.match(await all.status(), { isReady: false, notReady: [broken] })
})

// ---- the health listener ----

test('the health listener serves health and metrics at any address without a token, and nothing else', async t => {
  const anywhere = { host: '0.0.0.0', port: 0 }
  const state = makeState()
  const session = addSession(state)
  let quits = 0
  const onQuit = () => {
    quits++
  }
  const options = { healthListen: anywhere, endpoints: () => [state], onQuit }
  const both = await start(t, options)
  const alone = await start(t, { ...options, listen: undefined })
  t.equal(alone.healthPort, alone.port)
  const close = `/api/sessions/database-1/${session.id}/close`
  for (const port of [both.healthPort!, alone.port]) {
    for (const host of ['10.1.2.3:9090', 'localhost']) {
      for (const path of ['/startup', '/readiness', '/readiness?endpoint=database-1', '/liveness', '/metrics']) {
        t.equal((await askAt(port, 'GET', path, { host })).status, 200, path)
      }
      for (const [method, path] of [
        ['GET', '/'],
        ['GET', '/api/status'],
        ['POST', close],
        ['POST', '/quitquitquit'],
      ] as const) {
        const { status, body } = await askAt(port, method, path, { host, ...bearer })
        t.equal(status, 403, path)
        t.match(body, /only health and metrics/)
      }
    }
    t.equal((await askAt(port, 'GET', '/nothing')).status, 404)
  }
  t.equal(state.sessions.size, 1)
  t.equal(quits, 0)
  t.equal((await both.ask('GET', '/api/status')).status, 200, 'the admin listener beside it serves everything')
})

test('the health listener on loopback: no metrics for a name that is rebound to this machine', async t => {
  const { ask } = await start(t, { listen: undefined, healthListen: { host: '127.0.0.1', port: 0 } })
  t.equal((await ask('GET', '/metrics', { host: 'evil.example' })).status, 403)
  t.equal((await ask('GET', '/metrics')).status, 200)
})

test('a health listener that cannot listen closes the admin listener again', async t => {
  const { port } = await start(t)
  const free = await freePort()
  const options = { listen: { host: '127.0.0.1', port: free }, healthListen: { host: '127.0.0.1', port } }
  await t.rejects(start(t, options), { code: 'LISTEN_FAILED' })
  await start(t, { listen: { host: '127.0.0.1', port: free } })
})

// ---- paths and methods ----

const PATHS = {
  '/': 'GET',
  '/startup': 'GET',
  '/readiness': 'GET',
  '/liveness': 'GET',
  '/metrics': 'GET',
  '/api/status': 'GET',
  '/quitquitquit': 'POST',
  '/api/sessions/database-1/1/close': 'POST',
  '/api/sessions/close': 'POST',
}

test('each path accepts one method', async t => {
  const { ask } = await start(t)
  for (const [path, method] of Object.entries(PATHS)) {
    for (const other of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      const { status, headers } = await ask(other, path)
      const fits = other === method || (other === 'HEAD' && method === 'GET')
      if (fits) t.not(status, 405, `${other} ${path}`)
      else t.equal(status, 405, `${other} ${path}`)
      if (!fits) t.equal(headers.allow, method === 'GET' ? 'GET, HEAD' : 'POST')
    }
  }
})

test('HEAD is GET without the body', async t => {
  const { ask } = await start(t)
  for (const path of ['/', '/readiness']) {
    const get = await ask('GET', path)
    const head = await ask('HEAD', path)
    t.equal(head.status, 200)
    t.equal(head.body, '')
    t.equal(head.headers['content-length'], String(Buffer.byteLength(get.body)))
  }
})

test('unknown paths', async t => {
  const { ask } = await start(t)
  const paths = ['/x', '/index.html', '/toString', '/__proto__', '//', '/api', '/metrics/', '/../etc/passwd']
  for (const path of paths) t.equal((await ask('GET', path)).status, 404, path)
  t.equal((await ask('GET', 'http://localhost/metrics')).status, 404, 'the form of requests to HTTP proxies')
  t.equal((await ask('GET', '/liveness?x=1')).status, 200, 'the query is ignored')
})

test('request bodies are ignored, and their size is limited', async t => {
  const { ask, port } = await start(t, { onQuit() {} })
  t.equal((await ask('POST', '/quitquitquit', {}, 'x'.repeat(4_096))).status, 200)
  t.equal((await ask('POST', '/quitquitquit', {}, 'x'.repeat(4_097))).status, 413)
  t.equal((await ask('POST', '/quitquitquit', { 'transfer-encoding': 'chunked' }, 'x'.repeat(9_000))).status, 413)
  t.equal((await ask('GET', '/liveness', { 'x-long': 'x'.repeat(20_000) })).status, 431)
  const socket = connect(port, '127.0.0.1')
  socket.write('rubbish\r\n\r\n')
  const [chunk] = await once(socket, 'data')
  t.match(String(chunk), /^HTTP\/1\.1 400 /)
  socket.destroy()
})

// ---- half-sent requests ----

/** Opens connections that each send `text` and no more. `closed` resolves when the listener closes one. */
async function hold(t: Test, port: number, count: number, text: string) {
  const held: { socket: Socket; closed: Promise<unknown> }[] = []
  for (let i = 0; i < count; i++) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    t.teardown(() => socket.destroy())
    const closed = new Promise(resolve => socket.resume().once('close', resolve))
    held.push({ socket, closed })
    await once(socket, 'connect')
    if (text !== '') await new Promise(resolve => socket.write(text, resolve))
  }
  return held
}

const HALF_SENT = {
  nothing: '',
  'half a header': 'GET /liveness HTTP/1.1\r\nHost: localhost\r\nX: ',
  'half a body': 'POST /liveness HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx',
}

for (const [what, text] of Object.entries(HALF_SENT)) {
  test(`probes get answers beside 300 connections that sent ${what}`, async t => {
    const { ask, port } = await start(t)
    const held = await hold(t, port, 300, text)
    for (let i = 0; i < 5; i++) t.equal((await ask('GET', '/liveness')).status, 200)
    await Promise.all(held.slice(0, 200).map(({ closed }) => closed))
    t.notOk(held.at(-1)?.socket.destroyed, 'the newest stays open')
  })
}

test('a connection in use stays open beside many half-sent requests', async t => {
  const { port } = await start(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const sockets = new Set<Socket>()
  for (let i = 0; i < 5; i++) {
    const sent = request({ host: '127.0.0.1', port, path: '/liveness', agent }).end()
    const [response] = await once(sent, 'response')
    t.equal(response.statusCode, 200)
    sockets.add(response.socket)
    await once(response.resume(), 'close')
    await hold(t, port, 60, HALF_SENT['half a header'])
  }
  t.equal(sockets.size, 1)
})

test('a half-sent request gets 408 in the end', async t => {
  const { port } = await start(t)
  const sockets = Object.values(HALF_SENT).map(text => {
    const socket = connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.write(text)
    return socket
  })
  for (const socket of sockets) {
    const [answer] = await once(socket, 'data')
    t.match(String(answer), /^HTTP\/1\.1 408 /)
  }
})

test('security headers of each answer', async t => {
  const { ask } = await start(t)
  for (const path of ['/', '/readiness', '/metrics', '/api/status', '/nothing']) {
    const { headers } = await ask('GET', path)
    t.match(headers, {
      'cache-control': 'no-store',
      'x-frame-options': 'DENY',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
      'content-security-policy': /default-src 'none'.*frame-ancestors 'none'/,
    })
    t.notOk(headers['access-control-allow-origin'])
  }
  t.match((await ask('GET', '/')).headers['content-type'], 'text/html')
  t.match((await ask('GET', '/metrics')).headers['content-type'], 'text/plain; version=0.0.4')
  t.match((await ask('GET', '/api/status')).headers['content-type'], 'application/json')
})

test('the page is one document, and its policy allows only its own style and scripts', async t => {
  const { ask } = await start(t)
  const { body, headers } = await ask('GET', '/')
  t.notMatch(body, /(?:src|href)="(?!#|data:|(?:api\/status|metrics|readiness|liveness|startup)")/, 'no external files')
  t.notMatch(body, / style=| on[a-z]+=/, 'no inline code without a hash')
  const scripts = body.match(/<script>/g)?.length ?? 0
  const policy = String(headers['content-security-policy'])
  t.ok(scripts > 0)
  t.equal(/script-src ([^;]*)/.exec(policy)?.[1]?.split(' ').length, scripts)
  t.notMatch(policy, /unsafe|\*/)
})

// ---- status ----

test('the status', async t => {
  const compression = { setting: 'auto', next: 'zstd', why: 'slow', roundTrip: 20, bytesPerSecond: 9 } as const
  const state = makeState({
    maxConnections: 10,
    loginsQueued: 2,
    outcomes: new Map([
      ['OK', 5],
      ['DIAL_REFUSED', 2],
      ['TLS_EXPIRED', 1],
    ]),
    ended: { bytesFromClient: 1, bytesFromUpstream: 2 },
    endedOnLine: { bytesFromClient: 2, bytesFromUpstream: 1 },
    compression: () => compression,
    credentialsExpire: 123,
  })
  const open = addSession(state, { started: 2, traffic: { bytesFromClient: 10, bytesFromUpstream: 20 } })
  open.compressed = { compression: 'zstd', bytesFromClient: 11, bytesFromUpstream: 5 }
  const young = addSession(state, { started: 3, phase: 'logging in', user: undefined, client: 'unix' })
  const who = { session: 'test-1', localUser: 'connector', user: 'iam_user', client: '::1' }
  const error = { code: 'DIAL_REFUSED', message: 'refused', hint: 'Look.', ...who } as const
  state.recentErrors.push({ at: 1, firstAt: 1, count: 1, ...error }, { at: 3, firstAt: 2, count: 2, ...error })
  const { status } = await start(t, { endpoints: () => [state] })
  state.onPhase?.('tls', 900)
  for (let i = 1; i <= 100; i++) state.onPhase?.('total', i)
  const found = await status()
  t.match(found, { version: '1.2.3', node: process.version, isReady: true, notReady: [] })
  t.match(found.endpoints, [
    {
      name: 'database-1',
      address: '127.0.0.1:3306',
      dial: `${NLB}:3306`,
      rds: `${RDS}:3306`,
      region: 'ap-northeast-1',
      open: 1,
      loggingIn: 1,
      maxConnections: 10,
      waiting: 2,
      loginsOK: 5,
      loginsFailed: 3,
      loginTime: { median: 50, p95: 95 },
      phaseTimes: { tls: 900 },
      failures: { DIAL_REFUSED: 2, TLS_EXPIRED: 1 },
      bytesFromClient: 11,
      bytesFromServer: 22,
      lineBytesFromClient: 13,
      lineBytesFromServer: 6,
      compression,
      credentialsExpire: 123,
      credentialsFailed: false,
    },
  ])
  t.same(
    found.sessions.map(({ id }) => id),
    [open.id, young.id],
    'oldest first',
  )
  t.match(found.sessions[0], { endpoint: 'database-1', user: 'iam_user', database: 'shop', bytesFromServer: 20 })
  t.match(found.sessions[0], { compression: 'zstd', lineBytesFromClient: 11, lineBytesFromServer: 5 })
  t.match(found.sessions[1], { status: 'logging in', client: 'unix', lineBytesFromServer: 0 })
  t.equal(found.sessions[1]!.compression, undefined)
  t.same(
    found.errors.map(({ at }) => at),
    [3, 1],
    'newest first',
  )
  t.match(found.errors[0], { ...error, endpoint: 'database-1' })
})

test('the status lists a limited number of sessions', async t => {
  const state = makeState()
  for (let i = 0; i < MAX_SESSIONS + 10; i++) addSession(state)
  const { status, ask } = await start(t, { endpoints: () => [state] })
  const { endpoints, sessions, sessionsTotal } = await status()
  t.same([sessions.length, sessionsTotal], [50, MAX_SESSIONS + 10])
  const rows = async (parameter: string) =>
    JSON.parse((await ask('GET', `/api/status?rows=${parameter}`)).body).sessions.length
  t.equal(await rows('99999'), MAX_SESSIONS)
  t.equal(await rows('0'), 0)
  for (const invalid of ['-1', '1.5', 'x', '']) t.equal(await rows(invalid), invalid === '' ? 0 : 50, invalid)
  t.equal(endpoints[0]?.open, MAX_SESSIONS + 10)
})

test('answers contain no unlisted fields of a state', async t => {
  const state = makeState()
  Object.assign(state, { token: 'X-Amz-Signature' })
  Object.assign(state.endpoint, { password: 'X-Amz-Signature' })
  Object.assign(addSession(state), { token: 'X-Amz-Signature' })
  const { ask } = await start(t, { endpoints: () => [state] })
  for (const path of ['/api/status', '/metrics']) t.notMatch((await ask('GET', path)).body, 'X-Amz-Signature')
})

test('logins reach the metrics, the status and an earlier onPhase', async t => {
  const heard: unknown[] = []
  const state = makeState({ onPhase: (...phase) => heard.push(phase) })
  const later = makeState({ name: 'later' })
  const states = [state]
  const { ask, watchAll } = await start(t, { endpoints: () => states })
  watchAll()
  states.push(later)
  watchAll()
  state.onPhase?.('total', 5)
  later.onPhase?.('dial', 5)
  t.same(heard, [['total', 5]])
  const metrics = parseMetrics((await ask('GET', '/metrics')).body)
  const count = (endpoint: string, phase: string) =>
    valueIn(metrics, 'mysql_iam_proxy_login_phase_duration_seconds_count', { endpoint, phase })
  t.equal(valueIn(metrics, 'mysql_iam_proxy_login_duration_seconds_count', { endpoint: 'database-1' }), 1)
  t.equal(count('later', 'dial'), 1)
})

// ---- requests that change something ----

test('closing a session', async t => {
  const lines: object[] = []
  const log = { ...silent, info: (fields: object) => lines.push(fields) }
  const state = makeState({ name: 'a/b é' })
  const kept = addSession(state)
  const session = addSession(state, { user: 'app' })
  const { ask } = await start(t, { endpoints: () => [makeState(), state] }, log)
  const path = (id: string, endpoint = 'a/b é') => `/api/sessions/${encodeURIComponent(endpoint)}/${id}/close`
  t.equal((await ask('POST', path(session.id, 'database-1'))).status, 404, 'the session belongs to another endpoint')
  t.equal((await ask('POST', '/api/sessions/%zz/1/close')).status, 404)
  t.equal((await ask('GET', path(session.id))).status, 405)
  t.equal(state.sessions.size, 2)
  const answer = await ask('POST', path(session.id))
  t.equal(answer.status, 200)
  t.same(JSON.parse(answer.body), { closed: true })
  t.same([...state.sessions], [kept])
  t.match(lines, [{ endpoint: 'a/b é', user: 'app', client: '127.0.0.1' }])
  t.equal((await ask('POST', path(session.id))).status, 404, 'already closed')
})

test('closing all sessions of a filter', async t => {
  const lines: object[] = []
  const log = { ...silent, info: (fields: object) => lines.push(fields) }
  const state = makeState({ name: 'shop' })
  const other = makeState({ name: 'mail' })
  for (let i = 0; i < 250; i++) addSession(state, { user: i % 2 ? 'app' : 'batch' })
  addSession(other, { user: 'app' })
  const { ask } = await start(t, { endpoints: () => [state, other] }, log)
  const close = async (query: string) => {
    const { status, body } = await ask('POST', `/api/sessions/close?${query}`)
    return status === 200 ? JSON.parse(body).closed : status
  }
  for (const nothing of ['', 'filter=%20', 'endpoint=', 'all=1', 'sort=user&rows=1']) {
    t.equal(await close(nothing), 400, `no filter: ${nothing}`)
  }
  t.equal(await close('filter=nobody'), 0)
  t.equal(await close('filter=APP&endpoint=shop'), 125)
  t.same([state.sessions.size, other.sessions.size], [125, 1])
  t.equal(lines.length, 125)
  t.match(lines[0], { endpoint: 'shop', user: 'app' })
  t.equal(await close('status=waiting+for+an+answer'), 0)
  t.equal(await close('all=true'), 126)
  t.same([state.sessions.size, other.sessions.size], [0, 0])
})

test('quitquitquit', async t => {
  let quits = 0
  const onQuit = () => {
    quits++
  }
  const on = await start(t, { onQuit })
  t.equal((await on.ask('GET', '/quitquitquit')).status, 405)
  t.equal((await on.ask('POST', '/quitquitquit', { 'sec-fetch-site': 'cross-site' })).status, 403)
  t.equal(quits, 0)
  t.equal((await on.ask('POST', '/quitquitquit')).status, 200)
  t.equal(quits, 1)
  const off = await start(t)
  t.match(await off.ask('POST', '/quitquitquit'), { status: 404, body: /option quitquitquit/ })
})

// ---- access ----

test('addresses other than loopback require a token', async t => {
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.com', '128.0.0.1']) {
    const message = /needs a token/
    await t.rejects(start(t, { listen: { host, port: 0 } }), { code: 'CONFIG_INVALID', message }, host)
  }
  for (const host of ['127.0.0.1', 'localhost', '127.8.8.8']) await start(t, { listen: { host, port: 0 } })
  const { ask } = await start(t, { listen: { host: '0.0.0.0', port: 0 }, token: TOKEN })
  t.equal((await ask('GET', '/api/status')).status, 401)
})

test('a port in use', async t => {
  const { port } = await start(t)
  const message = `cannot listen on 127.0.0.1:${port}: the port is in use`
  await t.rejects(start(t, { listen: { host: '127.0.0.1', port } }), { code: 'LISTEN_FAILED', message })
})

test('with a token, health, metrics and the empty page stay open, and the rest requires it', async t => {
  const state = makeState()
  const session = addSession(state)
  let quits = 0
  const onQuit = () => {
    quits++
  }
  const { ask } = await start(t, { token: TOKEN, endpoints: () => [state], onQuit })
  const close = `/api/sessions/database-1/${session.id}/close`
  for (const path of ['/', '/startup', '/readiness', '/liveness', '/metrics']) {
    t.equal((await ask('GET', path)).status, 200, path)
  }
  const bad = [
    '',
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
    `Bearer ${TOKEN.slice(0, -1)}`,
    `Basic ${TOKEN}`,
    TOKEN,
    'Bearer',
    `Bearer x${TOKEN}`,
  ]
  for (const authorization of bad) {
    for (const [method, path] of [
      ['GET', '/api/status'],
      ['POST', close],
      ['POST', '/api/sessions/close?all=true'],
      ['POST', '/quitquitquit'],
    ] as const) {
      const { status, headers, body } = await ask(method, path, authorization ? { authorization } : {})
      t.equal(status, 401, `${path} with "${authorization}"`)
      t.equal(headers['www-authenticate'], 'Bearer')
      t.notMatch(body, TOKEN)
    }
  }
  t.equal(state.sessions.size, 1)
  t.equal(quits, 0)
  t.equal((await ask('GET', '/api/status', bearer)).status, 200)
  t.equal((await ask('POST', close, bearer)).status, 200)
  t.equal((await ask('POST', '/quitquitquit', { authorization: `bearer ${TOKEN}` })).status, 200)
})

test('DNS rebinding: another name that resolves to this machine', async t => {
  const without = await start(t)
  for (const host of [
    'evil.example',
    'evil.example:9090',
    'localhost.evil.example',
    '10.0.0.1',
    '127.0.0.1.evil',
    '[::2]',
    'x y',
  ]) {
    for (const path of ['/', '/metrics', '/api/status']) {
      t.equal((await without.ask('GET', path, { host })).status, 403, `${path} for ${host}`)
    }
    t.equal((await without.ask('GET', '/readiness', { host })).status, 200, 'probes may use any Host header')
  }
  for (const host of ['localhost', 'LOCALHOST:1', '127.0.0.1:8080', '[::1]:9', '127.1.2.3', 'localhost.']) {
    t.equal((await without.ask('GET', '/api/status', { host })).status, 200, host)
  }
  const guarded = await start(t, { token: TOKEN })
  t.equal((await guarded.ask('GET', '/api/status', { host: 'proxy.example', ...bearer })).status, 200, 'with a token')
})

test('requests from other web pages', async t => {
  for (const token of [undefined, TOKEN]) {
    const state = makeState()
    const session = addSession(state)
    const { ask, port } = await start(t, { token, endpoints: () => [state] })
    const auth: Record<string, string> = token ? bearer : {}
    const close = `/api/sessions/database-1/${session.id}/close`
    const own = `http://127.0.0.1:${port}`
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: `http://127.0.0.1:${port + 1}` },
      { origin: `http://localhost:${port}` },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'rubbish' },
      { origin: own, 'sec-fetch-site': 'cross-site' },
    ]) {
      t.equal((await ask('POST', close, { ...auth, ...headers } as Record<string, string>)).status, 403)
      t.equal((await ask('GET', '/api/status', { ...auth, ...headers } as Record<string, string>)).status, 403)
    }
    t.equal(state.sessions.size, 1)
    const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }
    t.equal((await ask('GET', '/', link)).status, 200, 'a link to the page')
    const page = { ...auth, origin: own, 'sec-fetch-site': 'same-origin' }
    t.equal((await ask('GET', '/api/status', { ...auth, 'sec-fetch-site': 'same-origin' })).status, 200)
    t.equal((await ask('POST', close, page)).status, 200, 'the page itself')
  }
})

test('behind a TLS proxy', async t => {
  const { ask } = await start(t, { token: TOKEN, onQuit() {} })
  const headers = { ...bearer, host: 'proxy.example', origin: 'https://proxy.example', 'sec-fetch-site': 'same-origin' }
  t.equal((await ask('POST', '/quitquitquit', headers)).status, 200)
})

test('the token file', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-admin-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const file = join(directory, 'token')
  await writeFile(file, `${TOKEN}\n`)
  t.equal(await readAdminToken(file, '--admin-token-file'), TOKEN)
  for (const text of [
    '',
    '\n',
    'short',
    'fifteen-letters',
    `${TOKEN} ${TOKEN}`,
    `${TOKEN}\n${TOKEN}\n`,
    'é'.repeat(20),
  ]) {
    await writeFile(file, text)
    const error = await readAdminToken(file, '--admin-token-file').catch(error => error)
    t.match(error, { code: 'CONFIG_INVALID', message: file })
    t.notMatch(error.message, TOKEN)
  }
  await t.rejects(readAdminToken(join(directory, 'none'), '--admin-token-file'), {
    code: 'CONFIG_INVALID',
    message: /ENOENT/,
  })
})

test('an exception in a handler is a 500 and a log line, and the listener continues', async t => {
  const lines: object[] = []
  const log = { ...silent, error: (fields: object) => lines.push(fields) }
  let isBroken = false
  const endpoints = () => {
    if (isBroken) throw new Error('broken')
    return []
  }
  const { ask } = await start(t, { endpoints }, log)
  isBroken = true
  t.match(await ask('GET', '/api/status'), { status: 500, body: /bug/ })
  t.match(lines, [{ code: 'INTERNAL', stack: /broken/ }])
  isBroken = false
  t.equal((await ask('GET', '/api/status')).status, 200)
})

test('close ends open connections', async t => {
  const life = { isStarted: () => true, isStopping: () => false }
  const options = { ...life, token: undefined, readyWhen: 'any', endpoints: () => [], version: '1.2.3' } as const
  const admin = await startAdmin({ ...options, listen: { host: '127.0.0.1', port: 0 } }, silent)
  const socket = connect(admin.address!.port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write('GET /liveness HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await once(socket, 'data')
  const closed = once(socket, 'close')
  await admin.close()
  await closed
  await admin.close()
  t.pass('a second close does nothing')
})
