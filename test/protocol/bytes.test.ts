import { test } from 'tap'
import {
  lenencBytes,
  lenencInt,
  MalformedPacket,
  nulBytes,
  Reader,
  uint8,
  uint16,
  uint32,
} from '../../src/protocol/bytes.ts'

function read(hex: string): Reader {
  return new Reader(Buffer.from(hex, 'hex'))
}

test('fixed-length integers are little-endian', async t => {
  const reader = read('fe' + 'fffe' + '010203' + 'fcfdfeff')
  t.equal(reader.uint8('a'), 0xfe)
  t.equal(reader.uint16('b'), 0xfeff)
  t.equal(reader.uint24('c'), 0x030201)
  t.equal(reader.uint32('d'), 0xfffefdfc, 'unsigned')
  t.equal(reader.remaining, 0)
  t.equal(uint8(0xfe).toString('hex'), 'fe')
  t.equal(uint16(0xfeff).toString('hex'), 'fffe')
  t.equal(uint32(0xfffefdfc).toString('hex'), 'fcfdfeff')
  t.equal(uint32(1 << 31).toString('hex'), '00000080', 'a flag in the top bit, which JavaScript makes negative')
})

test('length-encoded integers at their limits', async t => {
  const edges: [number, string][] = [
    [0, '00'],
    [1, '01'],
    [0xfa, 'fa'],
    [0xfb, 'fcfb00'],
    [0xff, 'fcff00'],
    [0x100, 'fc0001'],
    [0xffff, 'fcffff'],
    [0x1_0000, 'fd000001'],
    [0xff_ffff, 'fdffffff'],
    [0x100_0000, 'fe0000000100000000'],
    [0x7fff_ffff, 'feffffff7f00000000'],
    [0x8000_0000, 'fe0000008000000000'],
    [0xffff_ffff, 'feffffffff00000000'],
  ]
  for (const [value, hex] of edges) {
    t.equal(lenencInt(value).toString('hex'), hex, `encode ${value}`)
    const reader = read(hex)
    t.equal(reader.lenencInt('n'), value, `parse ${hex}`)
    t.equal(reader.remaining, 0)
    for (let cut = 0; cut < hex.length; cut += 2) {
      t.throws(() => read(hex.slice(0, cut)).lenencInt('n'), MalformedPacket, `${hex} cut to ${cut / 2} bytes`)
    }
  }
  t.equal(read('fc0100').lenencInt('n'), 1, 'longer than it had to be')
  t.equal(read('feffffffffffff1f00').lenencInt('n'), Number.MAX_SAFE_INTEGER)
})

test('invalid length-encoded integers', async t => {
  for (const hex of ['fb', 'ff', 'fe00000000000020ff', 'fe0000000000002000', 'feffffffffffffffff']) {
    t.throws(() => read(hex).lenencInt('count'), { name: 'MalformedPacket', message: /count/ }, hex)
  }
})

test('length-encoded strings', async t => {
  for (const length of [0, 1, 250, 251, 255, 256, 65_535, 65_536]) {
    const value = Buffer.alloc(length, 'x')
    const encoded = lenencBytes(value)
    const reader = new Reader(encoded)
    t.ok(reader.lenencBytes('s').equals(value), `${length} bytes`)
    t.equal(reader.remaining, 0)
    const cut = new Reader(encoded.subarray(0, -1))
    t.throws(() => cut.lenencBytes('s'), MalformedPacket, `${length} bytes less one`)
  }
  t.throws(() => read('feffffffffffff1f0061').lenencBytes('s'), MalformedPacket, 'longer than any packet')
})

test('NUL-terminated strings', async t => {
  const reader = read('6162' + '00' + '00' + '63' + '00' + '64')
  t.equal(reader.nulBytes('a').toString(), 'ab')
  t.equal(reader.nulBytes('b').toString(), '')
  t.equal(reader.nulOrEofBytes('c').toString(), 'c')
  t.throws(() => reader.nulBytes('d'), { name: 'MalformedPacket', message: 'd: no terminating NUL' })
  t.equal(reader.nulOrEofBytes('d').toString(), 'd', 'the last NUL left out')
  t.equal(reader.remaining, 0)
  t.equal(reader.nulOrEofBytes('e').toString(), '')
  t.equal(nulBytes(Buffer.from('ab')).toString('hex'), '616200')
  t.equal(nulBytes(Buffer.alloc(0)).toString('hex'), '00')
})

test('a NUL inside a NUL-terminated string is refused', async t => {
  for (const text of ['\0', 'a\0', '\0a', 'a\0b']) t.throws(() => nulBytes(Buffer.from(text)), MalformedPacket)
})

test('bytes and rest', async t => {
  const reader = read('0102030405')
  t.equal(reader.bytes(2, 'a').toString('hex'), '0102')
  t.equal(reader.bytes(0, 'b').length, 0)
  t.throws(() => reader.bytes(4, 'c'), { name: 'MalformedPacket', message: 'c: 4 bytes expected, 3 left' })
  t.equal(reader.rest().toString('hex'), '030405', 'a failed read takes nothing')
  t.equal(reader.rest().length, 0)
})

test('errors contain none of the bytes', async t => {
  const secret = Buffer.from('hunter2')
  const reads: ((reader: Reader) => unknown)[] = [
    reader => reader.nulBytes('field'),
    reader => reader.lenencBytes('field'),
    reader => reader.bytes(99, 'field'),
  ]
  for (const fail of reads) {
    try {
      fail(new Reader(secret))
      t.fail('nothing thrown')
    } catch (error) {
      t.notMatch(String(error), /hunter2|unter2/)
      t.match(String(error), /field/)
    }
  }
  t.throws(() => nulBytes(Buffer.from('hun\0ter2')), { message: /^(?!.*hun).*$/ })
})
