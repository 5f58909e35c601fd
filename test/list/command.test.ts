import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { type Test, test } from 'tap'
import { listPolicy } from '../../src/list/actions.ts'
import { toDocument } from '../../src/list/document.ts'
import type { Found } from '../../src/list/found.ts'
import { type Account, answersOf } from '../support/aws-account.ts'
import { type AwsApi, awsApiEnvironment, serveAwsApi } from '../support/aws-api.ts'
import { PROGRAM } from '../support/program.ts'
import { ACCESS_DENIED, startScriptedUpstream, testCertificates, untilResponse } from '../support/scripted-upstream.ts'
import { SSO_PROFILE } from '../support/sso-profile.ts'

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
const isValid = new Ajv2020().compile(JSON.parse(read('./list.schema.json')))

interface Run {
  code: number
  stdout: string
  stderr: string
}

interface RunOptions {
  terminal?: boolean
  environment?: Record<string, string>
  answers?: AwsApi['answers']
  /** what to type after a text */
  typed?: Record<string, string>
}

/** Runs the program against `account`. @param terminal with a terminal of 80 columns, which also gets stderr */
async function run(
  t: Test,
  account: Account,
  args: string[],
  { terminal = false, environment = {}, answers = {}, typed = {} }: RunOptions = {},
): Promise<Run> {
  const { url, close } = await serveAwsApi({ ...answersOf(account), ...answers })
  t.teardown(close)
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(AWS_|MYSQL_IAM_PROXY_|TAP|NO_COLOR|FORCE_COLOR|TERM$|CI$)/.test(name),
  )
  const env = {
    ...Object.fromEntries(inherited),
    AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'secret-access-key-of-the-tests',
    AWS_CONFIG_FILE: '/no-such-home/config',
    AWS_SHARED_CREDENTIALS_FILE: '/no-such-home/credentials',
    AWS_REGION: 'eu-west-1',
    AWS_EC2_METADATA_DISABLED: 'true',
    TERM: 'xterm',
    ...awsApiEnvironment(url),
    ...environment,
  }
  const command = [...PROGRAM, 'list', ...args]
  const quoted = command.map(word => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  const [file, ...words] = terminal ? ['script', '-qec', `stty cols 80; ${quoted}`, '/dev/null'] : command
  const child = spawn(file!, words, { env, stdio: ['pipe', 'pipe', 'pipe'] })
  if (!terminal) child.stdin.end()
  const questions = new Map(Object.entries(typed))
  t.teardown(() => child.kill('SIGKILL'))
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', data => {
    stdout += data
    for (const [question, answer] of questions) {
      if (stdout.includes(question) && questions.delete(question)) child.stdin.write(answer)
    }
  })
  child.stderr.on('data', data => {
    stderr += data
  })
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

const EMPTY: Account = { regions: { 'eu-west-1': {} } }

/** A database and a load balancer in front of it, on this machine. */
async function startDatabase(t: Test): Promise<{ account: Account; ca: string }> {
  const { authority } = await testCertificates()
  const ca = join(t.testdir(), 'ca.pem')
  writeFileSync(ca, authority.certificate)
  const certificate = await authority.issue({ names: ['localhost'] })
  const database = await startScriptedUpstream(t, [
    async peer => {
      await untilResponse(peer, {}, certificate)
      peer.send(ACCESS_DENIED)
    },
  ])
  const account: Account = {
    regions: {
      'eu-west-1': {
        instances: [
          { name: 'orders', host: 'localhost', port: database.port },
          { name: 'legacy', host: 'localhost', port: 1, iam: false, isPublic: true },
          { name: 'shop-1', host: null, engine: 'aurora-mysql', cluster: 'shop', vpc: 'vpc-a' },
        ],
        clusters: [{ name: 'shop', minCapacity: 0 }],
        targetGroups: [{ name: 'g', targets: [{ address: '127.0.0.1', port: 1 }] }],
        loadBalancers: [{ name: 'nlb', host: 'localhost', listeners: [{ port: database.port, group: 'g' }] }],
      },
    },
  }
  return { account, ca }
}

test('without a terminal: a table without colours or progress', async t => {
  const { account, ca } = await startDatabase(t)
  const { code, stdout, stderr } = await run(t, account, ['--ca', ca, '--ca-only'])
  t.equal(code, 0)
  t.equal(stderr, '')
  t.notMatch(stdout, '\x1b')
  t.match(stdout, /^eu-west-1, account 123456789012\n\nNAME +ENGINE +IAM +NETWORK +REACHABLE\n/)
  t.match(stdout, /^orders .* private +yes$/m)
  t.match(stdout, '\n  mysql-iam-proxy add orders\n')
  t.match(stdout, 'IAM authentication of legacy is off.')
})

test('on a terminal: progress, colours, 80 columns', async t => {
  const { account, ca } = await startDatabase(t)
  const { code, stdout } = await run(t, account, ['--ca', ca, '--ca-only'], { terminal: true })
  t.equal(code, 0)
  t.match(stdout, '… asking AWS for databases')
  t.match(stdout, '… asking AWS for load balancers')
  const table = stdout.slice(stdout.lastIndexOf('\r\x1b[K') + 4)
  t.ok(table.startsWith('\x1b[1meu-west-1, account 123456789012\x1b[22m\r\n'), table)
  for (const line of stripVTControlCharacters(table).split('\r\n')) t.ok(line.length <= 80, line)
})

test('NO_COLOR and TERM=dumb', async t => {
  for (const environment of [{ NO_COLOR: '1' }, { TERM: 'dumb' }]) {
    const { code, stdout } = await run(t, EMPTY, ['--aws-only'], { terminal: true, environment })
    t.equal(code, 0)
    t.notMatch(stdout, '\x1b[1m')
    if (environment.TERM) t.notMatch(stdout, '\x1b', 'no progress that overwrites a line')
  }
})

test('JSON is as the schema and docs/list.md say', async t => {
  const { account, ca } = await startDatabase(t)
  const { code, stdout } = await run(t, account, ['--json', '--region', 'eu-west-1', '--ca', ca, '--ca-only'])
  t.equal(code, 0)
  const document = JSON.parse(stdout)
  t.ok(isValid(document), JSON.stringify(isValid.errors))
  const endpointOf = (name: string) => {
    const database = document.databases.find(({ identifier }: { identifier: string }) => identifier === name)
    return database.endpoints[0]
  }
  t.match(endpointOf('orders'), { next: 'mysql-iam-proxy add orders --region eu-west-1', reach: { state: 'yes' } })
  t.match(endpointOf('legacy'), { loadBalancers: [{ name: 'nlb', reach: { state: 'yes' } }], reach: { state: 'no' } })
  t.match(endpointOf('shop').reach, { state: 'not-tried', reason: /wake/ })

  const fields = (schema: { properties?: object; items?: object; $ref?: string }): string[] =>
    Object.keys(schema.properties ?? {})
  const { properties, $defs } = JSON.parse(read('./list.schema.json'))
  const page = read('../../docs/list.md').split('## JSON')[1] ?? ''
  const named = [
    ...fields({ properties }),
    ...fields(properties.databases.items),
    ...fields(properties.problems.items),
    ...fields($defs.endpoint),
    ...fields($defs.endpoint.properties.loadBalancers.items),
    ...fields($defs.reach),
  ]
  for (const field of named) t.match(page, new RegExp(`\`(?:\\.|\\S*\\.)?${field}(?:\\[\\])?\``), field)
})

test('JSON of everything that may be unknown', t => {
  const found: Found = {
    databases: [
      {
        ...{ kind: 'proxy', identifier: 'pool', profile: undefined, region: 'eu-west-1', account: undefined },
        ...{
          engine: 'mysql',
          version: undefined,
          status: 'unknown',
          iam: 'unknown',
          public: undefined,
          vpc: undefined,
        },
        ...{ cluster: undefined, pauses: false, endpoints: [] },
      },
    ],
    problems: [
      {
        ...{ profile: undefined, region: undefined, action: undefined, code: 'CREDENTIALS_MISSING' },
        ...{ message: 'no AWS credentials found', hint: 'Get some.', unknown: 'all databases of this profile' },
      },
    ],
    complete: false,
    rejectedRegions: [{ profile: undefined, region: 'af-south-1' }],
  }
  t.ok(isValid(JSON.parse(JSON.stringify(toDocument(found)))), JSON.stringify(isValid.errors))
  t.end()
})

test('--print-policy, and the page that has it', async t => {
  const { code, stdout } = await run(t, EMPTY, ['--print-policy'])
  t.equal(code, 0)
  t.equal(stdout, `${listPolicy({ allRegions: false })}\n`)
  t.match(read('../../docs/list.md'), `\`\`\`json\n${stdout}\`\`\``)
  const ofAll = await run(t, EMPTY, ['--print-policy', '--region', 'all'])
  t.match(ofAll.stdout, 'rds:DescribeSourceRegions')
})

test('several profiles and regions; an expired session is an error, and the rest is there', async t => {
  const config = join(t.testdir(), 'config')
  const keys = 'aws_access_key_id = AKIAPROD\naws_secret_access_key = secret-access-key-of-the-tests'
  writeFileSync(config, `${SSO_PROFILE}\n[profile prod]\nregion = us-east-1\n${keys}\n`)
  const account: Account = { regions: { 'us-east-1': { instances: [{ name: 'a' }] }, 'us-west-2': {} } }
  const environment = { AWS_CONFIG_FILE: config, AWS_REGION: '', HOME: t.testdirName }
  const args = ['--aws-only', '--profile', 'dev', '--profile', 'prod', '--region', 'us-west-2', '--region', 'us-east-1']
  const { code, stdout } = await run(t, account, args, { environment })
  t.equal(code, 3)
  t.match(stdout, 'mysql-iam-proxy add a --profile prod --region us-east-1')
  t.match(
    stdout.replace(/\s+/g, ' '),
    /session \(profile dev\) has expired .* Run: mysql-iam-proxy login --profile dev/,
  )
})

test('on a terminal, it asks for the code of an MFA device; without one, that is a problem', async t => {
  const config = join(t.testdir(), 'config')
  const keys = 'aws_access_key_id = AKIAME\naws_secret_access_key = secret-access-key-of-the-tests'
  const role = 'source_profile = me\nrole_arn = arn:aws:iam::123456789012:role/reader\nregion = eu-west-1'
  writeFileSync(
    config,
    `[profile me]\n${keys}\n[profile role]\n${role}\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n`,
  )
  const account: Account = { regions: { 'eu-west-1': { instances: [{ name: 'a' }] } } }
  const credentials = ['AccessKeyId', 'SecretAccessKey', 'SessionToken'].map(name => `<${name}>ASIA</${name}>`).join('')
  const options: RunOptions = {
    environment: { AWS_CONFIG_FILE: config, AWS_REGION: '' },
    answers: {
      AssumeRole: ({ TokenCode }) =>
        TokenCode === '123456'
          ? `<Credentials>${credentials}<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>`
          : { error: 'AccessDenied' },
    },
  }
  const args = ['--aws-only', '--profile', 'role']
  const typed = { 'MFA code of arn:aws:iam::123456789012:mfa/me (profile role)': '123456\r' }
  const asked = await run(t, account, args, { ...options, terminal: true, typed })
  t.equal(asked.code, 0, asked.stdout)
  t.match(asked.stdout, 'mysql-iam-proxy add a --profile role')
  const without = await run(t, account, args, options)
  t.equal(without.code, 3)
  t.match(without.stdout, 'CREDENTIALS_MFA_REQUIRED')
})

test('exit codes', async t => {
  const denied = (...actions: string[]): Account => ({
    regions: { 'eu-west-1': { instances: [{ name: 'a' }] } },
    instead: action => (actions.includes(action) ? { error: 'AccessDenied', message: 'no' } : undefined),
  })
  t.equal((await run(t, denied('DescribeDBProxies'), ['--aws-only'])).code, 0, 'a permission is missing')
  const nothing = await run(t, denied('DescribeDBInstances', 'DescribeDBClusters'), ['--aws-only'])
  t.equal(nothing.code, 1, 'permissions are missing, and nothing was found')
  t.match(nothing.stdout, 'the list is incomplete')
  const invalid = await run(t, EMPTY, ['--region', 'ireland'])
  t.equal(invalid.code, 2)
  t.match(invalid.stderr, '--region: "ireland" is not an AWS region')
  const mixed = await run(t, EMPTY, ['--region', 'all', '--region', 'eu-west-1'])
  t.match(mixed.stderr, '--region: all stands alone')
  const nowhere = await run(t, EMPTY, [], { environment: { AWS_REGION: '' } })
  t.match(nowhere, { code: 2, stderr: /the default profile has no region; give one, or all/ })
  const byVariable = await run(t, EMPTY, [], { environment: { AWS_REGION: '', MYSQL_IAM_PROXY_REGION: 'eu-west-1' } })
  t.match(byVariable, { code: 0, stdout: /No MySQL or MariaDB database found here/ })
})
