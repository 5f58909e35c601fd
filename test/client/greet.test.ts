/** The greeting, the local login and the error of one client, without a server behind. */
import { constants, publicEncrypt } from 'node:crypto'
import type { Socket } from 'node:net'
import { type Test, test } from 'tap'
import type { Access } from '../../src/client/access.ts'
import { authenticateClient, greet, sendError, usersOf } from '../../src/client/handshake.ts'
import { createLocalUsers } from '../../src/client/local-users.ts'
import { createLoginThrottle, type LoginAttempt } from '../../src/client/login-throttle.ts'
import { createWire, readPacket, type Wire, writePacket } from '../../src/net/wire.ts'
import { nativeHash, sha2Digest } from '../../src/protocol/auth.ts'
import { CLIENT_PLUGIN_AUTH, CLIENT_SSL } from '../../src/protocol/capabilities.ts'
import {
  encodeHandshakeResponse41,
  encodeSSLRequest,
  type HandshakeV10,
  parseAuthSwitchRequest,
  parseERR_Packet,
  parseHandshakeV10,
} from '../../src/protocol/packets.ts'
import { PLAIN_CLIENT } from '../support/capabilities.ts'
import { createTestClock } from '../support/clock.ts'
import { createMemoryPair, settled } from '../support/memory-pair.ts'
import { nativeResponse as respond, saltFirstResponse } from '../support/passwords.ts'
import { greeting } from '../support/scripted-upstream.ts'
import { socketPair } from '../support/socket-pair.ts'

const PASSWORD = 'secret'

const nativeResponse = (salt: Buffer) => respond(PASSWORD, salt)

function createAccess(): Access {
  return {
    users: createLocalUsers([{ name: 'a', password: PASSWORD }]),
    loginThrottle: createLoginThrottle(createTestClock()),
    tls: undefined,
    requireTls: false,
    overUnixSocket: false,
    allows: () => true,
    expectsProxyHeader: () => false,
  }
}

function serverOf(authPlugin: string): HandshakeV10 {
  return { ...parseHandshakeV10(greeting()), authPlugin }
}

interface Ends {
  /** the proxy's end */
  near: Wire
  /** the client's end */
  far: Wire
  remote: Socket
}

async function createEnds(t: Test): Promise<Ends> {
  const [socket, remote] = await socketPair(t)
  return { near: createWire(socket, 'client', 60_000), far: createWire(remote, 'upstream', 60_000), remote }
}

/** A login as 'a'; `respond` makes the response to the salt of the HandshakeV10. */
async function logIn(
  { near, far }: Ends,
  server: HandshakeV10,
  respond: (salt: Buffer) => Buffer,
  access = createAccess(),
  authPlugin = 'mysql_native_password',
) {
  const greeted = greet(near, server, access)
  const { salt } = parseHandshakeV10(await readPacket(far, 'HandshakeV10'))
  const authResponse = respond(salt)
  const response = {
    capabilities: PLAIN_CLIENT,
    maxPacketSize: 0,
    charset: 45,
    reserved: Buffer.alloc(23),
    user: Buffer.from('a'),
    authResponse,
    database: undefined,
    authPlugin,
    attributes: undefined,
    zstdLevel: undefined,
  }
  writePacket(far, encodeHandshakeResponse41(response))
  const [client, login] = await greeted
  const outcome = authenticateClient(client, { ...login, switchFirst: false }, access, '127.0.0.1')
  outcome.catch(() => {})
  return { salt, authResponse, outcome }
}

test('each connection has its own salt, and a recorded response is refused on another', async t => {
  const server = serverOf('mysql_native_password')
  const first = await logIn(await createEnds(t), server, nativeResponse)
  await first.outcome
  const second = await logIn(await createEnds(t), server, () => first.authResponse)
  t.notSame(second.salt, first.salt)
  t.notSame(first.salt, server.salt, 'nor is it the server’s')
  await t.rejects(second.outcome, { code: 'CLIENT_ACCESS_DENIED' })
})

test('an AuthSwitchRequest has its own salt, and the response must match it', async t => {
  const salts = new Set<string>()
  for (const useNew of [true, false]) {
    const ends = await createEnds(t)
    const { salt, outcome } = await logIn(ends, serverOf('caching_sha2_password'), () => Buffer.alloc(0))
    const request = parseAuthSwitchRequest(await readPacket(ends.far, 'AuthSwitchRequest'))
    t.equal(request.authPlugin, 'mysql_native_password')
    const switchSalt = request.data.subarray(0, 20)
    salts.add(salt.toString('hex')).add(switchSalt.toString('hex'))
    writePacket(ends.far, nativeResponse(useNew ? switchSalt : salt))
    if (useNew) await outcome
    else await t.rejects(outcome, { code: 'CLIENT_ACCESS_DENIED' })
  }
  t.equal(salts.size, 4, 'all of them different')
})

test('a salt has 20 bytes, none of them zero', async t => {
  for (let time = 0; time < 5; time++) {
    const { salt } = await logIn(await createEnds(t), serverOf('mysql_native_password'), nativeResponse)
    t.equal(salt.length, 20)
    t.notOk(salt.includes(0), 'clients read it as a C string')
  }
})

test('sendError: an ERR_Packet, then the end of the connection', async t => {
  const { near, far, remote } = await createEnds(t)
  sendError(near, { errno: 1045, sqlState: '28000', message: 'no' })
  const chunks: Buffer[] = []
  for await (const chunk of remote) chunks.push(chunk as Buffer)
  const packet = Buffer.concat(chunks)
  t.match(parseERR_Packet(packet.subarray(4)), { errno: 1045, message: 'no' })
  t.notMatch(packet.toString('latin1'), '28000', 'before the HandshakeV10 it has no SQL state')
  t.equal(far.sequence, 0)
})

test('a wrong first response and the full password are two checks of one login', async t => {
  const clear = { 'the right password': [false, true], 'a wrong password': [false, false], nothing: [false] }
  for (const [sends, expected] of Object.entries(clear)) {
    const checks: boolean[] = []
    const attempt: LoginAttempt = {
      async check(isRight) {
        checks.push(await isRight())
        return checks.at(-1)!
      },
      mayAnswerAgain: () => true,
      delayRefusal: async () => {},
      broken: () => {},
    }
    const access = { ...createAccess(), overUnixSocket: true, loginThrottle: { attempt: () => attempt } }
    const ends = await createEnds(t)
    const wrong = (salt: Buffer) => saltFirstResponse(PASSWORD, salt)
    const { outcome } = await logIn(ends, serverOf('caching_sha2_password'), wrong, access, 'caching_sha2_password')
    t.same(await readPacket(ends.far, 'AuthMoreData'), Buffer.of(1, 4), 'perform_full_authentication')
    if (sends === 'nothing') ends.remote.destroy()
    else writePacket(ends.far, Buffer.from(sends === 'the right password' ? `${PASSWORD}\0` : 'wrong\0'))
    if (sends === 'the right password') await outcome
    else await t.rejects(outcome, { code: sends === 'nothing' ? 'CLIENT_CLOSED' : 'CLIENT_ACCESS_DENIED' })
    t.same(checks, expected, `${sends}: guessing is never free`)
  }
})

test('a user whose stored secret does not fit the method of the client', async t => {
  const [native, sha2] = ['mysql_native_password', 'caching_sha2_password']
  for (const [known, named] of [
    [native, sha2],
    [sha2, native],
  ] as const) {
    const user = {
      name: 'a',
      databaseUser: undefined,
      native: known === native ? nativeHash(PASSWORD) : undefined,
      sha2: known === sha2 ? sha2Digest(PASSWORD) : undefined,
      stored: undefined,
      isDecoy: false,
    }
    const ends = await createEnds(t)
    const access = { ...createAccess(), users: { find: () => user } }
    await logIn(ends, serverOf(named), nativeResponse, access, named)
    t.equal(parseAuthSwitchRequest(await readPacket(ends.far, 'AuthSwitchRequest')).authPlugin, known)
  }
})

test('a client without CLIENT_PLUGIN_AUTH is asked nothing', async t => {
  const [socket] = createMemoryPair(t)
  const salt = Buffer.alloc(20, 1)
  const client = {
    wire: createWire(socket, 'client', 60_000, createTestClock()),
    capabilities: (PLAIN_CLIENT & ~CLIENT_PLUGIN_AUTH) >>> 0,
    charset: 45,
    offeredPlugin: 'caching_sha2_password',
    salt: salt.toString('latin1'),
    awaitsFastAuthSuccess: true,
  }
  const login = { user: Buffer.from('a'), authPlugin: undefined, authResponse: nativeResponse(salt), switchFirst: true }
  await settled(authenticateClient(client, login, createAccess(), '127.0.0.1'))
  t.equal(client.awaitsFastAuthSuccess, false, 'nothing of an earlier login is left')
})

test('a response that is malformed, and one that asks for TLS that is not offered', async t => {
  const flags = (PLAIN_CLIENT | CLIENT_SSL) >>> 0
  const sslRequest = encodeSSLRequest({
    capabilities: flags,
    maxPacketSize: 0,
    charset: 45,
    reserved: Buffer.alloc(23),
  })
  for (const [payload, code, message] of [
    [Buffer.alloc(40, 0xff), 'CLIENT_MALFORMED', /^HandshakeResponse41: /],
    [sslRequest, 'CLIENT_TLS_NOT_OFFERED', /^the client requires TLS, which is not offered here$/],
  ] as const) {
    const { near, far } = await createEnds(t)
    const greeted = t.rejects(greet(near, serverOf('mysql_native_password'), createAccess()), { code, message })
    await readPacket(far, 'HandshakeV10')
    writePacket(far, payload)
    await greeted
  }
})

test('only local users may have an empty name', t => {
  const access = createAccess()
  t.same(usersOf(Buffer.alloc(0), undefined, access), { localUser: '', user: '' })
  t.throws(() => usersOf(Buffer.alloc(0), undefined, { ...access, users: undefined }), { code: 'CLIENT_NO_USER' })
  t.same(usersOf(Buffer.alloc(0), 'app', { ...access, users: undefined }), { localUser: undefined, user: 'app' })
  t.end()
})

/** A login with a wrong response for caching_sha2_password. */
async function logInWrongly(ends: Ends, mayAnswerAgain: boolean) {
  const attempt: LoginAttempt = {
    check: async isRight => await isRight(),
    mayAnswerAgain: () => mayAnswerAgain,
    delayRefusal: async () => {},
    broken: () => {},
  }
  const access = { ...createAccess(), loginThrottle: { attempt: () => attempt } }
  const wrong = (salt: Buffer) => saltFirstResponse(PASSWORD, salt)
  return await logIn(ends, serverOf('caching_sha2_password'), wrong, access, 'caching_sha2_password')
}

test('a wrong response that may not be followed by another one is refused', async t => {
  const { outcome } = await logInWrongly(await createEnds(t), false)
  await t.rejects(outcome, { code: 'CLIENT_ACCESS_DENIED' })
})

test('without TLS, the full password is encrypted with a public key that the client asks for', async t => {
  const ends = await createEnds(t)
  const { salt, outcome } = await logInWrongly(ends, true)
  t.same(await readPacket(ends.far, 'AuthMoreData'), Buffer.of(1, 4), 'perform_full_authentication')
  writePacket(ends.far, Buffer.of(2))
  const answer = await readPacket(ends.far, 'the public key')
  t.equal(answer[0], 1)
  const key = answer.subarray(1).toString()
  const masked = Buffer.from(`${PASSWORD}\0`).map((byte, at) => byte ^ salt[at % salt.length]!)
  writePacket(ends.far, publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING }, masked))
  await outcome
})
