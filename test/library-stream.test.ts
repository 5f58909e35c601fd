/** Client libraries whose connections stay in this process: proxy.connect(), with real drivers and a real server. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import mariadb from 'mariadb'
import callbackMysql from 'mysql2'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { createProxy, ProxyError, type ProxyOptions } from '../src/index.ts'
import { type RealServer, realServer } from './support/mariadb.ts'
import { connect, connectDirectly } from './support/raw-client.ts'

const MEGABYTE = 1_000_000

function create(t: Test, server: RealServer, options: Partial<ProxyOptions> = {}) {
  const proxy = createProxy({
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    listen: '127.0.0.1:0',
    credentials: server.keys.longTerm,
    ca: [server.ca],
    // A busy machine must not fail a login.
    connectTimeout: 60_000,
    loginTimeout: 120_000,
    maxLoginsPerSecond: 0,
    ...options,
  })
  t.teardown(() => proxy.close())
  return proxy
}

test('a pool of mysql2 without a port', async t => {
  const proxy = create(t, await realServer(t), { allowFrom: ['10.0.0.0/8'], requireTls: true })
  const pool = mysql.createPool({ stream: proxy.connect, user: 'iam_user', database: 'lab', connectionLimit: 3 })
  const answers = await Promise.all([1, 2, 3, 4, 5, 6].map(value => pool.query('SELECT ? AS v', [value])))
  t.same(
    answers.map(([rows]) => rows),
    [1, 2, 3, 4, 5, 6].map(v => [{ v }]),
  )
  const [rows] = await pool.execute('SELECT CURRENT_USER() AS name, DATABASE() AS db WHERE 1 = ?', [1])
  t.match(rows, [{ name: /^iam_user@/, db: 'lab' }])
  const { sessions, address, state } = proxy.status()
  t.equal(sessions.length, 3)
  t.match(sessions[0], { client: 'in-process', user: 'iam_user', database: 'lab', phase: 'open' })
  t.equal(address, undefined)
  t.equal(state, 'idle')
  const ends: string[] = []
  proxy.on('sessionEnd', ({ endedBy, client }) => void ends.push(`${client}: ${endedBy}`))
  const closed = once(proxy, 'closed')
  await pool.end()
  while (proxy.status().sessions.length > 0) await pause(10)
  await proxy.close()
  await closed
  t.same(ends, Array(3).fill('in-process: client quit'))
  t.equal(proxy.status().state, 'closed')
})

test('a pool of mariadb without a port', async t => {
  const proxy = create(t, await realServer(t))
  const pool = mariadb.createPool({ stream: proxy.connect, user: 'iam_user', database: 'lab', connectionLimit: 2 })
  const rows = await pool.query('SELECT ? AS v', ['ü'])
  t.match(rows, [{ v: 'ü' }])
  const connection = await pool.getConnection()
  t.match(await connection.execute('SELECT 1 + ? AS v', [2]), [{ v: 3 }])
  await connection.release()
  await pool.end()
  const withCallback = await mariadb.createConnection({
    stream: callback => callback(undefined, proxy.connect()),
    user: 'iam_user',
  })
  t.match(await withCallback.query('SELECT 1 AS v'), [{ v: 1 }])
  withCallback.destroy()
})

test('20 MB in each direction', async t => {
  const proxy = create(t, await realServer(t))
  const connection = await mysql.createConnection({ stream: proxy.connect, user: 'iam_user', database: 'lab' })
  t.teardown(() => connection.destroy())
  const value = Buffer.alloc(10 * MEGABYTE, 'abcdefghi\n')
  const kept = Buffer.from(value)
  for (let time = 0; time < 2; time++) {
    const [rows] = await connection.query<mysql.RowDataPacket[]>('SELECT MD5(?) AS hash, LENGTH(?) AS length', [
      value,
      'x',
    ])
    t.match(rows, [{ hash: createHash('md5').update(value).digest('hex') }])
  }
  t.ok(value.equals(kept), 'the memory of the program stays as it is')
  const [rows] = await connection.query<mysql.RowDataPacket[]>(
    `SELECT seq, REPEAT(CHAR(64 + seq USING utf8mb4), ${MEGABYTE}) AS text FROM seq_1_to_20`,
  )
  t.equal(rows.length, 20)
  for (const { seq, text } of rows)
    t.ok(text === String.fromCharCode(64 + Number(seq)).repeat(MEGABYTE), `row ${seq} arrives unchanged`)
})

test('a driver that does not read makes the server wait', async t => {
  const proxy = create(t, await realServer(t))
  const connection = callbackMysql.createConnection({ stream: proxy.connect, user: 'iam_user', database: 'lab' })
  t.teardown(() => connection.destroy())
  const rows = connection.query(`SELECT REPEAT('x', ${MEGABYTE}) AS text FROM seq_1_to_60`).stream({ highWaterMark: 1 })
  let count = 0
  rows.on('data', () => {
    count++
  })
  await once(rows, 'data')
  rows.pause()
  connection.pause()
  const received = () => proxy.status().sessions[0]!.bytesFromServer
  for (let before = -1; before !== received(); await pause(300)) before = received()
  t.ok(received() < 30 * MEGABYTE, `the proxy has read ${received()} bytes`)
  connection.resume()
  rows.resume()
  await once(rows, 'end')
  t.equal(count, 60)
})

test('LOAD DATA LOCAL', async t => {
  const proxy = create(t, await realServer(t))
  const connection = await mysql.createConnection({ stream: proxy.connect, user: 'iam_user', database: 'lab' })
  t.teardown(() => connection.destroy())
  await connection.query('CREATE TEMPORARY TABLE loaded (id INT, text VARCHAR(200))')
  const lines = Array.from({ length: 50_000 }, (_line, index) => Buffer.from(`${index}\t${'x'.repeat(100)}\n`))
  await connection.query({
    sql: "LOAD DATA LOCAL INFILE 'from the program' INTO TABLE loaded",
    infileStreamFactory: () => Readable.from(lines),
  } as mysql.QueryOptions)
  const [rows] = await connection.query('SELECT COUNT(*) AS count, SUM(LENGTH(text)) AS bytes FROM loaded')
  t.match(rows, [{ count: 50_000, bytes: '5000000' }])
})

test('200 connections at once', async t => {
  const server = await realServer(t)
  const proxy = create(t, server)
  const pool = mysql.createPool({
    stream: proxy.connect,
    user: 'iam_user',
    connectionLimit: 200,
    connectTimeout: 120_000,
  })
  const connections = await Promise.all(Array.from({ length: 200 }, () => pool.getConnection()))
  const answers = await Promise.all(
    connections.map((connection, index) => connection.query<mysql.RowDataPacket[]>('SELECT ? AS v', [index])),
  )
  t.same(
    answers.map(([rows]) => rows[0]!['v']),
    connections.map((_connection, index) => index),
  )
  t.equal(proxy.status().sessions.length, 200)
  for (const connection of connections) connection.release()
  await pool.end()
  await proxy.close()
  t.equal(proxy.status().sessions.length, 0)
})

test('a refused login is an error of the driver', async t => {
  const server = await realServer(t)
  const localUsers = [{ name: 'report', password: 'a long password', user: 'iam_user' }]
  const proxy = create(t, server, { localUsers })
  const login = { stream: proxy.connect, user: 'report', password: 'a long password' }
  await t.rejects(mysql.createConnection({ ...login, password: 'wrong' }), {
    errno: 1045,
    message: /access denied for local user 'report'/,
  })
  await t.rejects(mariadb.createConnection({ ...login, password: 'wrong' }), {
    errno: 1045,
    message: /access denied for local user 'report'/,
  })
  const connection = await mysql.createConnection(login)
  const [rows] = await connection.query('SELECT CURRENT_USER() AS name')
  t.match(rows, [{ name: /^iam_user@/ }])
  await connection.end()

  const credentials = { ...server.keys.longTerm, secretAccessKey: 'another' }
  const refused = create(t, server, { credentials })
  await t.rejects(mysql.createConnection({ stream: refused.connect, user: 'iam_user' }), {
    errno: 1045,
    message: /Access denied for user/i,
  })
  t.match(refused.status().recentErrors, [{ code: 'UPSTREAM_REFUSED_LOGIN', client: 'in-process' }])
  const encrypted = mysql.createConnection({ stream: refused.connect, user: 'iam_user', ssl: {} })
  await t.rejects(encrypted, { code: 'HANDSHAKE_NO_SSL_SUPPORT' }, 'there is no TLS within a process')
})

test('sessions end from either side', async t => {
  const server = await realServer(t)
  const proxy = create(t, server)
  const open = async () => {
    const connection = await mysql.createConnection({ stream: proxy.connect, user: 'iam_user' })
    const errors: unknown[] = []
    connection.on('error', (error: { code?: string }) => errors.push(error.code))
    return { connection, errors }
  }
  const ended = async () => (await once(proxy, 'sessionEnd'))[0].endedBy
  const left = await open()
  const leaves = ended()
  left.connection.destroy()
  t.equal(await leaves, 'client closed')

  const killed = await open()
  const isKilled = ended()
  const admin = await connectDirectly(server)
  await admin.query(`KILL ${killed.connection.threadId}`)
  await admin.end()
  t.equal(await isKilled, 'server closed')
  await t.rejects(killed.connection.query('SELECT 1'))

  const busy = await open()
  const slow = t.rejects(busy.connection.query('SELECT SLEEP(600)'), 'the driver sees the end of a running query')
  const asked = () => proxy.status().sessions[0]!.bytesFromClient > 0
  while (!asked()) await pause(10)
  const stops = ended()
  await proxy.close()
  t.equal(await stops, 'PROXY_STOPPING')
  await slow
})

test('it works beside listen(), and not after the end', async t => {
  const server = await realServer(t)
  const proxy = create(t, server)
  const inside = await mysql.createConnection({ stream: proxy.connect, user: 'iam_user' })
  const address = await proxy.listen()
  const outside = await connect(address)
  t.same(
    proxy.status().sessions.map(({ client }) => client),
    ['in-process', '127.0.0.1'],
  )
  const also = await mysql.createConnection({ stream: proxy.connect, user: 'iam_user' })
  await also.end()
  proxy.stopListening()
  await t.rejects(mysql.createConnection({ stream: proxy.connect, user: 'iam_user' }), { code: 'PROXY_STOPPING' })
  await inside.query('SELECT 1')
  for (const connection of [inside, outside]) connection.on('error', () => {})
  await proxy.close()
  const pool = mysql.createPool({ stream: proxy.connect, user: 'iam_user' })
  await t.rejects(pool.query('SELECT 1'), ProxyError)
  await pool.end()
  const [error] = await once(proxy.connect(), 'error')
  t.match(error, { name: 'ProxyError', code: 'PROXY_STOPPING' })
})

test('the signal ends connections of a proxy that does not listen', async t => {
  const stop = new AbortController()
  const proxy = create(t, await realServer(t), { signal: stop.signal })
  const connection = await mysql.createConnection({ stream: proxy.connect, user: 'iam_user' })
  connection.on('error', () => {})
  const closed = once(proxy, 'closed')
  stop.abort(new Error('enough'))
  await closed
  await t.rejects(connection.query('SELECT 1'))
  await t.rejects(mysql.createConnection({ stream: proxy.connect, user: 'iam_user' }), { code: 'PROXY_STOPPING' })
  await t.rejects(proxy.listen(), { message: 'enough' })
})
