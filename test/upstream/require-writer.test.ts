import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import zlib from 'node:zlib'
import { type Test, test } from 'tap'
import type { Endpoint } from '../../src/endpoint.ts'
import { createWire, framePacket } from '../../src/net/wire.ts'
import { CLIENT_COMPRESS, CLIENT_QUERY_ATTRIBUTES } from '../../src/protocol/capabilities.ts'
import { encodeERR_Packet } from '../../src/protocol/packets.ts'
import { requireWriter } from '../../src/upstream/require-writer.ts'
import { connect, startProxy, until, value } from '../support/raw-client.ts'
import { testOnEachOwnServer } from '../support/servers.ts'

testOnEachOwnServer('--require-writer', async (t, server) => {
  const proxy = await startProxy(t, server, { requireWriter: true, maxLoginsPerSecond: 0 })
  // mysql2 sets CLIENT_QUERY_ATTRIBUTES.
  for (const compress of [false, true]) {
    for (const tracked of ['time_zone', '*']) {
      await server.query('SET GLOBAL read_only = 0')
      await server.query(`SET GLOBAL session_track_system_variables = '${tracked}'`)
      const flags = ['SESSION_TRACK']
      const session = await connect(proxy, { compress, flags })
      t.equal(await value(session, 'SELECT @@lc_time_names'), 'en_US', 'the session is as it was')
      t.same((await session.query('SHOW WARNINGS'))[0], [])
      await session.end()

      await server.query('SET GLOBAL read_only = 1')
      const refusal = { errno: 1290, message: /is read-only\. After a failover.*require-writer/ }
      await t.rejects(connect(proxy, { compress, flags }), refusal, compress ? 'compressed' : 'plain')
    }
  }
  const query = "SELECT COUNT(*) AS count FROM information_schema.processlist WHERE user = 'iam_user'"
  await until('nothing is left on the server', async () => {
    const [row] = (await server.query(query)) as { count: number | bigint }[]
    return Number(row!.count) === 0
  })
  const indifferent = await startProxy(t, server)
  const session = await connect(indifferent)
  await session.end()
  t.equal(proxy.log.filter(({ fields }) => 'code' in fields).length, 4, 'a line for each refusal')
})

/** What requireWriter makes of `answer`, which has the bytes of a server's whole answer; and what it has sent. */
async function ask(t: Test, capabilities: number, answer: Buffer) {
  const received: Buffer[] = []
  const server = createServer(socket => {
    socket.once('data', data => {
      received.push(data)
      socket.end(answer)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const wire = createWire(connectTcp(port, '127.0.0.1'), 'upstream', 10_000)
  const endpoint = { dial: { host: 'database-1', port: 3306 } } as Endpoint
  const error: unknown = await requireWriter(wire, endpoint, capabilities).catch(error => error)
  wire.socket.destroy()
  return { error, command: Buffer.concat(received) }
}

const message = 'Access denied; you need (at least one of) the SUPER privilege(s) for this operation. '.repeat(3)
const refusal = framePacket(encodeERR_Packet({ errno: 1227, sqlState: '42000', message }), 1)

function compressed(packet: Buffer, payload: Buffer): Buffer {
  const header = Buffer.alloc(7)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = 1
  header.writeUIntLE(packet.length, 4, 3)
  return Buffer.concat([header, payload])
}

test('--require-writer uses the capabilities of the session', async t => {
  const plain = await ask(t, 0, refusal)
  t.match(plain.error, { code: 'UPSTREAM_REFUSED_LOGIN', serverError: { errno: 1227, message } })
  t.equal(plain.command.toString('latin1', 4, 8), '\x03SET')

  const attributes = await ask(t, CLIENT_QUERY_ATTRIBUTES, refusal)
  t.equal(attributes.command.toString('latin1', 4, 10), '\x03\x00\x01SET')

  const zlibbed = await ask(t, CLIENT_COMPRESS, compressed(refusal, zlib.deflateSync(refusal)))
  t.match(zlibbed.error, { code: 'UPSTREAM_REFUSED_LOGIN', serverError: { errno: 1227, message } })
  t.equal(zlibbed.command.toString('latin1', 11, 15), '\x03SET')

  const garbage = await ask(t, CLIENT_COMPRESS, compressed(refusal, randomBytes(40)))
  t.match(garbage.error, { code: 'UPSTREAM_NOT_MYSQL' })
  const two = Buffer.concat([refusal, refusal])
  t.match((await ask(t, CLIENT_COMPRESS, compressed(two, zlib.deflateSync(two)))).error, { code: 'UPSTREAM_NOT_MYSQL' })
})
