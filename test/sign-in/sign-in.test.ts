/** Sign-ins against a stand-in for IAM Identity Center, which checks each request as the real service does. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { createCredentials } from '../../src/aws/credentials.ts'
import { ProxyError } from '../../src/errors.ts'
import { findSsoSession, type SsoSession } from '../../src/sign-in/session.ts'
import { type Prompt, SIGN_IN_TIME_LIMIT_MS, type SignInOptions, signIn } from '../../src/sign-in/sign-in.ts'
import { createTestClock, type TestClock } from '../support/clock.ts'
import { failureOf } from '../support/failure-of.ts'
import {
  type IdentityCenter,
  openPage,
  START_URL,
  signInWithBrowser,
  startIdentityCenter,
  useEnvironment,
} from './identity-center.ts'

const never = new AbortController().signal

/** Starts a sign-in of a profile; the address that it shows, and its end. */
async function begin(t: Test, center: IdentityCenter, options: Partial<SignInOptions> = {}, profile = 'dev') {
  useEnvironment(t, center.environment)
  const session = await findSsoSession({ profile })
  let onPrompt!: (prompt: Prompt) => void
  const prompt = new Promise<Prompt>(resolve => {
    onPrompt = resolve
  })
  const end = signIn(session, { grant: 'authorization code', signal: never, onPrompt, ...options })
  end.catch(() => {})
  return { prompt: await Promise.race([prompt, end.then(() => assertNever(), rethrow)]), end, session }
}

const assertNever = (): never => {
  throw new Error('no prompt')
}
const rethrow = (error: unknown): never => {
  throw error
}

function cacheFile({ home }: IdentityCenter, name: string): string {
  return join(home, '.aws', 'sso', 'cache', `${createHash('sha1').update(name).digest('hex')}.json`)
}

/** Runs the timers of the sign-in until `done` is settled, each when the sign-in waits for nothing else. */
async function drive<Result>(clock: TestClock, done: Promise<Result>, step: number): Promise<Result> {
  let isDone = false
  const settled = () => {
    isDone = true
  }
  done.then(settled, settled)
  while (!isDone) {
    // The time limit and the pause between two polls.
    if (clock.pending() > 1) clock.advance(step)
    await new Promise(resolve => setImmediate(resolve))
  }
  return await done
}

test('authorization code: the token is where the AWS CLI and the SDKs look for it, and the SDK uses it', async t => {
  const center = await startIdentityCenter(t)
  const { prompt, end } = await begin(t, center)
  t.match(prompt.url, `${center.url}/authorize?`)
  t.equal(prompt.userCode, undefined)
  const page = await signInWithBrowser(prompt.url)
  t.match(page, { status: 200, text: /You are signed in\. You can close this page\./ })
  const expires = await end
  t.ok(expires.getTime() > Date.now())

  const file = cacheFile(center, 'corp')
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.equal(statSync(join(file, '..')).mode & 0o777, 0o700)
  const token = JSON.parse(readFileSync(file, 'utf8'))
  t.same(Object.keys(token).sort(), [
    'accessToken',
    'clientId',
    'clientSecret',
    'expiresAt',
    'refreshToken',
    'region',
    'registrationExpiresAt',
    'startUrl',
  ])
  t.match(token, { startUrl: START_URL, region: 'us-east-1' })
  t.match(token.expiresAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  t.match(token.registrationExpiresAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  t.same(center.refusals, [])

  const credentials = await createCredentials({ region: 'eu-west-1', profile: 'dev' })()
  t.equal(credentials.accessKeyId, 'ASIAEXAMPLE')
  t.same(center.requests, [
    'POST /client/register',
    'GET /authorize',
    'POST /token authorization_code',
    'GET /federation/credentials',
  ])
})

test('the SDK renews the token with the refresh token and the registration beside it', async t => {
  const center = await startIdentityCenter(t)
  center.tokenLifetime = 60 // the SDK renews it five minutes before
  const { prompt, end } = await begin(t, center)
  await signInWithBrowser(prompt.url)
  await end
  const before = JSON.parse(readFileSync(cacheFile(center, 'corp'), 'utf8'))
  await createCredentials({ region: 'eu-west-1', profile: 'dev' })()
  const after = JSON.parse(readFileSync(cacheFile(center, 'corp'), 'utf8'))
  t.equal(center.requests.at(-2), 'POST /token refresh_token')
  t.not(after.accessToken, before.accessToken)
  t.same(center.refusals, [])
})

test('the registration of a client is kept for the next sign-in', async t => {
  const center = await startIdentityCenter(t)
  for (const _time of [1, 2]) {
    const { prompt, end } = await begin(t, center)
    await signInWithBrowser(prompt.url)
    await end
  }
  const folder = join(center.home, '.aws', 'sso', 'cache')
  t.equal(center.requests.filter(line => line === 'POST /client/register').length, 1)
  t.equal(readdirSync(folder).length, 2, 'the token and the registration, and no draft')
  for (const name of readdirSync(folder)) t.equal(statSync(join(folder, name)).mode & 0o777, 0o600)
  const [client] = center.clients.values()
  t.match(client, { issuerUrl: START_URL, scopes: ['sso:account:access'] })
})

test('a registration that expires soon, or is damaged, is replaced', async t => {
  const center = await startIdentityCenter(t)
  const signInOnce = async () => {
    const { prompt, end } = await begin(t, center)
    await signInWithBrowser(prompt.url)
    await end
  }
  await signInOnce()
  const folder = join(center.home, '.aws', 'sso', 'cache')
  const file = join(folder, readdirSync(folder).find(name => !cacheFile(center, 'corp').endsWith(name))!)
  const soon = new Date(Date.now() + 14 * 60_000).toISOString()
  for (const text of [
    JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), expiresAt: soon }),
    '{',
    '{"clientId":1}',
  ]) {
    writeFileSync(file, text)
    await signInOnce()
  }
  t.equal(center.clients.size, 4)
})

test('a wrong state is refused, and the right one works after it', async t => {
  const center = await startIdentityCenter(t)
  const { prompt, end } = await begin(t, center)
  const { location } = await openPage(prompt.url)
  const wrong = new URL(location!)
  for (const state of ['', 'wrong', `${wrong.searchParams.get('state')}x`]) {
    wrong.searchParams.set('state', state)
    const response = await fetch(wrong)
    t.equal(response.status, 400)
    t.match(await response.text(), /belongs to another sign-in/)
  }
  wrong.searchParams.delete('state')
  wrong.searchParams.set('error', 'access_denied')
  t.equal((await fetch(wrong)).status, 400, 'also an error, so that no other page can end the sign-in')
  t.equal((await fetch(location!)).status, 200)
  await end
  t.notOk(center.requests.filter(line => line.startsWith('POST /token')).length > 1)
})

/** Of a request whose target no browser's address bar would make. */
async function statusOf(origin: string, target: string): Promise<number | undefined> {
  const { hostname, port } = new URL(origin)
  const outgoing = request({ hostname, port, path: target }).end()
  const [answer] = (await once(outgoing, 'response')) as [IncomingMessage]
  answer.resume()
  return answer.statusCode
}

test('other requests to the callback change nothing', async t => {
  const center = await startIdentityCenter(t)
  const { prompt, end } = await begin(t, center)
  const { location } = await openPage(prompt.url)
  const { origin, search } = new URL(location!)
  t.equal((await fetch(`${origin}/`)).status, 404)
  t.equal((await fetch(`${origin}/favicon.ico`)).status, 404)
  t.equal((await fetch(location!, { method: 'POST' })).status, 404)
  t.equal((await fetch(location!.replace('127.0.0.1', 'localhost')).catch(() => ({ status: 400 }))).status, 400)
  for (const target of ['//', '//[', 'http://', '*']) {
    t.equal(await statusOf(origin, target), 404, `${target} does not end the process`)
  }
  const noCode = new URLSearchParams(search)
  noCode.delete('code')
  const missing = await fetch(`${origin}/oauth/callback?${noCode}`)
  t.match(await missing.text(), /The code is missing/)
  t.equal(missing.headers.get('cache-control'), 'no-store')
  t.equal(missing.headers.get('referrer-policy'), 'no-referrer')
  t.equal((await fetch(location!)).status, 200)
  await end
})

test('a second request with the right state', async t => {
  const center = await startIdentityCenter(t)
  const { prompt, end } = await begin(t, center)
  const { location } = await openPage(prompt.url)
  const statuses = await Promise.all([fetch(location!), fetch(location!)].map(async one => (await one).status))
  t.same(statuses.sort(), [200, 409])
  await end
  await t.rejects(fetch(location!), 'nothing listens any more')
})

test('a person who says no', async t => {
  await t.test('in the browser of this machine', async t => {
    const center = await startIdentityCenter(t)
    center.decide('denied')
    const { prompt, end } = await begin(t, center)
    const page = await signInWithBrowser(prompt.url)
    t.match(page, { status: 400, text: /The sign-in has failed\. The terminal says why\./ })
    t.match(await failureOf(end), { code: 'SIGN_IN_FAILED', message: 'the sign-in was denied' })
    t.notOk(existsSync(cacheFile(center, 'corp')))
  })
  await t.test('on the page of the device code', async t => {
    const clock = createTestClock()
    const center = await startIdentityCenter(t, clock)
    center.decide('denied')
    const { end } = await begin(t, center, { grant: 'device code', clock })
    t.match(await failureOf(drive(clock, end, 1_000)), { code: 'SIGN_IN_FAILED', message: 'the sign-in was denied' })
  })
})

test('a browser that never comes: the sign-in ends after its time, and nothing listens', async t => {
  const clock = createTestClock()
  const center = await startIdentityCenter(t)
  const { prompt, end } = await begin(t, center, { clock })
  clock.advance(SIGN_IN_TIME_LIMIT_MS)
  t.match(await failureOf(end), { code: 'SIGN_IN_FAILED', message: 'nobody signed in within 10 minutes' })
  const { location } = await openPage(prompt.url)
  await t.rejects(fetch(location!))
  t.equal(clock.pending(), 0)
})

test('Ctrl-C ends it at once', async t => {
  const center = await startIdentityCenter(t)
  const stop = new AbortController()
  const { end } = await begin(t, center, { signal: stop.signal })
  stop.abort()
  await t.rejects(end, { name: 'AbortError' })
})

test('device code: polls with the interval of the service, slower after slow_down, until the person agrees', async t => {
  const clock = createTestClock()
  const center = await startIdentityCenter(t, clock)
  const { prompt, end } = await begin(t, center, { grant: 'device code', clock })
  t.match(prompt, { url: `${center.url}/device?user_code=ABCD-EFGH`, userCode: 'ABCD-EFGH' })
  const polls = () => center.requests.filter(line => line.startsWith('POST /token device_code')).length
  const poll = async (after: number) => {
    const before = polls()
    while (clock.pending() < 2) await new Promise(resolve => setImmediate(resolve))
    clock.advance(after - 1)
    t.equal(polls(), before, 'not before')
    const asked = center.nextRequest('POST /token device_code')
    clock.advance(1)
    await asked
  }
  await poll(1_000)
  await poll(1_000)
  center.slowDownOnce()
  await poll(1_000)
  await poll(6_000)
  center.decide('approved')
  await poll(6_000)
  await end
  t.equal(center.tooSoon, 0)
  t.same([...new Set(center.refusals)], ['authorization_pending: not yet', 'slow_down: wait longer'])
  t.equal((await createCredentials({ region: 'eu-west-1', profile: 'dev' })()).accessKeyId, 'ASIAEXAMPLE')
})

test('device code: one that expires', async t => {
  const clock = createTestClock()
  const center = await startIdentityCenter(t, clock)
  center.decide('expired')
  const { end } = await begin(t, center, { grant: 'device code', clock })
  const { message } = await failureOf(drive(clock, end, 1_000))
  t.equal(message, 'the code has expired before the sign-in was complete')
})

test('device code: a service that does not answer for a while is asked again, with longer pauses', async t => {
  const clock = createTestClock()
  const center = await startIdentityCenter(t, clock)
  const { end } = await begin(t, center, { grant: 'device code', clock })
  center.breakDown(true)
  while (clock.pending() < 2) await new Promise(resolve => setImmediate(resolve))
  clock.advance(1_000)
  while (clock.pending() > 1) await new Promise(resolve => setImmediate(resolve))
  while (clock.pending() < 2) await new Promise(resolve => setImmediate(resolve))
  center.breakDown(false)
  center.decide('approved')
  clock.advance(5_999)
  t.notOk(center.requests.some(line => line.startsWith('POST /token')))
  clock.advance(1)
  await end
})

test('device code: a client that the service has forgotten is registered again', async t => {
  const clock = createTestClock()
  const center = await startIdentityCenter(t, clock)
  center.decide('approved')
  const first = await begin(t, center, { grant: 'device code', clock })
  await drive(clock, first.end, 1_000)
  center.forgetClients()
  const second = await begin(t, center, { grant: 'device code', clock })
  await drive(clock, second.end, 1_000)
  t.equal(center.requests.filter(line => line === 'POST /client/register').length, 2)
})

test('authorization code: a client that the service has forgotten is registered again at the next sign-in', async t => {
  const center = await startIdentityCenter(t)
  const { prompt, end } = await begin(t, center)
  const { location } = await openPage(prompt.url)
  center.forgetClients()
  t.equal((await fetch(location!)).status, 400)
  t.match(await failureOf(end), {
    code: 'SIGN_IN_FAILED',
    message: 'IAM Identity Center refused the code of the browser: InvalidClientException, HTTP 401',
  })
  const second = await begin(t, center)
  t.equal((await signInWithBrowser(second.prompt.url)).status, 200)
  await second.end
})

test('no port to listen on: the device code', async t => {
  const clock = createTestClock()
  const center = await startIdentityCenter(t, clock)
  center.decide('approved')
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => taken.once('listening', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  const { prompt, end } = await begin(t, center, { port, clock })
  t.equal(prompt.userCode, 'ABCD-EFGH')
  await drive(clock, end, 1_000)
})

test('a profile with its own start URL: the device code, and a token without renewal', async t => {
  const clock = createTestClock()
  const center = await startIdentityCenter(t, clock)
  center.decide('approved')
  const { prompt, end } = await begin(t, center, { clock }, 'old')
  t.equal(prompt.userCode, 'ABCD-EFGH')
  await drive(clock, end, 1_000)
  const token = JSON.parse(readFileSync(cacheFile(center, START_URL), 'utf8'))
  t.notOk('refreshToken' in token)
  t.equal((await createCredentials({ region: 'eu-west-1', profile: 'old' })()).accessKeyId, 'ASIAEXAMPLE')
})

test('a service that is unreachable, and one that is not IAM Identity Center', async t => {
  await t.test('unreachable', async t => {
    const center = await startIdentityCenter(t)
    center.breakDown(true)
    const error = await failureOf(begin(t, center))
    t.match(error, { code: 'CREDENTIALS_UNREACHABLE', message: /^IAM Identity Center did not answer: / })
  })
  await t.test('a login page', async t => {
    const server = createServer((_request, response) =>
      response.setHeader('content-type', 'application/json').end('{}'),
    )
    server.listen(0, '127.0.0.1')
    await new Promise(resolve => server.once('listening', resolve))
    t.teardown(() => server.close())
    const center = await startIdentityCenter(t)
    const { port } = server.address() as { port: number }
    center.environment['AWS_ENDPOINT_URL_SSO_OIDC'] = `http://127.0.0.1:${port}`
    for (const grant of ['authorization code', 'device code'] as const) {
      t.match(await failureOf(begin(t, center, { grant })), {
        code: 'SIGN_IN_FAILED',
        message: /is not from IAM Identity Center/,
      })
    }
  })
})

test('a folder that cannot be written', async t => {
  const center = await startIdentityCenter(t)
  mkdirSync(join(center.home, '.aws'))
  writeFileSync(join(center.home, '.aws', 'sso'), 'a file')
  const error = await failureOf(begin(t, center))
  t.match(error, { code: 'SIGN_IN_FAILED', message: /^cannot write .*: (ENOTDIR|EEXIST)$/ })
})

test('nothing that a person sees of a failed sign-in has a secret', async t => {
  const center = await startIdentityCenter(t)
  const { prompt, end } = await begin(t, center)
  const { location } = await openPage(prompt.url)
  const [client] = center.clients.values()
  const code = new URL(location!).searchParams.get('code')!
  const wrong = new URL(location!)
  wrong.searchParams.set('code', 'wrong')
  const response = await fetch(wrong)
  const error = await failureOf(end)
  t.match(error.message, /InvalidGrantException/)
  for (const text of [prompt.url, await response.text(), error.message, error.hint ?? '']) {
    t.notMatch(text, client!.secret)
    t.notMatch(text, code)
  }
})

test('which session a profile uses', async t => {
  const center = await startIdentityCenter(t)
  const find = (choice: Parameters<typeof findSsoSession>[0], variables: Record<string, string> = {}) =>
    findSsoSession(choice, { ...center.environment, ...variables })
  const corp: SsoSession = {
    name: 'corp',
    startUrl: START_URL,
    region: 'us-east-1',
    scopes: ['sso:account:access'],
    profile: 'dev',
  }
  t.same(await find({ profile: 'dev' }), corp)
  t.same(await find({ profile: 'role' }), { ...corp, profile: 'role' }, 'that of its source_profile')
  t.same(await find({}, { AWS_PROFILE: 'dev' }), corp)
  t.same(await find({ ssoSession: 'corp' }), { ...corp, profile: undefined })
  t.same(await find({}), { ...corp, profile: undefined }, 'the only one, if the default profile has none')
  t.match(await find({ profile: 'old' }), { name: undefined, scopes: [] })

  const refused = async (choice: Parameters<typeof findSsoSession>[0], variables?: Record<string, string>) => {
    const error = await failureOf(find(choice, variables))
    return `${error.code} ${error.message}`
  }
  t.equal(
    await refused({ profile: 'keys' }),
    'CONFIG_INVALID the profile keys does not use IAM Identity Center (SSO); profiles that do: dev, old',
  )
  t.match(
    await refused({ profile: 'none' }),
    /^CREDENTIALS_PROFILE_MISSING the AWS profile none does not exist; there are dev, old/,
  )
  t.match(await refused({}, { AWS_PROFILE: 'none' }), /^CREDENTIALS_PROFILE_MISSING /)
  t.equal(
    await refused({ ssoSession: 'other' }),
    'CONFIG_INVALID there is no [sso-session other] in ~/.aws/config; profiles that do: dev, old',
  )
  const ofConsole = await failureOf(find({ profile: 'console' }))
  t.match(ofConsole, { code: 'CREDENTIALS_SSO_EXPIRED', hintValues: { ssoLogin: 'aws login --profile console' } })
  t.ok(ofConsole instanceof ProxyError)
})

test('which session: incomplete configurations', async t => {
  const find = async (config: string, choice: Parameters<typeof findSsoSession>[0] = { profile: 'dev' }) => {
    const home = t.testdir({ config, credentials: '' })
    const environment = {
      AWS_CONFIG_FILE: join(home, 'config'),
      AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials'),
    }
    return (await failureOf(findSsoSession(choice, environment))).message
  }
  t.equal(
    await find('[profile dev]\nsso_start_url = https://x\n'),
    'the profile dev has sso_start_url, but no sso_region',
  )
  t.equal(
    await find('[profile dev]\nsso_session = a\n[sso-session a]\nsso_region = x\n'),
    '[sso-session a] in ~/.aws/config needs sso_start_url and sso_region',
  )
  t.equal(
    await find('[profile dev]\nregion = x\n'),
    'the profile dev does not use IAM Identity Center (SSO); create a profile with: aws configure sso',
  )
  t.equal(
    await find('[sso-session a]\n[sso-session b]\n', { ssoSession: 'c' }),
    'there is no [sso-session c] in ~/.aws/config; sso-session sections: a, b',
  )
  const many = Array.from({ length: 9 }, (_, index) => `[profile p${index}]\nsso_session = a\n`).join('')
  t.match(await find(`[profile dev]\nregion = x\n${many}`), /profiles that do: p0, .*p7, …$/)
})
