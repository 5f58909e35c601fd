import { test } from 'tap'
import { hintFor, ProxyError, toERR_Packet } from '../../src/errors.ts'
import { createLoginHistory, type Refused } from '../../src/upstream/refusal.ts'
import { createTestClock } from '../support/clock.ts'

const MINUTE_MS = 60_000
const START = Date.UTC(2026, 10, 25, 12)

function tokenOf(keyId: string, isTemporary = false): string {
  const session = isTemporary ? '&X-Amz-Security-Token=session' : ''
  return `db:3306/?Action=connect&X-Amz-Credential=${keyId}%2F20261125%2Feu-west-1%2Frds-db%2Faws4_request${session}`
}

function setUp(ahead?: number) {
  const clock = createTestClock(1_000)
  const wall = { step: 0 }
  const wallNow = () => START + clock.now() - 1_000 + wall.step
  const history = createLoginHistory({ clock, wallNow, wallOffset: () => wall.step, ahead: () => ahead })
  const refuse = (changes: Partial<Refused> = {}) => {
    const refused = { user: 'app', token: tokenOf('AKIA1'), expectsToken: true, credentialsExpire: undefined }
    return history.hintFor({ ...refused, ...changes })
  }
  return { clock, wall, history, refuse }
}

test('nothing points to a reason', async t => {
  const { clock, history, refuse } = setUp(4 * MINUTE_MS)
  t.equal(refuse(), undefined)
  history.succeeded('app', tokenOf('AKIA1'))
  clock.advance(61_000)
  t.equal(refuse(), undefined, 'a login of a minute ago says little')
  t.equal(refuse({ token: 'no token at all' }), undefined)
})

test('credentials that have expired meanwhile', async t => {
  const { clock, refuse } = setUp(60 * MINUTE_MS)
  const credentialsExpire = START + 5 * MINUTE_MS
  t.notMatch(refuse({ credentialsExpire }), /expired/)
  clock.advance(5 * MINUTE_MS)
  t.match(refuse({ credentialsExpire }), /^The AWS credentials that signed the token expired at 12:05:00Z/)
})

test('a clock that differs from that of AWS', async t => {
  t.match(setUp(6 * MINUTE_MS).refuse(), /clock of this machine is 6 min ahead of AWS/)
  t.match(setUp(-16 * MINUTE_MS).refuse(), /clock of this machine is 16 min behind AWS/)
  t.equal(setUp(-14 * MINUTE_MS).refuse(), undefined, 'a token of 14 minutes ago is valid')
})

test('a clock that was set since the last login', async t => {
  const { clock, wall, history, refuse } = setUp()
  wall.step = 60 * MINUTE_MS
  t.equal(refuse(), undefined, 'before the first login, nothing is known to be right')
  history.succeeded('app', tokenOf('AKIA1'))
  t.notMatch(refuse(), /was set/)
  wall.step += 6 * MINUTE_MS
  t.match(refuse(), /was set 6 min forward since the last login/)
  wall.step -= 26 * MINUTE_MS
  t.match(refuse(), /was set 20 min back since the last login/)
  clock.advance(999)
  history.succeeded('app', tokenOf('AKIA1'))
  t.match(refuse(), /was set/, 'the clocks are not read at each login')
  clock.advance(1)
  history.succeeded('app', tokenOf('AKIA1'))
  t.notMatch(refuse(), /was set/)
  const known = setUp(0)
  known.history.succeeded('app', tokenOf('AKIA1'))
  known.wall.step = 60 * MINUTE_MS
  t.notMatch(known.refuse(), /was set/, 'AWS says that the new time is right')
})

test('a server that did not ask for a token', async t => {
  t.match(setUp().refuse({ expectsToken: false }), /does not exist.*CREATE USER '\{user\}'/)
})

test('a user who logged in a moment ago with the same keys', async t => {
  const { clock, history, refuse } = setUp()
  history.succeeded('app', tokenOf('AKIA1'))
  clock.advance(7_000)
  t.match(refuse(), /logged in 7 s ago, so AWS may be throttling \(200 logins per second\)/)
  t.equal(refuse({ token: tokenOf('AKIA2') }), undefined, 'other keys')
  t.equal(refuse({ user: 'other' }), undefined, 'another user')
})

test('temporary keys without a known end', async t => {
  const { clock, history, refuse } = setUp()
  const token = tokenOf('ASIA1', true)
  t.match(refuse({ token }), /^Check rds-db:connect.* and that the temporary AWS credentials have not expired/)
  history.succeeded('app', token)
  clock.advance(90 * MINUTE_MS)
  t.match(refuse({ token }), /worked until 12:00:00Z, so they have probably expired/)
  t.equal(refuse({ token, credentialsExpire: START + 600 * MINUTE_MS }), undefined, 'their end is known')
})

test('a thousand users at most are kept', async t => {
  const { history, refuse } = setUp()
  for (let n = 0; n <= 1_000; n++) history.succeeded(`user-${n}`, tokenOf('AKIA1'))
  t.equal(refuse({ user: 'user-0' }), undefined)
  t.match(refuse({ user: 'user-1' }), /throttling/)
})

test('the hint of one error replaces that of the table, and fits beside the message of the server', async t => {
  const { history, refuse, clock } = setUp()
  const temporary = tokenOf('ASIA1', true)
  history.succeeded('app', temporary)
  clock.advance(90 * MINUTE_MS)
  const hints = [refuse({ token: temporary }), setUp().refuse({ token: temporary }), refuse({ expectsToken: false })]
  hints.push(setUp(60 * MINUTE_MS).refuse())
  const user = 'a_user_with_a_long_name'
  const serverError = { errno: 1045, sqlState: '28000', message: `Access denied for user '${user}'@'10.0.0.5'` }
  for (const hint of hints) {
    const error = new ProxyError('UPSTREAM_REFUSED_LOGIN', 'denied', { serverError, hint, hintValues: { user } })
    t.equal(hintFor(error, { region: 'eu-west-1' }), hint!.replaceAll('{user}', user).replace('{region}', 'eu-west-1'))
    const { message } = toERR_Packet(error, {})
    t.ok(message.startsWith(serverError.message) && message.endsWith(')'), message)
    t.ok(Buffer.byteLength(message) <= 511)
  }
})
