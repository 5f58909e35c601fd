import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { redact } from '../../src/aws/redact.ts'
import { describeSource, spokenDuration } from '../../src/check/credentials.ts'
import { identity, startAwsApi } from '../support/aws-api.ts'
import { type Checked, failsWith, runCheck, secretEnvironment, setEnvironment, warningsOf } from '../support/check.ts'
import { issue, optionsFor, startRolesAnywhere } from '../support/roles-anywhere.ts'

const minute = 60_000

/** A home with this ~/.aws/config, and no credentials in the environment. */
function setUp(t: Test, config: string): string {
  const home = t.testdir({ config, credentials: '' })
  setEnvironment(t, {
    HOME: home,
    AWS_CONFIG_FILE: join(home, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials'),
  })
  return home
}

function factsOf({ json }: Checked, step: string): Record<string, string | string[]> {
  return json.steps.find(found => found.step === step)?.facts ?? {}
}

test('no credentials', async t => {
  setUp(t, '')
  failsWith(t, await runCheck(t, {}), 'credentials', 'CREDENTIALS_MISSING', [
    /the option credentials or profile, or AWS_PROFILE/,
  ])
})

test('an SSO session that has expired', async t => {
  const home = setUp(
    t,
    `[profile dev]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Developer
[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
`,
  )
  const cache = join(home, '.aws', 'sso', 'cache')
  mkdirSync(cache, { recursive: true })
  const file = `${createHash('sha1').update('corp').digest('hex')}.json`
  const token = { accessToken: 'hunter2', expiresAt: new Date(Date.now() - minute).toISOString() }
  writeFileSync(join(cache, file), JSON.stringify(token))
  const checked = await runCheck(t, { options: { profile: 'dev' } })
  failsWith(t, checked, 'credentials', 'CREDENTIALS_SSO_EXPIRED', [/mysql-iam-proxy login --profile dev/])
  t.ok(
    checked.json.error?.advice.some(({ snippet: copy }) => copy === 'mysql-iam-proxy login --profile dev'),
    'the very line to copy',
  )
})

test('credential_process', async t => {
  await t.test('that does not exist: the helper of Roles Anywhere', async t => {
    setUp(t, '[profile rds]\ncredential_process = /opt/aws_signing_helper credential-process --private-key hunter2\n')
    const checked = await runCheck(t, { options: { profile: 'rds' } })
    failsWith(t, checked, 'credentials', 'CREDENTIALS_PROGRAM_MISSING', [
      /does not exist: \/opt\/aws_signing_helper/,
      /profile rds/,
    ])
  })

  await t.test('that fails: the first line of its stderr, without secrets', async t => {
    const home = setUp(t, '')
    const helper = join(home, 'helper')
    writeFileSync(
      helper,
      `#!/bin/sh
echo 'unable to read certificate host.pem (secret_key=hunter3)' >&2
echo 'more of it' >&2
exit 1
`,
    )
    chmodSync(helper, 0o755)
    writeFileSync(join(home, 'config'), `[profile rds]\ncredential_process = ${helper} --key hunter2\n`)
    const checked = await runCheck(t, { options: { profile: 'rds' } })
    failsWith(t, checked, 'credentials', 'CREDENTIALS_FAILED', [
      /unable to read certificate host\.pem \(secret_key=\*\*\*/,
    ])
    t.notMatch(checked.text, /more of it/)
  })

  await t.test('that works', async t => {
    const home = setUp(t, '')
    await startAwsApi(t, { GetCallerIdentity: identity('arn:aws:iam::123456789012:user/me') })
    const Expiration = new Date(Date.now() + 60 * minute).toISOString()
    const output = {
      Version: 1,
      AccessKeyId: 'ASIAEXAMPLE',
      SecretAccessKey: 'hunter2',
      SessionToken: 'hunter3',
      Expiration,
    }
    writeFileSync(join(home, 'output.json'), JSON.stringify(output))
    writeFileSync(join(home, 'config'), `[profile rds]\ncredential_process = cat ${join(home, 'output.json')}\n`)
    const checked = await runCheck(t, { options: { profile: 'rds', connect: 'no-such-nlb.invalid' } })
    t.match(factsOf(checked, 'credentials'), {
      from: 'profile rds: credential_process',
      key: 'ASIAEXAMPLE',
      until: /\(60 min\)/,
      as: 'arn:aws:iam::123456789012:user/me',
    })
  })
})

test('IAM Roles Anywhere', async t => {
  setEnvironment(t, {})
  const directory = t.testdir({})
  const authority = await issue(directory, 'authority', { ca: true })
  const host = await issue(directory, 'host', { issuer: authority })
  const standIn = await startRolesAnywhere(t, { authority })
  await startAwsApi(t, { GetCallerIdentity: identity('arn:aws:sts::123456789012:assumed-role/rds-connect/1') })
  const rolesAnywhere = optionsFor(host, standIn)
  const checked = await runCheck(t, { options: { rolesAnywhere, connect: 'no-such-nlb.invalid' } })
  t.match(factsOf(checked, 'credentials'), {
    from: 'IAM Roles Anywhere',
    certificate: /^CN=host, expires 20.*Z \(30 days\)$/,
    key: 'ASIAEXAMPLE',
    until: /\(60 min\)/,
  })
  t.equal(checked.json.code, 'DIAL_DNS')
  const wrong = await runCheck(t, { options: { rolesAnywhere: { ...rolesAnywhere, keyFile: authority.keyFile } } })
  failsWith(t, wrong, 'credentials', 'CREDENTIALS_CERTIFICATE_INVALID', [/authority-key\.pem: is not the key of/])
})

test('access keys in the environment that AWS_PROFILE hides', async t => {
  const home = setUp(t, '')
  writeFileSync(join(home, 'credentials'), '[dev]\naws_access_key_id = AKIADEV\naws_secret_access_key = hunter2\n')
  Object.assign(process.env, { ...secretEnvironment(), AWS_PROFILE: 'dev' })
  await startAwsApi(t, { GetCallerIdentity: identity('arn:aws:iam::123456789012:user/me') })
  const connect = 'no-such-nlb.invalid'
  t.match(factsOf(await runCheck(t, { options: { connect } }), 'credentials'), {
    from: 'profile dev: access keys',
    ignored: /^AWS_ACCESS_KEY_ID, because AWS_PROFILE is set/,
  })
  const named = await runCheck(t, { options: { connect, profile: 'dev' } })
  t.equal(factsOf(named, 'credentials').ignored, undefined, 'what --profile hides is no surprise')
})

test('credentials that AWS rejects', async t => {
  setEnvironment(t)
  await startAwsApi(t, {
    GetCallerIdentity: { error: 'InvalidClientTokenId', message: 'The security token is invalid.' },
  })
  failsWith(t, await runCheck(t, {}), 'credentials', 'CREDENTIALS_REJECTED', [/InvalidClientTokenId/])
})

test('check continues without STS', async t => {
  setEnvironment(t)
  const checked = await runCheck(t, { options: { connect: 'no-such-nlb.invalid' } })
  t.match(warningsOf(checked), [{ code: 'AWS_UNREACHABLE', message: /sts:GetCallerIdentity failed/ }])
  t.equal(checked.json.code, 'DIAL_DNS')
})

test('the clock', async t => {
  const cases: [name: string, ahead: number, code: string, skew: RegExp][] = [
    ['right', 0, 'DIAL_DNS', /less than 2 s/],
    ['somewhat ahead', 3 * minute, 'DIAL_DNS', /3 min ahead/],
    ['too far ahead', 6 * minute, 'CLOCK_SKEW', /6 min ahead/],
    ['too far behind', -16 * minute, 'CLOCK_SKEW', /16 min behind/],
    ['somewhat behind', -10 * minute, 'DIAL_DNS', /10 min behind/],
  ]
  for (const [name, ahead, code, skew] of cases) {
    await t.test(name, async t => {
      setEnvironment(t)
      const api = await startAwsApi(t, { GetCallerIdentity: identity('arn:aws:iam::123456789012:user/me') })
      api.clockOffset = -ahead
      const checked = await runCheck(t, { options: { connect: 'no-such-nlb.invalid' } })
      t.equal(checked.json.code, code)
      t.match(factsOf(checked, 'clock'), { skew })
      if (code === 'CLOCK_SKEW') failsWith(t, checked, 'clock', code, [skew, /NTP/])
      else t.equal(warningsOf(checked).length, ahead === 0 ? 0 : 1, 'a warning where it is minutes')
    })
  }

  await t.test('that AWS reports itself', async t => {
    setEnvironment(t)
    const api = await startAwsApi(t, {
      GetCallerIdentity: { error: 'SignatureDoesNotMatch', message: 'Signature expired' },
    })
    api.clockOffset = 30 * minute
    failsWith(t, await runCheck(t, {}), 'clock', 'CLOCK_SKEW', [/30 min behind/])
  })
})

test('the contents of the token', async t => {
  setEnvironment(t)
  const checked = await runCheck(t, { user: 'Iam_User', options: { connect: 'no-such-nlb.invalid' } })
  t.match(factsOf(checked, 'token'), {
    for: /^user Iam_User on database-1\..*:3306, region eu-west-1$/,
    until: /\(15 min\)/,
  })
})

test('the provider of the credentials', async t => {
  setEnvironment(t, {})
  const of = ($source: Record<string, string>, profile?: string) =>
    describeSource({ accessKeyId: 'A', secretAccessKey: 'B', $source } as never, profile)
  t.equal(of({ CREDENTIALS_ENV_VARS: 'g' }), 'the environment (AWS_ACCESS_KEY_ID)')
  t.equal(of({ CREDENTIALS_SSO: 's', CREDENTIALS_PROFILE_SSO: 'r' }, 'dev'), 'profile dev: IAM Identity Center (SSO)')
  t.match(of({ CREDENTIALS_PROFILE_SOURCE_PROFILE: 'o', CREDENTIALS_STS_ASSUME_ROLE: 'i' }, 'dev'), /assumed/)
  t.match(of({ CREDENTIALS_ENV_VARS_STS_WEB_ID_TOKEN: 'h', CREDENTIALS_STS_ASSUME_ROLE_WEB_ID: 'k' }), /web identity/)
  t.match(of({ CREDENTIALS_PROFILE: 'n' }), /^profile default: access keys/)
  t.match(of({}), /instance metadata/)
  process.env['AWS_CONTAINER_CREDENTIALS_FULL_URI'] = 'http://169.254.170.23/v1/credentials'
  t.match(of({}), /EKS Pod Identity/)
})

test('possible secrets are redacted', t => {
  const key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE0KEY'
  t.equal(redact(`bad key ${key}`), 'bad key ***')
  t.equal(redact('password hunter2 is wrong'), 'password *** is wrong')
  t.equal(redact('{"SessionToken": "abc"}'), '{"SessionToken": "***"}')
  t.equal(redact(`X-Amz-Signature=0123456789abcdef`), 'X-Amz-Signature=***')
  for (const harmless of [
    'the token has expired',
    'unable to read /etc/rolesanywhere/host-key.pem',
    'arn:aws:rolesanywhere:ap-northeast-1:123456789012:trust-anchor/0a1b2c3d-0000',
  ]) {
    t.equal(redact(harmless), harmless)
  }
  t.end()
})

test('durations', t => {
  t.same([47_000, 900_000, 3 * 3_600_000, 12 * 86_400_000].map(spokenDuration), ['47 s', '15 min', '3 h', '12 days'])
  t.end()
})
