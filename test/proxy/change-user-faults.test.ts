import { once } from 'node:events'
import { type Test, test } from 'tap'
import { encodeComChangeUser, parseComChangeUser } from '../../src/protocol/packets.ts'
import type { ProxyOptions } from '../../src/proxy/proxy.ts'
import {
  checkEnded,
  connectMysql,
  connectRaw,
  handshakeResponse,
  problems,
  type RawClient,
  startProxy,
} from '../support/proxy.ts'
import {
  ACCESS_DENIED,
  authSwitch,
  OK,
  type Peer,
  packet,
  type Script,
  serveCommands,
  startScriptedUpstream,
  untilResponse,
  wait,
} from '../support/scripted-upstream.ts'

const COM_PING = packet(Buffer.of(0x0e), 0)

const COM_CHANGE_USER = packet(
  encodeComChangeUser({
    user: Buffer.from('iam2'),
    authResponse: Buffer.alloc(0),
    database: Buffer.alloc(0),
    charset: 45,
    authPlugin: 'mysql_native_password',
    attributes: undefined,
  }),
  0,
)

/** A server that has let the client in; `answer` is what it does with its COM_CHANGE_USER, or the commands before. */
function answering(answer: (peer: Peer) => Promise<void>): Script {
  return async peer => {
    await untilResponse(peer)
    peer.send(OK)
    await answer(peer)
  }
}

async function session(t: Test, script: Script, options: Partial<ProxyOptions> = {}) {
  const upstream = await startScriptedUpstream(t, [script])
  const { address, log } = await startProxy(t, { connect: upstream.address, tokenInHandshake: 'always', ...options })
  const client = await connectRaw(t, address)
  await client.greeting()
  client.send(handshakeResponse(), 1)
  await expectOK(t, client, 2)
  return { upstream, log, client }
}

async function expectOK(t: Test, client: RawClient, sequence: number): Promise<void> {
  const found = await client.next()
  t.equal(found?.payload.toString('hex'), OK.toString('hex'))
  t.equal(found?.sequence, sequence)
}

/** The client answers the proxy's AuthSwitchRequest and is another user. */
async function becomeOther(t: Test, client: RawClient): Promise<void> {
  const question = await client.next()
  t.equal(question?.payload[0], 0xfe, 'asked to log in')
  client.send(Buffer.alloc(0), 2)
  await expectOK(t, client, 3)
}

async function takeToken(peer: Peer): Promise<void> {
  peer.send(authSwitch('mysql_clear_password'), 1)
  await peer.expect()
  peer.send(OK)
}

const says: Record<string, [answer: (peer: Peer) => Promise<void>, code: string, message: RegExp]> = {
  nothing: [async () => {}, 'UPSTREAM_TIMEOUT', /timed out.*COM_CHANGE_USER/],
  'OK without asking': [
    async peer => peer.send(OK),
    'AUTH_PLUGIN_UNEXPECTED',
    /asks for nothing, not for an IAM token/,
  ],
}

for (const [name, [answer, code, message]] of Object.entries(says)) {
  test(`COM_CHANGE_USER, to which the server answers with ${name}`, async t => {
    const script = answering(async peer => {
      await peer.expect()
      await answer(peer)
    })
    const { upstream, log, client } = await session(t, script, { loginTimeout: 2_000 })
    client.socket.write(COM_CHANGE_USER)
    const { ok, error, ended } = await client.outcome()
    t.notOk(ok, 'no OK_Packet: no login was checked')
    t.match(error, { sequence: 1, message })
    t.ok(ended)
    t.match(problems(log), [{ fields: { code } }])
    await checkEnded(t, upstream)
  })
}

for (const how of ['ends', 'breaks'] as const) {
  test(`a client that ${how} its connection while the server is silent on COM_CHANGE_USER`, async t => {
    let asked = () => {}
    const isAsked = new Promise<void>(resolve => {
      asked = resolve
    })
    const script = answering(async peer => {
      await peer.expect()
      asked()
    })
    const { upstream, client } = await session(t, script, { loginTimeout: 60_000 })
    client.socket.write(COM_CHANGE_USER)
    await isAsked
    if (how === 'ends') client.socket.end()
    else client.socket.resetAndDestroy()
    await checkEnded(t, upstream)
    if (!client.socket.closed) await once(client.socket.resume(), 'close')
    t.pass('and so is the connection of the client')
  })
}

test('COM_CHANGE_USER after a command that takes longer than the login timeout', async t => {
  const script = answering(async peer => {
    await peer.expect()
    await peer.expect()
    await wait(2_500)
    peer.send(OK, 1)
    await takeToken(peer)
    await serveCommands(peer)
  })
  const { client } = await session(t, script, { loginTimeout: 2_000 })
  client.socket.write(Buffer.concat([COM_PING, COM_CHANGE_USER]))
  await expectOK(t, client, 1)
  await becomeOther(t, client)
})

test('COM_CHANGE_USER during an answer in two parts', async t => {
  // The first part looks like the answer to a command before; the OK_Packet then is not that to COM_CHANGE_USER.
  const script = answering(async peer => {
    await peer.expect()
    peer.send(OK, 1)
    await peer.expect()
    peer.send(OK, 1)
    await wait(1) // in two pieces; the proxy waits a second for the next
    await takeToken(peer)
    await serveCommands(peer)
  })
  const { client } = await session(t, script)
  client.socket.write(COM_PING)
  await expectOK(t, client, 1)
  client.socket.write(COM_CHANGE_USER)
  await expectOK(t, client, 1)
  await becomeOther(t, client)
})

/** The payloads that the server gets after a COM_CHANGE_USER, up to its refusal. */
function refusing(received: Buffer[]): Script {
  return answering(async peer => {
    received.push(await peer.expect())
    peer.send(authSwitch('mysql_clear_password'), 1)
    received.push(await peer.expect())
    peer.send(ACCESS_DENIED)
  })
}

test('COM_CHANGE_USER with a wrong local password: the server gets an empty answer, which it refuses', async t => {
  const received: Buffer[] = []
  const upstream = await startScriptedUpstream(t, [refusing(received)])
  const { address, log } = await startProxy(t, {
    connect: upstream.address,
    tokenInHandshake: 'always',
    localUsers: [{ name: 'local', password: 'right', user: 'iam_user' }],
  })
  const client = await connectMysql(address, { user: 'local', password: 'right' })
  const error: unknown = await client.changeUser({ user: 'local', password: 'wrong' }).catch((error: unknown) => error)
  t.match(error, { errno: 1045, message: /local user 'local' \(using password: YES\)/ })
  t.equal(received.length, 2)
  t.equal(received[1]!.length, 0, 'no token')
  t.match(problems(log), [{ fields: { code: 'CLIENT_ACCESS_DENIED' } }])
  await checkEnded(t, upstream)
  client.destroy()
})

test('the COM_CHANGE_USER for the server contains 20 random bytes, different each time', async t => {
  const answers: string[] = []
  const script = answering(async peer => {
    for (let round = 0; round < 2; round++) {
      const { authResponse } = parseComChangeUser(await peer.expect(), 0xffffffff)
      t.equal(authResponse.length, 20)
      answers.push(authResponse.toString('hex'))
      await takeToken(peer)
    }
    await serveCommands(peer)
  })
  const { client } = await session(t, script)
  for (let round = 0; round < 2; round++) {
    client.socket.write(COM_CHANGE_USER)
    await becomeOther(t, client)
  }
  t.not(answers[0], answers[1])
})

test('COM_CHANGE_USER takes a slot of the login rate', async t => {
  const received: Buffer[] = []
  const script = answering(async peer => {
    await peer.expect()
    await takeToken(peer)
    await peer.expect()
    peer.send(authSwitch('mysql_clear_password'), 1)
    received.push(await peer.expect())
    peer.send(ACCESS_DENIED)
  })
  // Two logins may start at once, the third 1,000 s later.
  const { log, client } = await session(t, script, { maxLoginsPerSecond: 0.001 })
  client.socket.write(COM_CHANGE_USER)
  await becomeOther(t, client)
  client.socket.write(COM_CHANGE_USER)
  t.equal((await client.next())?.payload[0], 0xfe)
  client.send(Buffer.alloc(0), 2)
  const { error } = await client.outcome()
  t.match(error, { message: /in line/ })
  t.equal(received[0]?.length, 0, 'no token')
  t.match(problems(log), [{ fields: { code: 'LOGIN_QUEUE_FULL' } }])
})
