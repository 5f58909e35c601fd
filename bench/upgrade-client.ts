/** The client process of upgrade.ts: it logs in until it is stopped, and keeps sessions with an open transaction. */
import { setTimeout as sleep } from 'node:timers/promises'
import mysql from 'mysql2/promise'

export interface UpgradeTask {
  port: number
  user: string
  /** logins at the same time */
  workers: number
  /** at least so many */
  logins: number
  /** sessions that must live on */
  sessions: number
}

export interface UpgradeResult {
  /** milliseconds of each login, from connect to the answer to SELECT 1 */
  times: number[]
  /** messages of logins that failed */
  refused: string[]
  /** messages of sessions that were lost, or had lost their transaction */
  lost: string[]
}

/** Between two logins of a worker, and between two questions of a session. */
const PAUSE_MS = 20
const QUESTION_MS = 200

process.once(
  'message',
  task => void work(task as UpgradeTask).then(result => process.send!(result, () => process.exit())),
)

async function work({ port, user, workers, logins, sessions }: UpgradeTask): Promise<UpgradeResult> {
  const result: UpgradeResult = { times: [], refused: [], lost: [] }
  let isOver = false
  process.once('message', () => {
    isOver = true
  })
  const connect = () => mysql.createConnection({ host: '127.0.0.1', port, user })
  const opened = await Promise.all(Array.from({ length: sessions }, connect))
  const isDone = () => isOver && result.times.length + result.refused.length >= logins
  const logIn = async () => {
    while (!isDone()) {
      const started = performance.now()
      try {
        const connection = await connect()
        await connection.query('SELECT 1')
        result.times.push(performance.now() - started)
        await connection.end()
      } catch (error) {
        result.refused.push((error as Error).message)
      }
      await sleep(PAUSE_MS)
    }
  }
  const keep = async (connection: mysql.Connection) => {
    connection.on('error', () => undefined)
    try {
      await connection.query('START TRANSACTION')
      await connection.query('SET @question = 0')
      for (let question = 1; !isDone(); question++) {
        const [[row]] = await connection.query<mysql.RowDataPacket[]>('SELECT @question := @question + 1 AS question')
        if (Number(row!['question']) !== question) throw new Error('another session answered')
        await sleep(QUESTION_MS)
      }
      await connection.query('COMMIT')
      await connection.end()
    } catch (error) {
      result.lost.push((error as Error).message)
    }
  }
  process.send!('ready')
  await Promise.all([...Array.from({ length: workers }, logIn), ...opened.map(keep)])
  return result
}
