import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type Test, test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import {
  createWire,
  endGracefully,
  framePacket,
  isOpen,
  MAX_HANDSHAKE_PACKET_BYTES,
  parsed,
  readPacket,
  timeLeft,
  unlessDisconnected,
  type Wire,
  whileConnected,
  writePacket,
} from '../../src/net/wire.ts'
import { MalformedPacket } from '../../src/protocol/bytes.ts'
import { createTestClock, type TestClock } from '../support/clock.ts'

interface Pair {
  /** the side under test */
  wire: Wire
  /** the other end */
  remote: Socket
  /** the wire's clock */
  clock: TestClock
}

interface PairOptions {
  peer?: Wire['peer']
  /** milliseconds */
  timeout?: number
}

/** Two ends of a TCP connection over loopback. */
async function createPair(t: Test, { peer = 'client', timeout = 10_000 }: PairOptions = {}): Promise<Pair> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const remote = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  remote.on('error', () => {})
  const [[socket]] = (await Promise.all([once(server, 'connection'), once(remote, 'connect')])) as [[Socket], unknown]
  t.teardown(() => {
    socket.destroy()
    remote.destroy()
    server.close()
  })
  const clock = createTestClock(1_000)
  return { wire: createWire(socket, peer, timeout, clock), remote, clock }
}

const tick = () => new Promise(resolve => setImmediate(resolve))

/** Resolves when `bytes` in all have arrived, and their listeners have run. */
async function arrived({ socket }: Wire, bytes: number): Promise<void> {
  while (socket.bytesRead < bytes) await tick()
  await tick()
}

/** A packet as it goes over the network. */
function packet(text: string, sequence: number): Buffer {
  return framePacket(Buffer.from(text), sequence)
}

async function read(wire: Wire): Promise<string> {
  return (await readPacket(wire, 'the test')).toString()
}

/** The code that reading a packet fails with. */
async function codeOf(reading: Promise<unknown>): Promise<string> {
  const thrown = await reading.then(
    () => undefined,
    (error: unknown) => error,
  )
  return thrown instanceof ProxyError ? thrown.code : `not a ProxyError: ${thrown}`
}

test('framePacket', async t => {
  t.equal(packet('ab', 7).toString('hex'), '020000076162')
  t.equal(packet('', 0).toString('hex'), '00000000')
  t.equal(framePacket(Buffer.alloc(70_000), 255).toString('hex', 0, 4), '701101ff')
})

test('a packet sent byte by byte', async t => {
  const { wire, remote } = await createPair(t)
  const reading = read(wire)
  for (const [index, byte] of packet('slow but sure', 0).entries()) {
    remote.write(Buffer.of(byte))
    await arrived(wire, index + 1) // never, if a part of a packet makes the reader spin
  }
  t.equal(await reading, 'slow but sure')
  t.equal(wire.sequence, 1)
})

test('several packets in one segment: the later ones stay readable', async t => {
  const { wire, remote } = await createPair(t)
  const bytes = Buffer.concat([packet('one', 0), packet('two', 1), packet('three', 2), Buffer.from('rest')])
  remote.write(bytes)
  t.equal(await read(wire), 'one')
  await arrived(wire, bytes.length)
  t.equal(await read(wire), 'two')
  t.equal(await read(wire), 'three')
  await tick()
  t.equal(wire.socket.readableLength, 4, 'unread bytes stay in the socket')
  t.equal(wire.socket.read(4)?.toString(), 'rest')
})

test('a packet cut anywhere between two segments', async t => {
  const { wire, remote } = await createPair(t)
  const whole = Buffer.concat([packet('first', 0), packet('second', 1)])
  for (let cut = 1; cut < whole.length; cut++) {
    wire.sequence = 0
    const before = wire.socket.bytesRead
    remote.write(whole.subarray(0, cut))
    const reading = read(wire)
    await arrived(wire, before + cut)
    remote.write(whole.subarray(cut))
    t.equal(await reading, 'first', `cut after ${cut} bytes`)
    t.equal(await read(wire), 'second')
  }
})

test('both directions share the sequence id', async t => {
  const { wire, remote } = await createPair(t)
  writePacket(wire, Buffer.from('greeting'))
  t.equal(wire.sequence, 1)
  remote.write(packet('response', 1))
  t.equal(await read(wire), 'response')
  writePacket(wire, Buffer.from('ok'))
  const expected = Buffer.concat([packet('greeting', 0), packet('ok', 2)])
  let received = Buffer.alloc(0)
  while (received.length < expected.length) {
    const [chunk] = (await once(remote, 'data')) as [Buffer]
    received = Buffer.concat([received, chunk])
  }
  t.equal(received.toString('hex'), expected.toString('hex'))
})

test('sequence ids wrap at 256', async t => {
  const { wire, remote } = await createPair(t)
  wire.sequence = 255
  remote.write(Buffer.concat([packet('last', 255), packet('first', 0)]))
  t.equal(await read(wire), 'last')
  t.equal(wire.sequence, 0)
  t.equal(await read(wire), 'first')
  wire.sequence = 255
  writePacket(wire, Buffer.from('x'))
  t.equal(wire.sequence, 0)
})

test('an empty payload', async t => {
  const { wire, remote } = await createPair(t)
  remote.write(packet('', 0))
  t.equal(await read(wire), '')
  t.equal(wire.sequence, 1)
  remote.write(packet('next', 1))
  t.equal(await read(wire), 'next')
  writePacket(wire, Buffer.alloc(0))
  const [chunk] = (await once(remote, 'data')) as [Buffer]
  t.equal(chunk.toString('hex'), '00000002')
})

test('a packet of the maximum size', async t => {
  const { wire, remote } = await createPair(t)
  const payload = Buffer.alloc(MAX_HANDSHAKE_PACKET_BYTES, 'x')
  remote.write(framePacket(payload, 0))
  t.ok((await readPacket(wire, 'the test')).equals(payload))
})

test('a larger packet is refused after its header', async t => {
  for (const peer of ['client', 'upstream'] as const) {
    const { wire, remote } = await createPair(t, { peer })
    remote.write(framePacket(Buffer.alloc(MAX_HANDSHAKE_PACKET_BYTES + 1), 0).subarray(0, 4))
    await t.rejects(readPacket(wire, 'the greeting'), {
      name: 'ProxyError',
      code: peer === 'client' ? 'CLIENT_MALFORMED' : 'UPSTREAM_NOT_MYSQL',
      message: /the greeting.*131073/,
    })
  }
})

test('a wrong sequence id', async t => {
  for (const peer of ['client', 'upstream'] as const) {
    const { wire, remote } = await createPair(t, { peer })
    remote.write(packet('hello', 3))
    await t.rejects(readPacket(wire, 'the greeting'), {
      name: 'ProxyError',
      code: peer === 'client' ? 'CLIENT_MALFORMED' : 'UPSTREAM_NOT_MYSQL',
      message: /the greeting.*3.*expected 0/,
    })
    t.equal(wire.sequence, 0, 'the wire’s own stays')
  }
})

test('bytes that are not MySQL', async t => {
  const { wire, remote } = await createPair(t, { peer: 'upstream' })
  remote.write('HTTP/1.1 400 Bad Request\r\n\r\n')
  t.equal(await codeOf(readPacket(wire, 'the greeting')), 'UPSTREAM_NOT_MYSQL')
})

/** What has become of `reading` so far. */
async function stateOf(reading: Promise<unknown>): Promise<string> {
  return await Promise.race([codeOf(reading), tick().then(() => 'waits')])
}

test('nothing arrives before the deadline', async t => {
  for (const peer of ['client', 'upstream'] as const) {
    const { wire, clock } = await createPair(t, { peer, timeout: 60 })
    const reading = readPacket(wire, 'the greeting')
    clock.advance(59)
    t.equal(await stateOf(reading), 'waits')
    clock.advance(1)
    await t.rejects(reading, {
      name: 'ProxyError',
      code: peer === 'client' ? 'CLIENT_TIMEOUT' : 'UPSTREAM_TIMEOUT',
      message: /the greeting/,
    })
  }
})

test('the deadline is for the whole handshake: slow bytes do not extend it', async t => {
  const { wire, remote, clock } = await createPair(t, { timeout: 150 })
  const reading = readPacket(wire, 'the test')
  remote.write(framePacket(Buffer.alloc(1_000), 0).subarray(0, 4))
  await arrived(wire, 4)
  for (let bytes = 5; bytes < 19; bytes++) {
    remote.write('x')
    await arrived(wire, bytes)
    clock.advance(10)
  }
  t.equal(await stateOf(reading), 'waits')
  clock.advance(10)
  t.equal(await codeOf(reading), 'CLIENT_TIMEOUT')
})

test('packets that arrived before the deadline can still be read after it', async t => {
  const { wire, remote, clock } = await createPair(t)
  remote.write(Buffer.concat([packet('one', 0), packet('two', 1)]))
  await arrived(wire, packet('one', 0).length + packet('two', 1).length)
  t.equal(await read(wire), 'one')
  wire.deadline = clock.now() - 1
  t.equal(timeLeft(wire), -1)
  t.equal(await read(wire), 'two')
  const reading = codeOf(readPacket(wire, 'the test'))
  clock.advance(0)
  t.equal(await reading, 'CLIENT_TIMEOUT')
})

test('the other side closes', async t => {
  const endings: Record<string, Buffer> = {
    'before any byte': Buffer.alloc(0),
    'inside the header': packet('payload', 0).subarray(0, 2),
    'after the header': packet('payload', 0).subarray(0, 4),
    'inside the payload': packet('payload', 0).subarray(0, 8),
  }
  for (const [when, bytes] of Object.entries(endings)) {
    for (const peer of ['client', 'upstream'] as const) {
      const { wire, remote } = await createPair(t, { peer })
      remote.end(bytes)
      await t.rejects(
        readPacket(wire, 'the greeting'),
        {
          name: 'ProxyError',
          code: peer === 'client' ? 'CLIENT_CLOSED' : 'UPSTREAM_CLOSED',
          message: /the greeting/,
        },
        when,
      )
    }
  }
})

test('the other side closes while a read waits', async t => {
  const { wire, remote } = await createPair(t)
  const reading = codeOf(readPacket(wire, 'the test'))
  remote.write(packet('payload', 0).subarray(0, 6))
  await arrived(wire, 6)
  remote.end()
  t.equal(await reading, 'CLIENT_CLOSED')
})

test('the last packet before the end is read', async t => {
  const { wire, remote } = await createPair(t)
  remote.end(packet('goodbye', 0))
  await arrived(wire, packet('goodbye', 0).length)
  t.equal(await read(wire), 'goodbye')
  t.equal(await codeOf(readPacket(wire, 'the test')), 'CLIENT_CLOSED')
  t.equal(await codeOf(readPacket(wire, 'the test')), 'CLIENT_CLOSED', 'and stays closed')
})

test('a reset in the middle of a packet', async t => {
  for (const peer of ['client', 'upstream'] as const) {
    const { wire, remote } = await createPair(t, { peer })
    remote.write(packet('payload', 0).subarray(0, 6))
    const reading = readPacket(wire, 'the greeting')
    await arrived(wire, 6)
    remote.resetAndDestroy()
    await t.rejects(reading, {
      name: 'ProxyError',
      code: peer === 'client' ? 'CLIENT_CLOSED' : 'UPSTREAM_CLOSED',
      message: /ECONNRESET/,
    })
  }
})

test('a reset between reads', async t => {
  const { wire, remote } = await createPair(t)
  remote.resetAndDestroy()
  await new Promise(resolve => wire.socket.once('close', resolve))
  await t.rejects(readPacket(wire, 'the test'), { name: 'ProxyError', code: 'CLIENT_CLOSED', message: /ECONNRESET/ })
})

test('an error that the socket has not emitted yet', async t => {
  const { wire } = await createPair(t)
  wire.socket.destroy(Object.assign(new Error('reset'), { code: 'ECONNRESET' }))
  await t.rejects(readPacket(wire, 'the test'), { name: 'ProxyError', code: 'CLIENT_CLOSED', message: /ECONNRESET/ })
})

test('our side is destroyed while a read waits', async t => {
  const { wire } = await createPair(t)
  const reading = codeOf(readPacket(wire, 'the test'))
  await tick()
  wire.socket.destroy()
  t.equal(await reading, 'CLIENT_CLOSED')
})

test('reads leave no listeners and no timer behind', async t => {
  const { wire, remote, clock } = await createPair(t)
  const counts = () => ['readable', 'end', 'close', 'error'].map(event => wire.socket.listenerCount(event))
  const before = counts()
  for (let sequence = 0; sequence < 20; sequence++) {
    const reading = read(wire)
    await tick()
    remote.write(packet('x', sequence))
    await reading
  }
  t.same(counts(), before)
  t.equal(clock.pending(), 0)
  const reading = codeOf(readPacket(wire, 'the test'))
  clock.advance(10_000)
  t.equal(await reading, 'CLIENT_TIMEOUT')
  t.same(counts(), before, 'nor after a timeout')
})

test('parsed: a malformed packet is an error of the peer that sent it', async t => {
  const fail = (error: Error) => () => {
    throw error
  }
  const codes = { client: 'CLIENT_MALFORMED', upstream: 'UPSTREAM_NOT_MYSQL' } as const
  for (const peer of ['client', 'upstream'] as const) {
    const { wire } = await createPair(t, { peer })
    const cause = new MalformedPacket('user name: no terminating NUL')
    t.throws(() => parsed(wire, 'the greeting', fail(cause)), {
      name: 'ProxyError',
      code: codes[peer],
      message: 'the greeting: user name: no terminating NUL',
      cause,
    })
    t.equal(
      parsed(wire, 'the greeting', () => 7),
      7,
    )
    t.throws(() => parsed(wire, 'the greeting', fail(new RangeError('a bug'))), { name: 'RangeError' })
  }
})

test('whileConnected: the signal aborts when the peer disconnects', async t => {
  for (const leave of ['end', 'resetAndDestroy'] as const) {
    const { wire, remote } = await createPair(t)
    const work = (disconnected: AbortSignal) => {
      remote[leave]()
      return new Promise<void>((_resolve, reject) => {
        disconnected.addEventListener('abort', () => reject(disconnected.reason))
      })
    }
    await t.rejects(whileConnected(wire, 'its slot', work), { code: 'CLIENT_CLOSED', message: /its slot/ }, leave)
  }
})

test("whileConnected: the peer's bytes stay unread, and no listener is left behind", async t => {
  const { wire, remote } = await createPair(t)
  const counts = () => ['readable', 'end', 'close'].map(event => wire.socket.listenerCount(event))
  const before = counts()
  const result = await whileConnected(wire, 'its slot', async disconnected => {
    remote.write(packet('early', 0))
    await arrived(wire, packet('early', 0).length)
    return disconnected.aborted
  })
  t.equal(result, false)
  t.same(counts(), before)
  t.equal(await read(wire), 'early')
})

test('endGracefully: the last packet arrives despite unread bytes, and a peer that stays connected is dropped', async t => {
  const { wire, remote, clock } = await createPair(t)
  remote.write('unread')
  await arrived(wire, 6)
  writePacket(wire, Buffer.from('last'))
  endGracefully(wire)
  const chunks: Buffer[] = []
  for await (const chunk of remote) chunks.push(chunk as Buffer)
  t.equal(Buffer.concat(chunks).toString(), packet('last', 0).toString())
  t.notOk(wire.socket.destroyed, 'the peer has not ended its side')
  clock.advance(1_000)
  t.ok(wire.socket.destroyed)
})

test('endGracefully: does not wait for a peer that has closed its side', async t => {
  const { wire, remote, clock } = await createPair(t)
  endGracefully(wire)
  remote.end()
  await once(wire.socket, 'close')
  t.equal(clock.pending(), 0)
})

test('unlessDisconnected: the result of the work, or the end of the peer', async t => {
  const { wire, remote } = await createPair(t)
  t.equal(await unlessDisconnected(wire, 'a step', Promise.resolve('done')), 'done')
  await t.rejects(unlessDisconnected(wire, 'a step', Promise.reject(new ProxyError('DIAL_REFUSED', 'refused'))), {
    code: 'DIAL_REFUSED',
  })
  t.same([wire.socket.listenerCount('readable'), wire.socket.listenerCount('end')], [0, 1], 'one of Node.js itself')
  t.ok(isOpen(wire))
  const left = t.rejects(unlessDisconnected(wire, 'a step', new Promise(() => {})), {
    code: 'CLIENT_CLOSED',
    message: 'connection closed while waiting for a step',
  })
  remote.end()
  await left
  t.notOk(isOpen(wire))
  await t.rejects(unlessDisconnected(wire, 'a step', new Promise(() => {})), { code: 'CLIENT_CLOSED' }, 'at once')
})
