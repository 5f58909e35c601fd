/** --compress before a hostile or broken server: bounded memory, and an end instead of wrong bytes. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import zlib, { deflateSync } from 'node:zlib'
import { type Test, test } from 'tap'
import { createCompressedSocket } from '../../src/net/compressed-socket.ts'
import { MalformedPacket } from '../../src/protocol/bytes.ts'
import { createFrameReader } from '../../src/protocol/compress-frames.ts'
import { hasZstd } from '../../src/protocol/inflate.ts'
import { socketPair } from '../support/socket-pair.ts'

const { zstdCompressSync } = zlib as { zstdCompressSync?: (data: Buffer) => Buffer }
const LARGEST = 0xffffff

async function setUp(t: Test): Promise<{ far: Socket; socket: Socket }> {
  const [carrier, far] = await socketPair(t)
  const socket = createCompressedSocket(carrier, { compression: 'zlib', bytesFromClient: 0, bytesFromUpstream: 0 })
  far.on('error', () => {})
  return { far, socket }
}

/** A frame whose header says what it likes. */
function frame(payload: Buffer, claimed: number, sequence = 1): Buffer {
  const header = Buffer.alloc(7)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  header.writeUIntLE(claimed, 4, 3)
  return Buffer.concat([header, payload])
}

/** The largest packet that fits into the largest frame, of zeros. */
function bomb(sequence: number): Buffer {
  const packet = Buffer.alloc(LARGEST)
  packet.writeUIntLE(LARGEST - 4, 0, 3)
  packet[3] = sequence
  return frame(deflateSync(packet), LARGEST, sequence)
}

/** A zstd frame with one raw block: https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1 */
function zstd(descriptor: number, header: number[], content = 'abc'): Buffer {
  const block = [(content.length << 3) | 1, 0, 0]
  return Buffer.concat([Buffer.of(0x28, 0xb5, 0x2f, 0xfd, descriptor, ...header, ...block), Buffer.from(content)])
}

const SMALL = deflateSync(Buffer.from('x'.repeat(100)))
const large = randomBytes(100_000)
const LARGE = deflateSync(large)
const window = (log: number) => (log - 10) << 3

const LIES: Record<string, Buffer> = {
  '16 MiB from ten bytes': frame(randomBytes(10), LARGEST),
  '16 MiB from a short stream': frame(SMALL, LARGEST),
  'more than it brings': frame(SMALL, 101),
  'less than it brings': frame(SMALL, 99),
  'a large one with more': frame(LARGE, large.length + 1),
  'a large one with less': frame(LARGE, large.length - 1),
  'a stream without its end': frame(SMALL.subarray(0, -4), 100),
  'a large stream without its end': frame(LARGE.subarray(0, 70_000), large.length),
  'bytes behind the stream': frame(Buffer.concat([SMALL, Buffer.from('more')]), 100),
  'bytes behind a large stream': frame(Buffer.concat([LARGE, Buffer.from('more')]), large.length),
  'a second stream': frame(Buffer.concat([SMALL, SMALL]), 200),
  'no stream': frame(Buffer.alloc(50, 0xff), 100),
  'nothing that claims something': frame(Buffer.alloc(0), 100),
  'another frame in the middle of a packet': Buffer.concat([
    frame(Buffer.of(9, 0, 0, 1), 0, 1),
    frame(Buffer.alloc(9), 0, 7),
  ]),
  'zstd with a dictionary': frame(zstd(1, [window(20), 7]), 3),
  'zstd with a window of 128 MiB': frame(zstd(0, [window(27)]), 3),
  'zstd that claims 4 GiB': frame(zstd(0xe0, [0, 0, 0, 0, 1, 0, 0, 0]), 3),
  'zstd with another length than it brings': frame(zstd(0x20, [200]), 3),
  'large zstd with a window of 128 MiB': frame(zstd(0, [window(27)]), 70_000),
  'a zstd frame to skip': frame(Buffer.of(0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9), 1),
  ...(hasZstd ? { 'bytes behind zstd': frame(Buffer.concat([zstd(0, [window(20)]), Buffer.from('more')]), 3) } : {}),
}

test('a frame that lies ends the connection with an error', async t => {
  for (const [name, lie] of Object.entries(LIES)) {
    const { far, socket } = await setUp(t)
    socket.resume()
    const failed = once(socket, 'error')
    far.write(lie)
    const [error] = (await failed) as [Error]
    t.ok(error instanceof MalformedPacket, `${name}: ${error.message}`)
    t.ok(socket.destroyed)
  }
})

test('what is no lie is read', { skip: hasZstd ? false : 'no zstd in this Node.js' }, async t => {
  const { far, socket } = await setUp(t)
  const packet = Buffer.from([2, 0, 0, 1, 0x61, 0x62])
  far.write(frame(zstd(0, [window(24)], packet.toString('latin1')), packet.length))
  t.same((await once(socket, 'data'))[0], packet, 'a zstd window of 16 MiB')
  socket.destroy()
})

test('the end in the middle of a frame is the end behind what came before', async t => {
  const { far, socket } = await setUp(t)
  far.end(Buffer.concat([frame(Buffer.of(1, 0, 0, 1, 0), 0), frame(LARGE, large.length, 2).subarray(0, 50_000)]))
  const chunks: Buffer[] = []
  socket.on('data', chunk => chunks.push(chunk))
  await once(socket, 'end')
  const got = Buffer.concat(chunks)
  t.same(got.subarray(0, 5), Buffer.of(1, 0, 0, 1, 0))
  t.ok(got.length < large.length)
  socket.end()
})

test('a thousand bombs before a client that does not read take a few buffers', async t => {
  const { far, socket } = await setUp(t)
  const bombs = [1, 2].map(bomb)
  t.ok(bombs[0]!.length < 20_000, '16 MiB each')
  let sent = 0
  const send = () => {
    while (sent < 1_000) if (!far.write(bombs[sent++ % 2]!)) return
  }
  far.on('drain', send)
  send()
  socket.once('data', () => socket.pause())
  await once(socket, 'pause')
  const before = process.memoryUsage().arrayBuffers
  // Until nothing moves: the number of bytes is the same as before.
  for (let size = -1; size !== far.bytesWritten + socket.readableLength; ) {
    size = far.bytesWritten + socket.readableLength
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  t.ok(socket.readableLength < 1024 * 1024, `${socket.readableLength} bytes wait`)
  const grown = process.memoryUsage().arrayBuffers - before
  t.ok(grown < 16 * 1024 * 1024, `${grown} bytes of memory`)
  let received = 0
  await new Promise<void>(resolve => {
    socket.on('data', chunk => {
      received += chunk.length
      if (received >= 3 * LARGEST) resolve()
    })
    socket.resume()
  })
  t.pass('and it goes on')
  socket.destroy()
})

test('frames of a byte each, and frames of none', async t => {
  const { far, socket } = await setUp(t)
  const packet = Buffer.concat([Buffer.of(0x50, 0xc3, 0, 1), Buffer.alloc(50_000, 7)])
  const pieces: Buffer[] = []
  for (let at = 0; at < packet.length; at++) {
    const sequence = (1 + 2 * at) & 0xff
    pieces.push(frame(packet.subarray(at, at + 1), 0, sequence), frame(Buffer.alloc(0), 0, (sequence + 1) & 0xff))
  }
  far.write(Buffer.concat(pieces))
  const chunks: Buffer[] = []
  let length = 0
  await new Promise<void>(resolve => {
    socket.on('data', chunk => {
      chunks.push(chunk)
      length += chunk.length
      if (length === packet.length) resolve()
    })
  })
  t.ok(Buffer.concat(chunks).equals(packet))
  socket.destroy()
})

test('an idle session keeps no memory of the decompression', async t => {
  const created: { destroyed: boolean }[] = []
  const { createInflate } = zlib
  t.intercept(zlib, 'createInflate', {
    value: () => {
      const stream = createInflate()
      created.push(stream)
      return stream
    },
  })
  const kinds = hasZstd ? [deflateSync, zstdCompressSync!] : [deflateSync]
  let brought = 0
  let needed = () => {}
  const reader = createFrameReader({
    onFrame() {},
    onData(bytes) {
      brought += bytes.length
    },
    onNeed: () => needed(),
    onError: error => t.error(error),
  })
  for (const [index, compress] of [...kinds, ...kinds].entries()) {
    const isNeeded = new Promise<void>(resolve => {
      needed = resolve
    })
    if (!reader.write(frame(compress(large), large.length))) await isNeeded
    t.equal(brought, (index + 1) * large.length)
    t.ok(
      created.every(({ destroyed }) => destroyed),
      'after the frame',
    )
  }
  t.equal(created.length, 2, 'one for each frame of zlib')
  const last = new Promise<void>(resolve => {
    needed = resolve
  })
  const two = Buffer.concat([frame(LARGE, large.length), frame(LARGE, large.length)])
  if (!reader.write(two)) await last
  t.equal(created.length, 3, 'frames that follow at once share it')
  reader.close()
})
