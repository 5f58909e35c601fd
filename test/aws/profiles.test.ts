import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { awsFile, regionOfProfile, settingOfProfile } from '../../src/aws/profiles.ts'

test('the files of the AWS CLI', t => {
  const home = () => '/home/app'
  t.equal(awsFile('config', {}, home), join('/home/app', '.aws', 'config'))
  t.equal(awsFile('credentials', { AWS_CONFIG_FILE: '/etc/aws' }, home), join('/home/app', '.aws', 'credentials'))
  t.equal(awsFile('config', { AWS_CONFIG_FILE: '' }, home), join('/home/app', '.aws', 'config'))
  t.end()
})

test('without a home directory, as in some containers, there are no files, and no error', t => {
  const noHome = () => {
    throw new Error('uv_os_homedir returned ENOENT')
  }
  t.equal(awsFile('config', {}, noHome), undefined)
  t.equal(awsFile('config', { AWS_CONFIG_FILE: '/etc/aws' }, noHome), '/etc/aws')
  t.equal(awsFile('credentials', { AWS_SHARED_CREDENTIALS_FILE: '/etc/keys' }, noHome), '/etc/keys')
  t.end()
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
