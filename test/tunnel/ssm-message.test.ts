import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import {
  acknowledgedSequence,
  acknowledgementOf,
  decodeSsmMessage,
  encodeSsmMessage,
  jsonOf,
  MalformedSsmMessage,
  MESSAGE_TYPES,
  PAYLOAD_TYPES,
} from '../../src/tunnel/ssm-message.ts'

/** What AWS's own programs sent: `npm run ssm-witness -- --record`. */
async function recorded(name: 'agent' | 'plugin'): Promise<Buffer[]> {
  const text = await readFile(new URL(`ssm-recorded-${name}.json`, import.meta.url), 'utf8')
  return (JSON.parse(text) as { hex: string }[]).map(({ hex }) => Buffer.from(hex, 'hex'))
}

for (const name of ['agent', 'plugin'] as const) {
  test(`the messages of the ${name} are read and written byte for byte`, async t => {
    const messages = await recorded(name)
    t.ok(messages.length >= 5)
    for (const bytes of messages)
      t.equal(encodeSsmMessage(decodeSsmMessage(bytes)).toString('hex'), bytes.toString('hex'))
  })
}

test('the handshake of the agent', async t => {
  const messages = (await recorded('agent')).map(decodeSsmMessage)
  const [state, request, acknowledgement, complete] = messages
  t.equal(state!.type, 'agent_session_state')
  t.match(request, { type: MESSAGE_TYPES.output, sequence: 0, flags: 1n, payloadType: PAYLOAD_TYPES.handshakeRequest })
  t.match(jsonOf(request!.payload), {
    AgentVersion: '3.3.0.0',
    RequestedClientActions: [{ ActionType: 'SessionType', ActionParameters: { SessionType: 'Port' } }],
  })
  t.equal(acknowledgedSequence(acknowledgement!), 0)
  t.match(complete, { sequence: 1, flags: 0n, payloadType: PAYLOAD_TYPES.handshakeComplete })
})

test('the acknowledgement of the plugin is the one that this client makes', async t => {
  const plugin = decodeSsmMessage((await recorded('plugin'))[0]!)
  const content = jsonOf(plugin.payload)
  const message = {
    type: String(content['AcknowledgedMessageType']),
    id: String(content['AcknowledgedMessageId']),
    sequence: Number(content['AcknowledgedMessageSequenceNumber']),
    createdAt: 1,
    flags: 0n,
    payloadType: 5,
    payload: Buffer.alloc(0),
  }
  t.same(acknowledgementOf(message, plugin.id, plugin.createdAt), plugin)
})

test('bytes that are no message', async t => {
  const [bytes] = await recorded('agent')
  t.throws(() => decodeSsmMessage(Buffer.alloc(0)), MalformedSsmMessage)
  t.throws(() => decodeSsmMessage(bytes!.subarray(0, 115)), MalformedSsmMessage)
  t.throws(() => decodeSsmMessage(bytes!.subarray(0, 119)), MalformedSsmMessage)
  const changed = Buffer.from(bytes!)
  changed[changed.length - 1]! ^= 1
  t.throws(() => decodeSsmMessage(changed), /agent_session_state does not match its digest/)
  const shortHeader = Buffer.from(bytes!)
  shortHeader.writeUInt32BE(100, 0)
  t.throws(() => decodeSsmMessage(shortHeader), MalformedSsmMessage)
})

test('a longer header of a newer schema is skipped', async t => {
  const [bytes] = await recorded('agent')
  const longer = Buffer.concat([bytes!.subarray(0, 116), Buffer.alloc(8), bytes!.subarray(116)])
  longer.writeUInt32BE(124, 0)
  t.same(decodeSsmMessage(longer), decodeSsmMessage(bytes!))
})

test('a control message needs no digest', t => {
  const message = { type: MESSAGE_TYPES.pausePublication, createdAt: 1, sequence: 0, flags: 0n, payloadType: 0 }
  const bytes = encodeSsmMessage({ ...message, id: '00000000-0000-4000-8000-000000000001', payload: Buffer.from('{}') })
  bytes.fill(0, 80, 112)
  t.equal(decodeSsmMessage(bytes).type, 'pause_publication')
  t.end()
})

test('payloads that are no JSON object', t => {
  for (const text of ['', 'null', '1', '{']) t.throws(() => jsonOf(Buffer.from(text)), MalformedSsmMessage)
  const message = { type: 'acknowledge', createdAt: 1, sequence: 0, flags: 3n, id: '', payloadType: 0 }
  t.throws(() => acknowledgedSequence({ ...message, payload: Buffer.from('{}') }), MalformedSsmMessage)
  t.end()
})
