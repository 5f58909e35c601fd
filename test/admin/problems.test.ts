import { test } from 'tap'
import { problemsOf, stateOf } from '../../src/admin/problems.ts'
import { ProxyError } from '../../src/errors.ts'
import { countOutcome, createTunnelState, type EndpointState, keepError } from '../../src/state.ts'
import { addSession, makeState, NLB, RDS } from '../support/states.ts'

const NOW = 1_800_000_000_000
const HOUR = 3_600_000
const DAY = 24 * HOUR
const CHECK = `mysql-iam-proxy check --rds-endpoint ${RDS}:3306 --connect ${NLB}:3306`

function wordOf(state: EndpointState, failed = 0): string {
  const { level, word } = stateOf(state, problemsOf(state, { logins: 0, failed }, NOW))
  return `${level}: ${word}`
}

function fail(state: EndpointState, error: ProxyError, times = 1): void {
  for (let i = 0; i < times; i++) {
    countOutcome(state, error.code)
    keepError(state, error, {}, addSession(makeState()))
  }
}

test('an endpoint without problems', async t => {
  t.equal(wordOf(makeState()), 'unknown: No logins yet')
  const state = makeState({ credentialsExpire: NOW - HOUR, certificateExpires: NOW + 30 * DAY })
  countOutcome(state, 'OK')
  t.equal(wordOf(state), 'good: Working')
  t.equal(wordOf(makeState({ retired: true })), 'unknown: Closing')
})

test('every login fails', async t => {
  const error = new ProxyError('TLS_WRONG_NAME', 'the certificate is for database-2')
  const state = makeState()
  fail(state, error)
  t.match(problemsOf(state, { logins: 0, failed: 1 }, NOW), [
    {
      level: 'bad',
      word: 'Every login fails',
      what: 'Every login fails (the only login failed): TLS_WRONG_NAME',
      advice: /^The certificate is for database-2\. No token was sent\./,
      command: CHECK,
    },
  ])
  countOutcome(state, 'OK')
  t.equal(wordOf(state), 'good: Working')
  fail(state, error, 2)
  t.equal(wordOf(state, 2), 'soon: Some logins fail')
  t.equal(wordOf(state), 'good: Working', 'not in the last minute')
  fail(state, error)
  t.equal(wordOf(state), 'bad: Every login fails', 'three in a row')
  t.match(problemsOf(state, { logins: 0, failed: 0 }, NOW)[0]?.what, '3 in a row')
})

test('mistakes of clients do not count', async t => {
  const state = makeState()
  fail(state, new ProxyError('CLIENT_ACCESS_DENIED', 'wrong password'), 5)
  t.equal(wordOf(state), 'unknown: No logins yet')
  t.equal(wordOf(state, 5), 'soon: Some logins fail')
})

test('credentials', async t => {
  const hintValues = { ssoLogin: 'mysql-iam-proxy login --profile prod' }
  const state = makeState({ credentialsFailed: true })
  fail(state, new ProxyError('CREDENTIALS_SSO_EXPIRED', 'the session has expired', { hintValues }))
  t.equal(problemsOf(state, { logins: 0, failed: 1 }, NOW).length, 1, 'the reason once')
  t.match(problemsOf(state, { logins: 1, failed: 0 }, NOW), [
    {
      level: 'bad',
      word: 'No credentials',
      advice: /^The session has expired\.$/,
      command: 'mysql-iam-proxy login --profile prod',
    },
  ])
  state.credentialsExpire = NOW + HOUR
  t.equal(wordOf(state), 'soon: Renewal fails')
  t.match(problemsOf(makeState({ credentialsFailed: true }), { logins: 0, failed: 0 }, NOW), [
    { advice: 'Every login needs AWS credentials.', command: CHECK },
  ])
})

test('a sign-in that logins wait for', async t => {
  const state = makeState({ credentialsFailed: true })
  state.signIn = {
    what: 'Sign in to https://example.awsapps.com/start',
    url: 'https://oidc.example/authorize',
    code: 'AB-CD',
    since: NOW,
  }
  t.match(problemsOf(state, { logins: 0, failed: 1 }, NOW), [
    {
      level: 'bad',
      word: 'Sign-in needed',
      what: 'Sign in to https://example.awsapps.com/start',
      since: NOW,
      advice: 'Clients can connect after that. Check that the page shows the code AB-CD.',
      command: undefined,
      link: 'https://oidc.example/authorize',
    },
  ])
  state.signIn = {
    what: 'The terminal of the proxy asks for the code of a device',
    url: undefined,
    code: undefined,
    since: NOW,
  }
  const [problem] = problemsOf(state, { logins: 0, failed: 1 }, NOW)
  t.equal(problem?.advice, 'Clients can connect after that.')
  t.notOk('link' in problem!)
})

test('connections', async t => {
  const state = makeState({ maxConnections: 5 })
  for (let i = 0; i < 3; i++) addSession(state)
  t.equal(wordOf(state), 'unknown: No logins yet')
  addSession(state)
  t.equal(wordOf(state), 'soon: Nearly full')
  addSession(state)
  t.equal(wordOf(state), 'bad: Full')
})

test('certificates', async t => {
  const at = (certificateExpires: number) => {
    const state = makeState({ certificateExpires })
    return `${wordOf(state)}, ${problemsOf(state, { logins: 0, failed: 0 }, NOW)[0]?.what}`
  }
  t.equal(at(NOW + 6 * DAY), "soon: Certificate expires, The database's certificate expires in 6 days")
  t.equal(at(NOW + HOUR), "bad: Certificate expires, The database's certificate expires in 1 h")
  t.equal(at(NOW), "bad: Certificate expired, The database's certificate has expired")
  t.equal(wordOf(makeState({ localCertificateExpires: () => NOW + 2 * DAY })), 'soon: Certificate expires')
  const day = (left: number) => wordOf(makeState({ rolesAnywhereCertificateExpires: NOW + left }))
  t.equal(day(12 * HOUR), 'unknown: No logins yet', 'these certificates often live for a day')
  t.equal(day(5 * HOUR), 'soon: Certificate expires')
  t.equal(day(0), 'bad: Certificate expired')
})

test('sync-targets', async t => {
  const counts = { unchanged: 0, changed: 0, unhealthy: 0, refused: 0, failed: 1 }
  const sync = { at: NOW, outcome: 'failed', reason: 'no access', counts } as const
  t.equal(wordOf(makeState({ sync })), 'soon: Targets out of sync')
  t.match(problemsOf(makeState({ sync }), { logins: 0, failed: 0 }, NOW)[0]?.advice, 'no access.')
  t.match(
    problemsOf(makeState({ sync: { ...sync, reason: undefined } }), { logins: 0, failed: 0 }, NOW)[0]?.advice,
    'See the log.',
  )
  t.equal(wordOf(makeState({ sync: { ...sync, outcome: 'changed' } })), 'unknown: No logins yet')
})

test('the worst problem is first, and a command is quoted for the shell', async t => {
  const state = makeState({ maxConnections: 1, certificateExpires: NOW + 2 * DAY })
  state.endpoint = { ...state.endpoint, dial: state.endpoint.rds, user: "o'hara $x" }
  addSession(state)
  const problems = problemsOf(state, { logins: 0, failed: 3 }, NOW)
  t.same(
    problems.map(({ word }) => word),
    ['Full', 'Some logins fail', 'Certificate expires'],
  )
  t.equal(problems[2]?.command, `mysql-iam-proxy check --rds-endpoint ${RDS}:3306 --user 'o'\\''hara $x'`)
})

test('a tunnel that has failed', async t => {
  const error = { code: 'TUNNEL_FAILED', message: 'the tunnel command ssh ended', hint: 'Run it by hand.' } as const
  const tunnel = { ...createTunnelState('the tunnel command ssh'), word: 'failed' as const, since: NOW - HOUR, error }
  t.match(problemsOf(makeState({ tunnel }), { logins: 0, failed: 0 }, NOW), [
    {
      level: 'bad',
      word: 'Tunnel fails',
      what: 'The tunnel has failed: the tunnel command ssh ended',
      since: NOW - HOUR,
      advice: 'Run it by hand.',
      command: /^mysql-iam-proxy check /,
    },
  ])
  t.same(problemsOf(makeState({ tunnel: { ...tunnel, word: 'idle' } }), { logins: 0, failed: 0 }, NOW), [])
})
