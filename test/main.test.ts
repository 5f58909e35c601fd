import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Test, test } from 'tap'
import { environmentName, optionsOf } from '../src/config/options.ts'
import { ensureProgram } from './support/packages.ts'
import { PROGRAM } from './support/program.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const ENDPOINT = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'

function pause(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

/** Starts the command line with nothing of this machine's own settings. */
function start(t: Test, args: string[], environment: Record<string, string> = {}): ChildProcess {
  const home = `${root}/no-such-home`
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP|LANG|LC_)/.test(name))
  const [command, ...first] = PROGRAM
  const child = spawn(command, [...first, ...args], {
    cwd: root,
    env: {
      ...Object.fromEntries(inherited),
      HOME: home,
      AWS_CONFIG_FILE: `${home}/config`,
      AWS_SHARED_CREDENTIALS_FILE: `${home}/credentials`,
      AWS_EC2_METADATA_DISABLED: 'true',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

/** Runs the command line to its end. */
async function run(t: Test, args: string[], environment: Record<string, string> = {}): Promise<Ended> {
  const child = start(t, args, environment)
  let stdout = ''
  let stderr = ''
  child.stdout!.on('data', chunk => {
    stdout += chunk
  })
  child.stderr!.on('data', chunk => {
    stderr += chunk
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

/** That `args` are refused as a mistake in the configuration, on stderr, in words. */
async function refused(t: Test, args: string[], message: RegExp, environment: Record<string, string> = {}) {
  const { code, stdout, stderr } = await run(t, args, environment)
  t.equal(code, 2, `exit code of ${args.join(' ')}`)
  t.equal(stdout, '')
  t.match(stderr, /^mysql-iam-proxy: /)
  t.match(stderr, message)
  t.match(stderr, /--help/, 'says where to look')
  t.notMatch(stderr, /^\s+at |node:internal/m, 'no stack')
  t.ok(stderr.trimEnd().split('\n').length <= 2, 'two lines at most')
}

interface LogLine {
  level: string
  time: string
  msg: string
  [field: string]: unknown
}

/** Starts a proxy on a free port, up to its line that says where it listens. */
async function startProxy(t: Test, args: string[] = [], environment: Record<string, string> = {}) {
  const child = start(t, ['--rds-endpoint', ENDPOINT, '--listen', '127.0.0.1:0', ...args], environment)
  const lines: string[] = []
  let stderr = ''
  child.stderr!.on('data', chunk => {
    stderr += chunk
  })
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  const listening = new Promise<string>((resolve, reject) => {
    createInterface(child.stdout!).on('line', line => {
      lines.push(line)
      if (line.includes('listening on ')) resolve(line)
    })
    closed.then(([code]) => reject(new Error(`ended with ${code} before it listened: ${stderr}`)))
  })
  const line = await listening
  const port = Number(/listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1])
  return { child, port, line, lines, exited, closed, stderr: () => stderr }
}

test('--help', async t => {
  const { code, stdout, stderr } = await run(t, ['--help'])
  t.equal(code, 0)
  t.equal(stderr, '')
  for (const name of optionsOf('run')) t.match(stdout, `--${name}`)
  t.match(stdout, environmentName('rds-endpoint'), 'it names the environment variable')
  for (const command of ['demo', 'check', 'explain']) t.match(stdout, new RegExp(`^  ${command} `, 'm'))
  const widest = Math.max(...stdout.split('\n').map(line => line.length))
  t.ok(widest <= 80, `${widest} columns`)
})

test('--version', async t => {
  const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'))
  t.same(await run(t, ['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

test('without anything, a short help', async t => {
  const { code, stdout, stderr } = await run(t, [])
  t.equal(code, 2, 'a service without its configuration must not count as successful')
  t.equal(stdout, '')
  t.match(stderr, /^Log in to Amazon RDS/)
  t.match(stderr, 'mysql-iam-proxy demo')
  t.match(stderr, 'mysql-iam-proxy --help')
  t.match(stderr, /no database is named\.\n$/)
  t.ok(stderr.split('\n').length <= 25, 'fits a terminal')
  t.ok(Math.max(...stderr.split('\n').map(line => line.length)) <= 80, 'in 80 columns')
})

test('without --rds-endpoint', async t => {
  await refused(t, ['--log-level', 'warn'], /--rds-endpoint is missing/)
  await refused(t, ['--rds-endpoint', ''], /--rds-endpoint/)
})

test('an unknown flag, an unknown command', async t => {
  await refused(t, ['--rds-endpiont', ENDPOINT], /rds-endpiont/)
  await refused(t, ['serve', '--rds-endpoint', ENDPOINT], /serve/)
})

test('a mistyped command is no host name', async t => {
  await refused(t, ['chek'], /^mysql-iam-proxy: "chek" is neither a command nor .*; did you mean check\?$/m)
  await refused(t, ['chek', '--profile', 'dev'], /did you mean check\?/)
  await refused(t, ['exec', 'oders', '--', 'true'], /"oders" is neither a command nor/)
  await refused(t, ['help', 'chek'], /there is no command chek; did you mean check\?/)
  await refused(t, ['config', 'chek'], /"chek" is not one of check, show, schema; did you mean check\?/)
  await refused(t, ['config'], /config needs one of check, show, schema/)
  await refused(t, ['wait', 'now'], /wait: unexpected argument "now"/)
})

test('an endpoint name of the configuration file that looks like a command', async t => {
  const text = `endpoints: [{ name: chek, rds-endpoint: ${ENDPOINT} }, { name: orders, rds-endpoint: b.${ENDPOINT}, listen: '127.0.0.1:3307' }]\n`
  const config = join(t.testdir({ 'config.yaml': text }), 'config.yaml')
  await refused(t, ['order', '--config', config], /order: no such endpoint; .* has chek, orders; did you mean orders\?/)
  const child = start(t, ['chek?port=0', '--config', config])
  const [line] = (await once(createInterface(child.stdout!), 'line')) as [string]
  t.match(JSON.parse(line), { msg: /^listening on /, endpoint: 'chek' })
  child.kill('SIGTERM')
  await once(child, 'close')
})

test('a host name without dots needs a region', async t => {
  const child = start(t, ['database?port=0&region=eu-west-1'])
  const [line] = (await once(createInterface(child.stdout!), 'line')) as [string]
  t.match(JSON.parse(line), { msg: /^listening on / })
  child.kill('SIGTERM')
  await once(child, 'close')
})

test('unknown options: suggestions, and the command that takes the option', async t => {
  await refused(t, ['--rds-endpiont', ENDPOINT], /unknown option --rds-endpiont; did you mean --rds-endpoint\?/)
  await refused(t, ['-rds-endpoint', ENDPOINT], /unknown option -rds-endpoint; did you mean --rds-endpoint\?/)
  await refused(t, ['-x'], /unknown option -x$/m)
  await refused(t, ['--watch'], /--watch is an option of sync-targets$/m)
  await refused(t, ['explain', '--user', 'a'], /--user is an option of the proxy, .*, not of explain/)
  await refused(t, ['--local-password', 'hunter2'], /^(?!.*hunter2).*set MYSQL_IAM_PROXY_LOCAL_PASSWORD instead/)
})

test('-h anywhere before --, -V, help COMMAND', async t => {
  const check = (await run(t, ['check', '--help'])).stdout
  t.match(check, /^Usage:\n {2}mysql-iam-proxy check /m)
  for (const args of [
    ['check', '-h'],
    ['help', 'check'],
    ['--user', '-h', 'check'],
    ['check', '--nonsense', '-h'],
  ]) {
    t.same(await run(t, args), { code: 0, stdout: check, stderr: '' }, args.join(' '))
  }
  t.equal((await run(t, ['-V'])).stdout, (await run(t, ['wait', '--version'])).stdout)
  const echo = ['exec', '--rds-endpoint', ENDPOINT, '--', process.execPath, '-p', '1', '--help']
  t.notMatch((await run(t, echo)).stdout, 'Usage:\n  mysql-iam-proxy', 'those after -- are for the command')
})

test('the error for an old flag names the new one', async t => {
  await refused(t, ['sync-targets', '--confirm', '3'], /^mysql-iam-proxy: --confirm is now --confirmations$/m)
  await refused(t, ['check', '--name', 'shop'], /^mysql-iam-proxy: --name is now --endpoint$/m)
})

test('a flag without its value', async t => {
  await refused(t, ['--rds-endpoint', ENDPOINT, '--listen'], /listen/)
  await refused(t, ['--listen', '--rds-endpoint', ENDPOINT], /listen/)
})

test('a flag with a dot is unknown', async t => {
  await refused(t, ['--rds-endpoint', ENDPOINT, '--listen', '127.0.0.1:0', '--user.name=x', '--ca-only'], /user\.name/)
})

test('invalid values are reported all at once', async t => {
  const args = ['--rds-endpoint', ENDPOINT, '--login-timeout', '5', '--log-level', 'loud']
  await refused(t, args, /--login-timeout.*--log-level/)
})

test('invalid hosts', async t => {
  await refused(t, ['--rds-endpoint', `mysql://user@${ENDPOINT}`], /--rds-endpoint/)
  await refused(t, ['--rds-endpoint', ENDPOINT, '--connect', 'nlb:port'], /--connect/)
  await refused(t, ['--rds-endpoint', 'db.example.com'], /region/)
})

test('invalid files of --ca', async t => {
  await refused(t, ['--rds-endpoint', ENDPOINT, '--ca', '/nowhere.pem'], /--ca.*\/nowhere\.pem/)
  const dir = t.testdir({ 'a.pem': 'hunter2' })
  await refused(t, ['--rds-endpoint', ENDPOINT, '--ca', `${dir}/a.pem`], /^(?!.*hunter2).*--ca/)
  await refused(t, ['--rds-endpoint', ENDPOINT, '--ca-only'], /--ca-only/)
})

test('a file of --ca without a certificate is named', async t => {
  const dir = t.testdir({ 'a.pem': 'no certificate' })
  await refused(t, ['--rds-endpoint', ENDPOINT, '--ca', `${dir}/a.pem`], /a\.pem/)
})

test('an unknown variable with our prefix', async t => {
  const environment = { MYSQL_IAM_PROXY_RDS_ENDPIONT: ENDPOINT }
  await refused(t, ['--rds-endpoint', ENDPOINT], /MYSQL_IAM_PROXY_RDS_ENDPIONT/, environment)
})

test('an address that other machines can reach is refused', async t => {
  for (const address of ['0.0.0.0:0', '[::]:0', '192.0.2.1:0']) {
    await refused(t, ['--rds-endpoint', ENDPOINT, '--listen', address], /--listen.*--local-user.*--tls-cert/)
  }
})

test('messages are English, as is --help, whatever the locale', async t => {
  const german = { LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' }
  await refused(t, ['--wat'], /[Uu]nknown.*wat/, german)
  t.match((await run(t, ['--help'], german)).stdout, /Common options:/)
})

test('a port that is in use', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const { code, stderr } = await run(t, ['--rds-endpoint', ENDPOINT, '--listen', address])
  t.equal(code, 6)
  t.match(stderr, address)
  t.match(stderr, /in use/)
  t.match(stderr, /Choose another address or port/)
})

test('serves, logs JSON lines, stops at SIGTERM', async t => {
  const proxy = await startProxy(t)
  while (!proxy.lines.some(line => line.includes('CREDENTIALS_MISSING'))) await pause(10)
  proxy.child.kill('SIGTERM')
  const [code] = await proxy.closed
  t.equal(code, 143)
  t.equal(proxy.stderr(), '')
  const lines = proxy.lines.map(line => JSON.parse(line) as LogLine)
  t.match(lines[0], { msg: /^listening on 127\.0\.0\.1:\d+/, rds: `${ENDPOINT}:3306`, region: 'eu-west-1' })
  for (const line of lines) {
    t.type(line.msg, 'string')
    t.notOk(Number.isNaN(Date.parse(line.time)), 'a time')
    t.match(line.level, /^(error|warn|info|debug)$/)
  }
  t.match(lines[1], { code: 'CREDENTIALS_MISSING', hint: /AWS_PROFILE/ }, 'told at the start, not at the first login')
  t.match(lines.at(-1)?.msg, /stopping/)
})

test('the start loads only the modules that it needs', async t => {
  const data = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`
  const hook = data(`
    import { writeSync } from 'node:fs'
    export async function resolve(specifier, context, next) {
      const found = await next(specifier, context)
      writeSync(2, 'loads ' + found.url + '\\n')
      return found
    }`)
  const tell = data(`import { register } from 'node:module'; register(${JSON.stringify(hook)})`)
  const loads = async (args: string[]) => {
    const { child, closed, stderr } = await startProxy(t, args, { NODE_OPTIONS: `--import=${tell}` })
    child.kill('SIGTERM')
    await closed
    const seldom =
      /^loads .*(node_modules\/(?:yaml|pino-pretty|prom-client)|src\/(?:sync-targets|check|demo|admin)\/|src\/(?:otlp|login-spans)\.)/gm
    return [...new Set([...stderr().matchAll(seldom)].map(([, what]) => what))].sort()
  }
  t.same(await loads([]), [])
  const config = join(t.testdir({ 'config.yaml': 'connect-timeout: 1s\n' }), 'config.yaml')
  const more = await loads(['--config', config, '--log-format', 'pretty'])
  t.same(more, ['node_modules/pino-pretty', 'node_modules/yaml'])
})

test('the AWS SDK prints no warning about the Node.js version', async t => {
  const variable = 'AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'
  const proxy = await startProxy(t)
  while (!proxy.lines.some(line => line.includes('CREDENTIALS_MISSING'))) await pause(10)
  proxy.child.kill('SIGTERM')
  await proxy.closed
  t.equal(proxy.stderr(), '', 'which it did on Node.js 20')
  for (const line of proxy.lines) t.notMatch(line, /NodeVersionSupport/)

  const print = ['exec', '--rds-endpoint', ENDPOINT, '--', process.execPath, '-p', `process.env.${variable}`]
  t.equal((await run(t, print)).stdout, 'undefined\n', 'the command of exec has the environment of the user')
  t.equal((await run(t, print, { [variable]: 'false' })).stdout, 'false\n')
})

test('--admin-listen', async t => {
  const proxy = await startProxy(t, ['--admin-listen', '127.0.0.1:0'])
  const url = /http:[^"]+/.exec(proxy.lines.join('\n'))?.[0]
  t.equal((await fetch(`${url}/startup`)).status, 200)
  t.match(await (await fetch(`${url}/metrics`)).text(), `mysql_iam_proxy_sessions{endpoint="${ENDPOINT}:3306"} 0`)
  while (!proxy.lines.some(line => line.includes('CREDENTIALS_MISSING'))) await pause(10)
  const readiness = await fetch(`${url}/readiness`)
  t.equal(readiness.status, 503)
  t.equal(await readiness.text(), `${ENDPOINT}:3306: no AWS credentials\n`)
  t.match(await (await fetch(`${url}/`)).text(), '<!doctype html>')
  proxy.child.kill('SIGTERM')
  const [code] = await proxy.closed
  t.equal(code, 143, 'it does not keep the process')
})

test('--quitquitquit', async t => {
  const proxy = await startProxy(t, ['--admin-listen', '127.0.0.1:0', '--quitquitquit'])
  const url = /http:[^"]+/.exec(proxy.lines.join('\n'))?.[0]
  t.equal((await fetch(`${url}/quitquitquit`)).status, 405)
  t.equal((await fetch(`${url}/quitquitquit`, { method: 'POST' })).status, 200)
  const [code] = await proxy.closed
  t.equal(code, 0)
})

test('stops at SIGINT', async t => {
  const proxy = await startProxy(t)
  proxy.child.kill('SIGINT')
  const [code] = await proxy.closed
  t.equal(code, 130)
})

test('Ctrl-C on a terminal says at once that it stops, for a proxy and for a question', async t => {
  const script = await ensureProgram('script', 'bsdutils')
  const onTerminal = (args: string[], until: string) => {
    const words = `exec ${[...PROGRAM, ...args].join(' ')}`
    const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP)/.test(name))
    const env = {
      ...Object.fromEntries(inherited),
      SHELL: '/bin/sh',
      HOME: t.testdir({}),
      AWS_EC2_METADATA_DISABLED: 'true',
    }
    const child = spawn(script, ['--quiet', '--flush', '--return', '--command', words, '/dev/null'], { env })
    t.teardown(() => child.kill('SIGKILL'))
    let text = ''
    let isSent = false
    child.stdout.on('data', chunk => {
      text += chunk
      if (isSent || !text.includes(until)) return
      isSent = true
      child.stdin.write('\x03')
    })
    return once(child, 'close').then(([code]) => ({ code: code as number, text }))
  }
  const proxy = await onTerminal(['--rds-endpoint', ENDPOINT, '-p', '0'], 'listening on')
  t.equal(proxy.code, 130)
  t.match(proxy.text, 'Stopping. Press Ctrl-C again to end at once.')
  const question = await onTerminal(['hash-password'], 'Password')
  t.equal(question.code, 130)
  t.match(question.text, 'Stopping.')
  t.notMatch(question.text, 'mysql-iam-proxy: ', 'no error')
})

test('stops at SIGTERM while a client is connected', async t => {
  const proxy = await startProxy(t, ['--connect', '127.0.0.1:1'])
  const socket = connect(proxy.port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  proxy.child.kill('SIGTERM')
  const [code] = await proxy.closed
  t.equal(code, 143)
  socket.destroy()
})

test('stops at once during a credentials lookup', async t => {
  const home = t.testdir({
    'slow.mjs': `import { writeFileSync } from 'node:fs'
      setInterval(() => {}, 60_000)
      process.stdin.on('end', process.exit).resume()
      writeFileSync(new URL('started', import.meta.url), '')`,
    config: '',
  })
  const command = `"${process.execPath}" "${home}/slow.mjs"`
  writeFileSync(`${home}/config`, `[profile slow]\ncredential_process = ${command}\n`)
  const proxy = await startProxy(t, ['--profile', 'slow'], { AWS_CONFIG_FILE: `${home}/config` })
  while (!existsSync(`${home}/started`)) await pause(10)
  // A stop that waited for the lookup would take longer than the test may.
  proxy.child.kill('SIGTERM')
  const [code] = await proxy.exited
  t.equal(code, 143)
})

test('only the environment can set secret options', async t => {
  const environment = {
    MYSQL_IAM_PROXY_RDS_ENDPOINT: ENDPOINT,
    MYSQL_IAM_PROXY_LISTEN: '127.0.0.1:0',
    MYSQL_IAM_PROXY_LOG_LEVEL: 'debug',
  }
  const child = start(t, [], environment)
  const [line] = (await once(createInterface(child.stdout!), 'line')) as [string]
  t.match(JSON.parse(line), { msg: /^listening on /, rds: `${ENDPOINT}:3306` })
  child.kill('SIGTERM')
  const [code] = (await once(child, 'close')) as [number | null]
  t.equal(code, 143)
})

test('-p and -q', async t => {
  const quiet = start(t, ['--rds-endpoint', ENDPOINT, '-qp', '0'])
  const [line] = (await once(createInterface(quiet.stdout!), 'line')) as [string]
  t.match(JSON.parse(line), { level: 'warn', code: 'CREDENTIALS_MISSING' }, 'no line that it listens')
  quiet.kill('SIGTERM')
  await refused(t, [ENDPOINT, '-p', '3307', '--listen', '127.0.0.1:1'], /use --port or --listen, not both/)
  await refused(t, [ENDPOINT, '-p', 'http'], /--port: "http" is not a port/)
  await refused(t, [ENDPOINT, '--port'], /--port needs a value/)
  const { stdout } = await run(t, ['exec', ENDPOINT, '-p', '0', '--', process.execPath, '-p', 'process.env.MYSQL_HOST'])
  t.equal(stdout, '127.0.0.1\n')
})

test('--log-level and --log-format', async t => {
  const pretty = await startProxy(t, ['--log-format', 'pretty'])
  t.notMatch(pretty.line, /^\{/)
  t.match(pretty.line, /INFO.*listening on/)
  pretty.child.kill('SIGTERM')
  await pretty.closed
  const quiet = start(t, ['--rds-endpoint', ENDPOINT, '--listen', '127.0.0.1:0', '--log-level', 'warn'])
  const [line] = (await once(createInterface(quiet.stdout!), 'line')) as [string]
  t.notMatch(line, /listening/)
  t.equal((JSON.parse(line) as LogLine).code, 'CREDENTIALS_MISSING')
  quiet.kill('SIGTERM')
})
