/** Prepared connections, on a clock that moves only here, to servers in the same process. */
import { TLSSocket } from 'node:tls'
import { type Test, test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { type Logger, silent } from '../../src/log.ts'
import type { Wire } from '../../src/net/wire.ts'
import type { HandshakeResponse41 } from '../../src/protocol/packets.ts'
import { abandonLogin } from '../../src/upstream/abandon.ts'
import { createAddressBook } from '../../src/upstream/address-book.ts'
import { dial } from '../../src/upstream/dial.ts'
import { createGreetingWatch } from '../../src/upstream/greeting-watch.ts'
import { type LoginTarget, login } from '../../src/upstream/login.ts'
import { createPrepared, MAX_AGE_MS } from '../../src/upstream/prepared.ts'
import { createLoginHistory } from '../../src/upstream/refusal.ts'
import { createTrust } from '../../src/upstream/trust.ts'
import { PLAIN_CLIENT } from '../support/capabilities.ts'
import { createTestClock } from '../support/clock.ts'
import { createTestState, testEndpoint } from '../support/endpoint.ts'
import { until } from '../support/proxy.ts'
import {
  err,
  goodLogin,
  greeting,
  type Peer,
  packet,
  RDS_HOST,
  refuseLogin,
  type Script,
  type ScriptedUpstream,
  startScriptedUpstream,
  testCertificates,
} from '../support/scripted-upstream.ts'

const stays = new AbortController().signal

const client: HandshakeResponse41 = {
  capabilities: PLAIN_CLIENT,
  maxPacketSize: 1 << 24,
  charset: 45,
  reserved: Buffer.alloc(23),
  user: Buffer.from('iam_user'),
  authResponse: Buffer.from('the password'),
  database: undefined,
  authPlugin: 'caching_sha2_password',
  attributes: undefined,
  zstdLevel: undefined,
}
const otherClient = { ...client, charset: 33 }

const COM_QUIT_PACKET = Buffer.from('0100000001', 'hex')

/** Prepared connections to servers with these scripts. */
async function setUp(t: Test, scripts: Script[] = [goodLogin], max = 2) {
  const upstream = await startScriptedUpstream(t, scripts)
  const { authority } = await testCertificates()
  const clock = createTestClock(1_000)
  const taken = { slots: 0 }
  const trust = createTrust([authority.certificate], true, clock)
  let secured = 0
  const target: LoginTarget = {
    endpoint: {
      ...testEndpoint,
      rds: { ...testEndpoint.rds, host: RDS_HOST },
      dial: { ...testEndpoint.dial, host: '127.0.0.1', port: upstream.port },
    },
    state: createTestState(),
    trust: {
      ...trust,
      remember(...args) {
        secured++
        trust.remember(...args)
      },
    },
    limiter: {
      tryAcquire: () => true,
      async acquire() {},
      async takeSoon() {
        taken.slots++
      },
    },
    createToken: async user => `the token of ${user}`,
    addresses: createAddressBook(clock),
    greetings: createGreetingWatch('db', silent, clock),
    tunnel: undefined,
    takesTokenInHandshake: undefined,
    history: createLoginHistory({ clock }),
  }
  const lines: string[] = []
  const log: Logger = { ...silent, info: (_fields, message) => lines.push(message) }
  const prepared = createPrepared(max, target, log, clock)
  const connect = () => dial(target.endpoint, stays, { clock })
  /** A login of a client from `source`, as the session does it. */
  const expect = (response = client, source = 'a') => prepared.expect(source, response, connect)
  const succeed = (response = client, source = 'a') => prepared.succeeded(source, response, 'iam_user')
  /** Waits until `count` connections have been in TLS so far. */
  const untilSecured = async (count: number) => t.ok(await until(() => secured === count), `${count} in TLS`)
  t.teardown(() => prepared.forget())
  return { upstream, clock, target, taken, prepared, lines, expect, succeed, untilSecured }
}

/** The same, after enough logins. */
async function setUpFrequent(t: Test, scripts?: Script[], max?: number) {
  const all = await setUp(t, scripts, max)
  all.succeed()
  all.succeed()
  return all
}

/** The same, with connections that are ready. */
async function setUpReady(t: Test, scripts?: Script[], max = 2) {
  const all = await setUpFrequent(t, scripts, max)
  const { expect, upstream, untilSecured } = all
  expect()
  await untilSecured(max)
  t.equal(upstream.connections.length, max)
  return all
}

/** What MySQL sends when its time limit for a login is over. */
const TIMED_OUT = err(1159, '08S01', 'Got timeout reading communication packets')

/** A server as far as TLS; `goOn` is what it does then. */
const inTls =
  (goOn: (peer: Peer) => Promise<void>): Script =>
  async peer => {
    peer.send(greeting())
    await peer.expect()
    await peer.startTls((await testCertificates()).certificate)
    await goOn(peer)
  }

const full: Script = async peer => {
  peer.send(err(1040, undefined, 'Too many connections'))
  peer.close()
}

/** What servers got inside TLS: a token of the user, then COM_QUIT. */
async function checkLoggedInAndQuit(t: Test, { connections }: ScriptedUpstream, count: number): Promise<void> {
  const done = () => connections.filter(({ decrypted }) => decrypted.subarray(-5).equals(COM_QUIT_PACKET))
  t.ok(await until(() => done().length === count), `${count} ended by COM_QUIT`)
  for (const { decrypted, clear } of done()) {
    t.ok(decrypted.includes('the token of iam_user'))
    t.notOk(clear.includes('the token'))
  }
}

test('a source whose logins come within seconds gets connections in TLS, up to the maximum', async t => {
  const { prepared, upstream, expect } = await setUpReady(t)
  expect()
  t.equal(upstream.connections.length, 2, 'no more')
  t.equal(prepared.take('b'), undefined, 'not another source')
  const [one, two] = [await prepared.take('a')!, await prepared.take('a')!]
  for (const { wire, sslRequest } of [one, two]) {
    t.ok(wire.socket instanceof TLSSocket && wire.socket.authorized)
    t.match(sslRequest, { charset: 45, maxPacketSize: 1 << 24 })
  }
  t.equal(prepared.take('a'), undefined)
  t.notOk(
    upstream.connections.some(({ decrypted }) => decrypted.length > 0),
    'nothing was sent inside TLS',
  )
})

test('a login takes one over with its own user and token', async t => {
  const { prepared, upstream, target } = await setUpReady(t, undefined, 1)
  const greeted = await prepared.take('a')!
  const result = await login(greeted, target, client, 'another', stays)
  t.equal(result.upstream, greeted)
  t.ok(upstream.connections[0]!.decrypted.includes('the token of another'))
  t.equal(upstream.connections.length, 1)
  greeted.wire.socket.destroy()
})

test('not for rare logins, and not for two programs', async t => {
  const { clock, upstream, expect, succeed } = await setUp(t)
  expect()
  succeed()
  expect()
  clock.advance(MAX_AGE_MS)
  succeed()
  expect()
  succeed(otherClient)
  expect(otherClient)
  succeed(otherClient)
  expect(otherClient)
  expect(client)
  t.equal(upstream.connections.length, 0)
  clock.advance(60_000)
  expect(otherClient)
  t.ok(await until(() => upstream.connections.length === 2), 'a minute after the other program')
})

test('one that no login takes within 3 s ends by a login and COM_QUIT, in the login rate', async t => {
  const { clock, prepared, upstream, taken } = await setUpReady(t)
  clock.advance(MAX_AGE_MS - 1)
  t.equal(taken.slots, 0)
  clock.advance(1)
  t.equal(prepared.take('a'), undefined)
  await checkLoggedInAndQuit(t, upstream, 2)
  t.equal(taken.slots, 2)
})

test('a source that leaves four unused gets none for ten minutes', async t => {
  const { clock, upstream, expect, succeed, untilSecured } = await setUpReady(t)
  clock.advance(MAX_AGE_MS)
  await checkLoggedInAndQuit(t, upstream, 2)
  expect()
  await untilSecured(4)
  clock.advance(MAX_AGE_MS)
  await checkLoggedInAndQuit(t, upstream, 4)
  succeed()
  succeed()
  expect()
  clock.advance(600_000 - 1)
  expect()
  t.equal(upstream.connections.length, 4)
  clock.advance(1)
  expect()
  t.ok(await until(() => upstream.connections.length === 6))
})

test('those that are taken make up for those that are not', async t => {
  const { clock, upstream, prepared, expect, target, untilSecured } = await setUpReady(t, undefined, 1)
  for (let round = 1; round < 6; round++) {
    const greeted = await prepared.take('a')!
    await login(greeted, target, client, 'iam_user', stays)
    greeted.wire.socket.destroy()
    expect()
    await untilSecured(2 * round)
    clock.advance(MAX_AGE_MS)
    t.ok(await until(() => upstream.connections[2 * round - 1]!.ended))
    expect()
    await untilSecured(2 * round + 1)
  }
})

test('a server that closes one meanwhile: no login gets it, and there are none for a while', async t => {
  let close: (() => void) | undefined
  const closing = inTls(async peer => {
    await new Promise<void>(resolve => {
      close = resolve
    })
    peer.close()
  })
  const { clock, upstream, prepared, expect, succeed, lines } = await setUpReady(t, [closing], 1)
  t.ok(await until(() => close !== undefined), 'the server is in TLS too')
  close!()
  t.ok(await until(() => clock.pending() === 0))
  t.equal(prepared.take('a'), undefined)
  succeed()
  expect()
  t.equal(upstream.connections.length, 1)
  t.same(lines, ['no connections are prepared for a for 10 minutes: the server closed one before its login'])
})

test('a server that sends an error before it closes: the same', async t => {
  let close: (() => void) | undefined
  const closing = inTls(async peer => {
    await new Promise<void>(resolve => {
      close = resolve
    })
    peer.send(TIMED_OUT, 2)
    peer.close()
  })
  const { clock, upstream, prepared, expect, succeed, lines } = await setUpReady(t, [closing], 1)
  t.ok(await until(() => close !== undefined), 'the server is in TLS too')
  close!()
  t.ok(await until(() => clock.pending() === 0))
  t.equal(prepared.take('a'), undefined)
  succeed()
  succeed()
  expect()
  t.equal(upstream.connections.length, 1)
  t.same(lines, ['no connections are prepared for a for 10 minutes: the server closed one before its login'])
})

for (const [how, closing] of [
  [
    'closes',
    inTls(async peer => {
      await peer.expect()
      peer.close()
    }),
  ],
  [
    'sends an error and closes',
    inTls(async peer => {
      await peer.expect()
      peer.sendRaw(packet(TIMED_OUT, 2))
      peer.close()
    }),
  ],
] as const) {
  test(`a login goes on with another connection if the server ${how} at this moment`, async t => {
    const { prepared, upstream, target } = await setUpReady(t, [closing, goodLogin], 1)
    const greeted = await prepared.take('a')!
    const wires: Wire[] = []
    target.onConnect = wire => wires.push(wire)
    const result = await login(greeted, target, client, 'iam_user', stays)
    t.not(result.upstream, greeted)
    t.equal(upstream.connections.length, 2)
    t.strictSame(wires, [result.upstream.wire], 'which is watched as any other')
    result.upstream.wire.socket.destroy()
  })
}

test('a login goes on with another connection if the server has sent an error since the client was greeted', async t => {
  let timeOut: (() => void) | undefined
  const late = inTls(async peer => {
    await new Promise<void>(resolve => {
      timeOut = resolve
    })
    peer.send(TIMED_OUT, 2)
    peer.close()
  })
  const { prepared, upstream, target } = await setUpReady(t, [late, goodLogin], 1)
  const greeted = await prepared.take('a')!
  t.ok(await until(() => timeOut !== undefined), 'the server is in TLS too')
  timeOut!()
  greeted.wire.socket.on('readable', () => {}) // as while the client thinks
  t.ok(await until(() => greeted.wire.socket.readableLength > 0))
  const result = await login(greeted, target, client, 'iam_user', stays)
  t.not(result.upstream, greeted)
  t.equal(upstream.connections.length, 2)
  t.notOk(upstream.connections[0]!.decrypted.includes('the token'))
  result.upstream.wire.socket.destroy()
})

test('a client that takes one over has the whole time of a login', async t => {
  const { clock, prepared, target } = await setUpReady(t, undefined, 1)
  clock.advance(MAX_AGE_MS - 1)
  const { wire } = await prepared.take('a')!
  t.equal(wire.deadline - clock.now(), target.endpoint.loginTimeout)
  wire.socket.destroy()
})

test('a client with other flags gets another connection, and the prepared one ends without an error', async t => {
  const { prepared, upstream, target } = await setUpReady(t, undefined, 1)
  const greeted = await prepared.take('a')!
  const result = await login(greeted, target, otherClient, 'another', stays)
  t.not(result.upstream, greeted)
  t.equal(upstream.connections.length, 2)
  await checkLoggedInAndQuit(t, upstream, 1)
  result.upstream.wire.socket.destroy()
})

test('its new connection may have to wait for the place of the prepared one', async t => {
  const { prepared, upstream, target } = await setUpReady(t, [goodLogin, full, goodLogin], 1)
  const greeted = await prepared.take('a')!
  const result = await login(greeted, target, otherClient, 'another', stays)
  t.equal(upstream.connections.length, 3)
  t.ok(upstream.connections[0]!.ended)
  result.upstream.wire.socket.destroy()
})

test('a client that leaves before its login', async t => {
  const { prepared, upstream } = await setUpReady(t, undefined, 1)
  const greeted = await prepared.take('a')!
  await Promise.all([abandonLogin(greeted), greeted.end!()])
  await checkLoggedInAndQuit(t, upstream, 1)
})

test('clients that connect without a login, such as health checks, use none', async t => {
  const { prepared, upstream, expect, lines, untilSecured } = await setUpReady(t, undefined, 1)
  for (let count = 1; count <= 4; count++) {
    const greeted = await prepared.take('a')!
    await Promise.all([abandonLogin(greeted), greeted.end!()])
    t.same(lines, count < 4 ? [] : ['no connections are prepared for a for 10 minutes: 4 of them were not used'])
    expect()
    if (count < 4) await untilSecured(count + 1)
  }
  t.equal(upstream.connections.length, 4)
})

test('a login to end one that is refused: there are none for a while', async t => {
  const { clock, upstream, expect, succeed } = await setUpReady(t, [refuseLogin()], 1)
  clock.advance(MAX_AGE_MS)
  t.ok(await until(() => upstream.connections[0]!.ended))
  succeed()
  succeed()
  expect()
  t.equal(upstream.connections.length, 1)
})

test('it ends as the last user who got in, not as one whom the server refuses', async t => {
  const { clock, prepared, upstream, untilSecured, target } = await setUpFrequent(t, undefined, 1)
  // The user of this login does not exist.
  const other = { ...client, user: Buffer.from('nobody'), database: undefined }
  prepared.expect('a', other, () => dial(target.endpoint, stays, { clock }))
  await untilSecured(1)
  clock.advance(MAX_AGE_MS)
  await checkLoggedInAndQuit(t, upstream, 1)
})

test('without credentials it ends by a login that is refused, because the server counts one that just closes', async t => {
  const { clock, upstream, target, expect, succeed, lines } = await setUpReady(t, undefined, 1)
  target.createToken = () => Promise.reject(new ProxyError('CREDENTIALS_SSO_EXPIRED', 'the SSO session has expired'))
  clock.advance(MAX_AGE_MS)
  const { decrypted } = upstream.connections[0]!
  t.ok(
    await until(() => upstream.connections[0]!.decrypted.length > decrypted.length && upstream.connections[0]!.ended),
  )
  t.ok(upstream.connections[0]!.decrypted.includes('mysql-iam-proxy\0'), 'an anonymous login')
  t.same(lines, ['no connections are prepared for a for 10 minutes: the SSO session has expired'])
  succeed()
  succeed()
  expect()
  t.equal(upstream.connections.length, 1)
})

test('a connection that fails on its way is none, and a server that is not the endpoint gets no token', async t => {
  const { prepared, upstream, target, expect, succeed } = await setUpFrequent(t, undefined, 1)
  target.endpoint = { ...target.endpoint, rds: { ...target.endpoint.rds, host: 'other.example.com' } }
  expect()
  await t.rejects(prepared.take('a')!, { code: 'TLS_WRONG_NAME' })
  t.ok(await until(() => upstream.connections[0]!.ended), 'it ended')
  t.notOk(upstream.connections[0]!.decrypted.includes('the token'))
  t.equal(prepared.take('a'), undefined)
  succeed()
  succeed()
  expect()
  t.equal(upstream.connections.length, 1, 'not at each login')
})

test('a server that has no room: there are none for a while', async t => {
  const { upstream, expect, succeed, lines } = await setUpFrequent(t, [full], 1)
  expect()
  t.ok(await until(() => lines.length === 1))
  t.match(lines[0], /: Too many connections$/)
  succeed()
  succeed()
  expect()
  t.equal(upstream.connections.length, 1)
})

test('a way to the server that fails for a moment costs the next logins nothing', async t => {
  const { prepared, upstream, expect, untilSecured, lines } = await setUpFrequent(t, undefined, 1)
  prepared.expect('a', client, () => Promise.reject(new ProxyError('DIAL_REFUSED', 'refused')))
  await t.rejects(prepared.take('a')!, { code: 'DIAL_REFUSED' })
  expect()
  await untilSecured(1)
  t.equal(upstream.connections.length, 1)
  t.same(lines, [])
})

test('close ends all of them, and prepares no more', async t => {
  const { prepared, upstream, expect } = await setUpReady(t)
  await prepared.close()
  t.ok(
    upstream.connections.every(({ ended }) => ended),
    'the process may exit now',
  )
  await checkLoggedInAndQuit(t, upstream, 2)
  expect()
  t.equal(prepared.take('a'), undefined)
  t.equal(upstream.connections.length, 2)
})

test('after a sign of a failover, all of them end, and the next ones go where the name leads', async t => {
  const { prepared, upstream, expect, untilSecured } = await setUpReady(t)
  const cleared = prepared.clear()
  t.equal(prepared.take('a'), undefined)
  t.equal(await cleared, true)
  t.ok(upstream.connections.every(({ ended }) => ended))
  await checkLoggedInAndQuit(t, upstream, 2)
  t.equal(await prepared.clear(), false)
  expect()
  await untilSecured(4)
})

test('after a change of the network, none is left, and none has got a token', async t => {
  const { clock, prepared, upstream } = await setUpReady(t)
  prepared.forget()
  t.equal(prepared.take('a'), undefined)
  t.ok(await until(() => upstream.connections.every(({ ended }) => ended)))
  for (const { decrypted } of upstream.connections) {
    t.ok(decrypted.includes('mysql-iam-proxy\0'), 'a login that the server refuses')
    t.notOk(decrypted.includes('the token'))
  }
  t.ok(await until(() => clock.pending() === 0))
})

test('sources are kept in bounded number', async t => {
  const { upstream, expect, succeed } = await setUpFrequent(t)
  for (let index = 0; index < 100; index++) succeed(client, `source ${index}`)
  expect()
  t.equal(upstream.connections.length, 0, 'the oldest was forgotten')
})
