/** What a server gets that is abandoned before the login; in memory, on a clock that stands still. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { type Test, test } from 'tap'
import { createWire, readPacket, type Wire, writePacket } from '../../src/net/wire.ts'
import * as flags from '../../src/protocol/capabilities.ts'
import {
  AUTH_MORE_DATA,
  type HandshakeV10,
  parseHandshakeResponse41,
  parseHandshakeV10,
  type SSLRequest,
} from '../../src/protocol/packets.ts'
import { abandonLogin, requestTls } from '../../src/upstream/abandon.ts'
import type { Upstream } from '../../src/upstream/dial.ts'
import { createTestClock } from '../support/clock.ts'
import { createMemoryPair, settled } from '../support/memory-pair.ts'
import { ACCESS_DENIED, authSwitch, greeting, OK, RDS_HOST, testCertificates } from '../support/scripted-upstream.ts'

/** A connection that has received its greeting, over `socket`. */
function greeted(socket: Socket, changes: Partial<HandshakeV10> = {}) {
  const clock = createTestClock(1_000)
  const wire = createWire(socket, 'upstream', 60_000, clock)
  wire.sequence = 1
  const upstream: Upstream = { wire, greeting: parseHandshakeV10(greeting(changes)) }
  return { clock, upstream }
}

/** The server's end, which reads the login next. */
function serverWire(socket: Socket, sequence = 1): Wire {
  return Object.assign(createWire(socket, 'client', 60_000, createTestClock()), { sequence })
}

function setUp(t: Test, changes: Partial<HandshakeV10> = {}) {
  const [socket, peer] = createMemoryPair(t)
  return { ...greeted(socket, changes), server: serverWire(peer) }
}

test('before TLS: a login in clear text without a name of a user or a secret', async t => {
  const { upstream, server } = setUp(t)
  const outcome = abandonLogin(upstream)
  const response = parseHandshakeResponse41(await settled(readPacket(server, 'the login')))
  t.same(response, {
    capabilities:
      (flags.sentUpstream(0, upstream.greeting.capabilities, {
        database: false,
        attributes: false,
      }) &
        ~flags.CLIENT_SSL) >>>
      0,
    maxPacketSize: 0,
    charset: 45,
    reserved: Buffer.alloc(23),
    user: Buffer.from('mysql-iam-proxy'),
    authResponse: Buffer.alloc(0),
    database: undefined,
    authPlugin: 'caching_sha2_password',
    attributes: undefined,
    zstdLevel: undefined,
  })
  writePacket(server, ACCESS_DENIED)
  t.equal(await settled(outcome), 1045)
})

test('the method is never mysql_clear_password', async t => {
  const { upstream, server } = setUp(t, { authPlugin: 'mysql_clear_password' })
  void abandonLogin(upstream)
  const { authPlugin } = parseHandshakeResponse41(await settled(readPacket(server, 'the login')))
  t.equal(authPlugin, 'mysql_native_password')
})

test('a server that asks for another method gets an empty answer', async t => {
  const { upstream, server } = setUp(t)
  const outcome = abandonLogin(upstream)
  await settled(readPacket(server, 'the login'))
  writePacket(server, authSwitch('mysql_native_password'))
  t.equal((await settled(readPacket(server, 'the answer'))).length, 0)
  writePacket(server, Buffer.of(AUTH_MORE_DATA, 0))
  t.equal((await settled(readPacket(server, 'the answer'))).length, 0)
  writePacket(server, ACCESS_DENIED)
  t.equal(await settled(outcome), 1045)
})

/** An SSLRequest with everything that HandshakeResponse41 must repeat. */
const sslRequest: SSLRequest = {
  capabilities:
    (flags.CLIENT_PROTOCOL_41 |
      flags.CLIENT_SSL |
      flags.CLIENT_SECURE_CONNECTION |
      flags.CLIENT_PLUGIN_AUTH |
      flags.CLIENT_CONNECT_WITH_DB |
      flags.CLIENT_CONNECT_ATTRS |
      flags.CLIENT_COMPRESS |
      flags.CLIENT_ZSTD_COMPRESSION_ALGORITHM) >>>
    0,
  maxPacketSize: 1 << 24,
  charset: 33,
  reserved: Buffer.alloc(23, 7),
}

/** A connection inside TLS, after `sslRequest`. @param isVerified whether its client trusts the certificate */
async function startTls(t: Test, isVerified: boolean) {
  const [socket, peer] = createMemoryPair(t)
  const { authority, certificate } = await testCertificates()
  const tlsPeer = new TLSSocket(peer, { isServer: true, cert: certificate.certificate, key: certificate.key })
  const trusted = isVerified ? { ca: authority.certificate } : {}
  const tls = connectTls({ socket, servername: RDS_HOST, rejectUnauthorized: false, ...trusted })
  t.teardown(() => {
    for (const end of [tls, tlsPeer]) end.on('error', () => {}).destroy()
  })
  await once(tls, 'secureConnect')
  const { upstream } = greeted(tls)
  upstream.sslRequest = sslRequest
  upstream.wire.sequence = 2
  return { upstream, server: serverWire(tlsPeer, 2) }
}

test('inside TLS: a login with the flags of the SSLRequest, also to a server that is not verified', async t => {
  for (const isVerified of [true, false]) {
    const { upstream, server } = await startTls(t, isVerified)
    const outcome = abandonLogin(upstream)
    const response = parseHandshakeResponse41(await readPacket(server, 'the login'))
    t.match(response, {
      capabilities: sslRequest.capabilities,
      maxPacketSize: 1 << 24,
      charset: 33,
      reserved: sslRequest.reserved,
      zstdLevel: 3,
    })
    t.same([response.attributes, response.authResponse], [Buffer.alloc(0), Buffer.alloc(0)])
    t.equal(response.authPlugin, 'caching_sha2_password', 'behind an empty database')
    writePacket(server, ACCESS_DENIED)
    t.equal(await outcome, 1045)
  }
})

test('a login that has been sent is not followed by another', async t => {
  const slots: string[] = []
  const takeSlot = async () => void slots.push('taken')
  const { upstream } = await startTls(t, true)
  upstream.wire.sequence = 3
  t.equal(await settled(abandonLogin(upstream, takeSlot)), undefined, 'inside TLS')

  const plain = setUp(t)
  plain.upstream.wire.sequence = 2
  t.equal(await settled(abandonLogin(plain.upstream, takeSlot)), undefined, 'before TLS')

  const [socket] = createMemoryPair(t)
  const starting = greeted(new TLSSocket(socket))
  starting.upstream.wire.sequence = 2
  t.equal(await settled(abandonLogin(starting.upstream, takeSlot)), undefined, 'during the TLS handshake')

  const closed = setUp(t)
  closed.upstream.wire.socket.destroy()
  t.equal(await settled(abandonLogin(closed.upstream, takeSlot)), undefined, 'after the end')
  t.same(slots, [])
})

test('the login waits for its slot, and has two seconds from then on', async t => {
  const { clock, upstream, server } = setUp(t)
  let takeSlot = () => {}
  const slot = new Promise<void>(resolve => {
    takeSlot = resolve
  })
  let outcome: unknown = 'none yet'
  const abandoned = abandonLogin(upstream, () => slot).then(result => {
    outcome = result
  })
  for (let turn = 0; turn < 5; turn++) await setImmediate()
  t.equal(server.socket.readableLength, 0)
  clock.advance(10_000)
  takeSlot()
  await settled(readPacket(server, 'the login'))
  clock.advance(1_999)
  for (let turn = 0; turn < 5; turn++) await setImmediate()
  t.equal(outcome, 'none yet')
  clock.advance(1)
  await settled(abandoned)
  t.equal(outcome, undefined)
})

test('a server that lets anybody in gets COM_QUIT, compressed if the session is', async t => {
  const { upstream, server } = setUp(t)
  const outcome = abandonLogin(upstream)
  await settled(readPacket(server, 'the login'))
  writePacket(server, OK)
  t.equal(await settled(outcome), undefined)
  t.equal((server.socket.read() as Buffer).toString('hex'), '0100000001')

  const compressed = await startTls(t, true)
  const inTls = abandonLogin(compressed.upstream)
  await readPacket(compressed.server, 'the login')
  writePacket(compressed.server, OK)
  t.equal(await inTls, undefined)
  while (compressed.server.socket.readableLength === 0) await once(compressed.server.socket, 'readable')
  t.equal((compressed.server.socket.read() as Buffer).toString('hex'), '050000000000000100000001')
})

test('an SSLRequest to look at the certificate', async t => {
  const { upstream, server } = setUp(t)
  requestTls(upstream)
  const request = await settled(readPacket(server, 'SSLRequest'))
  const { capabilities } = upstream.greeting
  t.same(upstream.sslRequest, {
    capabilities: flags.sentUpstream(0, capabilities, { database: false, attributes: false }),
    maxPacketSize: 0,
    charset: 45,
    reserved: Buffer.alloc(23),
  })
  t.equal(request.readUInt32LE(0), upstream.sslRequest?.capabilities)
  t.equal(upstream.wire.sequence, 2)
})

test('a prepared connection ends itself', async t => {
  const { upstream, server } = setUp(t)
  let ends = 0
  let isEnded = false
  const end = async () => {
    ends++
    await setImmediate()
    isEnded = true
  }
  t.equal(await settled(abandonLogin({ ...upstream, end })), undefined)
  t.equal(ends, 1)
  t.ok(isEnded, 'and that is waited for')
  t.equal(server.socket.readableLength, 0, 'it sends no login')
})
