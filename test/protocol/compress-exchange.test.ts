/** A model of a server answers the same commands twice: without compression, and in frames with the ids that servers give. */
import { test } from 'tap'
import { MalformedPacket } from '../../src/protocol/bytes.ts'
import { type CompressedExchange, createCompressedExchange } from '../../src/protocol/compress-exchange.ts'
import { hasZstd, inflateWhole } from '../../src/protocol/inflate.ts'
import { createRandom, type Random } from '../fuzz/random.ts'

const COM_STMT_CLOSE = 0x19
const MAX = 0xffffff

function packet(payload: Buffer, sequence: number): Buffer {
  const header = Buffer.alloc(4)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence & 0xff
  return Buffer.concat([header, payload])
}

interface Frame {
  sequence: number
  bytes: Buffer
  isCompressed: boolean
}

function parseFrames(stream: Buffer): Frame[] {
  const frames: Frame[] = []
  for (let at = 0; at < stream.length; ) {
    const length = stream.readUIntLE(at, 3)
    const claimed = stream.readUIntLE(at + 4, 3)
    const payload = stream.subarray(at + 7, at + 7 + length)
    const bytes = claimed > 0 ? inflateWhole(payload, claimed) : payload
    frames.push({ sequence: stream[at + 3]!, bytes, isCompressed: claimed > 0 })
    at += 7 + length
  }
  return frames
}

/** Gives the exchange `bytes` in pieces of random length. */
function send(exchange: CompressedExchange, bytes: Buffer, random: Random): Frame[] {
  const frames: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + random.below(random.pick([10, 3_000, 200_000]))
    frames.push(...exchange.framesFor(bytes.subarray(at, at + length)))
    at += length
  }
  return parseFrames(Buffer.concat(frames))
}

/** A server: its counters are those of the net_serv.cc of MySQL and MariaDB. */
function createServer() {
  let packetId = 0
  let frameId = 0
  return {
    /** reads the frames of a command or a reply, and checks their ids */
    read(frames: Frame[], isCommand: boolean) {
      if (isCommand) packetId = 0
      for (const { sequence } of frames) {
        if (sequence !== (packetId & 0xff)) throw new Error(`frame ${sequence}, expected ${packetId & 0xff}`)
        frameId = ++packetId
      }
    },
    /** packets, each burst of them flushed, in frames of any length */
    write(bursts: Buffer[][], random: Random): Frame[] {
      return bursts.flatMap(payloads => {
        const stream = Buffer.concat(payloads.map(payload => packet(payload, packetId++)))
        const frames: Frame[] = []
        for (let at = 0; at < stream.length; ) {
          const length = 1 + random.below(random.pick([8, 200, 16_384]))
          frames.push({
            sequence: frameId++ & 0xff,
            bytes: Buffer.from(stream.subarray(at, at + length)),
            isCompressed: true,
          })
          at += length
        }
        packetId = frameId
        return frames
      })
    },
  }
}

/** What a client gets of the server's frames. */
function receive(exchange: CompressedExchange, frames: Frame[], random: Random): Buffer {
  const parts: Buffer[] = []
  for (const { sequence, bytes } of frames) {
    exchange.beginFrame(sequence)
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + 1 + random.below(random.pick([3, 20_000])))
      exchange.renumber(part)
      parts.push(part)
      at += part.length
    }
  }
  return Buffer.concat(parts)
}

const OK_PACKET = Buffer.of(0, 0, 0, 2, 0, 0, 0)
const ERR_PACKET = Buffer.from('\xff\x48\x04#HY000no', 'latin1')

/** An answer in bursts; its last packet ends it. */
function randomAnswer(random: Random): Buffer[][] {
  const row = () => Buffer.concat([Buffer.of(1), random.bytes(random.below(40))])
  const bursts = Array.from({ length: 1 + random.below(4) }, () => Array.from({ length: random.below(300) }, row))
  return [...bursts.filter(burst => burst.length > 0), [random.pick([OK_PACKET, ERR_PACKET])]]
}

/** The packets of an answer as a server without compression sends them. */
function plainly(bursts: Buffer[][], first: number): Buffer {
  return Buffer.concat(bursts.flat().map((payload, index) => packet(payload, first + index)))
}

function randomCommand(random: Random): Buffer {
  const length = random.pick([1, 40, 1_500, 65_531, 65_532, 65_533, 200_000]) + random.below(20)
  return Buffer.concat([Buffer.of(3), random.below(2) ? Buffer.alloc(length) : random.bytes(Math.min(length, 2_000))])
}

for (const compression of hasZstd ? (['zlib', 'zstd'] as const) : (['zlib'] as const)) {
  test(`commands and answers of all lengths, one at a time, ${compression}`, t => {
    for (let seed = 1; seed <= 15; seed++) {
      const random = createRandom(seed)
      const exchange = createCompressedExchange(compression)
      const server = createServer()
      for (let step = 0; step < 30; step++) {
        const command = randomCommand(random)
        if (random.below(5) === 0) {
          const unanswered = packet(Buffer.of(COM_STMT_CLOSE, 1, 0, 0, 0), 0)
          server.read(send(exchange, unanswered, random), true)
        }
        const sent = packet(command, 0)
        const frames = send(exchange, sent, random)
        server.read(frames, true)
        const arrived = Buffer.concat(frames.map(({ bytes }) => bytes))
        if (!arrived.equals(sent)) t.fail(`seed ${seed}: the command arrives whole`)
        const answer = randomAnswer(random)
        const received = receive(exchange, server.write(answer, random), random)
        if (!received.equals(plainly(answer, 1))) t.fail(`seed ${seed}, step ${step}: the ids of a plain answer`)
      }
    }
    t.end()
  })
}

test('commands that a client sends without waiting', t => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = createRandom(seed)
    const exchange = createCompressedExchange('zlib')
    const server = createServer()
    for (let burst = 0; burst < 8; burst++) {
      const commands = Array.from({ length: 1 + random.below(6) }, () => randomCommand(random))
      const frames = send(exchange, Buffer.concat(commands.map(command => packet(command, 0))), random)
      for (const command of commands) {
        // Each command has its own frames.
        let length = 0
        const own: Frame[] = []
        while (length < command.length + 4) {
          own.push(frames.shift()!)
          length += own.at(-1)!.bytes.length
        }
        t.equal(length, command.length + 4)
        server.read(own, true)
        const answer = randomAnswer(random)
        const received = receive(exchange, server.write(answer, random), random)
        if (!received.equals(plainly(answer, 1))) t.fail(`seed ${seed}, burst ${burst}: the ids of a plain answer`)
      }
      t.equal(frames.length, 0)
    }
  }
  t.end()
})

test('a file goes in frames that go on from the request for it, also before the request has come', t => {
  for (const isEarly of [false, true]) {
    for (const pieces of [0, 1, 3, 254, 255, 300]) {
      const random = createRandom(pieces)
      const exchange = createCompressedExchange('zlib')
      const server = createServer()
      const command = packet(Buffer.from('\x03LOAD DATA'), 0)
      const file = [...Array.from({ length: pieces }, () => Buffer.alloc(2_000, 'x')), Buffer.alloc(0)]
      const packets = Buffer.concat(file.map((payload, index) => packet(payload, 2 + index)))
      const request = [[Buffer.from('\xfbfile', 'latin1')]]
      const whole: Random = { ...random, below: () => 0, pick: () => 10_000 as never }
      const commandFrames = parseFrames(Buffer.concat(exchange.framesFor(command)))
      let fileFrames: Frame[] = []
      if (isEarly) fileFrames = send(exchange, packets, random)
      server.read(commandFrames, true)
      const asked = server.write(request, { ...whole, below: limit => limit - 1 })
      t.strictSame(receive(exchange, asked, random), plainly(request, 1))
      if (!isEarly) fileFrames = send(exchange, packets, random)
      server.read(fileFrames, false)
      t.ok(Buffer.concat(fileFrames.map(({ bytes }) => bytes)).equals(packets), `${pieces} pieces`)
      const result = receive(exchange, server.write([[OK_PACKET]], random), random)
      t.strictSame(result, packet(OK_PACKET, 2 + file.length), `the result after ${pieces} pieces`)
      // The next command begins again.
      server.read(send(exchange, packet(Buffer.of(0x0e), 0), random), true)
      t.strictSame(receive(exchange, server.write([[OK_PACKET]], random), random), packet(OK_PACKET, 1))
    }
  }
  t.end()
})

test('a file that is asked for behind other results', t => {
  const random = createRandom(1)
  const exchange = createCompressedExchange('zlib')
  const server = createServer()
  server.read(send(exchange, packet(Buffer.from('\x03SELECT 1; LOAD DATA'), 0), random), true)
  // 256 and 257 packets: their ids look as if nothing had come, or only the request.
  for (const rows of [255, 256]) {
    const answer = [Array.from({ length: rows }, () => Buffer.of(1)), [Buffer.from('\xfbfile', 'latin1')]]
    const received = receive(exchange, server.write(answer, random), random)
    t.equal(received.length, plainly(answer, 1).length)
    const next = (received.at(-6)! + 1) & 0xff
    const file = Buffer.concat([packet(Buffer.from('line'), next), packet(Buffer.alloc(0), next + 1)])
    server.read(send(exchange, file, random), false)
  }
  t.end()
})

test('an answer of 256 frames, and a short command after it', t => {
  const random = createRandom(1)
  const exchange = createCompressedExchange('zlib')
  const server = createServer()
  const ping = packet(Buffer.of(0x0e), 0)
  server.read(parseFrames(Buffer.concat(exchange.framesFor(ping))), true)
  const rows = Array.from({ length: 256 }, () => [Buffer.of(1, 2)])
  t.ok(receive(exchange, server.write(rows, { ...random, below: limit => limit - 1 }), random).length > 0)
  // In one frame, its answer would begin with the id that continues the answer before.
  const frames = parseFrames(Buffer.concat(exchange.framesFor(ping)))
  t.strictSame(
    frames.map(({ sequence }) => sequence),
    [0, 1],
  )
  server.read(frames, true)
  t.strictSame(receive(exchange, server.write([[OK_PACKET]], random), random), packet(OK_PACKET, 1))
  t.end()
})

test('a payload of 16 MiB and more is one command in many frames', t => {
  const exchange = createCompressedExchange('zlib')
  const server = createServer()
  const payload = Buffer.alloc(MAX + 10, 3)
  const sent = Buffer.concat([packet(payload.subarray(0, MAX), 0), packet(payload.subarray(MAX), 1)])
  const frames: Buffer[] = []
  for (let at = 0; at < sent.length; at += 65_536) frames.push(...exchange.framesFor(sent.subarray(at, at + 65_536)))
  const parsed = parseFrames(Buffer.concat(frames))
  server.read(parsed, true)
  t.ok(Buffer.concat(parsed.map(({ bytes }) => bytes)).equals(sent))
  const random = createRandom(1)
  t.strictSame(receive(exchange, server.write([[OK_PACKET]], random), random), packet(OK_PACKET, 2))
  // Also an answer in several packets.
  server.read(send(exchange, packet(Buffer.of(3), 0), random), true)
  const answer = server.write([[payload.subarray(0, MAX), payload.subarray(MAX)]], {
    ...random,
    pick: () => 60_000 as never,
  })
  const received = receive(exchange, answer, { ...random, pick: () => 60_000 as never })
  t.equal(received[3], 1)
  t.equal(received[MAX + 4 + 3], 2)
  t.end()
})

test('short packets are not compressed, long ones are, and noise is not', t => {
  const exchange = createCompressedExchange('zlib')
  const kinds = [Buffer.alloc(1_000), Buffer.alloc(2_000), createRandom(1).bytes(2_000)].map(content => {
    const [frame] = parseFrames(Buffer.concat(exchange.framesFor(packet(content, 0))))
    return frame!.isCompressed
  })
  t.strictSame(kinds, [false, true, false])
  t.end()
})

test('a packet that the server sends unasked keeps its id', t => {
  const exchange = createCompressedExchange('zlib')
  const random = createRandom(1)
  const server = createServer()
  server.read(send(exchange, packet(Buffer.of(0x0e), 0), random), true)
  const rows = [[Buffer.of(1), Buffer.of(2), OK_PACKET]]
  receive(exchange, server.write(rows, { ...random, below: limit => limit - 1 }), random)
  // wait_timeout: MySQL counts the packet as the first of a command, and the frame behind the last.
  const unasked = packet(ERR_PACKET, 0)
  t.strictSame(receive(exchange, [{ sequence: 2, bytes: Buffer.from(unasked), isCompressed: false }], random), unasked)
  const other = packet(ERR_PACKET, 1)
  t.strictSame(receive(exchange, [{ sequence: 9, bytes: Buffer.from(other), isCompressed: false }], random), other)
  t.end()
})

test('a frame out of order in the middle of a packet is malformed', t => {
  const exchange = createCompressedExchange('zlib')
  exchange.framesFor(packet(Buffer.of(0x0e), 0))
  exchange.beginFrame(1)
  exchange.renumber(packet(Buffer.alloc(10), 1).subarray(0, 6))
  t.throws(() => exchange.beginFrame(3), MalformedPacket)
  t.doesNotThrow(() => exchange.beginFrame(2))
  t.end()
})

test('the beginning of a packet waits for the rest, and is sent at the end', t => {
  const exchange = createCompressedExchange('zlib')
  t.strictSame(exchange.framesFor(Buffer.of(1, 0)), [])
  t.strictSame(exchange.framesFor(Buffer.of(0, 0)), [])
  t.equal(exchange.framesFor(Buffer.of(0x0e)).length, 1)
  t.strictSame(exchange.lastFrames(), [])
  exchange.framesFor(Buffer.of(1, 0))
  t.strictSame(parseFrames(Buffer.concat(exchange.lastFrames()))[0]?.bytes, Buffer.of(1, 0))
  t.end()
})

test('acknowledgements of a replica are not commands with an answer', t => {
  const exchange = createCompressedExchange('zlib')
  const random = createRandom(1)
  const server = createServer()
  server.read(send(exchange, packet(Buffer.of(0x12), 0), random), true)
  const event = Buffer.concat([Buffer.of(0, 0xef, 1), Buffer.alloc(30)])
  let expected = 1
  for (let i = 0; i < 600; i++) {
    const frames = server.write([[event]], { ...random, below: limit => limit - 1 })
    t.strictSame(receive(exchange, frames, random)[3], expected++ & 0xff)
    // With id 0, as a command. The server reads it with separate counters.
    const [ack] = send(exchange, packet(Buffer.of(0xef, 1), 0), random)
    t.equal(ack?.sequence, 0)
  }
  t.end()
})
