import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { deflateSync } from 'node:zlib'
import { test } from 'tap'
import { COM_CHANGE_USER } from '../../src/protocol/command-scanner.ts'
import { createFlow, type RelayEnd, relay } from '../../src/relay/relay.ts'
import type { Traffic } from '../../src/state.ts'

interface Sockets {
  client: Socket
  upstream: Socket
}

/** Two connections with a relay between them: their far ends, and the near ones. `before` runs before the relay begins. */
async function setUp(
  before: (near: Sockets, far: Sockets) => unknown = () => {},
): Promise<Sockets & { near: Sockets; relayed: Promise<RelayEnd & Traffic> }> {
  const [client, nearClient] = await socketPair()
  const [upstream, nearUpstream] = await socketPair()
  const near = { client: nearClient, upstream: nearUpstream }
  await before(near, { client, upstream })
  return { client, upstream, near, relayed: startRelay(nearClient, nearUpstream) }
}

async function startRelay(client: Socket, upstream: Socket): Promise<RelayEnd & Traffic> {
  const flow = createFlow()
  const end = await relay(client, upstream, flow, false)
  return { ...end, ...flow }
}

/** Half-open, as the proxy's own sockets are. */
async function socketPair(): Promise<[far: Socket, near: Socket]> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  const [[near]] = (await Promise.all([once(server, 'connection'), once(far, 'connect')])) as [[Socket], unknown]
  server.close()
  for (const socket of [far, near]) socket.on('error', () => {})
  return [far, near]
}

/** Numbers from 0 to below 1, the same ones for the same seed (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A packet as clients send it. */
function packet(payload: string | Buffer, sequence = 0): Buffer {
  const body = Buffer.from(payload)
  const header = Buffer.of(body.length & 0xff, (body.length >> 8) & 0xff, body.length >> 16, sequence)
  return Buffer.concat([header, body])
}

/** Random bytes, most of them in runs. */
function randomBytes(length: number, random: () => number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at += 97) bytes.fill(Math.floor(random() * 256), at, Math.min(at + 97, length))
  return bytes
}

/** Commands of random kinds and lengths; packets that are no commands have any content. */
function randomCommands(length: number, random: () => number): Buffer {
  const packets: Buffer[] = []
  for (let left = length; left > 0; left -= packets.at(-1)!.length) {
    const sequence = random() < 0.5 ? 0 : 1 + Math.floor(random() * 254)
    const payload = randomBytes(Math.floor(100_000 * random() ** 8), random)
    if (sequence === 0 && payload[0] === COM_CHANGE_USER) payload[0] = 3
    packets.push(packet(payload, sequence))
  }
  return Buffer.concat(packets)
}

/** Waits for a condition that nobody announces. The test's own time limit ends it. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turns(1)
}

/** Lets the event loop go round so many times. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

interface Received {
  bytes: number
  hash: string
}

/** Writes in random pieces with pauses, as fast as the socket takes them, then an end. */
async function sendRandomly(socket: Socket, content: Buffer, random: () => number): Promise<Received> {
  for (let at = 0; at < content.length; ) {
    // from single bytes to several socket buffers, small pieces most often
    const piece = content.subarray(at, at + 1 + Math.floor(200_000 * random() ** 6))
    at += piece.length
    if (!socket.write(piece)) await once(socket, 'drain')
    if (random() < 0.02) await turns(Math.floor(random() * 40))
  }
  socket.end()
  return { bytes: content.length, hash: createHash('sha256').update(content).digest('hex') }
}

/** Reads to the end, and now and then not for a while. */
async function receiveRandomly(socket: Socket, random: () => number): Promise<Received> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of chunksOf(socket)) {
    hash.update(chunk)
    bytes += chunk.length
    if (random() < 0.02) await turns(Math.floor(random() * 80))
  }
  return { bytes, hash: hash.digest('hex') }
}

/** Resolves with the error that a socket ends with, or undefined; fails the test by its timeout if it never closes. */
async function closing(socket: Socket): Promise<NodeJS.ErrnoException | undefined> {
  let failure: NodeJS.ErrnoException | undefined
  socket.on('error', error => {
    failure = error
  })
  if (!socket.closed) await new Promise(resolve => socket.once('close', resolve))
  return failure
}

/** To the end; the other direction stays open. */
function chunksOf(socket: Socket): AsyncIterable<Buffer> {
  return socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>
}

async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of chunksOf(socket)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`random traffic in both directions, seed ${seed}`, async t => {
    const random = createRandom(seed)
    const { client, upstream, relayed } = await setUp()
    const up = randomCommands(random() * 4_000_000, random)
    const down = randomBytes(Math.floor(random() * 4_000_000), random)
    const streams = [1, 2, 3, 4].map(stream => createRandom(seed * 1000 + stream)) as (() => number)[]
    const [sentUp, sentDown, receivedDown, receivedUp] = await Promise.all([
      sendRandomly(client, up, streams[0]!),
      sendRandomly(upstream, down, streams[1]!),
      receiveRandomly(client, streams[2]!),
      receiveRandomly(upstream, streams[3]!),
    ])
    t.strictSame(receivedUp, sentUp, 'what the client sent')
    t.strictSame(receivedDown, sentDown, 'what the server sent')
    t.match(await relayed, { bytesFromClient: up.length, bytesFromUpstream: down.length, error: undefined })
  })
}

const lastWords = packet('last words')

test('ping-pong: a small chunk does not wait for more', async t => {
  const { client, upstream, relayed } = await setUp()
  upstream.on('data', chunk => upstream.write(chunk)).on('end', () => upstream.end())
  // A relay that waits for more input never finishes this. One that waits a moment each time takes too long.
  for (let round = 0; round < 1_000; round++) {
    const question = packet(`round ${round}`)
    client.write(question)
    const [answer] = (await once(client, 'data')) as [Buffer]
    if (!answer.equals(question)) t.fail(`round ${round}: ${answer}`)
  }
  client.end()
  t.match(await relayed, { by: 'client', error: undefined })
})

test('commands that are split anywhere, and an end in the middle of a header', async t => {
  const { client, upstream, near, relayed } = await setUp()
  client.setNoDelay()
  const commands = Buffer.concat([packet('\x03SELECT 1'), packet('', 0), packet('\x0e'), packet('rows', 2)])
  const pieces = Array.from(commands, byte => Buffer.of(byte))
  for (let cut = 1; cut < commands.length; cut++) pieces.push(commands.subarray(0, cut), commands.subarray(cut))
  pieces.push(commands.subarray(0, 3))
  const received = readAll(upstream)
  for (const piece of pieces) {
    client.write(piece)
    await until(() => near.client.bytesRead === client.bytesWritten)
  }
  client.end()
  t.strictSame(await received, Buffer.concat(pieces), 'nothing is lost, doubled or held back')
  upstream.end()
  t.match(await relayed, { by: 'client', error: undefined })
})

test('large packets followed by part of a header', async t => {
  const { client, upstream, near, relayed } = await setUp()
  const large = packet(Buffer.alloc(40_000, 'a'), 3)
  const command = packet('\x03SELECT 1')
  const received = readAll(upstream)
  for (let cut = 1; cut < 5; cut++) {
    client.write(Buffer.concat([large, command.subarray(0, cut)]))
    await until(() => near.client.bytesRead === client.bytesWritten)
    client.write(command.subarray(cut))
    await until(() => near.client.bytesRead === client.bytesWritten)
  }
  client.end()
  t.ok((await received).equals(Buffer.concat(Array(4).fill([large, command]).flat())), 'is kept when they are written')
  upstream.end()
  t.match(await relayed, { by: 'client', error: undefined })
})

test('bytes that arrived before the relay began are forwarded too', async t => {
  const early = Buffer.from('sent before')
  const [client, nearClient] = await socketPair()
  const [upstream, nearUpstream] = await socketPair()
  upstream.write(early)
  await once(nearUpstream, 'readable')
  const relayed = startRelay(nearClient, nearUpstream)
  t.strictSame((await once(client, 'data'))[0], early)
  client.end()
  upstream.end()
  t.match(await relayed, { bytesFromClient: 0, bytesFromUpstream: early.length })
})

for (const side of ['client', 'upstream'] as const) {
  const otherSide = side === 'client' ? 'upstream' : 'client'

  test(`half-close of the ${side}: the other direction continues`, async t => {
    const { relayed, ...sockets } = await setUp()
    const [ending, other] = [sockets[side], sockets[otherSide]]
    ending.end(lastWords)
    t.strictSame(await readAll(other), lastWords)
    // Twice, and the second answer begins after the end has come through.
    const answer = packet(Buffer.alloc(1_000_000, 'abc'))
    other.write(answer)
    await once(ending, 'readable')
    other.end(answer)
    t.ok((await readAll(ending)).equals(Buffer.concat([answer, answer])), 'the whole answer')
    t.match(await relayed, { by: side, error: undefined })
  })

  test(`RST of the ${side}: the other side ends`, async t => {
    const { relayed, ...sockets } = await setUp()
    const [broken, other] = [sockets[side], sockets[otherSide]]
    broken.write(packet('x'))
    await once(other, 'data')
    other.resume()
    broken.resetAndDestroy()
    const result = await relayed
    t.equal(result.by, side)
    t.equal((result.error as NodeJS.ErrnoException | undefined)?.code, 'ECONNRESET')
    other.end()
    await closing(other)
  })

  test(`RST of the ${side} while much data is on its way to it`, async t => {
    const { relayed, near, ...sockets } = await setUp()
    const [broken, other] = [sockets[side], sockets[otherSide]]
    broken.pause()
    const chunk = packet(Buffer.alloc(1 << 20))
    for (let i = 0; i < 32; i++) other.write(chunk)
    await until(() => near[side].writableNeedDrain)
    broken.resetAndDestroy()
    t.equal((await relayed).by, side)
    await closing(other)
  })

  test(`RST of the ${side} right after its last bytes: they are delivered`, async t => {
    const { relayed, ...sockets } = await setUp()
    const [broken, other] = [sockets[side], sockets[otherSide]]
    // A whole buffer of 64 KiB, so that the relay meets the RST in the same turn as the words.
    const words = packet(Buffer.alloc(65_536 - 4, 'words'))
    broken.write(words)
    broken.resetAndDestroy()
    t.ok((await readAll(other)).equals(words))
    other.end()
    const result = await relayed
    t.equal(result.by, side)
    t.equal((result.error as NodeJS.ErrnoException | undefined)?.code, 'ECONNRESET')
  })

  test(`the ${side} is closed already`, async t => {
    const { relayed, ...sockets } = await setUp(async near => {
      near[side].destroy()
      await once(near[side], 'close')
    })
    const other = sockets[otherSide]
    other.resume()
    await once(other, 'end')
    other.end()
    t.equal((await relayed).by, side)
  })

  test(`the ${side} has closed its side already, and the end was read`, async t => {
    const { relayed, ...sockets } = await setUp(async (near, far) => {
      far[side].end()
      await once(near[side].resume(), 'end')
    })
    t.strictSame(await readAll(sockets[otherSide]), Buffer.alloc(0), 'the other side gets the end')
    sockets[otherSide].end()
    t.equal((await relayed).by, side)
  })

  test(`RST of the ${side} while the other side neither writes nor closes`, async t => {
    const { relayed, ...sockets } = await setUp()
    const other = sockets[otherSide]
    sockets[side].resetAndDestroy()
    t.strictSame(await readAll(other), Buffer.alloc(0), 'the other side gets an end by itself')
    other.destroy()
    t.match(await relayed, { by: side, error: { code: 'ECONNRESET' } })
  })

  test(`the ${side} has closed its side already, with unread bytes`, async t => {
    const { relayed, ...sockets } = await setUp(async (near, far) => {
      far[side].end(lastWords)
      await once(near[side], 'readable')
    })
    t.strictSame(await readAll(sockets[otherSide]), lastWords)
    const answer = packet('answer')
    sockets[otherSide].end(answer)
    t.strictSame(await readAll(sockets[side]), answer)
    t.equal((await relayed).by, side)
  })
}

test('the end of a long chunk is kept, and all of a short chunk', async t => {
  const [client, nearClient] = await socketPair()
  const [upstream, nearUpstream] = await socketPair()
  const flow = createFlow()
  const relayed = relay(nearClient, nearUpstream, flow, false)
  for (const length of [10, 256, 257, 5_000, 300, 20]) {
    const chunk = Buffer.from(Array.from({ length }, (_, at) => (at * 7 + length) & 0xff))
    upstream.write(chunk)
    let received = 0
    while (received < length) received += ((await once(client, 'data')) as [Buffer])[0].length
    const kept = chunk.subarray(-Math.min(length, 256))
    t.ok(flow.lastBytes.subarray(-kept.length).equals(kept), `the end of ${length} bytes`)
    t.ok(flow.lastBytes.length <= 256, 'and no more than an OK_Packet has')
  }
  client.destroy()
  upstream.destroy()
  await relayed
})

test('the kept end of a chunk does not keep the memory that the chunk shares', async t => {
  const [client, nearClient] = await socketPair()
  const [upstream, nearUpstream] = await socketPair()
  const flow = createFlow()
  const relayed = relay(nearClient, nearUpstream, flow, false)
  const slab = Buffer.alloc(64 * 1024, 'slab ')
  let room: ArrayBufferLike | undefined
  for (const length of [11, 256, 16_384, 11]) {
    const chunk = slab.subarray(1_000, 1_000 + length)
    nearUpstream.emit('data', chunk)
    t.ok(flow.lastBytes.equals(chunk.subarray(-256)), `the end of ${length} bytes`)
    t.ok(flow.lastBytes.buffer.byteLength <= 256, 'in a small buffer')
    room ??= flow.lastBytes.buffer
    t.equal(flow.lastBytes.buffer, room, 'which is used again')
  }
  client.destroy()
  upstream.destroy()
  await relayed
})

test('a client that fails while its compressed packets are being checked', async t => {
  const [client, nearClient] = await socketPair()
  const [upstream, nearUpstream] = await socketPair()
  const relayed = relay(nearClient, nearUpstream, createFlow(), true)
  const payload = deflateSync(packet(Buffer.alloc(100_000, 3)))
  const header = Buffer.alloc(7)
  header.writeUIntLE(payload.length, 0, 3)
  header.writeUIntLE(100_004, 4, 3)
  client.write(Buffer.concat([header, payload]))
  client.resetAndDestroy()
  upstream.resume()
  t.equal((await relayed).by, 'client')
  upstream.end()
  await closing(upstream)
})

test('both are closed already', async t => {
  const { relayed } = await setUp(async near => {
    near.client.destroy()
    near.upstream.destroy()
    await Promise.all([once(near.client, 'close'), once(near.upstream, 'close')])
  })
  t.match(await relayed, { bytesFromClient: 0, bytesFromUpstream: 0 })
})

test('a COM_STMT_CLOSE gets no answer, so none is due', async t => {
  const [client, nearClient] = await socketPair()
  const [upstream, nearUpstream] = await socketPair()
  const flow = createFlow()
  const relayed = relay(nearClient, nearUpstream, flow, false)
  const close = packet(Buffer.of(0x19, 1, 0, 0, 0))
  const sendAndSee = async (bytes: Buffer) => {
    client.write(bytes)
    await once(upstream, 'data')
    return flow.clientSpokeLast
  }
  t.equal(await sendAndSee(close), false)
  t.equal(await sendAndSee(packet('\x03SELECT 1')), true)
  t.equal(await sendAndSee(close), true, 'the answer to the command before it is due')
  upstream.write('answer')
  await once(client, 'data')
  t.equal(await sendAndSee(close), false)
  t.equal(await sendAndSee(Buffer.concat([close, packet('\x03DO 1')])), true)
  client.end()
  upstream.end()
  await relayed
})
