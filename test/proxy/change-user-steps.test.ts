/** The steps of COM_CHANGE_USER between both connections, in memory, on a clock that stands still. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { type Test, test } from 'tap'
import type { Client } from '../../src/client/handshake.ts'
import { ProxyError } from '../../src/errors.ts'
import { createWire, framePacket, frameUncompressed, readPacket, type Wire, writePacket } from '../../src/net/wire.ts'
import { CLIENT_PLUGIN_AUTH } from '../../src/protocol/capabilities.ts'
import { encodeComChangeUser, parseAuthSwitchRequest, parseComChangeUser } from '../../src/protocol/packets.ts'
import { changeUser, refuseCompressed } from '../../src/proxy/change-user.ts'
import type { Served } from '../../src/proxy/served.ts'
import type { RelayEnd } from '../../src/relay/relay.ts'
import { createLoginHistory } from '../../src/upstream/refusal.ts'
import { PLAIN_CLIENT } from '../support/capabilities.ts'
import { createTestClock, type TestClock } from '../support/clock.ts'
import { createTestState, testEndpoint } from '../support/endpoint.ts'
import { createMemoryPair, settled } from '../support/memory-pair.ts'
import { ACCESS_DENIED, authSwitch, err, OK, RDS_HOST, testCertificates } from '../support/scripted-upstream.ts'

const LOGIN_TIMEOUT_MS = 8_000
const SETTLE_MS = 1_000

const COMMAND = encodeComChangeUser({
  user: Buffer.from('iam2'),
  authResponse: Buffer.from('secret'),
  database: Buffer.from('shop'),
  charset: 33,
  authPlugin: 'mysql_native_password',
  attributes: undefined,
})

/** A connection inside verified TLS, without which no token is sent. */
async function overTls(t: Test): Promise<[Socket, Socket]> {
  const [socket, peer] = createMemoryPair(t)
  const { authority, certificate } = await testCertificates()
  const server = new TLSSocket(peer, { isServer: true, cert: certificate.certificate, key: certificate.key })
  const tls = connectTls({ socket, servername: RDS_HOST, ca: authority.certificate })
  t.teardown(() => {
    for (const end of [tls, server]) end.on('error', () => {}).destroy()
  })
  await once(tls, 'secureConnect')
  return [tls, server]
}

function createTarget(clock: TestClock) {
  const calls: string[] = []
  const target = {
    endpoint: { ...testEndpoint, loginTimeout: LOGIN_TIMEOUT_MS },
    state: createTestState(),
    access: { users: undefined },
    limiter: { tryAcquire: () => false, acquire: async () => void calls.push('slot') },
    createToken: async (user: string) => {
      calls.push('token')
      return `token of ${user}`
    },
    forgetToken: (user: string) => void calls.push(`forget ${user}`),
    history: createLoginHistory({ clock }),
  } as unknown as Served
  return { target, calls }
}

interface SetUp {
  inTls?: boolean
  end?: Partial<RelayEnd>
  command?: Buffer
}

/** A COM_CHANGE_USER on its way to the server. */
async function start(t: Test, { inTls = false, end = {}, command = COMMAND }: SetUp = {}) {
  const clock = createTestClock(1_000)
  const [clientSocket, program] = createMemoryPair(t)
  const [upstreamSocket, serverSocket] = inTls ? await overTls(t) : createMemoryPair(t)
  const upstream = createWire(upstreamSocket, 'upstream', 1, clock)
  const client: Client = {
    wire: createWire(clientSocket, 'client', 1, clock),
    capabilities: PLAIN_CLIENT | CLIENT_PLUGIN_AUTH,
    charset: 45,
    offeredPlugin: 'mysql_native_password',
    salt: '\x01'.repeat(20),
    awaitsFastAuthSuccess: false,
  }
  // As earlier commands have left them.
  client.wire.sequence = upstream.sequence = 7
  upstream.socket.pause()
  clock.advance(500)
  const { target, calls } = createTarget(clock)
  /** both peers count their own packets */
  const peer = (socket: Socket) => createWire(socket, 'client', 60_000, createTestClock())
  const [user, server] = [peer(program), peer(serverSocket)]
  writePacket(user, command)
  const changing = changeUser(client, upstream, target, '10.0.0.7', { by: 'COM_CHANGE_USER', ...end })
  changing.catch(() => {})
  await turns()
  return { clock, client, upstream, target, calls, user, server, changing }
}

/** What the server has received of a COM_CHANGE_USER. */
async function received({ server }: { server: Wire }) {
  const payload = await settled(readPacket(server, 'COM_CHANGE_USER'))
  return parseComChangeUser(payload, PLAIN_CLIENT | CLIENT_PLUGIN_AUTH)
}

/** The server asks for a login, and the client answers. */
async function logInAgain(user: Wire, server: Wire): Promise<void> {
  await received({ server })
  server.socket.write(asks)
  await settled(readPacket(user, 'AuthSwitchRequest'))
  writePacket(user, Buffer.alloc(0))
  server.sequence = 2
}

/** All that has arrived at `wire`, as text in hexadecimal. */
function arrived({ socket }: Wire): string {
  return ((socket.read() as Buffer | null) ?? Buffer.alloc(0)).toString('hex')
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate()
}

const hex = (...packets: Buffer[]) => Buffer.concat(packets).toString('hex')
const ok = framePacket(OK, 1)
const refused = framePacket(err(1064, '42000', 'no'), 1)
const asks = framePacket(authSwitch('mysql_clear_password'), 1)

test('the client logs in again, and so does the proxy with a token', async t => {
  const { clock, client, upstream, calls, user, server, changing } = await start(t, { inTls: true })
  const { authResponse, ...other } = await received({ server })
  t.match(other, { user: Buffer.from('iam2'), database: Buffer.from('shop'), charset: 33 })
  t.equal(other.authPlugin, 'mysql_native_password')
  t.equal(authResponse.length, 20)
  t.notMatch(authResponse.toString(), 'secret')
  t.equal(upstream.deadline, clock.now() + LOGIN_TIMEOUT_MS)

  clock.advance(3_000)
  server.socket.write(asks)
  const question = await settled(readPacket(user, 'AuthSwitchRequest'))
  t.equal(parseAuthSwitchRequest(question).authPlugin, 'mysql_native_password')
  const deadline = clock.now() + LOGIN_TIMEOUT_MS
  t.same([upstream.deadline, client.wire.deadline], [deadline, deadline], 'the time begins with the question')
  t.same(calls, [], 'no token before the client has answered')
  writePacket(user, Buffer.alloc(20, 9))
  server.sequence = 2
  t.equal((await settled(readPacket(server, 'the token'))).toString(), 'token of iam2\0')
  t.same(calls, ['slot', 'token'])
  writePacket(server, OK)
  t.same(await settled(readPacket(user, 'OK_Packet')), OK)
  t.equal(user.sequence, 4, 'the sequence ids go on')
  t.same(await settled(changing), { localUser: undefined, user: 'iam2' })
  t.equal(clock.pending(), 0)
  t.ok(upstream.socket.isPaused())
})

test('a command without a charset gets that of the login', async t => {
  const { server } = await start(t, { command: Buffer.from('\x11iam2\0\x06secretshop\0') })
  t.equal((await received({ server })).charset, 45)
})

test('a command that is malformed, or does not arrive as a whole', async t => {
  const malformed = await start(t, { command: Buffer.from('\x11iam2') })
  await t.rejects(settled(malformed.changing), { code: 'CLIENT_MALFORMED', message: /^COM_CHANGE_USER: / })

  const clock = createTestClock(1_000)
  const [socket, program] = createMemoryPair(t)
  const [upstream] = createMemoryPair(t)
  program.write(framePacket(COMMAND, 0).subarray(0, 10))
  const client = { wire: createWire(socket, 'client', 1, clock) } as Client
  const wire = createWire(upstream, 'upstream', 1, clock)
  const { target } = createTarget(clock)
  const outcome = settled(changeUser(client, wire, target, '10.0.0.7', { by: 'COM_CHANGE_USER' }))
  outcome.catch(() => {})
  await turns()
  clock.advance(LOGIN_TIMEOUT_MS)
  await t.rejects(outcome, { code: 'CLIENT_TIMEOUT', message: /waiting for COM_CHANGE_USER$/ })
})

test('a server that is silent after the token', async t => {
  const { clock, user, server, changing } = await start(t, { inTls: true })
  await logInAgain(user, server)
  await settled(readPacket(server, 'the token'))
  await turns()
  clock.advance(LOGIN_TIMEOUT_MS)
  await t.rejects(settled(changing), {
    code: 'UPSTREAM_TIMEOUT',
    message: /waiting for the result of COM_CHANGE_USER$/,
  })
})

test('a token that the server refuses', async t => {
  const { calls, user, server, changing } = await start(t, { inTls: true })
  await logInAgain(user, server)
  await settled(readPacket(server, 'the token'))
  writePacket(server, ACCESS_DENIED)
  await t.rejects(settled(changing), { code: 'UPSTREAM_REFUSED_LOGIN', serverError: { errno: 1045 } })
  t.same(calls, ['slot', 'token', 'forget iam2'])
})

test('without a slot, the server gets an empty answer and no token', async t => {
  const { target, calls, user, server, changing } = await start(t)
  const full = new ProxyError('LOGIN_QUEUE_FULL', 'full')
  target.limiter.acquire = () => Promise.reject(full)
  await logInAgain(user, server)
  t.equal((await settled(readPacket(server, 'the answer'))).length, 0)
  writePacket(server, ACCESS_DENIED)
  t.equal(await settled(changing).catch(error => error), full)
  t.same(calls, [])
})

test('a server that asks for another method gets an empty answer', async t => {
  const { calls, user, server, changing } = await start(t)
  await received({ server })
  server.socket.write(framePacket(authSwitch('caching_sha2_password'), 1))
  server.sequence = 2
  t.equal((await settled(readPacket(server, 'the answer'))).length, 0)
  writePacket(server, ACCESS_DENIED)
  await t.rejects(settled(changing), { code: 'AUTH_PLUGIN_UNEXPECTED', message: /asks for caching_sha2_password,/ })
  t.same([arrived(user), calls], ['', []])
})

test('an OK_Packet without a question: an error a second later, and the client does not get it', async t => {
  const { clock, user, server, changing } = await start(t)
  let isOver = false
  changing.catch(() => {
    isOver = true
  })
  server.socket.write(ok)
  await turns()
  clock.advance(SETTLE_MS - 1)
  await turns()
  t.equal(isOver, false)
  clock.advance(1)
  await t.rejects(settled(changing), { code: 'AUTH_PLUGIN_UNEXPECTED', message: /asks for nothing,/ })
  t.same([arrived(user), clock.pending()], ['', 0])
})

test('an OK_Packet without a question before the server or the client leaves', async t => {
  for (const side of ['server', 'user'] as const) {
    const peers = await start(t)
    peers.server.socket.write(ok)
    await turns()
    peers[side].socket.end()
    await t.rejects(settled(peers.changing), { code: 'AUTH_PLUGIN_UNEXPECTED' }, side)
  }
})

test('an OK_Packet in front of a question answers an earlier command', async t => {
  const { clock, user, server } = await start(t)
  server.socket.write(ok)
  await turns()
  t.equal(arrived(user), '', 'it is held')
  server.socket.write(asks)
  await turns()
  const bytes = Buffer.from(arrived(user), 'hex')
  t.equal(hex(bytes.subarray(0, ok.length)), hex(ok))
  t.equal(bytes[ok.length + 4], 0xfe, 'and then the question of the proxy')
  // The deadline of the answer of the client is the only timer left.
  t.equal(clock.pending(), 1)
})

test('an OK_Packet that more answers follow is passed on once', async t => {
  const { user, server } = await start(t)
  const rows = Buffer.from('rows')
  for (const bytes of [ok, rows, rows, asks]) {
    server.socket.write(bytes)
    await turns()
  }
  const bytes = Buffer.from(arrived(user), 'hex')
  const before = Buffer.concat([ok, rows, rows])
  t.equal(hex(bytes.subarray(0, before.length)), hex(before))
  t.equal(bytes[before.length + 4], 0xfe)
})

test('answers to earlier commands and the question, at once', async t => {
  const { user, server } = await start(t)
  server.socket.write(Buffer.concat([ok, refused, asks]))
  await turns()
  const bytes = Buffer.from(arrived(user), 'hex')
  t.equal(hex(bytes.subarray(0, ok.length + refused.length)), hex(ok, refused))
  t.equal(bytes[ok.length + refused.length + 4], 0xfe)
})

test('a client that pipelines gets OK_Packets at once, and has no deadline until the question', async t => {
  const { clock, user, server, changing } = await start(t, { end: { pipelined: true } })
  t.equal(clock.pending(), 0)
  server.socket.write(ok)
  await turns()
  t.equal(arrived(user), hex(ok))
  clock.advance(60_000)
  server.socket.write(asks)
  await turns()
  t.equal(Buffer.from(arrived(user), 'hex')[4], 0xfe)
  user.socket.destroy()
  changing.catch(() => {})
})

test('a server that is silent', async t => {
  const { clock, changing } = await start(t)
  clock.advance(LOGIN_TIMEOUT_MS - 1)
  await turns()
  t.equal(clock.pending(), 1)
  clock.advance(1)
  await t.rejects(settled(changing), { code: 'UPSTREAM_TIMEOUT', message: /the answer to COM_CHANGE_USER/ })
})

test('a refusal without a question: the client gets it, and its next command ends the wait', async t => {
  const { clock, client, upstream, user, server, changing } = await start(t)
  server.socket.write(refused)
  await turns()
  t.equal(arrived(user), hex(refused))
  t.equal(clock.pending(), 0, 'a client may wait with its next command')
  user.socket.write('next')
  t.equal(await settled(changing), undefined)
  t.equal((client.wire.socket.read() as Buffer).toString(), 'next', 'it is for the relay')
  t.ok(upstream.socket.isPaused())
  for (const { socket } of [client.wire, upstream]) {
    t.same(
      ['data', 'readable', 'end', 'close'].map(event => socket.listenerCount(event)),
      [0, 0, 0, 0],
    )
  }
})

test('a refusal while the client has sent more: a second for the question that may follow', async t => {
  const over = await start(t)
  over.user.socket.write('n')
  await turns()
  over.server.socket.write(refused)
  await turns()
  over.clock.advance(SETTLE_MS - 1)
  await turns()
  t.equal(over.clock.pending(), 1)
  over.clock.advance(1)
  t.equal(await settled(over.changing), undefined)

  const asked = await start(t)
  asked.user.socket.write('next')
  await turns()
  asked.server.socket.write(refused)
  await turns()
  asked.server.socket.write(asks)
  await turns()
  const bytes = Buffer.from(arrived(asked.user), 'hex')
  t.equal(hex(bytes.subarray(0, refused.length)), hex(refused))
  t.equal(bytes[refused.length + 4], 0xfe)
})

test('an ERR_Packet and then more answers: the next bytes of the client end nothing', async t => {
  const { user, server, changing } = await start(t, { end: { pipelined: true } })
  server.socket.write(refused)
  await turns()
  server.socket.write(ok)
  await turns()
  t.equal(arrived(user), hex(refused, ok))
  user.socket.write('next')
  await turns()
  server.socket.write(asks)
  await turns()
  t.equal(Buffer.from(arrived(user), 'hex')[4], 0xfe)
  user.socket.destroy()
  changing.catch(() => {})
})

test('a side that ends or breaks before the answer', async t => {
  for (const side of ['server', 'user'] as const) {
    for (const how of ['end', 'destroy'] as const) {
      const peers = await start(t)
      const own = side === 'user' ? peers.client.wire.socket : peers.upstream.socket
      if (how === 'end') peers[side].socket.end()
      else own.destroy()
      t.equal(await settled(peers.changing), undefined, `${side}: ${how}`)
      t.equal(peers.clock.pending(), 0)
    }
  }
})

/** A COM_CHANGE_USER that a compressed session waits to have refused. */
async function refuse(t: Test, frame: Buffer, end: Partial<RelayEnd> = {}) {
  const clock = createTestClock(1_000)
  const [socket, program] = createMemoryPair(t)
  const wire = createWire(socket, 'client', 1, clock)
  clock.advance(500)
  const error = new ProxyError('CHANGE_USER_UNSUPPORTED', 'not here')
  program.write(frame)
  const { target } = createTarget(clock)
  const outcome = await settled(
    refuseCompressed(wire, target, error, { by: 'COM_CHANGE_USER', ...end }, 'abcd-1'),
  ).then(
    () => 'refused',
    (thrown: unknown) => (thrown === error ? 'thrown' : String(thrown)),
  )
  await turns()
  return { outcome, clock, wire, error, answer: (program.read() as Buffer | null) ?? Buffer.alloc(0) }
}

test('a compressed session: the client gets an ERR_Packet, and the server nothing', async t => {
  const frame = frameUncompressed(framePacket(COMMAND, 0), 5)
  const { outcome, clock, wire, answer } = await refuse(t, Buffer.concat([frame, Buffer.from('next')]))
  t.equal(outcome, 'refused')
  t.equal(wire.deadline, clock.now() + LOGIN_TIMEOUT_MS)
  t.equal(answer[3], 1)
  t.equal(answer[11], 0xff)
  t.match(answer.toString('latin1'), /not here.*\(session abcd-1\)/)
  t.equal((wire.socket.read() as Buffer).toString(), 'next')
})

test('a compressed session that cannot go on', async t => {
  const packet = framePacket(COMMAND, 0)
  t.equal((await refuse(t, frameUncompressed(packet, 0), { isPartlySent: true })).outcome, 'thrown')
  const two = frameUncompressed(Buffer.concat([packet, packet]), 0)
  t.equal((await refuse(t, two)).outcome, 'thrown', 'two packets')
  const header = (length: number, uncompressed: number) => {
    const bytes = Buffer.alloc(7)
    bytes.writeUIntLE(length, 0, 3)
    bytes.writeUIntLE(uncompressed, 4, 3)
    return bytes
  }
  t.equal((await refuse(t, header(131_073, 0))).outcome, 'thrown', 'too long')
  t.equal((await refuse(t, header(1, 131_073))).outcome, 'thrown', 'too long when it is decompressed')
  const whole = frameUncompressed(framePacket(Buffer.alloc(131_068, 0x11), 0), 0)
  t.equal(whole.readUIntLE(0, 3), 131_072)
  t.equal((await refuse(t, whole)).outcome, 'refused', 'the longest')
  const damaged = Buffer.concat([header(4, 100), Buffer.alloc(4, 1)])
  t.match((await refuse(t, damaged)).outcome, /COM_CHANGE_USER/)
})

test('a command of a compressed session that does not arrive as a whole', async t => {
  const frame = frameUncompressed(framePacket(COMMAND, 0), 0)
  for (const part of [frame.subarray(0, 3), frame.subarray(0, 20)]) {
    const clock = createTestClock(1_000)
    const [socket, program] = createMemoryPair(t)
    program.write(part)
    const { target } = createTarget(clock)
    const error = new ProxyError('CHANGE_USER_UNSUPPORTED', 'not here')
    const wire = createWire(socket, 'client', 1, clock)
    const outcome = settled(refuseCompressed(wire, target, error, { by: 'COM_CHANGE_USER' }, 'abcd-1'))
    outcome.catch(() => {})
    await turns()
    clock.advance(LOGIN_TIMEOUT_MS)
    await t.rejects(outcome, { code: 'CLIENT_TIMEOUT', message: /waiting for COM_CHANGE_USER$/ })
  }
})
