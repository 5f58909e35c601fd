/**
 * The checks: the same steps for every client. A client program runs them and reports its results. The expected results
 * are here, once for all languages.
 */
import { createHash } from 'node:crypto'

/** The proxy's own errors in the part of the page that says what each client shows. */
export type Situation =
  | 'port closed'
  | 'DNS unknown'
  | 'no credentials'
  | 'SSO expired'
  | 'wrong certificate name'
  | 'unknown CA'
  | 'wrong local password'
  | 'too many connections'
  | 'shutdown'

/** The way of a client to the server, by the kind of listener of the proxy. Most situations have a proxy that is in it. */
export type Route =
  | 'plain'
  | 'local user'
  | 'local TLS'
  | 'unix socket'
  | 'short keepalive'
  | Exclude<Situation, 'wrong local password'>

/**
 * One step of a client. It reports one value per step:
 * - connect, close, reset, changeUser, sleep: null
 * - query, execute, pipeline: result sets of rows of texts; with `digest`, the number of rows and their MD5 for each
 * - fails, connectFails: [errno, SQLSTATE ('' if the driver has none), message]
 * - identity: the driver's own [thread id, server version], null for unknown values
 * - info: [affected rows, last insert id]
 * - cursor: as query with `digest`, fetched `size` rows at a time from a cursor of the server
 * - interrupted: 'interrupted', whatever the driver's message is
 * - reuse: ['same' or 'another' by thread id, the cells of the query's row]: of a connection that was released to the
 *   driver's pool and then acquired again
 * - timeout: 'timed out', when the driver's own time limit ended the query
 * - program: its output, in short
 * - browse: the first `size` rows that a browser shows of the table `sql`
 * - edit: 'saved', once `text` is typed into the last field of the only row of the table `sql`
 * - binlog: 'seen', once the event of the statement arrives
 */
export interface Step {
  do: string
  /** the connection's name; 'a' by default */
  on?: string
  to?: Route
  user?: string
  password?: string
  /** null for none */
  database?: string | null
  compress?: boolean
  localInfile?: boolean
  multi?: boolean
  /** {threadId}: the driver's thread id of connection a; {big}: 20 MiB of text */
  sql?: string
  params?: Parameter[]
  digest?: boolean
  /** rows */
  size?: number
  /** to type */
  text?: string
  ms?: number
  /** of a program */
  name?: string
  /** the expected report */
  expect?: unknown
  /** true if it varies between runs, so it is not compared with the direct run */
  volatile?: boolean
}

/** `hex` are bytes. */
export type Parameter = string | number | null | { hex: string } | { repeat: string; times: number }

export interface Context {
  isDirect: boolean
  user: string
  password: string
  /** another account, for COM_CHANGE_USER; it may be the same in a direct run */
  otherUser: string
  otherPassword: string
  localUser: string
  localPassword: string
  /** a file of `FILE_ROWS` rows for LOAD DATA LOCAL */
  file: string
  isMariadb: boolean
}

export interface Behaviour {
  id: string
  /** its table on the page */
  group: 'Logging in' | 'Queries' | 'Sessions' | 'In a browser' | 'Programs' | 'Tools' | 'What each client shows'
  title: string
  /** 'plain' by default */
  route?: Route
  /** true if it has no direct equivalent */
  proxiedOnly?: boolean
  steps(context: Context): Step[]
  /** its last step reports an error of the proxy, and the cell says how much of it the client shows */
  shows?: Situation
  /** checks more than the steps' `expect`; returns the problem, if any */
  verify?(values: unknown[]): string | undefined
}

export const DATABASE = 'mysql_iam_proxy_compat'
export const FILE_ROWS = 2_000
/** The runner holds this lock of the server until it has ended the session of a client. */
export const STOPPED_LOCK = 'compat-stopped'
/** The idle behaviour waits for three of these intervals. */
export const SHORT_KEEPALIVE_MS = 1_000

const ROWS = 10_000
export const BIG = { repeat: '0123456789abcdef', times: 20 * 65_536 }

const md5 = (text: string) => createHash('md5').update(text).digest('hex')
// Servers compute SHA-256, because MySQL 9.7 no longer has MD5.
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const range = (count: number) => Array.from({ length: count }, (_, i) => i + 1)
const big = BIG.repeat.repeat(BIG.times)

export const wordOf = (id: number) => sha256(String(id))
const rowsDigest = [
  ROWS,
  md5(
    range(ROWS)
      .map(id => `${id}\t${wordOf(id)}\n`)
      .join(''),
  ),
]
const whoAmI = "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"
const one = (value: unknown) => [[[value]]]

const connect = (more: Partial<Step> = {}): Step => ({ do: 'connect', ...more })
const query = (sql: string, expect?: unknown, more: Partial<Step> = {}): Step => ({
  do: 'query',
  sql,
  ...(expect === undefined ? {} : { expect }),
  ...more,
})
const execute = (sql: string, params: Parameter[], expect?: unknown, more: Partial<Step> = {}): Step => ({
  ...query(sql, expect, more),
  do: 'execute',
  params,
})
const fails = (sql: string, errno: number, sqlState: string): Step => ({ do: 'fails', sql, expect: [errno, sqlState] })

export const BEHAVIOURS: Behaviour[] = [
  {
    id: 'no-password',
    group: 'Logging in',
    title: 'no password',
    steps: ({ user }) => [connect(), query(whoAmI, one(user))],
  },
  {
    id: 'any-password',
    group: 'Logging in',
    title: 'any password',
    proxiedOnly: true,
    steps: ({ user }) => [connect({ password: 'not looked at' }), query(whoAmI, one(user))],
  },
  {
    id: 'local-password',
    group: 'Logging in',
    title: 'right local password',
    route: 'local user',
    proxiedOnly: true,
    steps: ({ user, localUser, localPassword }) => [
      connect({ to: 'local user', user: localUser, password: localPassword }),
      query(whoAmI, one(user)),
    ],
  },
  {
    id: 'wrong-local-password',
    group: 'Logging in',
    title: 'wrong local password',
    route: 'local user',
    steps: ({ isDirect, user, localUser }) => [
      {
        do: 'connectFails',
        to: 'local user',
        user: isDirect ? user : localUser,
        password: 'wrong',
        expect: [1045, '28000'],
        volatile: true,
      },
    ],
  },
  {
    id: 'local-tls',
    group: 'Logging in',
    title: 'local TLS',
    route: 'local TLS',
    proxiedOnly: true,
    steps: ({ user, localUser, localPassword }) => [
      connect({ to: 'local TLS', user: localUser, password: localPassword }),
      query(whoAmI, one(user)),
    ],
  },
  {
    id: 'unix-socket',
    group: 'Logging in',
    title: 'unix socket',
    route: 'unix socket',
    steps: ({ user }) => [connect({ to: 'unix socket' }), query(whoAmI, one(user))],
  },
  {
    id: 'database',
    group: 'Logging in',
    title: 'database at login',
    steps: () => [
      connect(),
      query('SELECT DATABASE()', one(DATABASE)),
      connect({ on: 'b', database: null }),
      query('SELECT DATABASE()', one('NULL'), { on: 'b' }),
    ],
  },
  {
    id: 'unknown-database',
    group: 'Logging in',
    title: 'unknown database at login: the error',
    steps: () => [{ do: 'connectFails', database: 'nowhere', expect: [1049, '42000'] }],
  },
  {
    id: 'identity',
    group: 'Logging in',
    title: 'version, thread id, charset as direct',
    steps: () => [
      connect(),
      { do: 'identity', volatile: true },
      query('SELECT CONNECTION_ID(), VERSION()', undefined, { volatile: true }),
      query(`SELECT VERSION(), @@character_set_client, @@character_set_connection, @@character_set_results,
        @@collation_connection, @@autocommit, @@sql_mode`),
    ],
    verify([, identity, said]) {
      const [threadId, version] = identity as [string | null, string | null]
      const [realId, realVersion] = (said as string[][][])[0]?.[0] ?? []
      if (threadId !== null && threadId !== realId) return `thread id ${threadId} instead of ${realId}`
      // Some drivers convert it to a number, and some remove MariaDB's prefix 5.5.5-.
      const number = /\d+\.\d+\.\d+/.exec(version?.replace(/^5\.5\.5-/, '') ?? '')?.[0]
      if (number !== undefined && !realVersion?.startsWith(number))
        return `version ${version} instead of ${realVersion}`
      return undefined
    },
  },
  {
    id: 'text',
    group: 'Queries',
    title: 'every type, text protocol',
    steps: () => [connect(), query('SELECT * FROM types ORDER BY id'), query('SELECT COUNT(*) FROM types', one('3'))],
    verify: ([, rows]) => verifyTypes(rows),
  },
  {
    id: 'binary',
    group: 'Queries',
    title: 'every type, binary protocol',
    steps: () => [
      connect(),
      execute('SELECT * FROM types WHERE id < ? ORDER BY id', [100]),
      execute('SELECT ? AS a, CAST(? AS SIGNED) AS b, ? AS c', ['x', 42, null], [[['x', '42', 'NULL']]]),
      execute('SELECT ? AS a, HEX(?) AS b', ['🦭é', '🦭é'], [[['🦭é', 'F09FA6ADC3A9']]]),
      execute('SELECT HEX(?)', [{ hex: '00ff27225c0a' }], one('00FF27225C0A')),
      execute('SELECT SHA2(?, 256)', [{ repeat: 'abc', times: 500_000 }], one(sha256('abc'.repeat(500_000)))),
    ],
    verify: ([, rows]) => verifyTypes(rows),
  },
  {
    id: 'unicode',
    group: 'Queries',
    title: 'emoji, names beyond ASCII',
    steps: () => [
      connect(),
      query('SELECT `größe`, HEX(`größe`) FROM `表_テスト` ORDER BY 1', [[['😀 𠜎', 'F09F988020F0A09C8E']]]),
      query("SELECT HEX('🦭')", one('F09FA6AD')),
    ],
  },
  {
    id: 'rows',
    group: 'Queries',
    title: '10,000 rows',
    steps: () => [connect(), query('SELECT id, word FROM numbers ORDER BY id', [rowsDigest], { digest: true })],
  },
  {
    id: 'download',
    group: 'Queries',
    title: '20 MB down',
    steps: () => [
      connect(),
      query(`SELECT REPEAT('${BIG.repeat}', ${BIG.times})`, one(`${big.length} bytes, MD5 ${md5(big)}`)),
      query('SELECT 1', one('1')),
    ],
  },
  {
    id: 'upload',
    group: 'Queries',
    title: '20 MB up',
    steps: () => [connect(), query("SELECT SHA2('{big}', 256)", one(sha256(big))), query('SELECT 1', one('1'))],
  },
  {
    id: 'multi',
    group: 'Queries',
    title: 'multi-statements',
    steps: () => [
      connect({ multi: true }),
      query('SELECT 1; SELECT 2, 3; DO 0; SELECT id FROM numbers WHERE id < 3 ORDER BY id', [
        [['1']],
        [['2', '3']],
        [['1'], ['2']],
      ]),
      query('SELECT 4', one('4')),
    ],
  },
  {
    id: 'procedure',
    group: 'Queries',
    title: 'procedure: two results, OUT parameter',
    steps: () => [
      connect({ multi: true }),
      query('CALL two_results(7, @squared)', [[['7']], [['8', 'next']]]),
      query('SELECT @squared', one('49')),
    ],
  },
  {
    id: 'load-data',
    group: 'Queries',
    title: 'LOAD DATA LOCAL',
    steps: ({ file }) => [
      connect({ localInfile: true }),
      query('DELETE FROM loaded'),
      query(`LOAD DATA LOCAL INFILE '${file}' INTO TABLE loaded`, []),
      query('SELECT COUNT(*), SUM(id), MIN(LENGTH(word)) FROM loaded', [
        [[String(FILE_ROWS), String((FILE_ROWS * (FILE_ROWS + 1)) / 2), '64']],
      ]),
    ],
  },
  {
    id: 'info',
    group: 'Queries',
    title: 'affected rows, last insert id',
    steps: () => [
      connect(),
      query('TRUNCATE TABLE notes'),
      { do: 'info', sql: "INSERT INTO notes (word) VALUES ('a')", expect: ['1', '1'] },
      { do: 'info', sql: "INSERT INTO notes (word) VALUES ('b')", expect: ['1', '2'] },
    ],
  },
  {
    id: 'errors',
    group: 'Queries',
    title: 'error text and SQLSTATE as direct',
    steps: () => [
      connect(),
      fails('SELEC 1', 1064, '42000'),
      fails('SELECT * FROM no_such_table', 1146, '42S02'),
      fails('INSERT INTO types (id) VALUES (1)', 1062, '23000'),
      fails("SIGNAL SQLSTATE '45123' SET MYSQL_ERRNO = 30001, MESSAGE_TEXT = 'grüße 😀'", 30001, '45123'),
      query('SELECT 1', one('1')),
    ],
  },
  {
    id: 'transactions',
    group: 'Sessions',
    title: 'transactions, savepoints',
    steps: () => [
      connect(),
      connect({ on: 'b' }),
      query('DELETE FROM notes'),
      query('START TRANSACTION'),
      query("INSERT INTO notes (id, word) VALUES (1, 'kept')"),
      query('SAVEPOINT s'),
      query("INSERT INTO notes (id, word) VALUES (2, 'taken back')"),
      query('ROLLBACK TO SAVEPOINT s'),
      query("INSERT INTO notes (id, word) VALUES (3, 'kept')"),
      query('SELECT COUNT(*) FROM notes', one('0'), { on: 'b' }),
      query('COMMIT'),
      query('SELECT id FROM notes ORDER BY id', [[['1'], ['3']]], { on: 'b' }),
      query('START TRANSACTION'),
      query('DELETE FROM notes'),
      query('ROLLBACK'),
      query('SELECT COUNT(*) FROM notes', one('2')),
    ],
  },
  {
    id: 'kill',
    group: 'Sessions',
    title: "KILL QUERY by the driver's thread id",
    steps: () => [
      connect(),
      connect({ on: 'b' }),
      // The runner kills the query of this connection through the proxy.
      query('INSERT INTO kills (thread_id) VALUES ({threadId})', undefined, { on: 'b' }),
      { do: 'interrupted', sql: 'SELECT SLEEP(15)', expect: 'interrupted' },
      query('SELECT 1', one('1')),
    ],
  },
  {
    id: 'timeout',
    group: 'Sessions',
    title: "the driver's query timeout",
    steps: () => [
      connect(),
      { do: 'timeout', sql: 'SELECT SLEEP(15)', ms: 1_000, expect: 'timed out' },
      connect({ on: 'b' }),
      query('SELECT 1', one('1'), { on: 'b' }),
    ],
  },
  {
    id: 'reset',
    group: 'Sessions',
    title: 'COM_RESET_CONNECTION',
    steps: () => [
      connect(),
      query('SET @compat = 1'),
      query('CREATE TEMPORARY TABLE passing (id INT)'),
      { do: 'reset' },
      query('SELECT @compat', one('NULL')),
      fails('SELECT * FROM passing', 1146, '42S02'),
    ],
  },
  {
    id: 'change-user',
    group: 'Sessions',
    title: 'COM_CHANGE_USER',
    steps: ({ otherUser, otherPassword }) => [
      connect(),
      query('SET @compat = 1'),
      { do: 'changeUser', user: otherUser, password: otherPassword, database: 'information_schema' },
      query(`SELECT @compat, SUBSTRING_INDEX(CURRENT_USER(), '@', 1), LOWER(DATABASE())`, [
        [['NULL', otherUser, 'information_schema']],
      ]),
      query(`SELECT COUNT(*) FROM ${DATABASE}.numbers`, one(String(ROWS))),
    ],
  },
  {
    id: 'pool',
    group: 'Sessions',
    title: "again from the driver's pool, reset",
    steps: () => [
      connect(),
      query('SET @compat = 1'),
      { do: 'reuse', sql: 'SELECT @compat', expect: ['same', 'NULL'] },
      query('SELECT 1', one('1')),
    ],
  },
  {
    id: 'compression',
    group: 'Sessions',
    title: 'compression',
    steps: () => [
      connect({ compress: true }),
      query("SHOW SESSION STATUS LIKE 'Compression'", [[['Compression', 'ON']]]),
      query('SELECT id, word FROM numbers ORDER BY id', [rowsDigest], { digest: true }),
      query("SELECT SHA2('{big}', 256)", one(sha256(big))),
    ],
  },
  {
    id: 'cursor',
    group: 'Sessions',
    title: 'cursor of a prepared statement',
    steps: () => [
      connect(),
      { do: 'cursor', sql: 'SELECT id, word FROM numbers ORDER BY id', size: 700, expect: [rowsDigest] },
      query('SELECT 1', one('1')),
    ],
  },
  {
    id: 'pipeline',
    group: 'Sessions',
    title: 'pipelining: many queries at once',
    steps: () => [
      connect(),
      {
        do: 'pipeline',
        sql: 'SELECT {n}',
        size: 200,
        expect: range(200).map(n => [[String(n)]]),
      },
    ],
  },
  {
    id: 'idle',
    group: 'Sessions',
    title: 'idle for longer than the keepalive',
    route: 'short keepalive',
    proxiedOnly: true,
    steps: () => [
      connect({ to: 'short keepalive' }),
      query('SET @compat = CONNECTION_ID()'),
      { do: 'sleep', ms: 3 * SHORT_KEEPALIVE_MS },
      query('SELECT @compat = CONNECTION_ID()', one('1')),
    ],
  },
  {
    id: 'binlog',
    group: 'Sessions',
    title: 'binlog stream',
    steps: () => [{ do: 'binlog', sql: "INSERT INTO streamed (word) VALUES ('{marker}')", expect: 'seen' }],
  },
  {
    id: 'browse',
    group: 'In a browser',
    title: 'browse a table',
    steps: () => [
      connect(),
      { do: 'browse', sql: 'numbers', size: 20, expect: range(20).map(id => [String(id), wordOf(id)]) },
    ],
  },
  {
    id: 'edit',
    group: 'In a browser',
    title: 'edit a row',
    steps: () => [
      connect(),
      query('TRUNCATE TABLE notes'),
      query("INSERT INTO notes (word) VALUES ('before')"),
      { do: 'edit', sql: 'notes', text: "after 😀 'é'", expect: 'saved' },
      query('SELECT id, word FROM notes', [[['1', "after 😀 'é'"]]]),
    ],
  },
  ...programs({ dump: undefined, import: `Records: ${FILE_ROWS}`, check: undefined, show: undefined }),
  ...programs({ admin: 'mysqld is alive', slap: 'Average number of queries per client: 20', binlog: undefined }),
  ...programs({ task: undefined }, 'Tools'),
  showsAtLogin('port closed'),
  showsAtLogin('DNS unknown'),
  showsAtLogin('no credentials'),
  showsAtLogin('SSO expired'),
  showsAtLogin('wrong certificate name'),
  showsAtLogin('unknown CA'),
  {
    id: 'shows-wrong-local-password',
    group: 'What each client shows',
    title: 'wrong password of a local user',
    shows: 'wrong local password',
    route: 'local user',
    steps: ({ isDirect, user, localUser }) => [
      { do: 'connectFails', to: 'local user', user: isDirect ? user : localUser, password: 'wrong' },
    ],
  },
  showsAtLogin('too many connections'),
  {
    id: 'shows-shutdown',
    group: 'What each client shows',
    title: 'shutdown, at the next query',
    shows: 'shutdown',
    route: 'shutdown',
    steps: ({ isDirect }) => [
      connect({ to: 'shutdown' }),
      // When connection b waits for the lock, the runner ends the session and then releases the lock.
      query(`INSERT INTO stops (thread_id, is_direct) VALUES (CONNECTION_ID(), ${isDirect ? 1 : 0})`),
      connect({ on: 'b' }),
      query(`SELECT GET_LOCK('${STOPPED_LOCK}', 50)`, undefined, { on: 'b' }),
      { do: 'fails', sql: 'SELECT 1' },
    ],
  },
]

/** The client gets an ERR_Packet as its first packet, or at the end of the login. */
function showsAtLogin(situation: Exclude<Situation, 'wrong local password'>): Behaviour {
  return {
    id: `shows-${situation.replaceAll(' ', '-').toLowerCase()}`,
    group: 'What each client shows',
    title: situation,
    shows: situation,
    route: situation,
    steps: () => [{ do: 'connectFails', to: situation }],
  }
}

/** By name, with the expected output. Without that, it is only compared with the direct run. */
function programs(said: Record<string, string | undefined>, group: Behaviour['group'] = 'Programs'): Behaviour[] {
  return Object.entries(said).map(([name, expect]) => ({
    id: `program-${name}`,
    group,
    title: name === 'task' ? 'its task' : name,
    steps: () => [{ do: 'program', name, ...(expect === undefined ? {} : { expect }) }],
    verify: ([output]) => (String(output).length > 10 ? undefined : 'it says nothing'),
  }))
}

/** Values that every driver returns as the same text. */
function verifyTypes(value: unknown): string | undefined {
  const rows = (value as string[][][])[0] ?? []
  if (rows.length !== 3) return `${rows.length} rows instead of 3`
  if (rows.some(row => row.length !== TYPES.length + 1)) return 'columns are missing'
  const text = rows.flat()
  const missing = ['9223372036854775807', '-9223372036854775808', 'grüße 😀', 'b', 'NULL'].find(
    part => !text.includes(part),
  )
  return missing && `no ${missing} among the values`
}

/** The column type, and its value in each row of the table `types`. */
export const TYPES: [string, string, string][] = [
  ['TINYINT', '127', '-128'],
  ['TINYINT UNSIGNED', '255', '0'],
  ['SMALLINT', '32767', '-32768'],
  ['MEDIUMINT', '8388607', '-8388608'],
  ['INT', '2147483647', '-2147483648'],
  ['INT UNSIGNED', '4294967295', '0'],
  ['BIGINT', '9223372036854775807', '-9223372036854775808'],
  ['BIGINT UNSIGNED', '18446744073709551615', '0'],
  ['DECIMAL(65,30)', '12345678901234567890123456789012345.123456789012345678901234567891', '-0.5'],
  ['FLOAT', '1.5', '-0.25'],
  ['DOUBLE', '1.7976931348623157e308', '-2.5e-10'],
  ['BIT(1)', "b'1'", "b'0'"],
  ['BIT(64)', "b'1000000000000000000000000000000000000000000000000000000000000001'", "b'0'"],
  ['DATE', "'9999-12-31'", "'1000-01-01'"],
  ['TIME', "'23:59:59'", "'00:00:00'"],
  ['TIME(6)', "'12:34:56.789012'", "'00:00:00.000001'"],
  ['DATETIME', "'9999-12-31 23:59:59'", "'1000-01-01 00:00:00'"],
  ['DATETIME(6)', "'2024-02-29 12:34:56.789012'", "'2001-01-01 00:00:00.000001'"],
  ['TIMESTAMP(6) NULL', "'2030-01-19 03:14:07.999999'", "'1971-01-01 00:00:01'"],
  ['YEAR', '2155', '1901'],
  ['CHAR(10)', "'grüße 😀'", "''"],
  ['VARCHAR(300)', "REPEAT('é', 251)", "''"],
  ['BINARY(4)', "x'00ff0001'", "x'00000000'"],
  ['VARBINARY(300)', "x'ff00fe'", "x''"],
  ['TINYBLOB', "x'00'", "x''"],
  ['BLOB', "REPEAT('x', 255)", "x''"],
  ['MEDIUMBLOB', "REPEAT('y', 65536)", "x''"],
  ['TINYTEXT', "'tiny'", "''"],
  ['TEXT', "REPEAT('z', 252)", "''"],
  ['LONGTEXT', "REPEAT('😀', 20000)", "''"],
  ["ENUM('a','b')", "'b'", "'a'"],
  ["SET('p','q','r')", "'p,r'", "''"],
  ['JSON', `'{"a": [1, 2, null]}'`, "'[]'"],
  ['POINT', "ST_GeomFromText('POINT(1 -2)')", "ST_GeomFromText('POINT(0 0)')"],
]

/** Creates the database again. The account needs all privileges. */
export function setup(): string {
  const columns = TYPES.map(([type], i) => `c${i + 1} ${type}`).join(',\n  ')
  const row = (id: number, values: string[]) => `(${[id, ...values].join(', ')})`
  return `SET SESSION sql_mode = 'STRICT_ALL_TABLES', SESSION time_zone = '+00:00';
DROP DATABASE IF EXISTS ${DATABASE};
CREATE DATABASE ${DATABASE} CHARACTER SET utf8mb4;
USE ${DATABASE};
CREATE TABLE types (
  id INT PRIMARY KEY,
  ${columns}
);
INSERT INTO types VALUES ${row(
    1,
    TYPES.map(([, high]) => high),
  )}, ${row(
    2,
    TYPES.map(([, , low]) => low),
  )},
  ${row(
    3,
    TYPES.map(() => 'NULL'),
  )};
CREATE TABLE numbers (id INT PRIMARY KEY, word VARCHAR(64) NOT NULL);
INSERT INTO numbers VALUES ${range(ROWS)
    .map(id => `(${id},'${wordOf(id)}')`)
    .join(',')};
CREATE TABLE loaded (id INT PRIMARY KEY, word VARCHAR(64));
CREATE TABLE notes (id INT AUTO_INCREMENT PRIMARY KEY, word VARCHAR(100));
CREATE TABLE kills (thread_id BIGINT);
CREATE TABLE stops (thread_id BIGINT, is_direct INT);
CREATE TABLE streamed (id INT AUTO_INCREMENT PRIMARY KEY, word VARCHAR(100));
CREATE TABLE \`表_テスト\` (\`größe\` VARCHAR(100) PRIMARY KEY);
INSERT INTO \`表_テスト\` VALUES ('😀 𠜎');
CREATE PROCEDURE two_results(IN number INT, OUT squared INT)
BEGIN
  SELECT number;
  SELECT number + 1, 'next';
  SET squared = number * number;
END;`
}
