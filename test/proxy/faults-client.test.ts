import { type Test, test } from 'tap'
import type { Credentials, ErrorCode } from '../../src/index.ts'
import { encodeSSLRequest, parseHandshakeResponse41 } from '../../src/protocol/packets.ts'
import type { ProxyOptions } from '../../src/proxy/proxy.ts'
import { FAILURE_THRESHOLD } from '../../src/upstream/circuit-breaker.ts'
import {
  checkEnded,
  checkGoodLogin,
  checkLog,
  checkNoSecrets,
  checkOutcome,
  connectRaw,
  type Failure,
  handshakeResponse,
  hasToken,
  logIn,
  problems,
  type RawClient,
  startProxy,
  until,
} from '../support/proxy.ts'
import {
  ACCESS_DENIED,
  goodLogin,
  greeting,
  OK,
  packet,
  refuseLogin,
  type Script,
  type ScriptedUpstream,
  serveCommands,
  startScriptedUpstream,
  untilResponse,
  wait,
} from '../support/scripted-upstream.ts'

const MALFORMED = { code: 'CLIENT_MALFORMED', errno: 1043, sqlState: '08S01' } as const

/** What a client does after the greeting, and the error that it gets. */
interface Misbehaviour extends Failure {
  send: (client: RawClient) => void
  options?: Partial<ProxyOptions>
}

const sslRequest = encodeSSLRequest({
  capabilities: 0x00080800 | 0x8200,
  maxPacketSize: 1 << 24,
  charset: 45,
  reserved: Buffer.alloc(23),
})

const misbehaviours: Record<string, Misbehaviour> = {
  'speaks HTTP': {
    ...MALFORMED,
    send: ({ socket }) => socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
    says: [/sequence id 32, expected 1/, /Use a MySQL client/],
  },
  'sends rubbish': {
    ...MALFORMED,
    send: client => client.send(Buffer.from('ff00ff00ff00', 'hex'), 1),
    says: [/HandshakeResponse41/, /Use a MySQL client/],
  },
  'sends rubbish and closes': {
    ...MALFORMED,
    send: ({ socket }) => socket.end(packet(Buffer.from('ff00ff00ff00', 'hex'), 1)),
    says: [/HandshakeResponse41/],
  },
  'sends an empty packet': {
    ...MALFORMED,
    send: client => client.send(Buffer.alloc(0), 1),
    says: [/HandshakeResponse41/],
  },
  'sends a packet that is cut short': {
    ...MALFORMED,
    send: client => client.send(handshakeResponse().subarray(0, 36), 1),
    says: [/HandshakeResponse41.*user name/],
  },
  'announces more auth data than it sends': {
    ...MALFORMED,
    send: client => client.send(Buffer.concat([handshakeResponse().subarray(0, 41), Buffer.from([0xfa, 1, 2])]), 1),
    says: [/HandshakeResponse41.*auth response/],
  },
  'answers with HandshakeResponse320': {
    ...MALFORMED,
    send: client => client.send(Buffer.from('0524000000iam_user\0password\0', 'latin1'), 1),
    says: [/HandshakeResponse320/, /4\.1/],
  },
  'asks for TLS although it is not offered': {
    ...MALFORMED,
    code: 'CLIENT_TLS_NOT_OFFERED',
    options: { localTls: 'off' },
    send(client) {
      client.send(sslRequest, 1)
      client.socket.write(Buffer.concat([Buffer.from('1603010200010001fc0303', 'hex'), Buffer.alloc(506, 7)]))
    },
    says: [/TLS/, /localTls off/],
  },
  'answers with a wrong sequence id': {
    ...MALFORMED,
    send: client => client.send(handshakeResponse(), 5),
    says: [/sequence id 5, expected 1/],
  },
  'announces an oversized packet': {
    ...MALFORMED,
    send: ({ socket }) => socket.write(Buffer.of(0xff, 0xff, 0xff, 1)),
    says: [/a packet of 16777215 bytes/],
  },
  'sends an oversized packet': {
    ...MALFORMED,
    send: client => client.send(Buffer.alloc(4 << 20, 0x41), 1),
    says: [/a packet of 4194304 bytes/],
  },
  'says nothing': {
    code: 'CLIENT_TIMEOUT',
    errno: 1043,
    sqlState: '08S01',
    send: () => {},
    options: { loginTimeout: 3_000 },
    says: [/timed out while waiting for HandshakeResponse41/],
  },
  'stops in the middle of a header': {
    code: 'CLIENT_TIMEOUT',
    errno: 1043,
    sqlState: '08S01',
    send: ({ socket }) => socket.write(Buffer.of(40, 0)),
    options: { loginTimeout: 3_000 },
    says: [/timed out while waiting for HandshakeResponse41/],
  },
  'stops in the middle of its answer': {
    code: 'CLIENT_TIMEOUT',
    errno: 1043,
    sqlState: '08S01',
    send: ({ socket }) => socket.write(packet(handshakeResponse(), 1).subarray(0, 30)),
    options: { loginTimeout: 3_000 },
    says: [/timed out while waiting for HandshakeResponse41/],
  },
  'names no user': {
    code: 'CLIENT_NO_USER',
    errno: 1045,
    sqlState: '28000',
    send: client => client.send(handshakeResponse({ user: Buffer.alloc(0) }), 1),
    says: [/named no user/, /option user/],
  },
}

for (const [name, { send, options, ...failure }] of Object.entries(misbehaviours)) {
  test(`a client ${name}`, async t => {
    const upstream = await startScriptedUpstream(t, [goodLogin])
    const { address, log } = await startProxy(t, { connect: upstream.address, ...options })
    const client = await connectRaw(t, address)
    await client.greeting()
    send(client)
    checkOutcome(t, await client.outcome(), failure)
    checkLog(t, log, failure.code)
    await checkEnded(t, upstream)
    checkLeftWithALogin(t, upstream)
    t.notOk(upstream.connections.some(hasToken), 'no token was sent')
    const { address: next } = options ? await startProxy(t, { connect: upstream.address }) : { address }
    await checkGoodLogin(t, next)
  })
}

test('a client that sends its answer byte by byte is served', async t => {
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const { address } = await startProxy(t, { connect: upstream.address })
  const client = await connectRaw(t, address)
  await client.greeting()
  for (const byte of packet(handshakeResponse(), 1)) {
    client.socket.write(Buffer.of(byte))
    await wait(1)
  }
  t.match(await client.outcome(), { ok: true })
  await checkEnded(t, upstream)
})

/** Where in its login a client leaves. */
const leaves: Record<string, { script?: Script; until: (client: RawClient) => Promise<void>; code: ErrorCode }> = {
  'before the greeting': {
    async script(peer) {
      await peer.wait(150)
      await goodLogin(peer)
    },
    until: () => wait(30),
    code: 'CLIENT_CLOSED',
  },
  'after the greeting': {
    async until(client) {
      await client.greeting()
    },
    code: 'CLIENT_CLOSED',
  },
  'in the middle of its answer': {
    async until(client) {
      await client.greeting()
      client.socket.write(packet(handshakeResponse(), 1).subarray(0, 30))
      await wait(30)
    },
    code: 'CLIENT_CLOSED',
  },
  'when asked for another method': {
    async until(client) {
      await client.greeting()
      client.send(handshakeResponse({ authPlugin: 'dialog' }), 1)
      const request = await client.next()
      if (request?.payload[0] !== 0xfe) throw new Error('no AuthSwitchRequest')
    },
    code: 'CLIENT_CLOSED',
  },
  'before a refusal': {
    async script(peer) {
      await untilResponse(peer)
      await peer.wait(150)
      peer.send(ACCESS_DENIED)
    },
    async until(client) {
      await client.greeting()
      client.send(handshakeResponse(), 1)
      await wait(60)
    },
    code: 'UPSTREAM_REFUSED_LOGIN',
  },
}

for (const [when, { script = goodLogin, until: reach, code }] of Object.entries(leaves)) {
  for (const way of ['FIN', 'RST'] as const) {
    test(`a client disconnects ${when}, by ${way}`, async t => {
      const upstream = await startScriptedUpstream(t, [script, goodLogin])
      const { address, log } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'always' })
      const client = await connectRaw(t, address)
      await reach(client)
      leave(client, way)
      t.ok(await until(() => problems(log).length > 0), 'the log says so')
      await checkEnded(t, upstream)
      checkLog(t, log, code)
      if (code === 'CLIENT_CLOSED') {
        t.notOk(upstream.connections.some(hasToken), 'no token was sent')
        checkLeftWithALogin(t, upstream)
      }
      await checkGoodLogin(t, address)
    })
  }
}

/** A connection that breaks off before its login counts towards max_connect_errors; one that is refused does not. */
function checkLeftWithALogin(t: Test, { connections }: ScriptedUpstream): void {
  const login = parseHandshakeResponse41(connections[0]!.clear.subarray(4))
  t.match(login, { user: Buffer.from('mysql-iam-proxy'), authResponse: Buffer.alloc(0) }, 'for the server to refuse')
}

function leave({ socket }: RawClient, way: 'FIN' | 'RST'): void {
  if (way === 'RST') socket.resetAndDestroy()
  else socket.end().resume()
}

for (const way of ['FIN', 'RST'] as const) {
  test(`a client disconnects before its OK_Packet, by ${way}`, async t => {
    const upstream = await startScriptedUpstream(t, [
      async peer => {
        await untilResponse(peer)
        await peer.wait(150)
        peer.send(OK)
        await serveCommands(peer)
      },
    ])
    const { address, log } = await startProxy(t, { connect: upstream.address })
    const client = await connectRaw(t, address)
    await client.greeting()
    client.send(handshakeResponse(), 1)
    await until(() => upstream.connections.some(hasToken))
    leave(client, way)
    await checkEnded(t, upstream)
    t.ok(await until(() => log.some(({ message }) => message === 'session ended')))
    t.same(problems(log), [], 'nothing has failed')
    checkNoSecrets(t, log)
  })
}

test('a client that has closed its side still gets the reason for its refusal', async t => {
  const upstream = await startScriptedUpstream(t, [refuseLogin()])
  const { address } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'always' })
  const client = await connectRaw(t, address)
  await client.greeting()
  client.socket.end(packet(handshakeResponse(), 1))
  t.match(await client.outcome(), { error: { errno: 1045, message: /rds-db:connect/ }, ended: true })
  await checkEnded(t, upstream)
})

test('a client that sent more than its answer still gets the reason for its refusal', async t => {
  const scripts: Record<string, Script> = {
    'by the upstream': refuseLogin(),
    'before TLS': async peer => {
      peer.send(greeting())
      await peer.expect()
      peer.close()
    },
  }
  for (const [name, script] of Object.entries(scripts)) {
    await t.test(name, async t => {
      const upstream = await startScriptedUpstream(t, [script])
      const { address } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'always' })
      const query = packet(Buffer.alloc(8 << 20, 3), 0)
      const outcome = await logIn(t, address, { pipelined: query })
      t.match(outcome, { ok: false, error: { message: /mysql-iam-proxy/ }, ended: true })
    })
  }
})

test('a client that sends before the greeting still gets the reason for its refusal', async t => {
  const upstream = await startScriptedUpstream(t, [
    async peer => {
      await peer.wait(80)
      peer.close()
    },
  ])
  const { address, log } = await startProxy(t, { connect: upstream.address })
  const client = await connectRaw(t, address)
  client.socket.write(Buffer.alloc(100_000, 0x41))
  t.match(await client.outcome(), { error: { errno: 1158, sqlState: undefined, sequence: 0 }, ended: true })
  checkLog(t, log, 'UPSTREAM_CLOSED')
})

test('a client that never reads does not keep a session open', async t => {
  const upstream = await startScriptedUpstream(t, [async peer => peer.close()])
  const { address, log } = await startProxy(t, { connect: upstream.address })
  const client = await connectRaw(t, address)
  let ended = false
  client.socket.on('close', () => {
    ended = true
  })
  await until(() => log.length > 0)
  // Its end of the connection stays open; the proxy gives it a second.
  const write = setInterval(() => client.socket.write('x'), 50)
  t.teardown(() => clearInterval(write))
  t.ok(await until(() => ended), 'the proxy closes')
})

const CREDENTIALS = { errno: 1105, sqlState: '08004' } as const
const KEYS = { accessKeyId: 'ASIAEXAMPLE', secretAccessKey: 'secret-access-key-of-the-tests' }

/** What a client gets to know of the host program's own failures. */
const FOR_CLIENTS = [/the program that this proxy runs in could not get AWS credentials/, /log of that program/]

/** What a credentials provider does, and what is said about it. */
const providers: Record<string, Failure & { provider: () => Promise<Credentials> }> = {
  'finds no credentials': {
    ...CREDENTIALS,
    provider: rejects('CredentialsProviderError', 'Could not load credentials from any providers'),
    code: 'CREDENTIALS_MISSING',
    says: [/no AWS credentials found/, /AWS_PROFILE/],
  },
  'has an SSO session that is over': {
    ...CREDENTIALS,
    provider: rejects('CredentialsProviderError', 'The SSO session associated with this profile has expired.'),
    code: 'CREDENTIALS_SSO_EXPIRED',
    says: [/AWS SSO session.* has expired/, /mysql-iam-proxy login/],
  },
  'fails in its own way': {
    ...CREDENTIALS,
    provider: rejects('Error', 'connect ECONNREFUSED 169.254.169.254:80\nsecret-access-key in the second line'),
    code: 'CREDENTIALS_FAILED',
    says: FOR_CLIENTS,
  },
  'throws at once': {
    ...CREDENTIALS,
    provider: () => {
      throw new Error('not set up')
    },
    code: 'CREDENTIALS_FAILED',
    says: FOR_CLIENTS,
  },
  'gives something else': {
    ...CREDENTIALS,
    provider: async () => ({}) as Credentials,
    code: 'CREDENTIALS_FAILED',
    says: [/credentials/i],
  },
}

function rejects(name: string, message: string): () => Promise<Credentials> {
  return async () => {
    throw Object.assign(new Error(message), { name })
  }
}

for (const [name, { provider, ...failure }] of Object.entries(providers)) {
  test(`a credentials provider ${name}`, async t => {
    let works = false
    const upstream = await startScriptedUpstream(t, [async peer => void (await untilResponse(peer)), goodLogin])
    const credentials = () => (works ? Promise.resolve(KEYS) : provider())
    const { address, log } = await startProxy(t, { connect: upstream.address, credentials })
    // The provider also runs when the proxy starts, and its failure is logged.
    if (name !== 'gives something else') await until(() => log.length > 0)
    checkNoSecrets(t, log)
    log.length = 0
    checkOutcome(t, await logIn(t, address), failure)
    checkLog(t, log, failure.code)
    await checkEnded(t, upstream)
    t.notOk(upstream.connections.some(hasToken), 'no token was sent')
    works = true
    if (name !== 'gives something else') await checkGoodLogin(t, address)
  })
}

test('a credentials provider never answers', async t => {
  let calls = 0
  const upstream = await startScriptedUpstream(t, [async peer => void (await untilResponse(peer))])
  const { address, log } = await startProxy(t, {
    connect: upstream.address,
    loginTimeout: 3_000,
    credentials() {
      calls += 1
      return new Promise<Credentials>(() => {})
    },
  })
  for (const _ of ['first', 'second']) {
    log.length = 0
    checkOutcome(t, await logIn(t, address), {
      ...CREDENTIALS,
      code: 'CREDENTIALS_TIMEOUT',
      says: FOR_CLIENTS,
    })
    checkLog(t, log, 'CREDENTIALS_TIMEOUT')
    await checkEnded(t, upstream)
  }
  t.equal(calls, 1, 'asked once, for all who wait')
  t.notOk(upstream.connections.some(hasToken), 'no token was sent')
})

test('credentials that arrive late serve the next login, also if several have failed meanwhile', async t => {
  const waiting = Array.from(
    { length: FAILURE_THRESHOLD },
    (): Script => async peer => void (await untilResponse(peer)),
  )
  const upstream = await startScriptedUpstream(t, [...waiting, goodLogin])
  let arrive = (_keys: Credentials) => {}
  const arrived = new Promise<Credentials>(resolve => {
    arrive = resolve
  })
  const { address } = await startProxy(t, {
    connect: upstream.address,
    loginTimeout: 3_000,
    credentials: () => arrived,
  })
  const logins = await Promise.all(waiting.map(() => logIn(t, address)))
  for (const login of logins) t.match(login, { error: { errno: 1105 } })
  t.match(await logIn(t, address), { error: { message: /not tried: recent logins failed like this/ } })
  arrive(KEYS)
  await checkGoodLogin(t, address)
})

test('a login timeout under a second suffices for faster credentials', async t => {
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const credentials = () => wait(1).then(() => KEYS)
  const { address } = await startProxy(t, { connect: upstream.address, loginTimeout: 900, credentials })
  t.match(await logIn(t, address), { ok: true, error: undefined })
  await checkEnded(t, upstream)
})

test('for a client that disconnects in the login queue, no token is signed and the server gets a login to refuse', async t => {
  const upstream = await startScriptedUpstream(t, [goodLogin])
  let asked = 0
  const credentials: () => Promise<Credentials> = async () => {
    asked++
    return { accessKeyId: 'ASIAEXAMPLE', secretAccessKey: 'secret-access-key-of-the-tests' }
  }
  const { address, log, proxy } = await startProxy(t, {
    connect: upstream.address,
    maxLoginsPerSecond: 0.5,
    loginTimeout: 60_000,
    credentials,
  })
  for (const _ of ['a burst', 'is one more']) await checkGoodLogin(t, address)
  const askedBefore = asked
  const leavers = await Promise.all(Array.from({ length: 3 }, () => connectRaw(t, address)))
  for (const client of leavers) {
    await client.greeting()
    client.send(handshakeResponse(), 1)
  }
  t.ok(await until(() => proxy.state.loginsQueued === 3), 'all wait')
  for (const { socket } of leavers) socket.end()
  t.ok(await until(() => proxy.state.loginsQueued === 0 && proxy.state.sessions.size === 0), 'none waits now')
  t.equal(asked, askedBefore)
  t.match(
    problems(log).map(({ fields }) => fields.code),
    ['CLIENT_CLOSED', 'CLIENT_CLOSED', 'CLIENT_CLOSED'],
  )
  t.notOk(upstream.connections.slice(2).some(hasToken))
  // The login for nobody, on which the server refuses by itself.
  for (const { clear } of upstream.connections.slice(2)) t.match(clear.toString('latin1'), 'mysql-iam-proxy')
  await checkEnded(t, upstream)
})
