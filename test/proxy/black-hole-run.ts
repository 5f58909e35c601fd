/** The sessions of black-hole.test.ts, in a network namespace. Prints what its clients and the log saw. */
import { execFileSync } from 'node:child_process'
import { readTcpTable } from '../../src/net/tcp-table.ts'
import { startDistantAddress } from '../support/distant-address.ts'
import { startMariadb } from '../support/mariadb.ts'
import { connect, startProxy, value } from '../support/raw-client.ts'

const TIMEOUT_MS = 2_000

execFileSync('ip', ['link', 'set', 'lo', 'up'])
const undo: (() => Promise<void>)[] = []
const t = { teardown: (stop: () => Promise<void>) => undo.push(stop) }
const server = await startMariadb({ extraConfig: 'bind-address=0.0.0.0' })
const far = await startDistantAddress(1, server.port)
const proxy = await startProxy(t, server, { connect: `${far.host}:${far.port}`, tcpUserTimeout: TIMEOUT_MS })

const slow = await connect(proxy)
const slowAnswer = await value(slow, `SELECT SLEEP(${(3 * TIMEOUT_MS) / 1_000})`)

const [asking, waiting, idle] = [await connect(proxy), await connect(proxy), await connect(proxy)]
const waitingAnswer = value(waiting, `SELECT SLEEP(15)`).catch((error: Error) => error.message)
while ((await running(waiting.threadId)) === 0) await pause()
// The kernel acknowledges a moment after the server has read.
while ([...(await readTcpTable())!.values()].some(({ unacknowledged }) => unacknowledged > 0)) await pause()
far.cut()
const error = await asking
  .query('SELECT 1')
  .catch((thrown: { errno: number; sqlState: string; message: string }) => thrown)
const { errno, sqlState, message } = error as { errno: number; sqlState: string; message: string }
far.heal()
const result = {
  slowAnswer,
  asking: { errno, sqlState, message },
  waitingAnswer: await waitingAnswer,
  idleAnswer: await value(idle, 'SELECT 7'),
  log: proxy.log.filter(({ level }) => level !== 'info').map(({ level, fields }) => ({ level, code: fields['code'] })),
  endedBy: proxy.log.filter(({ message }) => message === 'session ended').map(({ fields }) => fields['endedBy']),
}
process.stdout.write(JSON.stringify(result))
for (const connection of [slow, asking, waiting, idle]) connection.destroy()
for (const stop of undo.reverse()) await stop()
far.stop()
await server.stop()

function pause(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 20))
}

async function running(threadId: number): Promise<number> {
  const sql = `SELECT ID FROM information_schema.PROCESSLIST WHERE ID = ${threadId} AND INFO LIKE '%SLEEP(15)%'`
  return (await server.query(sql)).length
}
