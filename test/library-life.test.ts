/** The library in a host program: the life of a proxy with real clients, and what stays of it in the process. */
import { spawn } from 'node:child_process'
import { getEventListeners, once } from 'node:events'
import { createServer } from 'node:net'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { createProxy, type Proxy as OneProxy, type ProxyOptions } from '../src/index.ts'
import { loggerOf } from '../src/log.ts'
import { ERR, parseERR_Packet } from '../src/protocol/packets.ts'
import { type RealServer, realServer } from './support/mariadb.ts'
import { COM_QUERY, connectRaw, logInRaw, readPacket, sendCommand, until, value } from './support/raw-client.ts'
import { compilerErrors } from './support/type-check.ts'

const RDS = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const library = fileURLToPath(new URL('../src/index.ts', import.meta.url))

/** Nothing of a test may wait for this: close() must come first. */
const HOUR_MS = 3_600_000

function optionsFor(server: RealServer, more: Partial<ProxyOptions> = {}): ProxyOptions {
  return {
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    listen: '127.0.0.1:0',
    credentials: server.keys.longTerm,
    ca: [server.ca],
    connectTimeout: HOUR_MS,
    greetingTimeout: HOUR_MS,
    loginTimeout: HOUR_MS,
    ...more,
  }
}

function create(t: Test, options: ProxyOptions): OneProxy {
  const proxy = createProxy(options)
  t.teardown(() => proxy.close())
  return proxy
}

function connect({ host, port }: { host: string; port: number }): Promise<mysql.Connection> {
  return mysql.createConnection({ host, port, user: 'iam_user', connectTimeout: HOUR_MS })
}

test('listen() twice: one listener, which close() closes', async t => {
  const server = await realServer(t)
  const proxy = create(t, optionsFor(server))
  const [address, same] = await Promise.all([proxy.listen(), proxy.listen()])
  t.same(await proxy.listen(), address)
  t.same(same, address)
  const connection = await connect(address)
  t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam_user@/)
  t.equal(proxy.status().state, 'listening')
  connection.on('error', () => {})
  await proxy.close()
  await t.rejects(connect(address), { code: 'ECONNREFUSED' })
  t.match(proxy.status(), { state: 'closed', sessions: [] })
  await t.rejects(proxy.listen(), { name: 'ProxyError', code: 'PROXY_STOPPING', hint: /createProxy/ })
})

test('a port in use: listen() fails, and works once the port is free', async t => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const proxy = create(t, { rdsEndpoint: RDS, listen: `127.0.0.1:${port}`, credentials: keys })
  await t.rejects(proxy.listen(), { code: 'LISTEN_FAILED' })
  t.equal(proxy.status().state, 'idle')
  other.close()
  await once(other, 'close')
  t.same(await proxy.listen(), { host: '127.0.0.1', port })
})

const keys = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'a-secret-access-key' }

test('close() and a signal while listen() is pending: it never listens', async t => {
  const servers = () => process.getActiveResourcesInfo().filter(name => name === 'TCPServerWrap').length
  await until('earlier servers are closed', () => servers() === 0)
  for (const end of ['close', 'stopListening', 'abort'] as const) {
    const controller = new AbortController()
    const proxy = create(t, { rdsEndpoint: RDS, listen: '127.0.0.1:0', credentials: keys, signal: controller.signal })
    const listening = proxy.listen()
    listening.catch(() => {})
    if (end === 'close') await proxy.close()
    else if (end === 'abort') controller.abort()
    else proxy.stopListening()
    if (end === 'abort') await t.rejects(listening, { name: 'AbortError' })
    else await t.rejects(listening, { code: 'PROXY_STOPPING' })
    await proxy.close()
    t.match(proxy.status(), { state: 'closed' }, end)
    t.equal(getEventListeners(controller.signal, 'abort').length, 0)
  }
  await until('no server is left', () => servers() === 0)
})

test('close() does not wait for a provider that never answers: clients in their login get ERR 1053', async t => {
  const server = await realServer(t)
  let asked = 0
  const credentials = () => {
    asked++
    return new Promise<never>(() => {})
  }
  const codes: unknown[] = []
  const info = ({ code }: { code?: unknown }) => void codes.push(code)
  const logger = { error: info, warn: info, info, debug: info }
  const proxy = create(t, optionsFor(server, { credentials, logger }))
  const address = await proxy.listen()
  const refused = connect(address).then(
    () => undefined,
    (error: unknown) => error,
  )
  await until('the login waits for credentials', () => proxy.status().sessions[0]?.user === 'iam_user')
  t.equal(asked, 1)
  await proxy.close()
  t.match(await refused, { errno: 1053, message: /the proxy is being stopped/ })
  t.match(proxy.status(), { state: 'closed', sessions: [], logins: { PROXY_STOPPING: 1 } })
  t.ok(codes.includes('PROXY_STOPPING'))
})

test('a delay is for transactions: a login that hangs is ended at once', async t => {
  const server = await realServer(t)
  const proxy = create(t, optionsFor(server, { credentials: () => new Promise(() => {}) }))
  const refused = connect(await proxy.listen()).catch((error: unknown) => error)
  await until('the login waits', () => proxy.status().sessions[0]?.user === 'iam_user')
  await proxy.close(HOUR_MS)
  t.match(await refused, { errno: 1053 })
})

test('close() does not wait for a server that never greets', async t => {
  const silent = createServer(socket => socket.on('error', () => {}).resume())
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const { port } = silent.address() as { port: number }
  const server = await realServer(t)
  const proxy = create(t, optionsFor(server, { connect: `127.0.0.1:${port}` }))
  const { host, port: here } = await proxy.listen()
  const refused = connectRaw({ host, port: here }).catch((error: unknown) => error)
  await until('a client waits', () => proxy.status().sessions.length === 1)
  await proxy.close()
  t.ok((await refused) instanceof Error)
  t.match(proxy.status(), { state: 'closed', sessions: [] })
  silent.close()
  await once(silent, 'close')
  t.pass('the connection to the server is closed too')
})

test('close() does not wait for a client that says nothing; it gets ERR 1053', async t => {
  const server = await realServer(t)
  const proxy = create(t, optionsFor(server))
  const client = await connectRaw((await proxy.listen()) as { host: string; port: number })
  const answer = readPacket(client.socket)
  await proxy.close()
  const packet = await answer
  t.equal(packet[0], ERR)
  t.match(parseERR_Packet(packet), { errno: 1053 })
  t.match(proxy.status(), { state: 'closed', sessions: [] })
  client.socket.destroy()
})

test('two close() at once: the shorter delay counts, and both wait for the end', async t => {
  const server = await realServer(t)
  const proxy = create(t, optionsFor(server))
  const connection = await connect(await proxy.listen())
  const lost = once(connection as unknown as NodeJS.EventEmitter, 'error')
  await connection.beginTransaction()
  await connection.query('SELECT 1')
  let isClosed = false
  const first = proxy.close(HOUR_MS).then(() => {
    isClosed = true
  })
  await connection.query('SELECT 2')
  t.notOk(isClosed, 'a transaction may go on')
  t.equal(proxy.status().state, 'closing')
  await Promise.all([first, proxy.close(10), proxy.close(HOUR_MS)])
  t.match(await lost, [{ message: /the proxy is being stopped/ }])
  t.equal(proxy.status().state, 'closed')
})

test('close() destroys the sockets of clients that do not read', async t => {
  const server = await realServer(t)
  const proxy = create(t, optionsFor(server))
  const client = await logInRaw(await proxy.listen())
  sendCommand(client, COM_QUERY, "SELECT REPEAT('x', 1000000) FROM information_schema.collations")
  await until('the answer is on its way', () => proxy.status().bytesFromServer > 200_000)
  await proxy.close()
  t.match(proxy.status(), { state: 'closed', sessions: [] })
  client.socket.destroy()
})

test('await using closes the proxy', async t => {
  const proxy = createProxy({ rdsEndpoint: RDS, listen: '127.0.0.1:0', credentials: keys })
  await proxy.listen()
  await proxy[Symbol.asyncDispose]()
  t.equal(proxy.status().state, 'closed')
  const code = `import { createProxy } from '${library}'
export async function main(): Promise<void> {
  await using proxy = createProxy({ rdsEndpoint: '${RDS}' })
  await proxy.listen()
}`
  t.same(await compilerErrors({ 'using.ts': code }), [])
})

test('a signal closes the proxy', async t => {
  const server = await realServer(t)
  const controller = new AbortController()
  const proxy = create(t, optionsFor(server, { signal: controller.signal }))
  const connection = await connect(await proxy.listen())
  const lost = once(connection as unknown as NodeJS.EventEmitter, 'error')
  controller.abort()
  t.match(await lost, [{ message: /the proxy is being stopped/ }])
  await proxy.close()
  t.equal(proxy.status().state, 'closed')
  await t.rejects(proxy.listen(), { name: 'AbortError' })
  const late = createProxy(optionsFor(server, { signal: controller.signal }))
  await t.rejects(late.listen(), { name: 'AbortError' })
  const wrong = () => createProxy({ rdsEndpoint: RDS, signal: true as unknown as AbortSignal })
  t.throws(wrong, { code: 'CONFIG_INVALID', message: /^signal: / })
})

test('proxies in one process end separately', async t => {
  const server = await realServer(t)
  const [one, two] = [create(t, optionsFor(server)), create(t, optionsFor(server))]
  const [first, second] = [await connect(await one.listen()), await connect(await two.listen())]
  first.on('error', () => {})
  await one.close()
  t.equal(await value(second, 'SELECT 1'), 1)
  t.same([one.status().state, two.status().state], ['closed', 'listening'])
  t.match(one.status().logins, { OK: 1 })
  await second.end()
})

test('a provider that fails: its words go to the logger and status(), and not to clients', async t => {
  const server = await realServer(t)
  const lines: { level: string; fields: Record<string, unknown>; message: string }[] = []
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, fields: { ...fields }, message })
  const logger = loggerOf(at)
  const credentials = async () => {
    throw new Error('vault is sealed')
  }
  const proxy = create(t, optionsFor(server, { credentials, logger }))
  const address = await proxy.listen()
  const errors: string[] = []
  const isRepeated = (error: string) => error.includes('not tried: recent logins failed like this')
  // The circuit breaker repeats the error. On a busy machine, it may let several more logins through before.
  while (errors.length < 8 || !errors.some(isRepeated)) {
    await connect(address).then(
      () => t.fail('a login without credentials'),
      ({ message }) => errors.push(message),
    )
  }
  for (const error of errors) {
    t.match(error, /could not get AWS credentials.* The log of that program has the reason\. \(session /)
    t.notMatch(error, /vault/)
  }
  const message = 'the function in the option credentials failed: vault is sealed'
  const hint = 'Correct that function, or what it calls.'
  t.match(
    lines.find(({ level }) => level === 'warn'),
    { fields: { code: 'CREDENTIALS_FAILED', hint }, message },
    'already at the start',
  )
  t.match(
    lines.find(({ level }) => level === 'error'),
    { fields: { code: 'CREDENTIALS_FAILED', hint }, message },
  )
  t.match(proxy.status().recentErrors[0], { code: 'CREDENTIALS_FAILED', message, hint })
})

test('a logger that fails changes nothing', async t => {
  const server = await realServer(t)
  const fail = () => {
    throw new Error('disk full')
  }
  const proxy = create(t, optionsFor(server, { logger: { error: fail, warn: fail, info: fail, debug: fail } }))
  const address = await proxy.listen()
  const connection = await connect(address)
  t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam_user@/)
  await connection.end()
  const refused = await mysql.createConnection({ ...address, user: 'nobody' }).catch((error: unknown) => error)
  t.match(refused, { errno: 1045 })
  await until('both sessions have ended', () => proxy.status().sessions.length === 0)
  const { OK, ...failed } = proxy.status().logins
  t.same([OK, Object.values(failed)], [1, [1]])
})

/** Runs test/support/host-program.ts until it exits by itself. */
async function runHost(t: Test, ...args: string[]): Promise<unknown> {
  const program = fileURLToPath(new URL('support/host-program.ts', import.meta.url))
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_)/.test(name))
  const child = spawn(process.execPath, [...process.execArgv, '--expose-gc', program, ...args], {
    env: { ...Object.fromEntries(inherited), AWS_EC2_METADATA_DISABLED: 'true', HOME: t.testdir({}) },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const texts = ['', '', '']
  for (const [index, stream] of child.stdio.slice(1).entries()) {
    ;(stream as Readable).on('data', chunk => {
      texts[index] += chunk
    })
  }
  const ended = await once(child, 'close')
  const [stdout, stderr, found] = texts
  t.same(
    { ended, stdout, stderr },
    { ended: [0, null], stdout: '', stderr: '' },
    `${args}: it exits by itself, in silence`,
  )
  return JSON.parse(found!)
}

test('a host program exits by itself, and prints nothing', async t => {
  t.equal(await runHost(t, 'once'), 'closed')
})

test('a host program exits although credentials and the server never answer', async t => {
  const silent = createServer(socket => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  t.equal(await runHost(t, 'hung', String((silent.address() as { port: number }).port)), 0)
})

test('300 proxies leave nothing in the process', async t => {
  const found = (await runHost(t, 'cycles')) as Record<'before' | 'after', unknown> & {
    alive: number
    resources: unknown
  }
  t.ok(found.alive < 10, `${found.alive} of 300 proxies are still in memory`)
  t.same(found.resources, [], 'no socket, no timer')
  t.same(found.after, found.before, 'no handler of signals or of the end, no variable of the environment')
})
