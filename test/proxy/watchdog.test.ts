import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type Test, test } from 'tap'
import type { ProxyError } from '../../src/errors.ts'
import { type TcpState, type TcpTable, tcpKey } from '../../src/net/tcp-table.ts'
import { createWatchdog, type Watchdog } from '../../src/proxy/watchdog.ts'
import { createTestClock } from '../support/clock.ts'
import { testEndpoint } from '../support/endpoint.ts'
import { socketPair } from '../support/socket-pair.ts'

const MIB = 1024 * 1024

/** A watchdog on a test clock, with a table of connections that the test writes. */
function createWatched(maxBuffered?: number) {
  const clock = createTestClock()
  const table: TcpTable = new Map()
  let reads = 0
  const readTable = async () => {
    reads++
    return table
  }
  const watchdog = createWatchdog(clock, readTable, maxBuffered)
  return {
    watchdog,
    table,
    clock,
    reads: () => reads,
    /** Moves the time on by seconds; each read of the table has its effect before the next second. */
    async pass(seconds: number) {
      for (let n = 0; n < seconds; n++) {
        clock.advance(1_000)
        await new Promise(resolve => setImmediate(resolve))
      }
    },
  }
}

/** A session: what the watchdog sees, the client's far end, and the error that ended it. */
async function addSession(t: Test, watchdog: Watchdog, endpoint = testEndpoint) {
  const [client, clientEnd] = await socketPair(t)
  const [upstream] = await socketPair(t)
  client.on('error', () => {})
  const traffic = { bytesFromClient: 0, bytesFromUpstream: 0 }
  const session = {
    traffic,
    client,
    upstream,
    clientEnd,
    error: undefined as ProxyError | undefined,
    /** Writes to the client, which does not read, more than the system takes. */
    stall(bytes = 8 * MIB) {
      traffic.bytesFromUpstream += bytes
      client.write(Buffer.alloc(bytes))
    },
    unwatch: () => {},
  }
  session.unwatch = watchdog.watch({
    endpoint,
    traffic,
    client,
    upstream,
    clientTransport: client,
    end: error => {
      session.error = error
    },
  })
  return session
}

const STUCK: TcpState = { unacknowledged: 40, unanswered: 3 }
const ARRIVED: TcpState = { unacknowledged: 0, unanswered: 0 }

test('a database that acknowledges nothing ends the session', async t => {
  const { watchdog, table, pass } = createWatched()
  const session = await addSession(t, watchdog)
  session.traffic.bytesFromClient += 40
  table.set(tcpKey(session.upstream)!, STUCK)
  await pass(60)
  t.equal(session.error, undefined, 'not before the limit')
  await pass(8)
  t.match(session.error, { code: 'UPSTREAM_UNREACHABLE', message: /acknowledged nothing for 60 s/ })
})

test('a client that acknowledges nothing ends the session', async t => {
  const { watchdog, table, pass } = createWatched()
  const session = await addSession(t, watchdog)
  session.traffic.bytesFromUpstream += 40
  table.set(tcpKey(session.client)!, STUCK)
  await pass(68)
  t.match(session.error, { code: 'CLIENT_UNREACHABLE' })
})

test('a query that takes a day on a path that works', async t => {
  const { watchdog, table, pass, reads } = createWatched()
  const session = await addSession(t, watchdog)
  session.traffic.bytesFromClient += 40
  table.set(tcpKey(session.upstream)!, ARRIVED)
  await pass(86_400)
  t.equal(session.error, undefined)
  t.equal(reads(), 1, 'the kernel is asked once, because the query has arrived')
})

test('retransmissions that come through end nothing', async t => {
  const { watchdog, table, pass } = createWatched()
  const session = await addSession(t, watchdog)
  const key = tcpKey(session.upstream)!
  session.traffic.bytesFromClient += 1_000_000
  for (let n = 0; n < 30; n++) {
    // A lossy path: each look finds retransmissions, and that some bytes have arrived meanwhile.
    table.set(key, { unacknowledged: 1_000_000 - n, unanswered: 2 })
    await pass(6)
  }
  t.equal(session.error, undefined, 'less is left each time')
  table.set(key, { unacknowledged: 5, unanswered: 9 })
  await pass(40)
  table.set(key, { unacknowledged: 5, unanswered: 1 })
  await pass(40)
  t.equal(session.error, undefined, 'the count of retransmissions began again')
  await pass(40)
  t.match(session.error, { code: 'UPSTREAM_UNREACHABLE' })
})

test('a peer that answers in between is alive', async t => {
  const { watchdog, table, pass } = createWatched()
  const session = await addSession(t, watchdog)
  table.set(tcpKey(session.upstream)!, STUCK)
  for (let n = 0; n < 10; n++) {
    session.traffic.bytesFromClient += 40
    await pass(40)
    session.traffic.bytesFromUpstream += 10
    await pass(1)
  }
  t.equal(session.error, undefined)
})

test('idle sessions cost nothing', async t => {
  const { watchdog, pass, reads } = createWatched()
  await addSession(t, watchdog)
  await pass(3_600)
  t.equal(reads(), 0)
})

test('a connection without a row in the table, or no table at all, ends nothing', async t => {
  const clock = createTestClock()
  const watchdog = createWatchdog(clock, async () => undefined)
  const session = await addSession(t, watchdog)
  session.traffic.bytesFromClient += 40
  for (let n = 0; n < 100; n++) {
    clock.advance(1_000)
    await new Promise(resolve => setImmediate(resolve))
  }
  t.equal(session.error, undefined)
  const { watchdog: other, pass } = createWatched()
  const absent = await addSession(t, other)
  absent.traffic.bytesFromClient += 40
  await pass(100)
  t.equal(absent.error, undefined)
})

test('a limit of 0 turns both off', async t => {
  const { watchdog, table, pass, reads } = createWatched()
  const session = await addSession(t, watchdog, { ...testEndpoint, tcpUserTimeout: 0, clientWriteTimeout: 0 })
  session.traffic.bytesFromClient += 40
  session.stall()
  table.set(tcpKey(session.upstream)!, STUCK)
  await pass(3_600)
  t.equal(session.error, undefined)
  t.equal(reads(), 0)
})

test('a client that reads nothing ends the session', async t => {
  const { watchdog, pass } = createWatched()
  const session = await addSession(t, watchdog)
  session.stall()
  await pass(90)
  t.equal(session.error, undefined, 'not before the limit')
  await pass(1)
  t.match(session.error, { code: 'CLIENT_WRITE_TIMEOUT', message: /read nothing for 90 s/ })
})

test('a client that reads a little of one large write now and then is not ended', async t => {
  const { watchdog, pass } = createWatched()
  const session = await addSession(t, watchdog)
  const size = 32 * MIB
  session.stall(size)
  await pass(2)
  const waiting = () => session.client.writableLength
  let seconds = 0
  const { clientEnd } = session
  while (waiting() > 0) {
    await pass(80)
    seconds += 80
    const before = clientEnd.bytesRead
    // As much as must reach the proxy's own queue, beyond the buffers of the system.
    while (clientEnd.bytesRead < before + 7 * MIB && clientEnd.bytesRead < size) await readSome(clientEnd)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.ok(seconds > 90, 'it took longer than the limit')
  t.equal(session.error, undefined)
})

async function readSome(socket: Socket): Promise<void> {
  if (socket.read() === null) await once(socket, 'readable')
}

test('full buffers: the stalled clients that hold the most are ended, until the rest fits', async t => {
  const { watchdog, pass } = createWatched(20 * MIB)
  const small = await addSession(t, watchdog)
  const large = await addSession(t, watchdog)
  small.stall(12 * MIB)
  large.stall(16 * MIB)
  await pass(5)
  t.equal(large.error, undefined, 'it may be slow')
  await pass(1)
  t.match(large.error, { code: 'BUFFER_LIMIT_REACHED' })
  t.equal(small.error, undefined, 'enough is free')
})

test('below the limit of the buffers only the time counts', async t => {
  const { watchdog, pass } = createWatched(40 * MIB)
  const session = await addSession(t, watchdog)
  session.stall(30 * MIB)
  await pass(80)
  t.equal(session.error, undefined)
})

test('full buffers end no client that reads', async t => {
  const { watchdog, pass } = createWatched(1 * MIB)
  const session = await addSession(t, watchdog)
  for (let n = 0; n < 20; n++) {
    session.stall(2 * MIB)
    await pass(1)
    session.traffic.bytesFromUpstream++ // as if it had taken a byte
    await pass(1)
  }
  t.equal(session.error, undefined)
})

test('it rests while there is no session', async t => {
  const { watchdog, clock } = createWatched()
  t.equal(clock.pending(), 0)
  const [first, second] = [await addSession(t, watchdog), await addSession(t, watchdog)]
  t.equal(clock.pending(), 1, 'one timer for all')
  first.unwatch()
  t.equal(clock.pending(), 1)
  second.unwatch()
  t.equal(clock.pending(), 0)
})
