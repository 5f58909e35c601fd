/** mycli, fed through its standard input. The argument is the program. */
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runSteps, Unsupported } from './steps.mjs'

const [program] = process.argv.slice(2)
const home = mkdtempSync(join(tmpdir(), 'compat-mycli-'))
process.on('exit', () => rmSync(home, { recursive: true, force: true }))
writeFileSync(join(home, 'myclirc'), '[main]\nless_chatty = True\n')
// Its parser, of Python, takes minutes for more.
const MOST = 100_000

const version = /\d+\.\d+\.\d+/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))[0]

await runSteps({ version, error: errorOf, connect })

async function connect(target, { compress, multi, localInfile }) {
  if (compress || multi) throw new Unsupported(compress ? 'no compression' : 'sends one statement at a time')
  const args = ['--myclirc', join(home, 'myclirc'), '--no-warn', '--charset', 'utf8mb4']
  args.push('--user', target.user)
  if (target.socket) args.push('--socket', target.socket)
  else args.push('--host', target.host, '--port', String(target.port))
  // Given in a file, since an empty one as a flag is asked for.
  writeFileSync(join(home, 'password'), `${target.password}\n`, { mode: 0o600 })
  args.push('--password-file', join(home, 'password'))
  if (target.ca) args.push('--ssl-mode', 'on', '--ssl-ca', target.cafile, '--ssl-verify-server-cert')
  if (localInfile) args.push('--local-infile', 'true')
  if (target.database) args.push('--database', target.database)

  let session = await start(args)
  return {
    async query(sql) {
      if (sql.length > MOST) throw new Unsupported('its parser takes minutes for so much')
      // An error ends it.
      if (session.isOver()) session = await start(args)
      const rows = await session.ask(sql)
      return rows.length > 0 || /^SELECT/.test(sql) ? [rows] : []
    },
    close: async () => session.close(),
  }
}

async function start(args) {
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, HOME: home, PYTHONUNBUFFERED: '1', PYTHONUTF8: '1', COMPAT: '' },
  })
  child.stdin.on('error', () => {})
  let output = Buffer.alloc(0)
  let errors = ''
  let ended = false
  let wake = () => {}
  child.stdout.on('data', chunk => {
    output = Buffer.concat([output, chunk])
    wake()
  })
  child.stderr.on('data', chunk => {
    errors += chunk
  })
  child.on('close', () => {
    ended = true
    wake()
  })

  // With \G it prints a line for each value, and NULL otherwise than an empty text; as TSV both are nothing.
  async function ask(sql) {
    const mark = `end-${randomBytes(8).toString('hex')}`
    const end = ` | ${mark}\n`
    child.stdin.write(`${sql}\\G;\nSELECT '${mark}'\\G;\n`)
    while (!output.toString('latin1', output.length - end.length).endsWith(end)) {
      if (ended) throw new Error(errors.trim())
      await new Promise(resolve => {
        wake = resolve
      })
    }
    const rows = []
    for (const line of output.toString().split('\n')) {
      if (/^\*+\[ \d+\. row \]\*+$/.test(line)) rows.push([])
      const [, value] = /^.*? +\| (.*)$/.exec(line) ?? []
      if (value !== undefined) rows.at(-1)?.push(value === '<null>' ? 'NULL' : value)
    }
    output = Buffer.alloc(0)
    return rows.slice(0, -1)
  }
  await ask('SELECT 1')
  return { ask, isOver: () => ended, close: () => child.stdin.end() }
}

function errorOf(error) {
  if (error instanceof Unsupported) throw error
  const [, errno, quote, message] = /\((\d+), (["'])(.*)\2\)/s.exec(error.message) ?? []
  return errno ? [Number(errno), '', quote === "'" ? message.replaceAll("\\'", "'") : message] : [0, '', error.message]
}
