import { test } from 'tap'
import { clearPassword, createSalt, isEmptyPassword } from '../../src/protocol/auth.ts'
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

test('no salt is like another', async t => {
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
