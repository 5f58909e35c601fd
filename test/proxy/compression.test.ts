/** --compress: sessions that travel compressed between the proxy and the server, for clients that do not know. */
import { once } from 'node:events'
import { type AddressInfo, createServer, connect as netConnect } from 'node:net'
import { Readable } from 'node:stream'
import type * as mysql from 'mysql2/promise'
import type { Test } from 'tap'
import { type Compression, hasZstd } from '../../src/protocol/inflate.ts'
import { largePacket } from '../../src/protocol/net-buffer.ts'
import { onLine, traffic } from '../../src/state.ts'
import type { RealServer } from '../support/database-server.ts'
import { connect, startProxy, until, value } from '../support/raw-client.ts'
import { isMariadb, testOnEachOwnServer, testOnEachServer } from '../support/servers.ts'

async function statusOf(connection: mysql.Connection, name: string): Promise<unknown> {
  const [rows] = await connection.query<mysql.RowDataPacket[]>(`SHOW SESSION STATUS LIKE '${name}'`)
  return rows[0]?.['Value']
}

testOnEachServer('the session is compressed, as the option and both sides allow', async (t, server) => {
  for (const compress of ['off', 'zlib', 'zstd'] as const) {
    const proxy = await startProxy(t, server, { compress })
    const connection = await connect(proxy)
    t.equal(await statusOf(connection, 'Compression'), compress === 'off' ? 'OFF' : 'ON', compress)
    if (!isMariadb(server) && compress !== 'off') {
      const algorithm = compress === 'zstd' && hasZstd ? 'zstd' : 'zlib'
      t.equal(await statusOf(connection, 'Compression_algorithm'), algorithm)
    }
    await connection.end()
  }
})

testOnEachServer('the log and the status say what travelled, and what it would have been', async (t, server) => {
  for (const compress of ['off', 'zstd'] as const) {
    const proxy = await startProxy(t, server, { compress })
    const connection = await connect(proxy)
    t.equal(await value(connection, "SELECT REPEAT('x', 100000)"), 'x'.repeat(100_000))
    const [session] = proxy.state.sessions
    const { bytesFromClient, bytesFromUpstream } = onLine(session!)
    t.equal(traffic(proxy.state).lineBytesFromServer, bytesFromUpstream)
    await connection.end()
    await until('it is in the log', () => proxy.log.some(({ message }) => message === 'session ended'))
    const { fields } = proxy.log.find(({ message }) => message === 'session ended')!
    const all = Number(fields['bytesFromServer'])
    t.ok(all > 100_000)
    if (compress === 'off') {
      t.equal(bytesFromUpstream, all)
      t.notOk('compression' in fields || 'lineBytesFromServer' in fields)
      t.equal(traffic(proxy.state).lineBytesFromServer, all)
      continue
    }
    t.equal(fields['compression'], isMariadb(server) || !hasZstd ? 'zlib' : 'zstd')
    t.equal(fields['lineBytesFromServer'], bytesFromUpstream)
    t.ok(bytesFromUpstream > 0 && bytesFromUpstream < all / 10, `${bytesFromUpstream} of ${all} bytes`)
    t.ok(bytesFromClient > 0)
    const large = largePacket(fields['compression'] as Compression).length
    t.equal(Number(fields['lineBytesFromClient']), Number(fields['bytesFromClient']) + 2 * 7 + large, 'two commands')
    await until('the session is counted', () => proxy.state.sessions.size === 0)
    t.equal(traffic(proxy.state).bytesFromServer, all)
    t.equal(traffic(proxy.state).lineBytesFromServer, bytesFromUpstream)
  }
})

testOnEachServer('prepared connections are compressed as others', async (t, server) => {
  const proxy = await startProxy(t, server, { compress: 'zstd', preparedConnections: 2 })
  for (let login = 0; login < 6; login++) {
    const connection = await connect(proxy)
    t.equal(await statusOf(connection, 'Compression'), 'ON')
    t.equal(await value(connection, "SELECT REPEAT('x', 100000)"), 'x'.repeat(100_000))
    await connection.end()
  }
  const compressing = await connect(proxy, { compress: true })
  t.equal(await value(compressing, "SELECT REPEAT('x', 100000)"), 'x'.repeat(100_000))
  await compressing.end()
})

testOnEachServer('auto compresses only over a slow line', async (t, server) => {
  const near = await startProxy(t, server, { compress: 'auto' })
  const distant = await startDistance(t, server, 40)
  const far = await startProxy(t, server, { compress: 'auto', connect: `127.0.0.1:${distant}` })
  const connection = await connect(far)
  t.equal(await statusOf(connection, 'Compression'), 'ON')
  await connection.end()
  // A greeting may be late on a busy machine.
  await until('a session near the server is not compressed', async () => {
    const nearConnection = await connect(near)
    const compression = await statusOf(nearConnection, 'Compression')
    await nearConnection.end()
    return compression === 'OFF'
  })
})

/** The port of a relay that holds each chunk of the server back for `delay` milliseconds. */
async function startDistance(t: Test, { host, port }: RealServer, delay: number): Promise<number> {
  const listener = createServer(near => {
    const far = netConnect(port, host)
    near.pipe(far)
    far.on('data', chunk => setTimeout(() => near.write(chunk), delay))
    far.on('close', () => setTimeout(() => near.destroy(), delay))
    for (const socket of [near, far]) socket.on('error', () => socket.destroy())
    near.on('close', () => far.destroy())
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => listener.close())
  return (listener.address() as AddressInfo).port
}

testOnEachServer('a client that compresses itself gets no second compression', async (t, server) => {
  const proxy = await startProxy(t, server, { compress: 'zstd' })
  const connection = await connect(proxy, { compress: true })
  t.equal(await statusOf(connection, 'Compression'), 'ON')
  t.equal(await value(connection, "SELECT REPEAT('x', 100000)"), 'x'.repeat(100_000))
  await connection.end()
})

testOnEachServer(
  'large rows, large commands, files, changes of user and errors are as without it',
  async (t, server) => {
    const proxy = await startProxy(t, server, { compress: 'zstd', requireWriter: true })
    const connection = await connect(proxy, { user: 'iam_user', database: 'lab', multipleStatements: true })
    const length = 17 * 1024 * 1024
    const large = Buffer.alloc(length, 'abcdefgh'.repeat(99))
    t.equal(
      await value(connection, 'SELECT SHA2(?, 256) = SHA2(REPEAT(?, 3), 256)', [
        large.subarray(0, 30),
        large.subarray(0, 10),
      ]),
      0,
    )
    t.equal(await value(connection, 'SELECT LENGTH(?)', [large]), length, 'a command of 17 MiB')
    const answer = (await value(connection, "SELECT REPEAT('0123456789abcdef', 1114112)")) as string
    t.equal(answer.length, length, 'a row of 17 MiB')
    t.ok(answer.endsWith('89abcdef'))

    await connection.query('CREATE TEMPORARY TABLE lines_ (line VARCHAR(200))')
    const lines = Array.from({ length: 50_000 }, (_, i) => `line ${i}\n`).join('')
    const infileStreamFactory = () => Readable.from([Buffer.from(lines)])
    await connection.query({ sql: "LOAD DATA LOCAL INFILE 'x' INTO TABLE lines_", infileStreamFactory })
    t.equal(await value(connection, 'SELECT COUNT(*) FROM lines_'), 50_000)
    const [rows] = await connection.query<mysql.RowDataPacket[]>('SELECT line FROM lines_')
    t.equal(rows.length, 50_000)

    const [results] = await connection.query<mysql.RowDataPacket[][]>(
      'SELECT line FROM lines_ LIMIT 400; SELECT 2 AS two',
    )
    t.equal(results[1]?.[0]?.['two'], 2, 'a second result')
    await t.rejects(connection.query('SELECT nonsense'), /nonsense/)
    const all = await Promise.all([1, 2, 3, 4].map(n => value(connection, `SELECT ${n}`)))
    t.strictSame(all, [1, 2, 3, 4])
    const [statement] = await connection.execute<mysql.RowDataPacket[]>('SELECT ? AS a', ['b'.repeat(100_000)])
    t.equal(statement[0]?.['a'].length, 100_000)

    await connection.changeUser({ user: 'iam2' })
    t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam2@/)
    t.equal(await statusOf(connection, 'Compression'), 'ON')
    await connection.end()
  },
)

testOnEachServer('KILL ends a session, and a proxy that stops ends idle ones with its error', async (t, server) => {
  const proxy = await startProxy(t, server, { compress: 'zstd' })
  const [connection, other] = [await connect(proxy), await connect(proxy)]
  const running = connection.query('SELECT SLEEP(1000)')
  const failed = t.rejects(running)
  await until('the query runs', async () => {
    const sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(1000)'"
    return (await value(other, sql)) === 1
  })
  await other.query(`KILL ${connection.threadId}`)
  await failed
  const ended = new Promise<Error>(resolve => other.on('error', resolve))
  const [session] = [...proxy.state.sessions].filter(({ threadId }) => threadId === other.threadId)
  await until('the answer is there', () => session!.isIdle())
  session!.close('SESSION_CLOSED')
  t.match((await ended).message, /closed by an administrator/)
})

testOnEachServer('an answer takes fewer bytes than with compression by the client', async (t, server) => {
  const proxy = await startProxy(t, server, { compress: 'zlib' })
  const names = 'information_schema.collations'
  const rows = `SELECT CRC32(CONCAT(a.id, b.id)), a.collation_name, b.collation_name FROM ${names} a, ${names} b LIMIT 30000`
  const bytesFor = async (compress: boolean) => {
    const connection = await connect(proxy, { compress, database: 'lab' })
    const [result] = await connection.query<mysql.RowDataPacket[]>(rows)
    t.equal(result.length, 30_000)
    const [session] = proxy.state.sessions
    const { bytesFromUpstream } = onLine(session!)
    await connection.end()
    await until('the session has ended', () => proxy.state.sessions.size === 0)
    return bytesFromUpstream
  }
  const [byProxy, byClient] = [await bytesFor(false), await bytesFor(true)]
  t.ok(byProxy < 0.97 * byClient, `${byProxy} bytes instead of ${byClient}`)
})

testOnEachOwnServer(
  'a server that takes only small packets ends one session, and the next ones work',
  async (t, server) => {
    await server.query('SET GLOBAL max_allowed_packet = 16384')
    const proxy = await startProxy(t, server, { compress: 'zstd' })
    const first = await connect(proxy)
    first.on('error', () => {})
    await t.rejects(first.query('SELECT 1'), /max_allowed_packet/)
    first.destroy()
    const message = /has a max_allowed_packet below 64 KiB/
    t.equal(proxy.log.filter(line => message.test(line.message)).length, 1)
    const second = await connect(proxy)
    t.equal(await statusOf(second, 'Compression'), 'ON')
    await second.end()
  },
)
