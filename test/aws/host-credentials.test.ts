/** What the option `credentials` of the library may hold, and what each mistake is called. */
import { test } from 'tap'
import type { Credentials } from '../../src/aws/credential-types.ts'
import { createHostCredentials, hostTimedOut } from '../../src/aws/host-credentials.ts'
import { ProxyError, toERR_Packet } from '../../src/errors.ts'
import { failureOf } from '../support/failure-of.ts'

const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
const key = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: SECRET }
const temporary = { accessKeyId: 'ASIAIOSFODNN7EXAMPLE', secretAccessKey: SECRET, sessionToken: 'a session token' }
const later = new Date(Date.now() + 3_600_000)

const gives = (found: unknown) => createHostCredentials(async () => found as Credentials)

test('credentials that are right', async t => {
  const good: unknown[] = [
    key,
    temporary,
    { ...temporary, expiration: later },
    { ...key, accountId: '123456789012', credentialScope: 'eu-west-1' },
    Object.freeze({ ...key }),
  ]
  for (const found of good) {
    t.same(await gives(found)(), found)
    t.same(await createHostCredentials(found as Credentials)(), found, 'without a function')
  }
  t.same(await createHostCredentials((() => key) as never)(), key, 'a function without a promise')
  t.same(await gives({ ...key, sessionToken: '', expiration: null })(), key, 'what is missing in the environment')
  t.same(await gives({ ...key, sessionToken: null })(), key)
})

test('each mistake is named, without a secret', async t => {
  const instead = 'instead of credentials'
  const cases: [found: unknown, problem: string][] = [
    [undefined, `undefined ${instead}`],
    [null, `null ${instead}`],
    ['AKIA', `a string ${instead}`],
    [42, `a number ${instead}`],
    [() => key, 'a function; call it and return its result'],
    [[key], `an array ${instead}`],
    [{}, 'credentials without accessKeyId'],
    [{ accessKeyId: 'AKIA' }, 'credentials without secretAccessKey'],
    [{ secretAccessKey: SECRET }, 'credentials without accessKeyId'],
    [{ ...key, secretAccessKey: '' }, 'credentials without secretAccessKey'],
    [{ ...key, secretAccessKey: 5 }, 'credentials whose secretAccessKey is a number instead of a string'],
    [{ ...key, accessKeyId: null }, 'credentials whose accessKeyId is null instead of a string'],
    [{ ...key, secretAccessKey: [SECRET] }, 'credentials whose secretAccessKey is an array instead of a string'],
    [{ ...key, secretAccessKey: `${SECRET}\n` }, 'credentials whose secretAccessKey begins or ends with white space'],
    [{ ...key, accessKeyId: ' AKIA' }, 'credentials whose accessKeyId begins or ends with white space'],
    [{ ...key, sessionToken: {} }, 'credentials whose sessionToken is an object instead of a string'],
    [
      { AccessKeyId: 'ASIA', SecretAccessKey: SECRET, SessionToken: 't' },
      'credentials with AccessKeyId, which is the spelling of STS; write accessKeyId',
    ],
    [
      { accessKeyId: 'ASIA', SecretAccessKey: SECRET },
      'credentials with SecretAccessKey, which is the spelling of STS; write secretAccessKey',
    ],
    [
      { ...temporary, sessionToken: undefined, SessionToken: 't' },
      'credentials with SessionToken, which is the spelling of STS; write sessionToken',
    ],
    [{ ...key, Expiration: later }, 'credentials with Expiration, which is the spelling of STS; write expiration'],
    [
      { Credentials: { AccessKeyId: 'ASIA', SecretAccessKey: SECRET }, AssumedRoleUser: {} },
      'a whole answer of STS; take its Credentials, and write accessKeyId instead of AccessKeyId, and so on',
    ],
    [
      { ...temporary, sessionToken: undefined },
      'credentials without sessionToken; an accessKeyId that begins with ASIA is of temporary credentials, which have one',
    ],
    [
      { ...key, expiration: later.toISOString() },
      'credentials whose expiration is a string instead of a Date; write new Date(…)',
    ],
    [
      { ...key, expiration: later.getTime() },
      'credentials whose expiration is a number instead of a Date; write new Date(…)',
    ],
    [{ ...key, expiration: new Date('never') }, 'credentials whose expiration is an invalid Date'],
    [{ ...key, expiration: new Date(0) }, 'credentials that expired at 1970-01-01T00:00:00.000Z'],
  ]
  for (const [found, problem] of cases) {
    const error = await failureOf(gives(found)())
    t.equal(error.code, 'CREDENTIALS_FAILED')
    t.equal(error.message, `the function in the option credentials returned ${problem}`)
    t.match(error.hint, /option credentials/)
    t.notMatch(`${error.message} ${error.hint} ${JSON.stringify(error)}`, SECRET)
  }
  const fixed = await failureOf(createHostCredentials({ ...key, expiration: new Date(0) })())
  t.equal(fixed.message, 'the option credentials has credentials that expired at 1970-01-01T00:00:00.000Z')
  t.match(fixed.hint, /^Return new credentials/)
})

test("a function that fails: the log gets its words, the client doesn't", async t => {
  class VaultError extends Error {
    override name = 'VaultError'
  }
  const cases: [thrown: unknown, message: string][] = [
    [new Error('vault is sealed'), 'vault is sealed'],
    [new VaultError('permission denied\nat line 2'), 'VaultError: permission denied'],
    [new TypeError('x is not a function'), 'TypeError: x is not a function'],
    ['a string', 'a string'],
    [undefined, 'an error without a message'],
    [{ code: 1 }, 'an error without a message'],
    [new Error(''), 'an error without a message'],
    [new Error(`request with secret=${SECRET} failed`), 'request with secret=*** failed'],
    [new Error(`got ${SECRET}`), 'got ***'],
    [new Error('x'.repeat(1_000)), 'x'.repeat(200)],
  ]
  for (const [thrown, message] of cases) {
    const error = await failureOf(createHostCredentials(() => Promise.reject(thrown))())
    t.equal(error.code, 'CREDENTIALS_FAILED')
    t.equal(error.message, `the function in the option credentials failed: ${message}`)
    t.equal(error.cause, thrown)
    t.equal(error.hint, 'Correct that function, or what it calls.')
    const packet = toERR_Packet(error, {}, 'abcd-1')
    t.equal(
      packet.message,
      'mysql-iam-proxy: the program that this proxy runs in could not get AWS credentials. The log of that program has the reason. (session abcd-1)',
    )
  }
  const thrown = createHostCredentials(() => {
    throw new Error('at once')
  })
  t.match(await failureOf(thrown()), { message: /at once$/ })
  const getter = gives({
    get accessKeyId() {
      throw new Error('no key')
    },
  })
  t.match(await failureOf(getter()), { message: /failed: no key$/ })
})

test('the providers of the AWS SDK keep their own errors', async t => {
  const cases: [Error, string][] = [
    [new Error('Could not load credentials from any providers'), 'CREDENTIALS_MISSING'],
    [new Error('The SSO session associated with this profile has expired'), 'CREDENTIALS_SSO_EXPIRED'],
    [new Error(`Command failed: helper --password ${SECRET}`), 'CREDENTIALS_FAILED'],
    [new ProxyError('CLOCK_SKEW', 'an hour'), 'CLOCK_SKEW'],
  ]
  for (const [thrown, code] of cases) {
    const error = await failureOf(createHostCredentials(() => Promise.reject(thrown))())
    t.equal(error.code, code)
    t.notMatch(error.message, SECRET)
  }
})

test('a function that does not answer', t => {
  const error = hostTimedOut()
  t.match(error, {
    code: 'CREDENTIALS_TIMEOUT',
    message: 'the function in the option credentials did not answer in time for this login',
    hint: /promise .* settles/,
  })
  t.match(toERR_Packet(error, {}).message, /could not get AWS credentials\. The log of that program/)
  t.end()
})
