import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { configCommand } from '../../src/commands/config.ts'
import { type Config, loadConfig } from '../../src/config/load.ts'
import { ProxyError } from '../../src/errors.ts'

const HOST = 'orders.abcdefghijkl.eu-west-1.rds.amazonaws.com'

async function file(t: Test, text: string, name = 'config.yaml'): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const path = join(directory, name)
  await writeFile(path, text)
  return path
}

interface Given {
  flags?: Record<string, unknown>
  endpoints?: string[]
  environment?: Record<string, string>
}

async function load(t: Test, text: string, { flags, endpoints = [], environment = {} }: Given = {}): Promise<Config> {
  return await loadConfig({ config: await file(t, text), ...flags }, endpoints, environment)
}

/** What is wrong, without the folder of the file. */
async function mistakes(t: Test, text: string, given: Given = {}): Promise<string[]> {
  try {
    await load(t, text, given)
    return []
  } catch (error) {
    if (!(error instanceof ProxyError) || error.code !== 'CONFIG_INVALID') throw error
    return error.message.split('\n').map(line => line.trim().replace(/^.*(?=config\.yaml)/, ''))
  }
}

const TWO = `
# of the whole process
log-level: warn
connect-timeout: 1s
endpoints:
  - name: orders
    rds-endpoint: ${HOST}
    listen: 127.0.0.1:3307
    connect: nlb.example:3306
    max-connections: 20
    require-writer: true
    allow-from: [10.0.0.0/8, 192.168.0.0/16]
    local-users:
      - { name: connector, password-env: CONNECTOR_PASSWORD, user: readonly }
  - rds-endpoint: other.abcdefghijkl.eu-west-1.rds.amazonaws.com
    listen: unix:/run/other/mysql.sock
    connect-timeout: 2s
`

test('several endpoints', async t => {
  const { settings, endpoints } = await load(t, TWO)
  t.equal(settings['log-level'], 'warn')
  t.match(endpoints[0], {
    name: 'orders',
    settings: {
      'rds-endpoint': HOST,
      connect: 'nlb.example:3306',
      'max-connections': 20,
      'require-writer': true,
      'allow-from': ['10.0.0.0/8', '192.168.0.0/16'],
      'connect-timeout': 1_000,
      'login-timeout': 8_000,
    },
    localUsers: [{ name: 'connector', user: 'readonly', passwordEnv: 'CONNECTOR_PASSWORD' }],
  })
  t.match(endpoints[1], { name: undefined, localUsers: [], settings: { 'connect-timeout': 2_000 } })
})

test('flag > environment > file > default', async t => {
  const text = `rds-endpoint: ${HOST}\nuser: of-file\nlogin-timeout: 3s\nmax-connections: 3\n`
  const environment = { MYSQL_IAM_PROXY_USER: 'of-environment', MYSQL_IAM_PROXY_MAX_CONNECTIONS: '2' }
  const { endpoints } = await load(t, text, { flags: { 'max-connections': '1' }, environment })
  t.match(endpoints[0]!.settings, {
    'max-connections': 1,
    user: 'of-environment',
    'login-timeout': 3_000,
    'connect-timeout': 5_000,
  })
  const named = { MYSQL_IAM_PROXY_CONFIG: await file(t, text) }
  t.equal((await loadConfig({}, [], named)).endpoints[0]!.settings.user, 'of-file')
})

test('JSON will do', async t => {
  const { endpoints } = await load(t, JSON.stringify({ endpoints: [{ 'rds-endpoint': HOST, 'ca-only': false }] }))
  t.equal(endpoints[0]!.settings['rds-endpoint'], HOST)
})

test('the shorthand', async t => {
  const hosts = [`${HOST}?user=app`, `${HOST}:3310?port=4000&connect=nlb.example`, 'c.x.eu-west-1.rds.amazonaws.com']
  const { endpoints } = await loadConfig({ keepalive: '30s' }, hosts, {})
  t.match(
    endpoints.map(({ settings }) => settings),
    [
      { 'rds-endpoint': HOST, listen: '127.0.0.1:3306', user: 'app', keepalive: 30_000 },
      { 'rds-endpoint': `${HOST}:3310`, listen: '127.0.0.1:4000', connect: 'nlb.example' },
      { listen: '127.0.0.1:3308' },
    ],
  )
  const [unix] = (await loadConfig({}, [`${HOST}?listen=unix:/run/x.sock`], {})).endpoints
  t.equal(unix!.settings.listen, 'unix:/run/x.sock')
  const [flag] = (await loadConfig({ listen: '127.0.0.1:1' }, [HOST], {})).endpoints
  t.equal(flag!.settings.listen, '127.0.0.1:1')
  await t.rejects(loadConfig({}, [`${HOST}?usr=a`], {}), { message: /no option usr; did you mean user\?/ })
  const secret = loadConfig({}, [`${HOST}?local-password=hush`], {})
  await t.rejects(secret, { message: /no option local-password(?!.*hush)/ }, 'others see a command line')
  await t.rejects(loadConfig({}, [`${HOST}?constructor=a`], {}), { message: /no option constructor/ })
  await t.rejects(loadConfig({}, [`${HOST}?log-level=debug`], {}), { message: /no option log-level/ })
  const [bad] = (await loadConfig({}, [`${HOST}?port=http`], {})).endpoints
  t.equal(bad!.settings.listen, '127.0.0.1:http', 'which is refused when it is listened on')
})

test('every mistake at once, by file, line and key, with the nearest name', async t => {
  t.same(
    await mistakes(
      t,
      `log-levle: debug
endpoints:
  - rds-endpoint: ${HOST}
    usr: app
    max-connections: many
    log-level: debug
    connect: {host: x}
    local-users:
      - name: a
        password: secret
      - password-env: X
        password-file: y
  - name: second
    listen: 127.0.0.1:3306
endpoint: []
`,
    ),
    [
      'endpoint second: --rds-endpoint is missing',
      `endpoint second: another one listens on 127.0.0.1:3306 already; give each a \`listen\` of its own`,
      'config.yaml:1: log-levle: no such key; did you mean log-level?',
      'config.yaml:4: usr: no such key; did you mean user?',
      'config.yaml:5: max-connections: "many" is not a number such as 100',
      'config.yaml:6: log-level: is for the whole process, and stands at the top',
      'config.yaml:7: connect: needs a value',
      'config.yaml:9: local user a: needs one of password-file, password-env and password-hash',
      'config.yaml:10: password: no such key; use password-file, password-env or password-hash',
      'config.yaml:11: local-users: a user without a name',
      'config.yaml:11: local user without a name: needs only one of password-file, password-env and password-hash',
      'config.yaml:15: endpoint: no such key; did you mean endpoints?',
    ],
  )
})

test('other mistakes', async t => {
  const texts: [string, RegExp][] = [
    ['- a\n- b\n', /config\.yaml:1: is not a mapping/],
    ['', /config\.yaml:1: is not a mapping/],
    ['rds-endpoint: a\nrds-endpoint: b\n', /config\.yaml:2: Map keys must be unique/],
    ['a: "\n', /config\.yaml:\d: Missing closing/],
    ['endpoints: 5\n', /config\.yaml:1: endpoints: is not a list/],
    ['endpoints: [a]\n', /config\.yaml:1: endpoints: is not a list/],
    [`rds-endpoint: ${HOST}\nlocal-users: a\n`, /config\.yaml:2: local-users: is not a list/],
    [`rds-endpoint: ${HOST}\nlocal-users: []\n`, /config\.yaml:2: local-users: is empty/],
    [`config: other.yaml\nrds-endpoint: ${HOST}\n`, /config\.yaml:1: config: no such key/],
    [`local-password: secret\nrds-endpoint: ${HOST}\n`, /config\.yaml:1: local-password: no such key/],
  ]
  for (const [text, message] of texts) t.match((await mistakes(t, text)).join('\n'), message, text)
  for (const text of texts.map(([text]) => text)) t.notMatch((await mistakes(t, text)).join('\n'), 'secret')
  t.match(await mistakes(t, TWO, { flags: { listen: '127.0.0.1:1' } }), [/--listen: names one database.*2 endpoints/])
  await t.rejects(loadConfig({ config: '/no/such/file' }, [], {}), { message: /--config \/no\/such\/file: ENOENT/ })
})

test('sync-targets of an endpoint', async t => {
  const arn = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/orders/0123456789abcdef'
  const endpoint = `endpoints:\n  - rds-endpoint: ${HOST}\n    profile: dev\n`
  const { endpoints } = await load(t, `${endpoint}    sync: {target-group-arn: '${arn}', interval: 10s}\n`)
  t.match(endpoints[0]!.sync, { 'target-group-arn': arn, interval: 10_000, 'rds-endpoint': HOST, profile: 'dev' })
  t.equal((await load(t, endpoint)).endpoints[0]!.sync, undefined)
  t.match(await mistakes(t, `${endpoint}    sync: {intervall: 10s}\n`), [
    'config.yaml:4: intervall: no such key; did you mean interval?',
    'config.yaml:4: sync: target-group-arn is missing',
  ])
  t.match(await mistakes(t, `${endpoint}    sync: true\n`), ['config.yaml:4: sync: is not a mapping'])
  const config = await file(t, `${endpoint}    sync: {target-group-arn: arn}\n`)
  await t.rejects(configCommand('check', { config }, {}), { code: 'CONFIG_INVALID', message: /arn/ })
})

test('config check, show and schema', async t => {
  const environment = { CONNECTOR_PASSWORD: 'top-secret' }
  process.env['CONNECTOR_PASSWORD'] = 'top-secret'
  t.teardown(() => delete process.env['CONNECTOR_PASSWORD'])
  const hash = `*${'0123456789'.repeat(4)}`
  const config = await file(t, `${TWO}    local-users: [{ name: b, password-hash: '${hash}' }]\n`)
  t.match(await configCommand('check', { config }, environment), /good: 2 endpoints/)
  const shown = await configCommand('show', { config }, environment)
  t.notMatch(shown, /top-secret|0123456789/)
  t.match(shown, /password-hash: \(hidden\)/)
  const again = await file(t, shown.replace('(hidden)', `'${hash}'`))
  t.equal(await configCommand('show', { config: again }, environment), shown, 'what it shows is a configuration')
  await t.rejects(configCommand('check', { config: await file(t, 'rds-endpoint: example.com\n') }, {}), /no AWS region/)

  const schema = JSON.parse(await configCommand('schema', {}, {}))
  t.match(schema.properties.endpoints, { type: 'array' })
  t.match(schema.$defs.endpoint.properties, {
    'rds-endpoint': { type: 'string' },
    'require-writer': { type: 'boolean' },
  })
  t.notOk('log-level' in schema.$defs.endpoint.properties)
  t.notOk('config' in schema.properties)
})
