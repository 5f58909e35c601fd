import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { deflateSync } from 'node:zlib'
import { type Test, test } from 'tap'
import { createCompressedSocket } from '../../src/net/compressed-socket.ts'
import { createWire, readPacket, startCompression, writePacket } from '../../src/net/wire.ts'
import { inflateWhole } from '../../src/protocol/inflate.ts'
import { largePacket } from '../../src/protocol/net-buffer.ts'
import { createFlow, relay } from '../../src/relay/relay.ts'
import { socketPair } from '../support/socket-pair.ts'

interface Pair {
  /** the server's end, which sends and gets frames */
  far: Socket
  /** the proxy's end, which has packets */
  socket: Socket
  carrier: Socket
}

async function setUp(t: Test, onTooLarge?: () => void): Promise<Pair> {
  const [carrier, far] = await socketPair(t)
  const traffic = { compression: 'zlib' as const, bytesFromClient: 0, bytesFromUpstream: 0 }
  const socket = createCompressedSocket(carrier, traffic, onTooLarge)
  socket.on('error', () => {})
  return { far, socket, carrier }
}

function packet(payload: string | Buffer, sequence: number): Buffer {
  const body = Buffer.from(payload)
  const header = Buffer.alloc(4)
  header.writeUIntLE(body.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, body])
}

function frame(bytes: Buffer, sequence: number): Buffer {
  const payload = deflateSync(bytes)
  const header = Buffer.alloc(7)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  header.writeUIntLE(bytes.length, 4, 3)
  return Buffer.concat([header, payload])
}

/** All that comes until the end. */
async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', chunk => chunks.push(chunk))
  await once(socket, 'end')
  return Buffer.concat(chunks)
}

/** The bytes inside frames. */
function unframe(stream: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < stream.length; ) {
    const length = stream.readUIntLE(at, 3)
    const claimed = stream.readUIntLE(at + 4, 3)
    const payload = stream.subarray(at + 7, at + 7 + length)
    parts.push(claimed > 0 ? inflateWhole(payload, claimed) : payload)
    at += 7 + length
  }
  return Buffer.concat(parts)
}

test('packets go out in frames, and frames come in as packets, to the end of both directions', async t => {
  const { far, socket } = await setUp(t)
  const commands = [packet('\x03SELECT 1', 0), packet(Buffer.alloc(5_000_000, 'x'), 0), packet('\x0e', 0)]
  for (const command of commands) socket.write(command)
  socket.end()
  t.ok(unframe(await readAll(far)).equals(Buffer.concat(commands)))
  // The server closes its direction later.
  const answer = packet(Buffer.alloc(3_000_000, 'y'), 1)
  far.end(frame(answer, 1))
  t.ok((await readAll(socket)).equals(answer))
  if (!socket.closed) await once(socket, 'close')
})

test('a large packet goes out with the first command, and only there', async t => {
  const { far, socket } = await setUp(t, () => t.fail('the server has refused nothing'))
  const [first, second] = [packet('\x03SELECT 1', 0), packet('\x0e', 0)]
  socket.write(first)
  const [chunk] = (await once(far, 'data')) as [Buffer]
  const large = largePacket('zlib')
  t.ok(chunk.subarray(0, large.length).equals(large))
  t.strictSame(unframe(chunk.subarray(large.length)), first, 'in one write')
  far.write(frame(packet('answer', 1), 1))
  t.strictSame((await once(socket, 'data'))[0], packet('answer', 1))
  socket.end(second)
  t.strictSame(unframe(await readAll(far)), second)
})

test('a server that refuses the large packet', async t => {
  let refused = 0
  const { far, socket } = await setUp(t, () => refused++)
  socket.write(packet('\x0e', 0))
  far.resume()
  const error = packet(
    Buffer.from("\xff\x81\x04#08S01Got a packet bigger than 'max_allowed_packet' bytes", 'latin1'),
    1,
  )
  far.write(frame(error, 1))
  t.strictSame((await once(socket, 'data'))[0], error, 'the client gets the error')
  t.equal(refused, 1)
  socket.write(packet('\x0e', 0))
  far.write(frame(error, 1))
  await once(socket, 'data')
  t.equal(refused, 1, 'a later error is about a command of the client')
})

test('what has arrived is read after the server has closed', async t => {
  const { far, socket, carrier } = await setUp(t)
  socket.end()
  far.resume()
  const answer = packet(Buffer.alloc(1_000_000, 'y'), 1)
  far.end(frame(answer, 1))
  socket.on('readable', () => {})
  await once(carrier, 'close')
  socket.removeAllListeners('readable')
  t.ok((await readAll(socket)).equals(answer))
})

test('a handshake goes on over it: packets one by one', async t => {
  const [near, far] = await socketPair(t)
  const wire = createWire(near, 'upstream', 60_000)
  startCompression(wire, 'zlib')
  t.equal(wire.carrier, near)
  wire.sequence = 0
  writePacket(wire, Buffer.from('\x11user'))
  const [chunk] = (await once(far, 'data')) as [Buffer]
  t.strictSame(unframe(chunk), packet('\x11user', 0))
  far.write(
    Buffer.concat([frame(packet('question', 1).subarray(0, 6), 1), frame(packet('question', 1).subarray(6), 2)]),
  )
  t.equal((await readPacket(wire, 'a question')).toString(), 'question')
  writePacket(wire, Buffer.from('token'))
  const [answer] = (await once(far, 'data')) as [Buffer]
  t.equal(answer[3], 3, 'the id behind the two frames of the question')
})

test('a reader that stops stops the server', async t => {
  const { far, socket } = await setUp(t)
  const rows = Buffer.concat(Array.from({ length: 2_000 }, (_, i) => packet(Buffer.alloc(1_000, i), (i + 1) & 0xff)))
  const bytes = frame(rows, 0)
  let sent = 0
  const send = () => {
    while (sent < 100) {
      const next = Buffer.from(bytes)
      next[3] = ++sent
      if (!far.write(next)) break
    }
  }
  far.on('drain', send)
  send()
  socket.once('data', () => socket.pause())
  await once(socket, 'pause')
  // Until the buffers are full: the last size is the same as the one before.
  let size = -1
  while (size !== socket.readableLength || size === 0) {
    size = socket.readableLength
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  t.ok(size < 1024 * 1024, `${size} bytes wait, of ${100 * rows.length}`)
  let received = 0
  await new Promise<void>(resolve => {
    socket.on('data', chunk => {
      received += chunk.length
      if (received >= 10 * rows.length) resolve()
    })
    socket.resume()
  })
  t.pass('and goes on')
})

test('a server that stops reading stops the writer', async t => {
  const { far, socket } = await setUp(t)
  far.pause()
  const noise = randomBytes(60_000)
  let written = 0
  while (socket.writableLength < 1024 * 1024 && written < 400) {
    written++
    socket.write(packet(noise, 0))
    await new Promise(resolve => setImmediate(resolve))
  }
  t.ok(written < 400, `${written} packets`)
  const drained = once(socket, 'drain')
  far.resume()
  await drained
  t.equal(socket.writableLength, 0)
})

test('a frame that lies ends the connection with an error', async t => {
  const { far, socket, carrier } = await setUp(t)
  const lie = frame(packet('x'.repeat(100), 1), 1)
  lie[4] = 99
  socket.resume()
  const failed = once(socket, 'error')
  far.write(lie)
  t.match(await failed, [{ name: 'MalformedPacket' }])
  if (!carrier.closed) await once(carrier, 'close')
  t.ok(socket.destroyed)
})

test('a reset ends it with the same error', async t => {
  const { far, socket } = await setUp(t)
  socket.resume()
  const failed = once(socket, 'error')
  far.resetAndDestroy()
  t.match(await failed, [{ code: 'ECONNRESET' }])
})

test('it closes with the connection below, and the other way round', async t => {
  const first = await setUp(t)
  const closed = once(first.socket, 'close')
  first.carrier.destroy()
  await closed
  const second = await setUp(t)
  const carrierClosed = once(second.carrier, 'close')
  second.socket.destroy()
  await carrierClosed
  const third = await setUp(t)
  third.far.resume()
  third.socket.write(packet('\x01', 0))
  third.socket.destroySoon()
  await once(third.carrier, 'close')
  third.socket.destroySoon()
  t.ok(third.socket.destroyed)
})

test('the beginning of a packet is sent with the end', async t => {
  const { far, socket } = await setUp(t)
  socket.write(packet('\x0e', 0))
  socket.end(Buffer.of(9, 0))
  t.strictSame(unframe(await readAll(far)), Buffer.concat([packet('\x0e', 0), Buffer.of(9, 0)]))
})

test('addresses and keepalive are those of the connection below', async t => {
  const { socket, carrier } = await setUp(t)
  t.equal(socket.localPort, carrier.localPort)
  t.equal(socket.remoteAddress, carrier.remoteAddress)
  t.doesNotThrow(() => socket.setKeepAlive(true, 1_000))
})

test('the relay takes it for a socket', async t => {
  const { far, socket } = await setUp(t)
  const [nearClient, client] = await socketPair(t)
  const flow = createFlow()
  const relayed = relay(nearClient, socket, flow, false)
  client.write(packet('\x03SELECT', 0))
  const [command] = (await once(far, 'data')) as [Buffer]
  t.strictSame(unframe(command), packet('\x03SELECT', 0))
  const answer = packet(Buffer.alloc(100_000, 'a'), 1)
  far.write(frame(answer, 1))
  far.on('end', () => far.end())
  const received: Buffer[] = []
  client.on('data', chunk => {
    received.push(chunk)
    if (Buffer.concat(received).length === answer.length) client.end(packet('\x01', 0))
  })
  const end = await relayed
  t.equal(end.by, 'client')
  t.ok(Buffer.concat(received).equals(answer))
  t.equal(flow.bytesFromUpstream, answer.length)
  t.ok(flow.hasQuit)
})
