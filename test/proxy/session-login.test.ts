import { setTimeout as sleep } from 'node:timers/promises'
import type mysql from 'mysql2/promise'
import { test } from 'tap'
import { CLIENT_SSL } from '../../src/protocol/capabilities.ts'
import type { HandshakeV10 } from '../../src/protocol/packets.ts'
import { type Decision, type RealServer, realServer } from '../support/mariadb.ts'
import {
  connect,
  connectDirectly,
  connectRaw,
  expectOK,
  logInRaw,
  loginPacket,
  queryRaw,
  readPacket,
  startProxy,
  value,
} from '../support/raw-client.ts'

test('logins through the proxy', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server)

  const passwords: [name: string, password: string | undefined][] = [
    ['no password', undefined],
    ['a password', 'any password at all'],
    ['a password of 300 bytes', 'é'.repeat(150)],
  ]
  for (const [name, password] of passwords) {
    await t.test(`a client with ${name}`, async t => {
      const connection = await connect(proxy, password === undefined ? {} : { password })
      t.equal(await value(connection, 'SELECT CURRENT_USER()'), 'iam_user@%')
      const [rows] = await connection.query<mysql.RowDataPacket[]>("SHOW SESSION STATUS LIKE 'Ssl_version'")
      t.match(rows[0], { Value: /^TLSv1\.[23]$/ }, 'the server sees TLS')
      await connection.end()
    })
  }

  await t.test('the user that the client names', async t => {
    const connection = await connect(proxy, { user: 'iam2' })
    t.equal(await value(connection, 'SELECT CURRENT_USER()'), 'iam2@%')
    t.match(await decisionOn(server, connection.threadId), { user: 'iam2', accepted: true })
    await connection.end()
  })

  await t.test('a configured user', async t => {
    const connection = await connect(await startProxy(t, server, { user: 'iam2' }), { user: 'somebody' })
    t.equal(await value(connection, 'SELECT CURRENT_USER()'), 'iam2@%')
    await connection.end()
  })

  await t.test("an unknown user gets the server's own error", async t => {
    const error = await failure(connect(proxy, { user: 'nobody' }))
    t.match(error, { errno: 1045, sqlState: '28000' })
    t.match(error?.message, /nobody/)
  })

  const { longTerm, temporary } = server.keys
  for (const [name, credentials, bytes] of [
    ['long-term', longTerm, 370],
    ['temporary', temporary, 1280],
  ] as const) {
    for (const tokenInHandshake of ['auto', 'always', 'never'] as const) {
      await t.test(`${name} credentials, token in the handshake: ${tokenInHandshake}`, async t => {
        const proxy = await startProxy(t, server, { credentials, tokenInHandshake })
        for (const login of ['first', 'second']) {
          const connection = await connect(proxy)
          const decision = await decisionOn(server, connection.threadId)
          t.match(decision, { user: 'iam_user', accepted: true }, `the ${login} login`)
          t.ok(Math.abs(decision!.tokenBytes - bytes) < bytes * 0.05, `${decision!.tokenBytes} bytes`)
          await connection.end()
        }
      })
    }
  }

  await t.test("wrong credentials: the server's error, with a hint", async t => {
    const proxy = await startProxy(t, server, { credentials: { ...longTerm, secretAccessKey: 'wrong' } })
    const error = await failure(connect(proxy))
    t.match(error, { errno: 1045, sqlState: '28000' })
    t.match(error?.message, /^Access denied for user 'iam_user'@.*\(mysql-iam-proxy: .*rds-db:connect/)
  })

  await t.test('a login with a database', async t => {
    const connection = await connect(proxy, { database: 'lab' })
    t.equal(await value(connection, 'SELECT DATABASE()'), 'lab')
    await connection.end()
    const without = await connect(proxy)
    t.equal(await value(without, 'SELECT DATABASE()'), null)
    await without.end()
  })

  await t.test("an unknown database: the server's error", async t => {
    const direct = await failure(connectDirectly(server, { database: 'nö_such' }))
    const proxied = await failure(connect(proxy, { database: 'nö_such' }))
    t.match(proxied, { errno: 1049, sqlState: '42000', message: "Unknown database 'nö_such'" })
    t.strictSame(said(proxied), said(direct))
  })

  await t.test("the greeting is the server's", async t => {
    const [direct, proxied] = await Promise.all([greetingOf(server), greetingOf(proxy)])
    for (const field of ['serverVersion', 'charset', 'status', 'mariadbCapabilities', 'authPlugin'] as const) {
      t.equal(proxied[field], direct[field], field)
    }
    t.not(proxied.mariadbCapabilities, 0, 'MariaDB has extended capabilities')
    t.match(proxied.serverVersion, server.version)
    t.equal(proxied.capabilities | CLIENT_SSL, direct.capabilities | 0, 'all capabilities but TLS')
    t.notOk(proxied.salt.equals(direct.salt), 'the salt is not')
  })

  await t.test("the thread id of the greeting is the session's", async t => {
    const connection = await connect(proxy)
    t.equal(await value(connection, 'SELECT CONNECTION_ID()'), connection.threadId)
    await connection.end()
    const client = await logInRaw(proxy)
    for await (const row of queryRaw(client, 'SELECT CONNECTION_ID()')) {
      t.equal(Number(row), client.greeting.threadId)
    }
    client.socket.destroy()
  })

  await t.test("the server gets the client's connection attributes", async t => {
    const long = 'x'.repeat(400) // a length of two bytes
    const connection = await connect(proxy, { connectAttributes: { program_name: 'tëst', long } })
    const sql = 'SELECT ATTR_NAME, ATTR_VALUE FROM performance_schema.session_connect_attrs WHERE PROCESSLIST_ID = ?'
    const [rows] = await connection.query<mysql.RowDataPacket[]>(sql, [connection.threadId])
    const attributes = Object.fromEntries(rows.map(row => [row.ATTR_NAME, row.ATTR_VALUE]))
    t.match(attributes, { program_name: 'tëst', long, _client_name: 'Node-MySQL-2' })
    await connection.end()
  })

  for (const charset of ['utf8mb4_unicode_ci', 'LATIN1_SWEDISH_CI', 'CP932_JAPANESE_CI']) {
    await t.test(`the charset of the client: ${charset}`, async t => {
      const connection = await connect(proxy, { charset })
      t.equal(await value(connection, 'SELECT @@collation_connection'), charset.toLowerCase())
      t.equal(await value(connection, 'SELECT @@character_set_client'), charset.toLowerCase().split('_')[0])
      await connection.end()
    })
  }

  await t.test('a login in small pieces', async t => {
    const client = await connectRaw(proxy)
    for (const byte of loginPacket(client)) {
      client.socket.write(Buffer.of(byte))
      await sleep(1)
    }
    expectOK(await readPacket(client.socket))
    t.equal(Number((await queryRaw(client, 'SELECT 42').next()).value), 42)
    client.socket.destroy()
  })

  await t.test('a client that sent half of its login does not block others', async t => {
    const client = await connectRaw(proxy)
    const packet = loginPacket(client)
    client.socket.write(packet.subarray(0, 20))
    await sleep(50)
    const other = await connect(proxy)
    t.equal(await value(other, 'SELECT 1'), 1)
    await other.end()
    client.socket.write(packet.subarray(20))
    expectOK(await readPacket(client.socket))
    client.socket.destroy()
  })

  await t.test('50 concurrent sessions', async t => {
    const connections = await Promise.all(Array.from({ length: 50 }, () => connect(proxy)))
    const answers = await Promise.all(connections.map((connection, i) => value(connection, 'SELECT ? + 1', [i])))
    t.strictSame(
      answers.map(Number),
      connections.map((_connection, i) => i + 1),
    )
    const ids = await Promise.all(connections.map(connection => value(connection, 'SELECT CONNECTION_ID()')))
    t.strictSame(
      ids,
      connections.map(connection => connection.threadId),
    )
    t.equal(new Set(ids).size, 50, 'each its own')
    await Promise.all(connections.map(connection => connection.end()))
  })

  await t.test('200 logins in sequence', async t => {
    for (let login = 1; login <= 200; login++) {
      const connection = await connect(proxy)
      const answer = await value(connection, 'SELECT ?', [login])
      if (Number(answer) !== login) t.fail(`login ${login}: ${answer}`)
      await connection.end()
    }
    const lines = proxy.log.filter(({ level }) => level === 'error')
    t.strictSame(lines, [], 'no errors in the log')
  })

  await t.test('no token in the log', async t => {
    const text = JSON.stringify(proxy.log)
    t.match(text, 'session started')
    t.notMatch(text, /X-Amz|Signature=/)
  })
})

async function greetingOf(address: { host: string; port: number }): Promise<HandshakeV10> {
  const { socket, greeting } = await connectRaw(address)
  socket.destroy()
  return greeting
}

/** The server writes it before its answer to the client, if it accepts. */
async function decisionOn(server: RealServer, threadId: number): Promise<Decision | undefined> {
  return (await server.decisions()).findLast(({ connectionId }) => connectionId === threadId)
}

interface ServerError extends Error {
  errno: number
  sqlState: string
}

/** What a login fails with; undefined if it works. */
async function failure(login: Promise<mysql.Connection>): Promise<ServerError | undefined> {
  try {
    const connection = await login
    connection.destroy()
    return undefined
  } catch (error) {
    return error as ServerError
  }
}

function said(error: ServerError | undefined): Partial<ServerError> {
  return { errno: error!.errno, sqlState: error!.sqlState, message: error!.message }
}
