/** The programs around mysql or mariadb: dump, import and the rest. The arguments are how to start mysql or mariadb. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { runSteps, Unsupported } from './steps.mjs'

const before = process.argv.slice(2)
const client = before.pop()
const isMariadb = client.endsWith('mariadb')

const version = (await start(client, ['--version'])).replace(/Ver \d+\.\d+ /, '')

await runSteps({
  version: /\d+\.\d+\.\d+/.exec(version)[0],
  error: ({ message }) => {
    const [, errno, sqlState, text] = /(\d{4,5})(?: \((\w+)\))?: (.*)/s.exec(message) ?? []
    return errno ? [Number(errno), sqlState ?? '', text.trim()] : [0, '', message]
  },
  connect() {
    throw new Unsupported('a program of one task')
  },
  async program(name, target, file) {
    const { database } = target
    switch (name) {
      case 'dump': {
        const args = ['--single-transaction', '--routines', '--hex-blob', '--skip-dump-date', '--no-tablespaces']
        if (!isMariadb) args.push('--set-gtid-purged=OFF', '--column-statistics=0')
        const text = await run(target, isMariadb ? 'mariadb-dump' : 'mysqldump', [
          ...args,
          '--default-character-set=utf8mb4',
          database,
          'types',
          'numbers',
          '表_テスト',
        ])
        return digest(text.replace(/^-- .*$/gm, ''))
      }
      case 'import': {
        const output = await run(target, isMariadb ? 'mariadb-import' : 'mysqlimport', [
          '--local',
          '--delete',
          database,
          file,
        ])
        return /Records: \d+/.exec(output)?.[0] ?? output
      }
      case 'admin':
        return (await run(target, isMariadb ? 'mariadb-admin' : 'mysqladmin', ['ping'])).trim()
      case 'check':
        return (await run(target, isMariadb ? 'mariadb-check' : 'mysqlcheck', [database])).trim()
      case 'show':
        return (await run(target, isMariadb ? 'mariadb-show' : 'mysqlshow', [database, 'types'])).trim()
      case 'slap': {
        const output = await run(target, isMariadb ? 'mariadb-slap' : 'mysqlslap', [
          '--concurrency=20',
          '--iterations=2',
          '--number-of-queries=400',
          `--create-schema=${database}`,
          '--query=SELECT COUNT(*) FROM numbers',
          '--no-drop',
        ])
        return /Average number of queries per client: \d+/.exec(output)?.[0] ?? output
      }
      case 'binlog': {
        // Debian gives MariaDB's program this name too. Its version is 3.5, not that of the server.
        if (!isMariadb && /Ver 3\./.test(await start('mysqlbinlog', ['--version']))) {
          throw new Unsupported('no mysqlbinlog of MySQL here')
        }
        const [first] = (await run(target, client, ['--skip-column-names', '--execute=SHOW BINARY LOGS'])).split('\t')
        const text = await run(target, isMariadb ? 'mariadb-binlog' : 'mysqlbinlog', [
          '--read-from-remote-server',
          '--verbose',
          '--stop-position=30000',
          first,
        ])
        return digest(text)
      }
    }
    throw new Unsupported(`no ${name}`)
  },
})

function run({ host, port, user, password }, program, args) {
  const login = ['--no-defaults', '--protocol=tcp', '--host', host, '--port', String(port), '--user', user]
  return start(program, [...login, `--password=${password}`, ...args])
}

async function start(program, args) {
  const [command, ...more] = [...before, program]
  try {
    return (await promisify(execFile)(command, [...more, ...args], { maxBuffer: 1 << 30, timeout: 50_000 })).stdout
  } catch (error) {
    const noise = /Using a password on the command line/
    const said = String(error.stderr)
      .split('\n')
      .filter(line => !noise.test(line))
    throw new Error(said.join(' ').trim() || error.message)
  }
}

function digest(text) {
  return `${text.length} characters, MD5 ${createHash('md5').update(text).digest('hex')}`
}
