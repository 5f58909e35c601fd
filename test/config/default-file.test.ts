/** The configuration file at the default place: where it is, when it counts, and what the commands say about it. */

import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Test, test } from 'tap'
import { configCommand } from '../../src/commands/config.ts'
import { configure } from '../../src/commands/exec.ts'
import { defaultConfigFile } from '../../src/config/default-file.ts'
import { loadConfig } from '../../src/config/load.ts'
import { freePort } from '../support/free-port.ts'
import { PROGRAM } from '../support/program.ts'
import { startProgram } from '../support/start-program.ts'

const HOST = 'orders.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const REPORTS = 'reports.abcdefghijkl.eu-west-1.rds.amazonaws.com'

const TWO = `
endpoints:
  - { name: orders, rds-endpoint: ${HOST}, listen: '127.0.0.1:3316', user: app }
  - { name: reports, rds-endpoint: ${REPORTS}, listen: '127.0.0.1:3317' }
`

/** A home directory with `text` in the default file; the environment that leads there. */
function home(t: Test, text: string): { environment: NodeJS.ProcessEnv; path: string } {
  const environment = { HOME: t.testdir({}), APPDATA: t.testdirName }
  const path = defaultConfigFile(environment)!
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text, { mode: 0o600 })
  return { environment, path }
}

test('the place on each system', async t => {
  const path = '/home/app/.config/mysql-iam-proxy/config.yaml'
  t.equal(defaultConfigFile({}, 'linux', '/home/app'), path)
  t.equal(defaultConfigFile({ HOME: '/home/app' }, 'freebsd'), path)
  t.equal(defaultConfigFile({ XDG_CONFIG_HOME: '/etc/xdg' }, 'linux'), '/etc/xdg/mysql-iam-proxy/config.yaml')
  t.equal(defaultConfigFile({ XDG_CONFIG_HOME: 'relative' }, 'linux', '/home/app'), path, 'as the specification says')
  t.equal(defaultConfigFile({ XDG_CONFIG_HOME: '' }, 'linux', '/home/app'), path)
  const onMac = '/Users/app/Library/Application Support/mysql-iam-proxy/config.yaml'
  t.equal(defaultConfigFile({ HOME: '/Users/app', XDG_CONFIG_HOME: '/x' }, 'darwin'), onMac)
  const onWindows = 'C:\\Users\\app\\AppData\\Roaming\\mysql-iam-proxy\\config.yaml'
  t.equal(defaultConfigFile({ APPDATA: 'C:\\Users\\app\\AppData\\Roaming' }, 'win32'), onWindows)
  t.equal(defaultConfigFile({ USERPROFILE: 'C:\\Users\\app' }, 'win32'), onWindows)
})

test('no place without a home directory', async t => {
  for (const platform of ['linux', 'darwin', 'win32'] as const) {
    t.equal(defaultConfigFile({}, platform), undefined)
    t.equal(defaultConfigFile({ HOME: '', USERPROFILE: '', APPDATA: '' }, platform), undefined)
    t.equal(defaultConfigFile({}, platform, 'relative'), undefined)
  }
  await t.rejects(loadConfig({}, [], {}), { message: '--rds-endpoint is missing' })
})

test('it counts if nothing names an endpoint or a file', async t => {
  const { environment, path } = home(t, TWO)
  const { endpoints, defaultFile } = await loadConfig({}, [], environment)
  t.same(
    endpoints.map(({ name }) => name),
    ['orders', 'reports'],
  )
  t.same(defaultFile, { path, unusedBecause: undefined, othersMayWrite: false })
  const flags = await loadConfig({ keepalive: '30s' }, [], { ...environment, MYSQL_IAM_PROXY_USER: 'me' })
  t.match(flags.endpoints[0]!.settings, { keepalive: 30_000, user: 'me' }, 'flags and the environment override it')
})

test('it does not count beside a host, --rds-endpoint or --config', async t => {
  const { environment, path } = home(t, 'no: such\nkey')
  const other = join(dirname(path), 'other.yaml')
  writeFileSync(other, TWO)
  const cases: [string, Record<string, unknown>, string[], NodeJS.ProcessEnv][] = [
    ['--rds-endpoint', { 'rds-endpoint': REPORTS }, [], {}],
    ['MYSQL_IAM_PROXY_RDS_ENDPOINT', {}, [], { MYSQL_IAM_PROXY_RDS_ENDPOINT: REPORTS }],
    ['--config', { config: other }, [], {}],
    ['MYSQL_IAM_PROXY_CONFIG', {}, [], { MYSQL_IAM_PROXY_CONFIG: other }],
    [REPORTS, {}, [`${REPORTS}?port=3320`], {}],
  ]
  for (const [because, flags, hosts, variables] of cases) {
    const { defaultFile } = await loadConfig(flags, hosts, { ...environment, ...variables })
    t.match(defaultFile, { path, unusedBecause: because })
  }
})

test('an endpoint of the file by its name', async t => {
  const { environment, path } = home(t, TWO)
  const settingsOf = async (names: string[], flags = {}) => {
    const { endpoints } = await loadConfig(flags, names, environment)
    return endpoints.map(({ name, settings }) => `${name} ${settings.listen} ${settings.user}`)
  }
  t.same(await settingsOf(['reports']), ['reports 127.0.0.1:3317 undefined'])
  t.same(await settingsOf(['orders?port=4000&user=me']), ['orders 127.0.0.1:4000 me'])
  t.same(await settingsOf(['orders'], { listen: '127.0.0.1:5000' }), ['orders 127.0.0.1:5000 app'])
  t.equal((await settingsOf(['reports', 'orders'])).length, 2)
  const both = await settingsOf(['orders', HOST], { config: path })
  t.same(both, ['undefined 127.0.0.1:3307 undefined', 'orders 127.0.0.1:3316 app'], 'with --config, also beside a host')
  await t.rejects(loadConfig({}, ['order'], environment), {
    code: 'CONFIG_INVALID',
    message: `order: no such endpoint; ${path} has orders, reports; did you mean orders?`,
  })
  await t.rejects(loadConfig({}, ['orders?usr=a'], environment), { message: /orders: unknown option usr/ })
})

test('exec by name takes a free port, so it works beside a proxy that serves the file', async t => {
  const { environment, path } = home(t, TWO)
  const listensOn = async (flags: object, names: string[], more = environment) =>
    (await configure({ ...flags }, names, more)).endpoint.settings.listen
  t.equal(await listensOn({}, ['orders']), '127.0.0.1:0')
  t.equal(await listensOn({ config: path }, ['orders'], {}), '127.0.0.1:0')
  t.equal(await listensOn({ listen: '127.0.0.1:4000' }, ['orders']), '127.0.0.1:4000')
  t.equal(await listensOn({}, ['orders?port=4000']), '127.0.0.1:4000')
  await t.rejects(configure({}, [], environment), { message: 'exec: needs exactly one endpoint' })
})

test('check with the name of an endpoint, and with a user', async t => {
  const { environment } = home(t, TWO.replace('rds-endpoint: ', "connect: '127.0.0.1:1', rds-endpoint: "))
  const configurationOf = async (...words: string[]) => {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP|XDG_)/.test(name))
    const aws = { AWS_EC2_METADATA_DISABLED: 'true', AWS_CONFIG_FILE: '/no-such-home', AWS_ACCESS_KEY_ID: 'only half' }
    const [command, ...first] = PROGRAM
    const env = { ...Object.fromEntries(inherited), ...aws, ...environment }
    const child = spawn(command, [...first, 'check', '--json', ...words], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => child.kill('SIGKILL'))
    const { steps, error } = JSON.parse(await text(child.stdout))
    return { facts: steps[0].facts, message: error.message }
  }
  t.match((await configurationOf('orders')).facts, { certificate: HOST, user: 'app' })
  t.match((await configurationOf('orders', 'me')).facts, { certificate: HOST, user: 'me' })
  t.match((await configurationOf('reports', 'me')).facts, { certificate: REPORTS, user: 'me' })
  t.match((await configurationOf('me', '--endpoint', 'orders')).facts, { certificate: HOST, user: 'me' })
  t.match((await configurationOf('repots')).message, /there are orders, reports/)
})

test('config check and config show name the file', async t => {
  const { environment, path } = home(t, TWO)
  const flags = { 'syntax-only': true }
  t.match(await configCommand('check', flags, environment), `The configuration in ${path} is good: 2 endpoints.`)
  const shown = await configCommand('show', flags, environment)
  t.ok(shown.startsWith(`# from ${path}\n`))
  t.notMatch(await configCommand('show', { ...flags, config: path }, environment), '# from')
})

test('mistakes have their place in the file', async t => {
  const { environment, path } = home(t, 'endpoints:\n  - rds-endpoint: nowhere\n    usr: app\n')
  await t.rejects(loadConfig({}, [], environment), { message: new RegExp(`${path}:3:5: endpoint nowhere: usr:`) })
  const folder = home(t, '')
  rmSync(folder.path)
  mkdirSync(folder.path)
  await t.rejects(
    loadConfig({}, [], folder.environment),
    { message: '--rds-endpoint is missing' },
    'a folder is no file',
  )
})

test('a file that other users can write leads to a warning', { skip: process.platform === 'win32' }, async t => {
  const { environment, path } = home(t, `endpoints: [{ rds-endpoint: ${HOST}, listen: '127.0.0.1:0' }]`)
  chmodSync(path, 0o620)
  t.match(await configCommand('check', {}, environment), `Warning: ${path}: other users can write it; use chmod 600`)
  chmodSync(path, 0o644)
  t.notMatch(await configCommand('check', {}, environment), 'Warning')
})

test('the log says whether the file counts; SIGHUP reads it again', async t => {
  const { environment, path } = home(t, `endpoints: [{ name: orders, rds-endpoint: ${HOST}, listen: '127.0.0.1:0' }]\n`)
  chmodSync(path, 0o602)
  const proxy = startProgram(t, [], environment)
  await proxy.logged('listening on')
  t.match(proxy.lines(), [{ level: 'info', file: path, msg: `serves the endpoints in ${path}` }])
  t.match(proxy.lines()[1], { level: 'warn', file: path, msg: `${path}: other users can write it; use chmod 600` })
  writeFileSync(path, TWO.replace('3316', String(await freePort())).replace('3317', String(await freePort())))
  proxy.child.kill('SIGHUP')
  await proxy.logged('configuration read again')
  t.equal(
    proxy.lines().filter(({ endpoint, msg }) => endpoint === 'reports' && msg.startsWith('listening on')).length,
    1,
  )

  const given = startProgram(t, ['--rds-endpoint', REPORTS, '--listen', '127.0.0.1:0'], environment)
  await given.logged('listening on')
  t.equal(given.lines()[0]?.msg, `${path} is not read, because --rds-endpoint is given`)
})
