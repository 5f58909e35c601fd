/** --require-writer against answers that no server of the tests gives. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'
import zlib from 'node:zlib'
import { type Test, test } from 'tap'
import type { Endpoint } from '../../src/endpoint.ts'
import { createWire, framePacket, frameUncompressed } from '../../src/net/wire.ts'
import { CLIENT_COMPRESS, CLIENT_QUERY_ATTRIBUTES } from '../../src/protocol/capabilities.ts'
import { encodeERR_Packet } from '../../src/protocol/packets.ts'
import { requireWriter } from '../../src/upstream/require-writer.ts'

/** What requireWriter makes of `answer`, which has the bytes of a server's whole answer; and what it has sent. */
async function ask(t: Test, capabilities: number, answer: Buffer) {
  const received: Buffer[] = []
  const server = createServer(socket => {
    socket.on('error', () => {})
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

function uncompressed(packet: Buffer): Buffer {
  return frameUncompressed(packet, 1)
}

/** What the proxy asks, as its errors call it. */
const STEP = /whether the server accepts writes/

test('the question uses the capabilities of the session', async t => {
  const plain = await ask(t, 0, refusal)
  t.match(plain.error, { code: 'UPSTREAM_REFUSED_LOGIN', serverError: { errno: 1227, message } })
  t.equal(plain.command.toString('latin1', 4, 8), '\x03SET')
  t.equal(plain.command[3], 0, 'a new command')

  const attributes = await ask(t, CLIENT_QUERY_ATTRIBUTES, refusal)
  t.equal(attributes.command.toString('latin1', 4, 10), '\x03\x00\x01SET')

  const zlibbed = await ask(t, CLIENT_COMPRESS, compressed(refusal, zlib.deflateSync(refusal)))
  t.match(zlibbed.error, { code: 'UPSTREAM_REFUSED_LOGIN', serverError: { errno: 1227, message } })
  t.equal(zlibbed.command.toString('latin1', 11, 15), '\x03SET')
  t.same([zlibbed.command[3], zlibbed.command[10]], [0, 0], 'a new command')

  const garbage = await ask(t, CLIENT_COMPRESS, compressed(refusal, randomBytes(40)))
  t.match(garbage.error, { code: 'UPSTREAM_NOT_MYSQL' })
  const two = Buffer.concat([refusal, refusal])
  t.match((await ask(t, CLIENT_COMPRESS, compressed(two, zlib.deflateSync(two)))).error, { code: 'UPSTREAM_NOT_MYSQL' })
})

const OK_ANSWER = framePacket(Buffer.of(0), 1)
const readOnly = framePacket(
  encodeERR_Packet({ errno: 1649, sqlState: 'HY000', message: "Unknown locale: 'reader'" }),
  1,
)

test('a writer answers with an OK_Packet, a reader with an unknown locale', async t => {
  const notWriter = { code: 'SERVER_NOT_WRITER', message: 'the server behind database-1:3306 is read-only' }
  t.equal((await ask(t, 0, OK_ANSWER)).error, undefined)
  t.match((await ask(t, 0, readOnly)).error, notWriter)
  t.equal((await ask(t, CLIENT_COMPRESS, uncompressed(OK_ANSWER))).error, undefined)
  t.match((await ask(t, CLIENT_COMPRESS, uncompressed(readOnly))).error, notWriter)
  t.match((await ask(t, 0, framePacket(Buffer.of(1), 1))).error, { code: 'UPSTREAM_NOT_MYSQL', message: STEP })
})

test('a compressed answer has one packet inside, of at most 64 KiB with its header', async t => {
  const ofLength = (length: number) => framePacket(Buffer.alloc(length - 4), 1)
  for (const compress of [uncompressed, (packet: Buffer) => compressed(packet, zlib.deflateSync(packet))]) {
    const answerTo = async (packet: Buffer) => (await ask(t, CLIENT_COMPRESS, compress(packet))).error
    t.equal(await answerTo(ofLength(64 * 1024)), undefined)
    t.match(await answerTo(ofLength(64 * 1024 + 1)), { code: 'UPSTREAM_NOT_MYSQL', message: /: \d+ bytes/ })
    for (const packet of [ofLength(4), Buffer.of(0), Buffer.concat([OK_ANSWER, OK_ANSWER]), OK_ANSWER.subarray(0, 4)]) {
      const error = { code: 'UPSTREAM_NOT_MYSQL', message: /not a compressed packet with one packet inside/ }
      t.match(await answerTo(packet), error)
    }
  }
})
