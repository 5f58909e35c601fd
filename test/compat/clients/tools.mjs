/** Tools that do one task on a server: dump, archive, change a table, migrate, check. The argument is the tool's name. */
import { execFile, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import mysql from 'mysql2/promise'
import { runSteps, Unsupported } from './steps.mjs'

const [tool] = process.argv.slice(2)
/** By program: its task, and the report of a task that succeeds. */
const TASKS = {
  mydumper: [mydumper, /^\d+ files, MD5 \w+; loaded 10000 rows, sum 50005000$/],
  'pt-table-checksum': [checksum, /^errors 0, differences 0, rows 10000, chunks \d+$/],
  'pt-archiver': [archive, /^kept 9000 rows, archived ids of the sum 500500$/],
  'pt-online-schema-change': [alter, /^Successfully altered, 10000 rows, sum of the new column 70000$/],
  'prometheus-mysqld-exporter': [exportMetrics, /^up, variables, status$/],
  haproxy: [checkHealth, /^UP L7OK; with user UP L7OK$/],
  migrate: [migrate, /^up: .*"word":"😀","extra":null.* down: .*"word":"é"\}\]$/],
  goose: [goose, /^up: .*"word":"😀","extra":null.* down: .*"word":"é"\}\]$/],
  flyway: [flyway, /^executed 2, then 0: .*"word":"😀","extra":null/],
  liquibase: [liquibase, /^up: .*"word":"😀","extra":null.* down: .*"word":"é"\}\]$/],
}
const [task, success] = TASKS[tool]
const FIRST = 'CREATE TABLE tool_from (id INT PRIMARY KEY, word VARCHAR(64)) CHARACTER SET utf8mb4'
const SECOND = "INSERT INTO tool_from VALUES (1, '😀'), (2, 'é')"
const THIRD = 'ALTER TABLE tool_from ADD COLUMN extra INT'
let isOnlyLogin = false
const directory = await mkdtemp(join(tmpdir(), 'compat-tool-'))
process.on('exit', () => execFileSync('rm', ['-rf', directory]))

await runSteps({
  version: process.env.COMPAT_VERSION,
  error: ({ message }) => {
    const [, errno, sqlState, text] = /\b(\d{4,5}) \((\w{5})\): (.*)/s.exec(message) ?? []
    return errno ? [Number(errno), sqlState, text.trim()] : [0, '', message]
  },
  /** Only for what the tool shows of the proxy's errors: it runs, and its login fails. */
  async connect(target, step) {
    if (step.do !== 'connectFails' || step.expect) throw new Unsupported('a program of one task')
    isOnlyLogin = true
    await task(target)
    return {}
  },
  async program(name, target) {
    if (name !== 'task') throw new Unsupported(`no ${name}`)
    isOnlyLogin = false
    const report = await task(target)
    if (!success.test(report)) throw new Error(report)
    return report
  },
})

async function mydumper(target) {
  const login = ['--host', target.host, '--port', String(target.port), '--user', target.user]
  if (target.password) login.push('--password', target.password)
  const dump = join(directory, 'dump')
  await rm(dump, { recursive: true, force: true })
  await mkdir(dump)
  // Its option parser takes only ASCII, so the third table is one whose name begins with another character.
  const tables = `^${target.database}\\.(types|numbers|[^ -~].*)$`
  await start('mydumper', [...login, '--database', target.database, '--regex', tables, '--outputdir', dump])
  const files = (await readdir(dump)).filter(name => name !== 'metadata').sort()
  const texts = await Promise.all(files.map(name => readFile(join(dump, name))))
  const loaded = `${target.database}_loaded`
  return await withTables(target, async query => {
    await query(`CREATE DATABASE ${loaded} CHARACTER SET utf8mb4`)
    try {
      await start('myloader', [...login, '--database', loaded, '--directory', dump])
      const [[row]] = await query(`SELECT COUNT(*) AS n, SUM(id) AS sum FROM ${loaded}.numbers`)
      return `${files.length} files, ${digest(texts)}; loaded ${row.n} rows, sum ${row.sum}`
    } finally {
      await query(`DROP DATABASE ${loaded}`)
    }
  })
}

async function checksum(target) {
  // Chunks of a fixed size: by default they follow the server's speed.
  const output = await start('pt-table-checksum', [
    dsn(target),
    '--no-version-check',
    '--recursion-method=none',
    '--no-check-binlog-format',
    `--databases=${target.database}`,
    '--tables=numbers,notes',
    `--replicate=${target.database}.checksums`,
    '--chunk-time=0',
    '--chunk-size=1000',
  ])
  // Without its first column, the time of day, and the duration.
  const lines = output.split('\n').filter(line => line.includes(`${target.database}.numbers`))
  const [, errors, differences, rows, , chunks] = lines[0]?.trim().split(/\s+/) ?? []
  return `errors ${errors}, differences ${differences}, rows ${rows}, chunks ${chunks}`
}

async function archive(target) {
  return await withTables(target, async query => {
    await query('CREATE TABLE tool_from (id INT PRIMARY KEY, word VARCHAR(64)) AS SELECT id, word FROM numbers')
    await query('CREATE TABLE tool_to LIKE tool_from')
    await start('pt-archiver', [
      `--source=${dsn(target)},D=${target.database},t=tool_from`,
      `--dest=${dsn(target)},D=${target.database},t=tool_to`,
      '--no-version-check',
      '--where=id <= 1000',
      '--limit=100',
      '--commit-each',
      '--charset=utf8mb4',
    ])
    const [[row]] = await query('SELECT (SELECT COUNT(*) FROM tool_from) AS kept, (SELECT SUM(id) FROM tool_to) AS sum')
    return `kept ${row.kept} rows, archived ids of the sum ${row.sum}`
  })
}

async function alter(target) {
  return await withTables(target, async query => {
    await query('CREATE TABLE tool_from (id INT PRIMARY KEY, word VARCHAR(64)) AS SELECT id, word FROM numbers')
    const output = await start('pt-online-schema-change', [
      `${dsn(target)},D=${target.database},t=tool_from`,
      '--no-version-check',
      '--recursion-method=none',
      '--alter=ADD COLUMN extra INT NOT NULL DEFAULT 7',
      '--execute',
    ])
    const [[row]] = await query('SELECT COUNT(*) AS n, SUM(extra) AS sum FROM tool_from')
    return `${/Successfully altered/.exec(output)?.[0]}, ${row.n} rows, sum of the new column ${row.sum}`
  })
}

async function exportMetrics(target) {
  const port = await freePort()
  const env = { DATA_SOURCE_NAME: `${target.user}:${target.password}@(${target.host}:${target.port})/` }
  return await withDaemon(tool, [`--web.listen-address=127.0.0.1:${port}`], env, async output => {
    const text = await until(async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text())
    const of = name => new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]
    if (of('mysql_up') !== '1' || of('mysql_exporter_last_scrape_error') !== '0') {
      const said = output().split('\n')
      const line = said.find(line => /level=error/.test(line)) ?? said.join(' ')
      throw new Error(/err="((?:[^"\\]|\\.)*)"/.exec(line)?.[1].replaceAll('\\"', '"') ?? line)
    }
    const hasAll = of('mysql_global_variables_port') && Number(of('mysql_global_status_uptime')) > 0
    return hasAll ? 'up, variables, status' : text
  })
}

/** HAProxy logs in without a password. Directly, that needs an account without one. */
async function checkHealth(target) {
  const { direct } = JSON.parse(process.env.COMPAT)
  const user = direct && !isOnlyLogin ? 'compat_check' : target.user
  const checkBoth = async () => {
    const one = await checkOnce(target, 'option mysql-check')
    const other = await checkOnce(target, `option mysql-check user ${user}`)
    return `${one}; with user ${other}`
  }
  if (user !== 'compat_check') return await checkBoth()
  return await withTables(target, async query => {
    await query(`CREATE USER IF NOT EXISTS ${user}`)
    try {
      return await checkBoth()
    } finally {
      await query(`DROP USER ${user}`)
    }
  })
}

async function checkOnce(target, option) {
  const port = await freePort()
  const file = join(directory, 'haproxy.cfg')
  await writeFile(
    file,
    `global
  stats socket ipv4@127.0.0.1:${port} level operator
defaults
  mode tcp
  timeout connect 5s
  timeout client 5s
  timeout server 5s
backend databases
  ${option}
  server one ${target.host}:${target.port} check inter 1s rise 1 fall 1
`,
  )
  return await withDaemon('haproxy', ['-db', '-f', file], {}, async () => {
    const row = await until(async () => {
      const [head, ...rows] = (await ask(port, 'show stat\n')).trim().split('\n')
      const names = cellsOf(head.replace('# ', ''))
      const values = cellsOf(rows.find(line => line.startsWith('databases,one,')))
      const found = Object.fromEntries(names.map((name, i) => [name, values[i]]))
      if (/INI|^\*/.test(found.check_status) || !found.check_status) throw new Error('not checked yet')
      return found
    })
    if (row.check_status !== 'L7OK') throw new Error(`${row.check_status} ${row.last_chk}`)
    return `${row.status} ${row.check_status}`
  })
}

function cellsOf(csv) {
  const cells = csv.match(/("([^"]|"")*"|[^,]*)(,|$)/g)
  return cells.map(cell =>
    cell
      .replace(/,$/, '')
      .replace(/^"(.*)"$/, '$1')
      .replaceAll('""', '"'),
  )
}

async function migrate(target) {
  await writeMigrations({
    '1_first.up.sql': `${FIRST};`,
    '1_first.down.sql': 'DROP TABLE tool_from;',
    '2_second.up.sql': `${SECOND}; ${THIRD};`,
    '2_second.down.sql': 'ALTER TABLE tool_from DROP COLUMN extra;',
  })
  const login = `${encodeURIComponent(target.user)}:${encodeURIComponent(target.password)}`
  const url = `mysql://${login}@tcp(${target.host}:${target.port})/${target.database}?multiStatements=true`
  return await upAndDown(target, action => [
    process.env.COMPAT_TOOL,
    ['-path', join(directory, 'migrations'), '-database', url, action, ...(action === 'down' ? ['1'] : [])],
  ])
}

async function goose(target) {
  await writeMigrations({
    '001_first.sql': `-- +goose Up\n${FIRST};\n-- +goose Down\nDROP TABLE tool_from;\n`,
    '002_second.sql': `-- +goose Up\n${SECOND};\n${THIRD};\n-- +goose Down\nALTER TABLE tool_from DROP COLUMN extra;\n`,
  })
  const { user, password, host, port, database } = target
  const name = `${user}:${password}@tcp(${host}:${port})/${database}?parseTime=true`
  return await upAndDown(target, action => [
    process.env.COMPAT_TOOL,
    ['-dir', join(directory, 'migrations'), 'mysql', name, action],
  ])
}

async function flyway(target) {
  await writeMigrations({ 'V1__first.sql': `${FIRST};`, 'V2__second.sql': `${SECOND}; ${THIRD};` })
  const args = [...JSON.parse(process.env.COMPAT_TOOL), jdbcUrl(target), target.user, target.password]
  return await withTables(target, async query => {
    const counts = []
    for (let i = 0; i < 2; i++) {
      const output = await start('java', [...args, join(directory, 'migrations')])
      counts.push(/migrations executed: (\d+)/.exec(output)?.[1])
    }
    const [rows] = await query('SELECT * FROM tool_from ORDER BY id')
    return `executed ${counts[0]}, then ${counts[1]}: ${JSON.stringify(rows)}`
  })
}

async function liquibase(target) {
  await writeMigrations({
    'changelog.sql': `--liquibase formatted sql
--changeset compat:first
${FIRST};
--rollback DROP TABLE tool_from;
--changeset compat:second
${SECOND};
--changeset compat:third
${THIRD};
--rollback ALTER TABLE tool_from DROP COLUMN extra;
`,
  })
  const options = [
    '--log-level=off',
    '--show-banner=false',
    `--search-path=${join(directory, 'migrations')}`,
    `--url=${jdbcUrl(target)}`,
    `--username=${target.user}`,
    `--password=${target.password}`,
    '--changelog-file=changelog.sql',
  ]
  const actions = { up: ['update'], down: ['rollback-count', '--count=1'] }
  return await upAndDown(target, action => [
    'java',
    [...JSON.parse(process.env.COMPAT_TOOL), ...options.slice(0, 3), ...actions[action], ...options.slice(3)],
  ])
}

/** Without TLS, a server with caching_sha2_password wants a key; the proxy does not. */
function jdbcUrl({ host, port, database }) {
  const { direct } = JSON.parse(process.env.COMPAT)
  return `jdbc:mysql://${host}:${port}/${database}${direct ? '?allowPublicKeyRetrieval=true' : ''}`
}

/** Up, then one down, with what is in the table after each. */
async function upAndDown(target, commandOf) {
  return await withTables(target, async query => {
    const seen = []
    for (const action of ['up', 'down']) {
      await start(...commandOf(action))
      const [rows] = await query('SELECT * FROM tool_from ORDER BY id')
      seen.push(`${action}: ${JSON.stringify(rows)}`)
    }
    return seen.join(' ')
  })
}

async function writeMigrations(files) {
  const path = join(directory, 'migrations')
  await rm(path, { recursive: true, force: true })
  await mkdir(path)
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text)
}

/** Runs `body` with a function that queries; before and after it, the tables of the tools do not exist. */
async function withTables({ host, port, user, password, database }, body) {
  if (isOnlyLogin) return await body(async () => [[{}]])
  const connection = await mysql.createConnection({ host, port, user, password, database, charset: 'utf8mb4' })
  const query = sql => connection.query(sql)
  const drop = async () => {
    await query('DROP TABLE IF EXISTS tool_from, tool_to, checksums, schema_migrations, goose_db_version')
    await query('DROP TABLE IF EXISTS flyway_schema_history, DATABASECHANGELOG, DATABASECHANGELOGLOCK')
  }
  try {
    await drop()
    const result = await body(query)
    await drop()
    return result
  } finally {
    connection.destroy()
  }
}

/** Percona Toolkit's way to name a server. */
function dsn({ host, port, user, password }) {
  const login = password ? `,p=${password.replaceAll(',', '\\,')}` : ''
  return `h=${host},P=${port},u=${user}${login}`
}

async function start(program, args) {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, {
      maxBuffer: 1 << 26,
      timeout: 50_000,
      cwd: directory,
    })
    return `${stdout}${stderr}`
  } catch (error) {
    throw new Error(`${error.stderr ?? ''} ${error.stdout ?? ''}`.trim() || error.message)
  }
}

async function withDaemon(program, args, env, body) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  const exit = once(child, 'exit')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', data => {
      output += data
    })
  }
  try {
    return await body(() => output)
  } finally {
    child.kill('SIGKILL')
    await exit
  }
}

/** Retries `attempt` until it does not throw. The runner has the time limit. */
async function until(attempt) {
  for (;;) {
    try {
      return await attempt()
    } catch {
      await sleep(100)
    }
  }
}

async function ask(port, text) {
  const socket = connect(port, '127.0.0.1')
  socket.end(text)
  let answer = ''
  for await (const data of socket) answer += data
  return answer
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

function digest(texts) {
  const hash = createHash('md5')
  for (const text of texts) hash.update(text)
  return `MD5 ${hash.digest('hex')}`
}
