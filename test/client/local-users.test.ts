import { test } from 'tap'
import type { LocalUserOptions } from '../../src/client/local-user-options.ts'
import { checkPassword, createLocalUsers, isPasswordHash } from '../../src/client/local-users.ts'
import { ProxyError } from '../../src/errors.ts'
import { checkNative, checkSha2, createSalt } from '../../src/protocol/auth.ts'
import { sha256Crypt, storedHash } from '../../src/protocol/sha256-crypt.ts'

/** What MySQL 9.7 stores for this password. */
const PASSWORD = 'Geheim-ö1'
const STORED =
  '0x2441243030412412494A77415343177A086C70344E77587E6B3E2E677338356C62534F703852496A61456F31753951353162485A6F59756E6E74704844446946774958626338'
/** SELECT PASSWORD('secret') of MariaDB */
const NATIVE = '*14E65567ABDB5135D0CFD9A70B3032C179A49EE7'

test('SHA-crypt', async t => {
  // https://www.akkadia.org/drepper/SHA-crypt.txt
  const vectors: [password: string, salt: string, rounds: number, digest: string][] = [
    ['Hello world!', 'saltstring', 5_000, '5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5'],
    ['Hello world!', 'saltstringsaltst', 10_000, '3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA'],
  ]
  for (const [password, salt, rounds, digest] of vectors) {
    t.equal(sha256Crypt(Buffer.from(password), Buffer.from(salt), rounds), digest)
  }
})

test('hashes as MySQL and MariaDB store them', async t => {
  const users = createLocalUsers([
    { name: 'sha2', passwordHash: STORED },
    { name: 'native', passwordHash: NATIVE.toLowerCase() },
    { name: 'own', passwordHash: storedHash(PASSWORD, createSalt()) },
  ])
  t.ok(isPasswordHash(STORED) && isPasswordHash(NATIVE))
  t.notOk(isPasswordHash('secret'))
  for (const other of [`${STORED}zz`, `zz${STORED.slice(2)}0x41`, `${NATIVE}0`, `x${NATIVE}`]) {
    t.notOk(isPasswordHash(other), other)
  }
  for (const [name, right] of [
    ['sha2', PASSWORD],
    ['native', 'secret'],
    ['own', PASSWORD],
  ] as const) {
    const user = users.find(name)
    for (const wrong of ['', 'Secret', `${right}x`, right.slice(1)]) t.notOk(await checkPassword(user, wrong), wrong)
    t.ok(await checkPassword(user, right), name)
    t.ok(user.sha2 && user.native, 'after which a scramble of either kind can be checked')
  }
})

test('a password that is too long is rejected without hashing', async t => {
  const users = createLocalUsers([{ name: 'a', passwordHash: STORED }])
  let hasWaited = false
  setImmediate(() => {
    hasWaited = true
  })
  for (const length of [257, 60_000, 131_000]) t.notOk(await checkPassword(users.find('a'), 'x'.repeat(length)))
  t.notOk(hasWaited, 'no wait for other hashes')
})

test('a password of 256 bytes may be right', async t => {
  const password = 'x'.repeat(256)
  const users = createLocalUsers([{ name: 'a', password }])
  t.ok(await checkPassword(users.find('a'), password))
})

test('a password that needs no SHA-crypt does not wait for others', async t => {
  const users = createLocalUsers([{ name: 'plain', password: 'secret' }])
  let hasWaited = false
  setImmediate(() => {
    hasWaited = true
  })
  t.ok(await checkPassword(users.find('plain'), 'secret'))
  t.notOk(hasWaited)
})

test('many concurrent hashes leave time for other sessions', async t => {
  const users = createLocalUsers([{ name: 'a', passwordHash: STORED }])
  let others = 0
  let isOver = false
  const other = () => {
    others++
    if (!isOver) setImmediate(other)
  }
  setImmediate(other)
  await Promise.all(Array.from({ length: 20 }, (_, index) => checkPassword(users.find('a'), `wrong ${index}`)))
  isOver = true
  t.ok(others >= 19, `${others} iterations of the event loop beside 20 hashes`)
})

test('a scramble with another salt, password or length is wrong', async t => {
  const [user] = [createLocalUsers([{ name: 'a', password: 'secret' }]).find('a')]
  const salt = createSalt()
  for (const answer of [Buffer.alloc(0), Buffer.alloc(20), Buffer.alloc(32), Buffer.alloc(19), Buffer.alloc(33)]) {
    t.notOk(checkNative(answer, salt, user!.native!))
    t.notOk(checkSha2(answer, salt, user!.sha2!))
  }
})

test('an unknown name looks like a known one', async t => {
  const models: LocalUserOptions[] = [
    { name: 'plain', password: 'secret' },
    { name: 'native', passwordHash: NATIVE },
    { name: 'sha2', passwordHash: STORED },
  ]
  const shape = ({ native, sha2, stored }: object & Partial<Record<'native' | 'sha2' | 'stored', unknown>>) =>
    `${native !== undefined} ${sha2 !== undefined} ${stored !== undefined}`
  for (const model of models) {
    const users = createLocalUsers([model])
    const nobody = users.find('nobody')
    t.equal(shape(nobody), shape(users.find(model.name)), model.name)
    t.ok(nobody.isDecoy)
    for (const password of ['', 'secret', PASSWORD]) t.notOk(await checkPassword(nobody, password))
    t.same(users.find('nobody'), nobody, 'each time the same')
    t.notOk(users.find('').databaseUser)
  }
})

test('an unknown name may look like any of the users, not only the first', async t => {
  const users = createLocalUsers([
    { name: 'plain', password: 'secret' },
    { name: 'sha2', passwordHash: STORED },
  ])
  const decoys = Array.from({ length: 100 }, (_, index) => users.find(`nobody ${index}`))
  const salts = decoys.flatMap(({ stored }) => stored?.salt.toString('hex') ?? [])
  t.ok(salts.length > 0 && salts.length < 100, `${salts.length} of 100 look like the second`)
  t.equal(new Set(salts).size, salts.length, 'each has its own salt')
  t.ok(
    salts.every(salt => salt.length === 2 * 20),
    'of the usual length',
  )
})

test('with an empty list of users, nobody can log in', async t => {
  const users = createLocalUsers([])
  for (const name of ['', 'nobody', 'root']) t.ok(users.find(name).isDecoy, name)
  t.notOk(await checkPassword(users.find('nobody'), ''))
})

test('errors name the user, never the password', async t => {
  const mistakes: [LocalUserOptions[], RegExp][] = [
    [[{ name: 'a' }], /'a' has no password/],
    [[{ name: 'a', password: '' }], /'a' has no password/],
    [[{ name: 'a', password: '', passwordHash: NATIVE }], /'a' has a password and a hash/],
    [[{ name: '', password: 'top-secret' }], /no name/],
    [[{ name: 'a', password: 'top-secret', passwordHash: NATIVE }], /a password and a hash/],
    [[{ name: 'a', passwordHash: 'top-secret' }], /neither/],
    [[{ name: 'a', passwordHash: '$A$FFF$top-secret' }], /neither/],
    [
      [
        { name: 'a', password: 'top-secret' },
        { name: 'a', password: 'top-secret' },
      ],
      /duplicate/,
    ],
  ]
  for (const [options, message] of mistakes) {
    try {
      createLocalUsers(options)
      t.fail(`${message}`)
    } catch (error) {
      t.ok(error instanceof ProxyError && error.code === 'CONFIG_INVALID')
      t.match((error as Error).message, message)
      t.notMatch((error as Error).message, /top-secret/)
    }
  }
})
