import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Test, test } from 'tap'
import { configure, exec, whyNotStarted } from '../../src/commands/exec.ts'
import { environmentName, OPTIONS } from '../../src/config/options.ts'
import { ensureProgram } from '../support/packages.ts'
import { PROGRAM } from '../support/program.ts'
import { until } from '../support/raw-client.ts'

const HOST = 'orders.abcdefghijkl.eu-west-1.rds.amazonaws.com'

test('exec listens on a free port, unless listen is set', async t => {
  const named = OPTIONS.listen.default
  const file = (text: string) => `${t.testdir({ 'config.yaml': text })}/config.yaml`
  const listensOn = async (flags: Record<string, unknown>, shorthand: string[] = [], environment = {}) =>
    (await configure(flags, shorthand, environment)).endpoint.settings.listen

  t.equal(await listensOn({ 'rds-endpoint': HOST }), '127.0.0.1:0')
  t.equal(await listensOn({}, [`${HOST}?connect-timeout=1s`]), '127.0.0.1:0')
  t.equal(await listensOn({ 'rds-endpoint': HOST, config: file('user: app\n') }), '127.0.0.1:0')
  t.equal(await listensOn({ config: file(`endpoints: [{ rds-endpoint: ${HOST} }]\n`) }), '127.0.0.1:0')

  t.equal(await listensOn({ 'rds-endpoint': HOST, listen: named }), named, 'the default, but named: a flag')
  t.equal(await listensOn({ 'rds-endpoint': HOST }, [], { [environmentName('listen')]: named }), named, 'environment')
  t.equal(await listensOn({}, [`${HOST}?port=3306`]), named, 'shorthand')
  const ofEndpoint = `endpoints: [{ rds-endpoint: ${HOST}, listen: '${named}' }]\n`
  t.equal(await listensOn({ config: file(ofEndpoint) }), named, 'an endpoint of the file')
})

test('whyNotStarted: Windows starts scripts only with a shell', t => {
  t.equal(whyNotStarted('ENOENT', 'linux'), 'ENOENT')
  t.equal(whyNotStarted('EACCES', 'win32'), 'EACCES')
  t.equal(whyNotStarted('EINVAL', 'win32'), 'EINVAL; start a .cmd or .bat file with cmd /c')
  t.end()
})

test('exec needs exactly one endpoint', async t => {
  const several = { code: 'CONFIG_INVALID', message: 'exec: needs exactly one endpoint' }
  await t.rejects(configure({}, [HOST, `other.${HOST}`], {}), several)
  await t.rejects(configure({}, [], {}), { code: 'CONFIG_INVALID', message: '--rds-endpoint is missing' })
})

const program = fileURLToPath(new URL('../../bin/mysql-iam-proxy.ts', import.meta.url))

const EXEC = [...PROGRAM, 'exec', '--rds-endpoint', HOST, '--connect', '127.0.0.1:1', '--']

interface Running {
  child: ChildProcess
  /** what it printed so far */
  text(): string
  exited: Promise<[code: number | null, signal: NodeJS.Signals | null]>
}

function environment(added: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  // The proxy refuses an unknown MYSQL_IAM_PROXY_ variable, such as that of the test runner.
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP)/.test(name))
  return { ...Object.fromEntries(inherited), AWS_EC2_METADATA_DISABLED: 'true', ...added }
}

function start(t: Test, [file, ...args]: readonly string[], options: SpawnOptions = {}): Running {
  const child = spawn(file!, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment(), ...options })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', chunk => {
      text += chunk
    })
  }
  return { child, text: () => text, exited: once(child, 'close') as Running['exited'] }
}

/** A command that prints the signals that it gets, and ends with code 5 at the second. */
const COUNTS_SIGNALS = `
  let count = 0
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']) {
    process.on(name, () => {
      console.log('got ' + name)
      if (++count === 2) process.exit(5)
    })
  }
  setInterval(() => {}, 1000)
  console.log('started')`

test('the command gets each signal, and decides when to end', async t => {
  const check = async (signal: NodeJS.Signals) => {
    // In a separate session, as a service or a job of CI: no terminal sends signals.
    const exec = start(t, [...EXEC, process.execPath, '-e', COUNTS_SIGNALS], { detached: true })
    await until('the command has started', () => exec.text().includes('started'))
    exec.child.kill(signal)
    await until(`it got ${signal}: ${exec.text()}`, () => exec.text().includes(`got ${signal}`))
    exec.child.kill(signal)
    t.same(await exec.exited, [5, null], signal)
    t.equal(exec.text().split('got ').length - 1, 2, signal)
    t.notMatch(exec.text(), /Debugger/)
  }
  const pairs = [
    ['SIGTERM', 'SIGINT'],
    ['SIGHUP', 'SIGQUIT'],
    ['SIGUSR1', 'SIGUSR2'],
  ] as const
  for (const pair of pairs) await Promise.all(pair.map(check))
})

test('Ctrl-C on a terminal reaches the command once', async t => {
  const script = await ensureProgram('script', 'bsdutils')
  // `exec`: a shell that waits for the program would get SIGINT too, and end.
  const words = ['exec', ...EXEC, process.execPath, '-e', `'${COUNTS_SIGNALS.replace(/'/g, '"')}'`].join(' ')
  const exec = start(t, [script, '--quiet', '--flush', '--return', '--command', words, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: environment({ SHELL: '/bin/sh' }),
  })
  await until('the command has started', () => exec.text().includes('started'))
  exec.child.stdin!.write('\x03')
  await until('it got SIGINT', () => exec.text().includes('got SIGINT'))
  exec.child.stdin!.write('\x03')
  const [code] = await exec.exited
  t.equal(code, 5)
  t.equal(exec.text().split('got SIGINT').length - 1, 2, exec.text())
})

test('SIGUSR1 starts no debugger', async t => {
  const running = start(t, [...PROGRAM, '--rds-endpoint', HOST, '--listen', '127.0.0.1:0'])
  await until('it listens', () => running.text().includes('listening on'))
  running.child.kill('SIGUSR1')
  running.child.kill('SIGTERM')
  t.same(await running.exited, [143, null])
  t.notMatch(running.text(), /Debugger/)
  const imports = readFileSync(program, 'utf8').match(/^import .*$/gm)
  t.equal(imports?.[0], "import '../src/no-debugger.ts'", 'for every command, before anything else')
})

test('without a place for a socket, the command gets a TCP port', async t => {
  const directory = t.testdir({ ['x'.repeat(100)]: {} })
  const printed = join(directory, 'printed')
  const print = `require('fs').writeFileSync(${JSON.stringify(printed)}, JSON.stringify(process.env))`
  const environment = { MYSQL_UNIX_PORT: '/run/another-database.sock' }
  const flags = { 'rds-endpoint': HOST, connect: '127.0.0.1:1', 'log-level': 'error' }
  // Nobody can make a file in the first one; the path in the second one is too long for a socket.
  const tooLong = join(directory, 'x'.repeat(100))
  const before = process.env['TMPDIR']
  t.teardown(() => {
    if (before === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = before
  })
  for (const place of ['/proc', tooLong]) {
    process.env['TMPDIR'] = place
    const command = [process.execPath, '-e', print]
    t.equal(await exec(flags, [], command, environment, new AbortController().signal), 0)
    const { MYSQL_PORT, MYSQL_SOCKET, MYSQL_UNIX_PORT } = JSON.parse(readFileSync(printed, 'utf8'))
    t.match(MYSQL_PORT, /^\d+$/)
    t.same([MYSQL_SOCKET, MYSQL_UNIX_PORT], [undefined, undefined], 'not the socket of another database')
  }
  t.same(readdirSync(tooLong), [], 'nothing is left')
})

test('a unix socket that is asked for', async t => {
  const socket = `${t.testdir({})}/s`
  const print = 'console.log(JSON.stringify([process.env.MYSQL_HOST, process.env.MYSQL_SOCKET]))'
  const exec = start(t, [...EXEC.slice(0, -1), '--listen', `unix:${socket}`, '--', process.execPath, '-e', print])
  t.same(await exec.exited, [0, null], exec.text())
  t.match(exec.text(), JSON.stringify(['localhost', socket]))
})

test('the proxy ends with the command, also if that leaves a program behind', async t => {
  const exec = start(t, [...EXEC, 'sh', '-c', 'sleep 60 >/dev/null 2>&1 & echo $! $MYSQL_PORT'])
  const [code] = (await once(exec.child, 'exit')) as [number | null]
  t.equal(code, 0)
  const [, left, port] = /^(\d+) (\d+)$/m.exec(exec.text())!
  process.kill(Number(left))
  const [error] = await once(connect(Number(port), '127.0.0.1'), 'error')
  t.match(error, { code: 'ECONNREFUSED' })
})
