/** `mysql-iam-proxy hash-password`: prints values for password-hash. */
import type { Readable } from 'node:stream'
import { ProxyError } from '../errors.ts'
import { createSalt, nativeHash } from '../protocol/auth.ts'
import { storedHash } from '../protocol/sha256-crypt.ts'

/** Both hashes of the password on the first line of `input`. @throws ProxyError CONFIG_INVALID */
export async function hashPassword(input: Readable & { isTTY?: boolean }): Promise<string> {
  if (input.isTTY) process.stderr.write('Password (visible as you type): ')
  let text = ''
  for await (const chunk of input) {
    text += chunk
    if (text.includes('\n')) break
  }
  const password = text.split(/\r?\n/, 1)[0]!
  if (password === '') throw new ProxyError('CONFIG_INVALID', 'hash-password: no password on standard input')
  // Letters, because the hash is copied by hand: 20 letters of 4.7 bits each.
  const salt = Buffer.from(createSalt().map(byte => 0x41 + (byte % 26)))
  return [
    '# for clients over TLS or a unix socket:',
    storedHash(password, salt),
    '# also for clients without TLS, except those of MySQL 9:',
    `*${nativeHash(password).toString('hex').toUpperCase()}`,
  ].join('\n')
}
