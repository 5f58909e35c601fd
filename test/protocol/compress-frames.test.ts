import { randomBytes } from 'node:crypto'
import zlib, { deflateSync } from 'node:zlib'
import { test } from 'tap'
import { MalformedPacket } from '../../src/protocol/bytes.ts'
import { createFrameReader, type FrameReader, MAX_WHOLE_BYTES } from '../../src/protocol/compress-frames.ts'
import { hasZstd } from '../../src/protocol/inflate.ts'
import { createRandom, type Random } from '../fuzz/random.ts'

const { zstdCompressSync } = zlib as { zstdCompressSync?: (data: Buffer) => Buffer }
const COMPRESSIONS = [(bytes: Buffer) => bytes, deflateSync, ...(hasZstd ? [zstdCompressSync!] : [])]

function frame(payload: Buffer, sequence: number, claimed: number): Buffer {
  const header = Buffer.alloc(7)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  header.writeUIntLE(claimed, 4, 3)
  return Buffer.concat([header, payload])
}

/** Half random, half zeros, so that the length after compression is about half. */
function content(length: number): Buffer {
  return Buffer.concat([randomBytes(length >> 1), Buffer.alloc(length - (length >> 1))])
}

interface Read {
  bytes: Buffer
  sequences: number[]
  error: unknown
}

/** Reads `stream` in pieces of random length, with pauses at random. Waits for `onNeed` as a socket does. */
async function read(stream: Buffer, random: Random, mayPause = true): Promise<Read> {
  const parts: Buffer[] = []
  const sequences: number[] = []
  let error: unknown
  let proceed = () => {}
  const isLong = stream.length > 50_000
  const reader: FrameReader = createFrameReader({
    onFrame: sequence => sequences.push(sequence),
    onData: bytes => {
      parts.push(Buffer.from(bytes))
      if (!mayPause || random.below(3) > 0) return
      reader.pause()
      setImmediate(() => {
        if (reader.resume()) proceed()
      })
    },
    onNeed: () => proceed(),
    onError: thrown => {
      error = thrown
      proceed()
    },
  })
  for (let at = 0; at < stream.length && !error; ) {
    const length = 1 + random.below(random.pick([isLong ? 20_000 : 3, isLong ? 65_536 : 2_000]))
    const needed = new Promise<void>(resolve => {
      proceed = resolve
    })
    if (!reader.write(stream.subarray(at, at + length)) && !error) await needed
    at += length
  }
  reader.close()
  return { bytes: Buffer.concat(parts), sequences, error }
}

test('frames of all kinds and lengths are decompressed, however they are cut and with pauses', async t => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = createRandom(seed)
    const contents = Array.from({ length: 1 + random.below(12) }, () =>
      content(random.pick([0, 1, 60, 16_384, MAX_WHOLE_BYTES, MAX_WHOLE_BYTES + 1, 300_000]) || random.below(200)),
    )
    const stream = Buffer.concat(
      contents.map((bytes, index) => {
        const compress = random.pick(COMPRESSIONS)
        const isRaw = compress === COMPRESSIONS[0] || bytes.length === 0
        return isRaw ? frame(bytes, index, 0) : frame(compress(bytes), index, bytes.length)
      }),
    )
    const result = await read(stream, random)
    t.equal(result.error, undefined, `seed ${seed}`)
    t.ok(result.bytes.equals(Buffer.concat(contents)), `seed ${seed}`)
    t.strictSame(result.sequences, [...contents.keys()])
  }
})

for (const [name, length] of [
  ['small', 1_000],
  ['large', 200_000],
] as const) {
  test(`a ${name} frame that lies about itself ends the stream`, async t => {
    const bytes = content(length)
    const deflated = deflateSync(bytes)
    const wrong = Buffer.from(deflated)
    wrong.fill(0xff, 2, 40)
    const lies = {
      longer: frame(deflated, 0, length - 1),
      shorter: frame(deflated, 0, length + 1),
      'much shorter': frame(deflated, 0, 0xffffff),
      'cut off': frame(deflated.subarray(0, -100), 0, length),
      'not compressed': frame(randomBytes(length), 0, length),
      damaged: frame(wrong, 0, length),
      empty: frame(Buffer.alloc(0), 0, length),
      'of a zstd that is none': frame(Buffer.concat([Buffer.of(0x28), deflated]), 0, length),
      'with something behind it': frame(Buffer.concat([deflated, randomBytes(70_000)]), 0, length),
    }
    for (const [lie, stream] of Object.entries(lies)) {
      // The next frame is not read.
      const result = await read(Buffer.concat([stream, frame(Buffer.from('x'), 1, 0)]), createRandom(1), false)
      t.ok(result.error instanceof MalformedPacket, `${lie}: ${result.error}`)
      t.strictSame(result.sequences, [0], lie)
      t.ok(result.bytes.length <= Math.max(length, deflated.length), `${lie}: ${result.bytes.length} bytes`)
    }
  })
}

test('a frame that compression has made longer than what is decompressed at once', async t => {
  const bytes = randomBytes(MAX_WHOLE_BYTES)
  const payload = deflateSync(bytes)
  t.ok(payload.length > MAX_WHOLE_BYTES)
  const { error, bytes: found } = await read(frame(payload, 0, bytes.length), createRandom(1), false)
  t.equal(error, undefined)
  t.ok(found.equals(bytes))
})

test('while it is paused, a frame of 16 MiB of zeros takes little memory', async t => {
  const bytes = Buffer.alloc(0xffffff)
  let received = 0
  let isPaused = false
  let onPause = () => {}
  const done = new Promise<void>(resolve => {
    const reader = createFrameReader({
      onFrame: () => {},
      onData: part => {
        t.notOk(isPaused, 'nothing comes in a pause')
        received += part.length
        isPaused = true
        reader.pause()
        t.ok(part.length <= MAX_WHOLE_BYTES, `${part.length} bytes at once`)
        onPause = () => {
          isPaused = false
          if (reader.resume()) resolve()
        }
        setImmediate(() => onPause())
      },
      onNeed: resolve,
      onError: error => t.fail(String(error)),
    })
    t.notOk(reader.write(frame(deflateSync(bytes), 0, bytes.length)))
  })
  await done
  t.equal(received, bytes.length)
})

test('a closed reader says nothing more, also in the middle of a large frame', async t => {
  const bytes = content(500_000)
  let afterwards = 0
  let isClosed = false
  const count = () => {
    if (isClosed) afterwards++
  }
  await new Promise<void>(resolve => {
    const reader = createFrameReader({
      onFrame: count,
      onData: () => {
        count()
        isClosed = true
        reader.close()
        setImmediate(resolve)
      },
      onNeed: count,
      onError: count,
    })
    reader.write(frame(deflateSync(bytes), 0, bytes.length))
  })
  await new Promise(resolve => setImmediate(resolve))
  t.equal(afterwards, 0)
})

test('an error of the receiver ends the stream', async t => {
  const reader = (onError: (error: unknown) => void, onFrame = () => {}) =>
    createFrameReader({
      onFrame,
      onData: () => {
        throw new MalformedPacket('no')
      },
      onNeed: () => {},
      onError,
    })
  for (const length of [10, 100_000]) {
    const bytes = content(length)
    const error = await new Promise(resolve => reader(resolve).write(frame(deflateSync(bytes), 0, length)))
    t.match(error, { message: 'no' })
  }
  const early = await new Promise(resolve =>
    reader(resolve, () => {
      throw new MalformedPacket('wrong id')
    }).write(frame(Buffer.from('x'), 3, 0)),
  )
  t.match(early, { message: 'wrong id' })
})
