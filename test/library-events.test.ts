/** The events of the library: each once, with the fields of the log, in every way in which a session can end. */
import { EventEmitter, on, once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { fileURLToPath } from 'node:url'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { createEvents } from '../src/events.ts'
import { createProxy, type ErrorCode, type LoginFailed, type ProxyEvents, type ProxyOptions } from '../src/index.ts'
import { silent } from '../src/log.ts'
import { createProxy as createServedProxy } from '../src/proxy/proxy.ts'
import type { Way } from '../src/upstream/dial.ts'
import { type RealServer, realServer } from './support/mariadb.ts'
import { connect, connectDirectly, connectRaw, until } from './support/raw-client.ts'
import { compilerErrors } from './support/type-check.ts'

interface Line {
  fields: Record<string, unknown>
  message: string
}

interface Seen {
  name: 'sessionStart' | 'sessionEnd' | 'loginFailed'
  event: Record<string, unknown>
}

function optionsFor(server: RealServer, lines: Line[], options: Partial<ProxyOptions> = {}): ProxyOptions {
  const log = (fields: object, message: string) => void lines.push({ fields: fields as Line['fields'], message })
  return {
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    listen: '127.0.0.1:0',
    credentials: server.keys.longTerm,
    ca: [server.ca],
    // A busy machine must not fail a login.
    connectTimeout: 60_000,
    loginTimeout: 120_000,
    logger: { error: log, warn: log, info: log, debug: log },
    ...options,
  }
}

/** Keeps the events of sessions. */
function follow(proxy: EventEmitter<ProxyEvents>): Seen[] {
  const seen: Seen[] = []
  for (const name of ['sessionStart', 'sessionEnd', 'loginFailed'] as const) {
    proxy.on(name, (event: object) => void seen.push({ name, event: { ...event } }))
  }
  return seen
}

/** A proxy that the library's users would have, with the sessions behind it. */
async function start(t: Test, server: RealServer, options: Partial<ProxyOptions> = {}) {
  const lines: Line[] = []
  const { events, state, ...proxy } = createServedProxy(optionsFor(server, lines, options))
  const seen = follow(events)
  const address = await proxy.listen()
  t.teardown(() => proxy.close())
  return { proxy, events, state, address, seen, lines }
}

/** The event of a failed login has what the log has. */
function sameAsLog(t: Test, event: Record<string, unknown>, { fields, message }: Line): void {
  for (const name of [
    'session',
    'localUser',
    'user',
    'client',
    'threadId',
    'code',
    'hint',
    'endedBy',
    'cause',
  ] as const)
    if (fields[name] !== undefined) t.equal(event[name], fields[name], name)
  if ('code' in fields) t.equal(event['message'], message)
  t.equal(event['bytesFromClient'], fields['bytesFromClient'])
  t.equal(event['bytesFromServer'], fields['bytesFromServer'])
}

test('a session has one start and one end, whatever ends it', async t => {
  const server = await realServer(t)
  const localUsers = ['iam_user', 'nobody'].map(name => ({ name, password: 'a long password' }))
  const one = await start(t, server, { localUsers })
  const { seen, state, events, address, lines } = one
  const login = { user: 'iam_user', password: 'a long password', database: 'lab' }

  const ways: [string, () => Promise<unknown>, { endedBy: string; code: ErrorCode | undefined }][] = [
    [
      'the client quits',
      async () => (await connect(address, login)).end(),
      { endedBy: 'client quit', code: undefined },
    ],
    [
      'the client leaves',
      async () => (await connect(address, login)).destroy(),
      { endedBy: 'client closed', code: undefined },
    ],
    [
      'the server ends it',
      async () => {
        const client = await connect(address, login)
        client.on('error', () => {})
        const other = await connectDirectly(server)
        await other.query(`KILL ${client.threadId}`)
        await other.end()
      },
      { endedBy: 'server closed', code: undefined },
    ],
    [
      'an operator ends it',
      async () => {
        const client = await connect(address, login)
        client.on('error', () => {})
        for (const session of state.sessions) session.close('SESSION_CLOSED')
      },
      { endedBy: 'SESSION_CLOSED', code: 'SESSION_CLOSED' },
    ],
    [
      'the server refuses another user',
      async () => {
        const client = await connect(address, login)
        client.on('error', () => {})
        await t.rejects(client.changeUser({ user: 'nobody', password: 'a long password' }))
      },
      { endedBy: 'AUTH_PLUGIN_UNEXPECTED', code: 'AUTH_PLUGIN_UNEXPECTED' },
    ],
    [
      'the proxy closes',
      async () => {
        const client = await connect(address, login)
        client.on('error', () => {})
        await one.proxy.close()
      },
      { endedBy: 'PROXY_STOPPING', code: 'PROXY_STOPPING' },
    ],
  ]
  for (const [way, run, end] of ways) {
    await t.test(way, async t => {
      seen.length = 0
      lines.length = 0
      const ended = once(events, 'sessionEnd')
      await run()
      await ended
      t.same(
        seen.map(({ name }) => name),
        ['sessionStart', 'sessionEnd'],
      )
      const [started, over] = seen.map(({ event }) => event)
      t.equal(over!['session'], started!['session'])
      t.match(started, { user: 'iam_user', localUser: 'iam_user', client: '127.0.0.1', database: 'lab' })
      t.type(started!['threadId'], 'number')
      t.type(started!['durationMs'], 'number')
      t.match(over, end)
      t.equal(typeof over!['message'], end.code ? 'string' : 'undefined')
      t.equal(typeof over!['hint'], end.code ? 'string' : 'undefined')
      const line = lines.find(({ message }) => message === 'session ended')
      sameAsLog(t, over!, line!)
      t.notMatch(JSON.stringify(seen), /a long password|X-Amz|Signature/i, 'no secret')
    })
  }
})

test('a client that does not log in has one failure', async t => {
  const server = await realServer(t)
  const localUsers = [
    { name: 'one', password: 'a long password', user: 'iam_user' },
    { name: 'two', password: 'a long password', user: 'nobody' },
  ]
  const { seen, events, address, lines } = await start(t, server, { localUsers })
  const unknown = { ...server.keys.longTerm, secretAccessKey: 'another' }
  const refused = await start(t, server, { credentials: unknown })
  const impatient = await start(t, server, { connectTimeout: 60_000, loginTimeout: 200, localUsers })
  const full = await start(t, server, { allowFrom: ['10.0.0.0/8'] })

  const ways: [string, () => Promise<LoginFailed>, Partial<LoginFailed>][] = [
    [
      'a wrong password',
      async () => {
        await t.rejects(connect(address, { user: 'one', password: 'wrong' }))
        return (await next(seen, events)) as unknown as LoginFailed
      },
      { code: 'CLIENT_ACCESS_DENIED', localUser: 'one', user: 'iam_user', errno: undefined },
    ],
    [
      'a user that the server does not know',
      async () => {
        await t.rejects(connect(address, { user: 'two', password: 'a long password' }))
        return (await next(seen, events)) as unknown as LoginFailed
      },
      { code: 'AUTH_PLUGIN_UNEXPECTED', localUser: 'two', user: 'nobody', errno: undefined },
    ],
    [
      'credentials that the server refuses',
      async () => {
        await t.rejects(connect(refused.address, { user: 'iam_user' }))
        return (await next(refused.seen, refused.events)) as unknown as LoginFailed
      },
      { code: 'UPSTREAM_REFUSED_LOGIN', localUser: undefined, user: 'iam_user', errno: 1045 },
    ],
    [
      'a stranger that says nothing and leaves',
      async () => {
        const { socket } = await connectRaw(address)
        socket.destroy()
        return (await next(seen, events)) as unknown as LoginFailed
      },
      { code: 'CLIENT_CLOSED', localUser: undefined, user: undefined },
    ],
    [
      'a client that takes too long',
      async () => {
        const { socket } = await connectRaw(impatient.address)
        const event = (await next(impatient.seen, impatient.events)) as unknown as LoginFailed
        socket.destroy()
        return event
      },
      { code: 'CLIENT_TIMEOUT' },
    ],
    [
      'a client from the wrong place, which gets no session',
      async () => {
        const socket = connectTcp(full.address)
        socket.resume()
        const event = (await next(full.seen, full.events)) as unknown as LoginFailed
        socket.destroy()
        return event
      },
      { code: 'CLIENT_NOT_ALLOWED', session: undefined, threadId: undefined },
    ],
  ]
  for (const [way, run, expected] of ways) {
    await t.test(way, async t => {
      lines.length = 0
      const event = await run()
      for (const [name, value] of Object.entries(expected)) t.equal(event[name as keyof LoginFailed], value, name)
      t.equal(event.client, '127.0.0.1')
      t.type(event.durationMs, 'number')
      t.ok(event.message.length > 0)
      t.type(event.hint, 'string')
      const line = lines.find(({ fields }) => fields['code'] === event.code && fields['session'] !== undefined)
      if (line) sameAsLog(t, { ...event }, line)
      t.notMatch(JSON.stringify(event), /a long password|wrong"|X-Amz|Signature/i, 'no secret')
    })
  }
  for (const { seen } of [refused, impatient, full]) t.equal(seen.length, 1, 'one event for one client')
  t.same(
    seen.map(({ name }) => name),
    ['loginFailed', 'loginFailed', 'loginFailed'],
  )
})

/** The next event of a session that is not read yet. */
async function next(seen: Seen[], events: EventEmitter<ProxyEvents>): Promise<object> {
  const before = nextRead.get(seen) ?? 0
  if (seen.length === before) await once(events, 'loginFailed')
  nextRead.set(seen, before + 1)
  return seen[before]!.event
}
const nextRead = new WeakMap<Seen[], number>()

test('status() agrees with the events', async t => {
  const server = await realServer(t)
  const proxy = createProxy(optionsFor(server, []))
  t.teardown(() => proxy.close())
  const shown: unknown[] = []
  proxy.on('sessionStart', () => shown.push(proxy.status().sessions.map(({ phase }) => phase)))
  proxy.on('sessionEnd', () => shown.push(proxy.status().sessions.length))
  proxy.on('loginFailed', ({ code }) => shown.push(proxy.status().recentErrors.at(-1)?.code === code))
  const { host, port } = await proxy.listen()
  const client = await connect({ host, port })
  const ended = once(proxy, 'sessionEnd')
  await client.end()
  await ended
  const failed = once(proxy, 'loginFailed')
  await t.rejects(connect({ host, port }, { user: 'nobody' }))
  await failed
  t.same(shown, [['open'], 0, true])
})

test('listening and closed come once, closed last', async t => {
  const server = await realServer(t)
  const proxy = createProxy(optionsFor(server, []))
  const names: string[] = []
  for (const name of ['listening', 'sessionStart', 'sessionEnd', 'closed'] as const) {
    proxy.on(name, () => void names.push(name))
  }
  const listening = once(proxy, 'listening')
  const address = await proxy.listen()
  t.same(await listening, [address])
  const client = await connect(address)
  client.on('error', () => {})
  await Promise.all([proxy.close(), proxy.close()])
  await proxy.close()
  t.same(names, ['listening', 'sessionStart', 'sessionEnd', 'closed'])
})

test('the end of a session says what travelled with compression', async t => {
  const server = await realServer(t)
  for (const compress of ['off', 'zlib'] as const) {
    const { events, address, lines } = await start(t, server, { compress })
    const client = await connect(address)
    await client.query("SELECT REPEAT('x', 100000)")
    const ended = once(events, 'sessionEnd')
    await client.end()
    const [{ compression, lineBytesFromClient, lineBytesFromServer, bytesFromServer }] = await ended
    const { fields } = lines.find(({ message }) => message === 'session ended')!
    const line = { compression, lineBytesFromClient, lineBytesFromServer }
    for (const [name, value] of Object.entries(line)) t.equal(value, fields[name], `${name} as in the log`)
    t.equal(compression, compress === 'off' ? undefined : 'zlib')
    if (compress !== 'off') t.ok(Number(lineBytesFromServer) < Number(bytesFromServer) / 10)
  }
})

test('closed comes last, also if credentials for a change of user never arrive', async t => {
  const server = await realServer(t)
  let hangs = false
  let asked = 0
  let expiration = new Date()
  const credentials = () => {
    if (hangs) asked++
    if (hangs) return new Promise<never>(() => {})
    expiration = new Date(Date.now() + 200)
    return Promise.resolve({ ...server.keys.longTerm, expiration })
  }
  const { proxy, events, state, address, seen } = await start(t, server, { credentials, loginTimeout: 3_600_000 })
  const client = await connect(address)
  client.on('error', () => {})
  hangs = true
  await until('the credentials have expired', () => Date.now() > expiration.getTime())
  const changed = client.changeUser({ user: 'iam2' }).catch((error: unknown) => error)
  await until('the function hangs', () => asked > 0)
  const atClosed = once(events, 'closed').then(() => seen.map(({ name }) => name))
  await proxy.close()
  t.same(await atClosed, ['sessionStart', 'sessionEnd'])
  t.match(seen[1]!.event, { endedBy: 'PROXY_STOPPING', code: 'PROXY_STOPPING', user: 'iam_user' })
  t.match(await changed, { errno: 1053 })
  t.equal(state.sessions.size, 0)
})

test('closed comes last, also if a session cannot end', async t => {
  const server = await realServer(t)
  let isOpen = true
  let settle: (() => void)[] = []
  const hang = () => new Promise<undefined>(resolve => settle.push(() => resolve(undefined)))
  const way: Way = {
    async acquire() {
      if (!isOpen) await hang()
      const address = { host: server.host, port: server.port }
      return { address, connection: undefined, explain: async error => error, lost: hang, release() {} }
    },
    isStarting: () => false,
  }
  const { events, state, ...proxy } = createServedProxy(optionsFor(server, []), undefined, { way })
  t.teardown(() => proxy.close())
  const seen = follow(events)
  const address = await proxy.listen()
  const client = await connect(address)
  client.on('error', () => {})
  await server.query(`KILL ${client.threadId}`)
  await until('the session asks why its connection was lost', () => settle.length === 1)
  isOpen = false
  const stranger = connectTcp(address)
  stranger.on('error', () => {}).resume()
  await until('another one waits for a way', () => settle.length === 2)
  const atClosed = once(events, 'closed').then(() => seen.map(({ name }) => name))
  await proxy.close()
  t.same((await atClosed).sort(), ['loginFailed', 'sessionEnd', 'sessionStart'])
  for (const { name, event } of seen) if (name !== 'sessionStart') t.match(event, { code: 'PROXY_STOPPING' }, name)
  t.equal(state.sessions.size, 0)
  for (const each of settle) each()
  settle = []
  await new Promise(resolve => setImmediate(resolve))
  t.equal(seen.length, 3, 'and none when it ends after all')
})

test('a client that quits just before close() is a client that quit', async t => {
  const server = await realServer(t)
  for (const isInside of [false, true]) {
    const { proxy, events, address, lines } = await start(t, server)
    const client = isInside
      ? await mysql.createConnection({ user: 'iam_user', stream: proxy.connect })
      : await connect(address)
    client.on('error', () => {})
    await client.query('DO 1')
    const ended = once(events, 'sessionEnd')
    void client.end().catch(() => {})
    await proxy.close()
    const [end] = await ended
    t.match(end, { endedBy: 'client quit', code: undefined, client: isInside ? 'in-process' : '127.0.0.1' })
    t.ok(lines.some(({ fields }) => fields['endedBy'] === 'client quit'))
  }
})

test('a listener that fails harms nothing', async t => {
  const server = await realServer(t)
  const lines: Line[] = []
  const proxy = createProxy(optionsFor(server, lines))
  t.teardown(() => proxy.close())
  const unhandled: unknown[] = []
  const onUnhandled = (error: unknown) => void unhandled.push(error)
  process.on('unhandledRejection', onUnhandled)
  t.teardown(() => process.off('unhandledRejection', onUnhandled))
  const called: string[] = []
  proxy.on('sessionStart', () => {
    throw new Error('from a listener')
  })
  proxy.on('sessionStart', async () => {
    throw new Error('from a promise')
  })
  proxy.once('sessionStart', event => {
    t.throws(() => Object.assign(event, { user: 'another' }), TypeError, 'the event is read-only')
    called.push('once')
  })
  proxy.on('sessionStart', ({ user }) => void called.push(user ?? ''))
  const address = await proxy.listen()
  const client = await connect(address)
  const [rows] = await client.query('SELECT 1 AS one')
  t.same(rows, [{ one: 1 }])
  await client.end()
  const second = await connect(address)
  await second.end()
  t.same(called, ['once', 'iam_user', 'iam_user'])
  t.same(unhandled, [])
  const failures = lines.filter(({ message }) => message === 'a listener of the host program failed')
  t.equal(failures.length, 4)
  t.match(failures[0]!.fields, { event: 'sessionStart', stack: /from a listener/ })
  t.match(failures[1]!.fields, { event: 'sessionStart', stack: /from a promise/ })
})

test('events work with the functions of node:events', async t => {
  const server = await realServer(t)
  const proxy = createProxy(optionsFor(server, []))
  t.teardown(() => proxy.close())
  const giveUp = new AbortController()
  const waiting = once(proxy, 'sessionStart', { signal: giveUp.signal })
  giveUp.abort()
  await t.rejects(waiting, { name: 'AbortError' })
  t.equal(proxy.listenerCount('sessionStart'), 0)
  const { host, port } = await proxy.listen()
  const stop = new AbortController()
  const users: unknown[] = []
  const reader = (async () => {
    for await (const [event] of on(proxy, 'sessionStart', { signal: stop.signal })) users.push(event.user)
  })()
  await (await connect({ host, port })).end()
  await (await connect({ host, port }, { user: 'iam2' })).end()
  stop.abort()
  await t.rejects(reader, { name: 'AbortError' })
  t.same(users, ['iam_user', 'iam2'])
  t.ok(proxy instanceof EventEmitter)
})

test('without a listener an event is not made', t => {
  const { emitter, emit } = createEvents(silent)
  emit('closed', () => t.fail('nobody listens') as never)
  for (let i = 0; i < 20; i++) emitter.on('closed', () => {})
  t.equal(emitter.getMaxListeners(), 0, 'and many listeners are no warning')
  t.end()
})

test('the types of events help', async t => {
  const library = fileURLToPath(new URL('../src/index.ts', import.meta.url))
  const program = (body: string) => `import { once, on } from 'node:events'
import { createProxy, type SessionEnd } from '${library}'
const proxy = createProxy({ rdsEndpoint: 'db.example.com' })
${body}`
  const right = program(`
proxy.on('sessionEnd', ({ bytesFromClient, code }) => bytesFromClient.toFixed() + (code ?? ''))
proxy.once('listening', ({ host, port }) => host.toUpperCase() + port.toFixed())
const keep: SessionEnd[] = []
proxy.on('sessionEnd', end => keep.push(end)).off('closed', () => {})
await once(proxy, 'closed', { signal: AbortSignal.timeout(1) })
for await (const [event] of on(proxy, 'loginFailed')) console.log(event)
`)
  t.same(await compilerErrors({ 'right.ts': right }), [])
  const wrong = {
    'name.ts': program("proxy.on('sessionEnded', () => {})"),
    'field.ts': program("proxy.on('sessionStart', event => event.usr)"),
    'write.ts': program("proxy.on('sessionStart', event => { event.user = '' })"),
  }
  const errors = await compilerErrors(wrong)
  for (const name of Object.keys(wrong))
    t.ok(
      errors.some(error => error.startsWith(name)),
      name,
    )
})
