/**
 * Upgrades a proxy again and again under a load of logins, before a real server: how many logins are refused, how long the
 * slowest takes, and whether sessions live on. The same without upgrades is the comparison. See --help.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type RealServer, startMariadb } from '../test/support/mariadb.ts'
import { median, number, progress, table } from './compare.ts'
import { buildIfStale, proxyProgram } from './peers.ts'
import type { UpgradeResult, UpgradeTask } from './upgrade-client.ts'

const HELP = `npm run upgrade-test -- [options]

Exit code 1 if a login is refused or a session is lost.

  --upgrades N   in each run (default: 10)
  --logins N     at least, in each run (default: 1000)
  --workers N    logins at the same time (default: 4)
  --sessions N   that must live through all upgrades (default: 5)
`

const { values: options } = parseArgs({
  options: {
    help: { type: 'boolean' },
    upgrades: { type: 'string', default: '10' },
    logins: { type: 'string', default: '1000' },
    workers: { type: 'string', default: '4' },
    sessions: { type: 'string', default: '5' },
  },
})

/** Between two upgrades. */
const PAUSE_MS = 500

interface Proxy {
  port: number
  /** of the newest process */
  pid(): number
  /** Resolves when a new process serves. */
  upgrade(): Promise<void>
  /** Stops all processes. */
  stop(): Promise<void>
}

if (options.help) process.stdout.write(HELP)
else process.exitCode = await run()

async function run(): Promise<number> {
  buildIfStale()
  const server = await startMariadb()
  const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-upgrade-'))
  try {
    const rows: string[][] = []
    let failures = 0
    for (const socket of ['its own port', 'a socket from systemd'] as const) {
      for (const upgrades of [0, Number(options.upgrades)]) {
        const { times, refused, lost } = await measure(server, scratch, socket, upgrades)
        const sorted = times.toSorted((a, b) => a - b)
        const percentile = (share: number) => number(sorted[Math.ceil(sorted.length * share) - 1]!)
        rows.push([
          `${socket}, ${upgrades} upgrades`,
          `${times.length + refused.length}`,
          `${refused.length}`,
          number(median(times)),
          percentile(0.99),
          percentile(1),
          `${lost.length} of ${options.sessions}`,
        ])
        progress(rows.at(-1)!.join(' | '))
        for (const message of [...refused, ...lost]) progress(`  ${message}`)
        failures += refused.length + lost.length
      }
    }
    const head = ['', 'logins', 'refused', 'median ms', '99 % ms', 'slowest ms', 'sessions lost']
    process.stdout.write(`${table(`upgrades under load, ${options.workers} logins at a time`, head, rows)}\n`)
    return failures === 0 ? 0 : 1
  } finally {
    await server.stop()
    await rm(scratch, { recursive: true, force: true })
  }
}

async function measure(server: RealServer, scratch: string, socket: string, upgrades: number): Promise<UpgradeResult> {
  const proxy = await startProxy(server, scratch, socket === 'a socket from systemd')
  try {
    const client = fork(new URL('upgrade-client.ts', import.meta.url), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    const next = async () => (await once(client, 'message'))[0]
    const task: UpgradeTask = {
      port: proxy.port,
      user: 'iam_user',
      workers: Number(options.workers),
      logins: Number(options.logins),
      sessions: Number(options.sessions),
    }
    client.send(task)
    await next()
    const finished = next()
    for (let count = 0; count < upgrades; count++) {
      await sleep(PAUSE_MS)
      await proxy.upgrade()
    }
    client.send('stop')
    return (await finished) as UpgradeResult
  } finally {
    await proxy.stop()
  }
}

async function startProxy(server: RealServer, scratch: string, fromSystemd: boolean): Promise<Proxy> {
  const ca = join(scratch, 'ca.pem')
  await writeFile(ca, server.ca)
  const socket = createServer().listen(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address() as { port: number }
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const args = [
    ...[proxyProgram, '--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`],
    ...['--connect', `${server.host}:${server.port}`, '--ca', ca, '--log-format', 'json'],
    ...['--listen', fromSystemd ? 'systemd' : `127.0.0.1:${port}`, '--max-logins-per-second', '0'],
  ]
  if (!fromSystemd) await new Promise(resolve => socket.close(resolve))
  const start = (command: string, args: string[], more: NodeJS.ProcessEnv, sockets: number[]) =>
    spawn(command, args, {
      stdio: ['ignore', 'pipe', 'inherit', ...sockets],
      env: { ...process.env, AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, ...more },
    })
  const child: ChildProcess = fromSystemd
    ? start('sh', ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', process.execPath, ...args], { LISTEN_FDS: '1' }, [fd])
    : start(process.execPath, args, {}, [])
  const pids = [child.pid!]
  const waiting = new Set<() => void>()
  let isListening = false
  createInterface(child.stdout!).on('line', line => {
    const { msg, successor } = JSON.parse(line) as { msg: string; successor?: number }
    isListening ||= msg.startsWith('listening on')
    if (successor !== undefined) pids.push(successor)
    if (msg.startsWith('upgrade failed')) progress(line)
    for (const look of waiting) look()
  })
  const until = (isTrue: () => boolean) =>
    new Promise<void>(resolve => {
      const look = () => {
        if (!isTrue()) return
        waiting.delete(look)
        resolve()
      }
      waiting.add(look)
      look()
    })
  await until(() => isListening)
  if (fromSystemd) socket.close()
  return {
    port,
    pid: () => pids.at(-1)!,
    async upgrade() {
      const count = pids.length
      process.kill(pids.at(-1)!, 'SIGUSR2')
      await until(() => pids.length > count)
    },
    async stop() {
      const closed = once(child, 'close') // of all processes: they share its standard output
      process.kill(pids.at(-1)!, 'SIGTERM')
      await closed
    },
  }
}
