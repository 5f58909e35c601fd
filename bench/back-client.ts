/** The clients of back.ts, in one process: they stay logged in, and come back when they are disconnected. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, logIn, type Route } from './client.ts'
import { median } from './compare.ts'

export interface BackTask {
  port: number
  /** clients that stay */
  count: number
  /** logins in sequence before that */
  sequence: number
}

export interface BackResult {
  /** from listening to the last login */
  seconds: number
  /** of the proxy in that time */
  cpuSeconds: number
  failed: number
  /** median time of the logins in sequence */
  sequenceMs: number
}

/** Clients that log in at the same time at first. */
const AT_A_TIME = 10
/** Before the next try of a login that failed. */
const RETRY_MS = 50

process.once('message', ({ port, count, sequence }: BackTask) => void run(port, count, sequence))

async function run(port: number, count: number, sequence: number): Promise<void> {
  const route: Route = { name: 'proxy', host: '127.0.0.1', port, user: 'iam_user', password: '' }
  const times: number[] = []
  for (let index = -1; index < sequence; index++) {
    const started = performance.now()
    const { socket } = await logIn(route)
    if (index >= 0) times.push(performance.now() - started)
    socket.destroy()
  }
  const clients: Client[] = []
  const open = async () => {
    while (clients.length < count) {
      const client = await logIn(route).catch(() => sleep(RETRY_MS))
      if (client && clients.length < count) clients.push(client)
      else client?.socket.destroy()
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, open))
  let [back, failed, refused] = [0, 0, 0]
  const comeBack = async () => {
    for (;;) {
      try {
        await logIn(route)
        break
      } catch (error) {
        // Nobody listens between the two proxies.
        if (/ECONNREFUSED/.test(`${(error as NodeJS.ErrnoException).code}`)) refused++
        else failed++
        await sleep(RETRY_MS)
      }
    }
    if (++back === count) process.send!({ last: Date.now(), failed, refused })
  }
  for (const { socket } of clients) socket.once('close', () => void comeBack())
  for (const { socket } of clients) socket.resume()
  process.send!({ sequenceMs: median(times) })
}
