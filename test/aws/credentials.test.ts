import { createHash, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setImmediate as settle } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { NoCredentials } from '../../src/aws/credential-chain.ts'
import { explainCredentialsError } from '../../src/aws/credential-errors.ts'
import { type Credentials, createCredentials } from '../../src/aws/credentials.ts'
import { createTokenSource } from '../../src/aws/token.ts'
import { type AccessKey, verifyToken } from '../../src/demo/verify-token.ts'
import { ERRORS } from '../../src/error-codes.ts'
import { hintFor, ProxyError } from '../../src/errors.ts'
import { failureOf } from '../support/failure-of.ts'
import { createClock } from '../support/moving-clock.ts'
import { SSO_PROFILE, START_URL } from '../support/sso-profile.ts'

const REGION = 'eu-west-1'
const rds = { host: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', port: 3306, region: REGION }
const minute = 60_000

/** Replaces all AWS variables by `variables` for one test; nothing of this machine is used, and no network. */
function setEnvironment(t: Test, home: string, variables: Record<string, string> = {}): void {
  const before = { ...process.env }
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
  Object.assign(process.env, {
    HOME: home,
    USERPROFILE: home,
    AWS_CONFIG_FILE: join(home, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials'),
    AWS_EC2_METADATA_DISABLED: 'true',
    ...variables,
  })
  t.teardown(() => {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name]
    Object.assign(process.env, before)
  })
}

interface Setup {
  config?: string
  credentials?: string
  environment?: Record<string, string>
}

/** A home directory with the files of the AWS CLI; its path. */
function setUp(t: Test, { config = '', credentials = '', environment }: Setup = {}): string {
  const home = t.testdir({ config, credentials })
  setEnvironment(t, home, environment)
  return home
}

interface HttpAnswer {
  status?: number
  headers?: Record<string, string>
  body: string
}

type HttpRequest = { method: string; url: string; headers: IncomingMessage['headers']; body: string }

/** A local stand-in for one of AWS's services; its URL, and what it was asked. */
async function serve(t: Test, answer: (request: HttpRequest) => HttpAnswer) {
  const requests: HttpRequest[] = []
  const server = createServer(async (incoming, outgoing) => {
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk)
    const { method = '', url = '', headers } = incoming
    const request = { method, url, headers, body: Buffer.concat(chunks).toString() }
    requests.push(request)
    const { status = 200, headers: answered = {}, body } = answer(request)
    outgoing.writeHead(status, { connection: 'close', ...answered }).end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests }
}

/** Everything that a person sees of an error. */
function shown(error: ProxyError): string {
  return `${error.message}\n${hintFor(error, {})}`
}

/** Asserts that `key` signs the token. */
async function signsWith(t: Test, key: AccessKey, profile?: string): Promise<void> {
  const token = await createTokenSource(rds, createCredentials({ region: REGION, profile: profile }))('iam_user')
  t.equal(verifyToken(token, { ...rds, user: 'iam_user', keys: [key] }), undefined)
}

const key: AccessKey = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'a secret/with+signs' }
const other: AccessKey = { accessKeyId: 'AKIAOTHER', secretAccessKey: 'another secret' }
const temporary: AccessKey = { ...key, accessKeyId: 'ASIAEXAMPLE', sessionToken: 'IQoJ/b3+JpZ2lu==' }

function profileText(name: string, { accessKeyId, secretAccessKey, sessionToken }: AccessKey): string {
  const session = sessionToken ? `aws_session_token = ${sessionToken}\n` : ''
  return `[${name}]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n${session}`
}

test('a token is signed for the endpoint, its port and region, and the user', async t => {
  const createToken = createTokenSource({ ...rds, port: 3307 }, async () => key)
  const token = await createToken('Iam_User')
  t.ok(token.startsWith(`${rds.host}:3307/?`), 'no scheme')
  const url = new URL(`https://${token}`)
  t.equal(url.searchParams.get('Action'), 'connect')
  t.equal(url.searchParams.get('DBUser'), 'Iam_User', 'case is kept')
  t.equal(url.searchParams.get('X-Amz-Expires'), '900')
  t.match(url.searchParams.get('X-Amz-Credential'), /^AKIAEXAMPLE\/\d{8}\/eu-west-1\/rds-db\/aws4_request$/)
  const expected = { host: rds.host, port: 3307, region: REGION, user: 'Iam_User', keys: [key] }
  t.equal(verifyToken(token, expected), undefined)
  t.not(verifyToken(token, { ...expected, user: 'iam_user' }), undefined)
  t.notMatch(token, key.secretAccessKey)
})

test('a token has the region of the endpoint, not AWS_REGION', async t => {
  setUp(t, { environment: { AWS_REGION: 'us-east-1', AWS_DEFAULT_REGION: 'us-east-1' } })
  const token = await createTokenSource({ ...rds, region: 'cn-north-1' }, async () => key)('iam_user')
  t.match(new URL(`https://${token}`).searchParams.get('X-Amz-Credential'), '/cn-north-1/rds-db/')
})

test('a token of temporary credentials contains their session token', async t => {
  const token = await createTokenSource(rds, async () => temporary as Credentials)('iam_user')
  t.equal(new URL(`https://${token}`).searchParams.get('X-Amz-Security-Token'), temporary.sessionToken)
  t.equal(verifyToken(token, { ...rds, user: 'iam_user', keys: [temporary] }), undefined)
})

test('any user name can be signed for', async t => {
  const user = "o'brien (ops) é*/+&=%"
  const token = await createTokenSource(rds, async () => key)(user)
  t.equal(verifyToken(token, { ...rds, user, keys: [key] }), undefined)
})

test('each login signs with the current credentials', async t => {
  let current = key
  const createToken = createTokenSource(rds, async () => current)
  t.match(await createToken('iam_user'), 'AKIAEXAMPLE')
  current = other
  t.match(await createToken('iam_user'), 'AKIAOTHER')
})

test('a failure of the credentials is the failure of the token', async t => {
  const failure = new ProxyError('CREDENTIALS_MISSING', 'none')
  await t.rejects(createTokenSource(rds, () => Promise.reject(failure))('iam_user'), { code: 'CREDENTIALS_MISSING' })
})

test('environment', async t => {
  setUp(t, {
    environment: { AWS_ACCESS_KEY_ID: key.accessKeyId, AWS_SECRET_ACCESS_KEY: key.secretAccessKey },
  })
  await signsWith(t, key)
})

test('environment with a session token', async t => {
  setUp(t, {
    environment: {
      AWS_ACCESS_KEY_ID: temporary.accessKeyId,
      AWS_SECRET_ACCESS_KEY: temporary.secretAccessKey,
      AWS_SESSION_TOKEN: temporary.sessionToken!,
    },
  })
  await signsWith(t, temporary)
})

test('keys of a profile', async t => {
  setUp(t, { credentials: profileText('default', other) + profileText('dev', key) })
  await signsWith(t, key, 'dev')
  await signsWith(t, other)
})

test('AWS_PROFILE', async t => {
  setUp(t, {
    credentials: profileText('default', other) + profileText('dev', key),
    environment: { AWS_PROFILE: 'dev' },
  })
  await signsWith(t, key)
})

test('a named profile comes before the environment', async t => {
  setUp(t, {
    credentials: profileText('dev', key),
    environment: {
      AWS_ACCESS_KEY_ID: other.accessKeyId,
      AWS_SECRET_ACCESS_KEY: other.secretAccessKey,
      AWS_PROFILE: 'elsewhere',
    },
  })
  await signsWith(t, key, 'dev')
})

test('keys that another program rewrites are read again', async t => {
  const clock = createClock(t)
  const home = setUp(t, { credentials: profileText('dev', { ...other, sessionToken: 'old' }) })
  const credentials = createCredentials({ region: REGION, profile: 'dev' })
  t.equal((await credentials()).accessKeyId, other.accessKeyId)
  writeFileSync(join(home, 'credentials'), profileText('dev', temporary))
  clock.advance(15 * minute)
  await credentials()
  await settle()
  t.equal((await credentials()).accessKeyId, temporary.accessKeyId, 'without a restart')
})

test('a profile that is created after a failure is found', async t => {
  const home = setUp(t)
  const credentials = createCredentials({ region: REGION, profile: 'dev' })
  await failureOf(credentials())
  writeFileSync(join(home, 'credentials'), profileText('dev', key))
  t.equal((await credentials()).accessKeyId, key.accessKeyId, 'without a restart')
})

/** A profile whose credential_process is a node script. */
function setUpProcess(t: Test, name: string, script: string): void {
  const home = t.testdir({ 'helper.mjs': script, credentials: '', config: '' })
  const command = `"${process.execPath}" "${join(home, 'helper.mjs')}" --key hunter2`
  writeFileSync(join(home, 'config'), `[profile ${name}]\ncredential_process = ${command}\n`)
  setEnvironment(t, home)
}

function processOutput(credentials: Record<string, unknown>): string {
  return `console.log(${JSON.stringify(JSON.stringify({ Version: 1, ...credentials }))})`
}

test('credential_process', async t => {
  const Expiration = new Date(Date.now() + 60 * minute).toISOString()
  const { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: SessionToken } = temporary
  setUpProcess(t, 'dev', processOutput({ AccessKeyId, SecretAccessKey, SessionToken, Expiration }))
  await signsWith(t, temporary, 'dev')
  const { expiration } = await createCredentials({ region: REGION, profile: 'dev' })()
  t.equal(expiration?.toISOString(), Expiration)
})

test('credential_process that fails', async t => {
  setUpProcess(t, 'dev', `console.error('password hunter3 is wrong'); process.exit(1)`)
  const error = await failureOf(createCredentials({ region: REGION, profile: 'dev' })())
  t.equal(error.code, 'CREDENTIALS_FAILED')
  t.match(error.message, /profile dev/)
  t.notMatch(shown(error), /hunter3/, 'nothing of what it printed')
  t.notMatch(shown(error), /hunter2/, 'nothing of its arguments')
})

test('credential_process that prints invalid output', async t => {
  const rubbish: Record<string, string> = {
    'no JSON': `console.log('hunter3')`,
    'no keys': processOutput({ Token: 'hunter3' }),
    'another version': `console.log('{"Version": 2, "SecretAccessKey": "hunter3"}')`,
    expired: processOutput({ AccessKeyId: 'A', SecretAccessKey: 'hunter3', Expiration: '2020-01-01T00:00:00Z' }),
  }
  for (const [name, script] of Object.entries(rubbish)) {
    await t.test(name, async t => {
      setUpProcess(t, 'dev', script)
      const error = await failureOf(createCredentials({ region: REGION, profile: 'dev' })())
      t.equal(error.code, 'CREDENTIALS_FAILED')
      t.match(error.message, /profile dev/)
      t.notMatch(shown(error), /hunter/)
    })
  }
})

test('credential_process of a profile whose name contains "sso" is not SSO', async t => {
  setUpProcess(t, 'sso-dev', `console.log('rubbish, an invalid login')`)
  const error = await failureOf(createCredentials({ region: REGION, profile: 'sso-dev' })())
  t.equal(error.code, 'CREDENTIALS_FAILED')
})

test('credential_process in the chain: the error has its failure, not only missing credentials', async t => {
  setUpProcess(t, 'dev', 'process.exit(1)')
  process.env.AWS_PROFILE = 'dev'
  const error = await failureOf(createCredentials({ region: REGION })())
  t.equal(error.code, 'CREDENTIALS_FAILED')
  t.match(error.message, /profile dev/)
})

test('an unknown profile', async t => {
  setUp(t, { credentials: profileText('default', key) })
  const error = await failureOf(createCredentials({ region: REGION, profile: 'nope' })())
  t.equal(error.code, 'CREDENTIALS_PROFILE_MISSING')
  t.equal(error.message, 'the AWS profile nope does not exist; there are default')
  t.match(hintFor(error, {}), /create the profile nope with aws configure/)
  t.equal(ERRORS[error.code].exitCode, 3)
})

test('a profile that does not exist: those that do', async t => {
  const config = '[default]\nregion = eu-west-1\n[profile dev]\n[ profile "two words" ]\n[sso-session corp]\n[nope]\n'
  await t.test('many, and one without its prefix', async t => {
    setUp(t, { config, credentials: profileText('old', key) + profileText('dev', key) })
    const { message } = await failureOf(createCredentials({ region: REGION, profile: 'nope' })())
    t.match(
      message,
      /^the AWS profile nope does not exist; there are default, dev, two words, old\. Write \[profile nope\]/,
    )
  })
  await t.test('none', async t => {
    setUp(t)
    const { message } = await failureOf(createCredentials({ region: REGION, profile: 'nope' })())
    t.equal(message, 'the AWS profile nope does not exist; there are none')
  })
  await t.test('more than fit', async t => {
    setUp(t, { credentials: Array.from({ length: 20 }, (_item, index) => profileText(`p${index}`, key)).join('') })
    const { message } = await failureOf(createCredentials({ region: REGION, profile: 'nope' })())
    t.match(message, /p10, p11, …$/)
  })
  await t.test('of source_profile', async t => {
    setUp(t, { config: `[profile dev]\nrole_arn = ${ROLE}\nsource_profile = base\n` })
    const error = await failureOf(createCredentials({ region: REGION, profile: 'dev' })())
    t.equal(error.code, 'CREDENTIALS_PROFILE_MISSING')
    t.match(error.message, /profile base does not exist; there are dev$/)
  })
  await t.test('one that exists but has no credentials', async t => {
    setUp(t, { config: '[profile dev]\nregion = eu-west-1\n', environment: { AWS_PROFILE: 'dev' } })
    for (const profile of ['dev', undefined]) {
      const error = await failureOf(createCredentials({ region: REGION, profile })())
      t.equal(error.code, 'CREDENTIALS_FAILED')
      t.match(
        error.message,
        /\(profile dev\): Could not resolve credentials using profile: \[dev\] in configuration.*[^.]$/,
      )
    }
  })
})

test('an unknown AWS_PROFILE', async t => {
  setUp(t, { credentials: profileText('default', key), environment: { AWS_PROFILE: 'nope' } })
  const error = await failureOf(createCredentials({ region: REGION })())
  t.equal(error.code, 'CREDENTIALS_PROFILE_MISSING')
  t.match(error.message, /nope does not exist; there are default$/)
})

test('no credentials at all', async t => {
  setUp(t)
  const error = await failureOf(createCredentials({ region: REGION })())
  t.equal(error.code, 'CREDENTIALS_MISSING')
  t.match(hintFor(error, {}), /AWS_PROFILE/)
})

const oldSsoProfile = `[profile dev]
sso_start_url = ${START_URL}
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = Developer
`

/** Puts a token of `aws sso login` into its cache; \`name\` is the session, or the start URL of an older profile. */
function cacheSsoToken(home: string, name: string, expiresAt: Date, more: Record<string, string> = {}): void {
  const cache = join(home, '.aws', 'sso', 'cache')
  mkdirSync(cache, { recursive: true })
  const file = `${createHash('sha1').update(name).digest('hex')}.json`
  const token = {
    accessToken: 'hunter2',
    expiresAt: expiresAt.toISOString(),
    region: 'us-east-1',
    startUrl: START_URL,
    ...more,
  }
  writeFileSync(join(cache, file), JSON.stringify(token))
}

async function isSsoExpired(t: Test, profile: string | undefined, login: string): Promise<void> {
  const error = await failureOf(createCredentials({ region: REGION, profile: profile })())
  t.equal(error.code, 'CREDENTIALS_SSO_EXPIRED')
  t.equal(error.hintValues.ssoLogin, login)
  t.match(hintFor(error, {}), `Run: ${login}`)
  t.notMatch(shown(error), /hunter2/)
}

test('SSO whose token has expired', async t => {
  const home = setUp(t, { config: SSO_PROFILE })
  cacheSsoToken(home, 'corp', new Date(Date.now() - minute))
  await isSsoExpired(t, 'dev', 'mysql-iam-proxy login --profile dev')
})

test('SSO of an older profile, whose token has expired', async t => {
  const home = setUp(t, { config: oldSsoProfile })
  cacheSsoToken(home, START_URL, new Date(Date.now() - minute))
  await isSsoExpired(t, 'dev', 'mysql-iam-proxy login --profile dev')
})

test('SSO without a login', async t => {
  setUp(t, { config: SSO_PROFILE })
  await isSsoExpired(t, 'dev', 'mysql-iam-proxy login --profile dev')
})

test('SSO of AWS_PROFILE and of the default profile', async t => {
  await t.test('AWS_PROFILE', async t => {
    const home = setUp(t, { config: SSO_PROFILE, environment: { AWS_PROFILE: 'dev' } })
    cacheSsoToken(home, 'corp', new Date(Date.now() - minute))
    await isSsoExpired(t, undefined, 'mysql-iam-proxy login --profile dev')
  })
  await t.test('default', async t => {
    const home = setUp(t, { config: SSO_PROFILE.replace('[profile dev]', '[default]') })
    cacheSsoToken(home, 'corp', new Date(Date.now() - minute))
    await isSsoExpired(t, undefined, 'mysql-iam-proxy login')
  })
})

test('SSO with a valid session', async t => {
  const { url, requests } = await serve(t, () => ({
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ roleCredentials: { ...temporary, expiration: Date.now() + 60 * minute } }),
  }))
  const home = setUp(t, { config: SSO_PROFILE, environment: { AWS_ENDPOINT_URL_SSO: url } })
  cacheSsoToken(home, 'corp', new Date(Date.now() + 60 * minute))
  await signsWith(t, temporary, 'dev')
  t.equal(requests[0]?.headers['x-amz-sso_bearer_token'], 'hunter2')
  t.match(requests[0]?.url, 'role_name=Developer')
})

test('SSO whose session was revoked', async t => {
  const { url } = await serve(t, () => ({
    status: 401,
    headers: { 'content-type': 'application/json', 'x-amzn-errortype': 'UnauthorizedException' },
    body: '{"message":"Session token not found or invalid"}',
  }))
  const home = setUp(t, { config: SSO_PROFILE, environment: { AWS_ENDPOINT_URL_SSO: url } })
  cacheSsoToken(home, 'corp', new Date(Date.now() + 60 * minute))
  await isSsoExpired(t, 'dev', 'mysql-iam-proxy login --profile dev')
})

/** Nothing listens there. */
const NOWHERE = 'http://127.0.0.1:1'

test('SSO that is unreachable is not expired', async t => {
  await t.test('for the credentials', async t => {
    const home = setUp(t, { config: SSO_PROFILE, environment: { AWS_ENDPOINT_URL_SSO: NOWHERE } })
    cacheSsoToken(home, 'corp', new Date(Date.now() + 60 * minute))
    const error = await failureOf(createCredentials({ region: REGION, profile: 'dev' })())
    t.equal(error.code, 'CREDENTIALS_UNREACHABLE')
    t.equal(error.message, 'IAM Identity Center (profile dev) did not answer: connect ECONNREFUSED 127.0.0.1:1')
    t.match(hintFor(error, {}), /network path from this machine to IAM Identity Center,/)
  })
  await t.test('for the renewal of a token that has expired', async t => {
    const home = setUp(t, { config: SSO_PROFILE, environment: { AWS_ENDPOINT_URL_SSO_OIDC: NOWHERE } })
    cacheSsoToken(home, 'corp', new Date(Date.now() - minute), {
      clientId: 'c',
      clientSecret: 'hunter2',
      refreshToken: 'r',
    })
    const credentials = createCredentials({ region: REGION, profile: 'dev' })
    const error = await failureOf(credentials())
    t.equal(error.code, 'CREDENTIALS_UNREACHABLE')
    t.notMatch(shown(error), /hunter2/)
    // The SDK makes no call this time, and says that the session has expired.
    t.equal(await failureOf(credentials()), error, 'soon after, the network is still the reason')
  })
  await t.test('but one that refuses the renewal is', async t => {
    const { url, requests } = await serve(t, () => ({
      status: 400,
      headers: { 'content-type': 'application/json', 'x-amzn-errortype': 'InvalidGrantException' },
      body: '{"error":"invalid_grant","error_description":"hunter2"}',
    }))
    const config = SSO_PROFILE.replaceAll('corp', 'other')
    const home = setUp(t, { config, environment: { AWS_ENDPOINT_URL_SSO_OIDC: url } })
    cacheSsoToken(home, 'other', new Date(Date.now() - minute), {
      clientId: 'c',
      clientSecret: 'hunter2',
      refreshToken: 'r',
    })
    await isSsoExpired(t, 'dev', 'mysql-iam-proxy login --profile dev')
    t.equal(requests.length, 1)
  })
})

const loginProfile = '[profile dev]\nlogin_session = arn:aws:iam::123456789012:user/me\nregion = eu-west-1\n'

/** Puts a session of `aws login` into its cache. */
function cacheLogin(home: string, expiresAt: Date): void {
  const cache = join(home, '.aws', 'login', 'cache')
  mkdirSync(cache, { recursive: true })
  const file = `${createHash('sha256').update('arn:aws:iam::123456789012:user/me').digest('hex')}.json`
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const token = {
    accessToken: { ...temporary, accountId: '123456789012', expiresAt: expiresAt.toISOString() },
    clientId: 'arn:aws:signin:::devtools/same-device',
    refreshToken: 'hunter2',
    dpopKey: privateKey.export({ type: 'sec1', format: 'pem' }),
  }
  writeFileSync(join(cache, file), JSON.stringify(token))
}

test('aws login with a valid session', async t => {
  const home = setUp(t, { config: loginProfile })
  cacheLogin(home, new Date(Date.now() + 60 * minute))
  await signsWith(t, temporary, 'dev')
})

test('aws login without a session, and after it has expired', async t => {
  await t.test('without', async t => {
    setUp(t, { config: loginProfile })
    await isSsoExpired(t, 'dev', 'aws login --profile dev')
  })
  await t.test('of the default profile', async t => {
    setUp(t, { config: loginProfile.replace('[profile dev]', '[default]') })
    await isSsoExpired(t, undefined, 'aws login')
  })
  for (const code of ['TOKEN_EXPIRED', 'USER_CREDENTIALS_CHANGED']) {
    await t.test(code, async t => {
      const { url } = await serve(t, () => ({
        status: 403,
        headers: { 'content-type': 'application/json', 'x-amzn-errortype': 'AccessDeniedException' },
        body: JSON.stringify({ error: code, message: 'hunter2' }),
      }))
      const home = setUp(t, { config: loginProfile, environment: { AWS_ENDPOINT_URL_SIGNIN: url } })
      cacheLogin(home, new Date(Date.now() - minute))
      await isSsoExpired(t, 'dev', 'aws login --profile dev')
    })
  }
  await t.test('unreachable is not expired', async t => {
    const home = setUp(t, { config: loginProfile, environment: { AWS_ENDPOINT_URL_SIGNIN: NOWHERE } })
    cacheLogin(home, new Date(Date.now() - minute))
    const error = await failureOf(createCredentials({ region: REGION, profile: 'dev' })())
    t.equal(error.code, 'CREDENTIALS_UNREACHABLE')
    t.match(error.message, /^AWS sign-in \(profile dev\) did not answer: connect ECONNREFUSED/)
    t.notMatch(shown(error), /hunter2|aws login/)
  })
})

test('SSO after another `aws sso login`', async t => {
  const { url } = await serve(t, () => ({
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ roleCredentials: { ...temporary, expiration: Date.now() + 60 * minute } }),
  }))
  const home = setUp(t, { config: SSO_PROFILE, environment: { AWS_ENDPOINT_URL_SSO: url } })
  cacheSsoToken(home, 'corp', new Date(Date.now() - minute))
  const credentials = createCredentials({ region: REGION, profile: 'dev' })
  t.equal((await failureOf(credentials())).code, 'CREDENTIALS_SSO_EXPIRED')
  cacheSsoToken(home, 'corp', new Date(Date.now() + 60 * minute))
  t.equal((await credentials()).accessKeyId, temporary.accessKeyId, 'without a restart')
})

/** Credentials as containers and instance metadata give them. */
function metadataBody({ accessKeyId, secretAccessKey, sessionToken }: AccessKey, expiration: Date): string {
  return JSON.stringify({
    Code: 'Success',
    Type: 'AWS-HMAC',
    LastUpdated: new Date().toISOString(),
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    Token: sessionToken,
    Expiration: expiration.toISOString(),
  })
}

test('a container (ECS, EKS Pod Identity)', async t => {
  const expiration = new Date(Date.now() + 60 * minute)
  const { url, requests } = await serve(t, () => ({ body: metadataBody(temporary, expiration) }))
  setUp(t, {
    environment: {
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${url}/role`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN: 'Bearer hunter2',
    },
  })
  await signsWith(t, temporary)
  t.equal(requests[0]?.url, '/role')
  t.equal(requests[0]?.headers.authorization, 'Bearer hunter2')
  t.equal((await createCredentials({ region: REGION })()).expiration?.getTime(), expiration.getTime())
})

test('a container whose agent refuses', async t => {
  const { url } = await serve(t, () => ({ status: 403, body: '{"message":"no hunter2"}' }))
  setUp(t, { environment: { AWS_CONTAINER_CREDENTIALS_FULL_URI: url } })
  const error = await failureOf(createCredentials({ region: REGION })())
  t.equal(error.code, 'CREDENTIALS_FAILED')
  t.equal(error.message, 'AWS credentials of the container: Server responded with status: 403')
  t.notMatch(shown(error), /hunter2/)
})

test('a container whose agent does not answer, or is not allowed', async t => {
  for (const [url, message] of [
    [NOWHERE, 'AWS credentials of the container: connect ECONNREFUSED 127.0.0.1:1'],
    [
      'http://example.com',
      'AWS credentials of the container: URL not accepted. It must either be HTTPS or match one of the following',
    ],
  ] as const) {
    setUp(t, { environment: { AWS_CONTAINER_CREDENTIALS_FULL_URI: url } })
    t.equal((await failureOf(createCredentials({ region: REGION })())).message, message)
  }
})

test('a container endpoint that answers rubbish: nothing of it is shown', async t => {
  const secrets = ['hunter2', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY']
  for (const [status, body] of [
    [200, secrets.join(' ')],
    [200, `<html>${secrets.join(' ')}</html>`],
    [200, `{"SecretAccessKey":"${secrets.join()}"`],
    [200, JSON.stringify({ AccessKeyId: secrets[0], SecretAccessKey: secrets[1], Token: 3 })],
    [403, JSON.stringify({ code: secrets[1], message: secrets[0] })],
    [500, secrets.join('\n')],
  ] as const) {
    const { url } = await serve(t, () => ({ status, body }))
    setUp(t, { environment: { AWS_CONTAINER_CREDENTIALS_FULL_URI: url } })
    const error = await failureOf(createCredentials({ region: REGION })())
    for (const secret of secrets) t.notOk(shown(error).includes(secret), `${status} ${body}: ${shown(error)}`)
  }
})

/** What STS answers to `action`. */
function stsBody(action: string, { accessKeyId, secretAccessKey, sessionToken }: AccessKey): string {
  const expiration = new Date(Date.now() + 60 * minute).toISOString()
  return `<${action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><${action}Result>
    <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/db/s</Arn><AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser>
    <Credentials><AccessKeyId>${accessKeyId}</AccessKeyId><SecretAccessKey>${secretAccessKey}</SecretAccessKey>
    <SessionToken>${sessionToken}</SessionToken><Expiration>${expiration}</Expiration></Credentials>
    </${action}Result><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></${action}Response>`
}

const ROLE = 'arn:aws:iam::123456789012:role/db'

test('a role of another profile', async t => {
  const { url, requests } = await serve(t, () => ({
    headers: { 'content-type': 'text/xml' },
    body: stsBody('AssumeRole', temporary),
  }))
  setUp(t, {
    config: `[profile dev]\nrole_arn = ${ROLE}\nsource_profile = base\n`,
    credentials: profileText('base', other),
    environment: { AWS_ENDPOINT_URL_STS: url },
  })
  await signsWith(t, temporary, 'dev')
  const [request] = requests
  t.equal(new URLSearchParams(request?.body).get('RoleArn'), ROLE)
  t.match(request?.headers.authorization, 'AKIAOTHER', 'asked with the other profile’s keys')
  t.match(request?.headers.authorization, `/${REGION}/sts/`, 'in the region of the database')
})

test('a role that may not be assumed', async t => {
  const message = 'User: base is not authorized to perform: sts:AssumeRole'
  const { url } = await serve(t, () => ({
    status: 403,
    headers: { 'content-type': 'text/xml' },
    body: `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>${message}</Message></Error></ErrorResponse>`,
  }))
  setUp(t, {
    config: `[profile dev]\nrole_arn = ${ROLE}\nsource_profile = base\n`,
    credentials: profileText('base', other),
    environment: { AWS_ENDPOINT_URL_STS: url, AWS_PROFILE: 'dev' },
  })
  for (const profile of ['dev', undefined]) {
    const error = await failureOf(createCredentials({ region: REGION, profile: profile })())
    t.equal(error.code, 'CREDENTIALS_FAILED')
    t.match(error.message, /profile dev/)
    t.match(error.message, /sts:AssumeRole/)
  }
})

test('web identity (EKS service accounts)', async t => {
  const { url, requests } = await serve(t, () => ({
    headers: { 'content-type': 'text/xml' },
    body: stsBody('AssumeRoleWithWebIdentity', temporary),
  }))
  const home = t.testdir({ config: '', credentials: '', 'web-token': 'a.web.token' })
  setEnvironment(t, home, {
    AWS_ENDPOINT_URL_STS: url,
    AWS_WEB_IDENTITY_TOKEN_FILE: join(home, 'web-token'),
    AWS_ROLE_ARN: ROLE,
  })
  await signsWith(t, temporary)
  const asked = new URLSearchParams(requests[0]?.body)
  t.equal(asked.get('Action'), 'AssumeRoleWithWebIdentity')
  t.equal(asked.get('WebIdentityToken'), 'a.web.token')
  t.equal(asked.get('RoleArn'), ROLE)
})

test('instance metadata (IMDSv2)', async t => {
  const expiration = new Date(Date.now() + 60 * minute)
  const { url, requests } = await serve(t, ({ method, url: path, headers }) => {
    if (method === 'PUT' && path === '/latest/api/token') return { body: 'imds-token' }
    if (headers['x-aws-ec2-metadata-token'] !== 'imds-token') return { status: 401, body: '' }
    if (path === '/latest/meta-data/iam/security-credentials/') return { body: 'db-role' }
    if (path === '/latest/meta-data/iam/security-credentials/db-role') {
      return { body: metadataBody(temporary, expiration) }
    }
    return { status: 404, body: '' }
  })
  setUp(t, { environment: { AWS_EC2_METADATA_DISABLED: 'false', AWS_EC2_METADATA_SERVICE_ENDPOINT: url } })
  await signsWith(t, temporary)
  t.same(
    requests.map(({ method }) => method),
    ['PUT', 'GET', 'GET'],
  )
})

test('instance metadata without a role', async t => {
  const { url } = await serve(t, ({ method }) =>
    method === 'PUT' ? { body: 'imds-token' } : { status: 404, body: 'not found' },
  )
  setUp(t, { environment: { AWS_EC2_METADATA_DISABLED: 'false', AWS_EC2_METADATA_SERVICE_ENDPOINT: url } })
  const error = await failureOf(createCredentials({ region: REGION })())
  t.equal(error.code, 'CREDENTIALS_MISSING')
})

test('instance metadata that refuses, does not answer, or answers rubbish', async t => {
  for (const [status, body, code, message] of [
    [404, 'no', 'CREDENTIALS_MISSING', /instance metadata answers that this machine has no role \(HTTP 404\)/],
    [403, 'no', 'CREDENTIALS_FAILED', /instance metadata refused the request \(HTTP 403\)/],
    [200, '{"hunter2": 1}', 'CREDENTIALS_FAILED', /Invalid response received from instance metadata service$/],
  ] as const) {
    const { url } = await serve(t, ({ method, url: path }) => {
      if (method === 'PUT') return { body: 'imds-token' }
      return status === 200 && path.endsWith('/') ? { body: 'db-role' } : { status, body }
    })
    setUp(t, { environment: { AWS_EC2_METADATA_DISABLED: 'false', AWS_EC2_METADATA_SERVICE_ENDPOINT: url } })
    const error = await failureOf(createCredentials({ region: REGION })())
    t.equal(error.code, code, `${status}`)
    t.match(error.message, message)
  }
  setUp(t, { environment: { AWS_EC2_METADATA_DISABLED: 'false', AWS_EC2_METADATA_SERVICE_ENDPOINT: NOWHERE } })
  const error = await failureOf(createCredentials({ region: REGION })())
  t.equal(error.code, 'CREDENTIALS_MISSING')
  t.equal(error.message, 'no AWS credentials found, and instance metadata does not answer')
})

test('web identity whose token file is missing', async t => {
  setUp(t, { environment: { AWS_WEB_IDENTITY_TOKEN_FILE: '/no/such-token', AWS_ROLE_ARN: ROLE } })
  const error = await failureOf(createCredentials({ region: REGION })())
  t.equal(error.message, "AWS credentials: ENOENT: no such file or directory, open '/no/such-token'")
})

test('STS that is unreachable', async t => {
  setUp(t, {
    config: `[profile dev]\nrole_arn = ${ROLE}\nsource_profile = base\n`,
    credentials: profileText('base', other),
    environment: { AWS_ENDPOINT_URL_STS: NOWHERE },
  })
  const error = await failureOf(createCredentials({ region: REGION, profile: 'dev' })())
  t.equal(error.code, 'CREDENTIALS_UNREACHABLE')
  t.match(error.message, /^AWS STS \(profile dev\) did not answer: connect ECONNREFUSED/)
})

test('the chain has the order of the SDK’s own', async t => {
  const { fromNodeProviderChain } = await import('@aws-sdk/credential-providers')
  t.intercept(console, 'warn', { value: () => {} })
  const expiration = new Date(Date.now() + 60 * minute)
  const { url: container } = await serve(t, () => ({ body: metadataBody(temporary, expiration) }))
  const { url: sts } = await serve(t, () => ({
    headers: { 'content-type': 'text/xml' },
    body: stsBody('AssumeRoleWithWebIdentity', { ...temporary, accessKeyId: 'ASIAWEB' }),
  }))
  const home = t.testdir({ 'web-token': 'a.web.token', config: '', credentials: '' })
  const environment = { AWS_ACCESS_KEY_ID: 'AKIAENVIRONMENT', AWS_SECRET_ACCESS_KEY: 'x' }
  const web = { AWS_ENDPOINT_URL_STS: sts, AWS_WEB_IDENTITY_TOKEN_FILE: join(home, 'web-token'), AWS_ROLE_ARN: ROLE }
  const metadata = { AWS_CONTAINER_CREDENTIALS_FULL_URI: container }
  const dev = { AWS_PROFILE: 'dev' }
  const both = profileText('default', other) + profileText('dev', key)
  for (const [variables, credentials, expected] of [
    [{ ...environment, ...web, ...metadata }, both, 'AKIAENVIRONMENT'],
    [{ ...environment, ...dev, ...web, ...metadata }, both, 'AKIAEXAMPLE'],
    [{ ...web, ...metadata }, both, 'AKIAOTHER'],
    [{ ...web, ...metadata }, '', 'ASIAWEB'],
    [metadata, '', 'ASIAEXAMPLE'],
    [{ ...environment, AWS_PROFILE: 'nope', ...metadata }, both, 'ASIAEXAMPLE'],
  ] as const) {
    writeFileSync(join(home, 'credentials'), credentials)
    setEnvironment(t, home, variables)
    const ours = await createCredentials({ region: REGION })()
    const theirs = await fromNodeProviderChain({ ignoreCache: true, clientConfig: { region: REGION } })()
    t.equal(ours.accessKeyId, expected, Object.keys(variables).join())
    t.equal(theirs.accessKeyId, expected)
  }
})

test('the SDK writes nothing to stderr', async t => {
  const written: unknown[] = []
  for (const method of ['warn', 'error', 'info', 'log'] as const) {
    t.intercept(console, method, { value: (...texts: unknown[]) => void written.push(...texts) })
  }
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const environment = { AWS_ACCESS_KEY_ID: key.accessKeyId, AWS_SECRET_ACCESS_KEY: key.secretAccessKey }
  setUp(t, { credentials: profileText('dev', key), environment: { ...environment, AWS_PROFILE: 'dev' } })
  await createCredentials({ region: REGION })()
  const { url } = await serve(t, () => ({ body: metadataBody(temporary, new Date(Date.now() - minute)) }))
  const tokens = { AWS_CONTAINER_AUTHORIZATION_TOKEN: 'x', AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: '/no/such' }
  const container = { AWS_CONTAINER_CREDENTIALS_FULL_URI: url, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/x' }
  setUp(t, { environment: { ...container, ...tokens } })
  await failureOf(createCredentials({ region: REGION })())
  const imds = await serve(t, ({ url: path, method }) => {
    if (method === 'PUT') return { body: 'imds-token' }
    return path.endsWith('/') ? { body: 'db-role' } : { body: metadataBody(temporary, new Date(Date.now() - minute)) }
  })
  setUp(t, { environment: { AWS_EC2_METADATA_DISABLED: 'false', AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.url } })
  await createCredentials({ region: REGION })()
  await settle()
  t.same(written, [])
  t.same(warnings, [])
})

test('explainCredentialsError', async t => {
  const explain = (message: string, profile?: string) => explainCredentialsError(new Error(message), profile)
  t.equal(explain('Could not load credentials from any providers').code, 'CREDENTIALS_MISSING')
  t.equal(explainCredentialsError(new NoCredentials(undefined), undefined).code, 'CREDENTIALS_MISSING')
  t.equal(explain('Token is expired. To refresh this SSO session run `aws sso login`').code, 'CREDENTIALS_SSO_EXPIRED')
  t.equal(
    explain('The SSO session associated with this profile is invalid.').hintValues.ssoLogin,
    'mysql-iam-proxy login',
  )
  const error = explain('first line\nsecond line: hunter2', 'dev')
  t.equal(error.code, 'CREDENTIALS_FAILED')
  t.match(error.message, /profile dev/)
  t.notMatch(error.message, /first line|hunter2/, 'an unknown message is not shown')
  t.ok(explain('x'.repeat(5_000)).message.length < 300, 'what is too long is cut')
  t.match(explainCredentialsError('thrown text', undefined).message, /^AWS credentials: no details/)
})
