import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type Test, test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import {
  createWire,
  framePacket,
  MAX_HANDSHAKE_PACKET_BYTES,
  parsed,
  readPacket,
  type Wire,
  writePacket,
} from '../../src/net/wire.ts'
import { MalformedPacket } from '../../src/protocol/bytes.ts'

interface Pair {
  /** the side under test */
  wire: Wire
  /** the other end */
  remote: Socket
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
  return { wire: createWire(socket, peer, timeout), remote }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
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
  for (const byte of packet('slow but sure', 0)) {
    remote.write(Buffer.of(byte))
    await pause(3) // which never ends if a part of a packet makes the reader spin
  }
  t.equal(await reading, 'slow but sure')
  t.equal(wire.sequence, 1)
})

test('several packets in one segment: the later ones stay readable', async t => {
  const { wire, remote } = await createPair(t)
  remote.write(Buffer.concat([packet('one', 0), packet('two', 1), packet('three', 2), Buffer.from('rest')]))
  t.equal(await read(wire), 'one')
  await pause(20)
  t.equal(await read(wire), 'two')
  t.equal(await read(wire), 'three')
  await pause(20)
  t.equal(wire.socket.readableLength, 4, 'what was not asked for stays in the socket')
  t.equal(wire.socket.read(4)?.toString(), 'rest')
})

test('a packet cut anywhere between two segments', async t => {
  const { wire, remote } = await createPair(t)
  const whole = Buffer.concat([packet('first', 0), packet('second', 1)])
  for (let cut = 1; cut < whole.length; cut++) {
    wire.sequence = 0
    remote.write(whole.subarray(0, cut))
    const reading = read(wire)
    await pause(2)
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

test('a packet as large as is allowed', async t => {
  const { wire, remote } = await createPair(t)
  const payload = Buffer.alloc(MAX_HANDSHAKE_PACKET_BYTES, 'x')
  remote.write(framePacket(payload, 0))
  t.ok((await readPacket(wire, 'the test')).equals(payload))
})

test('a packet that is larger is refused by its header alone', async t => {
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

test('what is not MySQL', async t => {
  const { wire, remote } = await createPair(t, { peer: 'upstream' })
  remote.write('HTTP/1.1 400 Bad Request\r\n\r\n')
  t.equal(await codeOf(readPacket(wire, 'the greeting')), 'UPSTREAM_NOT_MYSQL')
})

test('nothing comes before the deadline', async t => {
  for (const peer of ['client', 'upstream'] as const) {
    const { wire } = await createPair(t, { peer, timeout: 60 })
    const started = Date.now()
    await t.rejects(readPacket(wire, 'the greeting'), {
      name: 'ProxyError',
      code: peer === 'client' ? 'CLIENT_TIMEOUT' : 'UPSTREAM_TIMEOUT',
      message: /the greeting/,
    })
    const took = Date.now() - started
    t.ok(took >= 40 && took < 2_000, `${took} ms`)
  }
})

test('the deadline is that of the whole handshake: a trickle does not move it', async t => {
  const { wire, remote } = await createPair(t, { timeout: 150 })
  const trickle = setInterval(() => remote.write('x'), 20)
  remote.write(framePacket(Buffer.alloc(1_000), 0).subarray(0, 4))
  const started = Date.now()
  t.equal(await codeOf(readPacket(wire, 'the test')), 'CLIENT_TIMEOUT')
  t.ok(Date.now() - started < 2_000)
  clearInterval(trickle)
})

test('a deadline that has passed leaves what is there already', async t => {
  const { wire, remote } = await createPair(t)
  remote.write(Buffer.concat([packet('one', 0), packet('two', 1)]))
  t.equal(await read(wire), 'one')
  wire.deadline = wire.clock.now() - 1
  t.equal(await read(wire), 'two')
  t.equal(await codeOf(readPacket(wire, 'the test')), 'CLIENT_TIMEOUT')
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
      const started = Date.now()
      await t.rejects(
        readPacket(wire, 'the greeting'),
        {
          name: 'ProxyError',
          code: peer === 'client' ? 'CLIENT_CLOSED' : 'UPSTREAM_CLOSED',
          message: /the greeting/,
        },
        when,
      )
      t.ok(Date.now() - started < 2_000, 'at once')
    }
  }
})

test('the other side closes while a read waits', async t => {
  const { wire, remote } = await createPair(t)
  const reading = codeOf(readPacket(wire, 'the test'))
  await pause(20)
  remote.write(packet('payload', 0).subarray(0, 6))
  await pause(20)
  remote.end()
  t.equal(await reading, 'CLIENT_CLOSED')
})

test('a last packet before the end is read', async t => {
  const { wire, remote } = await createPair(t)
  remote.end(packet('goodbye', 0))
  await pause(30)
  t.equal(await read(wire), 'goodbye')
  t.equal(await codeOf(readPacket(wire, 'the test')), 'CLIENT_CLOSED')
  t.equal(await codeOf(readPacket(wire, 'the test')), 'CLIENT_CLOSED', 'and stays closed')
})

test('a reset in the middle', async t => {
  for (const peer of ['client', 'upstream'] as const) {
    const { wire, remote } = await createPair(t, { peer })
    remote.write(packet('payload', 0).subarray(0, 6))
    const reading = readPacket(wire, 'the greeting')
    setTimeout(() => remote.resetAndDestroy(), 30)
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
  await pause(30)
  await t.rejects(readPacket(wire, 'the test'), { name: 'ProxyError', code: 'CLIENT_CLOSED' })
})

test('the own side is destroyed while a read waits', async t => {
  const { wire } = await createPair(t)
  const reading = codeOf(readPacket(wire, 'the test'))
  await pause(10)
  wire.socket.destroy()
  t.equal(await reading, 'CLIENT_CLOSED')
})

test('reads leave no listeners and no timer behind', async t => {
  const { wire, remote } = await createPair(t)
  const counts = () => ['readable', 'end', 'close', 'error'].map(event => wire.socket.listenerCount(event))
  const before = counts()
  for (let sequence = 0; sequence < 20; sequence++) {
    const reading = read(wire)
    await pause(1)
    remote.write(packet('x', sequence))
    await reading
  }
  t.same(counts(), before)
  wire.deadline = wire.clock.now() + 5
  await codeOf(readPacket(wire, 'the test'))
  t.same(counts(), before, 'nor after a timeout')
})

test('parsed: a malformed packet is the error of its peer', async t => {
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
