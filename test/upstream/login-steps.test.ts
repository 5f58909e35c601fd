/** The steps of a login to the database, against a server that follows a script; on a clock that stands still. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'
import { type Test, test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { createWire, readPacket, switchSocket, type Wire, writePacket } from '../../src/net/wire.ts'
import { abandonLogin } from '../../src/upstream/abandon.ts'
import { assertOK, writeCommand } from '../../src/upstream/login.ts'
import { createTarget } from '../support/login-target.ts'
import {
  ACCESS_DENIED,
  err,
  goodLogin,
  greeting,
  OK,
  RDS_HOST,
  refuseLogin,
  type Script,
  startScriptedUpstream,
  testCertificates,
  untilResponse,
} from '../support/scripted-upstream.ts'

test('the second attempt takes a slot of the login rate', async t => {
  const upstream = await startScriptedUpstream(t, [refuseLogin(), goodLogin])
  const { taken, target, logIn } = await createTarget(upstream.port)
  const result = await logIn()
  t.equal(result.payload[0], OK[0])
  t.equal(taken.slots, 1, 'the slot of the first was taken before')
  t.equal(target.takesTokenInHandshake, false)
  result.upstream.wire.socket.destroy()
})

test('a second attempt without a slot fails, and leaves no connection', async t => {
  const upstream = await startScriptedUpstream(t, [refuseLogin(), goodLogin])
  const { target, logIn } = await createTarget(upstream.port)
  target.limiter.acquire = async () => {
    throw new ProxyError('LOGIN_QUEUE_FULL', 'full')
  }
  await t.rejects(logIn(), { code: 'LOGIN_QUEUE_FULL' })
  while (!upstream.connections[1]?.ended) await new Promise(resolve => setImmediate(resolve))
  t.equal(upstream.connections[1]!.clear.length, 0, 'nothing was sent on it')
})

test('an error whose number ends with a zero byte is no OK_Packet', async t => {
  const other = err(0x0500, 'HY000', 'another reason')
  const refuseOtherwise: Script = async peer => {
    await untilResponse(peer)
    peer.send(other)
    peer.close()
  }
  const upstream = await startScriptedUpstream(t, [refuseOtherwise, refuseLogin(), refuseOtherwise])
  const { target, logIn } = await createTarget(upstream.port)
  for (const logins of ['one', 'two']) {
    const result = await logIn()
    t.equal(result.payload.readUInt16LE(1), 0x0500)
    t.equal(target.takesTokenInHandshake, undefined, `${logins}: nothing is known yet`)
    t.throws(() => assertOK(result.upstream.wire, result.payload, 'iam_user'), { code: 'UPSTREAM_REFUSED_LOGIN' })
    result.upstream.wire.socket.destroy()
  }
})

test('a command on a compressed session is a compressed packet, sent as it is', t => {
  const written: Buffer[] = []
  const wire = { sequence: 0, socket: { write: (bytes: Buffer) => written.push(bytes) } } as unknown as Wire
  writeCommand(wire, 0x01, true)
  writeCommand(wire, 0x01, false)
  t.equal(wire.sequence, 1)
  t.same(written, [Buffer.from('050000000000000100000001', 'hex'), Buffer.from('0100000001', 'hex')])
  t.end()
})

/** A server with one secure context, so that sessions can be resumed; what TLS clients have shown it. */
async function startTlsServer(t: Test) {
  const { certificate } = await testCertificates()
  const secureContext = createSecureContext({ cert: certificate.certificate, key: certificate.key })
  const handshakes: { name: string; resumed: boolean }[] = []
  const server = createServer({ noDelay: true }, async socket => {
    socket.on('error', () => {})
    const wire = createWire(socket, 'client', 60_000)
    writePacket(wire, greeting())
    await readPacket(wire, 'SSLRequest')
    const tls = new TLSSocket(socket, { isServer: true, secureContext })
    tls.on('error', () => {})
    await once(tls, 'secure')
    handshakes.push({ name: String(tls.servername), resumed: tls.isSessionReused() })
    switchSocket(wire, tls)
    await readPacket(wire, 'HandshakeResponse41')
    writePacket(wire, OK)
    tls.resume()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port, handshakes }
}

test('TLS names the RDS endpoint (SNI), and logins resume a session', async t => {
  const { port, handshakes } = await startTlsServer(t)
  const { clock, logIn } = await createTarget(port)
  for (let time = 0; time < 3; time++) {
    const { upstream } = await logIn()
    upstream.wire.socket.destroy()
    clock.advance(61_000)
  }
  t.same(handshakes, [
    { name: RDS_HOST, resumed: false },
    { name: RDS_HOST, resumed: true },
    { name: RDS_HOST, resumed: true },
  ])
})

test('a server that closes during TLS is noticed at once', async t => {
  for (const end of ['close', 'reset'] as const) {
    const script: Script = async peer => {
      peer.send(greeting())
      await peer.expect()
      peer[end]()
    }
    const upstream = await startScriptedUpstream(t, [script])
    const { logIn } = await createTarget(upstream.port)
    await t.rejects(logIn(), { code: 'UPSTREAM_CLOSED', message: /TLS/ }, `${end}: on a clock that stands still`)
  }
})

test('a server that is silent during TLS has until the deadline', async t => {
  let isAsked = () => {}
  const asked = new Promise<void>(resolve => {
    isAsked = resolve
  })
  const script: Script = async peer => {
    peer.send(greeting())
    await peer.expect()
    isAsked()
  }
  const { clock, logIn, target } = await createTarget((await startScriptedUpstream(t, [script])).port)
  const outcome = t.rejects(logIn(), { code: 'UPSTREAM_TIMEOUT', message: /TLS/ })
  await asked
  clock.advance(target.endpoint.loginTimeout)
  await outcome
})

test('a server that is abandoned refuses a login without a user or a secret', async t => {
  const script: Script = async peer => {
    peer.send(greeting())
    await peer.expect()
    peer.send(ACCESS_DENIED)
  }
  const upstream = await startScriptedUpstream(t, [script])
  const { dialled } = await createTarget(upstream.port)
  const dialledUpstream = await dialled()
  t.equal(await abandonLogin(dialledUpstream), 1045)
  t.equal(await abandonLogin(dialledUpstream), undefined, 'no second login')
  dialledUpstream.wire.socket.destroy()
})

test('a server that lets an abandoned login in gets COM_QUIT', async t => {
  let command: Buffer | undefined
  let isDone = () => {}
  const done = new Promise<void>(resolve => {
    isDone = resolve
  })
  const script: Script = async peer => {
    peer.send(greeting())
    await peer.expect()
    peer.send(OK)
    command = await peer.expect()
    isDone()
  }
  const upstream = await startScriptedUpstream(t, [script])
  const { dialled } = await createTarget(upstream.port)
  const dialledUpstream = await dialled()
  t.equal(await abandonLogin(dialledUpstream), undefined)
  await done
  t.same(command, Buffer.of(1))
  dialledUpstream.wire.socket.destroy()
})

test('abandoning waits two seconds for a silent server, and not at all for one that closes', async t => {
  let isAsked = () => {}
  const asked = new Promise<void>(resolve => {
    isAsked = resolve
  })
  const silent: Script = async peer => {
    peer.send(greeting())
    await peer.expect()
    isAsked()
  }
  const closing: Script = async peer => {
    peer.send(greeting())
    await peer.expect()
    peer.close()
  }
  const upstream = await startScriptedUpstream(t, [silent, closing])
  const { clock, dialled } = await createTarget(upstream.port)
  const first = await dialled()
  const outcome = abandonLogin(first)
  await asked
  clock.advance(2_000)
  t.equal(await outcome, undefined)
  first.wire.socket.destroy()
  const second = await dialled()
  t.equal(await abandonLogin(second), undefined)
  second.wire.socket.destroy()
})

test('a server that refuses the connection before the login', async t => {
  const upstream = await startScriptedUpstream(t, [
    async peer => {
      peer.send(err(1040, undefined, 'Too many connections'))
      peer.close()
    },
  ])
  const { dialled } = await createTarget(upstream.port)
  await t.rejects(dialled(), { code: 'UPSTREAM_REFUSED_CONNECTION', serverError: { errno: 1040 } })
})

test('a token that the server has refused is forgotten', async t => {
  const upstream = await startScriptedUpstream(t, [refuseLogin(), goodLogin, refuseLogin(), refuseLogin()])
  const { target, logIn } = await createTarget(upstream.port)
  const forgotten: string[] = []
  target.forgetToken = user => forgotten.push(user)
  const first = await logIn()
  t.same(forgotten, ['iam_user'], 'before the second attempt signs')
  first.upstream.wire.socket.destroy()
  const second = await logIn()
  second.upstream.wire.socket.destroy()
  t.same(forgotten, ['iam_user', 'iam_user'])
})
