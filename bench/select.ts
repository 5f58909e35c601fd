/** Short queries over few and many connections, with sysbench. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { findProgram } from '../test/support/packages.ts'
import type { Route } from './client.ts'
import { compare, number } from './compare.ts'
import { type Peer, type PeerSettings, usageOf } from './peers.ts'
import { DATABASE, type Server, withConnections } from './server.ts'

const THREADS = [1, 8, 32, 128]
const CONNECTIONS = [1, 10, 100, 1000]
const ROWS = 20_000

export interface SysbenchSettings extends PeerSettings {
  runs: number
  seconds: number
}

export async function select(settings: SysbenchSettings): Promise<string> {
  const title = `select: sysbench oltp_point_select, ${settings.seconds} s each`
  return await compareThreads(settings, title, THREADS, {
    head: threads => `${threads} ${threads === 1 ? 'thread' : 'threads'}: tps (p95 ms)`,
    cell: (value, { p95 }) => `${value} (${number(p95!)})`,
  })
}

export async function scale(settings: SysbenchSettings): Promise<string> {
  const title = `scale: sysbench oltp_point_select, ${settings.seconds} s each`
  return await compareThreads(settings, title, CONNECTIONS, {
    head: threads => `${threads} ${threads === 1 ? 'connection' : 'connections'}: tps (CPU ms per 1,000)`,
    cell: (value, { cpuSeconds, transactions }) =>
      Number.isNaN(cpuSeconds) ? value : `${value} (${number((cpuSeconds! / transactions!) * 1e6)})`,
  })
}

interface Presentation {
  head(threads: number): string
  cell(value: string, details: Record<string, number>): string
}

async function compareThreads(
  settings: SysbenchSettings,
  title: string,
  threads: number[],
  { head, cell }: Presentation,
): Promise<string> {
  if (!findProgram('sysbench')) return `**${title}**\n\nnot run: sysbench is not installed`
  const { server, runs, seconds } = settings
  await prepare(server)
  const columns = threads.map(count => ({
    head: head(count),
    async measure({ route, pid }: Peer) {
      const cpu = () => (pid ? usageOf(pid).cpuSeconds : Number.NaN)
      let before = Number.NaN
      const text = await sysbench(route!, server.clientTls, ['run', `--threads=${count}`, `--time=${seconds}`], () => {
        before = cpu() // after the logins
      })
      const cpuSeconds = cpu() - before
      const [, transactions, value] = /transactions:\s+(\d+)\s+\(([\d.]+) per sec/.exec(text) ?? []
      const p95 = /95th percentile:\s+([\d.]+)/.exec(text)?.[1]
      return { value: Number(value), details: { p95: Number(p95), transactions: Number(transactions), cpuSeconds } }
    },
  }))
  const most = Math.max(...threads) + 50
  return await withConnections(server, most, () => compare({ title, columns, cell, runs }, settings))
}

export async function prepare(server: Server): Promise<void> {
  const sql = 'SELECT COUNT(*) AS count FROM information_schema.tables WHERE table_schema = ? AND table_name = ?'
  const [found] = await server.query<{ count: number }>(sql, [DATABASE, 'sbtest1'])
  if (found!.count > 0) return
  const route = { name: 'prepare', host: server.host, port: server.port, ...server.account }
  await sysbench(route, server.clientTls, ['prepare'])
}

/** @param onConnected called when all threads are logged in */
export async function sysbench(
  route: Route,
  clientTls: string | undefined,
  args: string[],
  onConnected = () => {},
): Promise<string> {
  if (route.tls && !clientTls) throw new Error('TLS with sysbench requires --sysbench-tls')
  const options = [
    '--db-driver=mysql',
    `--mysql-host=${route.host}`,
    `--mysql-port=${route.port}`,
    `--mysql-user=${route.user}`,
    `--mysql-password=${route.password}`,
    `--mysql-ssl=${route.tls ? 'on' : 'off'}`,
    `--mysql-db=${DATABASE}`,
    '--tables=1',
    `--table-size=${ROWS}`,
  ]
  const [command, ...rest] = args
  // sysbench reads its TLS files from the working directory.
  const child = spawn(findProgram('sysbench')!, [...options, ...rest, 'oltp_point_select', command!], {
    cwd: clientTls,
  })
  let text = ''
  for (const output of [child.stdout, child.stderr]) {
    output.on('data', (chunk: Buffer) => {
      text += chunk
      if (`${chunk}`.includes('Threads started!')) onConnected()
    })
  }
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(/FATAL: .*/.exec(text)?.[0] ?? `sysbench exited with ${code}`)
  return text
}
