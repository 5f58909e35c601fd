import { delimiter } from 'node:path'
import { test } from 'tap'
import { environmentName, type OptionName, optionNames, optionSpec } from '../../src/config/options.ts'
import { resolveSettings, valuesIn } from '../../src/config/settings.ts'
import { ProxyError } from '../../src/errors.ts'
import { OPTION_VALUES } from '../../src/option-values.ts'

const RA = 'arn:aws:rolesanywhere:eu-west-1:123456789012'
const ARN = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup'

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
    'region-bundle': 'cached',
    'bundle-cache': undefined,
    'token-in-handshake': 'auto',
    compress: 'off',
    'require-writer': false,
    'local-user': undefined,
    'local-password-file': undefined,
    'local-password': undefined,
    'tls-cert': undefined,
    'tls-key': undefined,
    'require-tls': false,
    'allow-from': [],
    'proxy-protocol': [],
    'trust-network': false,
    'max-connections': 10_000,
    'max-unauthenticated': 20,
    'prepared-connections': 0,
    'max-logins-per-second': 150,
    'connect-timeout': 5_000,
    'token-reuse': 0,
    'greeting-timeout': 60_000,
    'login-timeout': 8_000,
    keepalive: 60_000,
    'tcp-user-timeout': 60_000,
    'client-write-timeout': 90_000,
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
    'health-listen': undefined,
    'log-level': 'info',
    'log-format': 'auto',
    'syntax-only': false,
    database: undefined,
    format: 'mysql',
    host: undefined,
    'ssl-ca': undefined,
    aws: false,
    report: undefined,
    yes: false,
    name: undefined,
    json: false,
  })
})

test('the name of an option’s environment variable', async t => {
  t.equal(environmentName('rds-endpoint'), 'MYSQL_IAM_PROXY_RDS_ENDPOINT')
  t.equal(environmentName('token-in-handshake'), 'MYSQL_IAM_PROXY_TOKEN_IN_HANDSHAKE')
  t.equal(environmentName('ca'), 'MYSQL_IAM_PROXY_CA')
})

/** For each option two valid values, unlike its default, and invalid ones. */
const VALUES: Record<OptionName, [flag: string, environment: string, ...invalid: string[]]> = {
  as: ['a', 'b-1', 'a.b', 'a b', '-a'],
  'no-check': ['true', 'false', 'yes'],
  'no-input': ['true', 'false', 'yes'],
  'rds-endpoint': ['db.a', 'mysql://db.b:3307/', 'db:0', 'db:99999', '::1', '$DB'],
  connect: ['nlb.a', '[::1]:3307', 'nlb:0', 'nlb:port', 'a b'],
  proxy: [
    'socks5://proxy.a',
    'http://u:p@proxy.b:3128',
    'https://proxy.a',
    'proxy.a:3128',
    'http://u:p#@proxy.a',
    'socks4://a',
  ],
  tunnel: [
    'ssh -L {localPort}:{host}:{port} a',
    "sh -c 'x {localPort} | y'",
    'ssh -L 3307:{host}:{port} a',
    'x {localPort} | y',
    'x {localport}',
    "x '{localPort}",
    ' ',
  ],
  'ssm-target': ['i-0123456789abcdef0', 'mi-0123456789abcdef0', 'i-1', 'bastion', 'ecs:cluster_task'],
  'tunnel-timeout': ['1ms', '24h', '0s', '25h', '5'],
  'tunnel-idle-timeout': ['0s', '24h', '25h', '-1s', '5'],
  listen: ['127.0.0.1:1', 'unix:/run/x.sock', '3306', ':3306', 'unix:x.sock', 'a b', `unix:/${'x'.repeat(120)}`],
  port: ['3307', '0', '70000', '-1', 'http'],
  user: ['a', 'b', 'a\tb', 'arn:aws:iam::123456789012:user/a'],
  region: ['eu-west-1', 'us-gov-west-1', 'EU-WEST-1', 'eu-west-1a', 'ireland'],
  profile: ['a', 'b'],
  'roles-anywhere-certificate': ['/a.pem', '/b.pem'],
  'roles-anywhere-key': ['/a.pem', '/b.pem'],
  'roles-anywhere-key-passphrase-file': ['a', 'b'],
  'roles-anywhere-intermediates': ['/a.pem', '/b.pem'],
  'roles-anywhere-trust-anchor': [`${RA}:trust-anchor/a`, `${RA}:trust-anchor/b`, `${RA}:profile/a`, 'a'],
  'roles-anywhere-profile': [`${RA}:profile/a`, `${RA}:profile/b`, `${RA}:trust-anchor/a`, 'rds'],
  'roles-anywhere-role': ['arn:aws:iam::123456789012:role/a', 'arn:aws-cn:iam::123456789012:role/b/c', 'a'],
  'roles-anywhere-duration': ['15m', '12h', '14m', '13h', '3600'],
  'roles-anywhere-session-name': ['etl', 'a@b', 'a', 'a b'],
  'roles-anywhere-endpoint': ['https://a', 'https://b:8443', 'http://a', 'a', 'https://a/sessions'],
  ca: ['/a.pem', '/b.pem'],
  'ca-only': ['true', 'false', 'yes', 'maybe'],
  'region-bundle': ['auto', 'off', 'on', 'true'],
  'bundle-cache': ['/a', '/b'],
  'token-in-handshake': ['always', 'never', 'Always', 'other'],
  compress: ['zstd', 'auto', 'gzip', 'on'],
  'require-writer': ['true', 'false', 'yes'],
  'sign-in': ['auto', 'never', 'always', 'true'],
  'sso-session': ['a', 'b'],
  'device-code': ['true', 'false', 'yes'],
  'no-browser': ['true', 'false', 'yes'],
  'local-user': ['a', 'b'],
  'local-password-file': ['a', 'b'],
  'local-password': ['a', 'b'],
  'tls-cert': ['a', 'b'],
  'tls-key': ['a', 'b'],
  'local-tls': ['auto', 'off', 'on', 'self-signed'],
  'require-tls': ['true', 'false', 'yes'],
  'allow-from': ['10.0.0.0/8', 'fd00::/8', '10.0.0.0/33', 'fd00::/129', 'host', '10.0.0.0/8/8', '10.0.0.0/'],
  'proxy-protocol': ['10.0.0.0/8', 'unix', '10.0.0.0/33', 'host'],
  'trust-network': ['true', 'false', 'yes'],
  'max-connections': ['0', '9999999', '10000000', '-1', '1.5', 'ten'],
  'max-unauthenticated': ['0', '1', '-1', '1e3'],
  'prepared-connections': ['2', '1', '3', '-1'],
  'max-logins-per-second': ['0', '1', '-1', '1e3'],
  'connect-timeout': ['1ms', '24h', '0s', '0.5ms', '25h', '5'],
  'token-reuse': ['0s', '10m', '11m', '-1s', '5'],
  'greeting-timeout': ['1ms', '24h', '0s', '25h', '5'],
  'login-timeout': ['1ms', '24h', '0s', '25h', '5'],
  keepalive: ['1ms', '24h', '0s', '25h', '60 seconds'],
  'tcp-user-timeout': ['0s', '24h', '-1s', '25h', '60 seconds'],
  'client-write-timeout': ['0s', '24h', '-1s', '25h', '60 seconds'],
  config: ['a', 'b'],
  'max-sigterm-delay': ['0s', '24h', '25h', '1'],
  'admin-listen': ['127.0.0.1:9090', '[::1]:0', '127.0.0.1', '127.0.0.1:70000', '9090'],
  'admin-token-file': ['a', 'b'],
  'health-listen': ['0.0.0.0:9090', '[::]:0', '127.0.0.1', '127.0.0.1:70000', '9090'],
  'ready-when': ['any', 'all', 'All', 'one'],
  quitquitquit: ['true', 'false', 'yes'],
  until: ['ready', 'started', 'live'],
  max: ['1ms', '24h', '0s', '25h'],
  'exit-zero-on-sigterm': ['true', 'false', 'yes'],
  'busy-poll': ['0s', '1ms', '2ms', '1'],
  'target-group-arn': [`${ARN}/a/0a`, `${ARN}/b/0b`, 'orders', `${ARN}/a`],
  resolver: ['10.0.0.2', '[fd00::2]:53', 'dns.example', '10.0.0.2:99999', 'fd00::2:53:x'],
  'collect-answers': ['always', 'never', 'other'],
  confirmations: ['1', '2', '0', '-1'],
  'keep-target': ['10.0.0.1', 'fd00::1', 'a', '10.0.0.1:3306'],
  verify: ['true', 'false', 'yes'],
  'health-timeout': ['1ms', '24h', '0s'],
  'dry-run': ['true', 'false', 'yes'],
  watch: ['true', 'false', 'yes'],
  interval: ['1ms', '24h', '0s'],
  'log-level': ['debug', 'warn', 'verbose'],
  quiet: ['true', 'false', 'yes'],
  'log-format': ['json', 'pretty', 'xml'],
  'syntax-only': ['true', 'false', 'yes'],
  database: ['a', 'b'],
  format: ['jdbc', 'text', 'JDBC', 'xml'],
  host: ['a', 'b'],
  'ssl-ca': ['a', 'b'],
  aws: ['true', 'false', 'yes'],
  report: ['a.md', 'b.md'],
  yes: ['true', 'false', 'maybe'],
  endpoint: ['a', 'b'],
  'aws-only': ['true', 'false', 'yes'],
  'print-policy': ['true', 'false', 'yes'],
  json: ['true', 'false', 'yes'],
  method: ['caching_sha2_password', 'mysql_native_password', 'mysql_clear_password'],
  pid: ['1', '4711', '0', '-1', 'all'],
  system: ['true', 'false', 'yes'],
  'keep-env': ['AWS_PROFILE', 'PATH'],
  follow: ['true', 'false', 'yes'],
}

test('flag > environment > default, for each option', async t => {
  for (const name of optionNames) {
    const [flag, inEnvironment] = VALUES[name]
    const { separator = ':', flagOnly } = optionSpec(name)
    if (flagOnly) continue
    const environment = { [environmentName(name)]: inEnvironment }
    const ofEnvironment = resolveSettings({}, environment)[name]
    const ofFlag = resolveSettings({ [name]: flag }, {})[name]
    t.notSame(ofFlag, ofEnvironment, name)
    t.same(resolveSettings({ [name]: flag }, environment)[name], ofFlag, `${name}: the flag comes first`)
    if (optionSpec(name).kind !== 'boolean') {
      t.notSame(ofEnvironment, resolveSettings({}, {})[name], `${name}: then the environment`)
    }
    if (optionSpec(name).kind === 'strings') {
      t.notMatch(inEnvironment, new RegExp(`^.*\\${separator}$`), `${name}: the separator is not at the end`)
    }
  }
})

test('each option refuses invalid values, with the flag or the variable', async t => {
  for (const name of optionNames) {
    const [, , ...invalid] = VALUES[name]
    for (const value of invalid) {
      const variable = environmentName(name)
      if (name === 'proxy' || name === 'tunnel' || name === 'user') {
        const shown = [mistakes({ [name]: value }), mistakes({}, { [variable]: value })]
        t.match(shown, [new RegExp(`--${name}: ["{\\w]`), new RegExp(`${variable}: ["{\\w]`)], value)
        t.notOk(value.trim() !== '' && shown.some(text => text.includes(value)), 'the value is not repeated')
        continue
      }
      t.match(mistakes({ [name]: value }), `--${name}: "${value}"`, `--${name} ${value}`)
      if (optionSpec(name).flagOnly) continue
      // Between several values in a variable there may be a separator that is part of an invalid value.
      t.match(mistakes({}, { [variable]: value }), `${variable}: "`, `${variable}=${value}`)
    }
  }
})

test('each option with a check, a range or choices has an invalid value in this test', async t => {
  for (const name of optionNames) {
    const { kind, check, choices } = optionSpec(name)
    const isFree = (kind === 'string' || kind === 'strings') && !check && !choices
    t.equal(VALUES[name].length > 2, !isFree, name)
  }
})

test('the library and the command line have the same defaults', async t => {
  const settings: Record<string, unknown> = resolveSettings({}, {})
  for (const [name, values] of Object.entries(OPTION_VALUES)) {
    const option = name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
    t.equal(settings[option], values.default, option)
  }
})

test('only the environment can set secret options', async t => {
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

test('--port and --quiet stand for other options, before the environment', async t => {
  const { listen, 'log-level': level } = resolveSettings(
    { port: '3307', quiet: true },
    { MYSQL_IAM_PROXY_LISTEN: '127.0.0.1:1', MYSQL_IAM_PROXY_LOG_LEVEL: 'debug' },
  )
  t.same([listen, level], ['127.0.0.1:3307', 'warn'])
  t.equal(resolveSettings({ quiet: true, 'log-level': 'debug' }, {})['log-level'], 'debug', 'it says more')
  t.equal(resolveSettings({ port: ['1', '2'] }, {}).listen, '127.0.0.1:2', 'the last one counts')
  t.match(mistakes({ port: '70000' }), /^--port: "70000" is not a port; write a number such as 3307$/)
})

test('MYSQL_IAM_PROXY_PORT is for Kubernetes, so a number in it is a mistake', async t => {
  t.equal(mistakes({}, { MYSQL_IAM_PROXY_PORT: 'tcp://10.0.0.1:3306' }), '')
  t.match(mistakes({}, { MYSQL_IAM_PROXY_PORT: '3307' }), /set MYSQL_IAM_PROXY_LISTEN=127.0.0.1:3307/)
  t.match(mistakes({}, { MYSQL_IAM_PROXY_QUIET: '1' }), /MYSQL_IAM_PROXY_QUIET: unknown option/)
})

test('an empty variable counts as not set', async t => {
  const settings = resolveSettings({}, { MYSQL_IAM_PROXY_LISTEN: '', MYSQL_IAM_PROXY_USER: '', MYSQL_IAM_PROXY_CA: '' })
  t.equal(settings.listen, '127.0.0.1:3306')
  t.equal(settings.user, undefined)
  t.same(settings.ca, [])
})

/** What counts as not set if its variable is empty, because templates set it so, and what is refused, because it would open. */
const LISTS: Record<string, { separator: string; ofEmptyVariable: 'not set' | 'refused' | 'no variable' }> = {
  ca: { separator: delimiter, ofEmptyVariable: 'not set' },
  'allow-from': { separator: ',', ofEmptyVariable: 'refused' },
  'proxy-protocol': { separator: ',', ofEmptyVariable: 'refused' },
  resolver: { separator: ',', ofEmptyVariable: 'not set' },
  'keep-target': { separator: ',', ofEmptyVariable: 'not set' },
  'keep-env': { separator: '', ofEmptyVariable: 'no variable' },
}

test('a list without a value is refused: in flags, in variables, with separators alone', async t => {
  const lists = optionNames.filter(name => optionSpec(name).kind === 'strings')
  t.same(lists.sort(), Object.keys(LISTS).sort(), 'each list has a row')
  for (const name of lists) {
    const { separator, ofEmptyVariable } = LISTS[name]!
    const [variable, valid] = [environmentName(name), VALUES[name][0]!]
    // yargs gives [] for a flag without a value, and [''] for --name=
    for (const flag of [[], [''], [valid, ''], '']) {
      t.equal(mistakes({ [name]: flag }), `--${name}: needs a value`, JSON.stringify(flag))
    }
    if (ofEmptyVariable === 'no variable') continue
    const refused = `${variable}: needs a value`
    t.equal(mistakes({}, { [variable]: '' }), ofEmptyVariable === 'refused' ? refused : '', `${variable}=`)
    for (const value of [separator, separator.repeat(3)]) t.equal(mistakes({}, { [variable]: value }), refused, value)
    if (!optionSpec(name).check) continue
    for (const value of [' ', ` ${separator} `, `\t`]) {
      t.match(mistakes({}, { [variable]: value }), new RegExp(`^${variable}: "\\s"`), JSON.stringify(value))
      t.match(mistakes({ [name]: [value] }), new RegExp(`^--${name}: "\\s`), JSON.stringify(value))
    }
  }
})

test('an empty variable of an option that restricts is refused', async t => {
  const restricting = optionNames.filter(name => optionSpec(name).restricts)
  t.same(restricting.sort(), ['allow-from', 'ca-only', 'local-user', 'proxy-protocol', 'require-tls'])
  for (const name of restricting) {
    const variable = environmentName(name)
    t.match(mistakes({}, { [variable]: '' }), new RegExp(`^${variable}: needs a value`))
    t.equal(mistakes({ [name]: VALUES[name][0] }, { [variable]: '' }), '', 'the flag comes first')
  }
})

test('an empty flag is refused', async t => {
  t.match(mistakes({ user: '' }), /--user/)
  t.match(mistakes({ 'rds-endpoint': '' }), /--rds-endpoint/)
  t.match(mistakes({ ca: [''] }), /--ca/)
})

test('an empty part of MYSQL_IAM_PROXY_CA names no file', async t => {
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
    t.match(
      mistakes({ 'login-timeout': text }),
      /^--login-timeout: .*(500ms, 5s or 2m|at least 1ms|at most 24h)$/,
      JSON.stringify(text),
    )
  }
})

test('integers', async t => {
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

test('booleans', async t => {
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

test('all mistakes at once, each with its flag or variable', async t => {
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

test('an unknown variable with our prefix', async t => {
  const message = mistakes({}, { MYSQL_IAM_PROXY_RDS_ENDPIONT: 'db', MYSQL_IAM_PROXY_PASSWORD: 'hunter2' })
  t.match(message, /MYSQL_IAM_PROXY_RDS_ENDPIONT/)
  t.match(message, /MYSQL_IAM_PROXY_PASSWORD/)
  t.notMatch(message, /hunter2/, 'its value is not shown')
  t.equal(mistakes({}, { MYSQL_IAM_PROXYX: 'x', IAM_PROXY_USER: 'x' }), '')
})

test('old names of variables, with the new ones', async t => {
  for (const [old, now] of [
    ['GATHER', 'COLLECT_ANSWERS'],
    ['CONFIRM', 'CONFIRMATIONS'],
    ['KEEP', 'KEEP_TARGET'],
    ['NAME', 'ENDPOINT'],
  ]) {
    t.equal(mistakes({}, { [`MYSQL_IAM_PROXY_${old}`]: 'x' }), `MYSQL_IAM_PROXY_${old} is now MYSQL_IAM_PROXY_${now}`)
  }
  t.match(mistakes({}, { MYSQL_IAM_PROXY_LISTENN: 'x' }), /unknown option; did you mean MYSQL_IAM_PROXY_LISTEN\?/)
})

test('several paths in a variable: a colon separates them, on Windows a semicolon', t => {
  t.same(valuesIn('/a.pem::/b.pem', undefined, 'linux'), ['/a.pem', '/b.pem'])
  t.same(valuesIn('C:\\a.pem;D:\\b.pem', undefined, 'win32'), ['C:\\a.pem', 'D:\\b.pem'])
  t.same(valuesIn('10.0.0.0/8,fd00::/8', ',', 'win32'), ['10.0.0.0/8', 'fd00::/8'])
  t.end()
})
