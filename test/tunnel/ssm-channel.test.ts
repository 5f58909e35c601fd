import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import {
  CLIENT_VERSION,
  createSsmChannel,
  FIRST_RESEND_MS,
  GIVE_UP_MS,
  isOlder,
  MAX_EARLY,
  MAX_PAYLOAD_BYTES,
  MAX_RESEND_MS,
  MAX_UNACKNOWLEDGED,
} from '../../src/tunnel/ssm-channel.ts'
import {
  acknowledgedSequence,
  acknowledgementOf,
  decodeSsmMessage,
  encodeSsmMessage,
  jsonOf,
  MESSAGE_TYPES,
  PAYLOAD_TYPES,
  type SsmMessage,
} from '../../src/tunnel/ssm-message.ts'
import { createTestClock } from '../support/clock.ts'

const PORT_SESSION = {
  ActionType: 'SessionType',
  ActionParameters: { SessionType: 'Port', Properties: { type: 'LocalPortForwarding' } },
}

function message(type: string, sequence: number, payloadType: number, payload: string | Buffer): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
  const id = randomUUID()
  return encodeSsmMessage({ type, createdAt: 1, sequence, flags: 0n, id, payloadType, payload: bytes })
}

const output = (sequence: number, payload: string | Buffer, payloadType: number = PAYLOAD_TYPES.data) =>
  message(MESSAGE_TYPES.output, sequence, payloadType, payload)
const control = (type: string, payload = '') => message(type, 0, 0, payload)

/** A channel, what it did, and what went out. */
function createChannel() {
  const clock = createTestClock()
  const happened: string[] = []
  const sent: SsmMessage[] = []
  const channel = createSsmChannel(
    {
      onReady: () => happened.push('ready'),
      onData: bytes => happened.push(`data ${bytes}`),
      onConnectError: () => happened.push('connect error'),
      onDrain: () => happened.push('drain'),
      onEnd: error => happened.push(`${error.code}: ${error.message}`),
      onNote: note => happened.push(`note ${note}`),
    },
    clock,
  )
  const send = (bytes: Buffer) => void sent.push(decodeSsmMessage(bytes))
  /** what went out since the last call */
  const take = () => sent.splice(0)
  const acknowledge = (of: SsmMessage) => channel.receive(encodeSsmMessage(acknowledgementOf(of, randomUUID(), 1)))
  const handshake = (actions: unknown[] = [PORT_SESSION], AgentVersion = '3.3.1345.0') => {
    const request = { AgentVersion, RequestedClientActions: actions }
    channel.receive(output(0, JSON.stringify(request), PAYLOAD_TYPES.handshakeRequest))
  }
  /** After the handshake. */
  const ready = () => {
    channel.attach(send)
    handshake()
    for (const answer of take()) if (answer.type === MESSAGE_TYPES.input) acknowledge(answer)
    channel.receive(output(1, '{"HandshakeTimeToComplete":1,"CustomerMessage":""}', PAYLOAD_TYPES.handshakeComplete))
    take()
    happened.splice(0)
  }
  return { clock, happened, sent, channel, send, take, acknowledge, handshake, ready }
}

test('the handshake', t => {
  const { channel, happened, send, take, handshake } = createChannel()
  channel.attach(send)
  channel.write(Buffer.from('early'))
  handshake()
  const [acknowledgement, response] = take()
  t.equal(acknowledgement!.type, MESSAGE_TYPES.acknowledge)
  t.match(response, { type: MESSAGE_TYPES.input, sequence: 0, payloadType: PAYLOAD_TYPES.handshakeResponse })
  t.same(jsonOf(response!.payload), {
    ClientVersion: CLIENT_VERSION,
    ProcessedClientActions: [{ ActionType: 'SessionType', ActionStatus: 1, ActionResult: null, Error: '' }],
    Errors: null,
  })
  t.equal(channel.agentVersion, '3.3.1345.0')
  channel.receive(output(1, '{"CustomerMessage":"Welcome"}', PAYLOAD_TYPES.handshakeComplete))
  t.same(happened, ['note Welcome', 'ready'])
  t.match(take().at(-1), { sequence: 1, payloadType: PAYLOAD_TYPES.data, payload: Buffer.from('early') })
  channel.stop()
  t.end()
})

const REFUSALS = [
  {
    name: 'encryption with KMS',
    actions: [PORT_SESSION, { ActionType: 'KMSEncryption', ActionParameters: { KMSKeyId: 'key' } }],
    error: /^SSM_UNSUPPORTED: the session needs encryption with a KMS key/,
  },
  {
    name: 'a shell',
    actions: [{ ActionType: 'SessionType', ActionParameters: { SessionType: 'Standard_Stream' } }],
    error: /^SSM_UNSUPPORTED: the session document starts a session of the type Standard_Stream, not port forwarding/,
  },
  { name: 'something new', actions: [PORT_SESSION, { ActionType: 'New' }], error: /the SSM agent asks for New/ },
  { name: 'nothing readable', actions: [null], error: /the SSM agent asks for undefined/ },
  {
    name: 'an old agent',
    actions: [PORT_SESSION],
    version: '3.1.1373.9',
    error: /^SSM_UNSUPPORTED: version 3.1.1373.9 of the SSM agent cannot forward to other hosts/,
  },
]

for (const { name, actions, version, error } of REFUSALS) {
  test(`a handshake that is refused: ${name}`, t => {
    const { channel, happened, send, take, handshake, clock } = createChannel()
    channel.attach(send)
    handshake(actions, version)
    t.match(happened[0], error)
    const response = jsonOf(take().at(-1)!.payload)
    t.ok(Array.isArray(response['Errors']), 'the agent gets the reason')
    t.equal(clock.pending(), 0)
    t.end()
  })
}

test('data is cut into messages, and the order of what comes is kept', t => {
  const { channel, happened, take, ready } = createChannel()
  ready()
  channel.write(Buffer.alloc(MAX_PAYLOAD_BYTES + 1))
  t.same(
    take().map(({ sequence, payload }) => [sequence, payload.length]),
    [
      [1, MAX_PAYLOAD_BYTES],
      [2, 1],
    ],
  )
  channel.receive(output(4, 'c'))
  channel.receive(output(3, 'b'))
  t.same(happened, [])
  channel.receive(output(2, 'a'))
  channel.receive(output(5, 'd'))
  t.same(happened, ['data a', 'data b', 'data c', 'data d'])
  t.same(take().map(acknowledgedSequence), [4, 3, 2, 5])
  channel.receive(output(3, 'b'))
  t.same(take().map(acknowledgedSequence), [3], 'its acknowledgement was lost')
  t.equal(happened.length, 4)
  channel.stop()
  t.end()
})

test('messages that come much too early are not kept', t => {
  const { channel, take, ready } = createChannel()
  ready()
  for (let sequence = 3; sequence < 3 + MAX_EARLY; sequence++) channel.receive(output(sequence, ''))
  t.equal(take().length, MAX_EARLY)
  channel.receive(output(3 + MAX_EARLY, ''))
  t.same(take(), [], 'no acknowledgement, so it comes again')
  channel.stop()
  t.end()
})

test('a message without an acknowledgement is sent again', t => {
  const { channel, clock, take, acknowledge, ready } = createChannel()
  ready()
  channel.write(Buffer.from('a'))
  const [first] = take()
  clock.advance(FIRST_RESEND_MS)
  t.same(take(), [first])
  clock.advance(FIRST_RESEND_MS)
  t.same(take(), [first])
  acknowledge(first!)
  clock.advance(10 * MAX_RESEND_MS)
  t.same(take(), [])
  acknowledge(first!)
  t.equal(clock.pending(), 0, 'a second acknowledgement means nothing')
  t.end()
})

test('the time until a message is sent again follows the round-trip time, up to a limit', t => {
  const { channel, clock, take, acknowledge, ready } = createChannel()
  ready()
  const resendsWithin = (wait: number) => {
    channel.write(Buffer.from('x'))
    const [sent] = take()
    clock.advance(wait)
    const resends = take().length
    acknowledge(sent!)
    return resends
  }
  t.ok(resendsWithin(2_000) > 5, 'at first, the network seems fast')
  for (let i = 0; i < 20; i++) resendsWithin(2_000)
  t.equal(resendsWithin(2_000), 2_000 / MAX_RESEND_MS)
  for (let i = 0; i < 60; i++) resendsWithin(10)
  t.equal(resendsWithin(19), 0)
  t.equal(resendsWithin(40), 1)
  channel.stop()
  t.end()
})

test('after the loss of many messages, more and more are sent again at once', t => {
  const { channel, clock, take, acknowledge, ready } = createChannel()
  ready()
  channel.write(Buffer.alloc(20 * MAX_PAYLOAD_BYTES))
  take()
  const rounds: number[] = []
  const found = new Set<number>()
  clock.advance(FIRST_RESEND_MS)
  for (let again = take(); again.length > 0; again = take()) {
    rounds.push(again.length)
    for (const { sequence } of again) found.add(sequence)
    for (const sent of again) acknowledge(sent)
    clock.advance(MAX_RESEND_MS)
  }
  t.equal(rounds[0], 1)
  t.equal(found.size, 20)
  t.ok(rounds.length < 8, `${rounds}`)
  t.equal(clock.pending(), 0)
  t.end()
})

test('no more messages are under way than the limit; the writer waits and goes on', t => {
  const { channel, happened, take, acknowledge, ready } = createChannel()
  ready()
  channel.write(Buffer.alloc(MAX_UNACKNOWLEDGED * MAX_PAYLOAD_BYTES))
  t.ok(channel.isFull)
  channel.write(Buffer.from('one more'))
  const sent = take()
  t.equal(sent.length, MAX_UNACKNOWLEDGED)
  acknowledge(sent[0]!)
  t.match(take(), [{ payload: Buffer.from('one more') }])
  t.same(happened, [], 'it is full again')
  acknowledge(sent[1]!)
  t.same(happened, ['drain'])
  t.notOk(channel.isFull)
  channel.stop()
  t.end()
})

test('while the agent is not connected, nothing is sent; then everything is', t => {
  const { channel, clock, take, ready } = createChannel()
  ready()
  channel.write(Buffer.from('a'))
  take()
  channel.receive(control(MESSAGE_TYPES.pausePublication))
  channel.write(Buffer.from('b'))
  clock.advance(2 * GIVE_UP_MS)
  t.same(take(), [])
  channel.receive(control(MESSAGE_TYPES.startPublication))
  t.same(
    take().map(({ payload }) => String(payload)),
    ['a', 'b'],
  )
  channel.receive(control(MESSAGE_TYPES.pausePublication))
  channel.receive(output(2, 'data shows that it is connected, too'))
  t.equal(take().length, 3)
  channel.stop()
  t.end()
})

test('a lost WebSocket: what is not acknowledged goes through the next one', t => {
  const { channel, clock, send, take, acknowledge, ready } = createChannel()
  ready()
  channel.write(Buffer.from('a'))
  channel.write(Buffer.from('b'))
  const [a] = take()
  acknowledge(a!)
  channel.detach()
  t.equal(clock.pending(), 0)
  channel.write(Buffer.from('c'))
  clock.advance(2 * GIVE_UP_MS)
  t.same(take(), [])
  channel.attach(send)
  t.same(
    take().map(({ payload }) => String(payload)),
    ['b', 'c'],
  )
  channel.stop()
  t.end()
})

test('an agent that acknowledges nothing is given up', t => {
  const { channel, happened, clock, ready } = createChannel()
  ready()
  channel.write(Buffer.from('a'))
  clock.advance(GIVE_UP_MS + MAX_RESEND_MS)
  t.same(happened, ['TUNNEL_LOST: the SSM agent acknowledged nothing for 60 s'])
  t.equal(clock.pending(), 0)
  channel.write(Buffer.from('b'))
  t.end()
})

test('flags', t => {
  const { channel, happened, take, ready } = createChannel()
  channel.terminate()
  t.same(take(), [], 'before the handshake, nobody listens')
  ready()
  channel.receive(output(2, Buffer.from([0, 0, 0, 3]), PAYLOAD_TYPES.flag))
  channel.receive(output(3, Buffer.from([0, 0, 0, 9]), PAYLOAD_TYPES.flag))
  t.same(happened, ['connect error'])
  take()
  channel.terminate()
  t.match(take(), [{ payloadType: PAYLOAD_TYPES.flag, payload: Buffer.from([0, 0, 0, 2]) }])
  channel.stop()
  t.end()
})

test('the service closes the session', t => {
  const wordy = createChannel()
  wordy.ready()
  wordy.channel.receive(control(MESSAGE_TYPES.channelClosed, '{"Output":"Your session timed out.\\u001b[1m"}'))
  t.same(wordy.happened, ['TUNNEL_LOST: Session Manager closed the session: Your session timed out. [1m'])
  wordy.channel.receive(output(2, 'late'))
  t.equal(wordy.happened.length, 1)
  const silent = createChannel()
  silent.ready()
  silent.channel.receive(control(MESSAGE_TYPES.channelClosed, '{"Output":""}'))
  t.same(silent.happened, ['TUNNEL_LOST: Session Manager closed the session'])
  t.end()
})

test('malformed and unknown messages are not acknowledged', t => {
  const { channel, happened, take, ready } = createChannel()
  ready()
  channel.receive(Buffer.from('{}'))
  const changed = output(2, 'a')
  changed[changed.length - 1]! ^= 1
  channel.receive(changed)
  channel.receive(control('something_new', 'x'))
  t.match(happened, [/^note a malformed message/, /^note a malformed message/])
  t.same(take(), [])
  channel.receive(output(2, 'a'))
  t.equal(happened.at(-1), 'data a')
  channel.stop()
  t.end()
})

test('versions', t => {
  t.ok(isOlder('3.1.1373.0', '3.1.1374.0'))
  t.ok(isOlder('3.1', '3.1.1'))
  t.notOk(isOlder('3.1.1374.0', '3.1.1374.0'))
  t.notOk(isOlder('3.10.0.0', '3.9.0.0'))
  t.notOk(isOlder(' 3.2.0.0\n', '3.1.1374.0'))
  t.notOk(isOlder('', '3.1.1374.0'), 'unknown')
  t.notOk(isOlder('development', '3.1.1374.0'))
  t.end()
})
