import { test } from 'tap'
import { createCommandScanner } from '../../src/protocol/command-scanner.ts'

const MAX = 0xffffff

function packet(sequence: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(4)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, payload])
}

const query = packet(0, Buffer.from('\x03SELECT 1'))
const changeUser = packet(0, Buffer.from('\x11iam_user\0\0\0'))

/**
 * Feeds `stream` as the relay does: `first` bytes, then chunks of `size` bytes.
 * Returns where the COM_CHANGE_USER was found, or undefined.
 */
function find(stream: Buffer, size: number, first = size): number | undefined {
  const scanner = createCommandScanner()
  let held = Buffer.alloc(0)
  let handedOn = 0
  for (let at = 0, end = first; at < stream.length; at = end, end += size) {
    const chunk = Buffer.concat([held, stream.subarray(at, end)])
    const length = scanner.scan(chunk)
    handedOn += length
    held = chunk.subarray(length)
    if (scanner.found) return handedOn
    if (held.length > 4) throw new Error('more held back than a header')
  }
  return undefined
}

test('a COM_CHANGE_USER is found at its start, however the stream is split', async t => {
  const streams: [name: string, before: Buffer[]][] = [
    ['first', []],
    ['behind a query', [query]],
    ['behind many', Array.from({ length: 300 }, () => query)],
    ['behind an empty packet', [packet(0, Buffer.alloc(0))]],
    ['behind a query of 300 bytes', [packet(0, Buffer.alloc(300, 3))]],
    ['behind a query of 70,000 bytes', [packet(0, Buffer.alloc(70_000, 3))]],
    ['behind a whole file of LOAD DATA LOCAL', [query, packet(2, Buffer.alloc(99, 0x11)), packet(3, Buffer.alloc(0))]],
    [
      'behind a file whose last, empty packet has id 255',
      [query, packet(254, Buffer.alloc(50, 0x11)), packet(255, Buffer.alloc(0))],
    ],
  ]
  for (const [name, before] of streams) {
    const stream = Buffer.concat([...before, changeUser, query])
    const expected = Buffer.concat(before).length
    for (let size = stream.length > 10_000 ? 60 : 1; size <= Math.min(64, stream.length); size++) {
      t.equal(find(stream, size), expected, `${name}, in chunks of ${size}`)
    }
    t.equal(find(stream, stream.length), expected, `${name}, at once`)
  }
})

test('bytes that only look like a COM_CHANGE_USER are not found', async t => {
  const streams: [name: string, stream: Buffer][] = [
    ['inside a query', packet(0, Buffer.concat([Buffer.of(3), changeUser]))],
    [
      'a file packet whose id has wrapped to 0',
      Buffer.concat([packet(255, Buffer.of(1)), packet(0, Buffer.of(0x11, 0))]),
    ],
    ['with another id', packet(1, Buffer.from('\x11x'))],
  ]
  for (const [name, stream] of streams) {
    for (let size = 1; size <= stream.length; size++) t.equal(find(stream, size), undefined, `${name}, in ${size}`)
  }
})

test('a COM_CHANGE_USER without a payload', async t => {
  for (const size of [1, 5]) t.equal(find(packet(0, Buffer.of(0x11)), size), 0)
})

test('a packet without a payload is forwarded at once', async t => {
  for (const sequence of [0, 1, 255]) t.equal(createCommandScanner().scan(packet(sequence, Buffer.alloc(0))), 4)
})

test('a payload that is split at 16 MiB - 1', async t => {
  const long = Buffer.concat([
    packet(0, Buffer.alloc(MAX, 3)),
    packet(0, Buffer.of(0x11, 0x11)), // an id of 0 behind a full packet: still the same payload
  ])
  const withCommand = Buffer.concat([long, changeUser])
  for (const size of [1, 4, 65536]) {
    for (const first of [MAX - 1, MAX + 3, MAX + 4, MAX + 5, MAX + 8, long.length]) {
      t.equal(find(long, size, first), undefined, `${first} bytes, then ${size}`)
      t.equal(find(withCommand, size, first), long.length, `and one behind it, ${first} bytes, then ${size}`)
    }
  }
})
