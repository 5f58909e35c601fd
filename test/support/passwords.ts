/** The responses of clients to a salt, written apart from src/protocol/auth.ts. */
import { createHash } from 'node:crypto'

function digest(algorithm: 'sha1' | 'sha256', ...parts: Buffer[]): Buffer {
  return createHash(algorithm).update(Buffer.concat(parts)).digest()
}

function xor(left: Buffer, right: Buffer): Buffer {
  return Buffer.from(left.map((byte, index) => byte ^ right[index]!))
}

/** mysql_native_password */
export function nativeResponse(password: string, salt: Buffer): Buffer {
  const once = digest('sha1', Buffer.from(password))
  return xor(once, digest('sha1', salt.subarray(0, 20), digest('sha1', once)))
}

/** caching_sha2_password */
export function sha2Response(password: string, salt: Buffer): Buffer {
  const once = digest('sha256', Buffer.from(password))
  return xor(once, digest('sha256', digest('sha256', once), salt.subarray(0, 20)))
}

/** The same with the salt first, as sqlx 0.8.6 and Bun 1.3.5 compute it: never right. */
export function saltFirstResponse(password: string, salt: Buffer): Buffer {
  const once = digest('sha256', Buffer.from(password))
  return xor(once, digest('sha256', salt.subarray(0, 20), digest('sha256', once)))
}
