/** Sign-ins that the logins of clients start: through a proxy, against a stand-in for IAM Identity Center. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import type { Credentials, WaitingEndpoint } from '../../src/aws/credentials.ts'
import type { LogLevel } from '../../src/error-codes.ts'
import { ProxyError, toERR_Packet } from '../../src/errors.ts'
import { type Logger, loggerOf } from '../../src/log.ts'
import {
  createSignInOnDemand,
  type OnDemandOptions,
  PAUSE_AFTER_FAILURE_MS,
  type SignInOnDemand,
} from '../../src/sign-in/on-demand.ts'
import { SIGN_IN_TIME_LIMIT_MS, type SignInOptions, signIn } from '../../src/sign-in/sign-in.ts'
import type { SignInState } from '../../src/state.ts'
import { createTestClock } from '../support/clock.ts'
import { checkNoSecrets, logIn, startProxy, until } from '../support/proxy.ts'
import { goodLogin, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { signInWithBrowser, startIdentityCenter, useEnvironment } from './identity-center.ts'

interface Line {
  level: LogLevel
  fields: Record<string, unknown>
  message: string
}

function keepLog(): { log: Logger; lines: Line[]; texts(): string[] } {
  const lines: Line[] = []
  const at = (level: LogLevel) => (fields: object, message: string) => {
    lines.push({ level, fields: fields as Line['fields'], message })
  }
  const log = loggerOf(at)
  return { log, lines, texts: () => lines.map(({ message }) => message) }
}

const expired = () => {
  const what = 'the AWS SSO session (profile dev) has expired'
  return new ProxyError('CREDENTIALS_SSO_EXPIRED', what, {
    hintValues: { ssoLogin: 'mysql-iam-proxy login --profile dev' },
  })
}

interface TestEndpoint extends WaitingEndpoint {
  shown: (SignInState | undefined)[]
  retries: number
  forgotten: number
}

function createEndpoint(profile: string | undefined = 'dev'): TestEndpoint {
  const endpoint: TestEndpoint = {
    profile,
    shown: [],
    retries: 0,
    forgotten: 0,
    show: state => endpoint.shown.push(state),
    async retry() {
      endpoint.retries++
      return {} as Credentials
    },
    forgetErrors() {
      endpoint.forgotten++
    },
  }
  return endpoint
}

interface Attempt {
  options: SignInOptions
  succeed(): void
  fail(error: unknown): void
}

/** A sign-in on demand whose single sign-ins the test decides. */
async function createWithAttempts(t: Test, options: Partial<OnDemandOptions> = {}) {
  const { environment } = await startIdentityCenter(t)
  const attempts: Attempt[] = []
  const opened: string[] = []
  const clock = createTestClock()
  const { log, lines, texts } = keepLog()
  const run: typeof signIn = (_session, given) =>
    new Promise((resolve, reject) => {
      given.signal.addEventListener('abort', () => reject(given.signal.reason))
      attempts.push({ options: given, succeed: () => resolve(new Date(1_800_000_000_000)), fail: reject })
    })
  const onDemand = createSignInOnDemand({
    log,
    askForCode: undefined,
    environment: { ...environment, DISPLAY: ':0' },
    clock,
    open: url => opened.push(url),
    signIn: run,
    ...options,
  })
  t.teardown(() => onDemand.close())
  return { onDemand, attempts, opened, clock, lines, texts }
}

const URL_OF_THE_PAGE = 'https://oidc.us-east-1.amazonaws.com/authorize?state=s'

/** Gets help, and shows the address as soon as a sign-in starts. */
async function helpAndPrompt(
  onDemand: SignInOnDemand,
  attempts: Attempt[],
  endpoint: TestEndpoint,
): Promise<ProxyError> {
  const before = attempts.length
  const help = onDemand.help(expired(), endpoint)
  await until(() => attempts.length > before)
  attempts.at(-1)!.options.onPrompt({ url: URL_OF_THE_PAGE, userCode: undefined })
  return await help
}

const tick = () => new Promise(resolve => setImmediate(resolve))

test('an expired session: the client gets the address, and its next login works', async t => {
  const center = await startIdentityCenter(t)
  useEnvironment(t, center.environment)
  const { log, lines } = keepLog()
  const opened: string[] = []
  const onDemand = createSignInOnDemand({
    log,
    askForCode: undefined,
    environment: { ...center.environment, DISPLAY: ':0' },
    open: url => opened.push(url),
  })
  t.teardown(() => onDemand.close())
  const upstream = await startScriptedUpstream(t, Array(12).fill(goodLogin))
  const options = {
    connect: upstream.address,
    credentials: undefined,
    profile: 'dev',
    tokenInHandshake: 'always',
  } as const
  const one = await startProxy(t, options, onDemand)
  const two = await startProxy(t, options, onDemand)
  t.equal(opened.length, 0, 'the start of the proxy opens nothing')
  t.equal(one.proxy.state.signIn, undefined)

  const outcomes = await Promise.all([one, two, one, two].map(({ address }) => logIn(t, address)))
  const [url] = opened
  t.equal(opened.length, 1, 'one browser for four clients of two endpoints')
  for (const { error } of outcomes) {
    t.equal(error?.errno, 1105)
    t.match(error?.message, 'the AWS SSO session (profile dev) has expired')
    t.match(error?.message, `Sign in at ${url} and connect again`)
    t.ok(Buffer.byteLength(error!.message) < 512)
  }
  for (const { proxy } of [one, two]) t.match(proxy.state.signIn, { what: /^Sign in to https:/, url })
  t.equal(center.requests.filter(line => line === 'POST /client/register').length, 1)

  t.equal((await signInWithBrowser(url!)).status, 200)
  t.ok(await until(() => one.proxy.state.signIn === undefined && !two.proxy.state.credentialsFailed))
  for (const { address } of [one, two]) t.match(await logIn(t, address), { ok: true })
  t.equal(one.proxy.state.credentialsFailed, false)
  const all = [...lines, ...one.log, ...two.log]
  t.equal(all.filter(line => JSON.stringify(line).includes(url!)).length, 1, 'the log has the address once')
  t.notMatch(JSON.stringify(one.proxy.state.recentErrors), 'authorize?', 'the list of errors does not')
  t.match(lines, [
    { level: 'warn', message: `sign in to AWS: open ${url}` },
    { level: 'info', message: 'signed in to AWS' },
  ])
  for (const { log } of [one, two]) checkNoSecrets(t, log)
  t.notMatch(JSON.stringify(all), /access-token-|refresh-token-|secret-of-client-|secret-key-of-the-role/)
})

test('without it, the error names the command', async t => {
  const center = await startIdentityCenter(t)
  useEnvironment(t, center.environment)
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const { address } = await startProxy(t, { connect: upstream.address, credentials: undefined, profile: 'dev' })
  const { error } = await logIn(t, address)
  t.match(error?.message, 'Run: mysql-iam-proxy login --profile dev')
  t.same(center.requests, [])
})

test('a storm of logins starts one sign-in', async t => {
  const { onDemand, attempts, opened } = await createWithAttempts(t)
  const endpoints = Array.from({ length: 50 }, () => createEndpoint())
  const helps = endpoints.map(endpoint => onDemand.help(expired(), endpoint))
  await until(() => attempts.length > 0)
  attempts[0]!.options.onPrompt({ url: URL_OF_THE_PAGE, userCode: undefined })
  const errors = await Promise.all(helps)
  t.equal(attempts.length, 1)
  t.equal(opened.length, 1)
  for (const error of errors) t.match(toERR_Packet(error, {}).message, URL_OF_THE_PAGE)
  attempts[0]!.succeed()
  await tick()
  for (const { shown, retries, forgotten } of endpoints) {
    t.equal(shown.at(-1), undefined)
    t.equal(retries, 1)
    t.equal(forgotten, 1)
  }
})

test('a device code stands in the error of the client', async t => {
  const center = await startIdentityCenter(t)
  const { log, texts } = keepLog()
  const opened: string[] = []
  const onDemand = createSignInOnDemand({
    log,
    askForCode: undefined,
    environment: center.environment, // no display
    open: url => opened.push(url),
    signIn: (_session, options) => {
      t.equal(options.grant, 'device code')
      options.onPrompt({
        url: 'https://device.sso.us-east-1.amazonaws.com/?user_code=ABCD-EFGH',
        userCode: 'ABCD-EFGH',
      })
      return new Promise(() => {})
    },
  })
  const error = await onDemand.help(expired(), createEndpoint())
  t.match(toERR_Packet(error, {}).message, /user_code=ABCD-EFGH \(code ABCD-EFGH\) and connect again/)
  t.match(texts(), [/^sign in to AWS: open https:.* and check that the page shows the code ABCD-EFGH$/])
  t.same(opened, [])
  onDemand.close()
})

test('a client does not wait for a service that is slow to give an address', async t => {
  const { onDemand, attempts, clock } = await createWithAttempts(t)
  const help = onDemand.help(expired(), createEndpoint())
  await until(() => attempts.length > 0 && clock.pending() > 0)
  clock.advance(3_000)
  const { message } = toERR_Packet(await help, {})
  t.match(message, 'Sign in at the address that the terminal and the status page show, then connect again')
})

test('nobody signs in: it ends, says so, and the next one opens no browser', async t => {
  const { onDemand, attempts, opened, clock, lines } = await createWithAttempts(t)
  const endpoint = createEndpoint()
  await helpAndPrompt(onDemand, attempts, endpoint)
  t.match(endpoint.shown.at(-1), { url: URL_OF_THE_PAGE })
  attempts[0]!.fail(new ProxyError('SIGN_IN_FAILED', 'nobody signed in within 10 minutes'))
  await tick()
  t.equal(endpoint.shown.at(-1), undefined)
  t.equal(endpoint.forgotten, 1, 'the circuit breaker must not repeat the old address')
  t.match(lines.at(-1), {
    level: 'warn',
    fields: { code: 'SIGN_IN_FAILED' },
    message: 'no sign-in to AWS: nobody signed in within 10 minutes. A later login of a client starts another one',
  })

  const pause = await onDemand.help(expired(), endpoint)
  t.match(pause, { code: 'CREDENTIALS_SSO_EXPIRED', message: /has expired, and the sign-in failed: nobody signed in/ })
  t.match(toERR_Packet(pause, {}).message, 'Run: mysql-iam-proxy login --profile dev')
  t.equal(attempts.length, 1, 'a pause')

  clock.advance(PAUSE_AFTER_FAILURE_MS)
  await helpAndPrompt(onDemand, attempts, endpoint)
  t.equal(attempts.length, 2)
  t.equal(opened.length, 1)
  attempts[1]!.succeed()
  await tick()
  await helpAndPrompt(onDemand, attempts, endpoint)
  t.equal(opened.length, 2, 'again, after one that succeeded')
})

test('the time limit is that of a sign-in', async t => {
  const center = await startIdentityCenter(t)
  useEnvironment(t, center.environment)
  const clock = createTestClock()
  const { log, texts } = keepLog()
  const environment = { ...center.environment, DISPLAY: ':0' }
  const onDemand = createSignInOnDemand({ log, askForCode: undefined, environment, clock, open: () => {} })
  const endpoint = createEndpoint()
  await onDemand.help(expired(), endpoint)
  clock.advance(SIGN_IN_TIME_LIMIT_MS)
  t.ok(await until(() => endpoint.shown.at(-1) === undefined))
  t.match(texts().at(-1), /nobody signed in within 10 minutes/)
  t.equal(clock.pending(), 0)
})

test('a service that is unreachable: the error says so at once', async t => {
  const { onDemand, attempts, opened } = await createWithAttempts(t)
  const help = onDemand.help(expired(), createEndpoint())
  await until(() => attempts.length > 0)
  attempts[0]!.fail(
    new ProxyError('CREDENTIALS_UNREACHABLE', 'IAM Identity Center did not answer: connect ECONNREFUSED'),
  )
  t.match((await help).message, 'and the sign-in failed: IAM Identity Center did not answer')
  t.same(opened, [])
})

test('credentials from elsewhere end the sign-in', async t => {
  const { onDemand, attempts, texts } = await createWithAttempts(t)
  const endpoint = createEndpoint()
  await helpAndPrompt(onDemand, attempts, endpoint)
  onDemand.arrived(createEndpoint())
  t.equal(attempts[0]!.options.signal.aborted, false, 'another endpoint')
  onDemand.arrived(endpoint)
  await tick()
  t.equal(attempts[0]!.options.signal.aborted, true)
  t.equal(endpoint.shown.at(-1), undefined)
  t.equal(texts().at(-1), 'the sign-in to AWS is no longer needed')
})

test('errors that no sign-in helps', async t => {
  const { onDemand, attempts } = await createWithAttempts(t)
  for (const [error, profile] of [
    [new ProxyError('CREDENTIALS_MISSING', 'none'), 'dev'],
    [expired(), 'console'], // aws login
    [expired(), 'no-such-profile'],
    [new ProxyError('CREDENTIALS_MFA_REQUIRED', 'no terminal'), 'dev'],
  ] as const) {
    t.equal(await onDemand.help(error, createEndpoint(profile)), error)
  }
  t.same(attempts, [])
})

test('the end of the proxy ends the sign-in, and starts none', async t => {
  const { onDemand, attempts, texts } = await createWithAttempts(t)
  await helpAndPrompt(onDemand, attempts, createEndpoint())
  onDemand.close()
  await tick()
  t.equal(attempts[0]!.options.signal.aborted, true)
  t.equal(texts().length, 1, 'nothing more in the log')
  const error = expired()
  t.equal(await onDemand.help(error, createEndpoint()), error)
})

test('someone signs in with another program while the proxy waits', async t => {
  const center = await startIdentityCenter(t)
  useEnvironment(t, center.environment)
  const { log, texts } = keepLog()
  const environment = { ...center.environment, DISPLAY: ':0' }
  const onDemand = createSignInOnDemand({ log, askForCode: undefined, environment, open: () => {} })
  t.teardown(() => onDemand.close())
  const upstream = await startScriptedUpstream(t, [goodLogin, goodLogin])
  const { address, proxy } = await startProxy(
    t,
    { connect: upstream.address, credentials: undefined, profile: 'dev', tokenInHandshake: 'always' },
    onDemand,
  )
  await logIn(t, address)
  // The registration is in use by the sign-in that waits.
  const session = {
    name: 'corp',
    startUrl: 'https://example.awsapps.com/start',
    region: 'us-east-1',
    scopes: ['sso:account:access'],
    profile: 'dev',
  }
  await signIn(session, {
    grant: 'authorization code',
    signal: new AbortController().signal,
    onPrompt: ({ url }) => void signInWithBrowser(url),
  })
  t.match(await logIn(t, address), { ok: true })
  t.ok(await until(() => texts().includes('the sign-in to AWS is no longer needed')))
  t.equal(proxy.state.signIn, undefined)
  rmSync(join(center.home, '.aws'), { recursive: true })
})
