/** Profiles with mfa_serial: the code is asked for on the terminal, and the session that it gives is kept. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { type Test, test } from 'tap'
import { mfaSerialsOf, readAwsConfig } from '../../src/aws/config-file.ts'
import { createCredentials } from '../../src/aws/credentials.ts'
import { toERR_Packet } from '../../src/errors.ts'
import { type Logger, silent } from '../../src/log.ts'
import { askForCode } from '../../src/sign-in/mfa-question.ts'
import { type AskForCode, createSignInOnDemand, QUESTION_TIME_LIMIT_MS } from '../../src/sign-in/on-demand.ts'
import { createTestClock } from '../support/clock.ts'
import { failureOf } from '../support/failure-of.ts'
import { logIn, startProxy, until } from '../support/proxy.ts'
import { goodLogin, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { useEnvironment } from './identity-center.ts'

const SERIAL = 'arn:aws:iam::123456789012:mfa/me'
const CONFIG = `[profile base]
aws_access_key_id = AKIAEXAMPLE
aws_secret_access_key = secret-key-of-the-user
[profile admin]
role_arn = arn:aws:iam::123456789012:role/db
source_profile = base
mfa_serial = ${SERIAL}
duration_seconds = 7200
[profile next]
role_arn = arn:aws:iam::210987654321:role/db
source_profile = admin
[profile broken]
role_arn = arn:aws:iam::123456789012:role/db
source_profile = none
mfa_serial = ${SERIAL}
`

/** AWS STS, which takes each code once. What it was asked. */
async function startSts(t: Test) {
  const asked: Record<string, string>[] = []
  const accepted = new Set(['123456', '654321'])
  let lifetime = 3_600_000
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const input = Object.fromEntries(new URLSearchParams(body))
    asked.push(input)
    response.setHeader('content-type', 'text/xml')
    const needsCode = input['SerialNumber'] !== undefined
    if (needsCode && !accepted.delete(input['TokenCode'] ?? '')) {
      const message = 'MultiFactorAuthentication failed with invalid MFA one time pass code. '
      const error = `<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>${message}</Message></Error>`
      return response.writeHead(403).end(`<ErrorResponse>${error}<RequestId>1</RequestId></ErrorResponse>`)
    }
    const expiration = new Date(Date.now() + lifetime).toISOString()
    return response.end(`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
      <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/db/s</Arn><AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser>
      <Credentials><AccessKeyId>ASIAMFA</AccessKeyId><SecretAccessKey>secret-key-of-the-role</SecretAccessKey>
      <SessionToken>session-of-the-role</SessionToken><Expiration>${expiration}</Expiration></Credentials>
      </AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const home = t.testdir({ config: CONFIG, credentials: '' })
  useEnvironment(t, {
    HOME: home,
    AWS_CONFIG_FILE: join(home, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(home, 'credentials'),
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_ENDPOINT_URL_STS: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  })
  return {
    asked,
    /** of the next sessions, in milliseconds */
    live(milliseconds: number) {
      lifetime = milliseconds
    },
  }
}

/** A person at the terminal, who answers when the test says so. */
function createPerson() {
  const questions: { serial: string; profile: string; signal: AbortSignal; answer(code: string | undefined): void }[] =
    []
  const ask: AskForCode = (serial, profile, signal) =>
    new Promise(answer => {
      signal.addEventListener('abort', () => answer(undefined), { once: true })
      questions.push({ serial, profile, signal, answer })
    })
  return { ask, questions }
}

function keepLog() {
  const lines: string[] = []
  const write = (_fields: object, message: string) => lines.push(message)
  const log: Logger = { ...silent, warn: write, info: write, error: write }
  return { log, lines }
}

test('the code is asked for once, for all endpoints of the profile', async t => {
  const sts = await startSts(t)
  const { ask, questions } = createPerson()
  const { log, lines } = keepLog()
  const onDemand = createSignInOnDemand({ log, askForCode: ask })
  t.teardown(() => onDemand.close())
  const upstream = await startScriptedUpstream(t, Array(8).fill(goodLogin))
  const options = {
    connect: upstream.address,
    credentials: undefined,
    profile: 'admin',
    tokenInHandshake: 'always',
  } as const
  const one = await startProxy(t, options, onDemand)
  const two = await startProxy(t, options, onDemand)
  t.same(questions, [], 'only a login of a client asks')

  for (const { error } of await Promise.all([one, two, one].map(({ address }) => logIn(t, address)))) {
    t.match(error?.message, `the profile admin needs the code of an MFA device (${SERIAL})`)
    t.match(error?.message, 'The terminal of the proxy asks for it. Type it there, then connect again.')
  }
  t.equal(questions.length, 1)
  t.match(questions[0], { serial: SERIAL, profile: 'admin' })
  for (const { proxy } of [one, two]) {
    t.match(proxy.state.signIn, { what: `The terminal of the proxy asks for the code of ${SERIAL}`, url: undefined })
  }
  t.same(sts.asked, [], 'AWS was not asked without a code')

  questions[0]!.answer('123456')
  t.ok(await until(() => two.proxy.state.signIn === undefined && !two.proxy.state.credentialsFailed))
  for (const { address } of [one, two]) t.match(await logIn(t, address), { ok: true })
  t.equal(sts.asked.length, 1)
  t.match(sts.asked[0], { SerialNumber: SERIAL, TokenCode: '123456', DurationSeconds: '7200' })
  t.equal(questions.length, 1)
  t.equal(lines.at(-1), `AWS accepted the code of the MFA device ${SERIAL}`)
  t.notMatch(JSON.stringify([lines, one.log, two.log]), /123456[^7]|secret-key|session-of/)
})

test('a code that AWS refuses: the next login asks again', async t => {
  const sts = await startSts(t)
  const { ask, questions } = createPerson()
  const { log, lines } = keepLog()
  const onDemand = createSignInOnDemand({ log, askForCode: ask })
  t.teardown(() => onDemand.close())
  const upstream = await startScriptedUpstream(t, Array(8).fill(goodLogin))
  const { address, proxy } = await startProxy(
    t,
    { connect: upstream.address, credentials: undefined, profile: 'admin', tokenInHandshake: 'always' },
    onDemand,
  )
  await logIn(t, address)
  questions[0]!.answer('000000')
  t.ok(await until(() => proxy.state.signIn === undefined))
  t.match(
    lines.at(-1),
    /^AWS credentials \(profile admin\): MultiFactorAuthentication failed with invalid MFA one time pass code\. A later login of a client asks for another code$/,
  )
  await logIn(t, address)
  t.equal(questions.length, 2)
  questions[1]!.answer('654321')
  t.ok(await until(() => proxy.state.signIn === undefined && !proxy.state.credentialsFailed))
  t.match(await logIn(t, address), { ok: true })
  t.equal(sts.asked.length, 2)
})

test('at the end of the session it is asked for again, and only when a client needs it', async t => {
  const sts = await startSts(t)
  sts.live(-1)
  const { ask, questions } = createPerson()
  const onDemand = createSignInOnDemand({ log: silent, askForCode: ask })
  t.teardown(() => onDemand.close())
  const upstream = await startScriptedUpstream(t, Array(8).fill(goodLogin))
  const { address, proxy } = await startProxy(
    t,
    { connect: upstream.address, credentials: undefined, profile: 'admin', tokenInHandshake: 'always' },
    onDemand,
  )
  await logIn(t, address)
  questions[0]!.answer('123456')
  t.ok(await until(() => proxy.state.signIn === undefined))
  t.equal(questions.length, 1, 'the session has expired, and no client has come')
  await logIn(t, address)
  t.equal(questions.length, 2)
  sts.live(3_600_000)
  questions[1]!.answer('654321')
  t.ok(await until(() => proxy.state.signIn === undefined && !proxy.state.credentialsFailed))
  t.match(await logIn(t, address), { ok: true })
})

test('nobody answers: the question ends, and says so', async t => {
  await startSts(t)
  const { ask, questions } = createPerson()
  const { log, lines } = keepLog()
  const clock = createTestClock()
  const onDemand = createSignInOnDemand({ log, askForCode: ask, clock })
  const shown: unknown[] = []
  const endpoint = {
    profile: 'admin',
    show: (state: unknown) => shown.push(state),
    retry: () => createCredentials({ region: 'eu-west-1', profile: 'admin', codes: onDemand.codes })(),
    forgetErrors: () => {},
  }
  const help = async () => await onDemand.help(await failureOf(endpoint.retry()), endpoint)
  await help()
  t.ok(await until(() => questions.length === 1))
  clock.advance(QUESTION_TIME_LIMIT_MS)
  t.ok(await until(() => shown.at(-1) === undefined))
  t.equal(lines.at(-1), `no code of the MFA device ${SERIAL}. A later login of a client asks again`)
  t.equal(questions[0]!.signal.aborted, true)
  await help()
  t.ok(await until(() => questions.length === 2))
  onDemand.close()
  t.equal(questions[1]!.signal.aborted, true, 'the end of the proxy ends the question')
  t.equal(clock.pending() <= 1, true)
})

test('without a terminal, the error says what to do', async t => {
  const sts = await startSts(t)
  const error = await failureOf(createCredentials({ region: 'eu-west-1', profile: 'admin' })())
  t.equal(error.code, 'CREDENTIALS_MFA_REQUIRED')
  t.match(
    toERR_Packet(error, {}).message,
    /needs the code of an MFA device .* Start the proxy on a terminal, where it asks/,
  )
  t.same(sts.asked, [])
  process.env.AWS_PROFILE = 'next'
  t.match(
    await failureOf(createCredentials({ region: 'eu-west-1' })()),
    { code: 'CREDENTIALS_MFA_REQUIRED' },
    'also of a source profile',
  )
})

test('keys in the environment need no code', async t => {
  await startSts(t)
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'AKIAENV', AWS_SECRET_ACCESS_KEY: 'secret' })
  t.equal((await createCredentials({ region: 'eu-west-1' })()).accessKeyId, 'AKIAENV')
})

test('a source profile that does not exist is one error, and does not end the process', async t => {
  await startSts(t)
  const codes = { take: async () => '123456' }
  const error = await failureOf(createCredentials({ region: 'eu-west-1', profile: 'broken', codes })())
  t.equal(error.code, 'CREDENTIALS_PROFILE_MISSING')
})

test('which devices a profile needs', async t => {
  await startSts(t)
  const config = await readAwsConfig()
  t.same(mfaSerialsOf('admin', config), [SERIAL])
  t.same(mfaSerialsOf('next', config), [SERIAL])
  t.same(mfaSerialsOf('base', config), [])
  t.same(mfaSerialsOf('none', config), [])
})

/** A terminal of the test: what is written to it, and the hand that types. */
function createTerminal() {
  const input = new PassThrough()
  const output = new PassThrough()
  const written = () => String(output.read() ?? '')
  return { terminal: { input, output }, type: (text: string) => input.write(text), written, input }
}

test('the question on the terminal', async t => {
  const never = new AbortController().signal
  await t.test('six digits, also with a blank', async t => {
    const { terminal, type, written } = createTerminal()
    const code = askForCode(terminal, SERIAL, 'admin', never)
    type('123 456\n')
    t.equal(await code, '123456')
    t.equal(written(), `MFA code of ${SERIAL} (profile admin), or Enter for none: `)
  })
  await t.test('something else', async t => {
    const { terminal, type, written } = createTerminal()
    const code = askForCode(terminal, SERIAL, 'admin', never)
    type('12345\nabcdef\n123456\n')
    t.equal(await code, '123456')
    t.equal(written().match(/A code has six digits\./g)?.length, 2)
  })
  await t.test('three times something else', async t => {
    const { terminal, type } = createTerminal()
    const code = askForCode(terminal, SERIAL, 'admin', never)
    type('1\n2\n3\n')
    t.equal(await code, undefined)
  })
  await t.test('an empty line', async t => {
    const { terminal, type } = createTerminal()
    const code = askForCode(terminal, SERIAL, 'admin', never)
    type('\n')
    t.equal(await code, undefined)
  })
  await t.test('the end of the input', async t => {
    const { terminal, input } = createTerminal()
    const code = askForCode(terminal, SERIAL, 'admin', never)
    input.end()
    t.equal(await code, undefined)
  })
  await t.test('the end of its time, and a question that comes too late', async t => {
    const stop = new AbortController()
    const { terminal, written } = createTerminal()
    const code = askForCode(terminal, SERIAL, 'admin', stop.signal)
    stop.abort()
    t.equal(await code, undefined)
    written()
    t.equal(await askForCode(terminal, SERIAL, 'admin', stop.signal), undefined)
    t.equal(written(), '')
  })
})
