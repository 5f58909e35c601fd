import type { RowDataPacket } from 'mysql2/promise'
import { encodeComChangeUser, parseERR_Packet } from '../../src/protocol/packets.ts'
import type { RealServer } from '../support/mariadb.ts'
import {
  COM_QUERY,
  connect,
  expectOK,
  logInRaw,
  type RawClient,
  readPacket,
  readRows,
  runCommand,
  sendCommand,
  sendPacket,
  startProxy,
  until,
  value,
} from '../support/raw-client.ts'
import { testOnEachServer } from '../support/servers.ts'

const COM_PING = 0x0e

function comChangeUser({ user = 'iam2', plugin = 'mysql_native_password', database = 'lab' } = {}): Buffer {
  return encodeComChangeUser({
    user: Buffer.from(user),
    authResponse: Buffer.alloc(0),
    database: Buffer.from(database),
    charset: 45,
    authPlugin: plugin,
    attributes: undefined,
  })
}

/** Answers the proxy's AuthSwitchRequest, which must be next, and returns the packet behind it. */
async function answerSwitch({ socket }: RawClient, plugin = 'mysql_native_password'): Promise<Buffer> {
  const question = await readPacket(socket)
  if (!question.toString('latin1').startsWith(`\xfe${plugin}\0`)) throw new Error(`not a switch to ${plugin}`)
  sendPacket(socket, Buffer.alloc(0), 2)
  return await readPacket(socket)
}

async function rowsOf(client: RawClient): Promise<string[]> {
  const rows: string[] = []
  for await (const row of readRows(client)) rows.push(row.toString())
  return rows
}

/** Looks for this one thread, because other tests use the server too. */
async function untilEnded(server: RealServer, threadId: number): Promise<void> {
  const sql = `SELECT ID FROM information_schema.PROCESSLIST WHERE ID = ${threadId}`
  await until('the server closed it', async () => (await server.query(sql)).length === 0)
}

testOnEachServer('COM_CHANGE_USER', async (t, server) => {
  // mysql2 warns of sequence ids in compressed sessions, directly as well.
  t.intercept(console, 'error', { value: () => {} })
  const proxy = await startProxy(t, server)

  for (const password of [undefined, 'any password']) {
    await t.test(`repeatedly, with ${password ?? 'no password'}`, async t => {
      const options = password === undefined ? {} : { password }
      const connection = await connect(proxy, { ...options, database: 'lab' })
      const { threadId } = connection
      for (const [user, database] of [
        ['iam2', 'mysql'],
        ['iam_user', 'lab'],
        ['iam_user', 'lab'],
        ['iam2', 'lab'],
      ] as const) {
        await connection.query('SET @left = 1')
        await connection.changeUser({ user, database, ...options })
        const sql = 'SELECT CURRENT_USER() me, DATABASE() db, CONNECTION_ID() id, @left gone, ? param'
        const [rows] = await connection.execute<RowDataPacket[]>(sql, ['é😀'])
        t.match(rows, [{ me: `${user}@%`, db: database, id: threadId, gone: null, param: 'é😀' }])
      }
      await connection.end()
    })
  }

  await t.test('each change has a fresh token', async t => {
    const connection = await connect(proxy)
    const before = (await server.decisions()).length
    await connection.changeUser({ user: 'iam2' })
    await connection.changeUser({ user: 'iam_user' })
    const decisions = (await server.decisions()).slice(before).filter(d => d.connectionId === connection.threadId)
    t.match(decisions, [
      { user: 'iam2', accepted: true, tokenBytes: 363 },
      { user: 'iam_user', accepted: true, tokenBytes: 367 },
    ])
    await connection.end()
  })

  await t.test('a token of 1,280 bytes', async t => {
    const connection = await connect(await startProxy(t, server, { credentials: server.keys.temporary }))
    await connection.changeUser({ user: 'iam2' })
    t.equal(await value(connection, 'SELECT CURRENT_USER()'), 'iam2@%')
    await connection.end()
  })

  await t.test('a configured user does not change', async t => {
    const connection = await connect(await startProxy(t, server, { user: 'iam2' }))
    await connection.changeUser({ user: 'iam_user' })
    t.equal(await value(connection, 'SELECT CURRENT_USER()'), 'iam2@%')
    await connection.end()
  })

  const refusals: [name: string, change: { user: string; database?: string }, expected: Record<string, unknown>][] = [
    ['an unknown database', { user: 'iam2', database: 'nonesuch' }, { errno: 1049, sqlState: '42000' }],
    ['an unknown user', { user: 'nobody' }, { errno: 1045, sqlState: '28000', message: /'nobody'/ }],
    ['a user that is not for IAM', { user: 'app' }, { errno: 1045, message: /AWSAuthenticationPlugin/ }],
  ]
  for (const [name, change, expected] of refusals) {
    await t.test(`${name} ends the session, as without the proxy`, async t => {
      const connection = await connect(proxy)
      const error: unknown = await connection.changeUser(change).catch(error => error)
      t.match(error, expected)
      await t.rejects(connection.query('SELECT 1'))
      await untilEnded(server, connection.threadId)
      t.match(proxy.log.at(-2), { level: 'warn', fields: { user: 'iam_user' } })
      t.match(proxy.log.at(-1), { message: 'session ended' })
      t.notMatch(JSON.stringify(proxy.log), /X-Amz-Signature/)
    })
  }

  await t.test('the client logs in with its own method', async t => {
    for (const [named, switchedTo] of [
      ['mysql_native_password', 'mysql_native_password'],
      ['caching_sha2_password', 'caching_sha2_password'],
      ['client_ed25519', 'caching_sha2_password'],
    ] as const) {
      const client = await logInRaw(proxy)
      sendPacket(client.socket, comChangeUser({ plugin: named }), 0)
      expectOK(await answerSwitch(client, switchedTo))
      sendCommand(client, COM_QUERY, 'SELECT CURRENT_USER()')
      t.same(await rowsOf(client), ['iam2@%'])
      client.socket.destroy()
    }
  })

  await t.test('between pipelined commands: nothing is lost or reordered', async t => {
    const client = await logInRaw(proxy)
    client.socket.cork()
    sendCommand(client, COM_QUERY, 'SELECT SLEEP(0.3)')
    sendCommand(client, COM_QUERY, "SELECT REPEAT('x', 300000)")
    sendPacket(client.socket, comChangeUser(), 0)
    process.nextTick(() => client.socket.uncork())
    t.same(await rowsOf(client), ['0'])
    t.same(
      (await rowsOf(client)).map(row => row.length),
      [300000],
    )
    expectOK(await answerSwitch(client))
    sendCommand(client, COM_QUERY, 'SELECT CURRENT_USER()')
    t.same(await rowsOf(client), ['iam2@%'])
    client.socket.destroy()
  })

  await t.test('after a command that fails', async t => {
    const client = await logInRaw(proxy)
    client.socket.cork()
    sendCommand(client, COM_QUERY, 'SELECT nonsense')
    sendPacket(client.socket, comChangeUser(), 0)
    process.nextTick(() => client.socket.uncork())
    t.equal(parseERR_Packet(await readPacket(client.socket)).errno, 1054)
    expectOK(await answerSwitch(client))
    await runCommand(client, COM_PING)
    client.socket.destroy()
  })

  await t.test('byte by byte, and with a command in the same segment as the answer', async t => {
    const client = await logInRaw(proxy)
    const payload = comChangeUser()
    const packet = Buffer.concat([Buffer.of(payload.length, 0, 0, 0), payload])
    for (const byte of packet) {
      client.socket.write(Buffer.of(byte))
      await new Promise(resolve => setTimeout(resolve, 1))
    }
    t.equal((await readPacket(client.socket))[0], 0xfe)
    client.socket.cork()
    sendPacket(client.socket, Buffer.alloc(0), 2)
    sendCommand(client, COM_QUERY, 'SELECT CURRENT_USER()')
    process.nextTick(() => client.socket.uncork())
    expectOK(await readPacket(client.socket))
    t.same(await rowsOf(client), ['iam2@%'])
    client.socket.destroy()
  })

  await t.test('a value in a query that looks like COM_CHANGE_USER is only a value', async t => {
    const client = await logInRaw(proxy)
    const lookalike = `SELECT LENGTH('${comChangeUser().toString('latin1').replaceAll('\0', '-')}')`
    sendCommand(client, COM_QUERY, lookalike)
    t.equal((await rowsOf(client)).length, 1)
    client.socket.destroy()
  })

  await t.test('in a compressed session it gets an ERR_Packet, and the session continues', async t => {
    for (const password of ['', 'a long password, for a long COM_CHANGE_USER']) {
      const connection = await connect(proxy, { compress: true, password })
      t.equal(await value(connection, 'SELECT 1'), 1)
      const error: unknown = await connection.changeUser({ user: 'iam2', password }).catch(error => error)
      t.match(error, { errno: 1235, sqlState: '42000', message: /compression off/ })
      t.match(proxy.log.at(-1), { level: 'warn', fields: { code: 'CHANGE_USER_UNSUPPORTED' } })
      t.equal(
        await value(connection, "SELECT CONCAT(CURRENT_USER(), REPEAT('x', 100))"),
        `iam_user@%${'x'.repeat(100)}`,
      )
      await connection.end()
    }
  })

  await t.test('a malformed one ends the session with an ERR_Packet', async t => {
    const client = await logInRaw(proxy)
    sendPacket(client.socket, Buffer.from('\x11no terminating NUL'), 0)
    t.match(parseERR_Packet(await readPacket(client.socket)), { errno: 1043, message: /COM_CHANGE_USER/ })
    await untilEnded(server, client.greeting.threadId)
  })

  await t.test('a client that disconnects during it leaves nothing behind', async t => {
    const client = await logInRaw(proxy)
    sendPacket(client.socket, comChangeUser(), 0)
    await readPacket(client.socket)
    client.socket.resetAndDestroy()
    await untilEnded(server, client.greeting.threadId)
    t.pass()
  })

  await t.test('200 times on one connection', async t => {
    const connection = await connect(proxy)
    for (let i = 0; i < 200; i++) await connection.changeUser({ user: i % 2 ? 'iam_user' : 'iam2' })
    t.equal(await value(connection, 'SELECT CURRENT_USER()'), 'iam_user@%')
    await connection.end()
  })
})
