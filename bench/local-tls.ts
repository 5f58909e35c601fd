/** What TLS between client and proxy costs: a client that prefers TLS uses it by default. */
import { makeTables, megabytesPerSecond, rows, transferProgram } from './bulk.ts'
import { inChild } from './child.ts'
import type { Route } from './client.ts'
import { median, number, progress, table } from './compare.ts'
import type { PointSelectTask } from './local-tls-client.ts'
import { logIns } from './login.ts'
import { type PeerSettings, startProxy, usageOf } from './peers.ts'
import type { TransferTask } from './transfer.ts'

const LOGINS = 100
const TIMES = 100

export async function localTls(settings: PeerSettings, runs: number, seconds: number): Promise<string> {
  const { server } = settings
  await makeTables(server)
  const proxy = await startProxy(settings)
  const plain: Route = { ...proxy.route!, name: 'client without TLS' }
  const routes: Route[] = [plain, { ...plain, name: 'client with TLS', tls: { servername: 'localhost' } }]
  const measures: Record<string, (route: Route) => Promise<number>> = {
    'login: ms (CPU ms)': async route => median(await logIns(server, route, LOGINS)),
    'SELECT 1 in sequence: per second (CPU ms per 1,000)': route => {
      const task: PointSelectTask = { route, seconds }
      return inChild(new URL('local-tls-client.ts', import.meta.url), task)
    },
    'rows: MB/s (CPU s)': async route => {
      const task: TransferTask = { route, kind: 'read', ...rows(TIMES) }
      return megabytesPerSecond(await inChild(transferProgram, task))
    },
  }
  const cells = new Map<Route, string[]>(routes.map(route => [route, []]))
  try {
    for (const [name, measure] of Object.entries(measures)) {
      const samples = new Map<Route, Sample[]>(routes.map(route => [route, []]))
      // Round 0 warms up.
      for (let round = 0; round <= runs; round++) {
        for (const route of routes) {
          const before = usageOf(proxy.pid!).cpuSeconds
          const value = await measure(route)
          const cpu = usageOf(proxy.pid!).cpuSeconds - before
          progress(`local-tls, ${name}: ${route.name}, ${round || 'warm-up'}: ${number(value)}`)
          if (round > 0) samples.get(route)!.push({ value, cpu })
        }
      }
      for (const route of routes) {
        const all = samples.get(route)!
        // Each sample by itself: on a busy machine, the values differ much.
        const shown = number(median(all.map(sample => cpuOf(name, sample, seconds))))
        cells.get(route)!.push(`${number(median(all.map(({ value }) => value)))} (${shown})`)
      }
    }
  } finally {
    await proxy.stop()
  }
  return table(
    'TLS between client and proxy, with the self-signed certificate',
    ['', ...Object.keys(measures)],
    routes.map(route => [route.name, ...cells.get(route)!]),
  )
}

interface Sample {
  value: number
  /** processor time of the proxy, in seconds */
  cpu: number
}

/** The processor time as the head of the column names it. */
function cpuOf(name: string, { value, cpu }: Sample, seconds: number): number {
  if (name.startsWith('login')) return (cpu / LOGINS) * 1_000
  return name.startsWith('SELECT') ? (cpu / (value * seconds)) * 1e6 : cpu
}
