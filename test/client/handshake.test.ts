import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect as connectTcp, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import mysql from 'mysql2/promise'
import tap, { type Test, test } from 'tap'
import { createLocalTls } from '../../src/client/tls.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import type { LocalUserOptions, TlsFiles } from '../../src/index.ts'
import { silent } from '../../src/log.ts'
import { createSalt } from '../../src/protocol/auth.ts'
import { CLIENT_SSL, has } from '../../src/protocol/capabilities.ts'
import {
  AUTH_SWITCH_REQUEST,
  ERR,
  encodeHandshakeResponse41,
  encodeSSLRequest,
  OK,
  parseERR_Packet,
  parseHandshakeResponse41,
  parseHandshakeV10,
} from '../../src/protocol/packets.ts'
import { storedHash } from '../../src/protocol/sha256-crypt.ts'
import { createProxy, type ProxyOptions } from '../../src/proxy/proxy.ts'
import { type RealServer, startMariadb } from '../support/mariadb.ts'
import {
  connect,
  loginPacket,
  type RawClient,
  readPacket,
  sendPacket,
  startProxy,
  type TestProxy,
  until,
  value,
} from '../support/raw-client.ts'

const PASSWORD = 'correct horse'

/** Nobody else's: tokens are counted. */
const ownServer = startMariadb()
tap.teardown(async () => (await ownServer).stop())

async function scratch(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  return directory
}

/** A certificate for localhost and 127.0.0.1, in files. */
async function localTls(t: Test): Promise<{ tls: TlsFiles; ca: string; renew(): Promise<string> }> {
  const directory = await scratch(t)
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  const renew = async () => {
    const authority = await createAuthority('local')
    const { certificate, key } = await authority.issue({ names: ['localhost'] })
    await writeFile(certFile, certificate)
    await writeFile(keyFile, key)
    return authority.certificate
  }
  return { tls: { certFile, keyFile }, ca: await renew(), renew }
}

async function loginError(login: Promise<mysql.Connection>): Promise<{ errno?: number; message: string }> {
  try {
    await (await login).end()
  } catch (error) {
    return error as { errno?: number; message: string }
  }
  return { message: 'logged in' }
}

async function tokensFor(server: RealServer, user: string): Promise<number> {
  return (await server.decisions()).filter(decision => decision.user === user && decision.tokenBytes > 0).length
}

const kinds: Record<string, Partial<LocalUserOptions>> = {
  'a password': { password: PASSWORD },
  'a hash of mysql_native_password': { passwordHash: '*5F0C3C0CDDD8B2A0E0C0E5B6E4B3C8F2E5C5B0B5' },
  'a hash of caching_sha2_password': { passwordHash: storedHash(PASSWORD, createSalt()) },
}

test('local users, by the form of their secret and by transport', async t => {
  const server = await ownServer
  const [row] = (await server.query(`SELECT PASSWORD('${PASSWORD}') AS hash`)) as { hash: string }[]
  kinds['a hash of mysql_native_password'] = { passwordHash: row!.hash }
  const { tls, ca } = await localTls(t)
  const directory = await scratch(t)
  for (const [kind, secret] of Object.entries(kinds)) {
    const localUsers = [{ name: 'connector', user: 'iam_user', ...secret }]
    const tcp = await startProxy(t, server, { localUsers, tls })
    const path = join(directory, `${Object.keys(kinds).indexOf(kind)}.sock`)
    await startProxy(t, server, { localUsers, listen: `unix:${path}` })
    const ways: Record<string, mysql.ConnectionOptions> = {
      'plain TCP': {},
      TLS: { host: 'localhost', ssl: { ca } },
      'a unix socket': { socketPath: path },
    }
    for (const [way, options] of Object.entries(ways)) {
      await t.test(`${kind}, over ${way}`, async t => {
        const login = (user: string, password: string | undefined) =>
          connect(tcp, { user, ...(password === undefined ? {} : { password }), ...options })
        const before = await tokensFor(server, 'iam_user')
        // One wrong password: a right one after it makes up for it.
        for (const [user, password] of [
          ['connector', 'wrong'],
          ['connector', undefined],
          ['nobody', PASSWORD],
          ['iam_user', PASSWORD],
          ['', PASSWORD],
        ] as const) {
          const error = await loginError(login(user, password))
          t.equal(error.errno, 1045, `${user} ${password}: ${error.message}`)
          t.match(error.message, /mysql-iam-proxy: access denied for local user .*localUsers/)
          t.notMatch(error.message, PASSWORD)
        }
        t.equal(await tokensFor(server, 'iam_user'), before, 'no token was made')
        for (let time = 0; time < 2; time++) {
          const connection = await login('connector', PASSWORD)
          t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam_user@/)
          await connection.end()
        }
        t.equal(await tokensFor(server, 'iam_user'), before + 2)
      })
    }
    t.notMatch(JSON.stringify(tcp.log), PASSWORD, 'no password in the log')
  }
})

test("a local user's database user: its own, else the endpoint's, else the same name", async t => {
  const server = await ownServer
  const localUsers = [{ name: 'iam_user', password: PASSWORD }]
  const own = await startProxy(t, server, { localUsers })
  const ofEndpoint = await startProxy(t, server, { localUsers: [{ name: 'x', password: PASSWORD }], user: 'iam_user' })
  for (const [proxy, user] of [
    [own, 'iam_user'],
    [ofEndpoint, 'x'],
  ] as const) {
    const connection = await connect(proxy, { user, password: PASSWORD })
    t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam_user@/)
    await connection.end()
  }
})

test('COM_CHANGE_USER is checked like a local login', async t => {
  const server = await ownServer
  const localUsers = [
    { name: 'one', user: 'iam_user', password: PASSWORD },
    { name: 'two', user: 'iam2', password: 'other' },
  ]
  const proxy = await startProxy(t, server, { localUsers })
  const connection = await connect(proxy, { user: 'one', password: PASSWORD })
  await connection.changeUser({ user: 'two', password: 'other' })
  t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam2@/)
  await connection.changeUser({ user: 'one', password: PASSWORD })
  t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam_user@/)
  const before = await tokensFor(server, 'iam2')
  const refused = connection.changeUser({ user: 'two', password: PASSWORD })
  await t.rejects(refused, { errno: 1045, message: /local user 'two'/ })
  await t.rejects(connection.query('SELECT 1'), 'and the session is over')
  const another = await connect(proxy, { user: 'one', password: PASSWORD })
  const unknown = another.changeUser({ user: 'iam2', password: 'other' })
  await t.rejects(unknown, { errno: 1045, message: /local user 'iam2'/ })
  t.equal(await tokensFor(server, 'iam2'), before, 'no token for a user who is not configured')
  t.match(proxy.log.filter(({ fields }) => fields['code'] === 'CLIENT_ACCESS_DENIED').length, 2)
})

test('wrong passwords again and again are slowed down, and the right one gets in meanwhile', async t => {
  const server = await ownServer
  const localUsers = [
    { name: 'a', user: 'iam_user', password: PASSWORD },
    { name: 'b', user: 'iam_user', password: PASSWORD },
  ]
  const proxy = await startProxy(t, server, { localUsers })
  const logIn = async (user: string, password: string) => (await loginError(connect(proxy, { user, password }))).message
  const started = performance.now()
  const guesses = Array.from({ length: 12 }, () => logIn('a', 'wrong'))
  t.match(await Promise.race(guesses), /access denied for local user 'a'/)
  t.equal(await logIn('a', PASSWORD), 'logged in', 'the right password is not delayed by them')
  t.equal(await logIn('b', PASSWORD), 'logged in', 'nor is another name')
  for (const message of await Promise.all(guesses)) t.match(message, /access denied|too many wrong passwords/)
  t.ok(performance.now() - started > 3_900, 'the refusals are delayed')
})

test('password guessing by COM_CHANGE_USER is throttled too', async t => {
  const server = await ownServer
  const localUsers = [
    { name: 'a', user: 'iam_user', password: PASSWORD },
    { name: 'b', user: 'iam2', password: 'other' },
  ]
  const proxy = await startProxy(t, server, { localUsers, maxLoginsPerSecond: 0 })
  const started = performance.now()
  const guess = async () => {
    const connection = await connect(proxy, { user: 'a', password: PASSWORD })
    await t.rejects(connection.changeUser({ user: 'b', password: 'wrong' }), { message: /local user 'b'/ })
  }
  await Promise.all(Array.from({ length: 6 }, guess))
  t.ok(performance.now() - started > 3_900, 'though each began with a right password for another')
})

test('TLS for clients', async t => {
  const server = await ownServer
  const { tls, ca: firstCa, renew } = await localTls(t)
  const proxy = await startProxy(t, server, { tls, requireTls: true })

  await t.test('the session is the same as without TLS, large results in both directions', async t => {
    const connection = await connect(proxy, { host: 'localhost', ssl: { ca: firstCa } })
    const text = 'ü'.repeat(3_000_000)
    t.equal(await value(connection, 'SELECT ?', [text]), text)
    await connection.changeUser({ user: 'iam_user' })
    t.equal(await value(connection, 'SELECT 1'), 1)
    await connection.end()
  })
  await t.test('a client without TLS is refused', async t => {
    const error = await loginError(connect(proxy))
    t.match(error, { errno: 3159, message: /TLS connections only.*SSL on/ })
  })
  await t.test('a changed certificate is reloaded', async t => {
    const ca = await renew()
    await until(
      'the new one is shown',
      async () => {
        const { message } = await loginError(connect(proxy, { host: 'localhost', ssl: { ca } }))
        return message === 'logged in'
      },
      15_000,
    )
    t.equal((await loginError(connect(proxy, { host: 'localhost', ssl: { ca } }))).message, 'logged in')
  })
  await t.test('TLS that is aborted, invalid, or corrupted later', async t => {
    const errorCount = () => proxy.log.filter(({ fields }) => /^CLIENT_/.test(String(fields['code']))).length
    const before = errorCount()
    for (const bytes of [Buffer.alloc(0), Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(600, 0x16)]) {
      const client = await startTlsRaw(proxy)
      client.end(bytes)
      await once(client.resume(), 'close')
    }
    const client = await startTlsRaw(proxy)
    const secure = connectTls({ socket: client, servername: 'localhost', rejectUnauthorized: false })
    secure.on('error', () => undefined)
    await once(secure, 'secureConnect')
    client.write(Buffer.from([0x17, 3, 3, 0, 32, ...Buffer.alloc(32, 1)]))
    await once(client, 'close')
    await until('each is in the log', () => errorCount() === before + 4)
    t.pass()
  })
  await t.test('plaintext after the SSLRequest is not treated as TLS data', async t => {
    const before = proxy.log.length
    const client = await startTlsRaw(proxy, greeted => {
      const login = loginPacket(greeted)
      login[3] = 2 // the sequence id that it would have inside TLS
      return login
    })
    await once(client.resume(), 'close')
    await until('it is in the log', () => proxy.log.length > before)
    t.match(proxy.log.slice(before), [{ fields: { code: 'CLIENT_TLS_FAILED' } }])
  })
})

/** A client that has sent its SSLRequest, with `behind` in the same segment. */
async function startTlsRaw(proxy: TestProxy, behind?: (greeted: RawClient) => Buffer) {
  const socket = connectTcp({ host: proxy.host, port: proxy.port })
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  const greeting = parseHandshakeV10(await readPacket(socket))
  const { capabilities, charset } = greeting
  if (!has(capabilities, CLIENT_SSL)) throw new Error('TLS is not offered')
  const request = encodeSSLRequest({ capabilities, charset, maxPacketSize: 0, reserved: Buffer.alloc(23) })
  const header = Buffer.from([request.length, 0, 0, 1])
  socket.write(Buffer.concat([header, request, behind?.({ socket, greeting }) ?? Buffer.alloc(0)]))
  return socket
}

test('a plaintext password, with mysql_clear_password', async t => {
  const server = await ownServer
  const localUsers = [{ name: 'a', user: 'iam_user', password: PASSWORD }]
  const path = join(await scratch(t), 'mysql.sock')
  await startProxy(t, server, { localUsers, listen: `unix:${path}` })
  const tcp = await startProxy(t, server, { localUsers })
  /** What is said to a client that sends it at once. */
  const answer = async (socket: Socket, password: string) => {
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    const greeting = parseHandshakeV10(await readPacket(socket))
    const plain = parseHandshakeResponse41(loginPacket({ socket, greeting }).subarray(4))
    const inClear = { authPlugin: 'mysql_clear_password', authResponse: Buffer.from(`${password}\0`) }
    const response = encodeHandshakeResponse41({ ...plain, user: Buffer.from('a'), ...inClear })
    sendPacket(socket, response, 1)
    const reply = await readPacket(socket)
    socket.destroy()
    return reply[0]
  }
  t.equal(await answer(connectTcp({ path }), PASSWORD), OK, 'over a unix socket')
  t.equal(await answer(connectTcp({ path }), 'wrong'), ERR)
  t.equal(await answer(connectTcp(tcp), PASSWORD), AUTH_SWITCH_REQUEST, 'over TCP without TLS it counts for nothing')
})

test('only its owner can use a unix socket', async t => {
  const server = await ownServer
  const directory = await scratch(t)
  const path = join(directory, 'new', 'mysql.sock')
  const proxy = await startProxy(t, server, { listen: `unix:${path}` })
  t.equal((await stat(path)).mode & 0o777, 0o600)
  t.equal((await stat(join(directory, 'new'))).mode & 0o777, 0o700)
  const connection = await mysql.createConnection({ socketPath: path, user: 'iam_user' })
  t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam_user@/)
  await connection.end()
  const again = createProxy({ rdsEndpoint: server.rdsHost, listen: `unix:${path}` })
  await t.rejects(again.listen(), { code: 'LISTEN_FAILED', message: /another process listens there/ })
  await proxy.close()
  await t.rejects(stat(path), 'it is gone afterwards')

  const dead = createProxy({ rdsEndpoint: server.rdsHost, listen: `unix:${path}` })
  await writeFile(path, 'a file')
  await t.rejects(dead.listen(), { code: 'LISTEN_FAILED', message: /is not a socket/ })
  t.equal(await readFile(path, 'utf8'), 'a file', 'which is left alone')
  await rm(path)
  await chmod(join(directory, 'new'), 0o777)
  await t.rejects(dead.listen(), { code: 'CONFIG_INVALID', message: /other users can write to .*0700/ })
})

test('an exposed listener requires local users and TLS', async t => {
  const server = await ownServer
  const { tls } = await localTls(t)
  const localUsers = [{ name: 'a', password: PASSWORD }]
  const refused: [string, Partial<ProxyOptions>, RegExp][] = [
    ['nothing', {}, /^listen: .*localUsers/],
    ['users alone', { localUsers }, /^listen: .*passwords without TLS; set TLS \(tls\)/],
    ['TLS alone', { tls }, /^listen: .*localUsers/],
    ['an allow-list', { allowFrom: ['127.0.0.0/8'] }, /^listen: .*localUsers/],
  ]
  for (const listen of ['0.0.0.0:0', '[::]:0']) {
    for (const [name, options, message] of refused) {
      t.throws(
        () => createProxy({ rdsEndpoint: server.rdsHost, listen, ...options }),
        { code: 'CONFIG_INVALID', message },
        `${listen} ${name}`,
      )
    }
    const trusting = createProxy({ rdsEndpoint: server.rdsHost, listen, trustNetwork: true })
    await trusting.listen()
    await trusting.close()
  }
  const open = await startProxy(t, server, { listen: '0.0.0.0:0', localUsers, tls })
  const { message } = await loginError(
    mysql.createConnection({ host: '127.0.0.1', port: open.port, user: 'a', password: PASSWORD }),
  )
  t.match(message, /TLS connections only/, 'no passwords and data in clear on a network')
})

test('--allow-from', async t => {
  const server = await ownServer
  const proxy = await startProxy(t, server, { allowFrom: ['127.0.0.1', '10.0.0.0/8', 'fd00::/8'] })
  const connection = await connect(proxy)
  await connection.end()
  const stranger = connectTcp({ ...proxy, localAddress: '127.0.0.2' })
  const refusal = parseERR_Packet(await readPacket(stranger))
  t.match(refusal, { errno: 1130, message: /clients from 127\.0\.0\.2 are not allowed.*allowFrom/ })
  await once(stranger.resume(), 'close')
  for (const network of ['10.0.0.0/33', 'example.com', '10.0.0.0/', 'fd00::/129', '/8']) {
    t.throws(() => createProxy({ rdsEndpoint: server.rdsHost, allowFrom: [network] }), { code: 'CONFIG_INVALID' })
  }
})

test('connections beyond --max-connections', async t => {
  const server = await ownServer
  const proxy = await startProxy(t, server, { maxConnections: 3 })
  const connections = await Promise.all([1, 2, 3].map(() => connect(proxy)))
  for (let time = 0; time < 200; time++) {
    const client = connectTcp(proxy)
    const refusal = parseERR_Packet(await readPacket(client))
    t.match(refusal, { errno: 1040, message: /too many connections: 3 are open/ })
    client.destroy()
  }
  t.ok(proxy.log.filter(({ fields }) => fields['code'] === 'TOO_MANY_CONNECTIONS').length < 10, 'no flood in the log')
  t.equal(await value(connections[0]!, 'SELECT 1'), 1, 'the others are served')
  await connections[1]!.end()
  await until('there is room again', async () => {
    const { message } = await loginError(connect(proxy))
    return message === 'logged in'
  })
  for (const connection of [connections[0]!, connections[2]!]) await connection.end()
})

test('a client certificate with a missing file or an empty key', async t => {
  const {
    tls: { certFile, keyFile },
  } = await localTls(t)
  const refused = async (cert: string, key: string, message: string) =>
    await t.rejects(createLocalTls(cert, key, silent), { code: 'CONFIG_INVALID', message })
  await refused('/no/such/cert', keyFile, 'TLS certificate /no/such/cert: ENOENT')
  await refused(certFile, '/no/such/key', 'TLS key /no/such/key: ENOENT')
  await writeFile(keyFile, '')
  await refused(certFile, keyFile, `TLS key ${keyFile}: is not a private key in PEM format`)
})
