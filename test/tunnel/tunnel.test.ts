/** The life cycle of a tunnel, over a transport that does what the test says. */
import { setMaxListeners } from 'node:events'
import { Socket } from 'node:net'
import { test } from 'tap'
import { ProxyError } from '../../src/errors.ts'
import { silent } from '../../src/log.ts'
import { createTunnelState } from '../../src/state.ts'
import {
  createTunnel,
  MAX_PAUSE_MS,
  MIN_PAUSE_MS,
  type OpenTunnel,
  STABLE_MS,
  type TunnelOptions,
} from '../../src/tunnel/tunnel.ts'
import { createTestClock } from '../support/clock.ts'
import { failureOf } from '../support/failure-of.ts'

const target = { host: 'database-1.abc.eu-west-1.rds.amazonaws.com', port: 3306 }
const never = new AbortController().signal
setMaxListeners(0, never) // as the signal of a listener has

/** Lets everything run that waits for nothing but its turn. */
const settle = async () => {
  for (let n = 0; n < 5; n++) await new Promise(resolve => setImmediate(resolve))
}

/** One call of the transport, which the test answers. */
interface Start {
  stop: AbortSignal
  accept(more?: Partial<OpenTunnel>): void
  reject(error: ProxyError): void
  /** the open tunnel ends by itself */
  end(error: ProxyError): void
  closed: boolean
}

function setUp(more: Partial<TunnelOptions> = {}) {
  const clock = createTestClock(1_000)
  const starts: Start[] = []
  const lines: string[] = []
  const note = (level: string) => (fields: object, message: string) =>
    lines.push(`${level} ${'code' in fields ? `${fields.code}: ` : ''}${message}`)
  const state = createTunnelState('the scripted transport')
  const tunnel = createTunnel({
    transport: {
      name: 'the scripted transport',
      open: (_target, stop) =>
        new Promise((resolve, reject) => {
          let end = (_error?: ProxyError) => {}
          const ended = new Promise<ProxyError | undefined>(done => {
            end = done
          })
          const start: Start = {
            stop,
            accept: others =>
              resolve({
                address: { host: '127.0.0.1', port: 20_000 + starts.length },
                ended,
                async close() {
                  start.closed = true
                  end()
                },
                ...others,
              }),
            reject,
            end,
            closed: false,
          }
          stop.addEventListener('abort', () => reject(stop.reason))
          starts.push(start)
        }),
    },
    target,
    timeout: 15_000,
    idleTimeout: 600_000,
    state,
    log: { ...silent, info: note('info'), warn: note('warn'), error: note('error') },
    clock,
    ...more,
  })
  /** the tunnel as it is once `uses` connections go through it */
  const open = async (uses = 1) => {
    const acquired = Array.from({ length: uses }, () => tunnel.acquire(never))
    await settle()
    starts.at(-1)!.accept()
    return await Promise.all(acquired)
  }
  return { clock, starts, lines, state, tunnel, open }
}

const gone = (text = 'the program ended: killed') => new ProxyError('TUNNEL_LOST', text)

test('it starts with the first client, and many at once start one', async t => {
  const { starts, state, tunnel, lines, clock } = setUp()
  await settle()
  t.equal(starts.length, 0)
  t.equal(state.word, 'idle')
  t.notOk(tunnel.isStarting())
  const acquired = Array.from({ length: 50 }, () => tunnel.acquire(never))
  await settle()
  t.equal(state.word, 'starting')
  t.ok(tunnel.isStarting())
  t.equal(starts.length, 1)
  clock.advance(1_500)
  starts[0]!.accept()
  for (const use of await Promise.all(acquired)) t.same(use.address, { host: '127.0.0.1', port: 20_001 })
  t.equal(state.word, 'open')
  t.notOk(tunnel.isStarting())
  t.equal(starts.length, 1)
  t.same(lines, [`info the tunnel to ${target.host}:3306 is open`])
  t.equal(state.restarts, 0)
})

test('it ends after the idle time, which begins when the last connection closes', async t => {
  const { starts, state, tunnel, open, clock, lines } = setUp()
  const [first, second] = await open(2)
  first!.release()
  first!.release()
  clock.advance(600_000)
  t.equal(state.word, 'open', 'the second is still there')
  second!.release()
  clock.advance(599_999)
  const third = await tunnel.acquire(never)
  clock.advance(600_000)
  t.equal(state.word, 'open')
  third.release()
  clock.advance(600_000)
  t.equal(state.word, 'idle')
  t.ok(starts[0]!.closed)
  t.match(lines.at(-1), /^info the tunnel to .* ends: nothing uses it$/)
  await settle()
  clock.advance(600_000)
  t.equal(starts.length, 1)
  t.equal(clock.pending(), 0)
  await open()
  t.equal(starts.length, 2, 'the next client starts it again')
  t.equal(state.restarts, 0)
})

test('a tunnel that ends by itself is restarted with growing pauses, and a stable one begins from the shortest', async t => {
  const { starts, state, open, clock, lines } = setUp()
  await open()
  clock.advance(STABLE_MS)
  starts[0]!.end(gone())
  await settle()
  t.equal(state.word, 'failed')
  t.match(state.error, { code: 'TUNNEL_LOST', message: 'the program ended: killed' })
  t.match(lines.at(-1), 'error TUNNEL_LOST: the program ended: killed')
  for (const pause of [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
    const before = starts.length
    clock.advance(pause - 1)
    await settle()
    t.equal(starts.length, before, `not before ${pause} ms`)
    clock.advance(1)
    await settle()
    t.equal(starts.length, before + 1)
    t.equal(state.word, 'starting')
    starts.at(-1)!.reject(new ProxyError('TUNNEL_FAILED', 'connection refused'))
    await settle()
  }
  t.equal(state.restarts, 7)
  clock.advance(MAX_PAUSE_MS)
  await settle()
  starts.at(-1)!.accept()
  await settle()
  t.equal(state.word, 'open')
  t.equal(state.error, undefined)
  clock.advance(STABLE_MS)
  const before = starts.length
  starts.at(-1)!.end(gone())
  await settle()
  clock.advance(MIN_PAUSE_MS)
  await settle()
  t.equal(starts.length, before + 1)
})

test('a tunnel that opens and ends again and again does not restart without pauses', async t => {
  const { starts, open, clock } = setUp()
  await open()
  for (const pause of [500, 1_000, 2_000]) {
    starts.at(-1)!.end(gone())
    await settle()
    const before = starts.length
    clock.advance(pause - 1)
    await settle()
    t.equal(starts.length, before)
    clock.advance(1)
    await settle()
    starts.at(-1)!.accept()
    await settle()
  }
})

test('a tunnel that never worked waits for the next client, who waits for the end of the pause', async t => {
  const { starts, state, tunnel, clock } = setUp()
  const waiting = [failureOf(tunnel.acquire(never)), failureOf(tunnel.acquire(never))]
  await settle()
  starts[0]!.reject(new ProxyError('TUNNEL_FAILED', 'Permission denied (publickey)'))
  for (const error of await Promise.all(waiting)) t.match(error, { code: 'TUNNEL_FAILED' })
  await settle()
  clock.advance(60_000)
  await settle()
  t.equal(starts.length, 1)
  t.equal(state.word, 'failed')

  const next = failureOf(tunnel.acquire(never))
  await settle()
  t.equal(starts.length, 2, 'the pause is over')
  starts[1]!.reject(new ProxyError('TUNNEL_FAILED', 'Permission denied (publickey)'))
  await next
  const third = tunnel.acquire(never)
  await settle()
  t.equal(starts.length, 2, 'it waits')
  clock.advance(1_000)
  await settle()
  starts[2]!.accept()
  t.equal((await third).address.port, 20_003)

  t.equal(state.restarts, 2)
})

test('a failure is forgotten after the idle time', async t => {
  const { starts, state, tunnel, clock } = setUp()
  const waiting = failureOf(tunnel.acquire(never))
  await settle()
  starts[0]!.reject(new ProxyError('TUNNEL_FAILED', 'Permission denied (publickey)'))
  await waiting
  clock.advance(600_000)
  t.equal(state.word, 'idle')
  t.match(state.error, { message: 'Permission denied (publickey)' })
})

test('restarts end when nothing has used the tunnel for the idle time', async t => {
  const { starts, state, open, clock } = setUp({ idleTimeout: 5_000 })
  const [use] = await open()
  starts[0]!.end(gone())
  use!.release()
  await settle()
  clock.advance(500)
  await settle()
  t.equal(starts.length, 2)
  clock.advance(4_500)
  await settle()
  t.equal(state.word, 'idle')
  t.ok(starts[1]!.stop.aborted, 'the start was stopped')
  t.equal(clock.pending(), 0)
})

test('a start that takes too long is stopped', async t => {
  const { starts, state, tunnel, clock } = setUp({ timeout: 2_500 })
  const waiting = failureOf(tunnel.acquire(never))
  await settle()
  clock.advance(2_499)
  await settle()
  t.notOk(starts[0]!.stop.aborted)
  clock.advance(1)
  t.match(await waiting, {
    code: 'TUNNEL_TIMEOUT',
    message: 'the scripted transport made no port that accepts within 2.5 s',
  })
  t.equal(state.word, 'failed')
})

test('a tunnel that opens in the moment in which it is stopped is closed', async t => {
  const { starts, tunnel, clock } = setUp()
  const waiting = failureOf(tunnel.acquire(never))
  await settle()
  starts[0]!.accept()
  clock.advance(15_000)
  t.match(await waiting, { code: 'TUNNEL_TIMEOUT' })
  t.ok(starts[0]!.closed)
})

test('a login that stops to wait does not stop the start for others', async t => {
  const { starts, tunnel } = setUp()
  const stop = new AbortController()
  const left = failureOf(tunnel.acquire(stop.signal))
  const stays = tunnel.acquire(never)
  await settle()
  stop.abort(new ProxyError('PROXY_STOPPING', 'stops'))
  t.match(await left, { code: 'PROXY_STOPPING' })
  starts[0]!.accept()
  t.equal((await stays).address.port, 20_001)
  t.match(await failureOf(tunnel.acquire(stop.signal)), { code: 'PROXY_STOPPING' })
})

test('the first login takes the connection that showed that the tunnel accepts', async t => {
  const { starts, tunnel } = setUp()
  const acquired = [tunnel.acquire(never), tunnel.acquire(never)]
  await settle()
  const connection = new Socket()
  starts[0]!.accept({ connection })
  const [first, second] = await Promise.all(acquired)
  t.equal(first!.connection, connection)
  t.equal(second!.connection, undefined)
  await settle()
  t.notOk(connection.destroyed)
})

test('a connection that no login takes is discarded', async t => {
  const discarded: Socket[] = []
  const { starts, open, clock } = setUp({ discard: connection => discarded.push(connection) })
  await open()
  starts[0]!.end(gone())
  await settle()
  clock.advance(500)
  await settle()
  const connection = new Socket()
  starts[1]!.accept({ connection })
  await settle()
  t.same(discarded, [connection])

  const plain = setUp({ idleTimeout: 0 })
  await settle()
  const other = new Socket()
  plain.starts[0]!.accept({ connection: other })
  await settle()
  t.ok(other.destroyed, 'without a way to end it well, it closes')
})

test('without an idle timeout, the tunnel opens with the proxy, stays, and is restarted also if it never worked', async t => {
  const { starts, state, tunnel, clock } = setUp({ idleTimeout: 0 })
  await settle()
  t.equal(starts.length, 1)
  t.notOk(tunnel.isStarting(), 'no login waits')
  starts[0]!.reject(new ProxyError('TUNNEL_FAILED', 'refused'))
  await settle()
  clock.advance(500)
  await settle()
  starts[1]!.accept()
  await settle()
  const use = await tunnel.acquire(never)
  use.release()
  clock.advance(24 * 3_600_000)
  t.equal(state.word, 'open')
  t.equal(clock.pending(), 0)
  await tunnel.close()
  t.ok(starts[1]!.closed)
})

test('a retired tunnel ends with its last connection', async t => {
  for (const idleTimeout of [0, 600_000]) {
    const { starts, state, tunnel, clock } = setUp({ idleTimeout })
    const acquired = tunnel.acquire(never)
    await settle()
    starts[0]!.accept()
    const use = await acquired
    tunnel.retire()
    clock.advance(1)
    t.equal(state.word, 'open')
    use.release()
    clock.advance(0)
    t.equal(state.word, 'idle')
    t.ok(starts[0]!.closed)
  }
  const unused = setUp()
  unused.tunnel.retire()
  unused.clock.advance(0)
  t.equal(unused.state.word, 'idle')
})

test('a restart ends the present tunnel and begins another one at once', async t => {
  const { starts, state, tunnel, open, clock } = setUp()
  tunnel.restart()
  t.equal(starts.length, 0, 'an idle tunnel has nothing to restart')
  const [use] = await open()
  tunnel.restart()
  t.match(await use!.lost(), { code: 'TUNNEL_LOST', message: /was restarted/ })
  await settle()
  t.ok(starts[0]!.closed)
  t.equal(starts.length, 2)
  starts[1]!.accept()
  await settle()
  t.equal(state.word, 'open')
  t.equal(state.restarts, 1)
  use!.release()
  t.equal((await tunnel.acquire(never)).address.port, 20_002)
  await tunnel.close()
  tunnel.restart()
  clock.advance(60_000)
  t.equal(starts.length, 2)
})

test('after the end of the proxy nothing starts', async t => {
  const { starts, tunnel, open, clock, state } = setUp()
  const [use] = await open()
  const starting = setUp()
  const waiting = failureOf(starting.tunnel.acquire(never))
  await settle()
  await Promise.all([tunnel.close(), starting.tunnel.close()])
  t.match(await waiting, { code: 'PROXY_STOPPING' })
  t.ok(starting.starts[0]!.stop.aborted)
  use!.release()
  clock.advance(1_000_000)
  t.match(await failureOf(tunnel.acquire(never)), { code: 'TUNNEL_LOST', message: /is closed/ })
  t.equal(starts.length, 1)
  t.equal(state.word, 'idle')
})

test('a connection that closes before the greeting: the end of the tunnel, its words, or only the fact', async t => {
  const closed = new ProxyError('UPSTREAM_CLOSED', 'connection closed while waiting for the greeting')
  const late = new ProxyError('UPSTREAM_TIMEOUT', 'timed out while waiting for the greeting')

  const ended = setUp()
  const [use] = await ended.open()
  const explained = use!.explain(closed)
  ended.starts[0]!.end(gone())
  t.equal((await explained).message, 'the program ended: killed')
  t.equal((await use!.explain(closed)).message, 'the program ended: killed', 'also when it is known')

  const speaking = setUp()
  const acquired = speaking.tunnel.acquire(never)
  await settle()
  speaking.starts[0]!.accept({ wordsSince: async moment => (moment === 1_000 ? 'open failed: refused' : undefined) })
  t.match(await (await acquired).explain(closed), {
    code: 'TUNNEL_TARGET',
    message: /^the tunnel to .*:3306 accepted the connection and closed it before the greeting: open failed: refused$/,
    cause: closed,
  })

  // The words about the transport's own connection may come before a login has it.
  const early = setUp()
  const taken = early.tunnel.acquire(never)
  await settle()
  early.starts[0]!.accept({
    connection: new Socket(),
    connectionSince: 400,
    wordsSince: async moment => (moment === 400 ? 'open failed: refused' : undefined),
  })
  t.match(await (await taken).explain(closed), { message: /open failed: refused$/ })

  const mute = setUp()
  const [other] = await mute.open()
  const results = [other!.explain(closed), other!.explain(late), other!.lost()]
  await settle()
  mute.clock.advance(500)
  const [first, second, third] = await Promise.all(results)
  t.match(first, { code: 'TUNNEL_TARGET', message: /closed it before the greeting$/ })
  t.match(second, { code: 'TUNNEL_TARGET', message: /accepted the connection, but no greeting came through it$/ })
  t.equal(third, undefined)
  const refused = other!.explain(
    new ProxyError('DIAL_REFUSED', 'refused', { cause: Object.assign(new Error('x'), { code: 'ECONNREFUSED' }) }),
  )
  await settle()
  mute.clock.advance(500)
  t.match(await refused, { code: 'TUNNEL_LOST', message: /accepts no more connections: ECONNREFUSED$/ })
})

test('a connection that closes after the tunnel leaves no timer', async t => {
  const { tunnel, open, clock } = setUp()
  const [use] = await open()
  await tunnel.close()
  use!.release()
  t.equal(clock.pending(), 0)
})
