import { test } from 'tap'
import { parseStoredHash, sha256Crypt, storedHash } from '../../src/protocol/sha256-crypt.ts'

const SALT = 'abcdefghijklmnopqrst'
const DIGEST = 'x'.repeat(43)

test('SHA-crypt as glibc computes it', async t => {
  // crypt(3) with $5$rounds=…$, the first two also in https://www.akkadia.org/drepper/SHA-crypt.txt
  const vectors: [password: string, salt: string, rounds: number, digest: string][] = [
    ['Hello world!', 'saltstring', 5_000, '5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5'],
    ['Hello world!', 'saltstringsaltst', 10_000, '3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA'],
    ['x'.repeat(33), 'saltstring', 1_001, 'b7AyTs0Cnv11RsqD3WK5JrRdUUvN6wHMa8k4iHyArT4'],
    ['größe'.repeat(7), '0123456789abcdef', 1_007, 'DEWy1Wk.vwzxwVD1AR.sRJPfPQZQAHDuypxl/eh.F94'],
    ['', 'saltstring', 1_000, 'TzAJABAaJwl111nyuH1uQy8kjHahyMHq1D7Y09hLQV1'],
    ['a', 'b', 1_000, 'J7c6WIZGQD7ULoAcqsdvyXtvE0KwvgwMVZDv5A4QRL9'],
  ]
  for (const [password, salt, rounds, digest] of vectors) {
    t.equal(sha256Crypt(Buffer.from(password), Buffer.from(salt), rounds), digest, `${password}, ${rounds} rounds`)
  }
})

test('storedHash has 5,000 rounds and can be parsed', async t => {
  const stored = storedHash('größe', Buffer.from(SALT))
  t.ok(stored.startsWith(`$A$005$${SALT}`))
  const digest = sha256Crypt(Buffer.from('größe'), Buffer.from(SALT), 5_000)
  t.same(parseStoredHash(stored), { rounds: 5_000, salt: Buffer.from(SALT), digest })
})

test('the rounds of a stored hash are hexadecimal thousands, from 5 to 100', async t => {
  const roundsOf = (prefix: string) => parseStoredHash(`${prefix}${SALT}${DIGEST}`)?.rounds
  t.equal(roundsOf('$A$005$'), 5_000)
  t.equal(roundsOf('$A$00A$'), 10_000)
  t.equal(roundsOf('$A$064$'), 100_000)
  for (const wrong of ['$A$004$', '$A$000$', '$A$065$', '$A$FFF$', '$A$00a$', '$A$05$', '$B$005$', ' $A$005$', '']) {
    t.equal(roundsOf(wrong), undefined, JSON.stringify(wrong))
  }
})

test('a stored hash has 20 bytes of salt and 43 characters of digest', async t => {
  const parsed = parseStoredHash(`$A$005$\xff${SALT.slice(1)}${DIGEST}`)
  t.equal(parsed?.salt.toString('latin1'), `\xff${SALT.slice(1)}`, 'any byte')
  t.equal(parsed?.digest, DIGEST)
  t.equal(parseStoredHash(`$A$005$${SALT}${DIGEST}x`), undefined, 'too long')
  t.equal(parseStoredHash(`$A$005$${SALT}${DIGEST.slice(1)}`), undefined, 'too short')
  t.equal(parseStoredHash(` $A$005$${SALT}${DIGEST.slice(1)}`), undefined, 'a space before, and 63 characters')
})
