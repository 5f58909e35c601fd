import { Readable } from 'node:stream'
import { test } from 'tap'
import { checkPassword, createLocalUsers, isPasswordHash } from '../../src/client/local-users.ts'
import { hashPassword } from '../../src/commands/hash-password.ts'

/** The two hashes that the command prints for this input. */
async function hashesOf(...input: string[]): Promise<[stored: string, native: string]> {
  const [comment, stored, otherComment, native, ...more] = (await hashPassword(Readable.from(input))).split('\n')
  if (!comment?.startsWith('# ') || !otherComment?.startsWith('# ') || !stored || !native || more.length > 0) {
    throw new Error('not two hashes with a comment each')
  }
  return [stored, native]
}

test('both hashes accept the password and no other', async t => {
  for (const passwordHash of await hashesOf('right password\n')) {
    t.ok(isPasswordHash(passwordHash), passwordHash)
    const user = createLocalUsers([{ name: 'a', passwordHash }]).find('a')
    t.equal(await checkPassword(user, 'wrong'), false)
    t.equal(await checkPassword(user, 'right password'), true)
  }
})

test('the native hash is the one that MySQL computes', async t => {
  const [, native] = await hashesOf('password\n')
  t.equal(native, '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19')
})

test('two runs print different salts of printable characters', async t => {
  const [first] = await hashesOf('password\n')
  const [second] = await hashesOf('password\n')
  t.match(first, /^\$A\$005\$[A-Z]{20}.{43}$/)
  t.not(first, second)
})

test('only the first line counts, with any line ending, in any chunks', async t => {
  const [, native] = await hashesOf('password')
  for (const input of [['password\n'], ['password\r\n'], ['pass', 'word\nmore\n'], ['password\n', 'more']]) {
    t.equal((await hashesOf(...input))[1], native, JSON.stringify(input))
  }
})

test('no password', async t => {
  for (const input of [[], [''], ['\n'], ['\r\n'], ['\nsecond\n']]) {
    await t.rejects(hashPassword(Readable.from(input)), {
      code: 'CONFIG_INVALID',
      message: 'hash-password: no password on standard input',
    })
  }
})
