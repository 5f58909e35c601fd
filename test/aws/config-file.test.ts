import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { profileInUse, readAwsConfig, regionOfProfile, settingOfProfile, sourcesOf } from '../../src/aws/config-file.ts'

async function read(t: Test, config: string, credentials = '') {
  const home = t.testdir({ config, credentials })
  return await readAwsConfig({
    AWS_CONFIG_FILE: join(home, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials'),
  })
}

test('profiles and sessions, as the SDK reads them', async t => {
  const { profiles, ssoSessions } = await read(
    t,
    `# a comment
region = before any section
[default]
region = eu-west-1 ; where we are
[profile dev]
sso_session=corp
s3 =
  max_concurrent_requests = 20
output = json # for scripts
[profile "two words"]
region = a
[sso-session corp]
sso_start_url = https://example.awsapps.com/start/#/
[nothing]
region = b
[profile dev]
region = c
`,
    '[dev]\nregion = d\n[ci]\naws_access_key_id = AKIA\n',
  )
  t.same([...profiles.keys()], ['default', 'dev', 'two words', 'ci'])
  t.same(profiles.get('default'), { region: 'eu-west-1' })
  t.same(profiles.get('dev'), { sso_session: 'corp', s3: '', output: 'json', region: 'd' })
  t.same(profiles.get('ci'), { aws_access_key_id: 'AKIA' })
  t.equal(ssoSessions.get('corp')?.['sso_start_url'], 'https://example.awsapps.com/start/#/')
})

test('files that do not exist', async t => {
  const { profiles, ssoSessions } = await readAwsConfig({
    AWS_CONFIG_FILE: '/nowhere/config',
    AWS_SHARED_CREDENTIALS_FILE: '/nowhere/credentials',
  })
  t.equal(profiles.size + ssoSessions.size, 0)
})

test('the profiles that a profile takes its credentials from', async t => {
  const config = await read(
    t,
    `[profile a]
role_arn = x
source_profile = b
[profile b]
role_arn = x
source_profile = c
[profile c]
sso_session = corp
[profile keys]
role_arn = x
source_profile = c
aws_access_key_id = AKIA
[profile user]
role_arn = x
source_profile = keys
[profile loop]
role_arn = x
source_profile = loop
[profile machine]
role_arn = x
credential_source = Ec2InstanceMetadata
source_profile = c
`,
  )
  const names = (profile: string) =>
    sourcesOf(profile, config).map(section => [...config.profiles].find(([, other]) => other === section)![0])
  t.same(names('a'), ['a', 'b', 'c'])
  t.same(names('user'), ['user', 'keys'], 'access keys end the way')
  t.same(names('keys'), ['keys', 'c'], 'but not those of the first profile')
  t.same(names('loop'), ['loop'])
  t.same(names('machine'), ['machine'])
  t.same(names('none'), [])
})

test('the profile in use', async t => {
  t.equal(profileInUse('a', { AWS_PROFILE: 'b' }), 'a')
  t.equal(profileInUse(undefined, { AWS_PROFILE: 'b' }), 'b')
  t.equal(profileInUse(undefined, { AWS_PROFILE: '' }), 'default')
})

test('settings of profiles', async t => {
  const file = join(t.testdir(), 'config')
  writeFileSync(
    file,
    `[default]
region=eu-west-1
[profile dev]
region = us-west-2
s3 =
  region = nested
[dev2]
region = without-prefix
[profile "my prod"]
output = json
region = us-east-1
[sso-session dev]
region = of-a-session
`,
  )
  const environment = { AWS_CONFIG_FILE: file }
  t.equal(await regionOfProfile(undefined, environment), 'eu-west-1')
  t.equal(await regionOfProfile('dev', environment), 'us-west-2')
  t.equal(await regionOfProfile('my prod', environment), 'us-east-1')
  t.equal(await regionOfProfile('dev2', environment), undefined)
  t.equal(await regionOfProfile('none', environment), undefined)
  t.equal(await regionOfProfile(undefined, { ...environment, AWS_PROFILE: 'dev' }), 'us-west-2')
  t.equal(await regionOfProfile('dev', { ...environment, AWS_DEFAULT_REGION: 'sa-east-1' }), 'sa-east-1')
  t.equal(await regionOfProfile('dev', { ...environment, AWS_DEFAULT_REGION: 'x', AWS_REGION: 'y' }), 'y')
  t.equal(await settingOfProfile('output', 'my prod', environment), 'json')
  t.equal(await settingOfProfile('output', 'dev', { AWS_CONFIG_FILE: join(file, 'none') }), undefined)
})
