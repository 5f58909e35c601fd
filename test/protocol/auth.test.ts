import { createHash } from 'node:crypto'
import { test } from 'tap'
import {
  CACHING_SHA2_PASSWORD,
  checkNative,
  checkSha2,
  clearPassword,
  clearText,
  createSalt,
  isEmptyPassword,
  MYSQL_CLEAR_PASSWORD,
  MYSQL_NATIVE_PASSWORD,
  nativeHash,
  sha2Digest,
  unmaskPassword,
} from '../../src/protocol/auth.ts'
import { parseHandshakeResponse41 } from '../../src/protocol/packets.ts'
import { responses } from './golden.ts'

test('a salt is 20 bytes, 7-bit, without NUL and $', async t => {
  const seen = new Set<number>()
  for (let round = 0; round < 2_000; round++) {
    const salt = createSalt()
    if (salt.length !== 20) t.fail(`${salt.length} bytes`)
    for (const byte of salt) seen.add(byte)
  }
  t.notOk(seen.has(0), 'NUL')
  t.notOk(seen.has(0x24), '$')
  t.equal(seen.size, 126, 'all the others are there')
  t.equal(Math.max(...seen), 0x7f)
})

test('salts differ', async t => {
  const salts = new Set(Array.from({ length: 1_000 }, () => createSalt().toString('hex')))
  t.equal(salts.size, 1_000)
})

test('isEmptyPassword', async t => {
  t.ok(isEmptyPassword(Buffer.alloc(0)))
  t.ok(isEmptyPassword(Buffer.of(0)))
  t.notOk(isEmptyPassword(Buffer.of(1)))
  t.notOk(isEmptyPassword(Buffer.of(0, 0)))
  t.notOk(isEmptyPassword(Buffer.alloc(32)))
  for (const [name, payload] of Object.entries(responses)) {
    t.ok(isEmptyPassword(parseHandshakeResponse41(payload).authResponse), name)
  }
})

test('clearPassword ends with a NUL', async t => {
  t.equal(clearPassword('token').toString('latin1'), 'token\0')
  t.equal(clearPassword('').toString('hex'), '00')
  t.equal(clearPassword('größe').toString('hex'), '6772c3b6c39f6500', 'UTF-8')
})

const hash = (algorithm: string, ...parts: Buffer[]) => createHash(algorithm).update(Buffer.concat(parts)).digest()
const xor = (left: Buffer, right: Buffer) => Buffer.from(left.map((byte, index) => byte ^ right[index]!))

test('the methods have the names of the protocol', async t => {
  t.equal(MYSQL_NATIVE_PASSWORD, 'mysql_native_password')
  t.equal(CACHING_SHA2_PASSWORD, 'caching_sha2_password')
  t.equal(MYSQL_CLEAR_PASSWORD, 'mysql_clear_password')
})

test('nativeHash is what PASSWORD() stores', async t => {
  t.equal(nativeHash('secret').toString('hex'), '14e65567abdb5135d0cfd9a70b3032c179a49ee7')
})

test('sha2Digest is the SHA-256 of a SHA-256', async t => {
  t.same(sha2Digest('secret'), hash('sha256', hash('sha256', Buffer.from('secret'))))
})

test('checkNative accepts only the correct password and salt', async t => {
  const salt = createSalt()
  const answer = (password: string, of = salt) =>
    xor(hash('sha1', Buffer.from(password)), hash('sha1', of, nativeHash(password)))
  t.ok(checkNative(answer('secret'), salt, nativeHash('secret')))
  t.notOk(checkNative(answer('Secret'), salt, nativeHash('secret')), 'another password')
  t.notOk(checkNative(answer('secret', createSalt()), salt, nativeHash('secret')), 'recorded with another salt')
  for (const wrong of [
    Buffer.alloc(0),
    answer('secret').subarray(1),
    Buffer.concat([answer('secret'), Buffer.of(0)]),
  ]) {
    t.notOk(checkNative(wrong, salt, nativeHash('secret')), `${wrong.length} bytes`)
  }
})

test('checkSha2 accepts only the correct password and salt', async t => {
  const salt = createSalt()
  const answer = (password: string, of = salt) =>
    xor(hash('sha256', Buffer.from(password)), hash('sha256', sha2Digest(password), of))
  t.ok(checkSha2(answer('secret'), salt, sha2Digest('secret')))
  t.notOk(checkSha2(answer('Secret'), salt, sha2Digest('secret')), 'another password')
  t.notOk(checkSha2(answer('secret', createSalt()), salt, sha2Digest('secret')), 'recorded with another salt')
  for (const wrong of [
    Buffer.alloc(0),
    answer('secret').subarray(1),
    Buffer.concat([answer('secret'), Buffer.of(0)]),
  ]) {
    t.notOk(checkSha2(wrong, salt, sha2Digest('secret')), `${wrong.length} bytes`)
  }
})

test('clearText reads up to the NUL', async t => {
  t.equal(clearText(Buffer.from('secret\0')), 'secret')
  t.equal(clearText(Buffer.from('secret\0more\0')), 'secret')
  t.equal(clearText(Buffer.from('größe')), 'größe', 'all of it where there is none')
  t.equal(clearText(Buffer.from('\0secret')), '')
})

test('unmaskPassword repeats the salt', async t => {
  const salt = createSalt()
  const password = 'a password longer than its salt, which has 20 bytes'
  const masked = Buffer.from(clearPassword(password).map((byte, index) => byte ^ salt[index % 20]!))
  t.equal(unmaskPassword(masked, salt), password)
})
