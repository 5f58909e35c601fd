/** The client process of line.ts. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createTokenSource } from '../src/aws/token.ts'
import { answer } from './child.ts'
import type { Route } from './client.ts'
import { median } from './compare.ts'
import { logIn } from './line-login.ts'
import type { LoginTask } from './login-client.ts'

export interface LineTask {
  route: Route
  iam: LoginTask['iam']
}

/** Medians in milliseconds. */
export interface LineResult {
  one: number
  pool: number
  gui: number
}

const LOGINS = 9
const POOLS = 3
const POOL_SIZE = 10
const GUIS = 3
const GUI_SIZE = 3

/** Between two starts of a GUI: prepared connections that nobody took have ended. */
const BETWEEN_GUIS_MS = 4_000

answer<LineTask>(async ({ route, iam }): Promise<LineResult> => {
  const createToken = iam && createTokenSource(iam.rds, async () => iam.credentials)
  async function open() {
    const started = performance.now()
    const token = createToken ? await createToken(iam.user) : undefined
    const connection = await logIn(route, iam?.user, token)
    await connection.query('SELECT 1')
    return { milliseconds: performance.now() - started, close: () => connection.end() }
  }
  async function inSequence(count: number) {
    const opened = []
    for (let index = 0; index < count; index++) opened.push(await open())
    await Promise.all(opened.map(({ close }) => close()))
    return opened.map(({ milliseconds }) => milliseconds)
  }
  // The first logins load code here and in the proxy.
  await inSequence(2)
  const one: number[] = []
  for (let index = 0; index < LOGINS; index++) one.push(...(await inSequence(1)))
  const pool: number[] = []
  for (let index = 0; index < POOLS; index++) {
    const opened = await Promise.all(Array.from({ length: POOL_SIZE }, open))
    await Promise.all(opened.map(({ close }) => close()))
    pool.push(...opened.map(({ milliseconds }) => milliseconds))
  }
  const gui: number[] = []
  for (let index = 0; index < GUIS; index++) {
    await sleep(BETWEEN_GUIS_MS)
    gui.push(...(await inSequence(GUI_SIZE)).slice(1))
  }
  return { one: median(one), pool: median(pool), gui: median(gui) }
})
