/** The process: signals, exit codes, reload, exec, wait and systemd, before a real server. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { type RealServer, realServer } from './support/mariadb.ts'
import { variablesOfRun } from './support/modes.ts'
import { PROGRAM } from './support/program.ts'
import { until, value } from './support/raw-client.ts'

async function scratch(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** Flags and environment for the tests' server. */
async function before(t: Test, server: RealServer): Promise<{ flags: string[]; environment: Record<string, string> }> {
  const ca = join(await scratch(t), 'ca.pem')
  await writeFile(ca, server.ca)
  const rds = `${server.rdsHost}:${server.rdsPort}`
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  return {
    flags: ['--rds-endpoint', rds, '--connect', `${server.host}:${server.port}`, '--ca', ca],
    environment: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
  }
}

interface Process {
  child: ChildProcess
  lines: string[]
  /** the port in its n-th line that says where it listens; -1 is the last so far */
  port(nth?: number): Promise<number>
  exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>
}

function start(t: Test, args: string[], environment: Record<string, string> = {}, options: SpawnOptions = {}): Process {
  const [command, ...first] = PROGRAM
  return watch(t, spawn(command, [...first, ...args], spawnOptions(environment, options)))
}

function spawnOptions(environment: Record<string, string>, options: SpawnOptions = {}): SpawnOptions {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP)/.test(name))
  const env = { ...Object.fromEntries(inherited), AWS_EC2_METADATA_DISABLED: 'true', ...variablesOfRun }
  return { stdio: ['ignore', 'pipe', 'pipe'], env: { ...env, ...environment }, ...options }
}

function watch(t: Test, child: ChildProcess): Process {
  t.teardown(() => child.kill('SIGKILL'))
  const lines: string[] = []
  for (const stream of [child.stdout!, child.stderr!]) createInterface(stream).on('line', line => lines.push(line))
  const ports = () => lines.flatMap(line => /listening on [^"]*:(\d+)/.exec(line)?.[1] ?? [])
  return {
    child,
    lines,
    async port(nth = 0) {
      await until(`it listens: ${lines}`, () => ports().length > nth)
      return Number(ports().at(nth))
    },
    exited: once(child, 'close') as Process['exited'],
  }
}

function connect(port: number): Promise<mysql.Connection> {
  return mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user' })
}

async function logIn(port: number): Promise<string> {
  const connection = await connect(port)
  const user = String(await value(connection, 'SELECT CURRENT_USER()'))
  await connection.end()
  return user
}

/** A session with a transaction open, and where its rows go. */
async function inTransaction(t: Test, server: RealServer, port: number, name: string) {
  await server.query(`CREATE OR REPLACE TABLE lab.${name} (id INT PRIMARY KEY) ENGINE=InnoDB`)
  t.teardown(() => server.query(`DROP TABLE lab.${name}`))
  const connection = await connect(port)
  connection.on('error', () => undefined)
  await connection.beginTransaction()
  await connection.query(`INSERT INTO lab.${name} VALUES (1)`)
  const rows = async () => {
    const [row] = (await server.query(`SELECT COUNT(*) AS count FROM lab.${name}`)) as { count: number | bigint }[]
    return Number(row!.count)
  }
  return { connection, rows }
}

test('SIGTERM and SIGINT wait for transactions', async t => {
  const server = await realServer(t)
  const { flags, environment } = await before(t, server)
  for (const [signal, more, code] of [
    ['SIGTERM', [], 143],
    ['SIGINT', [], 130],
    ['SIGTERM', ['--exit-zero-on-sigterm'], 0],
    ['SIGINT', ['--exit-zero-on-sigterm'], 130],
  ] as const) {
    await t.test(`${signal} ${more}`, async t => {
      const proxy = start(t, [...flags, '--listen', '127.0.0.1:0', '--max-sigterm-delay', '30s', ...more], environment)
      const port = await proxy.port()
      const { connection, rows } = await inTransaction(t, server, port, `lifecycle_${signal}${more.length}`)
      proxy.child.kill(signal)
      await until('it no longer listens', () =>
        connect(port)
          .then(
            c => c.destroy(),
            error => error,
          )
          .then(Boolean),
      )
      await connection.query('SELECT 1')
      await connection.commit()
      t.same(await proxy.exited, [code, null])
      t.equal(await rows(), 1, 'committed')
      connection.destroy()
    })
  }
})

test('after --max-sigterm-delay, or at a second signal, open sessions are closed', async t => {
  const server = await realServer(t)
  const { flags, environment } = await before(t, server)
  for (const [delay, signals] of [
    ['100ms', 1],
    ['60s', 2],
  ] as const) {
    await t.test(`${delay}, ${signals} signals`, async t => {
      const proxy = start(t, [...flags, '--listen', '127.0.0.1:0', '--max-sigterm-delay', delay], environment)
      const { connection, rows } = await inTransaction(t, server, await proxy.port(), `lifecycle_${delay}`)
      const told = new Promise<Error>(resolve => connection.on('error', resolve))
      proxy.child.kill('SIGTERM')
      if (signals === 2) {
        await until('it is stopping', () => proxy.lines.some(line => /stopping/.test(line)))
        proxy.child.kill('SIGTERM')
      }
      t.same(await proxy.exited, [143, null])
      if (signals === 1) t.match((await told).message, /the proxy is being stopped/)
      await until('rolled back', async () => (await rows()) === 0)
      connection.destroy()
    })
  }
})

test('SIGTERM does not wait for a credential_process that hangs', async t => {
  const server = await realServer(t)
  const { flags } = await before(t, server)
  const directory = await scratch(t)
  const asked = join(directory, 'asked')
  const config = join(directory, 'config')
  await writeFile(config, `[profile hangs]\ncredential_process = sh -c "touch '${asked}'; exec sleep 3600"\n`)
  const environment = { AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: join(directory, 'none') }
  const args = ['--profile', 'hangs', '--listen', '127.0.0.1:0', '--login-timeout', '1h', '--max-sigterm-delay', '1h']
  const proxy = start(t, [...flags, ...args], environment)
  const refused = connect(await proxy.port()).catch((error: unknown) => error)
  await until('the program was asked', () => readFile(asked).then(Boolean, () => false))
  await until('the client waits for its login', () => Promise.race([refused.then(() => true), isInLogin(server)]))
  proxy.child.kill('SIGTERM')
  t.match(await refused, { errno: 1053, message: /the proxy is being stopped/ })
  t.same(await proxy.exited, [143, null])
})

/** Whether the server waits for the login of somebody. */
async function isInLogin(server: RealServer): Promise<boolean> {
  const rows = await server.query("SELECT 1 FROM information_schema.processlist WHERE user = 'unauthenticated user'")
  return (rows as unknown[]).length > 0
}

test('SIGHUP: endpoints are added and removed, sessions continue, mistakes change nothing', async t => {
  const server = await realServer(t)
  const { flags, environment } = await before(t, server)
  const [, rds, , connectTo, , ca] = flags
  const file = join(await scratch(t), 'config.yaml')
  const endpoint = (name: string, more = '') =>
    `  - {name: ${name}, rds-endpoint: '${rds}', connect: '${connectTo}', ca: '${ca}', listen: '127.0.0.1:0'${more}}\n`
  await writeFile(file, `endpoints:\n${endpoint('one')}${endpoint('two')}`)
  const proxy = start(t, ['--config', file, '--log-format', 'json'], environment)
  const [one, two] = [await proxy.port(0), await proxy.port(1)]
  const living = await connect(one)
  const stays = await connect(two)
  let loadIsOver = false
  const load = Array.from({ length: 4 }, async () => {
    let logins = 0
    while (proxy.child.exitCode === null && !loadIsOver) {
      t.match(await logIn(two), /^iam_user@/)
      logins++
    }
    return logins
  })

  const reload = async (text: string, isDone: RegExp) => {
    const count = () => proxy.lines.filter(line => isDone.test(line)).length
    const already = count()
    await writeFile(file, text)
    proxy.child.kill('SIGHUP')
    await until(`${isDone} in ${proxy.lines.slice(-3)}`, () => count() > already)
  }
  await reload(`endpoints:\n${endpoint('two')}${endpoint('three')}`, /configuration read again/)
  await t.rejects(connect(one), { code: 'ECONNREFUSED' }, 'one is gone')
  t.equal(await value(living, 'SELECT 1'), 1, 'its session is not')
  const three = await proxy.port(2)
  t.match(await logIn(three), /^iam_user@/, 'three has come')

  await reload('endpoints:\n  - {nam: x}\n', /the previous configuration stays active/)
  await reload(`endpoints:\n${endpoint('two', ', ca: 1')}`, /the previous configuration stays active/)
  await reload(
    `endpoints:\n${endpoint('two')}${endpoint('busy').replace('127.0.0.1:0', `127.0.0.1:${two}`)}`,
    /the previous configuration stays active/,
  )
  t.match(await logIn(three), /^iam_user@/)
  let reloads = 0
  const reconnects = (async () => {
    let count = 0
    for (; reloads < 10; count++) t.match(await logIn(three), /^iam_user@/)
    return count
  })()
  for (; reloads < 10; reloads++) {
    const more = `, connect-timeout: ${reloads + 2}s`
    await reload(`endpoints:\n${endpoint('two')}${endpoint('three', more)}`, /configuration read again/)
  }
  t.ok((await reconnects) > 0, 'a changed endpoint refuses nobody while it changes')
  await reload(`endpoints:\n${endpoint('two')}${endpoint('three', ', max-connections: 1')}`, /configuration read again/)
  const changed = await proxy.port(-1)
  t.equal(changed, three, 'and keeps its port')
  const only = await connect(changed)
  await t.rejects(connect(changed), { message: /too many connections: 1/ }, 'as changed')

  loadIsOver = true
  const logins = await Promise.all(load)
  t.ok(
    logins.every(count => count > 0),
    `${logins} logins meanwhile, and none was lost`,
  )
  t.equal(await value(stays, 'SELECT 1'), 1)
  for (const connection of [living, stays, only]) await connection.end()
  proxy.child.kill('SIGTERM')
  t.same(await proxy.exited, [143, null])
})

test('exec', async t => {
  const server = await realServer(t)
  const { flags, environment } = await before(t, server)
  const script = `
    const mysql = require('mysql2/promise')
    const { MYSQL_HOST: host, MYSQL_PORT: port, MYSQL_SOCKET: socketPath, MYSQL_TCP_PORT, MYSQL_UNIX_PORT } = process.env
    const run = async () => {
      for (const to of [{ host, port: Number(port) }, { socketPath }, { host, port: Number(MYSQL_TCP_PORT) }, { socketPath: MYSQL_UNIX_PORT }]) {
        const connection = await mysql.createConnection({ ...to, user: 'iam_user' })
        const [rows] = await connection.query('SELECT CURRENT_USER() AS user')
        console.log('as ' + rows[0].user)
        await connection.end()
      }
      process.exit(7)
    }
    run()`
  const good = start(
    t,
    ['exec', ...flags, '--', process.execPath, '-e', script, 'argument', '--flag-of-the-command'],
    environment,
  )
  t.same(await good.exited, [7, null], 'the exit code of the command')
  t.equal(good.lines.filter(line => line.startsWith('as iam_user@')).length, 4, good.lines.join('\n'))
  const killed = start(t, ['exec', ...flags, '--', 'sh', '-c', 'kill -KILL $$'], environment)
  t.same(await killed.exited, [137, null])
  const stopped = start(
    t,
    ['exec', ...flags, '--', 'sh', '-c', 'trap "exit 5" TERM; echo trapped; while :; do sleep 0.1; done'],
    environment,
  )
  await until('the command has set its trap', () => stopped.lines.includes('trapped'))
  stopped.child.kill('SIGTERM')
  t.same(await stopped.exited, [5, null], 'SIGTERM is handed on')
  const missing = start(t, ['exec', ...flags, '--', 'no-such-command'], environment)
  t.same(await missing.exited, [2, null])
  const none = start(t, ['exec', ...flags], environment)
  t.same(await none.exited, [2, null])
})

test('wait', async t => {
  const server = await realServer(t)
  const { flags, environment } = await before(t, server)
  const path = join(await scratch(t), 'mysql.sock')
  const waiting = start(t, ['wait', '--listen', `unix:${path}`])
  const never = start(t, ['wait', '--listen', '127.0.0.1:1', '--max', '200ms'])
  t.same(await never.exited, [4, null])
  t.match(never.lines.join('\n'), /no proxy was ready at 127\.0\.0\.1:1 within 200ms/)
  t.equal(waiting.child.exitCode, null, 'not before it is there')
  start(t, [...flags, '--listen', `unix:${path}`], environment)
  t.same(await waiting.exited, [0, null])
})

test('systemd: socket activation, readiness, watchdog', async t => {
  const server = await realServer(t)
  const { flags, environment } = await before(t, server)
  const directory = await scratch(t)
  const said = join(directory, 'said')
  await writeFile(join(directory, 'systemd-notify'), `#!/bin/sh\necho "$@" >> '${said}'\n`)
  await chmod(join(directory, 'systemd-notify'), 0o755)
  const socket = createServer()
  socket.listen(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address() as { port: number }
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  const activated = {
    ...environment,
    PATH: `${directory}:${process.env['PATH']}`,
    LISTEN_FDS: '1',
    LISTEN_FDNAMES: 'mysql',
    NOTIFY_SOCKET: '/run/no-such-socket',
    WATCHDOG_USEC: '200000',
  }
  const inShell = (args: string[]) => ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', ...PROGRAM, ...args]
  const options = spawnOptions(activated, { stdio: ['ignore', 'pipe', 'pipe', fd] })
  const proxy = watch(t, spawn('sh', inShell([...flags, '--listen', 'systemd:mysql']), options))
  t.equal(await proxy.port(), port)
  socket.close() // the proxy has it now
  t.match(await logIn(port), /^iam_user@/)
  const text = () => readFile(said, 'utf8').catch(() => '')
  await until(
    'it says that it is ready, and lives',
    async () => /--ready/.test(await text()) && /WATCHDOG=1/.test(await text()),
  )
  t.match(await text(), `--pid=${proxy.child.pid}`)
  proxy.child.kill('SIGTERM')
  t.same(await proxy.exited, [143, null])
  await until('it says that it stops', async () => /STOPPING=1/.test(await text()))

  const without = start(t, [...flags, '--listen', 'systemd'], environment)
  t.same(await without.exited, [2, null])
  t.match(without.lines.join('\n'), /systemd must hand over exactly one socket; it handed over none/)
})
