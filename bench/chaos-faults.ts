/** The faults of `npm run chaos`. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import mysql from 'mysql2/promise'
import type { HostPort } from '../src/endpoint.ts'
import { readCorpus } from '../test/fuzz/corpus.ts'
import { mutate } from '../test/fuzz/mutate.ts'
import type { Random } from '../test/fuzz/random.ts'
import { play } from '../test/fuzz/scenario.ts'
import { COM_QUERY, connectRaw, logInRaw, loginPacket, sendCommand } from '../test/support/raw-client.ts'
import { openGuarded } from './chaos-clients.ts'
import type { RunRecord } from './chaos-record.ts'
import { type ChaosProxy, countFrom, TCP_USER_TIMEOUT_MS, type World } from './chaos-world.ts'

/** One bad client. It may fail in any way: only what it does to others counts. */
export type BadClient = (proxy: ChaosProxy, random: Random) => Promise<void>

/** A change around the proxies. Honest clients must not notice it, unless `disrupts` is true. */
export interface WorldFault {
  disrupts: boolean
  /** undefined where this machine cannot play it */
  run: ((random: Random) => Promise<void>) | undefined
}

// ---- bad clients ----

async function tcp({ host, port }: HostPort): Promise<Socket> {
  const socket = connect({ host, port, noDelay: true, localAddress: '127.0.0.1' })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** From another address than the honest clients. */
async function stranger({ host, port }: HostPort, random: Random): Promise<Socket> {
  const socket = connect({
    host,
    port,
    noDelay: true,
    localAddress: `127.0.${1 + random.below(200)}.${1 + random.below(200)}`,
  })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

function anyListener(proxy: ChaosProxy, random: Random): HostPort {
  return random.pick([proxy.open, proxy.guarded, proxy.bare])
}

async function closed(socket: Socket): Promise<void> {
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), 5_000)
  if (!socket.closed) await new Promise(resolve => socket.once('close', resolve))
  clearTimeout(timer)
}

const FUZZED = readCorpus('client').map(({ input }) => input)

async function fuzzed(proxy: ChaosProxy, random: Random): Promise<void> {
  const scenario = mutate(random.pick(FUZZED), random, random.pick(FUZZED))
  const socket = await tcp(random.pick([proxy.bare, proxy.guarded]))
  let received = 0
  socket.on('data', data => {
    received += data.length
  })
  const say = (bytes: Buffer) => socket.writable && socket.write(bytes)
  await play(scenario, {
    packet: (payload, sequence) => {
      const header = Buffer.alloc(4)
      header.writeUIntLE(payload.length, 0, 3)
      header[3] = sequence
      say(Buffer.concat([header, payload]))
    },
    raw: say,
    end: () => socket.end(),
    reset: () => socket.writableEnded || socket.resetAndDestroy(),
    async read() {
      const before = received
      for (let waited = 0; waited < 100 && received === before && !socket.closed; waited += 10) await sleep(10)
      return received === before ? undefined : 0
    },
    startTls: async () => undefined,
  })
  socket.destroy()
}

/** https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt */
const PROXY_HEADERS = [
  Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 40000 3306\r\n'),
  Buffer.from('PROXY UNKNOWN\r\n'),
  Buffer.from('0d0a0d0a000d0a515549540a21110000', 'hex'),
  Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000201c00002029c400cea', 'hex'),
]

/** More than the proxy buffers for a session. */
const LARGE = "SELECT REPEAT('x', 1000000) FROM information_schema.columns LIMIT 5"

/** More than the proxy and the systems of both sides buffer. */
const HUGE = "SELECT REPEAT('x', 1000000) FROM information_schema.columns LIMIT 40"

/** Clients of one flood. */
export const FLOOD_CLIENTS = 40

/** Those that take a moment. */
export const QUICK_CLIENTS: { [kind: string]: BadClient } = {
  async 'half-open probe'(proxy, random) {
    const socket = await stranger(anyListener(proxy, random), random)
    await once(socket, 'data')
    socket.end()
    await closed(socket)
  },
  async 'reset probe'(proxy, random) {
    const socket = await stranger(anyListener(proxy, random), random)
    if (random.below(2)) await once(socket, 'data')
    socket.resetAndDestroy()
  },
  async flood(proxy, random) {
    const address = anyListener(proxy, random)
    const sockets = await Promise.all(Array.from({ length: FLOOD_CLIENTS }, () => stranger(address, random)))
    for (const socket of sockets) socket.resetAndDestroy()
  },
  async rubbish(proxy, random) {
    const socket = await stranger(anyListener(proxy, random), random)
    socket.end(random.pick([Buffer.from('GET / HTTP/1.1\r\n\r\n'), random.bytes(300), Buffer.from('160301', 'hex')]))
    await closed(socket)
  },
  async 'PROXY header'(proxy, random) {
    const socket = await stranger(anyListener(proxy, random), random)
    socket.write(random.pick(PROXY_HEADERS))
    await sleep(random.below(50))
    socket.end()
    await closed(socket)
  },
  'fuzzed client': fuzzed,
  async 'reset during login'(proxy, random) {
    const client = await connectRaw(proxy.open)
    client.socket.write(loginPacket(client))
    await sleep(random.below(10))
    client.socket.resetAndDestroy()
  },
}

/** Those that wait, or make others wait. */
export const PATIENT_CLIENTS: { [kind: string]: BadClient } = {
  async 'silent client'(proxy, random) {
    const socket = await stranger(anyListener(proxy, random), random)
    await sleep(random.below(1_500))
    socket.destroy()
  },
  async 'password guess'(proxy, random) {
    const connection = await openGuarded(proxy.guarded, random.bytes(6).toString('hex'))
    connection.destroy()
  },
  async 'wrong database'({ open: { host, port } }) {
    const database = 'no_such_database'
    const connection = await mysql.createConnection({ host, port, user: 'iam_user', database, connectTimeout: 100_000 })
    connection.destroy()
  },
  async 'disconnect in a result'({ open }) {
    const client = await logInRaw(open)
    sendCommand(client, COM_QUERY, LARGE)
    await once(client.socket, 'readable')
    client.socket.destroy()
  },
  async 'slow reader'({ open }, random) {
    const client = await logInRaw(open)
    sendCommand(client, COM_QUERY, LARGE)
    await sleep(random.below(4_000))
    client.socket.destroy()
  },
  async 'unknown user'({ open: { host, port } }, random) {
    const user = `nobody_${random.below(5)}`
    const connection = await mysql.createConnection({ host, port, user, connectTimeout: 100_000 })
    connection.destroy()
  },
}

/** Stops reading for longer than client-write-timeout: its session must end by itself. */
export async function stalledReader({ open }: ChaosProxy): Promise<void> {
  const client = await logInRaw(open)
  sendCommand(client, COM_QUERY, HUGE)
  await sleep(14_000)
  client.socket.destroy()
}

// ---- faults around the proxies ----

export interface Rotation {
  /** keeps honest clients from logging in with the local password, and resolves when none is doing so */
  hold(): Promise<() => void>
}

/** A connection whose local address is gone must end within this time, also on a busy machine. */
const DEAD_AFTER_MS = 60_000

export function worldFaults(
  world: World,
  record: RunRecord,
  rotation: Rotation,
  /** resolves when a login works through every listener */
  logInEverywhere: () => Promise<void>,
): { [kind: string]: WorldFault } {
  const { zones, setClock, fillLogDisk, killServer } = world
  const cutFor = async (dark: typeof zones, milliseconds: number) => {
    for (const zone of dark) zone.cut()
    await sleep(milliseconds)
    for (const zone of dark) zone.heal()
  }
  const hasZones = zones.length > 0
  const always = (run: WorldFault['run']): WorldFault => ({ disrupts: false, run })
  const disruptive = (run: WorldFault['run']): WorldFault => ({ disrupts: true, run })
  const clockStep = (seconds: (random: Random) => number) =>
    setClock &&
    (async (random: Random) => {
      await setClock((random.below(2) ? 1 : -1) * seconds(random))
      await sleep(2_000 + random.below(3_000))
      await setClock(0)
      // The processes read it again within a second.
      await sleep(2_000)
    })
  return {
    'server stopped for a moment': always(async random => {
      const pid = world.serverPid()
      process.kill(pid, 'SIGSTOP')
      await sleep(200 + random.below(2_500))
      process.kill(pid, 'SIGCONT')
    }),
    'short black hole': always(
      hasZones
        ? random => cutFor(random.below(2) ? zones : [random.pick(zones)], 200 + random.below(1_500))
        : undefined,
    ),
    'clock step of minutes': always(clockStep(random => 1 + random.below(200))),
    'full log disk': always(
      fillLogDisk &&
        (async random => {
          const empty = fillLogDisk()
          await sleep(random.below(3_000))
          empty()
        }),
    ),
    'log pipe that nobody reads': always(async random => {
      const resume = world.stallLog()
      await sleep(random.below(4_000))
      resume()
    }),
    'credentials that expire in seconds': always(async random => {
      await world.setCredentials({ seconds: 3 })
      await sleep(1_000 + random.below(2_000))
      await world.setCredentials({ temporary: random.below(2) === 1 })
      // Another fault may make new ones unavailable: nobody may depend on the old ones then.
      await sleep(3_000)
      await logInEverywhere()
    }),
    'credential process that fails': always(async random => {
      // The cached credentials serve meanwhile.
      await world.setCredentials({ fails: true })
      await sleep(random.below(3_000))
      await world.setCredentials({})
    }),
    'new certificate for clients': always(async () => await world.rotateCertificate()),
    reload: always(async () => world.reload()),
    'new local password': always(async random => {
      const release = await rotation.hold()
      const password = `right-password-${random.bytes(6).toString('hex')}`
      await world.writePassword(password)
      for (const proxy of world.proxies) {
        while (!(await isAccepted(proxy, password))) await sleep(100)
      }
      release()
    }),
    'server killed': disruptive(
      killServer &&
        (async () => {
          killServer()
        }),
    ),
    'long black hole': disruptive(
      hasZones ? random => cutFor(zones, TCP_USER_TIMEOUT_MS + 5_000 + random.below(4_000)) : undefined,
    ),
    'sleep, and another address': disruptive(
      hasZones && setClock
        ? async random => {
            for (const zone of zones) zone.cut()
            for (const leave of world.sources.splice(0)) leave()
            await setClock(30 + random.below(170))
            await sleep(500 + random.below(1_500))
            for (const zone of zones) zone.heal()
            const deadline = performance.now() + DEAD_AFTER_MS
            while (countFrom(zones.map(({ source }) => source)) > 0) {
              if (performance.now() < deadline) await sleep(100)
              else {
                record.fail(`a connection from an address that is gone lives after ${DEAD_AFTER_MS / 1_000} s`)
                break
              }
            }
            await setClock(0)
            world.sources.push(...zones.map(zone => zone.moveSource()))
            await sleep(2_000)
          }
        : undefined,
    ),
    'network that comes and goes': always(
      hasZones
        ? async random => {
            const words = [`10.99.0.${1 + random.below(200)}/32`, 'dev', 'lo']
            execFileSync('ip', ['address', 'add', ...words])
            await sleep(random.below(7_000))
            execFileSync('ip', ['address', 'delete', ...words])
          }
        : undefined,
    ),
    'proxy stopped for seconds': disruptive(async random => {
      const { child } = random.pick(world.proxies)
      child.kill('SIGSTOP')
      await sleep(500 + random.below(20_000))
      child.kill('SIGCONT')
    }),
    'clock step of hours': disruptive(clockStep(random => 3_600 * (1 + random.below(24)))),
    'all sessions killed': disruptive(async () => {
      const rows = await world.server.query(
        `SELECT ID AS id FROM information_schema.PROCESSLIST WHERE USER LIKE 'iam%'`,
      )
      for (const { id } of rows as { id: number }[]) {
        await world.server.query(`KILL CONNECTION ${Number(id)}`).catch(() => undefined)
      }
    }),
  }
  async function isAccepted(proxy: ChaosProxy, password: string): Promise<boolean> {
    try {
      const connection = await openGuarded(proxy.guarded, password)
      record.logins++
      connection.destroy()
      return true
    } catch {
      return false
    }
  }
}
