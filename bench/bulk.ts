/** Many small rows for a client that only counts bytes. */
import { inChild } from './child.ts'
import { compare } from './compare.ts'
import type { PeerSettings } from './peers.ts'
import { DATABASE, type Server } from './server.ts'
import type { TransferResult, TransferTask } from './transfer.ts'

const LINES = 20_000
const TIMES = 350
/** 100 on the wire, with the packet header and the length of the column */
const LINE_BYTES = 95

export const transferProgram = new URL('transfer.ts', import.meta.url)

export async function bulk(settings: PeerSettings, runs: number): Promise<string> {
  await makeTables(settings.server)
  const { sql, bytes } = rows(TIMES)
  return await compare(
    {
      title: `bulk: ${bytes / 1e6} MB of rows of 100 bytes to one client`,
      columns: [
        {
          head: 'MB/s (CPU s)',
          async measure({ route }) {
            const task: TransferTask = { route: route!, kind: 'read', sql, bytes }
            return { value: megabytesPerSecond(await inChild(transferProgram, task)) }
          },
        },
      ],
      cell: withCpuSeconds,
      runs,
    },
    settings,
  )
}

/** A statement for many rows, and their size. */
export function rows(times: number): Pick<TransferTask, 'sql' | 'bytes'> {
  const sql = `SELECT text FROM ${DATABASE}.times STRAIGHT_JOIN ${DATABASE}.line WHERE n <= ${times}`
  return { sql, bytes: LINES * times * (LINE_BYTES + 5) }
}

export function megabytesPerSecond({ bytes, seconds }: TransferResult): number {
  return bytes / 1e6 / seconds
}

export function withCpuSeconds(value: string, { cpuSeconds }: Record<string, number>): string {
  return Number.isNaN(cpuSeconds) ? value : `${value} (${cpuSeconds!.toFixed(2)})`
}

/** Tables whose join multiplies the rows, so that the server has little work per row. */
export async function makeTables(server: Server): Promise<void> {
  await server.query(`CREATE TABLE IF NOT EXISTS ${DATABASE}.line (text VARCHAR(200) CHARACTER SET latin1 NOT NULL)`)
  await server.query(`CREATE TABLE IF NOT EXISTS ${DATABASE}.times (n INT NOT NULL PRIMARY KEY)`)
  const lines = Array.from({ length: LINES }, (_, index) => [`${index} `.padEnd(LINE_BYTES, 'small row ')])
  const times = Array.from({ length: TIMES }, (_, index) => [index + 1])
  for (const [name, rows] of Object.entries({ line: lines, times })) {
    const [found] = await server.query<{ count: number }>(`SELECT COUNT(*) AS count FROM ${DATABASE}.${name}`)
    if (found!.count === rows.length) continue
    await server.query(`DELETE FROM ${DATABASE}.${name}`)
    await server.query(`INSERT INTO ${DATABASE}.${name} VALUES ?`, [rows])
  }
}
