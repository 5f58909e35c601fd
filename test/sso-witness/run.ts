/**
 * The real AWS CLI as a witness that the token cache is right in both directions, against the stand-in for IAM Identity Center:
 *
 *     npm run sso-witness
 *     AWS_CLI='python3 -m awscli' npm run sso-witness
 *
 * It needs version 2, because version 1 has no `aws sso login`. Without it, it says that it did not run.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { createCredentials } from '../../src/aws/credentials.ts'
import { findSsoSession } from '../../src/sign-in/session.ts'
import { signIn } from '../../src/sign-in/sign-in.ts'
import {
  type IdentityCenter,
  signInWithBrowser,
  startIdentityCenter,
  useEnvironment,
} from '../sign-in/identity-center.ts'

const [command = 'aws', ...first] = (process.env['AWS_CLI'] ?? 'aws').split(' ')
// Of the user, so that a command with its own settings works.
const own = { ...process.env }
const version = spawnSync(command, [...first, '--version'], { encoding: 'utf8' }).stdout ?? ''
const skip = /^aws-cli\/2\./.test(version) ? false : 'not run: there is no AWS CLI of version 2 (AWS_CLI names one)'

const environmentOf = ({ environment }: IdentityCenter) => ({
  ...own,
  ...environment,
  PYTHONUNBUFFERED: '1',
  AWS_PAGER: '',
})

/** Runs the AWS CLI. @param onOutput gets everything that it has written so far */
async function aws(
  center: IdentityCenter,
  args: string[],
  onOutput: (text: string) => void = () => {},
): Promise<string> {
  const child = spawn(command, [...first, ...args], {
    cwd: center.home,
    env: environmentOf(center),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      onOutput(output)
    })
  }
  const code = await new Promise(resolve => child.once('close', resolve))
  if (code !== 0) throw new Error(`aws ${args.join(' ')} exits with ${code}:\n${output}`)
  return output
}

function tokenOf({ home }: IdentityCenter): Record<string, string> {
  const name = createHash('sha1').update('corp').digest('hex')
  return JSON.parse(readFileSync(join(home, '.aws', 'sso', 'cache', `${name}.json`), 'utf8'))
}

async function signInHere(t: Test, center: IdentityCenter, grant: 'authorization code' | 'device code'): Promise<void> {
  useEnvironment(t, center.environment)
  center.decide('approved')
  await signIn(await findSsoSession({ profile: 'dev' }), {
    grant,
    signal: new AbortController().signal,
    onPrompt: ({ url, userCode }) => void (userCode ?? signInWithBrowser(url)),
  })
}

for (const grant of ['authorization code', 'device code'] as const) {
  test(`login with the ${grant}: the AWS CLI uses the token`, { skip }, async t => {
    const center = await startIdentityCenter(t)
    await signInHere(t, center, grant)
    const output = await aws(center, ['configure', 'export-credentials', '--profile', 'dev'])
    t.equal(JSON.parse(output).AccessKeyId, 'ASIAEXAMPLE')
    t.same(
      center.refusals.filter(text => !text.startsWith('authorization_pending')),
      [],
    )
  })
}

test('the AWS CLI renews the token of login, and the SDK uses what it wrote', { skip }, async t => {
  const center = await startIdentityCenter(t)
  center.tokenLifetime = 600 // the AWS CLI renews it a quarter of an hour before
  await signInHere(t, center, 'authorization code')
  const before = tokenOf(center)
  center.tokenLifetime = 3_600
  await aws(center, ['configure', 'export-credentials', '--profile', 'dev'])
  const after = tokenOf(center)
  t.ok(center.requests.includes('POST /token refresh_token'))
  t.not(after['accessToken'], before['accessToken'])
  t.same(Object.keys(after).sort(), Object.keys(before).sort(), 'the same fields')
  t.equal((await createCredentials({ region: 'eu-west-1', profile: 'dev' })()).accessKeyId, 'ASIAEXAMPLE')
})

test('aws sso login: the proxy uses the token', { skip }, async t => {
  for (const [name, args] of [
    ['authorization code', ['--no-browser']],
    ['device code', ['--no-browser', '--use-device-code']],
  ] as const) {
    await t.test(name, async t => {
      const center = await startIdentityCenter(t)
      center.decide('approved')
      let opened = false
      await aws(center, ['sso', 'login', '--profile', 'dev', ...args], output => {
        const url = /^(http\S+\/authorize\S+)$/m.exec(output)?.[1]
        if (!url || opened) return
        opened = true
        void signInWithBrowser(url)
      })
      useEnvironment(t, center.environment)
      t.equal((await createCredentials({ region: 'eu-west-1', profile: 'dev' })()).accessKeyId, 'ASIAEXAMPLE')
      const theirs = tokenOf(center)
      await signInHere(t, center, name)
      const ours = tokenOf(center)
      t.same(Object.keys(ours).sort(), Object.keys(theirs).sort(), 'the same fields as ours')
      for (const field of ['expiresAt', 'registrationExpiresAt']) {
        t.match(theirs[field], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
        t.match(ours[field], /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
      }
    })
  }
})
