import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { configCommand } from '../../src/commands/config.ts'
import { type Config, loadConfig } from '../../src/config/load.ts'
import { prepareEndpoints } from '../../src/config/proxy-options.ts'
import { ProxyError } from '../../src/errors.ts'
import { silent } from '../../src/log.ts'

const GROUP_ARN = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/orders/0123456789abcdef'
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
    const lines = error.message.split('\n').map(line => line.trim().replace(/^.*(?=config\.yaml)/, ''))
    return lines.filter(line => !/^(\d+ )?\|( |$)/.test(line)) // mistakes.test.ts tests the marks
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
  const text = `user: of-file\nlogin-timeout: 3s\nendpoints:\n  - {rds-endpoint: ${HOST}, max-connections: 3}\n`
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

test('a JSON file', async t => {
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
  await t.rejects(loadConfig({}, [`${HOST}?usr=a`], {}), { message: /unknown option usr; did you mean user\?/ })
  const secret = loadConfig({}, [`${HOST}?local-password=hush`], {})
  await t.rejects(secret, { message: /unknown option local-password(?!.*hush)/ }, 'other users can see a command line')
  await t.rejects(loadConfig({}, [`${HOST}?constructor=a`], {}), { message: /unknown option constructor/ })
  await t.rejects(loadConfig({}, [`${HOST}?log-level=debug`], {}), { message: /unknown option log-level/ })
  const withPassword = loadConfig({}, [`mysql://app:hush@${HOST}/?usr=a`], {})
  await t.rejects(withPassword, { message: /rds-endpoint: this URL has more/ })
  await t.rejects(withPassword, { message: /^(?!.*hush)/s }, 'a password is not shown')
  const [named] = (await loadConfig({}, [`${HOST}?user=a@b`], {})).endpoints
  t.equal(named!.settings.user, 'a@b')
  const withMark = loadConfig({}, [`mysql://u:se?cret@${HOST}?port=3307`], {})
  await t.rejects(withMark, { code: 'CONFIG_INVALID', message: /^(?!.*cret)/s }, 'nor one with a question mark')
  await t.rejects(loadConfig({}, [`${HOST}?port=http`], {}), {
    message: /: listen: "127\.0\.0\.1:http" is not host:port/,
  })
})

test('every mistake is reported at once, with file, line, column, endpoint, key and the nearest name', async t => {
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
      'config.yaml:1:1: log-levle: unknown key; did you mean log-level?',
      `config.yaml:4:5: endpoint ${HOST}: usr: unknown key; did you mean user?`,
      `config.yaml:5:22: endpoint ${HOST}: max-connections: "many" is not a number such as 100`,
      `config.yaml:6:5: endpoint ${HOST}: log-level: applies to the whole process; move it to the top of the file`,
      `config.yaml:7:14: endpoint ${HOST}: connect: takes one value`,
      `config.yaml:10:9: endpoint ${HOST}: local user a: password: unknown key; use password-file, password-env or password-hash`,
      `config.yaml:11:9: endpoint ${HOST}: local user without a name: name is missing`,
      `config.yaml:11:9: endpoint ${HOST}: local user without a name: needs only one of password-file, password-env, password-hash`,
      'config.yaml:13:5: endpoint second: rds-endpoint is missing',
      `config.yaml:14:13: endpoint second: listen: endpoint ${HOST} already listens on 127.0.0.1:3306; give each its own address`,
      'config.yaml:15:1: endpoint: unknown key; did you mean endpoints?',
    ],
  )
})

test('other mistakes', async t => {
  const texts: [string, RegExp][] = [
    ['e\0n\0d\0', /config\.yaml: is not in UTF-8, perhaps in UTF-16, as some editors and PowerShell write/],
    ['- a\n- b\n', /^config\.yaml:1:1: the file is not a mapping of options; begin with endpoints:$/],
    ['', /^config\.yaml:1:1: the file is empty; begin with endpoints:$/],
    ['user: a\nuser: b\nendpoint: []\n', /^config\.yaml:2:1: user: duplicate key\nconfig\.yaml:3:1: endpoint: unknown/],
    ['a: "\n', /^config\.yaml:\d:\d: Missing closing/],
    ['user: a\n', /^config\.yaml:1:1: endpoints is missing; write one mapping for each database below it$/],
    ['endpoints: []\n', /^config\.yaml:1:12: endpoints: is empty; write one mapping for each database$/],
    ['a:\n  - b: c\n   d: e\n', /^config\.yaml:3:4: wrong indentation: the keys of a mapping.*same column$/],
    ['a: b: c\n', /^config\.yaml:1:4: wrong indentation, or a value that contains ": " and needs quotes$/],
    ['user: !secret a\n', /^config\.yaml:1:7: YAML tags are unsupported; a value that begins with ! needs quotes$/],
    ['user: a\n---\nuser: b\n', /^config\.yaml:2:1: the file has several documents; remove the --- between them$/],
    ['name: a\n', /^config\.yaml:1:1: name: describes one database; write it below endpoints/],
    [`endpoints:\n  rds-endpoint: ${HOST}\n`, /^config\.yaml:2:3: endpoints: is one mapping, not a list; begin/],
    ['endpoints: 5\n', /^config\.yaml:1:12: endpoints: is not a list of mappings$/],
    ['endpoints: [a]\n', /^config\.yaml:1:12: endpoints: is not a list of mappings$/],
    ['user: a\nlocal-users: a\n', /^config\.yaml:1:1: endpoints is.*\nconfig\.yaml:2:14: local-users: is not a list/],
    [`endpoints: [{rds-endpoint: ${HOST}}]\nlocal-users: []\n`, /^config\.yaml:2:14: local-users: is empty/],
    [`config: other.yaml\nendpoints: [{rds-endpoint: ${HOST}}]\n`, /^config\.yaml:1:1: config: unknown key/],
    [
      `local-password: secret\nendpoints: [{rds-endpoint: ${HOST}}]\n`,
      /^config\.yaml:1:1: local-password: unknown key/,
    ],
  ]
  for (const [text, message] of texts) t.match((await mistakes(t, text)).join('\n'), message, text)
  for (const text of texts.map(([text]) => text)) t.notMatch((await mistakes(t, text)).join('\n'), 'secret')
  t.match(await mistakes(t, TWO, { flags: { listen: '127.0.0.1:1' } }), [
    /--listen: applies to one database.*2 endpoints/,
  ])
  await t.rejects(loadConfig({ config: '/no/such/file' }, [], {}), { message: /--config \/no\/such\/file: ENOENT/ })
})

test('sync-targets of an endpoint', async t => {
  const arn = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/orders/0123456789abcdef'
  const endpoint = `endpoints:\n  - rds-endpoint: ${HOST}\n    profile: dev\n`
  const { endpoints } = await load(t, `${endpoint}    sync: {target-group-arn: '${arn}', interval: 10s}\n`)
  t.match(endpoints[0]!.sync?.settings, {
    'target-group-arn': arn,
    interval: 10_000,
    'rds-endpoint': HOST,
    profile: 'dev',
  })
  t.equal((await load(t, endpoint)).endpoints[0]!.sync, undefined)
  t.match(await mistakes(t, `${endpoint}    sync: {intervall: 10s}\n`), [
    `config.yaml:4:11: endpoint ${HOST}: sync: target-group-arn is missing`,
    `config.yaml:4:12: endpoint ${HOST}: sync: intervall: unknown key; did you mean interval?`,
  ])
  t.match(await mistakes(t, `${endpoint}    sync: true\n`), [
    `config.yaml:4:11: endpoint ${HOST}: sync: is not a mapping`,
  ])
  const address = `endpoints:\n  - rds-endpoint: 10.0.0.1\n    region: eu-west-1\n    sync: {target-group-arn: '${arn}'}\n`
  await t.rejects(configCommand('check', { config: await file(t, address) }, {}), {
    code: 'CONFIG_INVALID',
    message: /config\.yaml:2:\d+: endpoint .*: rds-endpoint: 10\.0\.0\.1 is an address, not a name/,
  })
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
  const proxy = { config, proxy: 'socks5://user:hunter2@proxy.corp' }
  const withProxy = await configCommand('show', proxy, environment)
  t.match(withProxy, /proxy: socks5:\/\/proxy\.corp:1080\n/, 'without its password')
  t.notMatch(withProxy, /hunter2|user:hunter2@/)
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

test('wrong values in several endpoints, each with its place', async t => {
  t.same(
    await mistakes(
      t,
      `endpoints:
  - name: orders
    rds-endpoint: https://${HOST}
    listen: 3306
    allow-from: [10.0.0.0/8, 10.0.0.0/99]
  - name: reports
    rds-endpoint: ${HOST}:99999
    listen: 0.0.0.0:3307
    profile: [dev, prod]
`,
    ),
    [
      'config.yaml:3:19: endpoint orders: rds-endpoint: this is a URL of https; write host or host:port of a MySQL or MariaDB database',
      'config.yaml:4:13: endpoint orders: listen: "3306" has no host; write 127.0.0.1:3306 for that port',
      'config.yaml:5:30: endpoint orders: allow-from: "10.0.0.0/99" is not a network such as 10.0.0.0/8',
      `config.yaml:7:19: endpoint reports: rds-endpoint: "${HOST}:99999" is not host or host:port`,
      'config.yaml:9:14: endpoint reports: profile: takes one value',
    ],
  )
})

test('IAM Roles Anywhere', async t => {
  const arn = (what: string, region = 'eu-west-1') => `arn:aws:rolesanywhere:${region}:123456789012:${what}/1`
  const text = `
roles-anywhere-certificate: host.pem
roles-anywhere-trust-anchor: ${arn('trust-anchor')}
roles-anywhere-profile: ${arn('profile')}
roles-anywhere-role: arn:aws:iam::123456789012:role/rds-connect
roles-anywhere-duration: 2h
`
  const options = async (more: string, ofEndpoint = '') => {
    const endpoints = `\nendpoints:\n  - rds-endpoint: ${HOST}\n${ofEndpoint}`
    return (await prepareEndpoints((await load(t, text + more + endpoints)).endpoints, silent))[0]!
  }
  const sync = `    sync: {target-group-arn: '${GROUP_ARN}'}\n`
  const { options: found, sync: job } = await options('roles-anywhere-key: key.pem', sync)
  t.same(found.rolesAnywhere, {
    certificateFile: 'host.pem',
    keyFile: 'key.pem',
    keyPassphraseFile: undefined,
    intermediatesFile: undefined,
    trustAnchorArn: arn('trust-anchor'),
    profileArn: arn('profile'),
    roleArn: 'arn:aws:iam::123456789012:role/rds-connect',
    duration: 2 * 60 * 60_000,
    sessionName: undefined,
    endpoint: undefined,
  })
  t.type(job?.credentials, 'function')
  for (const [more, ofEndpoint, problem] of [
    ['', '', /roles-anywhere-key is missing; IAM Roles Anywhere needs it/],
    ['', sync, /roles-anywhere-key is missing; IAM Roles Anywhere needs it/],
    [
      'roles-anywhere-key: key.pem\nprofile: dev',
      '',
      /config\.yaml:8:10: profile: contradicts roles-anywhere-certificate; use one of them/,
    ],
  ] as const) {
    await t.rejects(options(more, ofEndpoint), { code: 'CONFIG_INVALID', message: problem })
  }
  t.match(await mistakes(t, `${text.replace('role/rds', 'user/rds')}endpoints: [{rds-endpoint: ${HOST}}]\n`), [
    'config.yaml:5:22: roles-anywhere-role: "arn:aws:iam::123456789012:user/rds-connect" is not arn:aws:iam::ACCOUNT:role/NAME',
  ])
})

test('options that conflict are reported with the names that were used', async t => {
  const open = await mistakes(t, `endpoints:\n  - listen: 0.0.0.0:3306\n    rds-endpoint: ${HOST}\n`)
  t.match(open, [
    /^config\.yaml:2:13: endpoint .*: listen: other machines can reach 0\.0\.0\.0:3306.*\(local-users\).*\(tls-cert\), or trust-network/,
  ])
  t.notMatch(open.join(), /--/)
  const flags = { 'rds-endpoint': HOST, 'tls-cert': 'a.pem', 'ca-only': true }
  await t.rejects(loadConfig(flags, [], { MYSQL_IAM_PROXY_REQUIRE_TLS: '1' }), {
    message: '--tls-cert: needs --tls-key; --ca-only: needs at least one --ca',
  })
  const conflicting = { MYSQL_IAM_PROXY_REQUIRE_TLS: '1', MYSQL_IAM_PROXY_LOCAL_TLS: 'off' }
  await t.rejects(loadConfig({ 'rds-endpoint': HOST }, [], conflicting), {
    message: /^MYSQL_IAM_PROXY_REQUIRE_TLS: contradicts MYSQL_IAM_PROXY_LOCAL_TLS off$/,
  })
  t.match(await mistakes(t, `endpoints: [{rds-endpoint: ${HOST}}]\ntls-key: a.pem\n`), [
    'config.yaml:2:10: tls-key: needs tls-cert',
  ])
})

test('endpoints with overlapping listeners are refused', async t => {
  const two = (left: string, right: string) =>
    `trust-network: true\nendpoints:\n  - {rds-endpoint: ${HOST}, listen: '${left}'}\n  - {rds-endpoint: ${HOST}, listen: '${right}'}\n`
  const pairs = [
    ['127.0.0.1:1', 'localhost:1'],
    ['0.0.0.0:1', '127.0.0.1:1'],
    ['127.0.0.1:1', '[::]:1'],
    ['unix:/a', 'unix:/a'],
  ]
  for (const [left, right] of pairs) {
    t.match(await mistakes(t, two(left!, right!)), [/^config\.yaml:4:\d+: .*already listens on /], `${left} ${right}`)
  }
  for (const [left, right] of [
    ['127.0.0.1:0', '127.0.0.1:0'],
    ['127.0.0.1:1', '127.0.0.2:1'],
    ['0.0.0.0:1', '0.0.0.0:2'],
    ['unix:/a', 'unix:/b'],
  ]) {
    t.same(await mistakes(t, two(left!, right!)), [], `${left} ${right}`)
  }
})

test('an incomplete local user is refused', async t => {
  const cases: [Record<string, string>, Record<string, string>, string][] = [
    [{ 'local-password-file': 'pw' }, {}, '--local-password-file: needs --local-user'],
    [{}, { LOCAL_PASSWORD: 'hush' }, 'MYSQL_IAM_PROXY_LOCAL_PASSWORD: needs --local-user'],
    [{ 'local-user': 'a' }, {}, '--local-user: needs --local-password-file'],
    [
      { 'local-user': 'a', 'local-password-file': 'pw' },
      { LOCAL_PASSWORD: 'hush' },
      '--local-password-file: MYSQL_IAM_PROXY_LOCAL_PASSWORD is set as well; use only one of them',
    ],
  ]
  for (const [flags, variables, message] of cases) {
    const environment = Object.fromEntries(
      Object.entries(variables).map(([name, value]) => [`MYSQL_IAM_PROXY_${name}`, value]),
    )
    await t.rejects(loadConfig({ 'rds-endpoint': HOST, ...flags }, [], environment), {
      code: 'CONFIG_INVALID',
      message,
    })
  }
})

test('config check reads the files that options name', async t => {
  const files = t.testdir({
    empty: '\n',
    two: 'a\nb\n',
    bom: '\ufeffsecret\n',
    good: 'secret\n',
    'no.pem': 'no certificate',
  })
  const user = (secret: string) =>
    `endpoints:\n  - name: x\n    rds-endpoint: ${HOST}\n    local-users:\n      - {name: a, ${secret}}\n`
  const wrong = async (text: string) =>
    await configCommand('check', { config: await file(t, text) }, {}).then(
      result => result,
      (error: Error) =>
        error.message
          .split('\n')[0]!
          .replace(/^.*(?=config\.yaml)/, '')
          .replaceAll(files, ''),
    )
  const place = /^config\.yaml:5:\d+: endpoint x: local user a: password-/
  for (const [secret, message] of [
    [`password-file: ${files}/empty`, /-file \/empty: the first line is empty$/],
    [`password-file: ${files}/two`, /-file \/two: has more than one line$/],
    [`password-file: ${files}/bom`, /-file \/bom: begins with a byte-order mark/],
    [`password-file: ${files}/none`, /-file \/none: ENOENT$/],
    ['password-env: NO_SUCH_VARIABLE', /-env: the variable NO_SUCH_VARIABLE is not set$/],
    ["password-hash: '$2y$10$abc'", /-hash: is neither/],
  ] as const) {
    const text = await wrong(user(secret))
    t.match(text, place, secret)
    t.match(text, message, secret)
    t.notMatch(text, /secret|2y/)
  }
  t.match(await wrong(user(`password-file: ${files}/good`)), /good: 1 endpoint\./)
  t.match(await wrong(user('password-hash: *2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19')), /:5:\d+: .*\* needs quotes$/)
  const users = '{name: a, password-env: X}'
  t.match(await mistakes(t, `endpoints: [{rds-endpoint: ${HOST}}]\nlocal-users: [${users}, ${users}]\n`), [
    'config.yaml:2:50: local user a: name: duplicate local user',
  ])
  const pem = `endpoints: [{rds-endpoint: ${HOST}}]\nca: ${files}/no.pem\n`
  t.equal(await wrong(pem), 'config.yaml:2:5: ca /no.pem: not a certificate in PEM format')
  const tls = `endpoints: [{rds-endpoint: ${HOST}}]\ntls-cert: ${files}/no.pem\ntls-key: ${files}/no.pem\n`
  t.match(await wrong(tls), /^config\.yaml:2:11: tls-cert \/no\.pem: is not a certificate in PEM format$/m)
  t.equal(
    await wrong(`endpoints: [{rds-endpoint: ${HOST}}]\nadmin-listen: 0.0.0.0:9090\n`),
    'config.yaml:2:15: admin-listen: 0.0.0.0:9090 is not a loopback address; add admin-token-file, or use health-listen for health and metrics alone',
  )
})

test('a value is used as written', async t => {
  const { endpoints } = await load(t, `endpoints: [{rds-endpoint: ${HOST}}]\nuser: 007\nprofile: 'dev'\n`)
  t.match(endpoints[0]!.settings, { user: '007', profile: 'dev' })
})

test('old names of keys, with the new ones', async t => {
  const arn = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/orders/0123456789abcdef'
  const sync = `{target-group-arn: '${arn}', gather: never, confirm: 3, keep: 10.0.0.1}`
  t.same(await mistakes(t, `endpoints:\n  - name: x\n    rds-endpoint: ${HOST}\n    sync: ${sync}\n`), [
    'config.yaml:4:121: endpoint x: sync: gather is now collect-answers',
    'config.yaml:4:136: endpoint x: sync: confirm is now confirmations',
    'config.yaml:4:148: endpoint x: sync: keep is now keep-target',
  ])
  t.match(await mistakes(t, `rdsEndpoint: a\nrds_endpoint: b\n`), [
    /rdsEndpoint: unknown key; did you mean rds-endpoint\?/,
    /rds_endpoint: unknown key; did you mean rds-endpoint\?/,
  ])
})

test('--port is the port of the first endpoint on the line, the next one takes the next', async t => {
  const ports = async (flags: Record<string, string>, endpoints: string[]) => {
    const config = await loadConfig(flags, endpoints, {})
    return config.endpoints.map(({ settings }) => settings.listen)
  }
  const [a, b] = ['a', 'b'].map(name => `${name}.abcdefghijkl.eu-west-1.rds.amazonaws.com`) as [string, string]
  t.same(await ports({ port: '4000' }, [a]), ['127.0.0.1:4000'])
  t.same(await ports({ port: '4000' }, [a, b]), ['127.0.0.1:4000', '127.0.0.1:4001'])
  t.same(await ports({ port: '4000' }, [a, `${b}?port=5000`]), ['127.0.0.1:4000', '127.0.0.1:5000'])
  const file = `endpoints: [{ name: a, rds-endpoint: ${a} }, { name: b, rds-endpoint: ${b}, listen: '127.0.0.1:1' }]`
  const config = `${t.testdir({ 'config.yaml': file })}/config.yaml`
  t.same(await ports({ port: '4000', config }, ['b']), ['127.0.0.1:4000'])
  await t.rejects(ports({ port: '4000', config }, []), /--port: applies to one database, but there are 2 endpoints/)
})
