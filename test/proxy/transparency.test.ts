/** What a client may do after its login, packet by packet: nothing of it is the proxy's business, and all of it must work. */
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import { test } from 'tap'
import {
  CLIENT_CONNECT_WITH_DB,
  CLIENT_DEPRECATE_EOF,
  CLIENT_LOCAL_FILES,
  CLIENT_MULTI_STATEMENTS,
  CLIENT_PS_MULTI_RESULTS,
  CLIENT_SESSION_TRACK,
  CLIENT_SSL,
} from '../../src/protocol/capabilities.ts'
import {
  encodeComChangeUser,
  encodeHandshakeResponse41,
  encodeSSLRequest,
  parseERR_Packet,
} from '../../src/protocol/packets.ts'
import { PLAIN_CLIENT } from '../support/capabilities.ts'
import { type RealServer, realServer, startMariadb } from '../support/mariadb.ts'
import {
  COM_INIT_DB,
  COM_PING,
  COM_QUERY,
  connect,
  connectRaw,
  expectOK,
  logInRaw,
  type RawClient,
  readPacket,
  readRows,
  runCommand,
  sendCommand,
  sendPacket,
  startProxy,
  type TestProxy,
  until,
} from '../support/raw-client.ts'

const COM_QUIT = 0x01
const COM_CHANGE_USER = 0x11
const COM_BINLOG_DUMP = 0x12
const COM_REGISTER_SLAVE = 0x15
const COM_STMT_PREPARE = 0x16
const COM_STMT_EXECUTE = 0x17
const COM_STMT_SEND_LONG_DATA = 0x18
const COM_STMT_CLOSE = 0x19
const COM_STMT_RESET = 0x1a
const COM_STMT_FETCH = 0x1c

const CURSOR_TYPE_READ_ONLY = 1
const MYSQL_TYPE_LONGLONG = 8
const MYSQL_TYPE_LONG_BLOB = 251
const SERVER_STATUS_CURSOR_EXISTS = 0x40
const SERVER_STATUS_LAST_ROW_SENT = 0x80
const SERVER_SESSION_STATE_CHANGED = 0x4000
/** MariaDB's name for the statement that was prepared last */
const LAST_STATEMENT = 0xffffffff

const LOCAL_INFILE = 0xfb
/** Payload length of a packet that is continued in the next one. */
const MAX_PAYLOAD = 0xffffff
const database = 'transparency'

test('commands after the login', async t => {
  const server = await realServer(t)
  const proxy = await startProxy(t, server)
  await server.query(`DROP DATABASE IF EXISTS ${database}; CREATE DATABASE ${database} CHARACTER SET utf8mb4;
    CREATE TABLE ${database}.events (marker VARCHAR(100));
    CREATE TABLE ${database}.loaded (id INT AUTO_INCREMENT PRIMARY KEY, length INT, crc INT UNSIGNED);
    INSERT INTO ${database}.loaded VALUES (); DELETE FROM ${database}.loaded`)
  t.teardown(() => server.query(`DROP DATABASE ${database}`).catch(() => {}))
  const insert = (marker: string) => server.query(`INSERT INTO ${database}.events VALUES ('${marker}')`)

  await t.test('change data capture: COM_REGISTER_SLAVE and COM_BINLOG_DUMP', async t => {
    const { file, position } = await binlogEnd(server)
    const client = await logInRaw(proxy)
    const threadId = client.greeting.threadId
    await runCommand(client, COM_QUERY, "SET @master_binlog_checksum = 'NONE'")
    await runCommand(client, COM_QUERY, 'SET @mariadb_slave_capability = 4')
    const serverId = uint32(900_000_000 + process.pid)
    const names = Buffer.from('\x09a replica\x00\x00', 'latin1') // host, user, password
    const register = [Buffer.of(COM_REGISTER_SLAVE), serverId, names, Buffer.alloc(2 + 4 + 4)]
    sendPacket(client.socket, Buffer.concat(register), 0)
    expectOK(await readPacket(client.socket))
    const dump = [Buffer.of(COM_BINLOG_DUMP), uint32(position), uint16(0), serverId, Buffer.from(file)]
    sendPacket(client.socket, Buffer.concat(dump), 0)

    const events: Buffer[] = []
    let end: Error | undefined
    const reading = (async () => {
      for (let isContinued = false; ; ) {
        const packet = await readPacket(client.socket)
        // Another test's large value may be in the binlog too: its event takes several packets.
        if (!isContinued) events.push(packet)
        isContinued = packet.length === MAX_PAYLOAD
      }
    })().catch((error: Error) => {
      end = error
    })
    const arrives = async (marker: string) => {
      await insert(marker)
      await until(`${marker} arrives`, () => events.some(event => event.includes(marker)))
    }
    const first = `first-${randomBytes(8).toString('hex')}`
    await arrives(first)
    t.match(await processOf(server, threadId), { command: 'Binlog Dump' })
    await sleep(1_500)
    t.equal(end, undefined, 'idle, it stays')
    for (let i = 0; i < 20; i++) await arrives(`${first}-later-${i}`)
    t.ok(
      events.every(event => event[0] === 0),
      'nothing but events',
    )
    t.equal(events.filter(event => event.includes(`${first}-later-7`)).length, 1, 'and each but once')

    client.socket.destroy()
    await reading
    // The server waits for events, not for its client: it learns of the end with one of the next.
    await until('the dump thread is gone', async () => {
      await insert('nobody')
      return (await processOf(server, threadId)) === undefined
    })
    await expectNothingLeft(proxy)
  })

  await t.test('mariadb-binlog --read-from-remote-server reads to the end', async t => {
    const { file, position } = await binlogEnd(server)
    const markers = Array.from({ length: 50 }, () => randomBytes(16).toString('hex'))
    for (const marker of markers) await insert(marker)
    const login = ['--no-defaults', '-h', proxy.host, '-P', String(proxy.port), '-u', 'iam_user']
    const what = [
      '--read-from-remote-server',
      '--verbose',
      '--base64-output=decode-rows',
      `--start-position=${position}`,
    ]
    const { stdout } = await promisify(execFile)('mariadb-binlog', [...login, ...what, file], {
      maxBuffer: 1 << 30,
    })
    t.match(stdout, /# End of log file/)
    const found = [...stdout.matchAll(/^### {3}@1='([0-9a-f]{32})'$/gm)].map(match => match[1])
    t.strictSame(found, markers)
    await expectNothingLeft(proxy)
  })

  await t.test('a prepared statement with a cursor: rows are fetched in portions', async t => {
    const client = await logInRaw(proxy)
    const { socket } = client
    t.teardown(() => socket.destroy())
    const statement = await prepare(client, 'SELECT seq FROM lab.seq_1_to_25 WHERE seq > ?')
    t.match(statement, { columns: 1, parameters: 1 })
    const two = Buffer.alloc(8)
    two[0] = 2
    for (let again = 0; again < 2; again++) {
      execute(client, statement.id, MYSQL_TYPE_LONGLONG, two, CURSOR_TYPE_READ_ONLY)
      t.same(await readPacket(socket), Buffer.of(1), 'one column')
      await readPacket(socket)
      t.ok(statusOf(await readPacket(socket)) & SERVER_STATUS_CURSOR_EXISTS, 'no rows yet')
      const portions: number[][] = []
      for (let last = false; !last; ) {
        sendPacket(socket, Buffer.concat([Buffer.of(COM_STMT_FETCH), uint32(statement.id), uint32(10)]), 0)
        const portion: number[] = []
        for (;;) {
          const packet = await readPacket(socket)
          if (packet[0] !== 0) {
            last = (statusOf(packet) & SERVER_STATUS_LAST_ROW_SENT) !== 0
            break
          }
          portion.push(Number(packet.readBigInt64LE(2)))
        }
        portions.push(portion)
      }
      t.strictSame(portions.flat(), range(3, 26))
      t.strictSame(portions[0], range(3, 13), 'only what was asked for')
      sendPacket(socket, Buffer.concat([Buffer.of(COM_STMT_RESET), uint32(statement.id)]), 0)
      expectOK(await readPacket(socket))
    }
    sendPacket(socket, Buffer.concat([Buffer.of(COM_STMT_CLOSE), uint32(statement.id)]), 0)
    execute(client, statement.id, MYSQL_TYPE_LONGLONG, two)
    t.match(parseERR_Packet(await readPacket(socket)), { errno: 1243 }, 'closed')
    await runCommand(client, COM_PING)
  })

  await t.test('COM_STMT_SEND_LONG_DATA', async t => {
    const client = await logInRaw(proxy)
    const { socket } = client
    t.teardown(() => socket.destroy())
    const statement = await prepare(client, 'SELECT SHA2(?, 256)')
    // A portion that is longer than a packet has a second one, which begins with what looks like a command.
    const portions = range(0, 40).map(() => Buffer.concat([Buffer.of(COM_CHANGE_USER), randomBytes(50_000)]))
    portions.push(Buffer.alloc(MAX_PAYLOAD + 1_000, COM_CHANGE_USER))
    const [code, id, parameter] = [Buffer.of(COM_STMT_SEND_LONG_DATA), uint32(statement.id), uint16(0)]
    for (const portion of portions) sendLong(socket, Buffer.concat([code, id, parameter, portion]))
    execute(client, statement.id, MYSQL_TYPE_LONG_BLOB, Buffer.alloc(0))
    await readPacket(socket)
    await readPacket(socket)
    await readPacket(socket)
    const row = await readPacket(socket)
    t.equal(row.toString('latin1', 3), sha256(Buffer.concat(portions)))
    await readPacket(socket)
    await runCommand(client, COM_PING)
  })

  await t.test('session tracking: the same bytes as without the proxy', async t => {
    const capabilities = CLIENT_SESSION_TRACK | CLIENT_DEPRECATE_EOF | CLIENT_MULTI_STATEMENTS | CLIENT_PS_MULTI_RESULTS
    const commands: [command: number, argument: string][] = [
      [COM_INIT_DB, 'mysql'],
      ...[
        "SET session_track_system_variables = '*', session_track_state_change = 1",
        "SET session_track_transaction_info = 'CHARACTERISTICS'",
        `USE ${database}`,
        'SET NAMES latin1',
        "SET time_zone = '+09:00', autocommit = 0",
        'SET @x = 1',
        'START TRANSACTION READ ONLY',
        'SELECT COUNT(*) FROM events WHERE marker IS NULL',
        'COMMIT',
        'SET autocommit = 1; USE lab; SELECT DATABASE(); SELECT nonsense',
        'SET NAMES utf8mb4',
      ].map((sql): [number, string] => [COM_QUERY, sql]),
      [COM_PING, ''],
      [COM_QUIT, ''],
    ]
    const direct = await logInDirectly(server, capabilities)
    const proxied = await connectRaw(proxy)
    proxied.socket.write(loginAs(proxied, 'iam_user', Buffer.alloc(0), capabilities, 1))
    const answers: Buffer[][] = []
    for (const client of [direct, proxied]) {
      const login = await readPacket(client.socket)
      for (const [command, argument] of commands) sendCommand(client, command, argument)
      answers.push([login, ...(await packetsToTheEnd(client.socket))])
      client.socket.destroy()
    }
    t.ok(answers[0]!.length > 20)
    t.strictSame(answers[1], answers[0])
    const told = answers[1]!.map(packet => packet.toString('latin1'))
    t.ok(answers[1]![1]!.readUInt16LE(3) & SERVER_SESSION_STATE_CHANGED)
    t.ok(told[0]!.includes('\x03lab'), 'already the login has told of a change')
    t.ok(told[1]!.includes('\x05mysql'))
    for (const change of ['character_set_client\x06latin1', 'time_zone\x06+09:00', 'START TRANSACTION READ ONLY']) {
      t.ok(
        told.some(packet => packet.includes(change)),
        change,
      )
    }
    await expectNothingLeft(proxy)
  })

  await t.test('200 pipelined queries', async t => {
    const client = await logInRaw(proxy)
    t.teardown(() => client.socket.destroy())
    client.socket.write(Buffer.concat(range(0, 200).map(i => query(`SELECT CONCAT(${i}, REPEAT('-', ${i * 50}))`))))
    for (let i = 0; i < 200; i++) {
      const [row] = await rowsOf(client)
      if (row !== `${i}${'-'.repeat(i * 50)}`) t.fail(`${i}: ${row?.slice(0, 20)}`)
    }
    await runCommand(client, COM_PING)
    t.pass('and all answers in order')
  })

  await t.test('pipelined queries, prepared statements and COM_CHANGE_USER', async t => {
    const client = await logInRaw(proxy)
    const { socket } = client
    t.teardown(() => socket.destroy())
    const burst = (from: number) =>
      range(from, from + 60).flatMap(i => [
        query(`SELECT CONCAT(${i}, ' as ', CURRENT_USER())`),
        frame(Buffer.from(`\x16SELECT ${i} + 1000`)),
        frame(executePayload(LAST_STATEMENT)),
      ])
    const expectAnswers = async (from: number, user: string) => {
      for (const i of range(from, from + 60)) {
        const [row] = await rowsOf(client)
        if (row !== `${i} as ${user}@%`) throw new Error(`${i} as ${user}: ${row}`)
        await readPrepared(client)
        for (let packets = 0; packets < 3; packets++) await readPacket(socket)
        const binary = await readPacket(socket)
        if (binary.readInt32LE(2) !== i + 1000) throw new Error(`${i}: ${binary.toString('hex')}`)
        await readPacket(socket)
      }
    }
    for (const [round, before, after] of [
      [0, 'iam_user', 'iam2'],
      [1, 'iam2', 'iam_user'],
    ] as const) {
      socket.write(Buffer.concat([...burst(200 * round), changeUserTo(after)]))
      await expectAnswers(200 * round, before)
      t.match((await readPacket(socket)).toString('latin1'), /^\xfemysql_native_password\0/)
      socket.write(Buffer.concat([frame(Buffer.alloc(0), 2), ...burst(200 * round + 100)]))
      expectOK(await readPacket(socket))
      await expectAnswers(200 * round + 100, after)
      await runCommand(client, COM_PING)
    }
    t.equal(sessionsEnded(proxy).filter(({ threadId }) => threadId === client.greeting.threadId).length, 0)
  })

  // After so many packets, the empty one at the end has the sequence id 255, 0, 1, and 0 again behind 64 MB.
  for (const [packets, bytes] of [
    [253, 100],
    [254, 100],
    [255, 100],
    [4094, 16_384],
  ] as const) {
    await t.test(`LOAD DATA LOCAL in ${packets} packets, followed by COM_CHANGE_USER`, async t => {
      const client = await connectRaw(proxy)
      const { socket } = client
      t.teardown(() => socket.destroy())
      socket.write(loginAs(client, 'iam_user', Buffer.alloc(0), CLIENT_LOCAL_FILES, 1))
      expectOK(await readPacket(socket))
      await runCommand(client, COM_QUERY, `TRUNCATE ${database}.loaded`)
      const lookalike = changeUserTo('iam2').subarray(4)
      const lines = range(0, packets).map(i => {
        const line = Buffer.alloc(bytes, lookalike)
        line.write(String(i).padStart(8, '0'), lookalike.length)
        line[bytes - 1] = 0x0a
        return line
      })
      sendCommand(client, COM_QUERY, loadData)
      t.equal((await readPacket(socket))[0], LOCAL_INFILE)
      for (const [i, line] of lines.entries()) {
        if (!socket.write(frame(line, (i + 2) % 256))) await once(socket, 'drain')
      }
      sendPacket(socket, Buffer.alloc(0), (packets + 2) % 256)
      expectOK(await readPacket(socket))

      socket.write(changeUserTo('iam2'))
      t.match((await readPacket(socket)).toString('latin1'), /^\xfemysql_native_password\0/)
      sendPacket(socket, Buffer.alloc(0), 2)
      expectOK(await readPacket(socket))
      sendCommand(client, COM_QUERY, 'SELECT CURRENT_USER()')
      t.strictSame(await rowsOf(client), ['iam2@%'])
      sendCommand(client, COM_QUERY, `SELECT CONCAT(length, ' ', crc) FROM ${database}.loaded ORDER BY id`)
      const sums = lines.map(line => `${bytes - 1} ${zlib.crc32(line.subarray(0, -1))}`)
      t.equal(sha256((await rowsOf(client)).join()), sha256(sums.join()), 'as sent')
    })
  }

  await t.test('rows of exactly one and two packets of the maximum length', async t => {
    const client = await logInRaw(proxy)
    t.teardown(() => client.socket.destroy())
    for (const [packets, prefix] of [
      [1, 4],
      [2, 9],
    ] as const) {
      const length = packets * MAX_PAYLOAD - prefix
      sendCommand(client, COM_QUERY, `SELECT LEFT(REPEAT('0123456789abc', ${length} / 13 + 1), ${length})`)
      for (let i = 0; i < 3; i++) await readPacket(client.socket)
      const row: Buffer[] = []
      for (let more = true; more; ) {
        row.push(await readPacket(client.socket))
        more = row.at(-1)!.length === MAX_PAYLOAD
      }
      t.strictSame(
        row.map(part => part.length),
        [...range(0, packets).map(() => MAX_PAYLOAD), 0],
        'and an empty packet',
      )
      t.equal(sha256(Buffer.concat(row).subarray(prefix)), sha256(Buffer.alloc(length, '0123456789abc')))
      await readPacket(client.socket)
      await runCommand(client, COM_PING)
    }
  })

  const query15MB = frame(Buffer.from(`\x03SELECT LENGTH('${'x'.repeat(15_000_000)}')`))
  for (const how of ['a half-close', 'an RST'] as const) {
    await t.test(`${how} during a command ends the server thread`, async t => {
      const client = await logInRaw(proxy)
      const { socket, greeting } = client
      await new Promise(resolve => socket.write(query15MB.subarray(0, 10_000_000), resolve))
      t.ok(await processOf(server, greeting.threadId))
      await leave(client, how)
      await until('the thread is gone', async () => (await processOf(server, greeting.threadId)) === undefined)
      await expectNothingLeft(proxy)
    })

    await t.test(`${how} during LOAD DATA LOCAL ends the server thread`, async t => {
      const client = await connectRaw(proxy)
      const { socket, greeting } = client
      socket.write(loginAs(client, 'iam_user', Buffer.alloc(0), CLIENT_LOCAL_FILES, 1))
      expectOK(await readPacket(socket))
      await runCommand(client, COM_QUERY, `TRUNCATE ${database}.loaded`)
      sendCommand(client, COM_QUERY, loadData)
      t.equal((await readPacket(socket))[0], LOCAL_INFILE)
      const packet = frame(Buffer.alloc(60_000, 'a line\n'), 2)
      for (let i = 0; i < 20; i++) {
        packet[3] = i + 2
        await new Promise(resolve => socket.write(Buffer.from(packet), resolve))
      }
      socket.write(packet.subarray(0, 30_000))
      await until('it loads', async () => {
        const process = await processOf(server, greeting.threadId)
        return process?.info.includes('LOAD DATA') ?? false
      })
      await leave(client, how)
      await until('the thread is gone', async () => (await processOf(server, greeting.threadId)) === undefined)
      t.match(await server.query(`SELECT COUNT(*) AS count FROM ${database}.loaded`), [{ count: 0 }], 'rolled back')
      await expectNothingLeft(proxy)
    })
  }
})

test('a server that is killed during results', async t => {
  const server = await startMariadb()
  t.teardown(() => server.stop())
  const proxy = await startProxy(t, server)
  const [row] = (await server.query('SELECT @@pid_file AS pidFile')) as { pidFile: string }[]
  const pid = Number(await readFile(row!.pidFile, 'utf8'))
  const clients: RawClient[] = []
  for (let i = 0; i < 4; i++) clients.push(await logInRaw(proxy))
  const [reading, stalled, ahead, idle] = clients as [RawClient, RawClient, RawClient, RawClient]
  const before = clients.map(({ socket }) => socket.bytesRead)
  for (const client of [reading, stalled, ahead]) {
    sendCommand(client, COM_QUERY, 'SELECT REPEAT(md5(seq), 3125) FROM lab.seq_1_to_1000000')
  }
  // The server dies before it has read this.
  sendCommand(ahead, COM_QUERY, `SELECT LENGTH('${'x'.repeat(2_000_000)}')`)
  const rows: Buffer[][] = [[], [], []]
  const read = async (index: number) => {
    for await (const row of readRows(clients[index]!)) rows[index]!.push(row)
  }
  const firstEnd = read(0).catch((error: Error) => error.message)
  const idleEnd = readPacket(idle.socket).catch((error: Error) => error.message)
  await until(
    'all have rows',
    () => rows[0]!.length > 50 && [stalled, ahead].every(({ socket }) => socket.readableLength > 0),
  )

  process.kill(pid, 'SIGKILL')
  t.match(await firstEnd, /the connection ended/)
  t.match(await idleEnd, /the connection ended 4 bytes short/)
  for (const index of [1, 2]) {
    t.match(await read(index).catch((error: Error) => error.message), /the connection ended/)
  }

  for (const index of [0, 1, 2]) {
    t.ok(rows[index]!.length > 5, `${rows[index]!.length} rows`)
    rows[index]!.forEach((row, i) => {
      const md5 = createHash('md5')
        .update(String(i + 1))
        .digest('hex')
      if (!row.equals(Buffer.alloc(100_000, md5))) t.fail(`row ${i} is not as sent`)
    })
  }
  for (const { socket } of clients) socket.destroy()
  await expectNothingLeft(proxy)
  for (const [index, { greeting, socket }] of clients.entries()) {
    const end = sessionsEnded(proxy).find(({ threadId }) => threadId === greeting.threadId)
    t.match(end, { endedBy: /^server /, bytesFromServer: socket.bytesRead - before[index]! }, 'every byte is handed on')
  }

  await t.rejects(connect(proxy), { errno: 1042, message: /refused.*port forward/s }, 'the proxy goes on, and says so')
  t.match(proxy.log.at(-1), { level: 'error', fields: { code: 'DIAL_REFUSED' } })
  await expectNothingLeft(proxy)
})

const loadData = `LOAD DATA LOCAL INFILE 'x' INTO TABLE ${database}.loaded CHARACTER SET binary
  FIELDS ESCAPED BY '' (@line) SET length = LENGTH(@line), crc = CRC32(@line)`

// ---- prepared statements ----

async function prepare(client: RawClient, sql: string) {
  sendCommand(client, COM_STMT_PREPARE, sql)
  return await readPrepared(client)
}

async function readPrepared({ socket }: RawClient) {
  const answer = await readPacket(socket)
  expectOK(answer)
  const [id, columns, parameters] = [answer.readUInt32LE(1), answer.readUInt16LE(5), answer.readUInt16LE(7)]
  for (const count of [columns, parameters]) {
    // definitions, and an EOF_Packet
    for (let i = 0; count > 0 && i <= count; i++) await readPacket(socket)
  }
  return { id, columns, parameters }
}

/** For statements with one parameter. */
function execute({ socket }: RawClient, id: number, type: number, value: Buffer, flags = 0): void {
  const parameter = Buffer.concat([Buffer.of(0, 1, type, 0), value]) // the NULL bitmap, types follow, one type, one value
  sendPacket(socket, Buffer.concat([executePayload(id, flags), parameter]), 0)
}

function executePayload(id: number, flags = 0): Buffer {
  return Buffer.concat([Buffer.of(COM_STMT_EXECUTE), uint32(id), Buffer.of(flags), uint32(1)])
}

/** Of an EOF_Packet. */
function statusOf(packet: Buffer): number {
  if (packet[0] !== 0xfe || packet.length !== 5) throw new Error(`not an EOF_Packet: ${packet.toString('latin1')}`)
  return packet.readUInt16LE(3)
}

// ---- logins ----

/** A HandshakeResponse41 with more flags than loginPacket has. */
function loginAs({ greeting }: RawClient, user: string, auth: Buffer, more: number, sequence: number): Buffer {
  const withDatabase = (more & CLIENT_SESSION_TRACK) !== 0
  const response = encodeHandshakeResponse41({
    ...requestFields(more | (withDatabase ? CLIENT_CONNECT_WITH_DB : 0)),
    user: Buffer.from(user),
    authResponse: auth,
    database: withDatabase ? Buffer.from('lab') : undefined,
    authPlugin: greeting.authPlugin,
    attributes: undefined,
    zstdLevel: undefined,
  })
  return frame(response, sequence)
}

function requestFields(more: number) {
  return { capabilities: PLAIN_CLIENT | more, maxPacketSize: 1 << 30, charset: 45, reserved: Buffer.alloc(23) }
}

/** Past the proxy, inside TLS, as the account with a password. The result of the login is left to be read. */
async function logInDirectly(server: RealServer, more: number): Promise<RawClient> {
  const { socket: tcp, greeting } = await connectRaw(server)
  const flags = more | CLIENT_SSL
  sendPacket(tcp, encodeSSLRequest(requestFields(flags | CLIENT_CONNECT_WITH_DB)), 1)
  const socket = connectTls({ socket: tcp, ca: server.ca, servername: server.rdsHost })
  await once(socket, 'secureConnect')
  const sha1 = (...parts: Buffer[]) => createHash('sha1').update(Buffer.concat(parts)).digest()
  const password = sha1(Buffer.from('app-pw'))
  const mask = sha1(greeting.salt, sha1(password))
  const auth = password.map((byte, i) => byte ^ mask[i]!) as Buffer
  socket.write(loginAs({ socket, greeting }, 'app', auth, flags, 2))
  return { socket, greeting }
}

function changeUserTo(user: string): Buffer {
  const command = encodeComChangeUser({
    user: Buffer.from(user),
    authResponse: Buffer.alloc(0),
    database: Buffer.from(database),
    charset: 45,
    authPlugin: 'mysql_native_password',
    attributes: undefined,
  })
  return frame(command)
}

// ---- packets ----

function frame(payload: Buffer, sequence = 0): Buffer {
  return Buffer.concat([uint32(payload.length | (sequence << 24)), payload])
}

function query(sql: string): Buffer {
  return frame(Buffer.from(`\x03${sql}`))
}

/** In as many packets as it takes. */
function sendLong(socket: Socket, payload: Buffer): void {
  for (let sequence = 0; sequence * MAX_PAYLOAD <= payload.length; sequence++) {
    sendPacket(socket, payload.subarray(sequence * MAX_PAYLOAD, (sequence + 1) * MAX_PAYLOAD), sequence)
  }
}

async function packetsToTheEnd(socket: Socket): Promise<Buffer[]> {
  const packets: Buffer[] = []
  for (;;) {
    const packet = await readPacket(socket).catch((error: Error) => error)
    if (!Buffer.isBuffer(packet)) {
      if (!/ended 4 bytes short/.test(packet.message)) throw packet
      return packets
    }
    packets.push(packet)
  }
}

async function rowsOf(client: RawClient): Promise<string[]> {
  const rows: string[] = []
  for await (const row of readRows(client)) rows.push(row.toString())
  return rows
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16LE(value)
  return bytes
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return bytes
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_item, i) => from + i)
}

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex')
}

// ---- what the server and the proxy say ----

async function binlogEnd(server: RealServer): Promise<{ file: string; position: number }> {
  const [status] = (await server.query('SHOW MASTER STATUS')) as { File: string; Position: number }[]
  return { file: status!.File, position: Number(status!.Position) }
}

/** What a thread of the server does; undefined if there is no such thread. */
async function processOf(server: RealServer, threadId: number): Promise<{ command: string; info: string } | undefined> {
  const sql = `SELECT COMMAND AS command, COALESCE(INFO, '') AS info FROM information_schema.PROCESSLIST
    WHERE ID = ${threadId}`
  const [row] = (await server.query(sql)) as { command: string; info: string }[]
  return row
}

async function leave({ socket }: RawClient, how: 'a half-close' | 'an RST'): Promise<void> {
  if (how === 'an RST') {
    socket.resetAndDestroy()
    return
  }
  // The client goes on reading, and gets the end.
  socket.end()
  socket.resume()
  await once(socket, 'end')
}

function sessionsEnded({ log }: TestProxy): Record<string, unknown>[] {
  return log.filter(({ message }) => message === 'session ended').map(({ fields }) => fields)
}

async function expectNothingLeft({ log }: TestProxy): Promise<void> {
  const count = (message: string) => log.filter(line => line.message === message).length
  await until('every session has ended', () => count('session ended') === count('session started'))
  // This process's, which are also the proxy's on both sides.
  const open = () => process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap').length
  await until('no socket is open', () => open() === 0)
}
