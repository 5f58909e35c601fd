import { test } from 'tap'
import { HEADER_LENGTH } from '../../src/protocol/command-scanner.ts'
import { hasZstd, inflateWhole } from '../../src/protocol/inflate.ts'
import { isTooLarge, largePacket } from '../../src/protocol/net-buffer.ts'

for (const compression of ['zlib', 'zstd'] as const) {
  test(`${compression}: a short frame with one large command that has no answer`, t => {
    const size = compression === 'zstd' ? 65_536 : 32_768
    const frame = largePacket(compression)
    t.ok(frame.length < 1_000, `${frame.length} bytes`)
    t.equal(frame.readUIntLE(0, 3), frame.length - 7)
    t.equal(frame[3], 0)
    t.equal(frame.readUIntLE(4, 3), size)
    const packet = inflateWhole(frame.subarray(7), size)
    t.equal(packet.readUIntLE(0, 3), size - HEADER_LENGTH, 'one packet')
    t.equal(packet[3], 0)
    t.equal(packet[4], 0x19, 'COM_STMT_CLOSE')
    t.ok(packet.subarray(5).every(byte => byte === 0))
    t.equal(largePacket(compression), frame, 'made once')
    if (!hasZstd) t.comment('this Node.js has no zstd, so zlib stands for it')
    t.end()
  })
}

test('the error of a server whose max_allowed_packet is small', t => {
  const packet = (payload: string) => Buffer.from(`\x01\x00\x00\x01${payload}`, 'latin1')
  t.ok(isTooLarge(packet("\xff\x81\x04#08S01Got a packet bigger than 'max_allowed_packet' bytes")))
  t.notOk(isTooLarge(packet('\xff\x15\x04#28000Access denied')))
  t.notOk(isTooLarge(packet('\x00\x81\x04')), 'not an error')
  t.notOk(isTooLarge(packet('\xff\x81')), 'cut off')
  t.notOk(isTooLarge(Buffer.alloc(0)))
  t.end()
})
