import { randomBytes } from 'node:crypto'
import zlib, { deflateSync } from 'node:zlib'
import { test } from 'tap'
import { MalformedPacket } from '../../src/protocol/bytes.ts'
import { createCompressedCommandScanner, isOnePacket } from '../../src/protocol/compressed-command-scanner.ts'
import { hasZstd } from '../../src/protocol/inflate.ts'

const MAX = 0xffffff

type Compression = 'none' | 'zlib' | 'zstd'
const { zstdCompressSync } = zlib as { zstdCompressSync?: (data: Buffer) => Buffer }
const COMPRESSIONS: Compression[] = hasZstd ? ['none', 'zlib', 'zstd'] : ['none', 'zlib']

function packet(payload: Buffer, sequence = 0): Buffer {
  const header = Buffer.alloc(4)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, payload])
}

/** A compressed packet that brings `bytes`; `claimed` is the length that its header gives. */
function frame(bytes: Buffer, sequence = 0, compression: Compression = 'none', claimed = bytes.length): Buffer {
  const compress = { none: (data: Buffer) => data, zlib: deflateSync, zstd: zstdCompressSync! }[compression]
  if (compression === 'none' || bytes.length === 0) return rawFrame(bytes, sequence, 0)
  return rawFrame(compress(bytes), sequence, claimed)
}

function rawFrame(payload: Buffer, sequence: number, claimed: number): Buffer {
  const header = Buffer.alloc(7)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  header.writeUIntLE(claimed, 4, 3)
  return Buffer.concat([header, payload])
}

interface Found {
  /** bytes that went to the server */
  forwarded: number
  found: 'whole' | 'partial' | undefined
}

/** Empty stored blocks of deflate: they bring nothing, for as long as they come. */
const emptyBlocks = (count: number) => Buffer.alloc(count * 5, Buffer.of(0, 0, 0, 0xff, 0xff))

/** Feeds `stream` in chunks of `size` bytes, as the relay does. @throws MalformedPacket */
async function scan(stream: Buffer, size: number): Promise<Found> {
  const scanner = createCompressedCommandScanner()
  let held = Buffer.alloc(0)
  let forwarded = 0
  try {
    for (let at = 0; at < stream.length && !scanner.found; at += size) {
      const chunk = Buffer.concat([held, stream.subarray(at, at + size)])
      const length = await scanner.scan(chunk)
      forwarded += length
      held = chunk.subarray(length)
      if (!scanner.found && held.length > 2_000) throw new Error(`${held.length} bytes held`)
    }
    return { forwarded, found: scanner.found }
  } finally {
    scanner.close()
  }
}

const SIZES = [1, 2, 3, 7, 8, 11, 12, 13, 64, 1_000, MAX]
const query = packet(Buffer.from('\x03SELECT 1'))
const long = packet(Buffer.from(`\x03SELECT '${'x'.repeat(200_000)}'`))
const changeUser = packet(Buffer.from('\x11iam_user\0\0\0'))

for (const compression of COMPRESSIONS) {
  const framed = (bytes: Buffer, sequence = 0) => frame(bytes, sequence, compression)

  test(`${compression}: a COM_CHANGE_USER is found before any of it is forwarded`, async t => {
    const before: [name: string, stream: Buffer][] = [
      ['first', Buffer.alloc(0)],
      ['behind a query', framed(query)],
      ['behind a long query', framed(long)],
      ['behind two queries in one frame', framed(Buffer.concat([query, query]))],
      ['behind a query in two frames', Buffer.concat([framed(long.subarray(0, 99)), framed(long.subarray(99), 1)])],
      ['behind an empty frame', framed(Buffer.alloc(0))],
      ['behind a command of one byte', framed(packet(Buffer.of(1)))],
      ['behind an empty packet', framed(packet(Buffer.alloc(0)))],
    ]
    for (const [name, stream] of before) {
      const whole = Buffer.concat([stream, framed(changeUser), framed(query)])
      for (const size of stream.length > 100_000 ? [1_000, MAX] : SIZES) {
        t.same(await scan(whole, size), { forwarded: stream.length, found: 'whole' }, `${name}, in chunks of ${size}`)
      }
    }
  })

  test(`${compression}: a hidden COM_CHANGE_USER is found before all of it is forwarded`, async t => {
    const hidden: [name: string, stream: Buffer, found: 'whole' | 'partial'][] = [
      [
        'cut in its header',
        Buffer.concat([framed(changeUser.subarray(0, 3)), framed(changeUser.subarray(3), 1)]),
        'partial',
      ],
      [
        'cut behind its header',
        Buffer.concat([framed(changeUser.subarray(0, 4)), framed(changeUser.subarray(4), 1)]),
        'partial',
      ],
      [
        'cut in single bytes',
        Buffer.concat(Array.from(changeUser, (byte, at) => framed(Buffer.of(byte), at))),
        'partial',
      ],
      [
        'with an empty frame between',
        Buffer.concat([
          framed(changeUser.subarray(0, 4)),
          framed(Buffer.alloc(0), 1),
          framed(changeUser.subarray(4), 2),
        ]),
        'partial',
      ],
      ['behind a query in the same frame', framed(Buffer.concat([query, changeUser])), 'partial'],
      [
        'before a packet in the same frame',
        framed(Buffer.concat([changeUser, packet(Buffer.alloc(140_000, 0x0e))])),
        'whole',
      ],
      ['with another sequence id', framed(packet(Buffer.from('\x11iam_user\0'), 7)), 'whole'],
      ['of a length that nobody needs', framed(packet(Buffer.alloc(200_000, 0x11))), 'whole'],
      [
        'behind a file',
        Buffer.concat([
          framed(query),
          framed(packet(Buffer.alloc(9, 1), 2), 2),
          framed(Buffer.concat([packet(Buffer.alloc(0), 3), changeUser]), 3),
        ]),
        'partial',
      ],
    ]
    for (const [name, stream, found] of hidden) {
      for (const size of [...SIZES, stream.length]) {
        if (size < 1_000 && stream.length > 10_000) continue
        const result = await scan(stream, size)
        t.equal(result.found, found, `${name}, in chunks of ${size}`)
        t.ok(result.forwarded < stream.length)
        if (found === 'whole') t.equal(result.forwarded, 0)
      }
    }
  })

  test(`${compression}: what only looks like a COM_CHANGE_USER is not found`, async t => {
    const file = (from: number) =>
      Array.from({ length: 300 }, (_, at) => framed(packet(Buffer.alloc(50, 0x11), at), (from + at) & 0xff))
    const streams: [name: string, stream: Buffer][] = [
      ['inside a query', framed(packet(Buffer.concat([Buffer.of(3), changeUser])))],
      [
        'pieces of a file whose ids wrap',
        Buffer.concat([framed(query), ...file(2), framed(packet(Buffer.alloc(0)), 46), framed(query)]),
      ],
      [
        'pieces of a file in one frame',
        Buffer.concat([
          framed(query),
          framed(Buffer.concat([packet(Buffer.of(0x11), 2), packet(Buffer.of(0x11), 3)]), 2),
        ]),
      ],
      [
        'a query in two frames',
        Buffer.concat([framed(long.subarray(0, 99)), framed(Buffer.concat([Buffer.of(0x11), long.subarray(100)]), 1)]),
      ],
    ]
    for (const [name, stream] of streams) {
      for (const size of [1_000, 50, MAX]) {
        t.same(
          await scan(stream, size),
          { forwarded: stream.length, found: undefined },
          `${name}, in chunks of ${size}`,
        )
      }
    }
  })
}

test('a payload that is split at 16 MiB - 1', async t => {
  const stream = [frame(packet(Buffer.alloc(MAX, 3)).subarray(0, MAX), 0, 'zlib')]
  stream.push(frame(Buffer.concat([Buffer.alloc(4, 3), packet(Buffer.of(0x11, 0x11), 1)]), 1))
  const before = Buffer.concat(stream)
  t.same(await scan(before, 60_000), { forwarded: before.length, found: undefined })
  const whole = Buffer.concat([before, frame(changeUser)])
  t.same(await scan(whole, 60_000), { forwarded: before.length, found: 'whole' })
})

test('an invalid stream is malformed', async t => {
  const zip = deflateSync(query)
  const streams: [name: string, stream: Buffer, message: RegExp][] = [
    ['not compressed', rawFrame(Buffer.from([1, 2, 3]), 0, 9), /not a compressed stream/],
    ['a longer claim', frame(query, 0, 'zlib', query.length + 1), /shorter frame than it claims/],
    ['a claim of 200 KiB', frame(changeUser.subarray(0, 4), 0, 'zlib', 200 * 1024), /shorter frame than it claims/],
    ['a shorter claim', frame(query, 0, 'zlib', query.length - 1), /longer frame than it claims/],
    ['a claim of one byte', frame(query, 0, 'zlib', 1), /longer frame than it claims/],
    ['one byte less than the claim', rawFrame(deflateSync(Buffer.alloc(0)), 0, 1), /shorter frame than it claims/],
    [
      '50 MB of a claim of 100 bytes',
      rawFrame(deflateSync(Buffer.alloc(50_000_000)), 0, 100),
      /longer frame than it claims/,
    ],
    ['bytes behind the end', rawFrame(Buffer.concat([zip, Buffer.of(1)]), 0, query.length), /after the end/],
    ['a cut stream', rawFrame(zip.subarray(0, 5), 0, query.length), /shorter frame than it claims/],
    ...[1, 3, 4, 5, query.length - 1].map((cut): [string, Buffer, RegExp] => [
      `a frame out of order, behind ${cut} bytes of a query`,
      Buffer.concat([frame(query.subarray(0, cut)), frame(query.subarray(cut), 0)]),
      /compressed packet 0 after 0/,
    ]),
    [
      'a file out of order',
      Buffer.concat([frame(query), frame(packet(Buffer.of(1), 2), 2), frame(query, 9)]),
      /compressed packet 9 after 2/,
    ],
  ]
  for (const [name, stream, message] of streams) {
    for (const size of [3, stream.length]) {
      await t.rejects(scan(Buffer.concat([stream, frame(query)]), size), new MalformedPacket(), name)
      await t.rejects(scan(Buffer.concat([stream, frame(query)]), size), { message }, name)
    }
  }
})

test('a payload that is split at 16 MiB - 1 continues in the next frame', async t => {
  const whole = packet(Buffer.alloc(MAX, 3))
  const first = [frame(whole.subarray(0, MAX), 0, 'zlib'), frame(whole.subarray(MAX), 1)]
  const outOfOrder = Buffer.concat([...first, frame(query, 0)])
  await t.rejects(scan(outOfOrder, 60_000), { message: /compressed packet 0 after 1/ })
})

test('a frame that stays unreadable is not kept', async t => {
  const blocks = Buffer.concat([Buffer.of(0x78, 0x9c), emptyBlocks(10_000)])
  t.same((await scan(rawFrame(blocks, 0, 100).subarray(0, 40_000), 100)).found, undefined)
  const scanner = createCompressedCommandScanner()
  t.equal(await scanner.scan(rawFrame(blocks, 0, 100).subarray(0, 1_024)), 0, '1,024 bytes are kept')
  scanner.close()
  const another = createCompressedCommandScanner()
  t.equal(await another.scan(rawFrame(blocks, 0, 100).subarray(0, 1_025)), 1_025, 'one more is too many')
  another.close()
})

test('a frame that brings its command late has been forwarded in part', async t => {
  const last = Buffer.concat([Buffer.of(1, changeUser.length, 0, 0xff - changeUser.length, 0xff), changeUser])
  const late = rawFrame(Buffer.concat([Buffer.of(0x78, 0x9c), emptyBlocks(400), last]), 0, changeUser.length)
  for (const size of [100, 1_000, 1_500]) {
    const result = await scan(late, size)
    t.equal(result.found, 'partial', `in chunks of ${size}`)
    t.ok(result.forwarded > 0 && result.forwarded < late.length)
  }
})

test('a frame is kept by its own length, whatever came before it in the chunk', async t => {
  const before = frame(packet(Buffer.concat([Buffer.of(3), randomBytes(3_000)])), 0, 'zlib')
  const stream = Buffer.concat([before, frame(changeUser, 0, 'zlib')])
  t.same(await scan(stream, before.length + 10), { forwarded: before.length, found: 'whole' })
})

test('a frame or packet without a payload is forwarded at once', async t => {
  for (const stream of [frame(Buffer.alloc(0)), frame(packet(Buffer.alloc(0))), frame(packet(Buffer.alloc(0), 3), 3)]) {
    t.same(await scan(stream, MAX), { forwarded: stream.length, found: undefined })
  }
})

test('a COM_CHANGE_USER is found even without a payload, and before what makes its frame malformed', async t => {
  const bare = packet(Buffer.of(0x11))
  const tooLong = Buffer.concat([deflateSync(changeUser), Buffer.of(1)])
  for (const stream of [frame(bare), frame(bare, 0, 'zlib'), rawFrame(tooLong, 0, changeUser.length)]) {
    t.same(await scan(stream, MAX), { forwarded: 0, found: 'whole' })
  }
})

test('the memory of the decompression is freed at the end', async t => {
  const created = t.capture(zlib, 'createInflate', zlib.createInflate)
  const scanner = createCompressedCommandScanner()
  await scanner.scan(frame(query, 0, 'zlib'))
  const { returned: stream } = created()[0] as { returned: zlib.Inflate }
  t.notOk(stream.destroyed)
  scanner.close()
  t.ok(stream.destroyed)
})

test('consecutive frames share one decompressor', async t => {
  const frames = Array.from({ length: 200 }, (_, at) =>
    frame(packet(Buffer.concat([Buffer.of(3), randomBytes(at * 50)])), 0, 'zlib'),
  )
  const stream = Buffer.concat(frames)
  t.same(await scan(stream, 5_000), { forwarded: stream.length, found: undefined })
})

test('a frame that is exactly one packet', async t => {
  for (const compression of COMPRESSIONS) {
    t.ok(isOnePacket(frame(changeUser, 0, compression)))
    t.notOk(isOnePacket(frame(Buffer.concat([changeUser, query]), 0, compression)))
    t.notOk(isOnePacket(frame(changeUser.subarray(0, -1), 0, compression)))
  }
  t.ok(isOnePacket(frame(packet(Buffer.of(1), 7))), 'with any sequence id')
  t.ok(isOnePacket(frame(packet(Buffer.alloc(0)))), 'also one without a payload')
  t.notOk(isOnePacket(frame(Buffer.alloc(3))))
  t.throws(
    () => isOnePacket(rawFrame(deflateSync(Buffer.alloc(50_000_000)), 0, 1_000)),
    MalformedPacket,
    'no more than it claims',
  )
  t.throws(() => isOnePacket(frame(changeUser, 0, 'zlib', 200_000)), MalformedPacket)
})
