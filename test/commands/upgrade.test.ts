/** Upgrades of a running proxy, before a real server. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { runningProxy } from '../../src/commands/running-proxy.ts'
import { upgradeProxy } from '../../src/commands/upgrade.ts'
import { upgradeProblem, warmUp } from '../../src/commands/upgrade-process.ts'
import { createTestClock } from '../support/clock.ts'
import { realServer } from '../support/mariadb.ts'
import { until, value } from '../support/raw-client.ts'
import { type StartedProgram, startProgram } from '../support/start-program.ts'

const never = new AbortController().signal

async function scene(t: Test) {
  const server = await realServer(t)
  const directory = await mkdtemp(join(tmpdir(), 'upgrade-')) // short, as the paths of sockets must be
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const runtime = join(directory, 'run')
  await mkdir(runtime, { mode: 0o700 })
  const [ca, config] = [join(directory, 'ca.pem'), join(directory, 'config.yaml')]
  await writeFile(ca, server.ca)
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const environment = {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    RUNTIME_DIRECTORY: runtime,
    HOME: directory,
  }
  const endpoint = (name: string, listen: string) =>
    `  - {name: ${name}, rds-endpoint: '${server.rdsHost}:${server.rdsPort}', connect: '${server.host}:${server.port}', ca: '${ca}', listen: '${listen}'}\n`
  const start = (more: NodeJS.ProcessEnv = {}, socket?: number) => {
    const program = startProgram(t, ['--config', config], { ...environment, ...more }, socket)
    t.teardown(() => pidsOf(program).forEach(kill))
    return program
  }
  const folders = { runtime: [runtime], home: undefined }
  /** As the command does. */
  const upgrade = async () => await upgradeProxy(await runningProxy({ pid: undefined }, folders), never)
  const write = (...endpoints: string[]) =>
    writeFile(config, `admin-listen: 127.0.0.1:0\nendpoints:\n${endpoints.join('')}`)
  return { directory, config, endpoint, write, start, upgrade, folders }
}

/** The processes of a proxy, in the order of their start. */
function pidsOf({ child, lines }: StartedProgram): number[] {
  return [child.pid!, ...lines().flatMap(({ successor }) => (typeof successor === 'number' ? [successor] : []))]
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function kill(pid: number): void {
  if (isAlive(pid)) process.kill(pid, 'SIGKILL')
}

async function portOf(program: StartedProgram): Promise<number> {
  const { msg } = await program.logged('listening on 127.0.0.1')
  return Number(/:(\d+);/.exec(msg)?.[1])
}

const connect = (to: { port: number } | { socketPath: string }) =>
  mysql.createConnection({ host: '127.0.0.1', ...to, user: 'iam_user' })

test('upgrades under load: no login is refused, and sessions live on', async t => {
  const { directory, endpoint, write, start, upgrade } = await scene(t)
  const socketPath = join(directory, 'mysql.sock')
  await write(endpoint('tcp', '127.0.0.1:0'), endpoint('unix', `unix:${socketPath}`))
  const program = start()
  const port = await portOf(program)
  await program.logged('listening on unix:')
  const first = await connect({ port })
  let isOver = false
  const load = [{ port }, { port }, { socketPath }].map(async to => {
    let logins = 0
    for (; !isOver; logins++) {
      const connection = await connect(to)
      t.match(await value(connection, 'SELECT CURRENT_USER()'), /^iam_user@/)
      await connection.end()
    }
    return logins
  })
  const session = await connect({ socketPath })
  for (let count = 1; count <= 3; count++) {
    const said = await upgrade()
    await until('the log names the new process', () => pidsOf(program).length === count + 1)
    t.match(said, `Process ${pidsOf(program)[count]} serves now`)
    t.equal(await value(first, 'SELECT 1'), 1, `a session lives on through upgrade ${count}`)
  }
  const { msg: admin } = await program.logged('admin listener on ')
  const metrics = async () => await (await fetch(`${/http:.*/.exec(admin)?.[0]}/metrics`)).text()
  await until('the newest process knows of the older sessions', async () =>
    / *mysql_iam_proxy_draining_sessions [2-9]/.test(await metrics()),
  )
  isOver = true
  t.ok((await Promise.all(load)).every(count => count > 0))

  const [one, two, three, four] = pidsOf(program) as [number, number, number, number]
  t.ok([one, two, three, four].every(isAlive), 'a process stays for those before it')
  t.equal(await value(session, 'SELECT 1'), 1)
  await Promise.all([first.end(), session.end()])
  await until('the old processes end with their sessions', () => ![one, two, three].some(isAlive))
  t.ok(existsSync(socketPath), 'and do not remove the socket of the new one')
  const last = await connect({ socketPath })
  process.kill(four, 'SIGTERM')
  await once(last, 'error')
  await until('it ends', () => !isAlive(four))
  t.notOk(existsSync(socketPath), 'the last one removes it')
})

test('a signal to the newest process stops them all; sessions may finish their transactions', async t => {
  const { endpoint, write, start, upgrade } = await scene(t)
  await write(endpoint('tcp', '127.0.0.1:0'))
  const program = start()
  const port = await portOf(program)
  const busy = await connect({ port })
  busy.on('error', () => undefined)
  await busy.beginTransaction()
  await busy.query('SELECT 1 FROM mysql.db')
  await upgrade()
  await upgrade()
  await until('the log names all processes', () => pidsOf(program).length === 3)
  const [one, two, three] = pidsOf(program) as [number, number, number]
  t.ok(isAlive(two), 'a process without sessions stays for its predecessor')
  process.kill(one, 'SIGHUP') // means nothing any more
  process.kill(one, 'SIGUSR2')
  process.kill(three, 'SIGTERM')
  await until('the newest ends', () => !isAlive(three))
  t.equal(await value(busy, 'SELECT 1'), 1)
  await busy.commit()
  await until('all end', () => !isAlive(one) && !isAlive(two))
})

test('if the new process crashes, the old one stops too, so that a supervisor starts both again', async t => {
  const { endpoint, write, start, upgrade } = await scene(t)
  await write(endpoint('tcp', '127.0.0.1:0'))
  const program = start()
  const session = await connect({ port: await portOf(program) })
  session.on('error', () => undefined)
  await upgrade()
  await program.logged('a new process serves')
  process.kill(pidsOf(program)[1]!, 'SIGKILL')
  t.match(await program.logged('the new process has crashed'), { level: 'error' })
  await until('the old one ends', () => !isAlive(pidsOf(program)[0]!))
})

test('a new process that does not start changes nothing', async t => {
  const { config, endpoint, write, start, upgrade, folders } = await scene(t)
  await write(endpoint('tcp', '127.0.0.1:0'))
  const program = start()
  const port = await portOf(program)
  const session = await connect({ port })
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const busy = (taken.address() as { port: number }).port
  await write(endpoint('tcp', '127.0.0.1:0'), endpoint('busy', `127.0.0.1:${busy}`))
  await t.rejects(upgrade(), { code: 'UPGRADE_FAILED', message: /goes on: .*cannot listen on .*the port is in use/ })
  await writeFile(config, 'endpoints: [{ nam: x }]\n')
  await t.rejects(upgrade(), { code: 'UPGRADE_FAILED', message: /nam/ })
  process.kill(program.child.pid!, 'SIGUSR2')
  await until(
    'a signal fails the same',
    () => program.lines().filter(({ msg }) => /upgrade failed/.test(msg)).length === 3,
  )
  t.equal(await value(session, 'SELECT 1'), 1)
  await (await connect({ port })).end()

  await write(endpoint('other', '127.0.0.1:0'), endpoint('tcp', '127.0.0.1:0'))
  const proxy = await runningProxy({ pid: undefined }, folders)
  process.kill(program.child.pid!, 'SIGUSR2')
  const both = await Promise.all([upgradeProxy(proxy, never), upgradeProxy(proxy, never)]) // one is enough
  t.equal(both[0], both[1])
  await program.logged('a new process serves')
  t.equal(pidsOf(program).length, 2)
  await (await connect({ port })).end()
  const listening = program.lines().filter(({ msg, endpoint }) => /^listening/.test(msg) && endpoint === 'tcp')
  t.match(listening.at(-1)?.msg, `:${port};`, 'the endpoint keeps its port')
  await session.end()
  await once(program.child, 'exit')
})

function countTakeovers(program: { lines(): { msg: string }[] }): number {
  return program.lines().filter(({ msg }) => msg.startsWith('a new process serves')).length
}

test('systemd: the sockets, the main process and the watchdog follow', async t => {
  const { directory, start, upgrade, endpoint, write } = await scene(t)
  await write(endpoint('tcp', 'systemd:mysql'))
  const said = join(directory, 'said')
  const hold = join(directory, 'hold')
  const waits = `case "$*" in *--ready) while [ -e '${hold}' ]; do sleep 0.05; done;; esac`
  await writeFile(join(directory, 'systemd-notify'), `#!/bin/sh\necho "$@" >> '${said}'\n${waits}\n`)
  await chmod(join(directory, 'systemd-notify'), 0o755)
  const socket = createServer().listen(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address() as { port: number }
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  const path = `${directory}:${process.env['PATH']}`
  const program = start({ PATH: path, NOTIFY_SOCKET: '/run/no-such-socket', WATCHDOG_USEC: '200000' }, fd)
  await program.logged('listening on')
  socket.close()
  const first = await connect({ port })
  const text = () => readFile(said, 'utf8').catch(() => '')
  for (let count = 0; count < 2; count++) {
    await upgrade()
    await until('the log names the new process', () => pidsOf(program).length === count + 2)
    const pid = pidsOf(program).at(-1)
    await until('the new process is the main one', async () => (await text()).includes(`--pid=${pid} --ready`))
    await until(
      'and lives',
      async () => (await text()).split(`--pid=${pid} --ready`)[1]?.includes('WATCHDOG=1') ?? false,
    )
  }
  t.match(await text(), /^RELOADING=1$/m)
  await (await connect({ port })).end()
  t.equal(await value(first, 'SELECT 1'), 1)

  await writeFile(hold, '')
  const slow = upgrade()
  await until('systemd learns of the new process', async () => (await text()).split('--ready').length === 5)
  t.equal(countTakeovers(program), 2, 'the old process stays until systemd knows the new one')
  await rm(hold)
  await slow
  await until('now it knows', () => countTakeovers(program) === 3)
  await first.end()
  await once(program.child, 'exit')
  t.notMatch(await text(), /STOPPING/)
})

test('where an upgrade is refused', t => {
  const place = { platform: 'linux', pid: 7, isTerminal: false } as const
  t.equal(upgradeProblem(place), undefined)
  t.match(upgradeProblem({ ...place, platform: 'win32' }), /Windows/)
  t.match(upgradeProblem({ ...place, isTerminal: true }), /terminal/)
  t.match(upgradeProblem({ ...place, pid: 1 }), /container/)
  t.end()
})

test('the new process waits for credentials, but not for ever', async t => {
  await warmUp({ warmUp: async () => {} })
  const clock = createTestClock()
  const waiting = warmUp({ warmUp: () => new Promise(() => {}) }, clock)
  clock.advance(5_000)
  t.equal(await waiting, undefined)
})
