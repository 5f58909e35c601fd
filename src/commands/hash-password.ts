/** `mysql-iam-proxy hash-password`: prints a value for password-hash, or for the file of a password. */
import { addAbortSignal, type Readable } from 'node:stream'
import { ProxyError } from '../errors.ts'
import { firstLine, passwordProblem } from '../password-file.ts'
import { CACHING_SHA2_PASSWORD, createSalt, MYSQL_NATIVE_PASSWORD, nativeHash } from '../protocol/auth.ts'
import { storedHash } from '../protocol/sha256-crypt.ts'

/** The hash of the password on the first line of `input`. @throws ProxyError CONFIG_INVALID; AbortError after `stop` */
export async function hashPassword(
  input: Readable & { isTTY?: boolean },
  method: typeof CACHING_SHA2_PASSWORD | typeof MYSQL_NATIVE_PASSWORD = CACHING_SHA2_PASSWORD,
  { stop, noInput = false }: { stop?: AbortSignal; noInput?: boolean } = {},
): Promise<string> {
  if (input.isTTY && noInput) {
    throw new ProxyError(
      'CONFIG_INVALID',
      'hash-password: --no-input needs the password on standard input, not a terminal',
    )
  }
  if (stop) addAbortSignal(stop, input)
  if (input.isTTY) process.stderr.write('Password (visible as you type): ')
  const chunks: Buffer[] = []
  for await (const chunk of input) {
    const bytes = Buffer.from(chunk)
    const end = bytes.indexOf('\n')
    chunks.push(end < 0 ? bytes : bytes.subarray(0, end))
    if (end >= 0) break
  }
  // With a line end, as in a file.
  const line = Buffer.concat([...chunks, Buffer.from('\n')])
  const password = firstLine(line)
  if (password === '') throw new ProxyError('CONFIG_INVALID', 'hash-password: no password on standard input')
  const problem = passwordProblem(line)
  if (problem) throw new ProxyError('CONFIG_INVALID', `hash-password: standard input ${problem}`)
  if (method === MYSQL_NATIVE_PASSWORD) return `*${nativeHash(password).toString('hex').toUpperCase()}`
  // Letters, because the hash is copied by hand: 20 letters of 4.7 bits each.
  const salt = Buffer.from(createSalt().map(byte => 0x41 + (byte % 26)))
  return storedHash(password, salt)
}
