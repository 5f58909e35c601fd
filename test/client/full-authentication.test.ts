/** caching_sha2_password with a first response that does not fit the salt: the proxy asks for the full password, as MySQL does. */
import { constants, publicEncrypt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect as connectTcp, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import tap, { type Test, test } from 'tap'
import { CLIENT_LONG_PASSWORD, CLIENT_SSL } from '../../src/protocol/capabilities.ts'
import {
  AUTH_MORE_DATA,
  AUTH_SWITCH_REQUEST,
  ERR,
  encodeHandshakeResponse41,
  encodeSSLRequest,
  parseERR_Packet,
  parseHandshakeV10,
} from '../../src/protocol/packets.ts'
import { PLAIN_CLIENT } from '../support/capabilities.ts'
import type { RealServer } from '../support/database-server.ts'
import { mysqlServer, mysqlUnavailable } from '../support/mysql.ts'
import { nativeResponse, saltFirstResponse, sha2Response } from '../support/passwords.ts'
import { connect, readPacket, sendPacket, startProxy } from '../support/raw-client.ts'
import { testOnEachServer } from '../support/servers.ts'

const PASSWORD = 'correct horse'
const localUsers = [{ name: 'local', user: 'iam_user', password: PASSWORD }]

type Way = 'plain' | 'TLS' | 'unix socket'

interface Attempt {
  user?: string
  password?: string
  /** makes the first response; default: one that fits no salt */
  respond?: (password: string, salt: Buffer) => Buffer
  plugin?: string
  /** flags to leave out */
  without?: number
}

type Address = { host: string; port: number } | { path: string }

/** Logs in by hand. Returns what the server sends: 'more 03', 'more 04', 'switch', 'OK', or the number of the error. */
async function logIn(t: Test, address: Address, way: Way, attempt: Attempt): Promise<(string | number)[]> {
  const { user = 'local', password = PASSWORD, respond = saltFirstResponse, without = 0 } = attempt
  const { plugin = 'caching_sha2_password' } = attempt
  let socket: Socket = connectTcp(address)
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  const { salt } = parseHandshakeV10(await readPacket(socket))
  const capabilities = ((PLAIN_CLIENT | (way === 'TLS' ? CLIENT_SSL : 0)) & ~without) >>> 0
  const first = { capabilities, maxPacketSize: 1 << 24, charset: 45, reserved: Buffer.alloc(23) }
  let sequence = 1
  if (way === 'TLS') {
    sendPacket(socket, encodeSSLRequest(first), sequence++)
    socket = connectTls({ socket, rejectUnauthorized: false })
    await once(socket, 'secureConnect')
  }
  const authResponse = respond(password, salt)
  const rest = { database: undefined, authPlugin: plugin, attributes: undefined, zstdLevel: undefined }
  sendPacket(socket, encodeHandshakeResponse41({ ...first, user: Buffer.from(user), authResponse, ...rest }), sequence)
  const steps: (string | number)[] = []
  for (;;) {
    sequence += 2
    const packet = await readPacket(socket)
    if (packet[0] === ERR) return [...steps, parseERR_Packet(packet).errno]
    if (packet[0] === AUTH_SWITCH_REQUEST) return [...steps, 'switch']
    if (packet[0] !== AUTH_MORE_DATA) return [...steps, 'OK']
    steps.push(`more ${packet.subarray(1, 2).toString('hex')}`)
    if (packet[1] === 3) {
      sequence -= 1
      continue
    }
    if (way !== 'plain') {
      sendPacket(socket, Buffer.from(`${password}\0`), sequence)
      continue
    }
    sendPacket(socket, Buffer.of(2), sequence)
    sequence += 2
    const key = (await readPacket(socket)).subarray(1)
    const masked = Buffer.from(`${password}\0`).map((byte, index) => byte ^ salt[index % 20]!)
    const padding = constants.RSA_PKCS1_OAEP_PADDING
    sendPacket(socket, publicEncrypt({ key: key.toString(), padding }, masked), sequence)
  }
}

async function unixSocket(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  return join(directory, 'proxy.sock')
}

/** A proxy for each way. */
async function proxies(t: Test, server: RealServer): Promise<[Way, Address][]> {
  const path = await unixSocket(t)
  const tcp = await startProxy(t, server, { localUsers })
  await startProxy(t, server, { localUsers, listen: `unix:${path}` })
  return [
    ['plain', tcp],
    ['TLS', tcp],
    ['unix socket', { path }],
  ]
}

tap.test('on MySQL', { skip: mysqlUnavailable() ?? false }, async t => {
  const server = await mysqlServer(t)

  await t.test('the same packets as directly, where the account has this password', async t => {
    await server.query(`CREATE USER IF NOT EXISTS local IDENTIFIED BY '${PASSWORD}'`)
    t.teardown(() => server.query('DROP USER local'))
    // MySQL accepts a first response only for a password that it has in its cache.
    await (await connect(server, { user: 'local', password: PASSWORD, ssl: { ca: server.ca } })).end()
    const direct: [Way, Address][] = [
      ['plain', server],
      ['TLS', server],
      ['unix socket', { path: server.socketPath }],
    ]
    const throughProxy = await proxies(t, server)
    for (const [index, [way, address]] of direct.entries()) {
      for (const [name, attempt] of Object.entries({
        'a right first response': { respond: sha2Response },
        'a wrong first response, then the right password': {},
        'a wrong password': { password: 'wrong' },
        'no password': { respond: () => Buffer.alloc(0) },
      } satisfies Record<string, Attempt>)) {
        const expected = await logIn(t, address, way, attempt)
        t.same(await logIn(t, throughProxy[index]![1], way, attempt), expected, `${name}, ${way}: ${expected}`)
      }
    }
  })

  await t.test('without local users', async t => {
    const proxy = await startProxy(t, server)
    const any = { user: 'iam_user', password: 'any' }
    for (const way of ['plain', 'TLS'] as const) {
      t.same(await logIn(t, proxy, way, any), ['more 03', 'OK'], 'a client of MySQL, of MariaDB or of PHP')
      const plain = await logIn(t, proxy, way, { ...any, without: CLIENT_LONG_PASSWORD })
      t.same(plain, ['OK'], 'sqlx, Bun and r2dbc-mariadb take fast_auth_success for the end, or need none')
    }
  })
})

testOnEachServer('a wrong first response, then the right password', async (t, server) => {
  for (const [way, address] of await proxies(t, server)) {
    // MariaDB's greeting names another method, so the client is asked for this one first.
    const steps = await logIn(t, address, way, {})
    if (steps[0] !== 'switch') t.same(steps, ['more 04', 'OK'], way)
  }
})

testOnEachServer('mysql_native_password: a wrong response is refused at once, as by a server', async (t, server) => {
  const proxy = await startProxy(t, server, { localUsers })
  const native = { plugin: 'mysql_native_password', respond: nativeResponse, password: 'wrong' }
  const steps = await logIn(t, proxy, 'plain', native)
  if (steps[0] !== 'switch') t.same(steps, [1045])
})

test('an unknown user is asked the same', { skip: mysqlUnavailable() ?? false }, async t => {
  const proxy = await startProxy(t, await mysqlServer(t), { localUsers })
  for (const user of ['local', 'unknown', 'iam_user', '']) {
    const steps = await logIn(t, proxy, 'TLS', { user, password: 'wrong' })
    t.same(steps, ['more 04', 1045], user)
  }
  t.same(await logIn(t, proxy, 'TLS', { user: 'unknown' }), ['more 04', 1045], 'with a password of another user')
})
