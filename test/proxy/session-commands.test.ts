import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type mysql from 'mysql2/promise'
import { test } from 'tap'
import { realServer } from '../support/mariadb.ts'
import { compressesAll } from '../support/modes.ts'
import {
  COM_INIT_DB,
  COM_PING,
  COM_RESET_CONNECTION,
  connect,
  connectDirectly,
  logInRaw,
  queryRaw,
  readRows,
  runCommand,
  sendPacket,
  startProxy,
  type TestProxy,
  value,
} from '../support/raw-client.ts'

const MB = 1_000_000
const COM_CHANGE_USER = '\x11'
/** of one packet */
const MAX_PAYLOAD = 0xffffff
const database = 'session_commands'

test('commands through the proxy', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server)
  await server.query(`DROP DATABASE IF EXISTS ${database}; CREATE DATABASE ${database} CHARACTER SET utf8mb4`)
  t.teardown(() => server.query(`DROP DATABASE ${database}`).catch(() => {}))

  // mysql2 warns of sequence ids in compressed sessions, directly as well.
  t.intercept(console, 'error', { value: () => {} })
  for (const compress of [false, true]) {
    await t.test(`mysql2, compression ${compress ? 'on' : 'off'}`, async t => {
      const connection = await connect(proxy, { database, compress, multipleStatements: true, charset: 'utf8mb4' })
      t.teardown(() => connection.destroy())
      await connection.query('DROP TABLE IF EXISTS texts; CREATE TABLE texts (id INT PRIMARY KEY, body LONGBLOB)')

      await t.test('is on or off on both connections', async t => {
        const [rows] = await connection.query<mysql.RowDataPacket[]>("SHOW SESSION STATUS LIKE 'Compression'")
        t.equal(rows[0]!.Value, compress || compressesAll ? 'ON' : 'OFF')
      })

      await t.test('utf8mb4', async t => {
        const text = 'Zoë, 東京, 😀👩‍👩‍👧, \u{10FFFF}'
        t.equal(await value(connection, 'SELECT ?', [text]), text)
        t.equal(await value(connection, 'SELECT CHAR_LENGTH(?)', [text]), [...text].length)
        const [rows] = await connection.execute<mysql.RowDataPacket[]>('SELECT ? AS text', [text])
        t.equal(rows[0]!.text, text)
      })

      await t.test('prepared statements', async t => {
        const statement = await connection.prepare('SELECT ? + ? AS sum, ? AS date')
        for (let i = 0; i < 20; i++) {
          const [rows] = (await statement.execute([i, 0.5, `2026-01-${i + 10}`])) as unknown as [mysql.RowDataPacket[]]
          t.match(rows, [{ sum: i + 0.5, date: `2026-01-${i + 10}` }])
        }
        await statement.close()
        t.equal(await value(connection, 'SELECT 1'), 1, 'COM_STMT_CLOSE has no answer')
      })

      await t.test('several statements in one query', async t => {
        const [results] = await connection.query<mysql.RowDataPacket[][]>('SELECT 1 AS a; DO 0; SELECT 2 AS b, 3 AS c')
        t.match(results, [[{ a: 1 }], { affectedRows: 0 }, [{ b: 2, c: 3 }]])
        t.match(await errorOf(connection.query('SELECT 1; SELECT nonsense; SELECT 2')), { errno: 1054 })
        t.equal(await value(connection, 'SELECT 4'), 4)
      })

      await t.test('LOAD DATA LOCAL INFILE', async t => {
        // Small packets: their sequence ids wrap at 256 several times.
        // What begins with a byte 0x11 is a command only elsewhere.
        const lines = Array.from(
          { length: 20_000 },
          (_line, i) => `${i}\t${COM_CHANGE_USER.repeat(150)}${randomBytes(20).toString('hex')}`,
        )
        const file = Buffer.from(`${lines.join('\n')}\n`)
        const chunks = Array.from({ length: Math.ceil(file.length / 4000) }, (_chunk, i) =>
          file.subarray(i * 4000, (i + 1) * 4000),
        )
        await connection.query('DELETE FROM texts')
        const [result] = await connection.query<mysql.ResultSetHeader>({
          sql: "LOAD DATA LOCAL INFILE 'x' INTO TABLE texts (id, body)",
          infileStreamFactory: () => Readable.from(chunks),
        })
        t.equal(result.affectedRows, 20_000)
        const sql = 'SELECT id, CONVERT(body USING utf8mb4) AS body FROM texts ORDER BY id'
        const [rows] = await connection.query<mysql.RowDataPacket[]>(sql)
        t.equal(sha256(rows.map(({ id, body }) => `${id}\t${body}\n`).join('')), sha256(file))
        await connection.query('DELETE FROM texts')
      })

      await t.test('a value of 40 MB in each direction', async t => {
        const blob = randomBytes(40 * MB)
        await connection.execute('INSERT INTO texts VALUES (1, ?)', [blob])
        t.equal(await value(connection, 'SELECT SHA2(body, 256) FROM texts WHERE id = 1'), sha256(blob))
        const back = (await value(connection, 'SELECT body FROM texts WHERE id = 1')) as Buffer
        t.ok(back.equals(blob))
        await connection.query('DELETE FROM texts')
      })

      await t.test('results and an OUT parameter of a procedure', async t => {
        await connection.query(`DROP PROCEDURE IF EXISTS two; CREATE PROCEDURE two(IN a INT, OUT b INT)
          BEGIN SELECT a AS first; SELECT a + 1 AS second, 'x' AS x; SET b = a + 2; END`)
        const [results] = await connection.query<mysql.RowDataPacket[][]>('CALL two(40, @b)')
        t.match(results, [[{ first: 40 }], [{ second: 41, x: 'x' }], { affectedRows: 0 }])
        t.equal(Number(await value(connection, 'SELECT @b')), 42)
        const [prepared] = await connection.execute<mysql.RowDataPacket[][]>('CALL two(?, @b)', [50])
        t.match(prepared, [[{ first: 50 }], [{ second: 51, x: 'x' }]])
        t.equal(Number(await value(connection, 'SELECT @b')), 52)
      })

      await t.test('transactions', async t => {
        await connection.beginTransaction()
        await connection.query("INSERT INTO texts VALUES (1, 'a')")
        await connection.rollback()
        t.equal(await value(connection, 'SELECT COUNT(*) FROM texts'), 0)
        await connection.beginTransaction()
        await connection.query("INSERT INTO texts VALUES (2, 'b')")
        const other = await connect(proxy, { database })
        t.equal(await value(other, 'SELECT COUNT(*) FROM texts'), 0, 'not seen before COMMIT')
        await connection.commit()
        t.equal(await value(other, 'SELECT COUNT(*) FROM texts'), 1)
        await other.end()
      })

      await t.test('queries of all lengths', async t => {
        // A compressed packet has its length at the place of a command's code.
        for (let length = 1; length <= 600; length++) {
          const text = 'x'.repeat(length)
          const answer = await value(connection, `SELECT '${text}'`)
          if (answer !== text) t.fail(`${length}: ${answer}`)
        }
      })

      await t.test('COM_PING', () => connection.ping())
    })
  }

  await t.test("errors are the server's", async t => {
    const [direct, proxied] = await Promise.all([connectDirectly(server, { database }), connect(proxy, { database })])
    const wrong = [
      'SELEC 1',
      'SELECT * FROM no_such_table',
      'INSERT INTO texts VALUES (7, 1), (7, 2)',
      "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ünser own 😀', MYSQL_ERRNO = 31234",
      'SELECT 1; SELECT 2',
      'KILL 4294967295',
    ]
    for (const sql of wrong) {
      const expected = await errorOf(direct.query(sql))
      t.type(expected.errno, 'number', sql)
      t.strictSame(await errorOf(proxied.query(sql)), expected, sql)
    }
    t.equal(await value(proxied, 'SELECT 1'), 1)
    await Promise.all([direct.end(), proxied.end()])
  })

  await t.test('COM_INIT_DB, COM_RESET_CONNECTION and COM_PING, packet by packet', async t => {
    const client = await logInRaw(proxy)
    t.teardown(() => client.socket.destroy())
    await runCommand(client, COM_PING)
    t.match(await errorOf(runCommand(client, COM_INIT_DB, 'no_such')), { errno: 1049, sqlState: '42000' })
    await runCommand(client, COM_INIT_DB, database)
    t.equal(await first(queryRaw(client, 'SELECT DATABASE()')), database)
    t.equal(await first(queryRaw(client, 'SELECT @x := 42')), '42')
    t.equal(await first(queryRaw(client, 'SELECT @x')), '42')
    await runCommand(client, COM_RESET_CONNECTION)
    t.equal(await first(queryRaw(client, 'SELECT COALESCE(@x, 0)')), '0', 'session variables are gone')
    t.equal(Number(await first(queryRaw(client, 'SELECT CONNECTION_ID()'))), client.greeting.threadId)
  })

  await t.test('payloads around 16 MiB - 1, which may need an empty packet at the end', async t => {
    const client = await logInRaw(proxy)
    t.teardown(() => client.socket.destroy())
    const [head, tail] = ["\x03SELECT LENGTH('", "')"] // with COM_QUERY
    for (const length of [MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, 2 * MAX_PAYLOAD]) {
      const text = 'x'.repeat(length - head.length - tail.length)
      const payload = Buffer.from(head + text + tail)
      for (let sequence = 0; sequence * MAX_PAYLOAD <= length; sequence++) {
        sendPacket(client.socket, payload.subarray(sequence * MAX_PAYLOAD, (sequence + 1) * MAX_PAYLOAD), sequence)
      }
      t.equal(await first(readRows(client)), String(text.length))
    }
  })

  await t.test('commands in small pieces', async t => {
    const client = await logInRaw(proxy)
    t.teardown(() => client.socket.destroy())
    const query = Buffer.from("\x03SELECT 'in pieces'")
    const command = Buffer.concat([Buffer.of(query.length, 0, 0, 0), query])
    for (let split = 1; split < 8; split++) {
      await new Promise(resolve => client.socket.write(command.subarray(0, split), resolve))
      await sleep(1) // in two pieces
      client.socket.write(command.subarray(split))
      t.equal(await first(readRows(client)), 'in pieces', `after ${split} bytes`)
    }
    client.socket.write(Buffer.concat([command, command, command.subarray(0, 3)]))
    for (let i = 0; i < 2; i++) t.equal(await first(readRows(client)), 'in pieces', 'two at once')
    client.socket.write(command.subarray(3))
    t.equal(await first(readRows(client)), 'in pieces', 'and the third')
  })

  await t.test("MariaDB's own client", async t => {
    const file = join(t.testdir(), 'rows.txt')
    const content = Array.from({ length: 30_000 }, (_row, i) => `${i}\t${randomBytes(60).toString('hex')}\n`).join('')
    await writeFile(file, content)
    for (const options of [[], ['-pany password'], ['--compress'], ['--compress', '-pany password']]) {
      await t.test(options.join(' ') || 'no options', async t => {
        const cli = (sql: string) => mariadb(proxy, ['--local-infile', ...options], sql)
        t.equal(await cli("SELECT CURRENT_USER(), '😀'; SELECT 2"), 'iam_user@%\t😀\n2\n')
        const compression = await cli("SHOW SESSION STATUS LIKE 'Compression'")
        t.equal(compression, `Compression\t${options.includes('--compress') || compressesAll ? 'ON' : 'OFF'}\n`)
        await cli(`CREATE OR REPLACE TABLE loaded (id INT PRIMARY KEY, body TEXT);
          LOAD DATA LOCAL INFILE '${file}' INTO TABLE loaded`)
        t.equal(sha256(await cli('SELECT id, body FROM loaded ORDER BY id')), sha256(content))
        t.match((await errorOf(cli('SELECT nonsense'))).message, /^ERROR 1054 \(42S22\) at line 1: Unknown column/m)
        t.equal(sha256(await cli(`SELECT REPEAT('abc', ${10 * MB})`)), sha256(`${'abc'.repeat(10 * MB)}\n`))
      })
    }
  })
})

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex')
}

async function first(rows: AsyncIterable<Buffer>): Promise<string | undefined> {
  let text: string | undefined
  // to the last packet
  for await (const row of rows) text ??= row.toString()
  return text
}

interface Failure {
  errno?: number
  sqlState?: string
  message?: string
}

/** The error that a client gets; undefined for success. */
async function errorOf(work: Promise<unknown>): Promise<Failure> {
  try {
    await work
    return {}
  } catch (error) {
    const { errno, sqlState, message } = error as Required<Failure>
    return { errno, sqlState, message }
  }
}

async function mariadb({ host, port }: TestProxy, options: string[], sql: string): Promise<string> {
  const login = ['--no-defaults', '-h', host, '-P', String(port), '-u', 'iam_user', '-D', database]
  const output = ['--batch', '--skip-column-names', '--default-character-set=utf8mb4', '--max-allowed-packet=256M']
  const args = [...login, ...output, ...options, '-e', sql]
  const { stdout } = await promisify(execFile)('mariadb', args, { maxBuffer: 256 * MB })
  return stdout
}
