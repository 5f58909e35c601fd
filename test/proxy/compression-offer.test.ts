/** --compress before a MySQL whose protocol_compression_algorithms allow less. */
import { test } from 'tap'
import { hasZstd } from '../../src/protocol/inflate.ts'
import { mysqlUnavailable, startMysql } from '../support/mysql.ts'
import { connect, connectDirectly, startProxy, value } from '../support/raw-client.ts'

test('each login gets what the server allows, and the log says once if that is nothing', {
  skip: mysqlUnavailable() ?? false,
}, async t => {
  const server = await startMysql()
  t.teardown(() => server.stop())
  const admin = await connectDirectly(server)
  t.teardown(() => admin.destroy())
  // A connection that was prepared before a change of the server's settings would keep them.
  const proxy = await startProxy(t, server, { compress: 'zstd', preparedConnections: 0 })
  const warnings = () => proxy.log.filter(({ level }) => level === 'warn').map(({ message }) => message)
  const zstd = hasZstd ? ['zstd'] : []
  for (const [algorithms, expected, why] of [
    ['zlib,zstd,uncompressed', hasZstd ? 'zstd' : 'zlib', hasZstd ? '' : 'this Node.js has no zstd'],
    ['zlib,uncompressed', 'zlib', hasZstd ? 'the server offers no zstd' : 'this Node.js has no zstd'],
    // Such a server refuses clients that ask for no compression.
    ...zstd.map(only => [only, only, ''] as const),
    ['uncompressed', undefined, 'the server offers no compression'],
    ['uncompressed', undefined, 'the server offers no compression'],
  ] as const) {
    await admin.query(`SET GLOBAL protocol_compression_algorithms = '${algorithms}'`)
    const connection = await connect(proxy)
    t.equal(await value(connection, "SELECT REPEAT('x', 100000)"), 'x'.repeat(100_000), algorithms)
    t.equal([...proxy.state.sessions].find(({ phase }) => phase === 'open')?.compressed?.compression, expected)
    t.match(proxy.state.compression(), { setting: 'zstd', next: expected, why })
    await connection.end()
    while (proxy.state.sessions.size > 0) await new Promise(resolve => setImmediate(resolve))
  }
  t.same(warnings(), [
    `${server.host}:${server.port} offers no compression, so the option compress (zstd) has no effect`,
  ])
})
