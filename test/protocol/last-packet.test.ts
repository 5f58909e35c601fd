import { test } from 'tap'
import { authSwitchRequestAt, endsWithERR_Packet } from '../../src/protocol/last-packet.ts'
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

test('an AuthSwitchRequest at the end of what came', async t => {
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

test('an ERR_Packet at the end of what came', async t => {
  t.ok(endsWithERR_Packet(refusal))
  t.ok(endsWithERR_Packet(Buffer.concat([Buffer.alloc(3_000), refusal])))
  t.notOk(endsWithERR_Packet(Buffer.concat([refusal, ok])))
  t.notOk(endsWithERR_Packet(ok))
})
