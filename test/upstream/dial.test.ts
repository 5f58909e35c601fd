import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type LookupFunction, type Socket } from 'node:net'
import { type Test, test } from 'tap'
import { createAddressBook } from '../../src/upstream/address-book.ts'
import { dial } from '../../src/upstream/dial.ts'
import type { NameLookup } from '../../src/upstream/name-lookup.ts'
import { createTestClock } from '../support/clock.ts'
import { greeting, packet } from '../support/scripted-upstream.ts'

const LIVE = '127.0.0.1'
/** Nothing listens here. */
const REFUSES = '127.0.0.2'
/** A server that accepts and says nothing, as an NLB without a usable target does. */
const MUTE = '127.0.0.3'
/** No answer at all: a process listens, accepts nothing, and has a full queue, so that the kernel drops each SYN. */
const BLACK_HOLE = '127.0.0.4'

/** Listens with the shortest queue, then blocks its event loop for ever. */
const FULL_SERVER = `
const server = require('node:net').createServer()
server.listen({ host: process.argv[1], port: Number(process.argv[2]), backlog: 1 }, () => {
  require('node:fs').writeSync(1, 'listening')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
})`

const LIMITS = { greetingTimeout: 60_000, loginTimeout: 60_000, keepalive: 60_000 }

async function startBlackHole(t: Test, port: number): Promise<void> {
  const child = spawn(process.execPath, ['-e', FULL_SERVER, BLACK_HOLE, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  // The queue holds one more than its length.
  for (let n = 0; n < 2; n++) {
    const socket = connect(port, BLACK_HOLE)
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
  }
}

/** A server at LIVE that sends greetings, and one at MUTE that closes; on the same port. */
async function setUp(t: Test) {
  const sockets = new Set<Socket>()
  const listen = async (host: string, port: number, say: (socket: Socket) => void) => {
    const server = createServer(socket => {
      sockets.add(socket)
      socket.on('error', () => {})
      say(socket)
    })
    await new Promise<void>(resolve => server.listen(port, host, resolve))
    t.teardown(() => server.close())
    return (server.address() as AddressInfo).port
  }
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  const port = await listen(LIVE, 0, socket => socket.write(packet(greeting(), 0)))
  await listen(MUTE, port, socket => socket.end())
  const addresses = createAddressBook()
  /** Resolves with the address that answered. */
  const dialled = async (found: string[], connectTimeout = 60_000) => {
    const lookup: LookupFunction = (_name, { all }, done) => {
      const entries = found.map(address => ({ address, family: 4 }))
      process.nextTick(() => (all ? done(null, entries) : done(null, entries[0]!.address, 4)))
    }
    const options = { dial: { host: 'nlb.test', port }, connectTimeout, ...LIMITS }
    const { wire } = await dial(options, new AbortController().signal, { addresses, lookup })
    const { remoteAddress } = wire.socket
    wire.socket.destroy()
    return remoteAddress
  }
  const order = (...found: string[]) => addresses.sort(found.map(address => ({ address }))).map(entry => entry.address)
  return { dialled, order, port }
}

test('the first address that works is used', async t => {
  const { dialled } = await setUp(t)
  t.equal(await dialled([LIVE, REFUSES]), LIVE)
})

test('a black hole that is listed first goes last for later logins', async t => {
  const { dialled, order, port } = await setUp(t)
  await startBlackHole(t, port)
  t.equal(await dialled([BLACK_HOLE, LIVE], 3_000), LIVE, 'the first login gets in, late')
  t.strictSame(order(BLACK_HOLE, LIVE), [LIVE, BLACK_HOLE], 'the next login does not wait for it')
})

test('an address that refuses goes last', async t => {
  const { dialled, order } = await setUp(t)
  t.equal(await dialled([REFUSES, LIVE]), LIVE)
  t.strictSame(order(REFUSES, LIVE), [LIVE, REFUSES])
})

test('an address that accepts and sends no greeting goes last', async t => {
  const { dialled, order } = await setUp(t)
  await t.rejects(dialled([MUTE, LIVE]), { code: 'UPSTREAM_CLOSED' })
  t.strictSame(order(MUTE, LIVE), [LIVE, MUTE])
  t.equal(await dialled([MUTE, LIVE]), LIVE, 'the next login gets in')
})

test('a black hole as the only address', async t => {
  const { dialled, order, port } = await setUp(t)
  await startBlackHole(t, port)
  await t.rejects(dialled([BLACK_HOLE], 250), { code: 'DIAL_TIMEOUT' })
  t.equal(await dialled([LIVE]), LIVE)
  t.strictSame(order(LIVE, BLACK_HOLE), [LIVE, BLACK_HOLE])
})

test('a name without an address', async t => {
  const lookup: LookupFunction = (_name, _options, done) => {
    process.nextTick(() => done(Object.assign(new Error('unknown'), { code: 'ENOTFOUND' }), []))
  }
  const options = { dial: { host: 'nlb.test', port: 1 }, connectTimeout: 60_000, ...LIMITS }
  await t.rejects(dial(options, new AbortController().signal, { lookup }), { code: 'DIAL_DNS' })
})

test('a name server that is silent', async t => {
  const clock = createTestClock(1_000)
  const { promise: asked, resolve: onAsked } = withResolvers()
  const options = { dial: { host: 'nlb.test', port: 1 }, connectTimeout: 5_000, ...LIMITS }
  const dialled = dial(options, new AbortController().signal, { clock, lookup: () => onAsked() })
  dialled.catch(() => {})
  await asked
  clock.advance(5_000)
  await t.rejects(dialled, { code: 'DIAL_DNS', message: 'no answer from DNS for the name nlb.test' })
  t.equal(clock.pending(), 0)
})

/** A server that greets when the test says so; a dial to it on a test clock, once it is connected. */
async function dialSilent(t: Test, timeouts: Partial<typeof LIMITS> = {}) {
  let greet = () => {}
  const server = createServer(socket => {
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    greet = () => socket.write(packet(greeting(), 0))
  })
  server.listen(0, LIVE)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const clock = createTestClock(1_000)
  const addresses = createAddressBook(clock)
  const stop = new AbortController()
  const options = { dial: { host: LIVE, port }, connectTimeout: 5_000, ...LIMITS, ...timeouts }
  const accepted = once(server, 'connection')
  const { promise: connected, resolve: onConnect } = withResolvers()
  const dialled = dial(options, stop.signal, { addresses, clock, onConnect })
  dialled.catch(() => {})
  await Promise.all([accepted, connected])
  return { clock, addresses, stop, dialled, greet: () => greet() }
}

function withResolvers() {
  let resolve = () => {}
  const promise = new Promise<void>(done => {
    resolve = done
  })
  return { promise, resolve }
}

test('a database that resumes for 45 s greets in time, and the time of the login begins then', async t => {
  const { clock, dialled, greet } = await dialSilent(t, { loginTimeout: 8_000 })
  clock.advance(45_000)
  greet()
  const { wire } = await dialled
  t.equal(wire.deadline, clock.now() + 8_000)
  t.equal(clock.pending(), 0, 'no timer is left')
  wire.socket.destroy()
})

test('a database that never greets', async t => {
  const { clock, dialled } = await dialSilent(t)
  clock.advance(59_999)
  clock.advance(1)
  await t.rejects(dialled, { code: 'UPSTREAM_TIMEOUT', message: /the greeting of 127\.0\.0\.1:\d+/ })
})

test('after 3 s without a greeting, other logins prefer other addresses until it comes', async t => {
  const { clock, addresses, dialled, greet } = await dialSilent(t)
  const order = () => addresses.sort([{ address: LIVE }, { address: MUTE }]).map(({ address }) => address)
  clock.advance(2_999)
  t.same(order(), [LIVE, MUTE])
  clock.advance(1)
  t.same(order(), [MUTE, LIVE])
  greet()
  const { wire } = await dialled
  t.same(order(), [LIVE, MUTE])
  wire.socket.destroy()
})

test('stop ends the wait, and says nothing about the address', async t => {
  const { addresses, stop, dialled } = await dialSilent(t)
  stop.abort()
  await t.rejects(dialled, { code: 'UPSTREAM_CLOSED' })
  t.same(addresses.sort([{ address: LIVE }, { address: MUTE }])[0], { address: LIVE })
})

/** A dial whose name has the addresses of `answers`, the last one from then on; whether each is used again. */
async function dialAnswers(t: Test, port: number, answers: [found: string[], isReused: boolean][]) {
  const clock = createTestClock(1_000)
  const said: string[] = []
  const { promise: asked, resolve: onAsked } = withResolvers()
  const names: NameLookup = {
    async find(host) {
      const [found, isReused] = answers.length > 1 ? answers.shift()! : answers[0]!
      said.push(`find ${host}`)
      onAsked()
      return { addresses: found.map(address => ({ address, family: 4 })), isReused }
    },
    // A failure may be noticed twice.
    distrust: host => said.at(-1)?.startsWith('distrust') || said.push(`distrust ${host}`),
    forget: () => {},
  }
  const addresses = createAddressBook(clock, names)
  const stop = new AbortController()
  const options = { dial: { host: 'nlb.test', port }, connectTimeout: 3_000, ...LIMITS }
  const dialled = dial(options, stop.signal, { addresses, clock }).then(({ wire }) => {
    t.teardown(() => wire.socket.destroy())
    return wire.socket.remoteAddress
  })
  dialled.catch(() => {})
  await asked
  return { clock, said, stop, dialled }
}

const [FIND, DISTRUST] = ['find nlb.test', 'distrust nlb.test']

test('an address that is used again and refuses: the login tries the present one', async t => {
  const { port } = await setUp(t)
  const { said, dialled, clock } = await dialAnswers(t, port, [
    [[REFUSES], true],
    [[LIVE], false],
  ])
  t.equal(await dialled, LIVE)
  t.same(said, [FIND, DISTRUST, FIND])
  t.equal(clock.pending(), 0)
})

test('an address that is used again and refuses, and is still the only one', async t => {
  const { port } = await setUp(t)
  const { said, dialled, clock } = await dialAnswers(t, port, [
    [[REFUSES], true],
    [[REFUSES], false],
  ])
  await t.rejects(dialled, { code: 'DIAL_REFUSED' })
  t.same(said.slice(0, 3), [FIND, DISTRUST, FIND])
  t.equal(said.filter(what => what === FIND).length, 2)
  t.equal(clock.pending(), 0)
})

test('an address of this moment that refuses', async t => {
  const { port } = await setUp(t)
  const { said, dialled } = await dialAnswers(t, port, [
    [[REFUSES], false],
    [[LIVE], false],
  ])
  await t.rejects(dialled, { code: 'DIAL_REFUSED' })
  t.same(said, [FIND, DISTRUST])
})

test('an address that is used again, where packets vanish: after a third of the time the present one counts', async t => {
  const { port } = await setUp(t)
  await startBlackHole(t, port)
  const { clock, said, dialled } = await dialAnswers(t, port, [
    [[BLACK_HOLE], true],
    [[LIVE], false],
  ])
  await new Promise(setImmediate)
  t.same(said, [FIND])
  clock.advance(1_000)
  t.equal(await dialled, LIVE)
  t.same(said.slice(0, 3), [FIND, DISTRUST, FIND])
})

test('an address that is used again, slow to answer, and still the only one', async t => {
  const { port } = await setUp(t)
  await startBlackHole(t, port)
  const { clock, stop, dialled, said } = await dialAnswers(t, port, [
    [[BLACK_HOLE], true],
    [[BLACK_HOLE], false],
  ])
  await new Promise(setImmediate)
  clock.advance(2_999)
  await new Promise(setImmediate)
  t.same(said, [FIND, DISTRUST, FIND])
  stop.abort()
  await t.rejects(dialled, { code: 'DIAL_FAILED' }, 'until then the login has waited for it')
})
