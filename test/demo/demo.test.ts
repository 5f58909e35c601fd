import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mysql, { type RowDataPacket } from 'mysql2/promise'
import { type Test, test } from 'tap'
import { type DemoOptions, runDemo } from '../../src/commands/demo.ts'
import { ensureProgram } from '../support/packages.ts'

/** Runs the demo until it waits for Ctrl-C; `end` sends that. */
async function start(t: Test, options: Partial<DemoOptions> = {}) {
  const lines: string[] = []
  const stop = new AbortController()
  let up = () => {}
  const isUp = new Promise<void>(resolve => {
    up = resolve
  })
  const print = (line: string) => {
    lines.push(line)
    if (line.startsWith('Press Ctrl-C')) up()
  }
  const ended = runDemo({ listen: '127.0.0.1:0', keepUp: true, print, signal: stop.signal, ...options })
  const end = () => {
    stop.abort()
    return ended
  }
  t.teardown(end)
  await Promise.race([isUp, ended])
  const port = Number(lines.join('\n').match(/mysql -h 127.0.0.1 -P (\d+) -u iam_user demo/)?.[1])
  return { lines, port, end }
}

function checkLines(t: Test, lines: string[]) {
  const text = lines.join('\n')
  t.match(text, /connects to +127\.0\.0\.1:\d+ /)
  t.match(text, /certificate +demo-1\.abcdefghijkl\.eu-west-1\.rds\.amazonaws\.com\n/)
  t.match(text, /tokens for +demo-1\.abcdefghijkl\.eu-west-1\.rds\.amazonaws\.com:3306, eu-west-1\n/)
  t.match(text, /verified a token of 3\d\d bytes for iam_user, over TLSv1\.3/)
  t.match(text, /CURRENT_USER\(\) +iam_user@/)
  t.match(text, /refused the login: unknown account/)
  t.match(text, /ERROR 1045 \(28000\): Access denied for user 'nobody'@/)
  t.notMatch(text, /X-Amz|AKIA|PRIVATE KEY|BEGIN/)
  t.notMatch(text, new RegExp(String.fromCharCode(27)), 'no colours without a terminal')
  t.same(
    lines.filter(line => line.length > 80),
    [],
    'within 80 columns',
  )
}

test('with the built-in backend', async t => {
  const { lines, port, end } = await start(t, { backend: 'builtin' })
  checkLines(t, lines)
  t.match(lines.join('\n'), /Behind it: a small built-in backend\./)
  const connection = await mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user', database: 'demo' })
  t.match((await connection.query('select current_user(), version()'))[0], [{ 'current_user()': 'iam_user@%' }])
  await connection.end()
  await end()
  t.equal(lines.at(-1), 'The demo has stopped.')
  await t.rejects(mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user' }), /ECONNREFUSED/)
})

test('with a real server', async t => {
  await ensureProgram('mariadbd', 'mariadb-server')
  const directory = await temporaryDirectory(t)
  const { lines, port, end } = await start(t)
  checkLines(t, lines)
  t.match(lines.join('\n'), /Behind it: (MariaDB|MySQL) \d/)
  t.equal(readdirSync(directory).length, 1)
  const connection = await mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user', database: 'demo' })
  const [rivers] = await connection.query<RowDataPacket[]>('SELECT * FROM rivers ORDER BY length_km LIMIT 1')
  t.same(rivers, [{ name: 'Corrib', length_km: 6 }])
  const [prepared] = await connection.execute<RowDataPacket[]>('SELECT ? AS n, DATABASE() AS db', ['1'])
  t.same(prepared, [{ n: '1', db: 'demo' }])
  await connection.end()
  await end()
  t.same(readdirSync(directory), [], 'no files are left')
})

test('on a port in use', async t => {
  const other = createServer().listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  const taken = (other.address() as { port: number }).port
  const { lines, port } = await start(t, { backend: 'builtin', listen: `127.0.0.1:${taken}` })
  t.match(lines.join('\n'), `Another program uses 127.0.0.1:${taken}`)
  t.not(port, taken)
})

test('without waiting for Ctrl-C, and with an early abort', async t => {
  const { lines } = await start(t, { backend: 'builtin', keepUp: false })
  t.notMatch(lines.join('\n'), /Ctrl-C/)
  const early = await start(t, { backend: 'builtin', signal: AbortSignal.abort() })
  t.notMatch(early.lines.join('\n'), /Try it yourself/)
})

/** Sets TMPDIR to a directory that only this test uses. */
async function temporaryDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  await chmod(directory, 0o711) // as root, the server runs as another user
  const before = process.env.TMPDIR
  process.env.TMPDIR = directory
  t.teardown(async () => {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
    await rm(directory, { recursive: true })
  })
  return directory
}
