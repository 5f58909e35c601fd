import { test } from 'tap'
import type { Credentials } from '../../src/aws/credentials.ts'
import { createReusedTokens } from '../../src/aws/token.ts'
import { verifyToken } from '../../src/demo/verify-token.ts'
import { createTestClock } from '../support/clock.ts'

const MINUTE_MS = 60_000
const WALL_OFFSET = 1_700_000_000_000
const rds = { host: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', port: 3306, region: 'eu-west-1' }
const key = { accessKeyId: 'ASIAEXAMPLE', secretAccessKey: 'a secret', sessionToken: 'session' }

/** Tokens that are used for ten minutes. Two signatures of the same second are equal: a signature is noticed by its `Date`. */
function setUp(t: { teardown(undo: () => void): unknown }, credentials: Credentials = key) {
  const clock = createTestClock(1_000)
  const state = { credentials, wallOffset: WALL_OFFSET }
  const tokens = createReusedTokens(
    rds,
    async () => state.credentials,
    10 * MINUTE_MS,
    clock,
    () => state.wallOffset,
  )
  const { Date: RealDate } = globalThis
  let second = 0
  // The Signer asks for the date without arguments.
  globalThis.Date = class extends RealDate {
    constructor(...args: unknown[]) {
      if (args.length === 0) super(WALL_OFFSET + 1_000 * ++second)
      else super(...(args as [number]))
    }
  } as DateConstructor
  t.teardown(() => {
    globalThis.Date = RealDate
  })
  return { clock, state, ...tokens }
}

test('one token serves the logins of a user, for ten minutes', async t => {
  const { clock, create } = setUp(t)
  const token = await create('iam_user')
  t.match(token, /DBUser=iam_user.*X-Amz-Security-Token=session/)
  clock.advance(10 * MINUTE_MS - 1)
  t.equal(await create('iam_user'), token)
  t.match(await create('other'), /DBUser=other/, 'another user has another token')
  clock.advance(1)
  t.not(await create('iam_user'), token)
})

test('after a refusal, the next login gets a new token', async t => {
  const { create, forget } = setUp(t)
  const [token, other] = [await create('iam_user'), await create('other')]
  forget('iam_user')
  const next = await create('iam_user')
  t.not(next, token)
  t.equal(await create('iam_user'), next)
  t.equal(await create('other'), other)
})

test('other credentials mean a new token', async t => {
  const { state, create } = setUp(t)
  const changes = [{ accessKeyId: 'ASIAOTHER' }, { secretAccessKey: 'another' }, { sessionToken: 'another' }]
  for (const change of changes) {
    const token = await create('iam_user')
    state.credentials = { ...key }
    t.equal(await create('iam_user'), token, 'the same keys in another object')
    state.credentials = { ...key, ...change }
    t.not(await create('iam_user'), token)
    state.credentials = key
    t.not(await create('iam_user'), token)
  }
})

test('a token is not used after its credentials have expired', async t => {
  const { clock, create } = setUp(t, { ...key, expiration: new Date(WALL_OFFSET + 1_000 + 3 * MINUTE_MS) })
  const token = await create('iam_user')
  clock.advance(3 * MINUTE_MS - 1)
  t.equal(await create('iam_user'), token)
  clock.advance(1)
  t.not(await create('iam_user'), token)
})

test('a step of the wall clock means a new token', async t => {
  const { state, create } = setUp(t)
  const token = await create('iam_user')
  state.wallOffset += 1_000
  t.equal(await create('iam_user'), token, 'this is drift')
  state.wallOffset -= 3_600_000
  t.not(await create('iam_user'), token)
})

test('a thousand users at most have a token', async t => {
  const { clock, create } = setUp(t)
  const first = await create('user-0')
  for (let n = 1; n < 1_000; n++) await create(`user-${n}`)
  t.equal(await create('user-0'), first)
  await create('one more')
  t.not(await create('user-0'), first)
  clock.advance(10 * MINUTE_MS)
  const renewed = await create('user-3')
  for (const name of ['a third', 'a fourth']) await create(name)
  t.equal(await create('user-3'), renewed, 'the user whose token is oldest goes first')
})

test('credentials that cannot sign', async t => {
  const { create } = setUp(t, { accessKeyId: 'ASIAEXAMPLE' } as Credentials)
  await t.rejects(create('iam_user'), { name: 'ProxyError', code: 'CREDENTIALS_FAILED' })
})

test('a name that is longer than those of servers is not kept: clients choose it', async t => {
  const { create } = setUp(t)
  t.not(await create('a'.repeat(257)), await create('a'.repeat(257)))
  t.equal(await create('a'.repeat(256)), await create('a'.repeat(256)))
})

test('a reused token is a valid token', async t => {
  const tokens = createReusedTokens(rds, async () => key, MINUTE_MS)
  await tokens.create('iam_user')
  t.equal(verifyToken(await tokens.create('iam_user'), { ...rds, user: 'iam_user', keys: [key] }), undefined)
})

test('a global endpoint whose writer moves to another region gets a new token', async t => {
  const global = { host: 'shop.global-abc.global.rds.amazonaws.com', port: 3306, region: undefined }
  const { create } = createReusedTokens(global, async () => key, MINUTE_MS)
  t.match(await create('iam_user', 'eu-west-1'), /eu-west-1%2Frds-db/)
  t.match(await create('iam_user', 'us-east-1'), /us-east-1%2Frds-db/)
})
