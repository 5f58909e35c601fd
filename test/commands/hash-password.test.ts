import { PassThrough, Readable } from 'node:stream'
import { test } from 'tap'
import { checkPassword, createLocalUsers, isPasswordHash } from '../../src/client/local-users.ts'
import { hashPassword } from '../../src/commands/hash-password.ts'
import { firstLine, passwordProblem } from '../../src/password-file.ts'

/** The hashes that the command prints for this input, with each method. */
async function hashesOf(...input: string[]): Promise<[stored: string, native: string]> {
  return [await hashPassword(Readable.from(input)), await hashPassword(Readable.from(input), 'mysql_native_password')]
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

test('what it prints is a valid password file', async t => {
  for (const hash of await hashesOf('password\n')) {
    const printed = Buffer.from(`${hash}\n`)
    t.equal(passwordProblem(printed), undefined)
    t.equal(isPasswordHash(firstLine(printed)), true)
  }
})

test('input that is not one password', async t => {
  for (const [input, message] of [
    [Buffer.from('\ufeffpassword\n'), /^hash-password: standard input begins with a byte-order mark/],
    [Buffer.from('password\n', 'utf16le'), /^hash-password: standard input contains a NUL byte/],
    [Buffer.from('pass\u001bword\n'), /^hash-password: standard input contains a control character$/],
  ] as const) {
    await t.rejects(hashPassword(Readable.from([input])), { code: 'CONFIG_INVALID', message })
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

test('it asks nothing with --no-input, and ends at a signal', async t => {
  const terminal = () => Object.assign(new PassThrough(), { isTTY: true })
  await t.rejects(hashPassword(terminal(), 'caching_sha2_password', { noInput: true }), /--no-input needs the password/)
  const stop = new AbortController()
  const waiting = hashPassword(new PassThrough(), 'caching_sha2_password', { stop: stop.signal })
  stop.abort()
  await t.rejects(waiting, { name: 'AbortError' })
})
