/** Realistic rows over a slow line, with and without --compress; and what compression adds to a point select. */
import { setTimeout as sleep } from 'node:timers/promises'
import { transferProgram } from './bulk.ts'
import { inChild } from './child.ts'
import { command, logIn, type Route } from './client.ts'
import { number, progress, table } from './compare.ts'
import { startLine } from './line-relay.ts'
import { type Peer, type PeerSettings, startProxy, usageOf } from './peers.ts'
import { DATABASE, type Server } from './server.ts'
import type { TransferResult, TransferTask } from './transfer.ts'

/** Round-trip times in milliseconds. */
const DELAYS = [0, 20, 100]
/** Mbit/s, and how many rows: seconds on each line. */
const LINES = [
  [Number.POSITIVE_INFINITY, 60_000],
  [200, 60_000],
  [50, 60_000],
  [10, 20_000],
] as const
const ROWS = 60_000
const SELECTS = 2_000

const COM_QUERY = 0x03
const EOF = 0xfe

export async function lineBytes(settings: PeerSettings, runs: number): Promise<string> {
  await makeOrders(settings.server)
  const tables: string[] = []
  for (const delay of DELAYS) tables.push(await linesOf(delay, settings, runs))
  return tables.join('\n\n')
}

/** @param delay the round-trip time in milliseconds */
async function linesOf(delay: number, settings: PeerSettings, runs: number): Promise<string> {
  const lines: string[][] = []
  for (const [megabits, count] of LINES) {
    const rate = Number.isFinite(megabits) ? `${megabits} Mbit/s` : 'no limit'
    const line = await startLine(settings.server, delay, megabits * 1e6)
    const peers = await startAll(settings, line)
    const results = new Map<string, { ms: number; bytes: number; cpu: number }[]>()
    for (let run = 0; run <= runs; run++) {
      for (const { name, route, pid } of peers) {
        const before = { bytes: line.bytes(), cpu: pid ? usageOf(pid).cpuSeconds : 0 }
        const sql = `SELECT * FROM ${DATABASE}.orders ORDER BY id LIMIT ${count}`
        const task: TransferTask = { route: route!, kind: 'read', sql, bytes: 0 }
        const { seconds } = await inChild<TransferTask, TransferResult>(transferProgram, task)
        await sleep(50)
        const cpu = pid ? usageOf(pid).cpuSeconds - before.cpu : 0
        const result = { ms: seconds * 1_000, bytes: line.bytes() - before.bytes, cpu }
        if (run > 0) results.set(name, [...(results.get(name) ?? []), result])
        progress(`${delay} ms, ${rate}: ${name}: ${Math.round(result.ms)} ms, ${(result.bytes / 1e6).toFixed(2)} MB`)
      }
    }
    const direct = middle(results.get(peers[0]!.name)!)
    for (const { name } of peers) {
      const { ms, bytes, cpu } = middle(results.get(name)!)
      const shares = [(ms / direct.ms).toFixed(2), (bytes / direct.bytes).toFixed(2)]
      lines.push([
        rate,
        name,
        number(ms),
        shares[0]!,
        (bytes / 1e6).toFixed(2),
        shares[1]!,
        cpu ? number(cpu * 1_000) : '',
      ])
    }
    for (const peer of peers) await peer.stop()
    line.close()
  }
  return table(
    `line-bytes: rows of orders over a line with a round trip of ${delay} ms`,
    ['line', 'way', 'ms', 'of direct', 'MB on the line', 'of direct', 'CPU of the proxy, ms'],
    lines,
  )
}

export async function linePointSelect(settings: PeerSettings, runs: number): Promise<string> {
  await makeOrders(settings.server)
  const peers = await startAll(settings, settings.server)
  const times = new Map<string, number[]>()
  for (let run = 0; run <= runs; run++) {
    for (const { name, route } of peers) {
      const time = await pointSelect(route!)
      if (run > 0) times.set(name, [...(times.get(name) ?? []), time])
      progress(`point select: ${name}: ${time.toFixed(3)} ms`)
    }
  }
  for (const peer of peers) await peer.stop()
  const of = (name: string) => [...times.get(name)!].sort((a, b) => a - b)[times.get(name)!.length >> 1]!
  const base = of(peers[1]!.name)
  return table(
    'line-bytes: a point select without a line, median of one client in ms',
    ['way', 'ms', 'more than without compression'],
    peers.map(({ name }) => [name, of(name).toFixed(3), (of(name) - base).toFixed(3)]),
  )
}

async function startAll(settings: PeerSettings, dial: { host: string; port: number }): Promise<Peer[]> {
  const { server } = settings
  const direct: Route = { name: 'direct TLS', host: dial.host, port: dial.port, ...server.account, tls: server.tls }
  const peers: Peer[] = [{ name: direct.name, route: direct, stop: async () => {} }]
  for (const compress of ['off', 'zlib', 'zstd']) {
    const peer = await startProxy(settings, dial, ['--compress', compress])
    peers.push({ ...peer, name: `--compress ${compress}` })
  }
  return peers
}

/** The median over many, in ms. */
async function pointSelect(route: Route): Promise<number> {
  const client = await logIn(route)
  const times: number[] = []
  for (let i = 0; i < SELECTS; i++) {
    const started = performance.now()
    client.socket.write(command(COM_QUERY, `SELECT * FROM ${DATABASE}.orders WHERE id = ${1 + ((i * 7919) % ROWS)}`))
    for (let ends = 0; ends < 2; ) {
      const payload = await client.next()
      if (payload[0] === EOF && payload.length < 9) ends++
    }
    times.push(performance.now() - started)
  }
  client.socket.destroy()
  return times.sort((a, b) => a - b)[SELECTS >> 1]!
}

/** The result with the median time. */
function middle<Result extends { ms: number }>(results: Result[]): Result {
  return [...results].sort((a, b) => a.ms - b.ms)[results.length >> 1]!
}

const WORDS =
  'the order was shipped to another address after the customer had called about a delay of three days'.split(' ')
const FIRST =
  'Anna Ben Carla David Emma Felix Greta Hugo Ida Jonas Klara Leon Mia Noah Olga Paul Rosa Simon Tina Viktor'.split(' ')
const LAST =
  'Smith Jones Garcia Miller Davis Martin Tanaka Kim Nguyen Silva Rossi Novak Kumar Weber Dubois Larsen'.split(' ')
const CITIES = 'Berlin,Paris,Madrid,Tokyo,New York,Osaka,London,Milan,Lyon,Porto,Vienna,Oslo,Austin,Seattle'.split(',')
const STATES = ['new', 'paid', 'shipped', 'delivered', 'returned']

/** Orders of a shop: numbers, names, dates and a note. 0.17 KB each. */
async function makeOrders(server: Server): Promise<void> {
  await server.query(`CREATE TABLE IF NOT EXISTS ${DATABASE}.orders (id INT PRIMARY KEY, reference CHAR(12) CHARACTER SET ascii,
    customer VARCHAR(60), email VARCHAR(80), city VARCHAR(40), state VARCHAR(12), amount DECIMAL(10, 2),
    created DATETIME(3), updated DATETIME(3), note VARCHAR(200)) CHARACTER SET utf8mb4`)
  const [found] = await server.query<{ count: number }>(`SELECT COUNT(*) AS count FROM ${DATABASE}.orders`)
  if (found!.count === ROWS) return
  await server.query(`DELETE FROM ${DATABASE}.orders`)
  const random = createRandom(1)
  const pick = (words: string[]) => words[random(words.length)]!
  const time = () =>
    new Date(Date.UTC(2026, random(9), 1 + random(28), random(24), random(60), random(60), random(1_000)))
  for (let id = 1; id <= ROWS; id += 1_000) {
    const rows = Array.from({ length: 1_000 }, (_, index) => {
      const [first, last] = [pick(FIRST), pick(LAST)]
      const reference = `ORD-${10_000_000 + random(90_000_000)}`
      const email = `${first}.${last}${random(1_000)}@example.com`.toLowerCase()
      const note = Array.from({ length: random(16) }, () => pick(WORDS)).join(' ')
      const amount = (random(1_000_000) / 100).toFixed(2)
      return [
        id + index,
        reference,
        `${first} ${last}`,
        email,
        pick(CITIES),
        pick(STATES),
        amount,
        time(),
        time(),
        note,
      ]
    })
    await server.query(`INSERT INTO ${DATABASE}.orders VALUES ?`, [rows])
  }
}

function createRandom(seed: number): (limit: number) => number {
  let state = seed
  return limit => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * limit)
  }
}
