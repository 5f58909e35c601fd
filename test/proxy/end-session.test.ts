import { setTimeout as sleep } from 'node:timers/promises'
import type mysql from 'mysql2/promise'
import { test } from 'tap'
import { realServer } from '../support/mariadb.ts'
import {
  COM_QUERY,
  connect,
  logInRaw,
  runCommand,
  sendCommand,
  startProxy,
  until,
  value,
} from '../support/raw-client.ts'
import { testOnEachServer } from '../support/servers.ts'

const COM_STMT_PREPARE = 0x16

/** How a connection ends: the error that its client sees, without it doing anything. */
function endOf(connection: mysql.Connection): Promise<{ errno?: number; message: string }> {
  return new Promise(resolve => connection.on('error', resolve))
}

test('sessions end between transactions', async t => {
  const server = await realServer(t)
  await server.query('CREATE OR REPLACE TABLE lab.shutdown (id INT PRIMARY KEY) ENGINE=InnoDB')
  t.teardown(() => server.query('DROP TABLE lab.shutdown'))
  const proxy = await startProxy(t, server)
  const fresh = await connect(proxy)
  const idle = await connect(proxy)
  await idle.query('SELECT 1')
  const large = await connect(proxy)
  await large.query('SELECT REPEAT("x", 1000000)')
  const failed = await connect(proxy)
  await failed.query('SELECT no_such_column').catch(() => undefined)
  await failed.query('DO 1')
  const busy = await connect(proxy)
  const slow = value(busy, 'SELECT SLEEP(0.5)')
  const writing = await connect(proxy)
  await writing.beginTransaction()
  await writing.query('INSERT INTO lab.shutdown VALUES (1)')

  const closed = proxy.close(600_000)
  const ends = await Promise.all([fresh, idle, large, failed].map(endOf))
  for (const end of ends) t.match(end.message, /mysql-iam-proxy: the proxy is being stopped/)
  await t.rejects(connect(proxy), { code: 'ECONNREFUSED' })
  t.equal(await slow, 0, 'a query comes to its end')
  await writing.query('INSERT INTO lab.shutdown VALUES (2)')
  await writing.commit()
  await closed
  const [row] = (await server.query('SELECT COUNT(*) AS count FROM lab.shutdown')) as { count: number | bigint }[]
  t.equal(Number(row!.count), 2, 'and a transaction')
  const ended = proxy.log.filter(({ message }) => message === 'session ended')
  t.same(new Set(ended.map(({ fields }) => fields['endedBy'])), new Set(['PROXY_STOPPING']))
  for (const connection of [fresh, idle, large, failed, busy, writing]) connection.destroy()
})

test('sessions that are still busy after the delay are closed', async t => {
  const server = await realServer(t)
  await server.query('CREATE OR REPLACE TABLE lab.shutdown_late (id INT PRIMARY KEY) ENGINE=InnoDB')
  t.teardown(() => server.query('DROP TABLE lab.shutdown_late'))
  const proxy = await startProxy(t, server)
  const writing = await connect(proxy)
  await writing.beginTransaction()
  await writing.query('INSERT INTO lab.shutdown_late VALUES (1)')
  const busy = await connect(proxy)
  const slow = busy.query('SELECT SLEEP(30)').catch((error: unknown) => error)
  const reading = await connect(proxy)
  const rows = reading.query('SELECT REPEAT("x", 1000) FROM lab.seq_1_to_1000000').catch((error: unknown) => error)
  const isRunning = `SELECT ID FROM information_schema.PROCESSLIST WHERE ID = ${busy.threadId} AND INFO LIKE '%SLEEP(30)%'`
  await until('the query runs', async () => (await server.query(isRunning)).length === 1)
  const end = endOf(writing)
  await proxy.close(300)
  t.match(await slow, { errno: 1053 }, 'instead of an answer')
  t.match((await end).message, /the proxy is being stopped/)
  t.ok((await rows) instanceof Error, 'a result that was cut is an error')
  await until('the server has rolled back', async () => {
    const [row] = (await server.query('SELECT COUNT(*) AS count FROM lab.shutdown_late')) as {
      count: number | bigint
    }[]
    return Number(row!.count) === 0
  })
  for (const connection of [writing, busy, reading]) connection.destroy()
})

test('a client that does not read does not delay the end', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server)
  const stalled = await logInRaw(proxy)
  sendCommand(stalled, COM_QUERY, 'SELECT REPEAT(md5(seq), 31250) FROM lab.seq_1_to_1000')
  await until(
    'its buffers are full',
    async () => {
      const before = stalled.socket.bytesRead
      await sleep(200)
      return before > 0 && stalled.socket.bytesRead === before
    },
    30_000,
  )
  await proxy.close()
  const end = proxy.log.find(({ message }) => message === 'session ended')
  t.match(end?.fields, { endedBy: 'PROXY_STOPPING' })
  stalled.socket.destroy()
})

test('a session with compression', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server)
  const idle = await connect(proxy, { compress: true })
  await idle.query('DO 1')
  const end = endOf(idle)
  // As long as a timer can wait: only its idle sessions end it before.
  await proxy.close(2 ** 31 - 1)
  t.match((await end).message, /the proxy is being stopped/)
  idle.destroy()
})

testOnEachServer('a statement prepared within a transaction does not hide the transaction', async (t, server) => {
  const proxy = await startProxy(t, server)
  const writing = await logInRaw(proxy)
  await runCommand(writing, COM_QUERY, 'BEGIN')
  // No parameters and no columns: COM_STMT_PREPARE_OK is the whole answer, and looks like an OK_Packet.
  await runCommand(writing, COM_STMT_PREPARE, 'DO 1')
  const idle = await connect(proxy)
  const idleEnds = endOf(idle)
  const closed = proxy.close(60_000)
  await idleEnds // by then the proxy has looked at the older session, too
  await runCommand(writing, COM_QUERY, 'COMMIT')
  await closed
  t.match(proxy.log.at(-1), { message: 'session ended', fields: { endedBy: 'PROXY_STOPPING' } })
  writing.socket.destroy()
  idle.destroy()
})

test('what a session does, as the status page shows it', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server)
  const connection = await connect(proxy)
  const [session] = proxy.state.sessions
  t.equal(session?.activity(), 'idle')
  await connection.query('SELECT 1')
  t.equal(session?.activity(), 'idle')
  await connection.beginTransaction()
  t.equal(session?.activity(), 'in a transaction')
  await connection.query('SELECT no_such_column').catch(() => undefined)
  t.equal(session?.activity(), 'open', 'an error does not say')
  await connection.rollback()
  const slow = value(connection, 'SELECT SLEEP(0.5)')
  await until('the proxy has the command', async () => session?.activity() === 'waiting for an answer')
  await slow
  t.equal(session?.activity(), 'idle')
  connection.destroy()
})
