/** Every service of AWS that is asked, by the real clients of the SDK, through a forward proxy that replaces certificates. */
import { createHash, generateKeyPairSync } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { clientSettings } from '../../src/aws/api.ts'
import { createCredentials } from '../../src/aws/credentials.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { hintFor, ProxyError } from '../../src/errors.ts'
import { openTargetGroup } from '../../src/sync-targets/targets.ts'
import { listen, startHttpProxy } from '../support/forward-proxy.ts'

const REGION = 'eu-west-1'
const ROLE = 'arn:aws:iam::123456789012:role/db'
const LOGIN_SESSION = 'arn:aws:iam::123456789012:user/me'
const START_URL = 'https://corp.awsapps.com/start'
const MINUTE_MS = 60_000

const HOSTS = [
  'sts.eu-west-1.amazonaws.com',
  'portal.sso.us-east-1.amazonaws.com',
  'oidc.us-east-1.amazonaws.com',
  'eu-west-1.signin.aws.amazon.com',
  'rds.eu-west-1.amazonaws.com',
  'elasticloadbalancing.eu-west-1.amazonaws.com',
]

const CONFIG = `[profile role]
role_arn = ${ROLE}
source_profile = base
[profile web]
role_arn = ${ROLE}
web_identity_token_file = WEB
[profile sso]
sso_session = SESSION
sso_account_id = 123456789012
sso_role_name = Developer
[sso-session SESSION]
sso_start_url = ${START_URL}
sso_region = us-east-1
[profile login]
login_session = ${LOGIN_SESSION}
region = eu-west-1
`

const keys = { accessKeyId: 'ASIAEXAMPLE', secretAccessKey: 'secret', sessionToken: 'session' }

function answer(request: IncomingMessage, body: string, response: ServerResponse): void {
  const expiration = new Date(Date.now() + 60 * MINUTE_MS)
  const json = (value: object) => response.setHeader('content-type', 'application/json').end(JSON.stringify(value))
  switch (request.headers.host) {
    case 'portal.sso.us-east-1.amazonaws.com':
      return void json({ roleCredentials: { ...keys, expiration: expiration.getTime() } })
    case 'oidc.us-east-1.amazonaws.com':
      return void json({ accessToken: 'renewed', expiresIn: 3600, tokenType: 'Bearer' })
    case 'eu-west-1.signin.aws.amazon.com':
      return void json({ accessToken: keys, tokenType: 'aws_sigv4', expiresIn: 900, refreshToken: 'r' })
  }
  const { Action = '', Version = '' } = Object.fromEntries(new URLSearchParams(body))
  const namespace = `https://x.amazonaws.com/doc/${Version}/`
  const result = `<Credentials><AccessKeyId>${keys.accessKeyId}</AccessKeyId><SecretAccessKey>${keys.secretAccessKey}</SecretAccessKey>
    <SessionToken>${keys.sessionToken}</SessionToken><Expiration>${expiration.toISOString()}</Expiration></Credentials>
    <TargetGroups><member><TargetType>ip</TargetType></member></TargetGroups>`
  response
    .setHeader('content-type', 'text/xml')
    .end(`<${Action}Response xmlns="${namespace}"><${Action}Result>${result}</${Action}Result></${Action}Response>`)
}

const certificates = createAuthority('CA of the company').then(async authority => ({
  authority,
  ...(await authority.issue({ names: HOSTS })),
}))

let sessions = 0

/** A home with all profiles, whose HTTPS_PROXY leads every host to one server; and what the proxy was asked for. */
async function setUp(t: Test, refusal?: string) {
  const { authority, certificate, key } = await certificates
  const server = createServer({ cert: certificate, key }, async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    answer(request, body, response)
  })
  const { address, targets } = await startHttpProxy(t, {
    port: await listen(t, server),
    ...(refusal === undefined ? {} : { answer: refusal }),
  })
  // The SDK remembers when it renewed the token of a session.
  const session = `session-${++sessions}`
  const home = t.testdir({
    config: '',
    credentials: '[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = secret\n',
    'web-token': 'a.web.token',
    'ca.pem': authority.certificate,
  })
  writeFileSync(join(home, 'config'), CONFIG.replace('WEB', join(home, 'web-token')).replaceAll('SESSION', session))
  const before = { ...process.env }
  for (const name of Object.keys(process.env)) if (/^AWS_|_PROXY$/i.test(name)) delete process.env[name]
  Object.assign(process.env, {
    HOME: home,
    AWS_CONFIG_FILE: join(home, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials'),
    AWS_EC2_METADATA_DISABLED: 'true',
    HTTPS_PROXY: `http://user:hunter2@${address}`,
    AWS_CA_BUNDLE: join(home, 'ca.pem'),
  })
  t.teardown(() => {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name]
    Object.assign(process.env, before)
  })
  cacheSso(home, session)
  cacheLogin(home)
  return { targets, home }
}

/** A token that must be renewed. */
function cacheSso(home: string, session: string): void {
  const cache = join(home, '.aws', 'sso', 'cache')
  mkdirSync(cache, { recursive: true })
  const token = {
    accessToken: 'expired',
    expiresAt: new Date(Date.now() - MINUTE_MS).toISOString(),
    region: 'us-east-1',
    startUrl: START_URL,
    clientId: 'c',
    clientSecret: 's',
    refreshToken: 'r',
    registrationExpiresAt: new Date(Date.now() + 60 * MINUTE_MS).toISOString(),
  }
  writeFileSync(join(cache, `${createHash('sha1').update(session).digest('hex')}.json`), JSON.stringify(token))
}

/** A session that must be renewed. */
function cacheLogin(home: string): void {
  const cache = join(home, '.aws', 'login', 'cache')
  mkdirSync(cache, { recursive: true })
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const token = {
    accessToken: { ...keys, accountId: '123456789012', expiresAt: new Date(Date.now() - MINUTE_MS).toISOString() },
    clientId: 'arn:aws:signin:::devtools/same-device',
    refreshToken: 'r',
    dpopKey: privateKey.export({ type: 'sec1', format: 'pem' }),
  }
  writeFileSync(join(cache, `${createHash('sha256').update(LOGIN_SESSION).digest('hex')}.json`), JSON.stringify(token))
}

const ofHost = (host: string) => `${host}:443`

test('credentials of every kind', async t => {
  const { targets } = await setUp(t)
  const asked: [profile: string, hosts: string[]][] = [
    ['role', ['sts.eu-west-1.amazonaws.com']],
    ['web', ['sts.eu-west-1.amazonaws.com']],
    ['sso', ['oidc.us-east-1.amazonaws.com', 'portal.sso.us-east-1.amazonaws.com']],
    ['login', ['eu-west-1.signin.aws.amazon.com']],
  ]
  for (const [profile, hosts] of asked) {
    targets.length = 0
    t.match(await createCredentials({ region: REGION, profile })(), keys, profile)
    t.same(targets, hosts.map(ofHost), profile)
  }
})

test('web identity of the environment', async t => {
  const { targets, home } = await setUp(t)
  Object.assign(process.env, { AWS_WEB_IDENTITY_TOKEN_FILE: join(home, 'web-token'), AWS_ROLE_ARN: ROLE })
  t.match(await createCredentials({ region: REGION })(), keys)
  t.same(targets, ['sts.eu-west-1.amazonaws.com:443'])
})

test('RDS and Elastic Load Balancing', async t => {
  const { targets } = await setUp(t)
  const { DescribeDBInstancesCommand, RDSClient } = await import('@aws-sdk/client-rds')
  const client = new RDSClient(clientSettings(REGION, async () => keys))
  await client.send(new DescribeDBInstancesCommand({}))
  client.destroy()
  const arn = 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/mysql/0123456789abcdef'
  const group = await openTargetGroup(arn, async () => keys, new AbortController().signal)
  t.equal(await group.family(), 'ipv4')
  t.same(targets, ['rds.eu-west-1.amazonaws.com:443', 'elasticloadbalancing.eu-west-1.amazonaws.com:443'])
})

test('a proxy that refuses: each kind of credentials says so', async t => {
  await setUp(t, '403 Filtered')
  for (const profile of ['role', 'web', 'sso', 'login']) {
    const error = await createCredentials({ region: REGION, profile })().catch((thrown: unknown) => thrown)
    if (!(error instanceof ProxyError)) throw new Error(`${profile}: ${error}`)
    t.equal(error.code, 'FORWARD_PROXY_REFUSED', profile)
    t.match(error.message, /\(HTTPS_PROXY\) refuses the connection to [\w.-]+:443: 403 Filtered/)
    t.match(hintFor(error, {}), /allow connections to [\w.-]+:443/)
    t.notMatch(error.message, /hunter2/)
  }
})

test('SSO whose renewal failed is not called expired by the next logins', async t => {
  const { targets } = await setUp(t, '403 Filtered')
  const lookUp = createCredentials({ region: REGION, profile: 'sso' })
  const first = await lookUp().catch((thrown: unknown) => thrown)
  const second = await lookUp().catch((thrown: unknown) => thrown)
  t.match(first, { code: 'FORWARD_PROXY_REFUSED' })
  t.equal(second, first)
  t.equal(targets.length, 1, 'the SDK asked once')
})

test('a CA that is unknown here: each kind of credentials says so', async t => {
  await setUp(t)
  delete process.env.AWS_CA_BUNDLE
  for (const profile of ['role', 'web', 'sso', 'login']) {
    const error = await createCredentials({ region: REGION, profile })().catch((thrown: unknown) => thrown)
    t.match(error, { code: 'AWS_TLS_UNTRUSTED', message: /issued by "CA of the company", is not trusted/ }, profile)
  }
})
