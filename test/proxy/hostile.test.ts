/** Floods, against the program as a process: it survives, says so, serves the others, and recovers. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect as connectTcp, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { realServer } from '../support/mariadb.ts'
import { PROGRAM } from '../support/program.ts'
import { until } from '../support/raw-client.ts'

/** A proxy before the tests' server, with a limit of open files. */
async function start(t: Test, openFiles: number, ...args: string[]) {
  const server = await realServer(t)
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const ca = join(directory, 'ca.pem')
  await writeFile(ca, server.ca)
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  const names = ['--rds-endpoint', `${server.rdsHost}:${server.rdsPort}`, '--connect', `${server.host}:${server.port}`]
  const command = [...PROGRAM, ...names, '--ca', ca, '--listen', '127.0.0.1:0', ...args]
  const child = spawn('sh', ['-c', `ulimit -n ${openFiles}; exec "$@"`, 'sh', ...command], {
    env: {
      PATH: process.env['PATH'],
      NODE_OPTIONS: process.env['NODE_OPTIONS'],
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: string[] = []
  createInterface(child.stdout).on('line', line => lines.push(line))
  const port = () => Number(/listening on 127\.0\.0\.1:(\d+)/.exec(lines.join())?.[1])
  await until('it listens', () => port() > 0)
  return { child, lines, port: port() }
}

type Login = mysql.Connection | (Error & { errno?: number })

function logIn(port: number): Promise<Login> {
  return mysql
    .createConnection({ host: '127.0.0.1', port, user: 'iam_user', connectTimeout: 120_000 })
    .catch((error: Error) => error)
}

async function isServed(login: Login): Promise<boolean> {
  if (login instanceof Error) return false
  const [rows] = await login.query<mysql.RowDataPacket[]>('SELECT 1 AS one')
  return rows[0]!['one'] === 1
}

test('no file descriptors left', async t => {
  const { child, lines, port } = await start(t, 80)
  const logins = await Promise.all(Array.from({ length: 60 }, () => logIn(port)))
  const good = logins.filter(login => !(login instanceof Error))
  const refused = logins.filter(login => login instanceof Error)
  t.ok(good.length >= 5, `${good.length} are in`)
  t.ok(
    refused.some(({ message }) => /limit of open files leaves room for \d+\. Raise the open-file limit/.test(message)),
  )
  t.ok((await Promise.all(good.map(isServed))).every(Boolean), 'and are served')
  t.ok(
    lines.some(line => /FILE_LIMIT_REACHED/.test(line)),
    'the log says so',
  )
  t.ok(lines.filter(line => /FILE_LIMIT_REACHED/.test(line)).length < 10, 'without a flood')
  for (const login of good) await (login as mysql.Connection).end()
  await until('there is room again', async () => {
    const login = await logIn(port)
    const served = await isServed(login)
    if (served) await (login as mysql.Connection).end()
    return served
  })
  t.equal(child.exitCode, null)
})

test('2,000 connections that never send anything', async t => {
  const { child, lines, port } = await start(t, 8_192, '--max-connections', '50', '--login-timeout', '2s')
  const sockets: Socket[] = []
  for (let batch = 0; batch < 20; batch++) {
    const some = Array.from({ length: 100 }, () => connectTcp({ host: '127.0.0.1', port }))
    for (const socket of some) socket.on('error', () => undefined).resume()
    await Promise.all(some.map(socket => once(socket, 'connect').catch(() => undefined)))
    sockets.push(...some)
  }
  await until('all of them were ended', () => sockets.every(socket => socket.closed || socket.readableEnded))
  t.ok(await isServed(await logIn(port)), 'the next one is served')
  const refusals = lines.filter(line => /TOO_MANY_CONNECTIONS/.test(line)).length
  t.ok(refusals > 0 && refusals < 60, `a line a second at most for those refused: ${refusals}`)
  t.equal(child.exitCode, null)
  for (const socket of sockets) socket.destroy()
})
