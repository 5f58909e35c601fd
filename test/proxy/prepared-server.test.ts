/** --prepared-connections before real servers: clients get ordinary sessions, and the server counts no error. */
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type mysql from 'mysql2/promise'
import type { Test } from 'tap'
import type { HostPort } from '../../src/endpoint.ts'
import type { RealServer } from '../support/mariadb.ts'
import { connect, startProxy, until, value } from '../support/raw-client.ts'
import { testOnEachOwnServer } from '../support/servers.ts'
import { startProgram } from '../support/start-program.ts'

/** The ids of connections that wait for their login. */
async function waitingAt(server: RealServer): Promise<number[]> {
  const rows = await server.query(
    "SELECT id AS waiting FROM information_schema.processlist WHERE user = 'unauthenticated user'",
  )
  return (rows as { waiting: number | bigint }[]).map(({ waiting }) => Number(waiting))
}

/** How many logins the server has refused or not seen to their end. */
async function abortedAt(server: RealServer): Promise<number> {
  const rows = await server.query("SHOW GLOBAL STATUS LIKE 'Aborted_connects'")
  return Number((rows as { Value: string }[])[0]!.Value)
}

/** Logs in until some connections wait for the next logins. */
async function untilPrepared(server: RealServer, address: HostPort): Promise<number[]> {
  let waiting: number[] = []
  await until('connections are prepared', async () => {
    await (await connect(address)).end()
    waiting = await waitingAt(server)
    return waiting.length > 0
  })
  return waiting
}

/** A session over a prepared connection. */
async function connectPrepared(server: RealServer, address: HostPort): Promise<mysql.Connection> {
  for (;;) {
    const waiting = await untilPrepared(server, address)
    const connection = await connect(address)
    if (waiting.includes(connection.threadId)) return connection
    await connection.end()
  }
}

testOnEachOwnServer('a session over a prepared connection, and what the server counts', async (t, server) => {
  const proxy = await startProxy(t, server, { preparedConnections: 2 })
  const before = await abortedAt(server)

  await t.test('has the thread id of its greeting, and KILL QUERY with it works', async t => {
    const connection = await connectPrepared(server, proxy)
    const { threadId } = connection
    t.equal(await value(connection, 'SELECT CONNECTION_ID()'), threadId)
    const asleep = connection.query('SELECT SLEEP(1000) AS interrupted').catch((error: Error) => error)
    await until('it runs', async () => {
      const rows = await server.query(
        `SELECT 1 FROM information_schema.processlist WHERE id = ${threadId} AND info LIKE 'SELECT SLEEP%'`,
      )
      return (rows as unknown[]).length > 0
    })
    const other = await connect(proxy)
    await other.query(`KILL QUERY ${threadId}`)
    await asleep
    await other.end()
    await connection.changeUser({ user: 'iam2' })
    t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam2@/)
    await connection.end()
  })

  await t.test('two clients at the same moment', async t => {
    await untilPrepared(server, proxy)
    const both = await Promise.all([connect(proxy), connect(proxy), connect(proxy)])
    const ids = await Promise.all(both.map(connection => value(connection, 'SELECT CONNECTION_ID()')))
    t.equal(new Set(ids).size, 3)
    t.strictSame(
      both.map(({ threadId }) => threadId),
      ids,
    )
    for (const connection of both) await connection.end()
  })

  await t.test('connections that nobody takes', async t => {
    await untilPrepared(server, proxy)
    await until('they end', async () => (await waitingAt(server)).length === 0)
    t.equal(await abortedAt(server), before, 'the server has counted no error')
  })

  await t.test('a user whom the server refuses', async t => {
    await untilPrepared(server, proxy)
    for (let count = 1; count <= 3; count++) {
      await t.rejects(connect(proxy, { user: 'nobody' }), { message: /denied/ })
    }
    await (await connect(proxy)).end()
    await proxy.close()
    t.equal((await waitingAt(server)).length, 0, 'a proxy that has closed has left none')
    t.equal(await abortedAt(server), before + 3, 'one for each login that a client asked for')
  })

  await t.test('reload and stop', t => reloadAndStop(t, server))
  await t.test('a server whose time limit for logins is shorter', t => shorterTimeLimit(t, server))
})

/** A proxy that reads its configuration again, or stops, ends the connections without an error. */
async function reloadAndStop(t: Test, server: RealServer): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const [ca, config] = [join(directory, 'ca.pem'), join(directory, 'config.json')]
  await writeFile(ca, server.ca)
  const configure = (more: object) => {
    const rds = { name: 'orders', 'rds-endpoint': `${server.rdsHost}:${server.rdsPort}`, ca, listen: '127.0.0.1:0' }
    const endpoint = { ...rds, connect: `${server.host}:${server.port}`, 'prepared-connections': 2, ...more }
    return writeFile(config, JSON.stringify({ endpoints: [endpoint] }))
  }
  await configure({})
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const { child, logged } = startProgram(t, ['--config', config, '--log-format', 'json'], {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  })
  const { msg } = await logged('listening on')
  const address = { host: '127.0.0.1', port: Number(/127\.0\.0\.1:(\d+)/.exec(msg)?.[1]) }
  const before = await abortedAt(server)
  await untilPrepared(server, address)

  await configure({ 'login-timeout': '20s' })
  child.kill('SIGHUP')
  await logged('configuration read again')
  await until('the connections of the endpoint before are over', async () => (await waitingAt(server)).length === 0)
  t.equal(await abortedAt(server), before)

  await untilPrepared(server, address)
  child.kill('SIGTERM')
  await once(child, 'exit')
  t.equal((await waitingAt(server)).length, 0)
  t.equal(await abortedAt(server), before, 'the server has counted no error')
}

async function shorterTimeLimit(t: Test, server: RealServer): Promise<void> {
  const proxy = await startProxy(t, server, { preparedConnections: 1 })
  await server.query('SET GLOBAL connect_timeout = 2')
  await untilPrepared(server, proxy)
  await until('the proxy has noticed', () =>
    proxy.log.some(({ message }) => /^no connections are prepared for .*closed/.test(message)),
  )
  const connection = await connect(proxy)
  t.equal(await value(connection, 'SELECT CONNECTION_ID()'), connection.threadId)
  await connection.end()
  t.equal((await waitingAt(server)).length, 0, 'there are none for a while')
}
