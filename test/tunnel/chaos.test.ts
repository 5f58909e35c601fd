/**
 * Random kills of the tunnel while clients log in and query, with a real ssh and sshd. Every failure must have a reason that
 * the proxy names, and in the end everything works again. SEED repeats a run.
 */
import { randomInt } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import mysql from 'mysql2/promise'
import { test } from 'tap'
import { startMariadb } from '../support/mariadb.ts'
import { startProxy } from '../support/proxy.ts'
import { until, value } from '../support/raw-client.ts'
import { startSshd } from '../support/sshd.ts'

const CLIENTS = 6
const KILLS = 12

/** https://github.com/cprosche/mulberry32 */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The processes of the tunnel: its shell, the watcher and ssh. */
async function tunnelPids(port: number): Promise<{ pid: number; isSsh: boolean }[]> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(
    pids.map(async pid => {
      const line = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ')
      return { pid, isSsh: /^\S*\/ssh /.test(line), isOurs: line.includes(`-p ${port} `) }
    }),
  )
  return found.filter(({ isOurs }) => isOurs)
}

/** What a client may see of a lost tunnel: an error of ours, or a connection that broke in the middle. */
const EXPLAINED = /^mysql-iam-proxy: the tunnel (?:command ssh|to )|Connection lost|ECONNRESET|EPIPE|closed state/

test('random kills of the tunnel while clients log in: nothing is unexplained', async t => {
  const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31))
  t.comment(`SEED=${seed}`)
  const random = createRandom(seed)
  const [server, sshd] = [await startMariadb(), await startSshd(t)]
  t.teardown(() => server.stop())
  const proxy = await startProxy(t, {
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    tunnel: sshd.command(),
    tunnelTimeout: 120_000,
    credentials: server.keys.longTerm,
    ca: [server.ca],
    user: 'iam_user',
    maxLoginsPerSecond: 0,
  })
  const { host, port } = proxy.address
  const results = { logins: 0, queries: 0, failures: 0 }
  const unexplained: string[] = []
  let isOver = false

  const client = async () => {
    while (!isOver) {
      try {
        const connection = await mysql.createConnection({ host, port, user: 'iam_user', connectTimeout: 120_000 })
        connection.on('error', () => {}) // an idle connection that breaks
        try {
          results.logins++
          for (let n = 0; n < 5 && !isOver; n++) {
            if ((await value(connection, `SELECT ${n} + 1`)) !== n + 1) unexplained.push('a wrong answer')
            results.queries++
          }
        } finally {
          connection.destroy()
        }
      } catch (error) {
        results.failures++
        const { message } = error as Error
        if (!EXPLAINED.test(message)) unexplained.push(message)
      }
    }
  }
  const clients = Array.from({ length: CLIENTS }, client)
  for (let kill = 0; kill < KILLS; kill++) {
    const loginsBefore = results.logins
    // Sometimes while it starts, sometimes after some logins.
    const isEarly = random() < 0.4
    const wanted = loginsBefore + Math.floor(random() * 8)
    await until('a moment for a kill', async () => {
      return (await tunnelPids(sshd.port)).length > 0 && (isEarly || results.logins > wanted)
    })
    const pids = await tunnelPids(sshd.port)
    const one = random()
    if (one < 0.15) {
      await sshd.stop()
      await sshd.start()
      continue
    }
    const victims = one < 0.7 ? pids.filter(({ isSsh }) => isSsh) : pids.filter(({ isSsh }) => !isSsh)
    const victim = victims[Math.floor(random() * victims.length)]
    const signal = random() < 0.5 ? 'SIGKILL' : 'SIGTERM'
    try {
      if (victim) process.kill(victim.pid, signal)
    } catch {
      // It has ended by itself.
    }
  }
  const loginsAfter = results.logins
  await until('logins work again', () => results.logins > loginsAfter + CLIENTS)
  isOver = true
  await Promise.all(clients)
  t.comment(JSON.stringify(results))
  t.same(unexplained, [])
  t.ok(results.logins > 0)
  const bugs = proxy.log.filter(({ fields }) => fields['code'] === 'INTERNAL')
  t.same(bugs, [])
  const blocked = await server.query('SELECT MAX(SUM_CONNECT_ERRORS) AS errors FROM performance_schema.host_cache')
  t.comment('connection errors of the server', JSON.stringify(blocked))

  await proxy.proxy.close()
  await until('nothing of the tunnel is left', async () => (await tunnelPids(sshd.port)).length === 0)
})
