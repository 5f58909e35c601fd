/** The honest clients of `npm run chaos`: they check every byte and every answer. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import mysql from 'mysql2/promise'
import type { HostPort } from '../src/endpoint.ts'
import { encodeComChangeUser } from '../src/protocol/packets.ts'
import type { Random } from '../test/fuzz/random.ts'
import {
  COM_PING,
  COM_QUERY,
  COM_RESET_CONNECTION,
  expectOK,
  logInRaw,
  queryRaw,
  readPacket,
  runCommand,
  sendCommand,
  sendPacket,
} from '../test/support/raw-client.ts'
import { type RunRecord, WrongAnswer } from './chaos-record.ts'
import type { ChaosProxy, World } from './chaos-world.ts'

const COM_QUIT = 0x01
const COM_BINLOG_DUMP = 0x12
const COM_REGISTER_SLAVE = 0x15
const AUTH_SWITCH_REQUEST = 0xfe

/** As long as a stopped server and a busy machine need. */
const CONNECT_TIMEOUT_MS = 200_000

export interface HonestContext {
  world: World
  record: RunRecord
  /** false from the end of the run on */
  goesOn: () => boolean
  /** runs `work` while the local password does not change */
  usingPassword: (work: () => Promise<boolean>) => Promise<boolean>
  /** ledger rows whose commit was acknowledged, and those whose commit was tried */
  committed: Map<number, string>
  tried: Map<number, string>
}

const DUMP_ROWS = 20_000
const dumpRow = (id: number) => `${id}:${createHash('md5').update(String(id)).digest('hex').repeat(3)}`

/** Creates the tables that the clients use. */
export async function createTables({ server }: World): Promise<void> {
  await server.query(`CREATE TABLE lab.chaos_ledger (id BIGINT PRIMARY KEY, body VARCHAR(200)) ENGINE=InnoDB;
CREATE TABLE lab.chaos_dump (id INT PRIMARY KEY, body VARCHAR(200)) ENGINE=InnoDB`)
  for (let first = 0; first < DUMP_ROWS; first += 1_000) {
    const rows = Array.from({ length: 1_000 }, (_, n) => `(${first + n}, '${dumpRow(first + n)}')`)
    await server.query(`INSERT INTO lab.chaos_dump VALUES ${rows.join(',')}`)
  }
}

function expect(is: unknown, wanted: unknown, what: string): void {
  if (is !== wanted) throw new WrongAnswer(`${what}: ${String(is).slice(0, 100)}, not ${String(wanted).slice(0, 100)}`)
}

async function first(connection: mysql.Connection, sql: string, values: unknown[] = []): Promise<unknown> {
  const [rows] = await connection.query<mysql.RowDataPacket[]>({ sql, values })
  return rows[0] && Object.values(rows[0])[0]
}

/** A login without a password. */
export function open({ host, port }: HostPort): Promise<mysql.Connection> {
  return mysql.createConnection({ host, port, user: 'iam_user', connectTimeout: CONNECT_TIMEOUT_MS })
}

/** A login with the local password, inside TLS. */
export async function openGuarded({ host, port }: HostPort, password: string): Promise<mysql.Connection> {
  return await mysql.createConnection({
    host,
    port,
    user: 'local',
    password,
    ssl: { rejectUnauthorized: false },
    connectTimeout: CONNECT_TIMEOUT_MS,
  })
}

/** Logs in, asks something and leaves, again and again. */
export async function loginClient(context: HonestContext, proxy: ChaosProxy, random: Random): Promise<void> {
  const { world, record, goesOn, usingPassword } = context
  while (goesOn()) {
    const isGuarded = random.below(4) === 0
    const kind = isGuarded ? 'login with password and TLS' : 'login'
    const visit = () =>
      record.honest(kind, async () => {
        const connection = await (isGuarded ? openGuarded(proxy.guarded, world.password) : open(proxy.open))
        record.logins++
        try {
          const number = random.below(1_000_000)
          expect(await first(connection, 'SELECT ? + 1 AS n', [number]), number + 1, 'a sum')
          if (random.below(10) === 0) {
            const size = random.below(3_000_000)
            expect(await first(connection, `SELECT REPEAT('x', ${size}) AS x`), 'x'.repeat(size), 'a large value')
          }
          if (random.below(10) === 0) {
            await connection.changeUser({
              user: isGuarded ? 'local' : 'iam2',
              password: isGuarded ? world.password : '',
            })
            record.logins++
            record.changedUsers++
            const wanted = isGuarded ? 'iam_user@%' : 'iam2@%'
            expect(await first(connection, 'SELECT CURRENT_USER() AS name'), wanted, 'the user after a change')
          }
        } finally {
          connection.destroy()
        }
      })
    await (isGuarded ? usingPassword(visit) : visit())
  }
}

/** A COM_CHANGE_USER of a client without a password. */
function changeUserPacket(user: string): Buffer {
  return encodeComChangeUser({
    user: Buffer.from(user),
    authResponse: Buffer.alloc(0),
    database: Buffer.alloc(0),
    charset: 45, // utf8mb4_general_ci
    authPlugin: 'mysql_native_password',
    attributes: undefined,
  })
}

/** Logs in with raw packets, asks something, changes its user a few times and leaves: many logins in little time. */
export async function stormClient(context: HonestContext, proxy: ChaosProxy, random: Random): Promise<void> {
  const { record, goesOn } = context
  while (goesOn()) {
    await record.honest('login, query, changes of user and COM_QUIT', async () => {
      const client = await logInRaw(proxy.open)
      record.logins++
      try {
        const size = random.below(200) === 0 ? 5_000_000 : 1 + random.below(100)
        for await (const row of queryRaw(client, `SELECT REPEAT('x', ${size})`)) {
          expect(row.length, size, 'the length of a value')
          expect(row.equals(Buffer.alloc(size, 'x')), true, 'a value is as it was sent')
        }
        await runCommand(client, random.below(2) ? COM_PING : COM_RESET_CONNECTION)
        for (let changes = random.below(16); changes > 0; changes--) {
          const user = random.below(2) ? 'iam_user' : 'iam2'
          sendPacket(client.socket, changeUserPacket(user), 0)
          const packet = await readPacket(client.socket)
          if (packet[0] === AUTH_SWITCH_REQUEST) {
            sendPacket(client.socket, Buffer.alloc(0), 2)
            expectOK(await readPacket(client.socket))
          } else expectOK(packet)
          record.logins++
          record.changedUsers++
          for await (const row of queryRaw(client, 'SELECT CURRENT_USER()')) {
            expect(row.toString(), `${user}@%`, 'the user after a change')
          }
        }
        sendCommand(client, COM_QUIT)
        await once(client.socket.end().resume(), 'close')
      } finally {
        client.socket.destroy()
      }
    })
  }
}

let nextRow = 1

/** A pool of connections: queries, prepared statements, transactions. */
export async function poolClient(context: HonestContext, proxy: ChaosProxy, random: Random): Promise<void> {
  const { record, goesOn, committed, tried } = context
  const { host, port } = proxy.open
  const pool = mysql.createPool({
    host,
    port,
    user: 'iam_user',
    connectionLimit: 4,
    connectTimeout: CONNECT_TIMEOUT_MS,
  })
  const lastGood = new WeakMap<object, number>()
  const worker = async () => {
    while (goesOn()) {
      let connection: mysql.PoolConnection | undefined
      const got = await record.honest('connection from the pool', async () => {
        connection = await pool.getConnection()
      })
      if (!got || !connection) continue
      const one = connection
      if (!lastGood.has(one)) record.logins++
      const isGood = await record.honest(
        'query of the pool',
        async () => {
          const kind = random.below(3)
          if (kind === 0) {
            const text = random.bytes(30).toString('hex')
            expect(await first(one, 'SELECT ? AS text', [text]), text, 'an echo')
          } else if (kind === 1) {
            const [rows] = await one.execute<mysql.RowDataPacket[]>('SELECT ? * 2 AS n', [21])
            expect(Number(rows[0]!['n']), 42, 'a prepared statement')
          } else {
            const id = nextRow++
            const body = random.bytes(20).toString('hex')
            await one.beginTransaction()
            await one.query('INSERT INTO lab.chaos_ledger VALUES (?, ?)', [id, body])
            tried.set(id, body)
            await one.commit()
            committed.set(id, body)
          }
        },
        lastGood.get(one),
      )
      lastGood.set(one, performance.now())
      if (isGood) one.release()
      else one.destroy()
      await sleep(random.below(20))
    }
  }
  await Promise.all([worker(), worker(), worker()])
  await pool.end().catch(() => undefined)
}

/** Keeps one connection, is idle for seconds, and looks at the schema. */
export async function guiClient(context: HonestContext, proxy: ChaosProxy, random: Random): Promise<void> {
  const { record, goesOn } = context
  let connection: mysql.Connection | undefined
  let since: number | undefined
  while (goesOn()) {
    const isGood = await record.honest(
      'GUI',
      async () => {
        if (!connection) {
          connection = await open(proxy.open)
          connection.on('error', () => {})
          record.logins++
        }
        const count = await first(
          connection,
          "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'chaos_dump'",
        )
        expect(Number(count), 1, 'a table in the schema')
        await connection.query('SET SESSION sql_select_limit = DEFAULT')
        const [rows] = await connection.query<mysql.RowDataPacket[]>('SELECT body FROM lab.chaos_dump WHERE id < 200')
        for (const [id, row] of rows.entries()) expect(row['body'], dumpRow(id), 'a row of the grid')
      },
      since,
    )
    since = performance.now()
    if (!isGood) {
      connection?.destroy()
      connection = since = undefined
    }
    for (let idle = random.below(3_000); idle > 0 && goesOn(); idle -= 100) await sleep(100)
  }
  connection?.destroy()
}

const dumpHash = createHash('sha256')
for (let id = 0; id < DUMP_ROWS; id++) dumpHash.update(dumpRow(id))
const DUMP_SHA256 = dumpHash.digest('hex')

/** Reads the whole table and compares its hash. */
export async function dumpClient(context: HonestContext, proxy: ChaosProxy, random: Random): Promise<void> {
  while (context.goesOn()) {
    await context.record.honest('dump', async () => {
      const client = await logInRaw(proxy.open)
      context.record.logins++
      try {
        const hash = createHash('sha256')
        for await (const row of queryRaw(client, 'SELECT body FROM lab.chaos_dump ORDER BY id')) hash.update(row)
        expect(hash.digest('hex'), DUMP_SHA256, 'the hash of the table')
      } finally {
        client.socket.destroy()
      }
    })
    await sleep(random.below(1_000))
  }
}

/** Follows the binlog: every event has its checksum and begins where the one before ended. */
export async function binlogClient(context: HonestContext, proxy: ChaosProxy): Promise<void> {
  const { world, record, goesOn } = context
  let file = ''
  let position = 0
  while (goesOn()) {
    await record.honest('binlog stream', async () => {
      const client = await logInRaw(proxy.open)
      record.logins++
      const { socket } = client
      const stop = setInterval(() => goesOn() || socket.destroy(), 200)
      try {
        if (file === '') ({ file, position } = await currentBinlog(world))
        // Heartbeats show that the stream lives.
        await runCommand(
          client,
          COM_QUERY,
          'SET @master_heartbeat_period = 1000000000, @source_heartbeat_period = 1000000000',
        )
        await runCommand(client, COM_QUERY, "SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'")
        await runCommand(client, COM_REGISTER_SLAVE, `\x7b${'\0'.repeat(16)}`)
        const request = Buffer.alloc(11 + file.length)
        request[0] = COM_BINLOG_DUMP
        request.writeUInt32LE(position, 1)
        request.writeUInt32LE(123, 7)
        request.write(file, 11)
        sendPacket(socket, request, 0)
        while (goesOn()) {
          const packet = await readPacket(socket).catch(error => {
            if (goesOn()) throw error
          })
          if (!packet) return
          if (packet[0] !== 0) throw new Error(`the stream has ended: ${packet.subarray(3).toString('latin1')}`)
          ;({ file, position } = checkEvent(packet.subarray(1), file, position))
          record.operations.set('binlog event', (record.operations.get('binlog event') ?? 0) + 1)
        }
      } finally {
        clearInterval(stop)
        socket.destroy()
      }
    })
  }
}

async function currentBinlog({ server }: World): Promise<{ file: string; position: number }> {
  const sql = /mariadb/i.test(server.version) ? 'SHOW MASTER STATUS' : 'SHOW BINARY LOG STATUS'
  const [status] = (await server.query(sql)) as { File: string; Position: number }[]
  return { file: status!.File, position: Number(status!.Position) }
}

const ROTATE_EVENT = 4
const HEARTBEAT_EVENTS = [27, 41]
const HEADER_BYTES = 19
const CHECKSUM_BYTES = 4

/** https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html */
function checkEvent(event: Buffer, file: string, position: number): { file: string; position: number } {
  expect(event.readUInt32LE(9), event.length, 'the length of a binlog event')
  const body = event.subarray(0, -CHECKSUM_BYTES)
  expect(event.readUInt32LE(body.length), crc32(body), 'the checksum of a binlog event')
  const [type, next] = [event[4]!, event.readUInt32LE(13)]
  if (type === ROTATE_EVENT) {
    const at = Number(event.readBigUInt64LE(HEADER_BYTES))
    return { file: body.subarray(HEADER_BYTES + 8).toString(), position: at }
  }
  // Events that the server makes for this stream have no place in the file.
  if (next === 0 || HEARTBEAT_EVENTS.includes(type) || next <= position) return { file, position }
  expect(next - event.length, position, `where a binlog event of type ${type} begins`)
  return { file, position: next }
}

/** Every acknowledged commit is there, and nothing that nobody wrote. */
export async function checkLedger({ world, record, committed, tried }: HonestContext): Promise<void> {
  const rows = (await world.server.query('SELECT id, body FROM lab.chaos_ledger')) as { id: number; body: string }[]
  const found = new Map(rows.map(({ id, body }) => [Number(id), body]))
  for (const [id, body] of committed)
    if (found.get(id) !== body) record.fail(`row ${id} was committed and is not there`)
  for (const [id, body] of found) if (tried.get(id) !== body) record.fail(`row ${id} was never written`)
}
