/**
 * The authentication methods, as far as a proxy that asks for no password of its own has to know them.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods.html
 */
import { randomBytes } from 'node:crypto'
import { SALT_LENGTH } from './packets.ts'

export const MYSQL_NATIVE_PASSWORD = 'mysql_native_password'
export const CACHING_SHA2_PASSWORD = 'caching_sha2_password'
export const MYSQL_CLEAR_PASSWORD = 'mysql_clear_password'

/** 20 random bytes as servers make them: 7-bit, no NUL (it would end the string) and no `$` (the server's own separator). */
export function createSalt(): Buffer {
  const salt = randomBytes(SALT_LENGTH)
  for (const [index, byte] of salt.entries()) {
    const value = byte & 0x7f
    salt[index] = value === 0 || value === 0x24 ? value + 1 : value
  }
  return salt
}

/** Whether an auth response says that the client has no password: nothing, or one NUL. */
export function isEmptyPassword(response: Buffer): boolean {
  return response.length === 0 || (response.length === 1 && response[0] === 0)
}

/** A token or password as mysql_clear_password sends it: with a NUL behind it. */
export function clearPassword(password: string): Buffer {
  return Buffer.from(`${password}\0`)
}
