/** Random clients and what they send: every command of the protocol, well-formed and not, with random capabilities. */

import { lenencBytes, lenencInt } from '../../src/protocol/bytes.ts'
import * as flag from '../../src/protocol/capabilities.ts'
import { hasZstd } from '../../src/protocol/inflate.ts'
import type { Random } from '../fuzz/random.ts'
import type { Packet, Script, Step } from './session.ts'

export const USERS = ['differential', 'differential2'] as const
export const DATABASE = 'differential'

const NEEDED =
  flag.CLIENT_PROTOCOL_41 |
  flag.CLIENT_SECURE_CONNECTION |
  flag.CLIENT_PLUGIN_AUTH |
  flag.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA |
  flag.CLIENT_LONG_PASSWORD

const CHOSEN = [
  flag.CLIENT_FOUND_ROWS,
  flag.CLIENT_LONG_FLAG,
  flag.CLIENT_CONNECT_WITH_DB,
  flag.CLIENT_NO_SCHEMA,
  flag.CLIENT_ODBC,
  flag.CLIENT_LOCAL_FILES,
  flag.CLIENT_IGNORE_SPACE,
  flag.CLIENT_INTERACTIVE,
  flag.CLIENT_IGNORE_SIGPIPE,
  flag.CLIENT_TRANSACTIONS,
  flag.CLIENT_RESERVED,
  flag.CLIENT_MULTI_STATEMENTS,
  flag.CLIENT_MULTI_RESULTS,
  flag.CLIENT_PS_MULTI_RESULTS,
  flag.CLIENT_CONNECT_ATTRS,
  flag.CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS,
  flag.CLIENT_SESSION_TRACK,
  flag.CLIENT_DEPRECATE_EOF,
  flag.CLIENT_OPTIONAL_RESULTSET_METADATA,
  flag.CLIENT_QUERY_ATTRIBUTES,
  flag.CLIENT_REMEMBER_OPTIONS,
]

/** How many of MariaDB's: progress reports, COM_MULTI, bulk operations, extended and cached metadata, bulk unit results. */
const MARIADB_CHOSEN = 6

export const COM = {
  SLEEP: 0x00,
  INIT_DB: 0x02,
  QUERY: 0x03,
  FIELD_LIST: 0x04,
  CREATE_DB: 0x05,
  DROP_DB: 0x06,
  REFRESH: 0x07,
  SHUTDOWN: 0x08,
  STATISTICS: 0x09,
  PROCESS_INFO: 0x0a,
  CONNECT: 0x0b,
  PROCESS_KILL: 0x0c,
  DEBUG: 0x0d,
  PING: 0x0e,
  TIME: 0x0f,
  DELAYED_INSERT: 0x10,
  BINLOG_DUMP: 0x12,
  TABLE_DUMP: 0x13,
  CONNECT_OUT: 0x14,
  REGISTER_SLAVE: 0x15,
  STMT_PREPARE: 0x16,
  STMT_EXECUTE: 0x17,
  STMT_SEND_LONG_DATA: 0x18,
  STMT_CLOSE: 0x19,
  STMT_RESET: 0x1a,
  SET_OPTION: 0x1b,
  STMT_FETCH: 0x1c,
  DAEMON: 0x1d,
  BINLOG_DUMP_GTID: 0x1e,
  RESET_CONNECTION: 0x1f,
  CLONE: 0x20,
} as const

export function randomScript(random: Random): Script {
  let capabilities = NEEDED
  for (const chosen of CHOSEN) if (random.below(2)) capabilities |= chosen
  if (random.below(4) === 0) {
    capabilities |= random.pick([flag.CLIENT_COMPRESS, hasZstd ? flag.CLIENT_ZSTD_COMPRESSION_ALGORITHM : 0])
  }
  const mariadbCapabilities = random.below(2) && random.below(1 << MARIADB_CHOSEN)
  const attributes = Buffer.concat(
    ['program_name', 'differential', '_x', 'y'.repeat(random.below(200))].map(text => lenencBytes(Buffer.from(text))),
  )
  const steps: Step[] = [prelude(capabilities)]
  const length = 1 + random.below(12)
  for (let i = 0; i < length; i++) steps.push(...randomSteps(random, capabilities))
  return { user: USERS[0], capabilities, mariadbCapabilities, database: DATABASE, attributes, steps }
}

/** What all sessions have: a table that only they see, and two prepared statements. */
function prelude(capabilities: number, ...first: Packet[]): Step {
  const packets = [
    ...first,
    command(COM.INIT_DB, Buffer.from(DATABASE)),
    query(
      capabilities,
      'CREATE TEMPORARY TABLE own (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(200), blob_ BLOB)',
    ),
    query(capabilities, "INSERT INTO own (name) VALUES ('one'), ('zwei'), ('三')"),
    query(capabilities, 'SELECT id FROM own'), // MariaDB's FOUND_ROWS() is left from another session without it
    command(COM.STMT_PREPARE, Buffer.from('SELECT id, name, ? FROM own FORCE INDEX (PRIMARY) WHERE id > ?')),
    command(COM.STMT_PREPARE, Buffer.from('INSERT INTO own (name, blob_) VALUES (?, ?)')),
  ]
  return { kind: 'burst', packets, forget: 'statements' }
}

function randomSteps(random: Random, capabilities: number): Step[] {
  const compressed = flag.isCompressed(capabilities)
  const kind = random.below(12)
  // Not in compressed sessions: the proxy refuses a change of user there, and the numbers would be inside zlib.
  if (kind === 0 && !compressed) {
    return [{ kind: 'change user', user: random.pick(USERS), database: DATABASE }, prelude(capabilities)]
  }
  if (kind === 1 && !compressed) return [{ kind: 'numbers', payload: Buffer.of(COM.STATISTICS) }]
  if (kind === 2) return [prelude(capabilities, command(COM.RESET_CONNECTION))]
  if (kind <= 4) return [{ kind: 'single', payload: randomSingle(random) }]
  const packets: Packet[] = []
  const length = 1 + random.below(6)
  for (let i = 0; i < length; i++) packets.push(...randomBurst(random, capabilities))
  return [{ kind: 'burst', packets }]
}

/**
 * Commands with one packet for an answer, also those that servers no longer have, and such as nobody has.
 * The user lacks the privilege for COM_SHUTDOWN, COM_DEBUG and COM_REFRESH.
 */
function randomSingle(random: Random): Buffer {
  const tail = random.bytes(random.below(12))
  const code = random.pick([
    COM.SLEEP,
    COM.CREATE_DB,
    COM.DROP_DB,
    COM.REFRESH,
    COM.SHUTDOWN,
    COM.CONNECT,
    COM.DEBUG,
    COM.PING,
    COM.TIME,
    COM.DELAYED_INSERT,
    COM.TABLE_DUMP,
    COM.CONNECT_OUT,
    COM.DAEMON,
    COM.CLONE,
    0x21 + random.below(0xd0),
  ])
  return random.pick([
    () => Buffer.of(code),
    () => Buffer.concat([Buffer.of(code), tail]),
    () => Buffer.concat([Buffer.of(COM.PROCESS_KILL), uint32(999_999_999)]),
    () => Buffer.concat([Buffer.of(COM.STMT_RESET), uint32(999_999_999)]),
    () => Buffer.concat([Buffer.of(COM.STMT_FETCH), uint32(999_999_999), uint32(10)]),
    () => Buffer.concat([Buffer.of(COM.STMT_EXECUTE), uint32(999_999_999), Buffer.of(0), uint32(1)]),
    () => Buffer.concat([Buffer.of(COM.SET_OPTION), Buffer.of(random.below(3), 0)]),
    () => Buffer.concat([Buffer.of(COM.INIT_DB), Buffer.from(random.pick(['mysql', 'nonesuch', DATABASE, '']))]),
    () => Buffer.concat([Buffer.of(COM.FIELD_LIST), Buffer.from('nonesuch\0%')]),
    () =>
      Buffer.concat([Buffer.of(COM.BINLOG_DUMP), uint32(4), Buffer.of(1, 0), uint32(77), Buffer.from('none.000001')]),
    () => Buffer.concat([Buffer.of(COM.REGISTER_SLAVE), uint32(77), Buffer.alloc(3 + 2 + 4 + 4)]),
    () => Buffer.concat([Buffer.of(COM.BINLOG_DUMP_GTID), Buffer.of(1, 0), uint32(77), tail]),
  ])()
}

/** None has an answer that depends on the optimizer's estimates: a status flag says whether an index was used. */
const STATEMENTS = [
  'SELECT 1',
  "SELECT 1 AS one, NULL, -2.50, 'text', x'00ff'",
  'SELECT * FROM own',
  'SELECT * FROM fixed FORCE INDEX (PRIMARY) ORDER BY id',
  'SELECT COUNT(*), MAX(text_) FROM fixed',
  'SELECT id FROM own WHERE id = 1000',
  'SELECT nonsense',
  'SELECT',
  '',
  "SELECT 1/0, CAST('x' AS SIGNED)",
  'SHOW WARNINGS',
  'SHOW COUNT(*) ERRORS',
  'SELECT ROW_COUNT(), LAST_INSERT_ID(), FOUND_ROWS()',
  "INSERT INTO own (name) VALUES ('x')",
  "UPDATE own SET name = 'zwei' WHERE id = 2",
  'DELETE FROM own WHERE id = 3',
  'INSERT INTO own (id) VALUES (1)',
  'INSERT INTO fixed VALUES (1)',
  'BEGIN',
  'START TRANSACTION READ ONLY',
  'COMMIT',
  'ROLLBACK',
  'SAVEPOINT a',
  'SET autocommit = 0',
  'SET autocommit = 1',
  'SET NAMES latin1',
  'SET NAMES utf8mb4',
  "SET time_zone = '+09:00'",
  "SET session_track_system_variables = 'autocommit,sql_mode,time_zone', session_track_state_change = 1",
  "SET session_track_transaction_info = 'CHARACTERISTICS'",
  "SET session_track_transaction_info = 'STATE'",
  "SET sql_mode = 'ANSI_QUOTES'",
  "SET sql_mode = ''",
  'SET @x = 1, @y = @x',
  'SELECT @x, @y',
  'USE mysql',
  `USE ${DATABASE}`,
  'SELECT DATABASE(), CURRENT_USER()',
  'SELECT 1; SELECT 2; INSERT INTO own (name) VALUES (3); SELECT nonsense; SELECT 4',
  'DO 1; DO 2',
  'CALL two_results(3)',
  'CALL nonesuch()',
  "SELECT REPEAT('x', 300)",
  "SELECT REPEAT('0123456789abcdef', 5000) FROM fixed",
  "PREPARE p FROM 'SELECT ?, id FROM own'",
  'EXECUTE p USING @x',
  'DEALLOCATE PREPARE p',
  'CREATE TEMPORARY TABLE own (id INT)',
  'DROP TEMPORARY TABLE IF EXISTS nonesuch',
  'HANDLER fixed OPEN',
  'HANDLER fixed READ FIRST',
  'HANDLER fixed CLOSE',
  'EXPLAIN SELECT * FROM fixed WHERE id = 3',
  'DESCRIBE fixed',
  'CHECKSUM TABLE fixed',
  'KILL 999999999',
  "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'signalled'",
  'XA RECOVER',
  'SET resultset_metadata = NONE',
  'SET resultset_metadata = FULL',
]

/** Commands after which the session goes on, whatever the server says to them. */
function randomBurst(random: Random, capabilities: number): Packet[] {
  switch (random.below(13)) {
    case 0:
      return [command(COM.PING)]
    case 1:
      return [command(COM.STMT_PREPARE, Buffer.from(random.pick(STATEMENTS)))]
    case 2:
      return [executeSelect(random, capabilities)]
    case 3:
      return [executeInsert(random, capabilities)]
    case 4:
      return [onStatement(0, COM.STMT_FETCH, uint32(random.pick([0, 1, 100])))]
    case 5:
      return [onStatement(random.pick([0, 1, 2, 2, 3, 3]), random.pick([COM.STMT_CLOSE, COM.STMT_RESET]))]
    case 6: // without an answer; parameter 1 of the INSERT
      return [onStatement(1, COM.STMT_SEND_LONG_DATA, Buffer.of(1, 0), random.bytes(random.below(500)))]
    case 7:
      return [command(COM.FIELD_LIST, Buffer.from(random.pick(['fixed\0%', 'fixed\0id', 'own\0'])))]
    case 8:
      return loadData(random, capabilities)
    default:
      return [query(capabilities, random.pick(STATEMENTS), random)]
  }
}

const MYSQL_TYPE_LONG = 3
const MYSQL_TYPE_LONG_BLOB = 251
const MYSQL_TYPE_VAR_STRING = 253
const CURSOR_TYPE_READ_ONLY = 1
const PARAMETER_COUNT_AVAILABLE = 8

/** The first prepared statement: a text and a number, now and then with a cursor. */
function executeSelect(random: Random, capabilities: number): Packet {
  const cursor = random.pick([0, 0, CURSOR_TYPE_READ_ONLY])
  const values = Buffer.concat([lenencBytes(Buffer.from('parameter')), uint32(random.below(3))])
  return execute(0, cursor, [MYSQL_TYPE_VAR_STRING, MYSQL_TYPE_LONG], values, random, capabilities)
}

function executeInsert(random: Random, capabilities: number): Packet {
  const values = Buffer.concat([lenencBytes(Buffer.from('name')), lenencBytes(random.bytes(random.below(60)))])
  return execute(1, 0, [MYSQL_TYPE_VAR_STRING, MYSQL_TYPE_LONG_BLOB], values, random, capabilities)
}

function execute(
  statement: number,
  flags: number,
  types: number[],
  values: Buffer,
  random: Random,
  capabilities: number,
) {
  const named = flag.has(capabilities, flag.CLIENT_QUERY_ATTRIBUTES)
  const more = named ? random.pick([0, PARAMETER_COUNT_AVAILABLE]) : 0
  const head = [Buffer.of(flags | more), uint32(1)]
  const type = (code: number) => Buffer.concat([Buffer.of(code, 0), named ? Buffer.of(0) : Buffer.alloc(0)])
  const nullBitmapAndTypesFollow = Buffer.of(0, 1)
  const count = named ? lenencInt(types.length) : Buffer.alloc(0)
  return onStatement(statement, COM.STMT_EXECUTE, ...head, count, nullBitmapAndTypesFollow, ...types.map(type), values)
}

/** With the file right behind it, and only where the server asks for one. */
function loadData(random: Random, capabilities: number): Packet[] {
  if (!flag.has(capabilities, flag.CLIENT_LOCAL_FILES)) return [query(capabilities, loadStatement)]
  const lines = Buffer.from(Array.from({ length: random.below(300) }, (_, i) => `line ${i}\n`).join(''))
  const data = lines.length > 0 ? [{ sequence: 2, payload: lines }] : []
  return [query(capabilities, loadStatement), ...data, { sequence: 2 + data.length, payload: Buffer.alloc(0) }]
}

const loadStatement = `LOAD DATA LOCAL INFILE 'x' INTO TABLE ${DATABASE}.own (name)`

/** With CLIENT_QUERY_ATTRIBUTES, now and then with an attribute. */
function query(capabilities: number, sql: string, random?: Random): Packet {
  const text = Buffer.from(sql)
  if (!flag.has(capabilities, flag.CLIENT_QUERY_ATTRIBUTES)) return command(COM.QUERY, text)
  if (!random || random.below(2)) return command(COM.QUERY, Buffer.of(0, 1), text)
  const name = Buffer.concat([Buffer.of(MYSQL_TYPE_VAR_STRING, 0), lenencBytes(Buffer.from('trace'))])
  return command(COM.QUERY, Buffer.of(1, 1, 0, 1), name, lenencBytes(Buffer.from('00-4bf92f35')), text)
}

function command(code: number, ...parts: Buffer[]): Packet {
  return { sequence: 0, payload: Buffer.concat([Buffer.of(code), ...parts]) }
}

/** A command on a prepared statement, whose id comes first. */
function onStatement(statement: number, code: number, ...parts: Buffer[]): Packet {
  return { ...command(code, uint32(0), ...parts), statement }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return bytes
}
