/** The lines to copy at the start, on a terminal and without one. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Test, test } from 'tap'
import { ensureProgram } from '../support/packages.ts'
import { PROGRAM } from '../support/program.ts'

const HOST = 'orders.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const LINES =
  / {2}host 127\.0\.0\.1, port (\d+), user app, password none or any, SSL off\r?\n {2}mysql -h 127\.0\.0\.1 -P \1 -u app/

/** All that the program printed until `end`, or until it stopped. */
async function output(
  t: Test,
  [file, ...args]: readonly string[],
  end: RegExp,
  stop: (child: ChildProcess) => void,
): Promise<string> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP)/.test(name))
  const env = { ...Object.fromEntries(inherited), AWS_EC2_METADATA_DISABLED: 'true' }
  const child = spawn(file!, args, { stdio: ['pipe', 'pipe', 'inherit'], env })
  t.teardown(() => child.kill('SIGKILL'))
  let [text, isStopped] = ['', false]
  child.stdout.on('data', chunk => {
    text += chunk
    if (isStopped || !end.test(text)) return
    isStopped = true // what it prints meanwhile must not stop it twice
    stop(child)
  })
  await once(child, 'close')
  return text
}

const COMMAND = [...PROGRAM, '--rds-endpoint', HOST, '--user', 'app', '--listen', '127.0.0.1:0']
const FOR_PEOPLE = /jdbc:mysql:[^\n]*\n/
const CTRL_C = '\x03'
const LISTENING = /"msg":"listening on .*\n/

test('a terminal shows the lines to copy, with the real port', async t => {
  const script = await ensureProgram('script', 'bsdutils')
  const command = COMMAND.map(word => `'${word}'`).join(' ')
  const text = await output(t, [script, '-qefc', command, '/dev/null'], FOR_PEOPLE, child => child.stdin?.write(CTRL_C))
  t.match(text, LINES)
  t.ok(text.indexOf('listening on') < text.indexOf('jdbc:mysql'), 'after the line of the log')
})

test('a log has no lines to copy', async t => {
  const text = await output(t, COMMAND, LISTENING, child => child.kill())
  t.match(text, LISTENING)
  t.notMatch(text, FOR_PEOPLE)
  t.notMatch(text, /SSL off/)
})
