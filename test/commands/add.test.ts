/** `add` and `remove`: with options alone, and on a terminal with keys. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, lstatSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { type Test, test } from 'tap'
import { parse } from 'yaml'
import { candidatesIn } from '../../src/commands/add-choose.ts'
import { isPortTaken, nextFreePort } from '../../src/commands/endpoints-file.ts'
import { questionsOn } from '../../src/commands/questions.ts'
import { defaultConfigFile } from '../../src/config/default-file.ts'
import type { FoundDatabase, FoundEndpoint, Reach } from '../../src/list/found.ts'
import { databaseUserProblem, endpointNameProblem } from '../../src/value-checks.ts'
import { type AwsApi, identity, startAwsApi } from '../support/aws-api.ts'
import { setEnvironment, useKeysOf } from '../support/check.ts'
import { freePort } from '../support/free-port.ts'
import { type RealServer, realServer } from '../support/mariadb.ts'
import { PROGRAM } from '../support/program.ts'
import { KEYS, onTerminal, type ProgramOnTerminal } from '../support/program-on-terminal.ts'
import { startProgram } from '../support/start-program.ts'

const HOST = 'orders.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const NO_AWS = { AWS_ENDPOINT_URL: 'http://127.0.0.1:1', AWS_CONFIG_FILE: '/no-such-home', AWS_REGION: 'eu-west-1' }

interface Home {
  path: string
  environment: NodeJS.ProcessEnv
  text(): string | undefined
  write(text: string, mode?: number): void
}

/** A home directory without a configuration, and the environment of a program in it. @param profiles of the AWS CLI's configuration */
function home(t: Test, environment: NodeJS.ProcessEnv = NO_AWS, profiles?: string): Home {
  const folder = t.testdir(profiles === undefined ? {} : { 'aws-config': profiles })
  const ofAws = profiles === undefined ? {} : { AWS_CONFIG_FILE: `${folder}/aws-config` }
  const all = { ...environment, ...ofAws, HOME: folder, APPDATA: folder }
  const path = defaultConfigFile(all)!
  return {
    path,
    environment: all,
    text: () => (existsSync(path) ? readFileSync(path, 'utf8') : undefined),
    write(text, mode = 0o600) {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text, { mode })
    },
  }
}

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

async function run(t: Test, { environment }: Pick<Home, 'environment'>, ...args: string[]): Promise<Ended> {
  const [command, ...first] = PROGRAM
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP|XDG_)/.test(name))
  const child = spawn(command, [...first, ...args], {
    env: { ...Object.fromEntries(inherited), AWS_EC2_METADATA_DISABLED: 'true', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const texts = { stdout: '', stderr: '' }
  child.stdout.on('data', chunk => {
    texts.stdout += chunk
  })
  child.stderr.on('data', chunk => {
    texts.stderr += chunk
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, ...texts }
}

/** An instance as RDS describes it. */
function instance(name: string, host: string, port = 3306): string {
  return `<DBInstance><DBInstanceIdentifier>${name}</DBInstanceIdentifier><Engine>mariadb</Engine><EngineVersion>11.8.3</EngineVersion>
    <DBInstanceStatus>available</DBInstanceStatus><Endpoint><Address>${host}</Address><Port>${port}</Port></Endpoint>
    <IAMDatabaseAuthenticationEnabled>true</IAMDatabaseAuthenticationEnabled><PubliclyAccessible>false</PubliclyAccessible>
    <DBInstanceArn>arn:aws:rds:eu-west-1:123456789012:db:${name}</DBInstanceArn></DBInstance>`
}

/** An account with `instances`, and credentials that `server` accepts. */
async function account(
  t: Test,
  server: RealServer,
  instances: string[],
): Promise<{ api: AwsApi; at: Home; ca: string }> {
  setEnvironment(t, { AWS_REGION: 'eu-west-1' })
  useKeysOf(server)
  const api = await startAwsApi(t, {
    GetCallerIdentity: identity('arn:aws:iam::123456789012:user/me'),
    DescribeDBInstances: `<DBInstances>${instances.join('')}</DBInstances>`,
    DescribeDBClusters: '<DBClusters/>',
    DescribeDBProxies: '<DBProxies/>',
    DescribeDBProxyEndpoints: '<DBProxyEndpoints/>',
    DescribeTargetGroups: '<TargetGroups/>',
  })
  const ofAws = Object.entries(process.env).filter(([name]) => name.startsWith('AWS_'))
  const at = home(t, Object.fromEntries(ofAws))
  const ca = join(at.environment.HOME!, 'ca.pem')
  writeFileSync(ca, server.ca)
  return { api, at, ca }
}

function endpointsIn(text: string | undefined): Record<string, unknown>[] {
  return parse(text ?? '').endpoints
}

test('add with options alone writes the file; remove undoes it', async t => {
  const at = home(t)
  const added = await run(t, at, 'add', '--rds-endpoint', `mysql://${HOST}/`, '--user', 'app', '--no-check')
  t.match(added, { code: 0, stderr: '' })
  const [orders] = endpointsIn(at.text())
  t.match(orders, { name: 'orders', 'rds-endpoint': HOST, listen: /^127\.0\.0\.1:\d+$/, user: 'app' })
  t.equal(statSync(at.path).mode & 0o777, 0o600)
  t.equal(statSync(dirname(at.path)).mode & 0o777, 0o700)
  const port = String(orders!.listen).split(':')[1]
  t.match(added.stdout, `Added to ${at.path}:\n\n  - name: orders\n    rds-endpoint: ${HOST}\n`)
  t.match(added.stdout, `mysql -h 127.0.0.1 -P ${port} -u app`)
  t.match(added.stdout, 'mysql-iam-proxy check orders')

  const first = at.text()
  const options = ['--connect', 'nlb.example:3310', '-p', '4001', '--profile', 'dev', '--ca', 'ca.pem']
  const more = [
    '--as',
    'other',
    '--rds-endpoint',
    `${HOST}:3307`,
    '--require-writer',
    '--proxy',
    'socks5://u:hush@proxy',
  ]
  const second = await run(t, at, 'add', ...more, ...options, '--no-check')
  t.equal(second.code, 0)
  t.same(endpointsIn(at.text())[1], {
    name: 'other',
    'rds-endpoint': `${HOST}:3307`,
    listen: '127.0.0.1:4001',
    profile: 'dev',
    connect: 'nlb.example:3310',
    proxy: 'socks5://u:hush@proxy',
    ca: [join(process.cwd(), 'ca.pem')],
    'require-writer': true,
  })
  t.notMatch(second.stdout + second.stderr, 'hush', 'a password is not shown')

  const twice = await run(t, at, 'add', 'orders', '--rds-endpoint', HOST, '--user', 'app', '--no-check')
  t.match(twice, {
    code: 2,
    stdout: '',
    stderr: /orders: duplicate endpoint name; .*config\.yaml has it already\n.*--as/,
  })

  t.match(await run(t, at, 'remove', 'other'), {
    code: 0,
    stdout: /Removed from .*:\n\n {2}- name: other\n/,
    stderr: '',
  })
  t.equal(at.text(), first)
  t.match(await run(t, at, 'remove', 'order'), {
    code: 2,
    stderr: /order: no such endpoint; .* has orders; did you mean/,
  })
  t.match(await run(t, at, 'remove'), { code: 2, stderr: /remove: NAME is missing; .* has orders\n/ })
  t.equal((await run(t, at, 'remove', 'orders')).code, 0)
  t.equal(at.text(), undefined, 'add made the file')
  t.match(await run(t, at, 'remove', 'orders'), { code: 2, stderr: /config\.yaml does not exist/ })
})

test('a file by hand keeps its text, its permissions and its link', async t => {
  const at = home(t)
  const target = join(at.environment.HOME!, 'dotfiles.yaml')
  const before = `# mine\nlog-level: warn     # quiet\nendpoints:\n- name: reports\n  rds-endpoint: ${HOST}   # one\n  user: app\n`
  writeFileSync(target, before, { mode: 0o644 })
  mkdirSync(dirname(at.path), { recursive: true })
  symlinkSync(target, at.path)
  const args = ['add', 'orders', '--rds-endpoint', HOST, '--no-check', '--listen', '127.0.0.1:4002']
  t.equal((await run(t, at, ...args)).code, 0)
  t.equal(at.text(), `${before}\n- name: orders\n  rds-endpoint: ${HOST}\n  listen: 127.0.0.1:4002\n`)
  t.ok(lstatSync(at.path).isSymbolicLink())
  t.equal(statSync(target).mode & 0o777, 0o644)
  t.equal((await run(t, at, 'remove', 'orders', '--config', target)).code, 0)
  t.equal(at.text(), before)
})

test('without a terminal, add names the missing options and asks nothing', async t => {
  const at = home(t)
  const refused = async (message: RegExp, ...args: string[]) => {
    t.match(await run(t, at, 'add', ...args), { code: 2, stdout: '', stderr: message }, args.join(' '))
    t.equal(at.text(), undefined)
  }
  await refused(/add: NAME of a database \(.*\) or --rds-endpoint and --user are missing\nWithout a terminal/)
  await refused(/add: --user is missing/, 'orders')
  await refused(/--user: a database user has no control characters/, '--rds-endpoint', HOST, '--user', 'a\tb')
  await refused(/--as: "a\.b" is not a name of letters/, '--rds-endpoint', HOST, '--as', 'a.b', '--no-check')
  await refused(/add: "a\.b" is not a name of letters/, 'a.b', '--rds-endpoint', HOST, '--no-check')
  await refused(/is one database, but there are 2 names/, 'a', 'b', '--rds-endpoint', HOST, '--no-check')
  await refused(/localhost: rds-endpoint:/, '--rds-endpoint', 'localhost', '--no-check')
  const homeless = { environment: { ...NO_AWS, HOME: '', APPDATA: '', USERPROFILE: '' } }
  t.match(await run(t, homeless, 'add', '--rds-endpoint', HOST, '--no-check'), {
    code: 2,
    stderr: /--config is missing; without a home directory there is no default file/,
  })
})

test('a file with mistakes is not changed', async t => {
  const at = home(t)
  const args = ['add', 'orders', '--rds-endpoint', HOST, '--no-check']
  for (const [text, message] of [
    [
      'endpoints:\n  - rds-endpoint: a.example\n    usr: app\n',
      /config\.yaml:3:5: .*usr: unknown key; did you mean user/,
    ],
    ['endpoints: [\n', /config\.yaml:/],
    ['- just a list\n', /is not a mapping of options/],
  ] as const) {
    at.write(text)
    t.match(await run(t, at, ...args), { code: 2, stdout: '', stderr: message })
    t.equal(at.text(), text)
  }
  at.write(`endpoints: [{ name: a, rds-endpoint: ${HOST}, listen: '127.0.0.1:4003' }]\n`)
  const taken = await run(t, at, ...args, '--listen', '127.0.0.1:4003')
  t.match(taken, {
    code: 2,
    stderr: /config\.yaml:\d+:\d+: endpoint orders: listen: endpoint a already listens on 127/,
  })
  at.write('# only a comment\n')
  t.equal((await run(t, at, ...args)).code, 0)
  t.match(at.text(), /^# only a comment\n\nendpoints:\n/)
})

test('the port is kept for good: neither one of the file nor one in use', async t => {
  const held = createServer().listen(0, '127.0.0.1')
  await once(held, 'listening')
  t.teardown(() => held.close())
  const { port } = held.address() as { port: number }
  t.equal(await isPortTaken(port), true)
  t.not(await nextFreePort(new Set(), port), port)
  const free = (await nextFreePort(new Set()))!
  t.not(await nextFreePort(new Set([free])), free)
  t.equal(await nextFreePort(new Set([65_535]), 65_535), undefined)
})

test('a proxy that serves the file reads it again', async t => {
  const at = home(t)
  at.write(`endpoints: [{ name: a, rds-endpoint: ${HOST}, listen: '127.0.0.1:${await freePort()}' }]\n`)
  const proxy = startProgram(t, [], at.environment)
  await proxy.logged('listening on')
  const listen = `127.0.0.1:${await freePort()}`
  const { stdout } = await run(t, at, 'add', 'b', '--rds-endpoint', HOST, '--no-check', '--listen', listen)
  t.match(stdout, 'A proxy seems to run with this file.')
  proxy.child.kill('SIGHUP')
  t.match(await proxy.logged(`listening on ${listen}`), { endpoint: 'b' })
})

test('add NAME finds the database, and a login is tried before it writes', async t => {
  const server = await realServer(t)
  const { at, ca, api } = await account(t, server, [instance('lab', server.rdsHost), instance('other', HOST)])
  const way = ['--connect', `127.0.0.1:${server.port}`, '--ca', ca, '--ca-only']
  const refusedLogin = await run(t, at, 'add', 'lab', '--user', 'nobody_here', ...way)
  t.equal(refusedLogin.code, 7)
  t.match(refusedLogin.stderr, /✗ lab: the login failed\.[\s\S]*1045[\s\S]*Nothing was written\. With --no-check/)
  t.equal(at.text(), undefined)

  const good = await run(t, at, 'add', 'lab', '--user', 'iam_user', ...way)
  t.match(good, { code: 0, stderr: /✓ lab: a login and a query succeeded\./ })
  t.match(endpointsIn(at.text()), [
    { name: 'lab', 'rds-endpoint': server.rdsHost, connect: `127.0.0.1:${server.port}`, user: 'iam_user', ca: [ca] },
  ])
  t.match(await run(t, at, 'add', 'oter', '--user', 'a'), {
    code: 2,
    stderr: /oter: no such database; there are lab, other; did you mean other\?/,
  })
  t.match(await run(t, at, 'add', 'lab', 'other', '--user', 'a', '--listen', '127.0.0.1:4000'), {
    code: 2,
    stderr: /--listen: applies to one database, but 2 are chosen/,
  })
  api.answers['DescribeDBInstances'] = '<DBInstances/>'
  t.match(await run(t, at, 'add', 'lab', '--user', 'a'), { code: 2, stderr: /there is no MySQL or MariaDB database/ })
  api.answers['DescribeDBInstances'] = { error: 'AccessDenied', message: 'not authorized' }
  t.match(await run(t, at, 'add', 'lab', '--user', 'a'), { code: 1, stderr: /rds:DescribeDBInstances/ })
})

test('on a terminal: every question to the end, with wrong answers', async t => {
  const server = await realServer(t)
  const { at, ca } = await account(t, server, [instance('audit', HOST), instance('lab', server.rdsHost)])
  const held = createServer().listen(0, '127.0.0.1')
  await once(held, 'listening')
  t.teardown(() => held.close())
  const taken = (held.address() as { port: number }).port
  const port = await freePort()
  const terminal = await onTerminal(t, ['add', '--ca', ca, '--ca-only'], at.environment)
  await terminal.shows('Which databases?')
  await terminal.shows('audit')
  await terminal.shows('mariadb 11.8.3, private, not reachable')
  await terminal.shows('lab')
  terminal.press(KEYS.down, KEYS.space, KEYS.enter)
  await terminal.shows('lab is private, and this machine does not reach it')
  await terminal.shows('None is needed')
  await chooseWay(terminal, 'Another address')
  await terminal.shows('HOST or HOST:PORT')
  terminal.press('no port:here', KEYS.enter)
  await terminal.shows('is not host or host:port')
  terminal.press(KEYS.clear, `127.0.0.1:${server.port}`, KEYS.enter)
  await terminal.shows('Database user for lab')
  terminal.press(KEYS.enter)
  await terminal.shows('the name of a database user is missing')
  terminal.press('arn:aws:iam::1:user/me', KEYS.enter)
  await terminal.shows('this is an ARN')
  terminal.press(KEYS.clear, 'nobody_here', KEYS.enter)
  await terminal.shows('Local port for lab')
  terminal.press(KEYS.clear, 'http', KEYS.enter)
  await terminal.shows('is not a port from 1 to 65535')
  terminal.press(KEYS.clear, String(taken), KEYS.enter)
  await terminal.shows(`another program uses port ${taken}`)
  terminal.press(KEYS.clear, String(port), KEYS.enter)
  await terminal.shows('lab: the login failed')
  await terminal.shows('The login to lab failed')
  await terminal.shows('Leave it out')
  terminal.press(KEYS.down, KEYS.enter)
  await terminal.shows('Database user for lab')
  terminal.press(KEYS.clear, 'iam_user', KEYS.enter)
  await terminal.shows('✓ lab: a login and a query succeeded')
  await terminal.shows(`Added to ${at.path}`)
  await terminal.shows(`mysql -h 127.0.0.1 -P ${port} -u iam_user`)
  t.equal(await terminal.end(), 0)
  t.match(endpointsIn(at.text()), [
    { name: 'lab', 'rds-endpoint': server.rdsHost, connect: `127.0.0.1:${server.port}`, user: 'iam_user' },
  ])
  t.equal(endpointsIn(at.text())[0]!.listen, `127.0.0.1:${port}`)

  const again = await onTerminal(t, ['add', '--no-check'], at.environment)
  await again.shows('lab')
  await again.shows('in the file as lab')
  again.press(KEYS.down, KEYS.space, KEYS.enter)
  await again.shows('Another name')
  again.press('lab', KEYS.enter)
  await again.shows('duplicate name: lab')
  again.press(KEYS.clear, 'lab2', KEYS.enter)
  await again.shows('does not reach it')
  await again.shows('None is needed')
  await chooseWay(again, 'None is needed')
  await again.shows('Database user for lab2')
  await again.shows('iam_user') // the user of the last endpoint
  again.press(KEYS.enter)
  await again.shows('Local port for lab2')
  again.press(KEYS.clear, String(port), KEYS.enter)
  await again.shows(`another endpoint of the file has port ${port}`)
  again.press(KEYS.ctrlC)
  await again.shows('Cancelled. Nothing was written.')
  t.equal(await again.end(), 130)
  t.equal(endpointsIn(at.text()).length, 1)
})

/** Goes down to a choice. The number of choices depends on the ways that this version has. */
async function chooseWay(terminal: ProgramOnTerminal, label: string): Promise<void> {
  const lines = terminal.text().slice(terminal.text().lastIndexOf('Which way leads there?')).split('\n')
  const labels = lines.filter(line => /[●○]/.test(line))
  const index = labels.findIndex(line => line.includes(label))
  terminal.press(KEYS.down.repeat(index), KEYS.enter)
}

test('on a terminal: Ctrl-C in any question changes nothing and exits with 130', async t => {
  const config = '[profile dev]\nsso_start_url = https://example\n[default]\nregion = eu-west-1\n'
  const at = home(t, { AWS_ENDPOINT_URL: 'http://127.0.0.1:1' }, config)
  const cancelled = async (terminal: ProgramOnTerminal) => {
    terminal.press(KEYS.ctrlC)
    await terminal.shows('Cancelled. Nothing was written.')
    t.equal(await terminal.end(), 130)
    t.equal(at.text(), undefined)
    t.notOk(existsSync(dirname(at.path)), 'no folder either')
  }
  const profile = await onTerminal(t, ['add'], at.environment)
  await profile.shows('Which profile of ~/.aws/config?')
  await cancelled(profile)

  const region = await onTerminal(t, ['add'], at.environment)
  await region.shows('Which profile of ~/.aws/config?')
  await region.shows('dev')
  region.press(KEYS.down, KEYS.enter)
  await region.shows('Which AWS region?')
  region.press('ireland', KEYS.enter)
  await region.shows('ireland')
  await cancelled(region)

  const user = await onTerminal(t, ['add', '--rds-endpoint', HOST, '--profile', 'dev'], at.environment)
  await user.shows('Database user for orders')
  await cancelled(user)

  const login = await onTerminal(
    t,
    ['add', '--rds-endpoint', HOST, '--profile', 'dev', '--user', 'app'],
    at.environment,
  )
  await login.shows('The login to orders failed')
  await cancelled(login)
})

test('on a terminal: the profile that was chosen is written', async t => {
  const config = '[profile dev]\nregion = eu-west-1\n[profile prod]\nregion = eu-west-1\n'
  const at = home(t, { AWS_ENDPOINT_URL: 'http://127.0.0.1:1' }, config)
  const terminal = await onTerminal(t, ['add', '--rds-endpoint', HOST, '--no-check'], {
    ...at.environment,
    NO_COLOR: '1',
  })
  await terminal.shows('Which profile')
  await terminal.shows('prod')
  terminal.press(KEYS.down, KEYS.enter)
  await terminal.shows('Database user for orders')
  terminal.press('app', KEYS.enter)
  await terminal.shows('Added to')
  t.equal(await terminal.end(), 0)
  t.match(endpointsIn(at.text()), [{ name: 'orders', profile: 'prod', user: 'app' }])
  t.notOk(terminal.raw().includes('\x1b[3'), 'no colours')

  const remove = await onTerminal(t, ['remove'], at.environment)
  await remove.shows('Remove which endpoints')
  remove.press(KEYS.ctrlC)
  await remove.shows('Cancelled. Nothing was removed.')
  t.equal(await remove.end(), 130)
  const removed = await onTerminal(t, ['remove'], at.environment)
  await removed.shows('orders')
  removed.press(KEYS.space, KEYS.enter)
  await removed.shows('Removed from')
  t.equal(await removed.end(), 0)
  t.equal(at.text(), undefined)
})

test('on a terminal: a profile with mfa_serial is asked for one code, for the list and the login', async t => {
  const server = await realServer(t)
  const { at, api, ca } = await account(t, server, [instance('lab', server.rdsHost)])
  const { accessKeyId, secretAccessKey, sessionToken } = server.keys.temporary
  const given = `<AccessKeyId>${accessKeyId}</AccessKeyId><SecretAccessKey>${secretAccessKey}</SecretAccessKey>`
  const rest = `<SessionToken>${sessionToken}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>`
  api.answers['AssumeRole'] = `<Credentials>${given}${rest}</Credentials>`
  const serial = 'arn:aws:iam::123456789012:mfa/me'
  const role = `role_arn = arn:aws:iam::123456789012:role/db\nsource_profile = base\nmfa_serial = ${serial}`
  const keys = 'aws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret'
  const config = join(at.environment.HOME!, 'aws-config')
  writeFileSync(config, `[profile base]\n${keys}\n[profile admin]\nregion = eu-west-1\n${role}\n`)
  const { AWS_ACCESS_KEY_ID: _, AWS_SECRET_ACCESS_KEY: __, ...others } = at.environment
  const environment = { ...others, AWS_CONFIG_FILE: config }
  const way = ['--connect', `127.0.0.1:${server.port}`, '--ca', ca, '--ca-only']
  const args = ['add', 'lab', '--user', 'iam_user', '--profile', 'admin', ...way]
  const terminal = await onTerminal(t, args, environment)
  await terminal.shows(`MFA code of ${serial} (profile admin)`)
  terminal.press('123456', KEYS.enter)
  await terminal.shows('lab: a login and a query succeeded')
  t.equal(await terminal.end(), 0)
  const assumed = () => api.requests.filter(({ action }) => action === 'AssumeRole')
  t.match(assumed(), [{ parameters: { TokenCode: '123456' } }])
  t.equal(assumed().length, 1)

  for (const command of [
    ['add', 'lab', '--as', 'other', ...args.slice(2)],
    ['list', '--profile', 'admin'],
    ['check', 'lab'],
    ['exec', 'lab', '--', 'true'],
  ]) {
    const [name = '', ...rest] = command
    const silent = await onTerminal(t, [name, '--no-input', ...rest], environment)
    await silent.end()
    t.notMatch(silent.text(), 'MFA code of', `${name} --no-input`)
    if (name !== 'exec') t.match(silent.text(), /CREDENTIALS_MFA_REQUIRED|needs the code of an MFA device/, name)
  }
  t.equal(assumed().length, 1)
})

test('--ssm-target is written like the other ways to a database', async t => {
  const at = home(t)
  const way = ['--ssm-target', 'i-0123456789abcdef0']
  const added = await run(t, at, 'add', '--rds-endpoint', HOST, '--user', 'app', '--no-check', ...way)
  t.match(added, { code: 0, stderr: '' })
  t.match(endpointsIn(at.text()), [{ name: 'orders', 'ssm-target': 'i-0123456789abcdef0' }])
})

test('on a terminal with --no-input, add asks nothing', async t => {
  const at = home(t)
  const terminal = await onTerminal(t, ['add', 'orders', '--no-input'], at.environment)
  await terminal.shows('add: --user is missing')
  t.equal(await terminal.end(), 2)
})

test('where nobody would answer', async t => {
  const stop = new AbortController().signal
  const streams = (input: boolean, output: boolean) =>
    ({ stdin: { isTTY: input }, stdout: { isTTY: output } }) as Parameters<typeof questionsOn>[3]
  const asks = (environment: NodeJS.ProcessEnv, noInput = false, input = true, output = true) =>
    questionsOn({ 'no-input': noInput }, environment, stop, streams(input, output)) !== undefined
  t.ok(asks({ TERM: 'xterm' }))
  t.ok(asks({ CI: 'false' }))
  t.notOk(asks({ CI: 'true' }))
  t.notOk(asks({ TERM: 'dumb' }))
  t.notOk(asks({}, true))
  t.notOk(asks({}, false, false, true), 'standard input is a file')
  t.notOk(asks({}, false, true, false), 'standard output is a file')
})

test('names and users', async t => {
  for (const name of ['orders', 'orders-1', 'Größe_2', '1']) t.equal(endpointNameProblem(name), undefined)
  for (const name of ['', '-a', 'a.b', 'a b', 'a?b', 'a/b']) t.match(endpointNameProblem(name), 'is not a name')
  for (const user of ['app', 'a@b', 'x'.repeat(128), 'größe']) t.equal(databaseUserProblem(user), undefined)
  for (const user of ['', 'a\u0000', 'x'.repeat(129), 'arn:aws:iam::1:user/a'])
    t.type(databaseUserProblem(user), 'string')
})

const YES: Reach = { state: 'yes', code: undefined, reason: undefined, milliseconds: 3 }
const NO: Reach = { state: 'no', code: 'DIAL_TIMEOUT', reason: 'nobody answers', milliseconds: undefined }

function databaseWith(endpoint: Partial<FoundEndpoint>, more: Partial<FoundDatabase> = {}): FoundDatabase {
  return {
    profile: 'dev',
    region: 'eu-west-1',
    kind: 'instance',
    identifier: 'orders',
    account: '123456789012',
    engine: 'mysql',
    version: '8.4.6',
    status: 'available',
    iam: 'on',
    public: false,
    vpc: undefined,
    cluster: undefined,
    pauses: false,
    endpoints: [
      {
        name: 'orders',
        role: 'instance',
        host: HOST,
        port: 3306,
        addresses: [],
        loadBalancers: [],
        reach: NO,
        ...endpoint,
      },
    ],
    ...more,
  }
}

test('what leads to a database', async t => {
  const candidateOf = (database: FoundDatabase) => candidatesIn({ databases: [database] })[0]!.candidate
  const balancer = {
    ...{
      profile: 'dev',
      region: 'eu-west-1',
      name: 'nlb',
      host: 'nlb.example',
      scheme: undefined,
      targetGroupArn: 'arn',
    },
    targets: [],
  }
  const loadBalancers = [{ ...balancer, port: 3310, reach: YES }]
  t.match(candidateOf(databaseWith({ loadBalancers })), {
    connect: 'nlb.example:3310',
    unreachable: undefined,
    profile: 'dev',
  })
  const standard = [{ ...balancer, port: 3306, reach: NO }]
  t.match(candidateOf(databaseWith({ loadBalancers: standard })), { connect: 'nlb.example', unreachable: undefined })
  t.match(candidateOf(databaseWith({ loadBalancers, reach: YES })), { connect: undefined, unreachable: undefined })
  t.match(candidateOf(databaseWith({})), { connect: undefined, unreachable: 'nobody answers' })
  t.match(candidateOf(databaseWith({}, { public: true })), { unreachable: undefined })
  t.match(candidateOf(databaseWith({ reach: undefined })), { unreachable: undefined })
  t.match(candidateOf(databaseWith({ port: 3307, reach: YES })), { rdsEndpoint: `${HOST}:3307`, name: 'orders' })
  t.equal(candidateOf(databaseWith({ name: HOST, role: 'proxy' })).name, 'orders-proxy', 'names have no dots')
  t.equal(candidateOf(databaseWith({ name: HOST })).name, 'orders')
})
