/** The status page in a host program's own server. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { type Test, test } from 'tap'
import { createProxy, type Proxy as LibraryProxy, type StatusPageOptions } from '../src/index.ts'

const options = { rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', name: 'orders' }

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

type Ask = (method: string, path: string, headers?: Record<string, string>) => Promise<Answer>
type Listener = (request: IncomingMessage, response: ServerResponse) => void

/** A server of the host program. */
async function serve(t: Test, listener: Listener): Promise<Ask> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return async (method, path, headers = {}) => {
    const sent = request({ host: '127.0.0.1', port, method, path, headers, agent: false }).end()
    const [response] = await once(sent, 'response')
    let body = ''
    for await (const chunk of response) body += chunk
    return { status: response.statusCode, headers: response.headers, body }
  }
}

function newProxy(t: Test): LibraryProxy {
  const proxy = createProxy(options)
  t.teardown(() => proxy.close())
  return proxy
}

const mount = (t: Test, given?: StatusPageOptions, proxy = newProxy(t)) => serve(t, proxy.statusPage(given))

/** As Express does for app.use(prefix, listener). */
const cutOff =
  (prefix: string, listener: Listener): Listener =>
  (request, response) => {
    const url = request.url!.slice(prefix.length)
    Object.assign(request, { originalUrl: request.url, url: url.startsWith('/') ? url : `/${url}` })
    listener(request, response)
  }

/** Gives the request another client. */
const from =
  (remoteAddress: string | undefined, listener: Listener): Listener =>
  (request, response) => {
    Object.defineProperty(request.socket, 'remoteAddress', { value: remoteAddress })
    listener(request, response)
  }

for (const prefix of ['/', '/mysql/', '/a/b/']) {
  test(`the page under ${prefix}`, async t => {
    const proxy = newProxy(t)
    const page = proxy.statusPage()
    const asks = [await serve(t, page)]
    if (prefix !== '/') asks.push(await serve(t, cutOff(prefix.slice(0, -1), page)))
    for (const ask of asks) {
      const { status, headers, body } = await ask('GET', prefix)
      t.equal(status, 200)
      t.match(headers, { 'content-type': /^text\/html/, 'content-security-policy': /script-src 'sha256-/ })
      t.match(body, /<script>.*<\/script>/s)
      t.notMatch(body, /href="\/|fetch\(['"`]\/|send\(['"`]\/|['"`]\/api/, 'every link is relative')
      t.match(await ask('HEAD', prefix), { status: 200, body: '' })
      t.match(await ask('GET', `${prefix}?endpoint=orders`), { status: 200 })
      const data = JSON.parse((await ask('GET', `${prefix}api/status?range=1h`)).body)
      t.match(data, { endpoints: [{ name: 'orders' }], range: '1h', mayClose: false, version: /^\d+\./ })
      t.equal((await ask('GET', `${prefix}metrics`)).body, proxy.metrics())
      t.match(await ask('GET', `${prefix}liveness`), { status: 200, body: 'ok\n' })
      t.match(await ask('POST', `${prefix}api/status`), { status: 405 })
      t.match(await ask('POST', `${prefix}quitquitquit`), { status: prefix === '/' || ask === asks[0] ? 405 : 404 })
    }
  })
}

test('without the slash at the end, a redirect that leads to no other host', async t => {
  const page = newProxy(t).statusPage()
  const redirects: [path: string, location: string][] = [
    ['/mysql', './mysql/'],
    ['/a/b?x=/1?2', './b/?x=/1?2'],
    ['//evil.example', './evil.example/'],
    ['/\\evil.example', './\\evil.example/'],
  ]
  const ask = await serve(t, page)
  for (const [path, location] of redirects) {
    t.match(await ask('GET', path), { status: 307, headers: { location } })
    t.equal(new URL(location, `http://localhost${path}`).host, 'localhost')
  }
  t.match(await ask('POST', '/mysql'), { status: 405 })
  const express = await serve(t, cutOff('/mysql', page))
  t.match(await express('GET', '/mysql?range=1h'), { status: 307, headers: { location: './mysql/?range=1h' } })
  t.match(await express('GET', '/mysql/nothing'), { status: 404 })
})

test('only this machine gets an answer, unless the host trusts its network', async t => {
  const page = newProxy(t).statusPage()
  const open = newProxy(t).statusPage({ trustNetwork: true })
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) {
    const ask = await serve(t, from(address, page))
    t.match(await ask('GET', '/'), { status: 200 }, address)
  }
  for (const address of ['10.0.0.9', '::ffff:10.0.0.9', 'fe80::1', undefined]) {
    const ask = await serve(t, from(address, page))
    for (const path of ['/', '/api/status', '/metrics', '/liveness', '/readiness'])
      t.match(await ask('GET', path), { status: 403, body: /trustNetwork/ }, `${address} ${path}`)
    const trusting = await serve(t, from(address, open))
    t.match(await trusting('GET', '/api/status', { host: 'tools.example' }), { status: 200 }, `${address}`)
  }
  const ask = await serve(t, page)
  for (const name of ['forwarded', 'x-forwarded-for', 'x-real-ip'])
    t.match(await ask('GET', '/', { [name]: 'for=10.0.0.9' }), { status: 403 }, name)
})

test('names of other hosts and other web pages are refused', async t => {
  const ask = await mount(t, { closeSessions: true })
  for (const path of ['/', '/api/status', '/metrics'])
    t.match(await ask('GET', path, { host: 'evil.example' }), { status: 403, body: /Host/ }, path)
  const others = [{ origin: 'http://evil.example' }, { 'sec-fetch-site': 'cross-site' }, { origin: 'null' }]
  for (const headers of others) {
    t.match(await ask('GET', '/api/status', headers), { status: 403, body: /other web pages/ })
    t.match(await ask('POST', '/api/sessions/close?all=true', headers), { status: 403, body: /other web pages/ })
  }
  const trusting = await mount(t, { trustNetwork: true, closeSessions: true })
  const headers = { host: 'tools.example', origin: 'http://evil.example' }
  t.match(await trusting('POST', '/api/sessions/close?all=true', headers), { status: 403, body: /other web pages/ })
})

/** An address that accepts connections and sends no greeting, so that a login lasts. */
async function silentDatabase(t: Test): Promise<string> {
  const server = createTcpServer(socket => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A login that waits for the database. */
async function session(t: Test, proxy: LibraryProxy): Promise<string> {
  const client = proxy.connect()
  client.on('error', () => {}).resume()
  t.teardown(() => client.destroy())
  while (proxy.status().sessions.length === 0) await new Promise(resolve => setImmediate(resolve))
  return proxy.status().sessions[0]!.id
}

test('it closes sessions only with permission', async t => {
  const lines: string[] = []
  const log = (_fields: object, message: string) => void lines.push(message)
  const connect = await silentDatabase(t)
  const proxy = createProxy({ ...options, connect, logger: { error: log, warn: log, info: log, debug: log } })
  t.teardown(() => proxy.close())
  const id = await session(t, proxy)
  const ask = await mount(t, {}, proxy)
  for (const path of [`/api/sessions/orders/${id}/close`, '/api/sessions/close?all=true'])
    t.match(await ask('POST', path), { status: 403, body: /closeSessions/ }, path)
  t.equal(proxy.status().sessions.length, 1)
  const closing = await mount(t, { closeSessions: true }, proxy)
  t.match(JSON.parse((await closing('GET', '/api/status')).body), { mayClose: true, sessionsTotal: 1, isReady: true })
  t.match(await closing('POST', `/db/api/sessions/orders/${id}/close`), { status: 200, body: '{"closed":true}' })
  t.ok(lines.includes('session closed by an operator'))
})

test('before listen(), after it and after close()', async t => {
  const proxy = createProxy({
    ...options,
    listen: '127.0.0.1:0',
    credentials: async () => Promise.reject(new Error('none')),
  })
  const ask = await mount(t, {}, proxy)
  t.match(await ask('GET', '/readiness'), { status: 503, body: 'not started yet\n' })
  await proxy.listen()
  t.match(await ask('GET', '/startup'), { status: 200 })
  await proxy.close()
  t.match(await ask('GET', '/readiness'), { status: 503, body: 'stopping\n' })
  t.match(await ask('GET', '/api/status'), { status: 200 })
  t.match(await ask('GET', '/'), { status: 200 })
  const late = createProxy(options)
  await late.close()
  t.match(await (await mount(t, {}, late))('GET', '/api/status'), { status: 200 })
})

test('the host program may read the body first, and may have answered already', async t => {
  const page = newProxy(t).statusPage({ closeSessions: true })
  const ask = await serve(t, async (request, response) => {
    for await (const _chunk of request);
    page(request, response)
  })
  t.match(await ask('POST', '/api/sessions/close?all=true'), { status: 200, body: '{"closed":0}' })
  const twice = await serve(t, (request, response) => {
    response.end('mine')
    page(request, response)
  })
  t.match(await twice('GET', '/'), { status: 200, body: 'mine' })
})

test('invalid options', t => {
  const proxy = newProxy(t)
  const invalid: [given: unknown, message: RegExp][] = [
    [{ closeSession: true }, /^statusPage: closeSession: unknown option; did you mean closeSessions\?$/],
    [{ closeSessions: 'false' }, /^statusPage: closeSessions: needs true or false, not a string$/],
    [{ trustNetwork: 1, closeSessions: null }, /trustNetwork: needs .*; closeSessions: needs /],
    [true, /^statusPage: needs an object such as \{ closeSessions: true \}, not true$/],
    [null, /not null$/],
  ]
  for (const [given, message] of invalid)
    t.throws(() => proxy.statusPage(given as StatusPageOptions), {
      code: 'CONFIG_INVALID',
      message,
      hint: /statusPage/,
    })
  t.doesNotThrow(() => proxy.statusPage({ closeSessions: undefined }))
  t.end()
})
