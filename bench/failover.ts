/**
 * A simulated failover, with and without sync-targets: npm run failover. Requires root for network namespaces, and the
 * MariaDB packages of the tests. An argument selects the runs whose name contains it: npm run failover -- 5s
 *
 * The real proxy and the real `sync-targets --watch` as processes; a real MariaDB behind two addresses, each in a network
 * namespace; a TCP load balancer with health checks on the targets of the stand-in for ELB; a name server. At the address
 * change, the link of the first address goes down, so packets vanish. The second starts to answer, and the name moves.
 * A client logs in four times a second throughout.
 */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import mysql from 'mysql2/promise'
import { startDnsServer } from '../test/support/dns-server.ts'
import { startElb, TARGET_GROUP } from '../test/support/elb.ts'
import { type RealServer, startMariadb } from '../test/support/mariadb.ts'
import type { AddressTask } from './failover-address.ts'
import { startLoadBalancer } from './failover-nlb.ts'

/** The fastest health check of an NLB: https://docs.aws.amazon.com/elasticloadbalancing/latest/network/target-group-health-checks.html */
const HEALTH_CHECK = { interval: 5_000, timeout: 2_000, threshold: 2 }
const TTL_SECONDS = 5
const LOGIN_INTERVAL_MS = 250
/** Logins before the address change, and at most after it. */
const BEFORE_SECONDS = 10
const AFTER_SECONDS = 90

const root = fileURLToPath(new URL('..', import.meta.url))

/** All children, to stop them with this process. */
const children = new Set<ChildProcess>()

interface Run {
  name: string
  sync: string[] | undefined
}

const RUNS: Run[] = [
  { name: 'without sync-targets', sync: undefined },
  { name: 'sync-targets --watch --interval 30s', sync: ['--interval', '30s'] },
  { name: 'sync-targets --watch --interval 5s', sync: ['--interval', '5s'] },
  { name: 'sync-targets --watch --interval 5s --verify', sync: ['--interval', '5s', '--verify'] },
]

// In a separate network namespace, which disappears with the process.
if (process.env['IN_NAMESPACE'] === undefined) {
  const command = [process.execPath, ...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)]
  const again = spawn('unshare', ['--net', ...command], {
    stdio: 'inherit',
    env: { ...process.env, IN_NAMESPACE: '1' },
  })
  const [code] = await once(again, 'exit')
  process.exit(code ?? 1)
}

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})
ip('link set lo up')
const server = await startMariadb({ extraConfig: 'bind-address=0.0.0.0' })
const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-failover-'))
const caFile = join(scratch, 'ca.pem')
await writeFile(caFile, server.ca)
try {
  print('| | first login after the address change | logins lost | registered | old target removed |')
  print('| --- | --- | --- | --- | --- |')
  const runs = RUNS.filter(({ name }) => name.includes(process.argv[2] ?? ''))
  for (const [index, run] of runs.entries()) print(row(run.name, await failOver(server, run, index)))
} finally {
  await server.stop()
  await rm(scratch, { recursive: true })
}
process.exit(0)

interface Outcome {
  /** seconds after the address change; undefined if later than AFTER_SECONDS */
  firstLogin: number | undefined
  lost: number
  attempted: number
  registered: number | undefined
  removed: number | undefined
}

async function failOver(server: RealServer, { sync }: Run, index: number): Promise<Outcome> {
  const [oldHost, newHost] = [await startAddress(index, 1), await startAddress(index, 2)]
  const [elb, dns] = [await startElb(), await startDnsServer()]
  elb.healthOfNew = []
  elb.add(oldHost.address)
  dns.answer({ addresses: [oldHost.address], ttl: TTL_SECONDS })
  await oldHost.listen()
  const balancer = await startLoadBalancer(elb, HEALTH_CHECK)
  const proxy = await startProxy(server, balancer.port)
  const follower = sync && startSync(server, [...sync, '--resolver', dns.address], elb.url)

  let changedAt = Number.POSITIVE_INFINITY
  const since = () => (performance.now() - changedAt) / 1_000
  const outcome: Outcome = { firstLogin: undefined, lost: 0, attempted: 0, registered: undefined, removed: undefined }
  elb.onChange = () => {
    const has = (address: string) =>
      elb.targets.some(target => target.address === address && target.state !== 'draining')
    if (has(newHost.address)) outcome.registered ??= since()
    if (!has(oldHost.address)) outcome.removed ??= since()
  }
  async function attempt(): Promise<void> {
    const isAfter = performance.now() >= changedAt
    if (isAfter) outcome.attempted++
    const isGood = await logIn(proxy.port)
    if (!isAfter) return
    if (isGood) outcome.firstLogin ??= since()
    else outcome.lost++
  }
  const attempts: Promise<void>[] = []
  const timer = setInterval(() => attempts.push(attempt()), LOGIN_INTERVAL_MS)
  await sleep(BEFORE_SECONDS * 1_000)

  oldHost.die()
  await newHost.listen()
  dns.answer({ addresses: [newHost.address], ttl: TTL_SECONDS })
  changedAt = performance.now()
  while (since() < AFTER_SECONDS && !(outcome.firstLogin !== undefined && outcome.removed !== undefined))
    await sleep(100)
  clearInterval(timer)
  await Promise.all(attempts)

  for (const child of [proxy.child, follower, oldHost.child, newHost.child]) await stop(child)
  await Promise.all([balancer.close(), elb.close(), dns.close()])
  return outcome
}

/** An address in a separate namespace, behind a veth pair. */
async function startAddress(index: number, side: 1 | 2) {
  const net = `10.77.${10 * index + side}`
  const address = `${net}.10`
  const child = fork(new URL('failover-address.ts', import.meta.url), {
    execPath: 'unshare',
    execArgv: ['--net', process.execPath, ...process.execArgv],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  children.add(child)
  await once(child, 'message')
  const [here, there] = [`here${index}${side}`, `there${index}${side}`]
  const inside = ['-t', String(child.pid), '-n', 'ip']
  ip(`link add ${here} type veth peer name ${there}`)
  ip(`link set ${there} netns ${child.pid}`)
  ip(`addr add ${net}.1/24 dev ${here}`)
  ip(`link set ${here} up`)
  execFileSync('nsenter', [...inside, 'addr', 'add', `${address}/24`, 'dev', there])
  execFileSync('nsenter', [...inside, 'link', 'set', there, 'up'])
  return {
    address,
    child,
    async listen() {
      const task: AddressTask = { address, port: server.rdsPort, server: { host: `${net}.1`, port: server.port } }
      child.send(task)
      await once(child, 'message')
    },
    die: () => execFileSync('nsenter', [...inside, 'link', 'set', there, 'down']),
  }
}

async function startProxy(server: RealServer, balancerPort: number) {
  const child = start(
    ['--rds-endpoint', rdsEndpoint(server), '--connect', `127.0.0.1:${balancerPort}`, '--listen', '127.0.0.1:0'],
    {
      AWS_ACCESS_KEY_ID: server.keys.longTerm.accessKeyId,
      AWS_SECRET_ACCESS_KEY: server.keys.longTerm.secretAccessKey,
    },
  )
  let text = ''
  for await (const data of child.stdout!) {
    text += data
    const port = /listening on 127\.0\.0\.1:(\d+)/.exec(text)?.[1]
    if (port) return { child, port: Number(port) }
  }
  throw new Error(`the proxy did not start: ${text}`)
}

function startSync(server: RealServer, args: string[], elbUrl: string): ChildProcess {
  const all = ['sync-targets', '--watch', '--rds-endpoint', rdsEndpoint(server), '--target-group-arn', TARGET_GROUP]
  return start([...all, ...args], {
    AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2: elbUrl,
    AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'example',
  })
}

function start(args: string[], env: NodeJS.ProcessEnv): ChildProcess {
  const child = spawn(process.execPath, ['--import=tsx', 'bin/mysql-iam-proxy.ts', '--ca', caFile, ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env['PATH'], ...env },
  })
  children.add(child)
  // Read the output, so that the pipe never fills up.
  child.stdout?.on('data', data => process.env['VERBOSE'] && process.stderr.write(data))
  return child
}

async function stop(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
  children.delete(child)
}

function rdsEndpoint({ rdsHost, rdsPort }: RealServer): string {
  return `${rdsHost}:${rdsPort}`
}

async function logIn(port: number): Promise<boolean> {
  try {
    const connection = await mysql.createConnection({
      host: '127.0.0.1',
      port,
      user: 'iam_user',
      connectTimeout: 30_000,
    })
    await connection.query('SELECT 1')
    connection.destroy()
    return true
  } catch {
    return false
  }
}

function ip(command: string): void {
  execFileSync('ip', command.split(' '))
}

function row(name: string, { firstLogin, lost, attempted, registered, removed }: Outcome): string {
  const at = (seconds: number | undefined) => (seconds === undefined ? '-' : `${seconds.toFixed(1)} s`)
  const login = firstLogin === undefined ? `none within ${AFTER_SECONDS} s` : at(firstLogin)
  return `| ${name} | ${login} | ${lost} of ${attempted} | ${at(registered)} | ${at(removed)} |`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
