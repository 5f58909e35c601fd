/** The steps of a dial, with connections in memory that the test opens and closes, on a clock that stands still. */
import { getEventListeners } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import net, { type LookupFunction, type Socket, type TcpNetConnectOpts } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { formatHostPort } from '../../src/endpoint.ts'
import { type ForwardProxy, readForwardProxy } from '../../src/forward-proxy.ts'
import { type ErrorCode, ProxyError } from '../../src/index.ts'
import { type DialOptions, type DialTools, dial, isDialError, mayHaveMoved, type Way } from '../../src/upstream/dial.ts'
import { createTestClock } from '../support/clock.ts'
import { createMemoryPair, settled } from '../support/memory-pair.ts'
import { err, greeting, packet } from '../support/scripted-upstream.ts'

const target = { host: 'nlb.test', port: 3306 }
const ADDRESS = '10.0.0.9'

const OPTIONS: DialOptions = {
  dial: target,
  connectTimeout: 6_000,
  greetingTimeout: 60_000,
  loginTimeout: 8_000,
  keepalive: 45_000,
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate()
}

/** A dial whose socket is in memory: `socket.emit('connect')` connects it to `server`. */
async function start(
  t: Test,
  { options = {}, tools = {} }: { options?: Partial<DialOptions>; tools?: DialTools } = {},
) {
  const clock = createTestClock(1_000)
  const [socket, server] = createMemoryPair(t)
  Object.assign(socket, { remoteAddress: ADDRESS })
  let connected: (TcpNetConnectOpts & { lookup: LookupFunction }) | undefined
  t.intercept(net, 'connect', {
    value: (given: typeof connected) => {
      connected = given
      return socket
    },
  })
  syncBuiltinESMExports()
  const notes: string[] = []
  const distrusted: string[] = []
  const note =
    (what: string) =>
    (...values: unknown[]) =>
      void notes.push([what, ...values].join(' '))
  const stop = new AbortController()
  const dialled = dial({ ...OPTIONS, ...options }, stop.signal, {
    clock,
    addresses: {
      sort: entries => [...entries].reverse(),
      failed: note('failed'),
      succeeded: note('succeeded'),
      forget: note('forget'),
      names: {
        find: async host => ({ addresses: [{ address: host, family: 4 }], isReused: false }),
        distrust: host => distrusted.push(host),
        forget: () => {},
      },
    },
    greetings: { begin: () => note('greeted'), isSilent: () => false },
    onConnect: () => note('connected')(),
    ...tools,
  })
  dialled.catch(() => {})
  t.teardown(() => syncBuiltinESMExports())
  await turns()
  return { clock, socket, server, notes, distrusted, stop, dialled, connectOptions: () => connected }
}

const GREETING = packet(greeting(), 0)

test('a connection and its greeting', async t => {
  const { clock, socket, server, notes, distrusted, stop, dialled, connectOptions } = await start(t)
  const { lookup, ...given } = connectOptions() ?? ({} as { lookup: LookupFunction })
  t.same(given, {
    ...target,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 45_000,
    autoSelectFamilyAttemptTimeout: 2_000,
  })
  await turns()
  t.same(notes, [])
  socket.emit('connect')
  await turns()
  t.same(notes, ['connected'])
  server.write(GREETING)
  const upstream = await settled(dialled)
  t.equal(upstream.greeting.serverVersion, '8.0.39')
  t.equal(upstream.lost, undefined)
  t.equal(upstream.wire.deadline, clock.now() + 8_000)
  t.same(notes, ['connected', 'greeted true', `succeeded ${ADDRESS}`])
  t.same(distrusted, [])
  t.equal(clock.pending(), 0)
  t.equal(getEventListeners(stop.signal, 'abort').length, 1)
  stop.abort()
  t.ok(socket.destroyed, 'stop destroys it later too')
})

test('a connection that has closed no longer listens for stop', async t => {
  const { socket, server, stop, dialled } = await start(t)
  socket.emit('connect')
  server.write(GREETING)
  await settled(dialled)
  socket.destroy()
  await turns()
  t.equal(getEventListeners(stop.signal, 'abort').length, 0)
})

test('addresses are tried in the order of the address book, each for a third of the time', async t => {
  const entries = [
    { address: '10.0.0.1', family: 4 },
    { address: '10.0.0.2', family: 4 },
  ]
  const sorted = async (options: { all?: boolean }) => {
    const lookup: LookupFunction = (_name, _options, done) => done(null, entries)
    const { connectOptions } = await start(t, { tools: { lookup } })
    return await new Promise(resolve => connectOptions()!.lookup('nlb.test', options, (...results) => resolve(results)))
  }
  t.same(await sorted({ all: true }), [null, [...entries].reverse()])
  t.same(await sorted({}), [null, '10.0.0.2', 4])
  for (const [connectTimeout, milliseconds] of [
    [10_000, 3_333],
    [751, 250],
    [300, 250],
  ] as const) {
    const { connectOptions } = await start(t, { options: { connectTimeout } })
    t.equal(connectOptions()?.autoSelectFamilyAttemptTimeout, milliseconds)
  }
})

test('addresses that fail or do not answer', async t => {
  const { clock, socket, notes, dialled } = await start(t)
  socket.emit('connectionAttemptFailed', '10.0.0.1')
  socket.emit('connectionAttemptTimeout', '10.0.0.2')
  socket.emit('connectionAttempt', '10.0.0.3')
  clock.advance(5_999)
  t.same(notes, ['failed 10.0.0.1', 'failed 10.0.0.2'])
  t.notOk(socket.destroyed)
  clock.advance(1)
  t.same(notes.slice(2), ['failed 10.0.0.3'])
  await t.rejects(settled(dialled), { code: 'DIAL_TIMEOUT', message: 'no answer from nlb.test:3306 within 6000 ms' })
  t.ok(socket.destroyed)

  const unnamed = await start(t)
  unnamed.clock.advance(6_000)
  await t.rejects(settled(unnamed.dialled), { code: 'DIAL_TIMEOUT' })
  t.same(unnamed.notes, [], 'the name has no address yet')
})

const failures: [code: string | undefined, error: ErrorCode, message: string][] = [
  ['ECONNREFUSED', 'DIAL_REFUSED', 'connection to nlb.test:3306 refused'],
  ['ETIMEDOUT', 'DIAL_TIMEOUT', 'no answer from nlb.test:3306 within 6000 ms'],
  ['ENOTFOUND', 'DIAL_DNS', 'the name nlb.test is unknown to DNS'],
  ['EAI_AGAIN', 'DIAL_DNS', 'no answer from DNS for the name nlb.test'],
  ['ECONNRESET', 'UPSTREAM_CLOSED', 'connection to nlb.test:3306 reset immediately'],
  ['EMFILE', 'FILE_LIMIT_REACHED', 'this process has no file descriptor left'],
  ['ENFILE', 'FILE_LIMIT_REACHED', 'this machine has no file descriptor left'],
  ['EHOSTUNREACH', 'DIAL_FAILED', 'connection to nlb.test:3306 failed: EHOSTUNREACH'],
  [undefined, 'DIAL_FAILED', 'connection to nlb.test:3306 failed: unknown error'],
]

test('what the error of a connection means', async t => {
  for (const [code, expected, message] of failures) {
    const { clock, socket, dialled } = await start(t)
    const cause = Object.assign(new Error('x'), code === undefined ? {} : { code })
    socket.destroy(cause)
    await t.rejects(settled(dialled), { name: 'ProxyError', code: expected, message, cause })
    t.equal(clock.pending(), 0)
  }
})

const proxy = readForwardProxy('http://proxy.test:3128', 'the option proxy') as ForwardProxy

test('what the error of a connection to a forward proxy means', async t => {
  for (const [code, what] of [
    ['ECONNREFUSED', 'is unreachable: ECONNREFUSED'],
    ['ETIMEDOUT', 'is unreachable: no answer within 6000 ms'],
  ]) {
    const { socket, dialled, connectOptions } = await start(t, { options: { proxy } })
    t.match(connectOptions(), { host: 'proxy.test', port: 3128 })
    socket.destroy(Object.assign(new Error('x'), { code }))
    const error = { code: 'FORWARD_PROXY_FAILED', message: `the proxy http://proxy.test:3128 ${what}` }
    await t.rejects(settled(dialled), { ...error, hintValues: { target: 'nlb.test:3306' } })
  }
  for (const code of ['EMFILE', 'ENFILE']) {
    const { socket, dialled } = await start(t, { options: { proxy } })
    socket.destroy(Object.assign(new Error('x'), { code }))
    await t.rejects(settled(dialled), { code: 'FILE_LIMIT_REACHED' })
  }
})

test('signs that a name leads to another server by now', t => {
  const codes: ErrorCode[] = ['SERVER_NOT_WRITER', 'TLS_WRONG_NAME', 'UPSTREAM_CLOSED', 'UPSTREAM_UNREACHABLE']
  for (const code of codes) t.ok(mayHaveMoved(new ProxyError(code, 'a failure')), code)
  const others: ErrorCode[] = ['UPSTREAM_REFUSED_LOGIN', 'CLIENT_TLS_FAILED', 'DIAL_REFUSED', 'CLIENT_CLOSED']
  for (const code of others) t.notOk(mayHaveMoved(new ProxyError(code, 'a failure')), code)
  t.end()
})

test('through a forward proxy', async t => {
  const { clock, socket, server, notes, stop, dialled } = await start(t, { options: { proxy } })
  socket.emit('connectionAttempt', ADDRESS)
  socket.emit('connect')
  await turns()
  t.match(String(server.read()), /^CONNECT nlb\.test:3306 HTTP/)
  server.write('HTTP/1.1 200 OK\r\n\r\n')
  await turns()
  t.equal(getEventListeners(stop.signal, 'abort').length, 1, 'that of the connection alone')
  clock.advance(3_000)
  t.same(notes, ['connected'], 'nobody blames the address of the proxy')
  server.write(GREETING)
  await settled(dialled)

  const late = await start(t, { options: { proxy } })
  late.socket.emit('connectionAttempt', ADDRESS)
  late.socket.emit('connect')
  await turns()
  late.clock.advance(6_000)
  await t.rejects(settled(late.dialled), { code: 'FORWARD_PROXY_TARGET', message: /in time$/ })
  t.same(late.notes, [], 'the proxy itself has answered')
})

test('stop ends a dial at each of its steps', async t => {
  const connecting = await start(t)
  connecting.stop.abort()
  await t.rejects(settled(connecting.dialled), { name: 'ProxyError' })
  t.ok(connecting.socket.destroyed)
  t.equal(connecting.clock.pending(), 0)

  const tunnelling = await start(t, { options: { proxy } })
  tunnelling.socket.emit('connect')
  await turns()
  tunnelling.stop.abort()
  await t.rejects(settled(tunnelling.dialled), { code: 'FORWARD_PROXY_FAILED' })
  t.ok(tunnelling.socket.destroyed)

  const greeted = await start(t)
  greeted.socket.emit('connect')
  await turns()
  greeted.stop.abort()
  await t.rejects(settled(greeted.dialled), { code: 'UPSTREAM_CLOSED' })
  t.same(greeted.notes, ['connected', 'greeted false'], 'nobody blames the address')
})

test('what a server sends instead of a greeting', async t => {
  for (const [bytes, error] of [
    [
      packet(err(1040, undefined, 'Too many connections'), 0),
      { code: 'UPSTREAM_REFUSED_CONNECTION', message: 'Too many connections', serverError: { errno: 1040 } },
    ],
    [packet(Buffer.of(0xff, 1), 0), { code: 'UPSTREAM_NOT_MYSQL', message: /^ERR_Packet: / }],
    [packet(Buffer.from('hello'), 0), { code: 'UPSTREAM_NOT_MYSQL', message: /^no MySQL greeting: / }],
  ] as const) {
    const { socket, server, notes, dialled } = await start(t)
    socket.emit('connect')
    server.write(bytes)
    await t.rejects(settled(dialled), error)
    t.ok(socket.destroyed)
    t.same(notes.slice(0, 3), ['connected', 'greeted true', `succeeded ${ADDRESS}`], 'it is alive')
    t.notOk(notes.includes(`failed ${ADDRESS}`))
  }
})

test('a server that closes or is silent', async t => {
  const closing = await start(t)
  closing.socket.emit('connect')
  await turns()
  closing.server.end()
  const message = `connection closed while waiting for the greeting of ${formatHostPort(target)}`
  await t.rejects(settled(closing.dialled), { code: 'UPSTREAM_CLOSED', message })
  t.same(closing.notes, ['connected', 'greeted false', `failed ${ADDRESS}`])
  t.same(closing.distrusted, ['nlb.test'])
  t.equal(closing.clock.pending(), 0)
  t.ok(closing.socket.destroyed)

  const silent = await start(t)
  silent.socket.emit('connect')
  await turns()
  silent.clock.advance(2_999)
  t.same(silent.notes, ['connected'])
  silent.clock.advance(1)
  t.same(silent.notes, ['connected', `failed ${ADDRESS}`])
  silent.clock.advance(57_000)
  await t.rejects(settled(silent.dialled), { code: 'UPSTREAM_TIMEOUT' })
  t.same(silent.notes.slice(2), ['greeted false', `failed ${ADDRESS}`])
})

/** A way to the server whose parts the test sees. */
function createWay(connection?: Socket) {
  const calls: string[] = []
  const explained = new ProxyError('TUNNEL_FAILED', 'the tunnel has an explanation')
  const lost = async () => undefined
  const way: Way = {
    async acquire() {
      return {
        address: { host: '127.0.0.1', port: 4711 },
        connection,
        async explain(error) {
          calls.push(`explain ${error.code}`)
          return explained
        },
        lost,
        release: () => void calls.push('release'),
      }
    },
    isStarting: () => false,
  }
  return { way, calls, explained, lost }
}

test('a tunnel: its address, its explanation, its release', async t => {
  const good = createWay()
  const dialling = await start(t, { tools: { tunnel: good.way } })
  await turns()
  t.match(dialling.connectOptions(), { host: '127.0.0.1', port: 4711 })
  dialling.socket.emit('connect')
  await turns()
  dialling.clock.advance(3_000)
  dialling.server.write(GREETING)
  t.equal((await settled(dialling.dialled)).lost, good.lost)
  t.notOk(dialling.notes.includes(`failed ${ADDRESS}`), 'its address says nothing about the server')
  t.same(good.calls, [])
  dialling.socket.destroy()
  await turns()
  t.same(good.calls, ['release'])

  const refused = createWay()
  const refusing = await start(t, { tools: { tunnel: refused.way } })
  await turns()
  refusing.socket.destroy(Object.assign(new Error('x'), { code: 'ECONNREFUSED' }))
  t.equal(await settled(refusing.dialled).catch(error => error), refused.explained)
  t.same(refused.calls, ['explain DIAL_REFUSED', 'release'])

  const full = createWay()
  const failing = await start(t, { tools: { tunnel: full.way } })
  await turns()
  failing.socket.destroy(Object.assign(new Error('x'), { code: 'EMFILE' }))
  await t.rejects(settled(failing.dialled), { code: 'FILE_LIMIT_REACHED' }, 'that is not the fault of the tunnel')
  t.same(full.calls, ['release'])

  const stopped = createWay()
  const stopping = await start(t, { tools: { tunnel: stopped.way } })
  await turns()
  stopping.stop.abort()
  await t.rejects(settled(stopping.dialled), { code: 'DIAL_FAILED' }, 'nobody asks for an explanation')
  t.same(stopped.calls, ['release'])
})

test('a tunnel that gives a connection', async t => {
  const closed = createWay(createMemoryPair(t)[0])
  const gone = createMemoryPair(t)[0]
  gone.destroy()
  await turns()
  const late = createWay(gone)
  const lateDial = await start(t, { tools: { tunnel: late.way } })
  t.equal(await settled(lateDial.dialled).catch(error => error), late.explained)
  t.same(late.calls, ['release', 'explain UPSTREAM_CLOSED'], 'released at once')
  t.equal(lateDial.connectOptions(), undefined)

  const [connection, server] = createMemoryPair(t)
  const way = createWay(connection)
  const { dialled, connectOptions } = await start(t, { tools: { tunnel: way.way } })
  await turns()
  server.write(packet(err(1040, undefined, 'Too many connections'), 0))
  await t.rejects(settled(dialled), { code: 'UPSTREAM_REFUSED_CONNECTION' }, 'the server itself has spoken')
  t.equal(connectOptions(), undefined)
  await turns()
  t.same([way.calls, closed.calls], [['release'], []])
})

test('errors of the way to the server', t => {
  for (const code of ['DIAL_DNS', 'FORWARD_PROXY_FAILED', 'TUNNEL_FAILED']) {
    t.ok(isDialError(new ProxyError(code as ErrorCode, 'x')), code)
  }
  for (const code of ['UPSTREAM_CLOSED', 'NO_DIAL_', 'DIAL', 'FILE_LIMIT_REACHED']) {
    t.notOk(isDialError(new ProxyError(code as ErrorCode, 'x')), code)
  }
  t.end()
})
