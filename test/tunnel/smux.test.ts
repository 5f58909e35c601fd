import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import {
  createSmuxParser,
  encodeSmuxData,
  encodeSmuxFrame,
  MAX_FRAME_BYTES,
  MalformedSmux,
  SMUX_COMMANDS,
  type SmuxFrame,
} from '../../src/tunnel/smux.ts'
import { decodeSsmMessage, PAYLOAD_TYPES } from '../../src/tunnel/ssm-message.ts'

const hex = (bytes: Buffer) => bytes.toString('hex')

/** The frames that smux itself wrote in the plugin: three streams were opened, one byte went through the first. */
async function ofPlugin(): Promise<Buffer> {
  const text = await readFile(new URL('ssm-recorded-plugin.json', import.meta.url), 'utf8')
  const messages = (JSON.parse(text) as { hex: string }[]).map(message =>
    decodeSsmMessage(Buffer.from(message.hex, 'hex')),
  )
  return Buffer.concat(
    messages.filter(({ payloadType }) => payloadType === PAYLOAD_TYPES.data).map(({ payload }) => payload),
  )
}

test('the frames of smux itself', async t => {
  const bytes = await ofPlugin()
  const frames = createSmuxParser()(bytes)
  const [first, second, third, one] = frames
  t.match(
    [first, second, third],
    [3, 5, 7].map(stream => ({ command: SMUX_COMMANDS.open, stream })),
  )
  t.match(one, { command: SMUX_COMMANDS.data, stream: 3, data: { length: 1 } })
  const again = Buffer.concat(frames.map(({ command, stream, data }) => encodeSmuxFrame(command, stream, data)))
  t.equal(hex(again), hex(bytes.subarray(0, again.length)))
})

test('frames, byte for byte', t => {
  t.equal(hex(encodeSmuxFrame(SMUX_COMMANDS.open, 3)), '0100000003000000')
  t.equal(hex(encodeSmuxFrame(SMUX_COMMANDS.close, 0x01020304)), '0101000004030201')
  t.equal(hex(encodeSmuxFrame(SMUX_COMMANDS.data, 5, Buffer.from('abc'))), '0102030005000000616263')
  t.equal(hex(encodeSmuxFrame(SMUX_COMMANDS.keepalive, 0)), '0103000000000000')
  t.end()
})

test('data is cut into frames', t => {
  const sizes = (bytes: number) => [...encodeSmuxData(3, Buffer.alloc(bytes))].map(frame => frame.length - 8)
  t.same(sizes(0), [])
  t.same(sizes(MAX_FRAME_BYTES), [MAX_FRAME_BYTES])
  t.same(sizes(MAX_FRAME_BYTES + 1), [MAX_FRAME_BYTES, 1])
  t.end()
})

test('frames that come in pieces of any size', t => {
  const frames = [
    encodeSmuxFrame(SMUX_COMMANDS.open, 3),
    encodeSmuxFrame(SMUX_COMMANDS.data, 3, Buffer.from('hello')),
    encodeSmuxFrame(SMUX_COMMANDS.keepalive, 0),
    encodeSmuxFrame(SMUX_COMMANDS.data, 3, Buffer.from('')),
    encodeSmuxFrame(SMUX_COMMANDS.close, 3),
  ]
  const bytes = Buffer.concat(frames)
  const whole = createSmuxParser()(bytes)
  t.same(
    whole.map(({ command, data }) => [command, String(data)]),
    [
      [0, ''],
      [2, 'hello'],
      [3, ''],
      [2, ''],
      [1, ''],
    ],
  )
  for (const size of [1, 3, 7, 8, 9, 20]) {
    const parse = createSmuxParser()
    const found: SmuxFrame[] = []
    for (let start = 0; start < bytes.length; start += size) found.push(...parse(bytes.subarray(start, start + size)))
    t.same(found, whole, `pieces of ${size} bytes`)
  }
  t.end()
})

test('other protocols', t => {
  t.throws(() => createSmuxParser()(Buffer.from('0200000003000000', 'hex')), MalformedSmux, 'version 2')
  t.throws(() => createSmuxParser()(Buffer.from('0104000003000000', 'hex')), MalformedSmux, 'a command of version 2')
  t.end()
})
