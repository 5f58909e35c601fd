/**
 * The authentication methods, as a server checks them.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods.html
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
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

/** What mysql_native_password keeps of a password: SHA1(SHA1(password)), 20 bytes. */
export function nativeHash(password: string): Buffer {
  return sha1(sha1(Buffer.from(password)))
}

/** What caching_sha2_password keeps of a password in memory: SHA256(SHA256(password)), 32 bytes. */
export function sha2Digest(password: string): Buffer {
  return sha256(sha256(Buffer.from(password)))
}

/**
 * Checks a mysql_native_password answer: SHA1(password) XOR SHA1(salt, SHA1(SHA1(password))).
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_authentication_methods_native_password_authentication.html
 */
export function checkNative(answer: Buffer, salt: Buffer, hash: Buffer): boolean {
  const once = xor(answer, sha1(salt, hash))
  return once !== undefined && timingSafeEqual(sha1(once), hash)
}

/**
 * Checks the first answer of caching_sha2_password: SHA256(password) XOR SHA256(SHA256(SHA256(password)), salt).
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html
 */
export function checkSha2(answer: Buffer, salt: Buffer, digest: Buffer): boolean {
  const once = xor(answer, sha256(digest, salt))
  return once !== undefined && timingSafeEqual(sha256(once), digest)
}

/** A password in clear text, without its NUL. */
export function clearText(answer: Buffer): string {
  const end = answer.indexOf(0)
  return answer.subarray(0, end < 0 ? answer.length : end).toString()
}

/** The password from an RSA plaintext, which is the password and a NUL, XOR the repeated salt. */
export function unmaskPassword(masked: Buffer, salt: Buffer): string {
  return clearText(masked.map((byte, index) => byte ^ salt[index % salt.length]!) as Buffer)
}

function xor(left: Buffer, right: Buffer): Buffer | undefined {
  if (left.length !== right.length) return undefined
  return Buffer.from(left.map((byte, index) => byte ^ right[index]!))
}

function sha1(...parts: Buffer[]): Buffer {
  const hash = createHash('sha1')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

function sha256(...parts: Buffer[]): Buffer {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}
