/** The programs mysql and mariadb, fed like a terminal would. The arguments are how to start the program. */
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { runSteps, Unsupported } from './steps.mjs'

const [program, ...before] = process.argv.slice(2)
const version = execFileSync(program, [...before, '--version'], { encoding: 'utf8' })
const number = /\d+\.\d+\.\d+/.exec(version.replace(/Ver \d+\.\d+ /, ''))[0]
const isMariadb = /mariadb/i.test(version)

await runSteps({ version: number, error: errorOf, connect })

async function connect(target, { compress, localInfile }) {
  const args = ['--no-defaults', '--user', target.user, `--password=${target.password}`]
  if (target.socket) args.push('--protocol=socket', '--socket', target.socket)
  else args.push('--protocol=tcp', '--host', target.host, '--port', String(target.port))
  if (target.ca)
    args.push('--ssl-ca', target.cafile, isMariadb ? '--ssl-verify-server-cert' : '--ssl-mode=VERIFY_IDENTITY')
  if (compress) args.push('--compress')
  if (localInfile) args.push('--local-infile')
  args.push('--batch', '--skip-column-names', '--force', '--unbuffered', '--default-character-set=utf8mb4')
  args.push('--max-allowed-packet=256M', '--skip-reconnect', '--raw')
  if (!isMariadb && Number.parseInt(number, 10) >= 9) args.push('--commands')
  if (target.database) args.push(target.database)

  // Errors into the same pipe as results, for their order.
  const child = spawn('sh', ['-c', 'exec "$@" 2>&1', 'sh', program, ...before, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  child.stdin.on('error', () => {})
  let chunks = []
  let ended = false
  let wake = () => {}
  child.stdout.on('data', chunk => {
    chunks.push(chunk)
    wake()
  })
  child.stdout.on('end', () => {
    ended = true
    wake()
  })

  /** What it prints for `sql`; the output is the same for null and 'NULL'. */
  async function ask(sql) {
    const mark = `end-${randomBytes(8).toString('hex')}\n`
    child.stdin.write(`${sql}\n;\nSELECT '${mark.trim()}';\n`)
    // Nothing more is asked before the mark has come, so it comes last; all is put together only then.
    while (Buffer.concat(chunks.slice(-mark.length)).subarray(-mark.length).toString('latin1') !== mark) {
      const text = Buffer.concat(chunks.slice(0, 20)).toString()
      // Without a connection, --force goes on to the mark, which fails too.
      if (ended || /^ERROR .*\n(.*\n)*ERROR /m.test(text)) throw new Error(text.trim())
      await new Promise(resolve => {
        wake = resolve
      })
    }
    const text = Buffer.concat(chunks).subarray(0, -mark.length)
    chunks = []
    return text
  }

  async function query(sql) {
    const text = await ask(sql)
    const error = /^ERROR \d+ .*$/m.exec(text.subarray(0, 10_000).toString())
    if (error) throw new Error(error[0])
    const lines = text.toString('latin1').split('\n').slice(0, -1)
    return lines.map(line => line.split('\t').map(cell => Buffer.from(cell, 'latin1')))
  }

  await query('DO 0')
  return {
    // Result sets run into one another: taken apart by what is asked.
    query: async sql => apart(sql, await query(sql)),
    ...(isMariadb ? {} : { reset: () => query('DO 0; \\x DO 0') }),
    close: async () => child.stdin.end('\\q\n'),
  }
}

/** Without column names nothing is printed between two result sets: one for each row where several were asked for. */
function apart(sql, rows) {
  if (/^CALL/.test(sql)) return rows.map(row => [row])
  if (/^SELECT 1; SELECT 2/.test(sql)) return [[rows[0]], [rows[1]], rows.slice(2)]
  return rows.length > 0 || /^SELECT/.test(sql) ? [rows] : []
}

function errorOf(error) {
  if (error instanceof Unsupported) throw error
  const [, errno, sqlState, message] = /ERROR (\d+) (?:\((\w+)\))?(?: at line \d+)?: (.*)/s.exec(error.message) ?? []
  return errno ? [Number(errno), sqlState ?? '', message.trim()] : [0, '', error.message]
}
