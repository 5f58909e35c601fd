import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type Test, test } from 'tap'
import type { ProxyError } from '../../src/errors.ts'
import { type TcpState, type TcpTable, tcpKey } from '../../src/net/tcp-table.ts'
import { createWire, readPacket } from '../../src/net/wire.ts'
import { createWatchdog, type Watchdog } from '../../src/proxy/watchdog.ts'
import type { Disturbance, WakeWatch } from '../../src/wake.ts'
import { createTestClock } from '../support/clock.ts'
import { testEndpoint } from '../support/endpoint.ts'
import { socketPair } from '../support/socket-pair.ts'

const MIB = 1024 * 1024

/** A watchdog on a test clock, with a table of connections that the test writes. */
function createWatched(maxBuffered?: number, isOurs = false) {
  const clock = createTestClock()
  const table: TcpTable = new Map()
  let reads = 0
  const readTable = async () => {
    reads++
    return table
  }
  const listeners = new Set<(disturbance: Disturbance) => void>()
  const wakes: Pick<WakeWatch, 'subscribe'> = {
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const asked: string[] = []
  const watchdog = createWatchdog(clock, readTable, maxBuffered, wakes, async address => {
    asked.push(address)
    return isOurs
  })
  return {
    listeners,
    asked,
    /** The machine slept; these are its addresses now. */
    disturb(addresses: string[] | null = ['127.0.0.1']) {
      const disturbance = { kind: 'sleep', what: 'this machine slept for 60 min' } as const
      for (const listener of listeners)
        listener({ ...disturbance, addresses: addresses ? new Set(addresses) : undefined })
    },
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
    /** whether other logins should prefer another address */
    isOfAddress: undefined as boolean | undefined,
    /** what was set as the idle time before keepalive probes */
    keepalive: [] as (number | undefined)[],
    /** Writes to the client, which does not read, more than the system takes. */
    stall(bytes = 8 * MIB) {
      traffic.bytesFromUpstream += bytes
      client.write(Buffer.alloc(bytes))
    },
    unwatch: () => {},
  }
  upstream.on('error', () => {})
  const setKeepAlive = upstream.setKeepAlive.bind(upstream)
  upstream.setKeepAlive = (enable, delay) => {
    session.keepalive.push(delay)
    return setKeepAlive(enable, delay)
  }
  watchdog.connected(createWire(upstream, 'upstream', 0), endpoint.keepalive)
  session.unwatch = watchdog.watch({
    endpoint,
    traffic,
    client,
    upstream,
    clientTransport: client,
    end: (error, isOfAddress) => {
      Object.assign(session, { error, isOfAddress })
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
  t.equal(clock.pending(), 1, 'their connections are not closed yet')
  for (const { upstream } of [first, second]) {
    upstream.destroy()
    await once(upstream, 'close')
  }
  t.equal(clock.pending(), 0)
})

test('after a sleep, a session is probed for half a minute', async t => {
  const { watchdog, pass, disturb } = createWatched()
  const session = await addSession(t, watchdog)
  disturb()
  t.strictSame(session.keepalive, [1_000])
  await pass(29)
  t.strictSame(session.keepalive, [1_000])
  await pass(2)
  t.strictSame(session.keepalive, [1_000, 60_000], 'then as before')
  await pass(3_600)
  t.equal(session.error, undefined, 'a peer that answers keeps it')
  t.equal(session.keepalive.length, 2)
})

test('a session whose local address is gone for 10 s ends', async t => {
  const { watchdog, pass, disturb, asked } = createWatched()
  const session = await addSession(t, watchdog)
  disturb(['192.168.1.7'])
  t.strictSame(session.keepalive, [], 'a probe could not be answered')
  await pass(9)
  t.equal(session.error, undefined)
  await pass(2)
  t.match(session.error, {
    code: 'UPSTREAM_UNREACHABLE',
    message:
      /^the connection to the database behind \S+:3306 is dead: this machine no longer has its address 127\.0\.0\.1$/,
  })
  t.equal(session.isOfAddress, false, 'the database is not at fault')
  t.strictSame(asked, ['127.0.0.1'])
})

test('a connection that is logging in and whose local address is gone fails', async t => {
  const { watchdog, pass, disturb } = createWatched()
  const [upstream] = await socketPair(t)
  const wire = createWire(upstream, 'upstream', 60_000)
  watchdog.connected(wire, 60_000)
  const failed = t.rejects(readPacket(wire, 'the greeting'), {
    code: 'UPSTREAM_CLOSED',
    message: /the greeting \(EADDRNOTAVAIL\)/,
  })
  disturb([])
  await pass(12)
  await failed
})

test('another change meanwhile does not give a session more time', async t => {
  const { watchdog, pass, disturb } = createWatched()
  const session = await addSession(t, watchdog)
  disturb([])
  await pass(8)
  disturb(['192.168.1.7'])
  await pass(3)
  t.match(session.error, { code: 'UPSTREAM_UNREACHABLE' })
})

test('an address that comes back in time keeps its sessions, which are probed then', async t => {
  const { watchdog, pass, disturb, asked } = createWatched()
  const session = await addSession(t, watchdog)
  disturb([])
  await pass(8)
  disturb(['127.0.0.1'])
  t.strictSame(session.keepalive, [1_000])
  await pass(60)
  t.equal(session.error, undefined)
  t.strictSame(asked, [])
})

test('an address that is not listed but can be used keeps its sessions', async t => {
  const { watchdog, pass, disturb, asked } = createWatched(undefined, true)
  const session = await addSession(t, watchdog)
  disturb([])
  await pass(60)
  t.equal(session.error, undefined, 'a cable without a signal')
  t.strictSame(asked, ['127.0.0.1'], 'asked once')
})

test('a system that hides its addresses: sessions are probed', async t => {
  const { watchdog, disturb } = createWatched()
  const session = await addSession(t, watchdog)
  disturb(null)
  t.strictSame(session.keepalive, [1_000])
})

test('a connection whose probes get no answer: the error says what happened before', async t => {
  const { watchdog, disturb, pass } = createWatched()
  const session = await addSession(t, watchdog)
  disturb()
  await pass(11)
  session.upstream.destroy(Object.assign(new Error('read ETIMEDOUT'), { code: 'ETIMEDOUT' }))
  await pass(1)
  t.match(session.error, {
    code: 'UPSTREAM_UNREACHABLE',
    message: /is broken \(ETIMEDOUT\) since this machine slept for 60 min$/,
  })
  t.equal(session.isOfAddress, false)
})

test('a reset is an error of ours only after a disturbance', async t => {
  const { watchdog, disturb, pass } = createWatched()
  const reset = () => Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
  const [quiet, disturbed] = [await addSession(t, watchdog), await addSession(t, watchdog)]
  quiet.upstream.destroy(reset())
  await pass(1)
  t.equal(quiet.error, undefined, 'the server restarted')
  disturb()
  disturbed.upstream.destroy(reset())
  await pass(1)
  t.match(disturbed.error, { message: /is broken \(ECONNRESET\) since/ })
})

test('a path that is lost without a disturbance: other logins prefer another address', async t => {
  const { watchdog, pass } = createWatched()
  const session = await addSession(t, watchdog)
  session.upstream.destroy(Object.assign(new Error('read ETIMEDOUT'), { code: 'ETIMEDOUT' }))
  await pass(1)
  t.match(session.error, { message: /is broken \(ETIMEDOUT\)$/ })
  t.equal(session.isOfAddress, true)
})

test('after a disturbance, unacknowledged bytes end a session after 20 s', async t => {
  const { watchdog, table, pass, disturb } = createWatched()
  const session = await addSession(t, watchdog)
  session.traffic.bytesFromClient += 40
  table.set(tcpKey(session.upstream)!, STUCK)
  await pass(30)
  disturb()
  await pass(19)
  t.equal(session.error, undefined, 'what was before the sleep does not count')
  await pass(8)
  t.match(session.error, { message: /acknowledged nothing for 20 s/ })
  t.equal(session.isOfAddress, false)
})

test('a shorter tcp-user-timeout stays, and 0 stays off', async t => {
  for (const [tcpUserTimeout, expected] of [
    [5_000, /acknowledged nothing for 5 s/],
    [0, undefined],
  ] as const) {
    const { watchdog, table, pass, disturb } = createWatched()
    const session = await addSession(t, watchdog, { ...testEndpoint, tcpUserTimeout })
    session.traffic.bytesFromClient += 40
    table.set(tcpKey(session.upstream)!, STUCK)
    disturb()
    await pass(60)
    if (expected) t.match(session.error?.message, expected)
    else t.equal(session.error, undefined)
  }
})

test('a process that did not run blames no peer for that time', async t => {
  const { watchdog, clock, pass } = createWatched()
  const session = await addSession(t, watchdog)
  session.stall()
  await pass(80)
  t.equal(session.error, undefined)
  // As after a sleep, where the clock went on and the timers did not.
  clock.skip(3_600_000)
  await pass(80)
  t.equal(session.error, undefined, 'the time before counts no more')
  await pass(20)
  t.match(session.error, { code: 'CLIENT_WRITE_TIMEOUT' })
})

test('without sessions it hears of no disturbance', async t => {
  const { watchdog, listeners, clock } = createWatched()
  const [first, second] = [await addSession(t, watchdog), await addSession(t, watchdog)]
  t.equal(listeners.size, 1)
  first.unwatch()
  t.equal(listeners.size, 1)
  second.unwatch()
  second.unwatch()
  t.equal(listeners.size, 1, 'their connections are not closed yet')
  for (const { upstream } of [first, second]) {
    upstream.destroy()
    await once(upstream, 'close')
  }
  t.equal(listeners.size, 0)
  t.equal(clock.pending(), 0)
  await addSession(t, watchdog)
  t.equal(listeners.size, 1)
})
