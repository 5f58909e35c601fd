/** A real process whose wall clock steps, by libfaketime. Its monotonic clock goes on as usual. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { realServer } from './support/mariadb.ts'
import { ensurePackages } from './support/packages.ts'
import { PROGRAM } from './support/program.ts'
import { until, value } from './support/raw-client.ts'

const [command, ...PROGRAM_ARGUMENTS] = PROGRAM
const MINUTE_S = 60
const HOUR_S = 60 * MINUTE_S
const DAY_S = 24 * HOUR_S

/** Where Debian's libfaketime is; its directory names the architecture. */
function findLibrary(): string | undefined {
  return readdirSync('/usr/lib')
    .map(directory => `/usr/lib/${directory}/faketime/libfaketimeMT.so.1`)
    .find(path => existsSync(path))
}

/** A proxy whose wall clock `setClock` moves, in seconds from the true time. */
async function startProxy(t: Test, offset: number) {
  await ensurePackages('libfaketime', () => findLibrary() !== undefined, ['libfaketime'])
  const server = await realServer(t)
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const clock = join(directory, 'clock')
  const setClock = (seconds: number) => writeFileSync(clock, `${seconds < 0 ? '' : '+'}${seconds}\n`)
  setClock(offset)
  const ca = join(directory, 'ca.pem')
  writeFileSync(ca, server.ca)
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const args = ['--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`, '--connect', `${server.host}:${server.port}`]
  const child = spawn(command, [...PROGRAM_ARGUMENTS, ...args, '--ca', ca, '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env['PATH'],
      NODE_OPTIONS: process.env['NODE_OPTIONS'],
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_EC2_METADATA_DISABLED: 'true',
      LD_PRELOAD: findLibrary(),
      FAKETIME_TIMESTAMP_FILE: clock,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
  })
  t.teardown(() => child.kill('SIGKILL'))
  let log = ''
  child.stdout.setEncoding('utf8').on('data', chunk => {
    log += chunk
  })
  await until('it listens', () => log.includes('listening on'))
  const port = Number(/listening on 127\.0\.0\.1:(\d+)/.exec(log)![1])
  const exited = once(child, 'exit')
  return {
    server,
    setClock,
    log: () => log,
    connect: () => mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user' }),
    /** Stops the process, as a sleep does where the clocks go on. */
    async pause(milliseconds: number) {
      child.kill('SIGSTOP')
      await new Promise(resolve => setTimeout(resolve, milliseconds))
      child.kill('SIGCONT')
    },
    async stop() {
      child.kill('SIGTERM')
      t.same(await exited, [143, null])
    },
  }
}

/** The time that the log shows last, in seconds from the true time. */
function offsetIn(log: string): number {
  const times = [...log.matchAll(/"time":"([^"]+)"/g)]
  return (Date.parse(times.at(-1)![1]!) - Date.now()) / 1_000
}

test('steps of the wall clock within the life of a token disturb nothing', async t => {
  const { setClock, connect, log, stop } = await startProxy(t, 0)
  const idle = await connect()
  for (const step of [0, -MINUTE_S, MINUTE_S, 4 * MINUTE_S, -4 * MINUTE_S, 0]) {
    const busy = await connect()
    // A query, and logins, with the step in their midst.
    const slow = value(busy, 'SELECT SLEEP(0.5)')
    const before = [connect(), connect()]
    setClock(step)
    const after = [connect(), connect()]
    for (const connection of await Promise.all([...before, ...after])) await connection.end()
    t.equal(String(await slow), '0', `a query during the step to ${step} s`)
    await busy.end()
    const last = await connect()
    await last.end()
    t.ok(Math.abs(offsetIn(log()) - step) < 50, `the clock of the proxy is ${Math.round(offsetIn(log()))} s off`)
  }
  t.equal(String(await value(idle, 'SELECT 1')), '1', 'an idle session has lived through all of them')
  await idle.end()
  t.notMatch(log(), /"level":"(warn|error)"/)
  await stop()
})

test('a clock that is far off: only the time in the tokens fails, and logins work once it is set right', async t => {
  for (const wrong of [-DAY_S, -HOUR_S, HOUR_S, DAY_S]) {
    const { setClock, connect, stop, log } = await startProxy(t, 0)
    const session = await connect()
    setClock(wrong)
    // More than open the circuit breaker.
    // By the token, or by a certificate that is not valid at that time.
    for (let count = 0; count < 8; count++) await t.rejects(connect(), { message: /clock/ })
    t.equal(String(await value(session, 'SELECT 1')), '1', `a session lives with a clock ${wrong} s off`)
    setClock(0)
    const connection = await connect()
    t.equal(String(await value(connection, 'SELECT 1')), '1', 'the first login after')
    await connection.end()
    await session.end()
    t.match(log(), /"hint":"[^"]*clock/, 'so does the log')
    await stop()
  }
})

test('a clock that is wrong at the start, and set right', async t => {
  const { setClock, connect, stop } = await startProxy(t, HOUR_S)
  for (let count = 0; count < 6; count++) await t.rejects(connect(), { message: /denied.*clock/ })
  setClock(0)
  for (let count = 0; count < 3; count++) {
    const connection = await connect()
    await connection.end()
  }
  await stop()
})

test('a sleep: the clock jumps ahead, or the process stops; sessions live on and the first login works', async t => {
  const { setClock, connect, log, pause, stop } = await startProxy(t, 0)
  const idle = await connect()
  const busy = await connect()
  await busy.query('BEGIN')
  setClock(4 * MINUTE_S)
  await until('the jump is noticed', () => log().includes('jumped ahead by 240 s: connections are probed'))
  const afterJump = await connect()
  t.equal(String(await value(afterJump, 'SELECT 1')), '1', 'the first login after the jump')
  setClock(0)
  const slow = value(afterJump, 'SELECT SLEEP(5)')
  // Longer than a timer may be late on a busy machine, with the time until it is due.
  await pause(16_000)
  const afterPause = await connect()
  t.equal(String(await value(afterPause, 'SELECT 2')), '2', 'the first login after the pause')
  t.match(log(), /"msg":"this machine slept or stopped this program for \d+ s: connections are probed/)
  t.equal(String(await slow), '0', 'a query that was answered meanwhile')
  t.equal(String(await value(idle, 'SELECT 3')), '3', 'an idle session')
  t.equal(String(await value(busy, 'SELECT 4')), '4', 'a session in a transaction')
  t.notMatch(log(), /"level":"(warn|error)"/)
  for (const connection of [idle, busy, afterJump, afterPause]) await connection.end()
  await stop()
})
