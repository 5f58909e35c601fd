/** Memory of idle sessions, and of a process that has none; how fast it starts. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, command, logIn } from './client.ts'
import { median, number, progress, table } from './compare.ts'
import {
  HAPROXY,
  type Peer,
  type PeerSettings,
  PROXY,
  ROUTER,
  startHaproxy,
  startProxy,
  startRouter,
  usageOf,
} from './peers.ts'
import { withConnections } from './server.ts'

const AT_A_TIME = 16
const STARTS = 5
/** When a process has settled after its work. */
const SETTLE_MS = 2_000
/** Of an answer after which each session is measured again. */
const ANSWER_BYTES = 1_000_000
const COM_QUERY = 0x03
const EOF = 0xfe
/** When V8 has released the memory of the logins, which takes about 30 s after the last one. */
const IDLE_MS = 60_000

const starts: Record<string, (settings: PeerSettings) => Promise<Peer>> = {
  [PROXY]: startProxy,
  [ROUTER]: startRouter,
  [HAPROXY]: startHaproxy,
}

/** @param sessions how many */
export async function idle(settings: PeerSettings, sessions: number): Promise<string> {
  return await withConnections(settings.server, sessions + 50, async () => {
    const rows: string[][] = []
    for (const start of Object.values(starts)) {
      const peer = await start(settings)
      progress(`idle: ${peer.name}`)
      // A process that ran before still has memory from other sessions.
      const name = peer.route && peer.startedIn === undefined ? `${peer.name} (running before)` : peer.name
      rows.push([name, ...(await memoryOfSessions(peer, sessions))])
      await peer.stop()
    }
    const head = ['', 'sessions', 'logins per second', 'MB with none', 'MB with all', 'a minute later', 'KB each']
    head.push('KB for each of the second half', 'MB a minute after an answer of 1 MB to each', 'KB each')
    return table(`idle: resident memory with ${sessions.toLocaleString('en')} idle sessions`, head, rows)
  })
}

async function memoryOfSessions(peer: Peer, sessions: number): Promise<string[]> {
  if (!peer.route) return [`not run: ${peer.missing}`]
  if (!peer.pid)
    return ['not run: no process on this machine']
    // The first login loads code that all others use.
  ;(await logIn(peer.route)).socket.destroy()
  await sleep(SETTLE_MS)
  const before = usageOf(peer.pid).residentMB
  const half = await logInMany(peer, Math.ceil(sessions / 2))
  await sleep(IDLE_MS)
  const withHalf = usageOf(peer.pid).residentMB
  const rest = half.failure ? { ...half, clients: [], seconds: 0 } : await logInMany(peer, Math.floor(sessions / 2))
  const clients = [...half.clients, ...rest.clients]
  await sleep(SETTLE_MS)
  const atFirst = usageOf(peer.pid).residentMB
  await sleep(IDLE_MS)
  const after = usageOf(peer.pid).residentMB
  await readAnswers(clients)
  await sleep(IDLE_MS)
  const afterAnswers = usageOf(peer.pid).residentMB
  for (const { socket } of clients) socket.destroy()
  // The server must notice the disconnects before the next sessions.
  await sleep(SETTLE_MS)
  const each = (resident: number, from = before, count = clients.length) => number(((resident - from) * 1000) / count)
  return [
    clients.length.toLocaleString('en') + (rest.failure ? `, then: ${rest.failure}` : ''),
    number((half.clients.length + rest.clients.length) / (half.seconds + rest.seconds)),
    number(before),
    number(atFirst),
    number(after),
    each(after),
    each(after, withHalf, rest.clients.length),
    number(afterAnswers),
    each(afterAnswers),
  ]
}

interface LoggedIn {
  clients: Client[]
  /** of the first login that failed */
  failure: string | undefined
  seconds: number
}

async function logInMany(peer: Peer, count: number): Promise<LoggedIn> {
  const started = performance.now()
  const clients: Client[] = []
  let left = count
  let failure: string | undefined
  const logInRepeatedly = async () => {
    while (left-- > 0 && failure === undefined) {
      try {
        clients.push(await logIn(peer.route!))
      } catch (error) {
        failure ??= (error as Error).message
      }
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, logInRepeatedly))
  return { clients, failure, seconds: (performance.now() - started) / 1000 }
}

/** Each session gets a large answer, and reads it to its end. */
async function readAnswers(clients: Client[]): Promise<void> {
  const left = [...clients]
  const readRepeatedly = async () => {
    for (let client = left.pop(); client; client = left.pop()) {
      client.socket.write(command(COM_QUERY, `SELECT REPEAT('x', ${ANSWER_BYTES})`))
      // One EOF_Packet follows the columns, another one the rows.
      for (let ends = 0; ends < 2; ) if (isEOF(await client.next())) ends++
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, readRepeatedly))
}

/** A row with a long value begins with the same byte. */
function isEOF(payload: Buffer): boolean {
  return payload[0] === EOF && payload.length < 9
}

export async function start(settings: PeerSettings): Promise<string> {
  const rows: string[][] = []
  for (const [name, startPeer] of Object.entries(starts)) {
    const times: number[] = []
    let resident = Number.NaN
    let missing: string | undefined
    for (let round = 0; round < STARTS && !missing; round++) {
      const peer = await startPeer(settings)
      missing = peer.missing ?? (peer.startedIn === undefined ? 'already running' : undefined)
      times.push(peer.startedIn ?? Number.NaN)
      progress(`start: ${name}: ${missing ?? number(times.at(-1)!)}`)
      if (!missing && round === STARTS - 1) {
        await sleep(SETTLE_MS)
        resident = usageOf(peer.pid!).residentMB
      }
      await peer.stop()
    }
    rows.push(missing ? [name, `not run: ${missing}`] : [name, number(median(times)), number(resident)])
  }
  return table(`start: from spawn to listening, median of ${STARTS}`, ['', 'ms', 'MB when idle'], rows)
}
