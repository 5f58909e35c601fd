import { once } from 'node:events'
import { createServer } from 'node:net'
import { type Test, test } from 'tap'
import { createEndpoint } from '../../src/endpoint.ts'
import type { ErrorCode, ProxyOptions } from '../../src/index.ts'
import { createAddressBook } from '../../src/upstream/address-book.ts'
import { dial } from '../../src/upstream/dial.ts'
import { createTestClock } from '../support/clock.ts'
import { listen, startHttpProxy, startProxyProgram } from '../support/forward-proxy.ts'
import { freePort } from '../support/free-port.ts'
import { checkGoodLogin, checkLog, logIn, startProxy } from '../support/proxy.ts'
import { goodLogin, RDS_HOST, startScriptedUpstream } from '../support/scripted-upstream.ts'

const login = { user: 'us@er', password: 'hunt:er2' }
const USERINFO = 'us%40er:hunt%3Aer2@'

/** A login through a forward proxy fails with `code`, and the client reads `says`. */
async function fails(t: Test, options: Partial<ProxyOptions>, code: ErrorCode, says: RegExp): Promise<void> {
  const { address, log } = await startProxy(t, options)
  const { error } = await logIn(t, address)
  t.match(error, { errno: 1042, message: says })
  t.match(error?.message, /the proxy (socks5|http):\/\/127\.0\.0\.1:\d+ .*the option proxy/)
  checkLog(t, log, code)
  t.notMatch(JSON.stringify([error, log]), /hunt|us@er|us%40er/, 'no password and no user')
}

test('microsocks', async t => {
  const { port } = await startScriptedUpstream(t, [goodLogin])
  const connect = `localhost:${port}`
  const open = await startProxyProgram(t, 'microsocks')
  const closed = await startProxyProgram(t, 'microsocks', { login })

  const { address, log } = await startProxy(t, { connect, proxy: `socks5://${open.address}` })
  await checkGoodLogin(t, address)
  t.equal(log.filter(({ level }) => level === 'error').length, 0)
  const withPassword = await startProxy(t, { connect, proxy: `socks5h://${USERINFO}${closed.address}` })
  await checkGoodLogin(t, withPassword.address)

  const missing = { connect, proxy: `socks5://${closed.address}` }
  await fails(t, missing, 'FORWARD_PROXY_AUTHENTICATION', /requires a user and password/)
  const wrong = { connect, proxy: `socks5://us%40er:hunter3@${closed.address}` }
  await fails(t, wrong, 'FORWARD_PROXY_AUTHENTICATION', /rejects the user or password/)
  const proxy = `socks5://${open.address}`
  const refused = { connect: `127.0.0.1:${await freePort()}`, proxy }
  await fails(t, refused, 'FORWARD_PROXY_TARGET', /cannot connect to 127\.0\.0\.1:\d+: connection refused/)
  await fails(
    t,
    { connect: 'no-such-name.invalid', proxy },
    'FORWARD_PROXY_TARGET',
    /cannot connect to no-such-name\.invalid:3306/,
  )
})

test('Dante, which has rules for ports', async t => {
  const { port } = await startScriptedUpstream(t, [goodLogin])
  const { address } = await startProxyProgram(t, 'danted', { ports: [port] })
  const proxy = `socks5://${address}`
  await checkGoodLogin(t, (await startProxy(t, { connect: `127.0.0.1:${port}`, proxy })).address)
  const other = { connect: `127.0.0.1:${await freePort()}`, proxy }
  await fails(t, other, 'FORWARD_PROXY_REFUSED', /refuses the connection to 127\.0\.0\.1:\d+: not allowed by its rules/)
})

test('tinyproxy', async t => {
  const { port } = await startScriptedUpstream(t, [goodLogin])
  const unused = await freePort()
  // It takes only letters and digits.
  const simple = { user: 'user', password: 'hunter2' }
  const connect = `localhost:${port}`
  const { address } = await startProxyProgram(t, 'tinyproxy', { ports: [port, unused], login: simple })
  const proxy = `http://user:hunter2@${address}`
  await checkGoodLogin(t, (await startProxy(t, { connect, proxy })).address)

  await fails(
    t,
    { connect, proxy: `http://${address}` },
    'FORWARD_PROXY_AUTHENTICATION',
    /requires a user and password: 40[17]/,
  )
  const wrong = { connect, proxy: `http://us%40er:hunter3@${address}` }
  await fails(t, wrong, 'FORWARD_PROXY_AUTHENTICATION', /rejects the user or password: 40[17]/)
  const forbidden = { connect: `localhost:${await freePort()}`, proxy }
  await fails(t, forbidden, 'FORWARD_PROXY_REFUSED', /refuses the connection to localhost:\d+: 403/)
  const refused = { connect: `localhost:${unused}`, proxy }
  await fails(t, refused, 'FORWARD_PROXY_TARGET', /cannot connect to localhost:\d+: 500 Unable to connect/)
})

test('a wrong password is not tried for every login, because companies lock accounts', async t => {
  const { address, targets } = await startHttpProxy(t, { answer: '407 No' })
  const proxy = await startProxy(t, { connect: 'nlb.test', proxy: `http://user:hunter2@${address}` })
  const logins = 100
  for (let n = 0; n < logins; n++) {
    const { error } = await logIn(t, proxy.address)
    t.match(error?.message, /rejects the user or password/)
  }
  t.ok(targets.length < logins / 2, `${targets.length} of ${logins} logins asked the forward proxy`)
})

test('no proxy at the address, and another protocol than that of the URL', async t => {
  const { port } = await startScriptedUpstream(t, [goodLogin])
  const connect = `localhost:${port}`
  const nobody = { connect, proxy: `socks5://127.0.0.1:${await freePort()}` }
  await fails(t, nobody, 'FORWARD_PROXY_FAILED', /is unreachable: ECONNREFUSED/)
  const http = await startProxyProgram(t, 'tinyproxy')
  await fails(t, { connect, proxy: `socks5://${http.address}`, connectTimeout: 300 }, 'FORWARD_PROXY_FAILED', /./)
  const socks = await startProxyProgram(t, 'microsocks')
  await fails(t, { connect, proxy: `http://${socks.address}` }, 'FORWARD_PROXY_FAILED', /./)
})

/** Dials through a proxy that listens on `port`. */
function startDial(port: number, url = 'socks5') {
  const clock = createTestClock()
  const addresses = createAddressBook(clock)
  const stop = new AbortController()
  const options = { rdsEndpoint: RDS_HOST, connect: 'nlb.test', proxy: `${url}://127.0.0.1:${port}` }
  const dialled = dial(createEndpoint(options), stop.signal, { clock, addresses })
  dialled.catch(() => {})
  return { dialled, clock, addresses, stop }
}

test('the deadline of the connection covers the proxy', async t => {
  for (const [url, code] of [
    ['socks5', 'FORWARD_PROXY_FAILED'],
    ['http', 'FORWARD_PROXY_TARGET'],
  ] as const) {
    const server = createServer()
    const { dialled, clock, addresses } = startDial(await listen(t, server), url)
    const [socket] = await once(server, 'connection')
    await once(socket, 'data')
    clock.advance(4_999)
    t.equal(clock.pending(), 1, 'it still waits')
    clock.advance(1)
    await t.rejects(dialled, { code, message: /in time/ })
    t.equal(clock.pending(), 0)
    const order = addresses.sort([{ address: '127.0.0.1' }, { address: '127.0.0.2' }])
    t.equal(order[0]?.address, '127.0.0.1', 'the address of the proxy does not count as failed')
  }
  const clock = createTestClock()
  const options = { rdsEndpoint: RDS_HOST, proxy: 'http://proxy.test' }
  const lookup = () => setImmediate(() => clock.advance(5_000))
  const dialled = dial(createEndpoint(options), new AbortController().signal, { clock, lookup })
  await t.rejects(dialled, { code: 'FORWARD_PROXY_FAILED', message: /is unreachable: no answer within 5000 ms/ })
})

test('a proxy that stops while it asks the forward proxy', async t => {
  const server = createServer()
  const { dialled, stop } = startDial(await listen(t, server))
  const [socket] = await once(server, 'connection')
  await once(socket, 'data')
  stop.abort()
  await t.rejects(dialled)
  await once(socket, 'close')
})
