/** Clients that the listener refuses before a session begins. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type Test, test } from 'tap'
import type { HostPort } from '../../src/endpoint.ts'
import { ProxyError } from '../../src/errors.ts'
import type { FileShares } from '../../src/file-limit.ts'
import { parseERR_Packet } from '../../src/protocol/packets.ts'
import type { Served } from '../../src/proxy/served.ts'
import { startServer } from '../../src/proxy/server.ts'
import { createSessions } from '../../src/proxy/sessions.ts'
import { createTestClock } from '../support/clock.ts'
import { createTestState, testEndpoint } from '../support/endpoint.ts'
import { takeBytes } from '../support/scripted-upstream.ts'

/** A listener that allows all clients or none, and what it has logged. */
async function start(t: Test, allowed: boolean, room: Partial<FileShares>, check = () => {}) {
  const clock = createTestClock()
  const log: [fields: object, message: string][] = []
  const add = (fields: object, message: string) => void log.push([fields, message])
  const state = createTestState()
  const target = {
    endpoint: testEndpoint,
    state,
    access: { allows: () => allowed, expectsProxyHeader: () => false },
  } as unknown as Served
  const logger = { error: add, warn: add, info: add, debug: add }
  const shares = { sessions: 1, refusals: 1, adminConnections: 1, ...room }
  const sessions = createSessions(target, logger, clock, shares)
  const server = await startServer({ host: '127.0.0.1', port: 0 }, target, sessions, check)
  t.teardown(() => server.stopListening())
  return { clock, log, state, address: server.address as HostPort }
}

/** A client that keeps its side open. */
async function connectTo(t: Test, { host, port }: HostPort): Promise<Socket> {
  const socket = connect({ host, port, allowHalfOpen: true })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** The message of the ERR_Packet that the client gets; undefined if it gets nothing. */
async function messageTo(socket: Socket): Promise<string | undefined> {
  const header = await takeBytes(socket, 4)
  if (header.length < 4) return undefined
  return parseERR_Packet(await takeBytes(socket, header.readUIntLE(0, 3))).message
}

test('refused clients beyond the limit are closed without an answer', async t => {
  const { clock, log, state, address } = await start(t, false, { refusals: 1 })
  const first = await connectTo(t, address)
  t.match(await messageTo(first), /clients from 127\.0\.0\.1 are not allowed/)
  t.equal(await messageTo(await connectTo(t, address)), undefined, 'while the first is not closed')
  t.equal(state.outcomes.get('CLIENT_NOT_ALLOWED'), 2, 'both count')
  t.equal(log.length, 1, 'one line a second')

  first.destroy()
  for (;;) {
    const message = await messageTo(await connectTo(t, address))
    if (message) break
  }
  clock.advance(1_000)
  await messageTo(await connectTo(t, address))
  t.match(log[1]?.[0], { moreBefore: Number }, 'the next line counts those before')
})

test('the limit of open files refuses clients before the system does', async t => {
  const { log, address } = await start(t, true, { sessions: 0 })
  const message = await messageTo(await connectTo(t, address))
  t.match(message, /too many connections: the limit of open files leaves room for 0/)
  t.match(log, [[{ code: 'FILE_LIMIT_REACHED' }, /too many connections/]])
})

test('an address that is refused after all is not listened on', async t => {
  let used: HostPort | undefined
  const check = (address?: unknown) => {
    used = address as HostPort
    throw new ProxyError('CONFIG_INVALID', 'exposed')
  }
  await t.rejects(start(t, true, {}, check), { code: 'CONFIG_INVALID' })
  const [error] = await once(connect(used!.port, '127.0.0.1'), 'error')
  t.equal(error.code, 'ECONNREFUSED')
})
