/** Many bytes from one client: a file, and large values. */
import { megabytesPerSecond, transferProgram, withCpuSeconds } from './bulk.ts'
import { inChild } from './child.ts'
import { type Column, compare } from './compare.ts'
import type { PeerSettings } from './peers.ts'
import { DATABASE } from './server.ts'
import type { TransferTask } from './transfer.ts'

const TRANSFER_BYTES = 300e6

// The server must do almost no work, or the benchmark would measure the server. It refuses the first row, as neither IGNORE
// nor LOCAL turns this error into a warning, and drops the rest of the file. The values are parameters of a statement that
// is reset before its execution.
const FILE = `LOAD DATA LOCAL INFILE 'bench' INTO TABLE ${DATABASE}.upload CHARACTER SET binary (@line)
  SET length = LENGTH(@line) * 9223372036854775807`
const VALUES = 'SELECT ? IS NULL'

export async function upload(settings: PeerSettings, runs: number): Promise<string> {
  await settings.server.query(`CREATE TABLE IF NOT EXISTS ${DATABASE}.upload (length BIGINT)`)
  const column = (head: string, kind: TransferTask['kind'], sql: string): Column => ({
    head,
    async measure({ route }) {
      const task: TransferTask = { route: route!, kind, sql, bytes: TRANSFER_BYTES }
      return { value: megabytesPerSecond(await inChild(transferProgram, task)) }
    },
  })
  return await compare(
    {
      title: `upload: ${TRANSFER_BYTES / 1e6} MB from one client`,
      columns: [
        column('LOAD DATA LOCAL: MB/s (CPU s)', 'load', FILE),
        column('values of 16 MB: MB/s (CPU s)', 'values', VALUES),
      ],
      cell: withCpuSeconds,
      runs,
    },
    settings,
  )
}
