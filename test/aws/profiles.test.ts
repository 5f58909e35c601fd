import { join } from 'node:path'
import { test } from 'tap'
import { awsFile } from '../../src/aws/profiles.ts'

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
