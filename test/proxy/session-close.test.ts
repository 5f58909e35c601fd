/** How a session is ended from outside, on sockets that only note what happens to them. */
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { framePacket, frameUncompressed, type Wire } from '../../src/net/wire.ts'
import { encodeERR_Packet, parseERR_Packet } from '../../src/protocol/packets.ts'
import { cutOff, delayRefusal, type Ending, endWith, installClose, writeError } from '../../src/proxy/end-session.ts'
import { createFlow, type Flow } from '../../src/relay/relay.ts'
import type { Session } from '../../src/state.ts'
import { createTestClock } from '../support/clock.ts'

function fakeSocket(remotePort?: number) {
  const calls: string[] = []
  const written: Buffer[] = []
  const note = (name: string) => () => void calls.push(name)
  const socket = Object.assign(new EventEmitter(), {
    calls,
    written,
    remotePort,
    destroy: note('destroy'),
    destroySoon: note('destroySoon'),
    resetAndDestroy: note('resetAndDestroy'),
    write: (bytes: Buffer) => void written.push(bytes),
  })
  return socket as typeof socket & Socket
}

function start(flow: Partial<Flow>, compressed = false) {
  const [client, upstream] = [fakeSocket(), fakeSocket()]
  const session = { id: 'abcd-1' } as Session
  const ending: Ending = {
    session,
    flow: { ...createFlow(), ...flow },
    client: { socket: client } as unknown as Wire,
    upstream: { socket: upstream } as unknown as Wire,
    compressed,
  }
  installClose(ending)
  return { client, upstream, session, ending }
}

const okWithStatus = (status: number) => framePacket(Buffer.of(0, 0, 0, status, 0, 0, 0), 1)
const error = framePacket(encodeERR_Packet({ errno: 1064, sqlState: '42000', message: 'no' }), 1)
const prepared = framePacket(Buffer.of(0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 1)
const rows = Buffer.from('the middle of an answer')

test('what a session does, by what came last', t => {
  const cases: [name: string, flow: Partial<Flow>, activity: string, isIdle: boolean, getsError: boolean][] = [
    ['no command yet', {}, 'idle', true, true],
    ['a command', { clientSpokeLast: true }, 'waiting for an answer', false, true],
    [
      'a command after an answer',
      { clientSpokeLast: true, lastBytes: okWithStatus(2) },
      'waiting for an answer',
      false,
      true,
    ],
    ['a command in an answer', { clientSpokeLast: true, lastBytes: rows }, 'waiting for an answer', false, true],
    ['an answer', { lastBytes: okWithStatus(2) }, 'idle', true, true],
    ['in a transaction', { lastBytes: okWithStatus(3) }, 'in a transaction', false, true],
    ['more results follow', { lastBytes: okWithStatus(8) }, 'waiting for an answer', false, true],
    ['an open cursor', { lastBytes: okWithStatus(0x40) }, 'idle', false, true],
    ['rows', { lastBytes: rows }, 'open', false, false],
    ['an ERR_Packet', { lastBytes: error }, 'open', false, true],
    ['a prepared statement', { lastBytes: prepared }, 'open', false, true],
  ]
  for (const [name, flow, activity, isIdle, getsError] of cases) {
    const { client, upstream, session } = start(flow)
    t.equal(session.activity(), activity, name)
    t.equal(session.isIdle(), isIdle, name)
    session.close('PROXY_STOPPING')
    t.equal(client.written.length, getsError ? 1 : 0, name)
    t.equal(session.endedBy, 'PROXY_STOPPING')
    t.same([client.calls, upstream.calls], [['destroySoon'], ['destroySoon']])
    client.emit('close')
  }
  t.end()
})

test('the ERR_Packet says why, and names the session', t => {
  const messages = {
    PROXY_STOPPING: /the proxy is being stopped.*\(session abcd-1\)/,
    SESSION_CLOSED: /this session was closed by an administrator.*\(session abcd-1\)/,
    NLB_IDLE_TIMEOUT: /NLB_IDLE_TIMEOUT/,
  }
  for (const [code, message] of Object.entries(messages)) {
    const { client, session } = start({})
    session.close(code as 'PROXY_STOPPING')
    const [packet = Buffer.alloc(5)] = client.written
    t.equal(packet[3], 1, 'the first answer to a command')
    t.match(parseERR_Packet(packet.subarray(4)).message, message)
    client.emit('close')
  }
  t.end()
})

test('with compression, the ERR_Packet is in a compressed packet', t => {
  const { client, session } = start({}, true)
  session.close('SESSION_CLOSED')
  const [packet = Buffer.alloc(11)] = client.written
  t.equal(packet[3], 1)
  t.same(packet, frameUncompressed(packet.subarray(7), 1))
  client.emit('close')
  const socket = fakeSocket()
  const content = { errno: 1, sqlState: 'HY000', message: 'x' }
  writeError(socket, content, false)
  t.same(socket.written, [framePacket(encodeERR_Packet(content), 1)])
  t.end()
})

test('a client that does not read has one second', t => {
  const why = new ProxyError('SESSION_CLOSED', 'closed')
  const clock = createTestClock()
  const slow = start({})
  endWith(slow.ending, why, clock)
  clock.advance(999)
  t.same(slow.client.calls, ['destroySoon'])
  clock.advance(1)
  t.same(
    [slow.client.calls, slow.upstream.calls],
    [
      ['destroySoon', 'destroy'],
      ['destroySoon', 'destroy'],
    ],
  )
  const quick = start({})
  endWith(quick.ending, why, clock)
  quick.client.emit('close')
  t.equal(clock.pending(), 0)
  t.end()
})

test('a session that is cut off: TCP is reset, a unix socket is closed', t => {
  for (const [port, call] of [
    [1234, 'resetAndDestroy'],
    [undefined, 'destroy'],
  ] as const) {
    const { ending, session, upstream } = start({})
    const transport = fakeSocket(port)
    cutOff(ending, transport, 'SESSION_CLOSED')
    t.equal(session.endedBy, 'SESSION_CLOSED')
    t.same([transport.calls, upstream.calls], [[call], ['destroy']])
  }
  t.end()
})

test('a refusal that is delayed goes out at once when the session is closed', async t => {
  const never = new Promise<void>(() => {})
  const session = { isIdle: () => false } as Session
  let isOver = false
  const delayed = delayRefusal(never, session, fakeSocket()).then(() => {
    isOver = true
  })
  await new Promise(resolve => setImmediate(resolve))
  t.equal(isOver, false)
  t.equal(session.isIdle(), true, 'a proxy that stops need not wait for it')
  session.close('PROXY_STOPPING')
  await delayed
})

test('a refusal waits for its time, and no longer than its client', async t => {
  const session = {} as Session
  await delayRefusal(Promise.resolve(), session, fakeSocket())
  const socket = fakeSocket()
  const delayed = delayRefusal(new Promise(() => {}), session, socket)
  socket.emit('close')
  await delayed
  await delayRefusal(new Promise(() => {}), session, Object.assign(fakeSocket(), { closed: true }))
  t.pass('each of them ended')
})
