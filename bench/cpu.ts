/** The processor time of the proxy and its peers, for queries, bytes and logins. Other programs change it less than rates. */
import { findProgram } from '../test/support/packages.ts'
import { makeTables, rows, transferProgram } from './bulk.ts'
import { inChild } from './child.ts'
import { type Column, compare } from './compare.ts'
import type { LoginsTask } from './line-cpu-client.ts'
import { type Peer, usageOf } from './peers.ts'
import { prepare, type SysbenchSettings, sysbench } from './select.ts'
import { withConnections } from './server.ts'
import type { TransferResult, TransferTask } from './transfer.ts'

const CONNECTIONS = [1, 8, 32, 128]
/** Their logins take long on a busy machine, and may fail there: they come last. */
const MANY_CONNECTIONS = 1_000
const LOGINS = 500
/** 700 MB */
const TIMES = 350

export async function cpu(settings: SysbenchSettings): Promise<string> {
  const { server, runs } = settings
  await makeTables(server)
  const columns = [bytesColumn(), loginsColumn()]
  if (findProgram('sysbench')) {
    await prepare(server)
    columns.unshift(...CONNECTIONS.map(count => queriesColumn(count, settings)))
    columns.push(queriesColumn(MANY_CONNECTIONS, settings))
  }
  const title = 'cpu: processor time of the process between client and server'
  const comparison = { title, columns, cell: (value: string) => value, runs }
  return await withConnections(server, MANY_CONNECTIONS + 50, () => compare(comparison, settings))
}

function queriesColumn(count: number, { server, seconds }: SysbenchSettings): Column {
  return {
    head: `${count.toLocaleString('en')} ${count === 1 ? 'connection' : 'connections'}: µs per query`,
    measure: perUnit(async ({ route }, restart) => {
      const text = await sysbench(route!, server.clientTls, ['run', `--threads=${count}`, `--time=${seconds}`], restart)
      return Number(/transactions:\s+(\d+)/.exec(text)?.[1]) / 1e6
    }),
  }
}

function bytesColumn(): Column {
  return {
    head: 'ms per GB of rows',
    measure: perUnit(async ({ route }) => {
      const task: TransferTask = { route: route!, kind: 'read', ...rows(TIMES) }
      const { bytes } = await inChild<TransferTask, TransferResult>(transferProgram, task)
      return bytes / 1e9 / 1e3
    }),
  }
}

function loginsColumn(): Column {
  return {
    head: 'ms per login',
    measure: perUnit(async ({ route }) => {
      const task: LoginsTask = { route: route!, count: LOGINS }
      await inChild(new URL('line-cpu-client.ts', import.meta.url), task)
      return LOGINS / 1e3
    }),
  }
}

/**
 * Seconds of processor time for each unit of work. A peer without a process between client and server is not measured.
 * @param work returns how many units it did. It may call `restart` after work that does not count
 */
function perUnit(work: (peer: Peer, restart: () => void) => Promise<number>): Column['measure'] {
  return async peer => {
    if (!peer.pid) return { value: Number.NaN }
    const used = () => usageOf(peer.pid!).cpuSeconds
    let before = used()
    const units = await work(peer, () => {
      before = used() // after the logins of the queries
    })
    return { value: (used() - before) / units }
  }
}
