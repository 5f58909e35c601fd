/** What a login sends, and what it makes of the answer: each rule by itself, against a server that follows a script. */
import { setImmediate } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { silent } from '../../src/log.ts'
import { createWire } from '../../src/net/wire.ts'
import * as flags from '../../src/protocol/capabilities.ts'
import { hasZstd } from '../../src/protocol/inflate.ts'
import { encodeAuthMoreData, type HandshakeResponse41, parseHandshakeResponse41 } from '../../src/protocol/packets.ts'
import { createLineCompression } from '../../src/upstream/compression.ts'
import {
  assertOK,
  createTokenInTime,
  type LoginTarget,
  login,
  noteResult,
  placeholderPlugin,
  waitForSlot,
} from '../../src/upstream/login.ts'
import { createTestClock } from '../support/clock.ts'
import { client, createTarget } from '../support/login-target.ts'
import { createMemoryPair, settled } from '../support/memory-pair.ts'
import {
  ACCESS_DENIED,
  authSwitch,
  err,
  greeting,
  greetingWithout,
  OK,
  type Script,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

const CLEAR = 'mysql_clear_password'
const TOKEN = Buffer.from('the token\0')

const stays = new AbortController().signal

/** A server that sends these packets after HandshakeResponse41, and what it received. */
async function startServer(t: Test, answers: Buffer[], changes: Parameters<typeof untilResponse>[1] = {}) {
  const responses: HandshakeResponse41[] = []
  const packets: Buffer[] = []
  const script: Script = async peer => {
    responses.push(await untilResponse(peer, changes))
    for (const [at, answer] of answers.entries()) {
      peer.send(answer)
      if (at < answers.length - 1) packets.push(await peer.expect())
    }
  }
  const upstream = await startScriptedUpstream(t, [script])
  const created = await createTarget(upstream.port)
  return { ...created, upstream, responses, packets }
}

type Setting = LoginTarget['endpoint']['tokenInHandshake']

test('where the token goes, and what a login shows', async t => {
  const cases: [setting: Setting, known: boolean | undefined, isInside: boolean, then: boolean | undefined][] = [
    ['auto', undefined, true, true],
    ['auto', true, true, true],
    ['auto', false, false, false],
    ['always', undefined, true, true],
    ['always', false, true, true],
    ['never', undefined, false, undefined],
    ['never', true, false, true],
  ]
  for (const [setting, known, isInside, then] of cases) {
    const name = `${setting}, ${known}`
    const { target, responses, packets, logIn } = await startServer(t, isInside ? [OK] : [authSwitch(CLEAR), OK])
    target.endpoint = { ...target.endpoint, tokenInHandshake: setting }
    target.takesTokenInHandshake = known
    const succeeded: string[] = []
    target.history = { succeeded: (user, token) => void succeeded.push(user, token), hintFor: () => 'none is asked' }
    const { upstream, payload, hint } = await logIn()
    t.same(payload, OK, name)
    t.equal(hint, undefined)
    t.same(succeeded, ['iam_user', 'the token'])
    t.equal(responses[0]!.authPlugin, isInside ? CLEAR : 'caching_sha2_password', name)
    t.same(responses[0]!.authResponse, isInside ? TOKEN : Buffer.alloc(0), name)
    t.equal(String(responses[0]!.user), 'iam_user')
    t.same(packets, isInside ? [] : [TOKEN], name)
    t.equal(target.takesTokenInHandshake, then, name)
    t.ok((target.state.certificateExpires ?? 0) > 0, 'the status shows when the certificate expires')
    t.equal(upstream.wire.carrier, undefined, 'no compression')
    upstream.wire.socket.destroy()
  }
})

test('a refused login: how often it is tried, and what the hint knows', async t => {
  const asks = [authSwitch(CLEAR), ACCESS_DENIED]
  const cases: [setting: Setting, known: boolean | undefined, answers: Buffer[], expectsToken: boolean[]][] = [
    ['auto', undefined, [ACCESS_DENIED], [true, true]],
    ['auto', true, [ACCESS_DENIED], [true]],
    ['auto', false, [ACCESS_DENIED], [false]],
    ['auto', false, asks, [true]],
    ['always', undefined, [ACCESS_DENIED], [true]],
    ['never', undefined, [ACCESS_DENIED], [false]],
    ['never', undefined, asks, [true]],
  ]
  for (const [setting, known, answers, expectsToken] of cases) {
    const { target, upstream: server, dialled } = await startServer(t, answers)
    target.endpoint = { ...target.endpoint, tokenInHandshake: setting }
    target.takesTokenInHandshake = known
    const asked: boolean[] = []
    target.history = {
      succeeded: () => t.fail('no login succeeds'),
      hintFor: ({ user, token, expectsToken }) => {
        t.same([user, token], ['iam_user', 'the token'])
        return `hint ${asked.push(expectsToken)}`
      },
    }
    const first = await dialled()
    const { upstream, payload, hint } = await login(first, target, client, 'iam_user', stays)
    t.same(payload, ACCESS_DENIED)
    t.same(asked, expectsToken, `${setting}, ${known}`)
    t.equal(hint, `hint ${asked.length}`)
    t.equal(server.connections.length, expectsToken.length)
    t.equal(upstream === first, expectsToken.length === 1)
    t.equal(first.wire.socket.destroyed, expectsToken.length === 2, 'the first connection is not left open')
    t.equal(target.takesTokenInHandshake, known)
    upstream.wire.socket.destroy()
  }
})

test('the results that say something of the token', async t => {
  const { target } = await createTarget(1)
  const forgotten: string[] = []
  target.forgetToken = user => forgotten.push(user)
  target.history = { succeeded() {}, hintFor: ({ expectsToken }) => `expects a token: ${expectsToken}` }
  t.equal(noteResult(target, ACCESS_DENIED, 'u', 'token'), 'expects a token: true')
  t.equal(noteResult(target, ACCESS_DENIED, 'u', 'token', false), 'expects a token: false')
  t.same(forgotten, ['u', 'u'])
  const host = 'proxy-1.proxy-abcdefghijkl.eu-west-1.rds.amazonaws.com'
  target.endpoint = { ...target.endpoint, rds: { ...target.endpoint.rds, host } }
  t.equal(noteResult(target, ACCESS_DENIED, 'u', 'token', false), 'expects a token: true', 'an RDS Proxy')
  for (const payload of [
    OK,
    err(1040, '08004', 'Too many connections'),
    Buffer.of(0xff, 0x15),
    Buffer.of(0, 0x15, 4),
  ]) {
    t.equal(noteResult(target, payload, 'u', 'token'), undefined)
  }
  t.equal(forgotten.length, 3)
})

test('an ERR_Packet becomes our error', async t => {
  const { wire } = createClosedWire(t)
  assertOK(wire, OK, 'u')
  t.throws(() => assertOK(wire, ACCESS_DENIED, 'u', 'a hint'), {
    code: 'UPSTREAM_REFUSED_LOGIN',
    serverError: { errno: 1045 },
    hint: 'a hint',
    hintValues: { user: 'u' },
  })
  t.throws(() => assertOK(wire, Buffer.of(0xff, 1), 'u'), {
    code: 'UPSTREAM_NOT_MYSQL',
    message: /^the result of the login: /,
  })
})

test('a server that asks for something else than a token', async t => {
  const cases: [answers: Buffer[], code: string, message: RegExp][] = [
    [[authSwitch('mysql_native_password'), ACCESS_DENIED], 'AUTH_PLUGIN_UNEXPECTED', /asks for mysql_native_password,/],
    [[encodeAuthMoreData(Buffer.of(4))], 'AUTH_PLUGIN_UNEXPECTED', /asks for more data,/],
    [[authSwitch(CLEAR), authSwitch(CLEAR)], 'AUTH_PLUGIN_UNEXPECTED', /asks for more data,/],
    [[Buffer.of(7)], 'UPSTREAM_NOT_MYSQL', /^the result of the login: neither OK_Packet nor ERR_Packet$/],
  ]
  for (const [answers, code, message] of cases) {
    const { target, packets, dialled } = await startServer(t, answers)
    target.endpoint = { ...target.endpoint, tokenInHandshake: 'never' }
    const dialledUpstream = await dialled()
    const outcome = login(dialledUpstream, target, client, 'iam_user', stays)
    await t.rejects(outcome, { code, message, ...(code.startsWith('AUTH') && { hintValues: { user: 'iam_user' } }) })
    if (message.source.includes('native')) t.same(packets, [Buffer.alloc(0)], 'an empty response instead of the token')
    dialledUpstream.wire.socket.destroy()
  }
})

test('a server that closes instead of a result', async t => {
  for (const answers of [[], [authSwitch(CLEAR)]]) {
    const script: Script = async peer => {
      await untilResponse(peer)
      for (const answer of answers) {
        peer.send(answer)
        await peer.expect()
      }
      peer.close()
    }
    const { logIn } = await createTarget((await startScriptedUpstream(t, [script])).port)
    await t.rejects(logIn(), { code: 'UPSTREAM_CLOSED', message: /the result of the login/ })
  }
})

test('a server that cannot receive a token gets nothing', async t => {
  for (const [flag, code, message] of [
    [flags.CLIENT_SSL, 'TLS_NOT_OFFERED', /does not offer TLS$/],
    [flags.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA, 'UPSTREAM_TOO_OLD', /version 8\.0\.39, cannot receive a token$/],
  ] as const) {
    const upstream = await startScriptedUpstream(t, [async peer => peer.send(greetingWithout(flag))])
    const { target, dialled } = await createTarget(upstream.port)
    target.createToken = async () => {
      t.fail('no token is signed')
      return ''
    }
    const dialledUpstream = await dialled()
    await t.rejects(login(dialledUpstream, target, client, 'iam_user', stays), { code, message })
    dialledUpstream.wire.socket.destroy()
    t.equal(upstream.connections[0]!.clear.length, 0)
  }
})

test('the SSLRequest and HandshakeResponse41 have the same flags', async t => {
  let request: Buffer | undefined
  let response: HandshakeResponse41 | undefined
  const script: Script = async peer => {
    peer.send(greeting())
    request = await peer.expect()
    await peer.startTls((await testCertificates()).certificate)
    response = parseHandshakeResponse41(await peer.expect())
    peer.send(OK)
  }
  const { logIn } = await createTarget((await startScriptedUpstream(t, [script])).port)
  const plain = await logIn()
  t.same(request!.subarray(0, 4), bytesOf(response!.capabilities))
  t.equal(plain.upstream.sslRequest?.capabilities, response!.capabilities)
  t.notOk(response!.capabilities & flags.CLIENT_CONNECT_WITH_DB)
  t.notOk(response!.capabilities & flags.CLIENT_CONNECT_ATTRS)
  plain.upstream.wire.socket.destroy()
  const full = await logIn({ ...client, database: Buffer.from('shop'), attributes: Buffer.alloc(0) })
  t.same(request!.subarray(0, 4), bytesOf(response!.capabilities))
  t.same(response!.database, Buffer.from('shop'))
  t.ok(response!.capabilities & flags.CLIENT_CONNECT_ATTRS)
  full.upstream.wire.socket.destroy()
})

function bytesOf(capabilities: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(capabilities)
  return bytes
}

test('without a region, the token is signed after TLS, else before the SSLRequest', async t => {
  for (const region of ['eu-west-1', undefined]) {
    const { target, upstream, dialled } = await startServer(t, [OK])
    target.endpoint = { ...target.endpoint, rds: { ...target.endpoint.rds, region } }
    const signed: string[] = []
    target.createToken = async (user, region) => {
      signed.push(user, String(region), `${upstream.connections[0]!.clear.length > 0}`)
      return 'the token'
    }
    const phases: string[] = []
    target.state.onPhase = phase => void phases.push(phase)
    const result = await login(await dialled(), target, client, 'iam_user', stays)
    t.same(phases, region === undefined ? ['tls', 'token', 'login'] : ['token', 'tls', 'login'])
    t.same(signed, ['iam_user', 'eu-west-1', `${region === undefined}`], 'once')
    result.upstream.wire.socket.destroy()
  }
})

const COMPRESSES = [
  flags.CLIENT_PROTOCOL_41,
  flags.CLIENT_SSL,
  flags.CLIENT_SECURE_CONNECTION,
  flags.CLIENT_PLUGIN_AUTH,
  flags.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
  flags.CLIENT_COMPRESS,
  flags.CLIENT_ZSTD_COMPRESSION_ALGORITHM,
].reduce((all, flag) => (all | flag) >>> 0)

test('which compression a login asks for', async t => {
  const zstd = hasZstd ? 'zstd' : 'zlib'
  const own = (client.capabilities | flags.CLIENT_COMPRESS) >>> 0
  const cases: [LoginTarget['endpoint']['compress'], greetingMs: number, capabilities: number, string | undefined][] = [
    ['off', 20, client.capabilities, undefined],
    ['zlib', 1, client.capabilities, 'zlib'],
    ['zstd', 1, client.capabilities, zstd],
    ['auto', 1, client.capabilities, undefined],
    ['auto', 20, client.capabilities, zstd],
    ['zlib', 20, own, undefined],
  ]
  for (const [compress, greetingMs, capabilities, expected] of cases) {
    const { target, responses, logIn } = await startServer(t, [OK], { capabilities: COMPRESSES })
    target.compression = createLineCompression({ ...target.endpoint, compress }, silent)
    target.compression?.line?.greeted(greetingMs)
    const { upstream } = await logIn({ ...client, capabilities })
    const sent = responses[0]!
    const name = `${compress}: ${expected}`
    const added = sent.capabilities & ~capabilities
    t.equal((added & flags.CLIENT_COMPRESS) !== 0, expected === 'zlib', name)
    t.equal((added & flags.CLIENT_ZSTD_COMPRESSION_ALGORITHM) !== 0, expected === 'zstd', name)
    t.equal(sent.zstdLevel, expected === 'zstd' ? 3 : undefined, name)
    t.equal(upstream.wire.carrier !== undefined, expected !== undefined, `${name}: from the OK_Packet on`)
    upstream.wire.socket.destroy()
  }
  const refused = await startServer(t, [err(1049, '42000', 'Unknown database')], { capabilities: COMPRESSES })
  refused.target.compression = createLineCompression({ ...refused.target.endpoint, compress: 'zlib' }, silent)
  const { upstream } = await refused.logIn()
  t.equal(upstream.wire.carrier, undefined, 'a refusal is not compressed')
  upstream.wire.socket.destroy()
})

/** The wire of a connection in memory with 10 s left, on a clock that stands still. */
function createClosedWire(t: Test, timeLeftMs = 10_000) {
  const clock = createTestClock(1_000)
  const [socket, peer] = createMemoryPair(t)
  return { clock, peer, wire: createWire(socket, 'upstream', timeLeftMs, clock) }
}

test('a token has the time of the login, without the part for the server', async t => {
  for (const [timeLeftMs, timeMs] of [
    [10_000, 9_000],
    [1_000, 500],
  ] as const) {
    const { clock, wire } = createClosedWire(t, timeLeftMs)
    const { target } = await createTarget(1)
    t.equal(await createTokenInTime(target, 'u', wire), 'the token')
    t.equal(clock.pending(), 0, 'its timer is stopped')
    target.createToken = () => new Promise(() => {})
    let error: unknown
    const outcome = createTokenInTime(target, 'u', wire).catch(reason => {
      error = reason
    })
    clock.advance(timeMs - 1)
    await setImmediate()
    t.equal(error, undefined, `${timeMs} ms`)
    clock.advance(1)
    await settled(outcome)
    t.match(error, { code: 'CREDENTIALS_TIMEOUT' })
    target.createToken = async () => {
      throw new ProxyError('CREDENTIALS_MISSING', 'none')
    }
    await t.rejects(createTokenInTime(target, 'u', wire), { code: 'CREDENTIALS_MISSING' })
    t.equal(clock.pending(), 0)
    // A timer that was left would fail later, when nobody waits for it, and end the process.
    const { region: _region, ...rds } = target.endpoint.rds
    const ofUnknownRegion = { ...target, endpoint: { ...target.endpoint, rds: { ...rds, region: undefined } } }
    await t.rejects(createTokenInTime(ofUnknownRegion, 'u', wire), { code: 'REGION_UNKNOWN' })
    t.equal(clock.pending(), 0, 'without a region')
  }
})

test('the slot of a login', async t => {
  const { wire: upstream } = createClosedWire(t)
  const { target } = await createTarget(1)
  const [socket, peer] = createMemoryPair(t)
  const wire = createWire(socket, 'client', 10_000, createTestClock())
  await waitForSlot(
    { ...target, limiter: { ...target.limiter, acquire: async () => void t.fail('it waits') } },
    wire,
    upstream,
  )

  let asked = 0
  const busy: LoginTarget['limiter'] = {
    ...target.limiter,
    tryAcquire: () => {
      asked++
      return false
    },
    acquire: (deadline, state, disconnected) => {
      t.equal(deadline, 10_000, 'on the clock of the server’s connection')
      t.equal(state, target.state)
      return new Promise((_resolve, reject) => {
        const giveUp = () => reject(disconnected!.reason)
        if (disconnected!.aborted) giveUp()
        else disconnected!.addEventListener('abort', giveUp)
      })
    },
  }
  const leaving = settled(waitForSlot({ ...target, limiter: busy }, wire, upstream))
  peer.end()
  const left = { code: 'CLIENT_CLOSED', message: /its slot of the login rate/ }
  await t.rejects(leaving, left)
  t.equal(asked, 1)
  socket.destroy()
  await t.rejects(settled(waitForSlot({ ...target, limiter: busy }, wire, upstream)), left)
  t.equal(asked, 1, 'a client that has gone takes no slot')
})

test('the method of a response that has no token yet', t => {
  const of = (authPlugin: string) => placeholderPlugin({ authPlugin } as Parameters<typeof placeholderPlugin>[0])
  t.equal(of('caching_sha2_password'), 'caching_sha2_password')
  for (const other of ['mysql_native_password', CLEAR, '']) t.equal(of(other), 'mysql_native_password')
  t.end()
})
