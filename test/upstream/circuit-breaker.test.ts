import { test } from 'tap'
import { ERRORS, type ErrorCode } from '../../src/error-codes.ts'
import { ProxyError } from '../../src/errors.ts'
import { createCircuitBreaker, FAILURE_THRESHOLD } from '../../src/upstream/circuit-breaker.ts'
import { createTestClock } from '../support/clock.ts'

const ofCode = (code: ErrorCode) => new ProxyError(code, 'the reason')
const refused = (errno: number) =>
  new ProxyError('UPSTREAM_REFUSED_LOGIN', 'no', { serverError: { errno, sqlState: '28000', message: 'no' } })

/** A breaker on a test clock. */
function createBreaker(enabled = true) {
  const clock = createTestClock(1_000_000)
  const breaker = createCircuitBreaker(enabled, clock)
  const tryLogin = (user: string | undefined, login: object = {}): ProxyError | undefined => {
    try {
      breaker.throwIfOpen(user, login)
      return undefined
    } catch (error) {
      return error as ProxyError
    }
  }
  return {
    clock,
    breaker,
    tryLogin,
    isOpen: (user?: string) => tryLogin(user)?.fromOpenCircuit ?? false,
    /** Logins that fail, each for itself. */
    fail(error: ProxyError, user: string | undefined, times = 1) {
      for (let time = 0; time < times; time++) breaker.failed(error, user, {})
    },
  }
}

test('five equal failures open the circuit of the endpoint', async t => {
  const { breaker, isOpen, fail, tryLogin } = createBreaker()
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user', 4)
  t.notOk(isOpen(), 'four may be chance')
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user')
  t.ok(isOpen(), 'five are not')
  t.ok(isOpen('somebody else'), 'everybody meets the same certificate')
  t.match(tryLogin('iam_user'), {
    code: 'TLS_WRONG_NAME',
    message: 'the reason (not tried: recent logins failed like this; the next attempt is in 1 s)',
    fromOpenCircuit: true,
  })
  breaker.succeeded('iam_user')
  t.notOk(isOpen(), 'a success closes it')
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user', FAILURE_THRESHOLD - 1)
  t.notOk(isOpen(), 'and counting starts again')
})

test('a name that no server has opens no circuit: the breaker would keep it', async t => {
  const { isOpen, fail } = createBreaker()
  for (const [length, opens] of [
    [256, true],
    [257, false],
  ] as const) {
    const name = 'u'.repeat(length)
    fail(refused(1045), name, FAILURE_THRESHOLD)
    t.equal(isOpen(name), opens, `${length} characters`)
  }
})

test('credentials that arrive close the circuit that only they had opened', async t => {
  const { breaker, isOpen, fail } = createBreaker()
  for (const code of ['CREDENTIALS_TIMEOUT', 'CREDENTIALS_SSO_EXPIRED', 'CREDENTIALS_UNREACHABLE'] as const) {
    fail(ofCode(code), 'iam_user', FAILURE_THRESHOLD)
    t.ok(isOpen(), code)
    breaker.credentialsArrived()
    t.notOk(isOpen(), `${code}: at once`)
  }
  breaker.credentialsArrived()
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user', FAILURE_THRESHOLD)
  breaker.credentialsArrived()
  t.ok(isOpen(), 'another reason stays')
})

test('a success starts the counting again for the user as well', async t => {
  const { breaker, isOpen, fail } = createBreaker()
  for (let time = 0; time < 3; time++) {
    fail(refused(1045), 'iam_user', FAILURE_THRESHOLD - 1)
    breaker.succeeded('iam_user')
  }
  t.notOk(isOpen('iam_user'))
})

test('the error of an open circuit keeps the server’s message and number', async t => {
  const { fail, tryLogin } = createBreaker()
  fail(refused(1045), 'iam_user', FAILURE_THRESHOLD)
  t.match(tryLogin('iam_user')?.serverError, { errno: 1045, sqlState: '28000', message: /^no \(not tried: / })
})

test('half-open: one login probes, and each failed probe doubles the time, up to ten seconds', async t => {
  const { clock, breaker, isOpen, fail, tryLogin } = createBreaker()
  const error = ofCode('TLS_WRONG_NAME')
  fail(error, 'iam_user', FAILURE_THRESHOLD)
  for (const seconds of [1, 2, 4, 8, 10, 10]) {
    clock.advance(seconds * 1_000 - 1)
    t.ok(isOpen(), `open for ${seconds} s`)
    clock.advance(1)
    const probe = {}
    t.equal(tryLogin(undefined, probe), undefined, 'then one login probes')
    t.equal(tryLogin('iam_user', probe), undefined, 'to its end')
    t.ok(isOpen(), 'and the others wait for its outcome')
    breaker.failed(error, 'iam_user', probe)
    t.ok(tryLogin('iam_user', probe), 'once it has failed, it waits like the others')
  }
  clock.advance(10_000)
  t.notOk(isOpen())
  breaker.succeeded('iam_user')
  t.notOk(isOpen())
})

test('the error names the seconds to the next attempt, rounded up', async t => {
  const { clock, breaker, fail, tryLogin } = createBreaker()
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user', FAILURE_THRESHOLD)
  clock.advance(1_000)
  const probe = {}
  tryLogin('iam_user', probe)
  breaker.failed(ofCode('TLS_WRONG_NAME'), 'iam_user', probe)
  for (const [passed, seconds] of [
    [999, 2],
    [1, 1],
    [999, 1],
  ] as const) {
    clock.advance(passed)
    t.match(tryLogin('iam_user')?.message, new RegExp(`next attempt is in ${seconds} s\\)$`))
  }
})

test('logins that started before the circuit opened do not keep it open for longer', async t => {
  const { clock, isOpen, fail } = createBreaker()
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user', FAILURE_THRESHOLD)
  clock.advance(900)
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user', 20)
  clock.advance(100)
  t.notOk(isOpen())
})

test('a probe without a result blocks the others for a second', async t => {
  const { clock, isOpen, fail } = createBreaker()
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user', FAILURE_THRESHOLD)
  clock.advance(1_000)
  t.notOk(isOpen(), 'probes, and hangs')
  clock.advance(999)
  t.ok(isOpen())
  clock.advance(1)
  t.notOk(isOpen(), 'the next one probes')
})

test('a probe that fails for its own reason: the next login probes at once', async t => {
  const ownReasons = [
    refused(1049),
    ofCode('CLIENT_CLOSED'),
    ofCode('CLIENT_ACCESS_DENIED'),
    ofCode('LOGIN_QUEUE_FULL'),
  ]
  for (const reason of ownReasons) {
    const { clock, breaker, isOpen, fail, tryLogin } = createBreaker()
    fail(refused(1045), 'iam_user', FAILURE_THRESHOLD)
    clock.advance(1_000)
    const retrier = {}
    t.equal(tryLogin('iam_user', retrier), undefined)
    t.ok(isOpen('iam_user'))
    breaker.failed(reason, 'iam_user', {})
    t.ok(isOpen('iam_user'), 'another login gives nobody the probe')
    breaker.failed(reason, 'iam_user', retrier)
    const other = {}
    t.equal(tryLogin('iam_user', other), undefined, `${reason.code}: the next one probes`)
    t.ok(isOpen('iam_user'), 'alone')
    breaker.failed(refused(1045), 'iam_user', other)
    clock.advance(1_999)
    t.ok(isOpen('iam_user'), 'its outcome counts')
  }
})

test('a probe of the endpoint that its user’s open circuit refuses: the next login probes', async t => {
  const { clock, breaker, fail, tryLogin } = createBreaker()
  fail(refused(1045), 'locked', FAILURE_THRESHOLD)
  clock.advance(1_000)
  const first = {}
  t.equal(tryLogin('locked', first), undefined)
  breaker.failed(refused(1045), 'locked', first)
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user', FAILURE_THRESHOLD)
  clock.advance(1_000)
  const login = {}
  t.equal(tryLogin(undefined, login), undefined, 'probes for the endpoint')
  const error = tryLogin('locked', login)
  t.match(error, { fromOpenCircuit: true, serverError: { errno: 1045 } })
  breaker.failed(error!, 'locked', login)
  t.equal(tryLogin('iam_user'), undefined)
})

test('a server that refuses a login shows that the endpoint works', async t => {
  for (const answer of [refused(1045), ofCode('AUTH_PLUGIN_UNEXPECTED')]) {
    const { clock, breaker, isOpen, fail, tryLogin } = createBreaker()
    fail(ofCode('TLS_WRONG_NAME'), 'iam_user', FAILURE_THRESHOLD)
    clock.advance(1_000)
    const probe = {}
    t.equal(tryLogin('typo', probe), undefined)
    breaker.failed(answer, 'typo', probe)
    t.notOk(isOpen('iam_user'), answer.code)
    t.notOk(isOpen('another'), 'for everybody')
  }
})

test('a client that retries fast with a wrong database does not block a correct one', async t => {
  const { clock, breaker, tryLogin } = createBreaker()
  let refusals = 0
  for (let tenth = 0; tenth < 300; tenth++) {
    const retrier = {}
    t.equal(tryLogin('shared', retrier), undefined)
    breaker.failed(refused(1049), 'shared', retrier)
    if (tenth % 10 === 0 && tryLogin('shared')) refusals++
    clock.advance(100)
  }
  t.equal(refusals, 0)
})

test('a refused user does not block others', async t => {
  const { isOpen, fail } = createBreaker()
  fail(refused(1045), 'wrong', FAILURE_THRESHOLD)
  t.ok(isOpen('wrong'))
  t.notOk(isOpen('right'))
  t.notOk(isOpen())
})

const ENDPOINT_CODES: readonly ErrorCode[] = [
  'UPSTREAM_REFUSED_CONNECTION',
  'UPSTREAM_NOT_MYSQL',
  'UPSTREAM_TOO_OLD',
  'TLS_NOT_OFFERED',
  'TLS_PLAINTEXT_INJECTED',
  'TLS_WRONG_NAME',
  'TLS_UNKNOWN_CA',
  'TLS_EXPIRED',
  'TLS_FAILED',
  'CREDENTIALS_MISSING',
  'CREDENTIALS_SSO_EXPIRED',
  'CREDENTIALS_FAILED',
  'CREDENTIALS_TIMEOUT',
  'CREDENTIALS_PROFILE_MISSING',
  'CREDENTIALS_PROGRAM_MISSING',
  'CREDENTIALS_UNREACHABLE',
  'CREDENTIALS_CERTIFICATE_INVALID',
  'CREDENTIALS_ROLES_ANYWHERE',
  'CLOCK_SKEW',
  'AWS_TLS_UNTRUSTED',
  'AWS_ENVIRONMENT_INVALID',
  'FORWARD_PROXY_AUTHENTICATION',
]

test('each error code opens the circuit of the endpoint, of the user, or none', async t => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    const { isOpen, fail } = createBreaker()
    fail(ofCode(code), 'iam_user', 50)
    const expected = ENDPOINT_CODES.includes(code) ? 'endpoint' : code === 'AUTH_PLUGIN_UNEXPECTED' ? 'user' : 'none'
    const opened = isOpen('another') ? 'endpoint' : isOpen('iam_user') ? 'user' : 'none'
    t.equal(opened, expected, code)
  }
})

test('server errors open the circuit of the user if they depend on the user alone', async t => {
  const ofUser = [1040, 1045, 1129, 1130, 1203, 1226, 1524, 1698, 3118, 3159, 3955, 4150, 4151]
  // database, character set, variables, flags, packet size, and one that nobody knows
  const ofClient = [1043, 1044, 1049, 1105, 1115, 1153, 1193, 1231, 1238, 1251, 1273, 1298, 1862, 9501]
  for (const errno of [...ofUser, ...ofClient]) {
    const { isOpen, fail } = createBreaker()
    fail(refused(errno), 'iam_user', 50)
    t.equal(isOpen('iam_user'), ofUser.includes(errno), String(errno))
    t.notOk(isOpen('another'), String(errno))
  }
})

test('different reasons do not add up', async t => {
  const { isOpen, fail } = createBreaker()
  for (let time = 0; time < 50; time++) fail(refused(time % 2 ? 1045 : 1226), 'iam_user')
  t.notOk(isOpen('iam_user'))
})

test('failures further apart than ten seconds do not add up', async t => {
  const { clock, isOpen, fail } = createBreaker()
  for (let time = 0; time < 50; time++) {
    fail(refused(1045), 'person')
    t.notOk(isOpen('person'))
    clock.advance(10_001)
  }
  const { clock: another, isOpen: isOpenToo, fail: failToo } = createBreaker()
  for (let time = 0; time < FAILURE_THRESHOLD; time++) {
    another.advance(10_000)
    failToo(refused(1045), 'person')
  }
  t.ok(isOpenToo('person'), 'those within do')
})

test('an open circuit is forgotten after a quiet time', async t => {
  const { clock, isOpen, fail } = createBreaker()
  fail(ofCode('CREDENTIALS_MISSING'), undefined, FAILURE_THRESHOLD)
  clock.advance(11_001)
  t.notOk(isOpen())
  t.notOk(isOpen(), 'and nobody waits for a probe')
  fail(ofCode('CREDENTIALS_MISSING'), undefined)
  t.notOk(isOpen(), 'old failures do not count')
})

test('a login that was not tried does not keep the circuit open', async t => {
  const { clock, breaker, isOpen, fail, tryLogin } = createBreaker()
  fail(refused(1045), 'iam_user', FAILURE_THRESHOLD)
  clock.advance(900)
  const login = {}
  breaker.failed(tryLogin('iam_user', login)!, 'iam_user', login)
  clock.advance(11_001 - 900)
  t.notOk(isOpen('iam_user'))
  t.notOk(isOpen('iam_user'), 'forgotten: this is no probe')
})

test('at most 1,000 circuits are kept, the newest', async t => {
  const { isOpen, fail } = createBreaker()
  for (let user = 0; user < 1_001; user++) fail(refused(1045), `user ${user}`, FAILURE_THRESHOLD)
  t.notOk(isOpen('user 0'))
  t.ok(isOpen('user 1'))
  t.ok(isOpen('user 1000'))
})

test('a circuit that fails for another reason is a new one', async t => {
  const { isOpen, fail } = createBreaker()
  for (let user = 0; user < 1_000; user++) fail(refused(1045), `user ${user}`, FAILURE_THRESHOLD)
  fail(refused(1226), 'user 500', FAILURE_THRESHOLD)
  t.ok(isOpen('user 0'), 'it evicts no other')
  for (let user = 1_000; user < 1_999; user++) fail(refused(1045), `user ${user}`, FAILURE_THRESHOLD)
  t.notOk(isOpen('user 999'))
  t.ok(isOpen('user 500'), 'the newest are kept')
})

test('without a login rate there is no circuit', async t => {
  const { isOpen, fail } = createBreaker(false)
  fail(ofCode('TLS_WRONG_NAME'), 'iam_user', 50)
  t.notOk(isOpen('iam_user'))
})

test('a step of the wall clock closes every circuit: the failures may be those of a wrong clock', t => {
  const clock = createTestClock()
  let offset = 0
  const breaker = createCircuitBreaker(true, clock, () => offset)
  const isOpen = () => {
    try {
      breaker.throwIfOpen('iam_user', {})
      return false
    } catch {
      return true
    }
  }
  for (const step of [3_600_000, -3_600_000, -60_000]) {
    for (let time = 0; time < FAILURE_THRESHOLD; time++) breaker.failed(refused(1045), 'iam_user', {})
    t.ok(isOpen())
    offset += 900
    t.ok(isOpen(), 'not for a small correction')
    offset += step
    t.notOk(isOpen())
    t.notOk(isOpen())
  }
  t.end()
})

test('after a reset every login is tried, and failures count from the first again', async t => {
  const breaker = createCircuitBreaker(true, createTestClock(), () => 0)
  const tryAll = () => {
    breaker.throwIfOpen(undefined, {})
    breaker.throwIfOpen('iam_user', {})
  }
  const fail = (count: number) => {
    for (let time = 0; time < count; time++) {
      breaker.failed(ofCode('TLS_WRONG_NAME'), 'iam_user', {})
      breaker.failed(refused(1045), 'iam_user', {})
    }
  }
  fail(FAILURE_THRESHOLD)
  t.throws(tryAll)
  breaker.reset()
  tryAll()
  fail(FAILURE_THRESHOLD - 1)
  tryAll()
})
