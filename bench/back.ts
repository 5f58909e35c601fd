/**
 * Clients that come back at once after a restart of the proxy: npm run back. Requires root for network and mount namespaces.
 *
 * The proxy runs as a process of its own before a real MariaDB. A number of clients are logged in; the proxy stops, another one
 * starts on the same port, and all clients log in again as fast as they can. Builds of other checkouts are measured in turns.
 * A name server answers with a delay, or loses questions.
 */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startDnsServer } from '../test/support/dns-server.ts'
import { freePort } from '../test/support/free-port.ts'
import { type RealServer, startMariadb } from '../test/support/mariadb.ts'
import type { BackResult, BackTask } from './back-client.ts'
import { median, number, progress, table } from './compare.ts'
import { buildIfStale, usageOf } from './peers.ts'

const HELP = `npm run back -- [options]

  --clients N    (default: 1000)
  --runs N       (default: 3)
  --before DIR   another checkout whose dist/ is built, to compare with
  --rates LIST   of --max-logins-per-second; 0 is no limit (default: 0,150)
  --dns LIST     delays of the name server in ms, or "lost": 1 of 50 questions gets no answer, after 1 ms.
                 Without it, the proxy gets an address
  --give-up MS   how long a run may take (default: 300000)
`

const { values: options } = parseArgs({
  options: {
    help: { type: 'boolean' },
    clients: { type: 'string', default: '1000' },
    runs: { type: 'string', default: '3' },
    before: { type: 'string' },
    rates: { type: 'string', default: '0,150' },
    dns: { type: 'string' },
    'give-up': { type: 'string', default: '300000' },
  },
})

/** The name that the name server knows. */
const NAME = 'db.back.test'
const LOSING = 50
const SEQUENCE = 20

const children = new Set<ChildProcess>()
const root = fileURLToPath(new URL('..', import.meta.url))

interface Build {
  name: string
  directory: string
}

interface Proxy {
  child: ChildProcess
  listening: number
  cpuAtFirst: number
}

if (options.help) process.stdout.write(HELP)
else if (process.env['IN_NAMESPACE'] === undefined) {
  buildIfStale()
  const command = [process.execPath, ...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)]
  const env = { ...process.env, IN_NAMESPACE: '1' }
  const [code] = await once(spawn('unshare', ['--net', '--mount', ...command], { stdio: 'inherit', env }), 'exit')
  process.exit(code ?? 1)
} else await main()

async function main(): Promise<void> {
  process.on('exit', () => {
    for (const child of children) child.kill('SIGKILL')
  })
  const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-back-'))
  execFileSync('ip', ['link', 'set', 'lo', 'up'])
  await writeFile(join(scratch, 'resolv.conf'), 'nameserver 127.0.0.1\n')
  execFileSync('mount', ['--bind', join(scratch, 'resolv.conf'), '/etc/resolv.conf'])
  const dns = await startDnsServer('127.0.0.1', 53)
  dns.answer({ addresses: ['127.0.0.1'], ttl: 60 })
  const server = await startMariadb({ extraConfig: 'max_connections=6000\nthread_stack=256K' })
  await writeFile(join(scratch, 'ca.pem'), server.ca)
  const builds: Build[] = [{ name: 'now', directory: root }]
  if (options.before) builds.unshift({ name: 'before', directory: resolve(options.before) })
  try {
    const rows: string[][] = []
    for (const delay of options.dns?.split(',') ?? [undefined]) {
      dns.slowDown(Number(delay) || 1, delay === 'lost' ? LOSING : undefined)
      for (const rate of options.rates.split(',')) {
        const results = new Map<Build, BackResult[]>(builds.map(build => [build, []]))
        for (let run = 0; run < Number(options.runs); run++) {
          for (const build of builds) {
            const result = await measure(build, server, scratch, rate, delay !== undefined)
            results.get(build)!.push(result)
            progress(`dns ${delay}, rate ${rate}, ${build.name}: ${JSON.stringify(result)}`)
          }
        }
        for (const [{ name }, found] of results) {
          const of = (what: keyof BackResult) => number(median(found.map(result => result[what])))
          const dnsText = delay === undefined ? 'none' : delay === 'lost' ? `1 of ${LOSING} lost` : `${delay} ms`
          rows.push([name, dnsText, rate, of('seconds'), of('cpuSeconds'), of('failed'), of('sequenceMs')])
        }
      }
    }
    const head = [
      '',
      'DNS',
      'rate',
      'all are back after, s',
      'CPU s',
      'failed logins',
      `median of ${SEQUENCE} logins, ms`,
    ]
    process.stdout.write(`${table(`${options.clients} clients that come back after a restart`, head, rows)}\n`)
  } finally {
    await server.stop()
    await dns.close()
    await rm(scratch, { recursive: true, force: true })
  }
  process.exit(0)
}

async function measure(
  build: Build,
  server: RealServer,
  scratch: string,
  rate: string,
  byName: boolean,
): Promise<BackResult> {
  const port = await freePort()
  const connect = `${byName ? NAME : '127.0.0.1'}:${server.port}`
  const start = () => startProxy(build, server, scratch, port, connect, rate)
  let proxy = await start()
  const client = fork(new URL('back-client.ts', import.meta.url), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  children.add(client)
  try {
    const task: BackTask = { port, count: Number(options.clients), sequence: SEQUENCE }
    client.send(task)
    const [{ sequenceMs }] = await once(client, 'message')
    await stop(proxy.child)
    proxy = await start()
    const answer = once(client, 'message').then(([message]) => message as { last: number; failed: number })
    const late = sleep(Number(options['give-up'])).then(() => undefined)
    const result = await Promise.race([answer, late])
    const cpuSeconds = usageOf(proxy.child.pid!).cpuSeconds - proxy.cpuAtFirst
    const seconds = ((result?.last ?? Number.NaN) - proxy.listening) / 1_000
    return { seconds, cpuSeconds, failed: result?.failed ?? Number.NaN, sequenceMs }
  } finally {
    client.kill('SIGKILL')
    await stop(proxy.child)
  }
}

async function startProxy(
  { directory }: Build,
  server: RealServer,
  scratch: string,
  port: number,
  connect: string,
  rate: string,
): Promise<Proxy> {
  const args = ['--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`, '--connect', connect, '--ca', 'ca.pem']
  args.push('--listen', `127.0.0.1:${port}`, '--max-logins-per-second', rate)
  const child = spawn(process.execPath, [join(directory, 'dist/bin/mysql-iam-proxy.js'), ...args], {
    cwd: scratch,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env['PATH'],
      RUNTIME_DIRECTORY: scratch,
      AWS_ACCESS_KEY_ID: server.keys.longTerm.accessKeyId,
      AWS_SECRET_ACCESS_KEY: server.keys.longTerm.secretAccessKey,
    },
  })
  children.add(child)
  let text = ''
  for await (const data of child.stdout.iterator({ destroyOnReturn: false })) {
    text += data
    if (/listening on/.test(text)) break
  }
  const listening = Date.now()
  child.stdout.resume()
  if (child.exitCode !== null) throw new Error(`the proxy did not start: ${text}`)
  return { child, listening, cpuAtFirst: usageOf(child.pid!).cpuSeconds }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
  children.delete(child)
}
