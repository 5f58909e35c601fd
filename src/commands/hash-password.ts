/** `mysql-iam-proxy hash-password`: what to write into password-hash. */
import type { Readable } from 'node:stream'
import { ProxyError } from '../errors.ts'
import { createSalt, nativeHash } from '../protocol/auth.ts'
import { storedHash } from '../protocol/sha256-crypt.ts'

/** Both hashes of the first line of `input`. @throws ProxyError CONFIG_INVALID */
export async function hashPassword(input: Readable & { isTTY?: boolean }): Promise<string> {
  if (input.isTTY) process.stderr.write('Password (it is shown): ')
  let text = ''
  for await (const chunk of input) {
    text += chunk
    if (text.includes('\n')) break
  }
  const password = text.split(/\r?\n/, 1)[0]!
  if (password === '') throw new ProxyError('CONFIG_INVALID', 'hash-password: no password on standard input')
  // Readable, as it has to be copied: 20 letters of 5 bits each.
  const salt = Buffer.from(createSalt().map(byte => 0x41 + (byte % 26)))
  return [
    '# clients over TLS or a unix socket:',
    storedHash(password, salt),
    '# clients without TLS as well, but not those of MySQL 9:',
    `*${nativeHash(password).toString('hex').toUpperCase()}`,
  ].join('\n')
}
