import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import mysql, { type RowDataPacket } from 'mysql2/promise'
import { type Test, test } from 'tap'
import { type DemoOptions, runDemo } from '../../src/commands/demo.ts'
import { ensureProgram } from '../support/packages.ts'

/** Runs the demo until it says that it stays up; `end` is Ctrl-C. */
async function start(t: Test, options: Partial<DemoOptions> = {}) {
  const lines: string[] = []
  const stop = new AbortController()
  let up = () => {}
  const isUp = new Promise<void>(resolve => {
    up = resolve
  })
  const print = (line: string) => {
    lines.push(line)
    if (line.startsWith('Ctrl-C')) up()
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
  t.match(text, /dialled +127\.0\.0\.1:\d+ /)
  t.match(text, /certificate +demo-1\.abcdefghijkl\.eu-west-1\.rds\.amazonaws\.com\n/)
  t.match(text, /signed for +demo-1\.abcdefghijkl\.eu-west-1\.rds\.amazonaws\.com:3306, eu-west-1\n/)
  t.match(text, /verified a token of 3\d\d bytes for iam_user, over TLSv1\.3/)
  t.match(text, /CURRENT_USER\(\) +iam_user@/)
  t.match(text, /refused the token: there is no such account/)
  t.match(text, /ERROR 1045 \(28000\): Access denied for user 'nobody'@/)
  t.notMatch(text, /X-Amz|AKIA|PRIVATE KEY|BEGIN/)
  t.notMatch(text, new RegExp(String.fromCharCode(27)), 'no colour where no terminal is')
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
  t.match(lines.at(-1), /ended/)
  await t.rejects(mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user' }), /ECONNREFUSED/)
})

test('with a real server', async t => {
  await ensureProgram('mariadbd', 'mariadb-server')
  const before = leftovers()
  const { lines, port, end } = await start(t)
  checkLines(t, lines)
  t.match(lines.join('\n'), /Behind it: (MariaDB|MySQL) \d/)
  t.not(leftovers().length, before.length)
  const connection = await mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user', database: 'demo' })
  const [rivers] = await connection.query<RowDataPacket[]>('SELECT * FROM rivers ORDER BY length_km LIMIT 1')
  t.same(rivers, [{ name: 'Corrib', length_km: 6 }])
  const [prepared] = await connection.execute<RowDataPacket[]>('SELECT ? AS n, DATABASE() AS db', ['1'])
  t.same(prepared, [{ n: '1', db: 'demo' }])
  await connection.end()
  await end()
  t.same(leftovers(), before, 'nothing stays on the disk')
})

test('on a port that is taken', async t => {
  const other = createServer().listen(0, '127.0.0.1')
  t.teardown(() => other.close())
  await once(other, 'listening')
  const taken = (other.address() as { port: number }).port
  const { lines, port } = await start(t, { backend: 'builtin', listen: `127.0.0.1:${taken}` })
  t.match(lines.join('\n'), `127.0.0.1:${taken} is taken by another program`)
  t.not(port, taken)
})

test('without staying up, and ended early', async t => {
  const { lines } = await start(t, { backend: 'builtin', keepUp: false })
  t.notMatch(lines.join('\n'), /Ctrl-C/)
  const early = await start(t, { backend: 'builtin', signal: AbortSignal.abort() })
  t.notMatch(early.lines.join('\n'), /Your turn/)
})

function leftovers(): string[] {
  return readdirSync(tmpdir()).filter(name => name.startsWith('mysql-iam-proxy-demo-'))
}
