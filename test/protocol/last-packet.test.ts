import { test } from 'tap'
import { lenencBytes } from '../../src/protocol/bytes.ts'
import {
  authSwitchRequestAt,
  endsWithERR_Packet,
  endsWithPrepareOK,
  isIdle,
  isOK_Packet,
  statusAtEnd,
} from '../../src/protocol/last-packet.ts'
import { encodeAuthSwitchRequest, encodeERR_Packet, encodeOK_Packet } from '../../src/protocol/packets.ts'

function packet(sequence: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(4)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, payload])
}

const question = (sequence: number) =>
  packet(sequence, encodeAuthSwitchRequest({ authPlugin: 'mysql_clear_password', data: Buffer.alloc(20, 0x41) }))
const refusal = packet(1, encodeERR_Packet({ errno: 1064, sqlState: '42000', message: 'You have an error' }))
const ok = packet(1, encodeOK_Packet({ affectedRows: 0, lastInsertId: 0, status: 2, warnings: 0 }))

test('an AuthSwitchRequest at the end of a chunk', async t => {
  for (const before of [0, 1, 3, 100, 5_000, 20_000]) {
    const chunk = Buffer.concat([Buffer.alloc(before, 0xfe), question(1)])
    t.equal(authSwitchRequestAt(chunk), before, `behind ${before} bytes`)
  }
  t.equal(authSwitchRequestAt(question(2)), -1, 'not with another sequence id')
  t.equal(authSwitchRequestAt(Buffer.concat([question(1), ok])), -1, 'not when more follows')
  t.equal(authSwitchRequestAt(question(1).subarray(0, -1)), -1, 'not when it is cut')
  t.equal(authSwitchRequestAt(Buffer.alloc(0)), -1)
  t.equal(authSwitchRequestAt(ok), -1)
  t.equal(authSwitchRequestAt(packet(1, Buffer.from([0xfe, 0, 0, 2, 0]))), -1, 'not an EOF_Packet')
})

test('an ERR_Packet at the end of a chunk', async t => {
  t.ok(endsWithERR_Packet(refusal))
  t.ok(endsWithERR_Packet(Buffer.concat([Buffer.alloc(3_000), refusal])))
  t.notOk(endsWithERR_Packet(Buffer.concat([refusal, ok])))
  t.notOk(endsWithERR_Packet(ok))
})

test('an AuthSwitchRequest has a method name and at most 600 bytes', async t => {
  const named = (name: string, data = 21) =>
    packet(1, Buffer.concat([Buffer.from(`\xfe${name}\0`, 'latin1'), Buffer.alloc(data)]))
  t.equal(authSwitchRequestAt(named('abcd')), 0)
  t.equal(authSwitchRequestAt(named('a'.repeat(64))), 0)
  for (const wrong of ['abc', 'a'.repeat(65), 'Abcd', 'ab-cd', ''])
    t.equal(authSwitchRequestAt(named(wrong)), -1, wrong)
  t.equal(authSwitchRequestAt(packet(1, Buffer.from('\xfe\x01abcd\0', 'latin1'))), -1, 'at once behind the first byte')
  t.equal(authSwitchRequestAt(named('abcd', 600 - 4 - 6)), 0, 'the longest')
  t.equal(authSwitchRequestAt(named('abcd', 600 - 4 - 5)), -1, 'a longer one')
  t.equal(authSwitchRequestAt(packet(1, Buffer.from('\x00abcd\0'))), -1, 'another first byte')
})

test('an ERR_Packet has the SQLSTATE marker and may have an empty message', async t => {
  t.notOk(endsWithERR_Packet(packet(1, Buffer.from([0xff, 1, 2, 0x24, 0x30]))))
  t.notOk(endsWithERR_Packet(packet(1, Buffer.from([0xfe, 1, 2, 0x23, 0x30]))))
  t.ok(endsWithERR_Packet(packet(1, Buffer.from([0xff, 1, 2, 0x23]))))
  const long = packet(1, encodeERR_Packet({ errno: 1064, sqlState: '42000', message: 'x'.repeat(500) }))
  t.ok(endsWithERR_Packet(long), 'a length of two bytes')
  const longer = Buffer.from(packet(1, encodeERR_Packet({ errno: 1064, sqlState: '42000', message: 'x' })))
  longer[2] = 1
  t.notOk(endsWithERR_Packet(longer), 'the third byte of the length counts')
})

test('isOK_Packet: from the first byte to the last', async t => {
  t.ok(isOK_Packet(ok))
  t.ok(isOK_Packet(packet(1, Buffer.of(0))), 'of one byte')
  t.notOk(isOK_Packet(packet(1, Buffer.alloc(0))), 'an empty packet')
  t.notOk(isOK_Packet(refusal))
  t.notOk(isOK_Packet(Buffer.concat([refusal, ok])), 'not when something comes before')
})

const okWith = (status: number, affectedRows = 0, lastInsertId = 0) =>
  encodeOK_Packet({ affectedRows, lastInsertId, status, warnings: 0 })

test('statusAtEnd: the flags of the last OK_Packet or EOF_Packet', async t => {
  t.equal(statusAtEnd(packet(1, okWith(0x0203))), 0x0203)
  t.equal(statusAtEnd(packet(5, Buffer.from([0xfe, 1, 0, 0x22, 0x01]))), 0x0122, 'an EOF_Packet')
  t.equal(statusAtEnd(packet(3, Buffer.concat([Buffer.of(0xfe), okWith(2).subarray(1)]))), 2, 'OK as EOF')
  t.equal(statusAtEnd(packet(3, Buffer.concat([Buffer.of(0xfe), okWith(2, 300).subarray(1)]))), 2, 'with more rows')
  t.equal(statusAtEnd(packet(1, Buffer.from([7, 0, 0, 2, 0]))), undefined, 'a row of five bytes')
  t.equal(statusAtEnd(Buffer.concat([Buffer.alloc(100, 7), packet(9, okWith(3))])), 3, 'behind rows')
  t.equal(statusAtEnd(packet(0, okWith(2))), undefined, 'sequence 0 is no answer')
  t.equal(statusAtEnd(refusal), undefined)
  t.equal(statusAtEnd(packet(1, okWith(2)).subarray(0, -1)), undefined, 'cut')
  t.equal(statusAtEnd(Buffer.alloc(0)), undefined)
  t.equal(statusAtEnd(packet(1, Buffer.from([0xfe, 1, 0, 0x22]))), undefined, 'too short for an EOF_Packet')
  t.equal(statusAtEnd(packet(1, Buffer.from([0, 0, 0, 2, 0, 0]))), undefined, 'too short for an OK_Packet')
})

test('COM_STMT_PREPARE_OK is not mistaken for an OK_Packet', async t => {
  const prepared = Buffer.from([0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
  for (const payload of [prepared, Buffer.concat([prepared, Buffer.of(1)])]) {
    t.equal(statusAtEnd(packet(1, payload)), undefined)
    t.ok(endsWithPrepareOK(packet(1, payload)))
    t.ok(endsWithPrepareOK(Buffer.concat([Buffer.alloc(100, 7), packet(1, payload)])))
  }
  t.notOk(endsWithPrepareOK(ok))
  t.notOk(endsWithPrepareOK(packet(1, prepared).subarray(0, -1)))
})

test('statusAtEnd: row counts and ids of any length', async t => {
  for (const value of [0, 250, 251, 65_535, 65_536, 0xff_ffff, 0x100_0000, 2 ** 40]) {
    t.equal(statusAtEnd(packet(1, okWith(0x4002, value))), 0x4002, `${value} rows`)
    t.equal(statusAtEnd(packet(1, okWith(0x4002, 1, value))), 0x4002, `id ${value}`)
  }
  t.equal(statusAtEnd(packet(1, Buffer.from([0, 0xfe, 0, 0, 0, 0, 0, 0, 0]))), undefined, 'the id is cut off')
  t.equal(statusAtEnd(packet(1, Buffer.from([0, 0xfc, 0, 0, 0, 2, 0]))), undefined, 'the warnings are cut off')
})

test('isIdle: no transaction, no cursor, no more results', async t => {
  for (const status of [0, 0x0002, 0x4002]) t.ok(isIdle(status), String(status))
  for (const status of [0x0001, 0x0008, 0x0040, 0x0003, 0x004a]) t.notOk(isIdle(status), String(status))
})

test('statusAtEnd: an OK_Packet as long as the bytes that the relay keeps', async t => {
  const longest = packet(1, Buffer.concat([okWith(0x4002), lenencBytes(Buffer.alloc(244, 'x'))]))
  t.equal(longest.length, 256)
  t.equal(statusAtEnd(longest), 0x4002)
  t.equal(statusAtEnd(Buffer.concat([Buffer.alloc(256, 3), longest]).subarray(-256)), 0x4002)
})
