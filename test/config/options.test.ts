import { test } from 'tap'
import { environmentName, optionNames, optionSpec } from '../../src/config/options.ts'
import { resolveSettings } from '../../src/config/settings.ts'
import { ProxyError } from '../../src/errors.ts'

/** What is wrong with these flags and this environment. */
function mistakes(flags: Record<string, unknown>, environment: NodeJS.ProcessEnv = {}): string {
  try {
    resolveSettings(flags, environment)
  } catch (error) {
    if (error instanceof ProxyError && error.code === 'CONFIG_INVALID') return error.message
    throw error
  }
  return ''
}

/** The milliseconds of a duration as --login-timeout. */
function milliseconds(text: string): number {
  return resolveSettings({ 'login-timeout': text }, {})['login-timeout']
}

test('defaults', async t => {
  t.match(resolveSettings({}, {}), {
    'rds-endpoint': undefined,
    connect: undefined,
    listen: '127.0.0.1:3306',
    user: undefined,
    region: undefined,
    profile: undefined,
    ca: [],
    'ca-only': false,
    'token-in-handshake': 'auto',
    'require-writer': false,
    'local-user': undefined,
    'local-password-file': undefined,
    'local-password': undefined,
    'tls-cert': undefined,
    'tls-key': undefined,
    'require-tls': false,
    'allow-from': [],
    'trust-network': false,
    'max-connections': 10_000,
    'max-logins-per-second': 150,
    'connect-timeout': 5_000,
    'login-timeout': 8_000,
    keepalive: 60_000,
    'busy-poll': 0.1,
    'target-group-arn': undefined,
    resolver: [],
    'collect-answers': 'auto',
    confirmations: 6,
    'keep-target': [],
    verify: false,
    'health-timeout': 300_000,
    'dry-run': false,
    watch: false,
    interval: 30_000,
    'admin-listen': undefined,
    'admin-token-file': undefined,
    'log-level': 'info',
    'log-format': 'auto',
    database: undefined,
    aws: false,
    name: undefined,
    json: false,
  })
})

test('the name of an option’s environment variable', async t => {
  t.equal(environmentName('rds-endpoint'), 'MYSQL_IAM_PROXY_RDS_ENDPOINT')
  t.equal(environmentName('token-in-handshake'), 'MYSQL_IAM_PROXY_TOKEN_IN_HANDSHAKE')
  t.equal(environmentName('ca'), 'MYSQL_IAM_PROXY_CA')
})

test('flag > environment > default, for each option', async t => {
  const values: Record<string, [flag: string, environment: string]> = {
    switch: ['true', 'false'],
    count: ['1', '2'],
    duration: ['1s', '2s'],
  }
  for (const name of optionNames) {
    const { kind, choices, default: standard } = optionSpec(name)
    const others = choices?.filter(choice => choice !== standard)
    const usual = values[kind] ?? ['from-flag', 'from-environment']
    const [flag, inEnvironment] = (others ?? usual) as [string, string]
    const environment = { [environmentName(name)]: inEnvironment }
    const ofEnvironment = resolveSettings({}, environment)[name]
    const ofFlag = resolveSettings({ [name]: flag }, {})[name]
    t.notSame(ofFlag, ofEnvironment, name)
    t.same(resolveSettings({ [name]: flag }, environment)[name], ofFlag, `${name}: the flag comes first`)
    if (kind !== 'switch') t.notSame(ofEnvironment, resolveSettings({}, {})[name], `${name}: then the environment`)
  }
})

test('the environment alone', async t => {
  t.match(
    resolveSettings(
      {},
      {
        MYSQL_IAM_PROXY_RDS_ENDPOINT: 'db.example.com',
        MYSQL_IAM_PROXY_CA: '/a.pem:/b.pem',
        MYSQL_IAM_PROXY_CA_ONLY: '1',
        MYSQL_IAM_PROXY_LOGIN_TIMEOUT: '2m',
        PATH: '/bin',
        MYSQL_HOST: 'elsewhere',
      },
    ),
    { 'rds-endpoint': 'db.example.com', ca: ['/a.pem', '/b.pem'], 'ca-only': true, 'login-timeout': 120_000 },
  )
})

test('an empty variable counts as not set', async t => {
  const settings = resolveSettings({}, { MYSQL_IAM_PROXY_LISTEN: '', MYSQL_IAM_PROXY_USER: '', MYSQL_IAM_PROXY_CA: '' })
  t.equal(settings.listen, '127.0.0.1:3306')
  t.equal(settings.user, undefined)
  t.same(settings.ca, [])
})

test('an empty flag is a mistake', async t => {
  t.match(mistakes({ user: '' }), /--user/)
  t.match(mistakes({ 'rds-endpoint': '' }), /--rds-endpoint/)
  t.match(mistakes({ ca: [''] }), /--ca/)
})

test('an empty place between the files of MYSQL_IAM_PROXY_CA is no file', async t => {
  t.same(resolveSettings({}, { MYSQL_IAM_PROXY_CA: '/a.pem:' }).ca, ['/a.pem'])
  t.same(resolveSettings({}, { MYSQL_IAM_PROXY_CA: '/a.pem::/b.pem' }).ca, ['/a.pem', '/b.pem'])
})

test('a flag given more than once', async t => {
  t.equal(resolveSettings({ user: ['a', 'b'] }, {}).user, 'b', 'the last one counts')
  t.equal(resolveSettings({ 'login-timeout': ['1s', '2s'] }, {})['login-timeout'], 2_000)
  t.same(resolveSettings({ ca: ['/a.pem', '/b.pem'] }, {}).ca, ['/a.pem', '/b.pem'], 'all of them count')
})

test('durations', async t => {
  t.equal(milliseconds('1ms'), 1)
  t.equal(milliseconds('500ms'), 500)
  t.equal(milliseconds('5s'), 5_000)
  t.equal(milliseconds('1.5s'), 1_500)
  t.equal(milliseconds('2m'), 120_000)
  t.equal(milliseconds('24h'), 86_400_000)
  const bad = ['', '0s', '0.5ms', '5', '-5s', '+5s', '5 s', ' 5s', '5S', '1e3ms', '.5s', '5sec', '25h', '5s5s', 'NaNs']
  for (const text of bad) {
    t.match(mistakes({ 'login-timeout': text }), /^--login-timeout: .*500ms, 5s or 2m/, JSON.stringify(text))
  }
})

test('counts', async t => {
  const confirm = (text: string) => resolveSettings({ confirmations: text }, {}).confirmations
  t.equal(confirm('1'), 1)
  t.equal(confirm('60'), 60)
  for (const text of ['', '-1', '1.5', '1e3', 'six', ' 6'])
    t.match(mistakes({ confirmations: text }), /^--confirmations: /, text)
})

test('several values in one variable', async t => {
  const environment = { MYSQL_IAM_PROXY_RESOLVER: '10.0.0.2:53,[fd00::2]:53', MYSQL_IAM_PROXY_KEEP_TARGET: 'fd00::1,' }
  t.match(resolveSettings({}, environment), { resolver: ['10.0.0.2:53', '[fd00::2]:53'], 'keep-target': ['fd00::1'] })
})

test('choices', async t => {
  for (const name of optionNames) {
    const { choices } = optionSpec(name)
    if (!choices) continue
    for (const choice of choices) t.equal(resolveSettings({ [name]: choice }, {})[name], choice)
    const message = mistakes({ [name]: 'other' })
    t.match(message, `--${name}`)
    t.match(message, '"other"')
    for (const choice of choices) t.match(message, choice, 'the message names the choices')
    t.not(mistakes({ [name]: choices[0]!.toUpperCase() }), '', 'case matters')
  }
})

test('switches', async t => {
  const caOnly = (value: unknown) => resolveSettings({ 'ca-only': value }, {})['ca-only']
  t.equal(caOnly(true), true)
  t.equal(caOnly(false), false)
  for (const text of ['true', '1']) t.equal(caOnly(text), true, text)
  for (const text of ['false', '0']) t.equal(caOnly(text), false, text)
  t.match(mistakes({}, { MYSQL_IAM_PROXY_CA_ONLY: 'maybe' }), /MYSQL_IAM_PROXY_CA_ONLY.*"maybe".*true or false/)
  t.equal(
    resolveSettings({ 'ca-only': false }, { MYSQL_IAM_PROXY_CA_ONLY: 'true' })['ca-only'],
    false,
    '--no-ca-only over the environment',
  )
})

test('all mistakes are named at once, each where it was made', async t => {
  const message = mistakes(
    { 'login-timeout': 'soon', 'log-level': 'loud', user: 'fine' },
    { MYSQL_IAM_PROXY_LOG_FORMAT: 'xml', MYSQL_IAM_PROXY_CONNECT_TIMEOUT: '7', MYSQL_IAM_PROXY_LOG_LEVEL: 'silly' },
  )
  t.match(message, /--login-timeout: "soon"/)
  t.match(message, /--log-level: "loud"/)
  t.match(message, /MYSQL_IAM_PROXY_LOG_FORMAT: "xml"/)
  t.match(message, /MYSQL_IAM_PROXY_CONNECT_TIMEOUT: "7"/)
  t.notMatch(message, /fine|silly|--user/)
})

test('a variable of ours that is no option', async t => {
  const message = mistakes({}, { MYSQL_IAM_PROXY_RDS_ENDPIONT: 'db', MYSQL_IAM_PROXY_PASSWORD: 'hunter2' })
  t.match(message, /MYSQL_IAM_PROXY_RDS_ENDPIONT/)
  t.match(message, /MYSQL_IAM_PROXY_PASSWORD/)
  t.notMatch(message, /hunter2/, 'its value is not told')
  t.equal(mistakes({}, { MYSQL_IAM_PROXYX: 'x', IAM_PROXY_USER: 'x' }), '')
})
