/** The option tunnel of a real process: how its command ends with it, reload, check. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { type RealServer, realServer } from '../support/mariadb.ts'
import { PROGRAM } from '../support/program.ts'
import { until, value } from '../support/raw-client.ts'
import { type Sshd, startSshd } from '../support/sshd.ts'

interface Process {
  child: ChildProcess
  lines: string[]
  port(): Promise<number>
  exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>
}

async function start(t: Test, server: RealServer, args: string[]): Promise<Process> {
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP)/.test(name))
  const [command, ...first] = PROGRAM
  const child = spawn(command, [...first, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...Object.fromEntries(inherited),
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    },
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: string[] = []
  for (const stream of [child.stdout!, child.stderr!]) createInterface(stream).on('line', line => lines.push(line))
  const ports = () => lines.flatMap(line => /listening on [^"]*:(\d+)/.exec(line)?.[1] ?? [])
  return {
    child,
    lines,
    async port() {
      await until(`it listens: ${lines}`, () => ports().length > 0)
      return Number(ports()[0])
    },
    exited: once(child, 'close') as Process['exited'],
  }
}

/** Flags for the tests' server, with the CA in a file of the test. */
async function flagsFor(t: Test, server: RealServer, tunnel: string): Promise<string[]> {
  const directory = t.testdir({ 'ca.pem': server.ca })
  const to = `${server.host}:${server.port}`
  const flags = ['--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`, '--connect', to, '--listen', '127.0.0.1:0']
  return [...flags, '--ca', join(directory, 'ca.pem'), '--tunnel', tunnel, '--tunnel-timeout', '2m']
}

const connect = (port: number) =>
  mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user', connectTimeout: 120_000 })

/** All processes whose command line has `text`, also the shell and the programs that ignore SIGTERM. */
async function processesWith(text: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name) && Number(name) !== process.pid)
  const lines = await Promise.all(
    pids.map(async pid => (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ')),
  )
  return lines.filter(line => line.includes(text) && !line.includes('--tunnel ') && !line.includes('sshd'))
}

/** ssh beside a process that ignores SIGTERM: all of the group must end. Both have the port of sshd in their command lines. */
function stubborn(sshd: Sshd): string {
  return `sh -c '(trap "" TERM; exec sleep 1000000${sshd.port}) & exec ${sshd.command()}'`
}

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  test(`${signal} of the proxy ends the tunnel with all of its processes`, async t => {
    const [server, sshd] = [await realServer(t), await startSshd(t)]
    const proxy = await start(t, server, await flagsFor(t, server, stubborn(sshd)))
    const connection = await connect(await proxy.port())
    t.equal(await value(connection, 'SELECT CURRENT_USER()'), 'iam_user@%')
    connection.on('error', () => {})
    t.ok((await processesWith(String(sshd.port))).length >= 3, 'the shell, ssh and sleep')
    proxy.child.kill(signal)
    const [code, by] = await proxy.exited
    t.same([code, by], signal === 'SIGTERM' ? [143, null] : [null, 'SIGKILL'])
    await until('nothing of the tunnel is left', async () => (await processesWith(String(sshd.port))).length === 0)
    connection.destroy()
  })
}

test('a reload keeps the tunnel of an unchanged endpoint, and ends that of a removed one after its last session', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const directory = t.testdir({ 'ca.pem': server.ca })
  const file = join(directory, 'proxy.yaml')
  const endpoint = (name: string, user: string) => `  - name: ${name}
    rds-endpoint: ${server.rdsHost}:${server.rdsPort}
    connect: ${server.host}:${server.port}
    listen: 127.0.0.1:0
    user: ${user}
    ca: [${join(directory, 'ca.pem')}]
    tunnel: ${JSON.stringify(sshd.command(`-o SetEnv=NAME=${name}`))}
    tunnel-timeout: 2m
`
  await writeFile(file, `endpoints:\n${endpoint('kept', 'iam_user')}${endpoint('removed', 'iam_user')}`)
  const proxy = await start(t, server, ['--config', file])
  const portOf = (name: string) => {
    const line = proxy.lines.find(text => text.includes(`"endpoint":"${name}"`) && text.includes('listening on'))
    return Number(/listening on [^"]*:(\d+)/.exec(line ?? '')?.[1])
  }
  await until('both listen', () => portOf('kept') > 0 && portOf('removed') > 0)
  const [kept, removed] = [await connect(portOf('kept')), await connect(portOf('removed'))]
  const tunnels = async (name: string) =>
    (await processesWith(`NAME=${name}`)).filter(line => !line.startsWith('/bin/sh'))
  const before = await tunnels('kept')
  t.equal(before.length, 1)
  t.equal((await tunnels('removed')).length, 1)

  await writeFile(file, `endpoints:\n${endpoint('kept', 'iam_user')}`)
  proxy.child.kill('SIGHUP')
  await until('it has reloaded', () => proxy.lines.some(line => line.includes('configuration read again')))
  t.equal(await value(removed, 'SELECT CURRENT_USER()'), 'iam_user@%', 'its session goes on')
  await removed.end()
  await until('its tunnel ends', async () => (await tunnels('removed')).length === 0)
  t.equal(await value(kept, 'SELECT CURRENT_USER()'), 'iam_user@%')
  t.same(await tunnels('kept'), before)
  await kept.end()
})

test('check opens the tunnel once, and shows the command and its last words if it fails', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const flags = (await flagsFor(t, server, sshd.command())).filter((_flag, index, all) => {
    return all[index] !== '--listen' && all[index - 1] !== '--listen'
  })
  const good = await start(t, server, ['check', 'iam_user', ...flags])
  t.same(await good.exited, [0, null], good.lines.join('\n'))
  const text = good.lines.join('\n')
  // Long lines are wrapped.
  t.match(text.replace(/\s+/g, ' '), `-L 13306:${server.host}:${server.port}`)
  t.match(text, /open, \d+ ms; through the tunnel command ssh/)
  t.match(text.replace(/\s+/g, ' '), 'an address of the machine at the far end of the tunnel')
  t.notMatch(text.replace(/\s+/g, ' '), 'port forward on this machine')
  t.equal((await sshd.log()).match(/Accepted publickey/g)?.length, 1)

  const broken = flags.map(flag => (flag === sshd.command() ? sshd.command('-o UserKnownHostsFile=/dev/null') : flag))
  const bad = await start(t, server, ['check', 'iam_user', ...broken])
  t.same(await bad.exited, [4, null])
  t.match(bad.lines.join(' '), /Host key verification failed.*to try by hand.*TUNNEL_FAILED/)
})
