/** Local users: names and passwords of this proxy, not of the database. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { ProxyError } from '../errors.ts'
import { nativeHash, sha2Digest } from '../protocol/auth.ts'
import { parseStoredHash, type StoredHash, sha256Crypt } from '../protocol/sha256-crypt.ts'
import type { LocalUserOptions } from './local-user-options.ts'

/** A local user as logins are checked. With a stored hash, `native` or `sha2` is unknown until a client sends the full password. */
export interface LocalUser {
  name: string
  databaseUser: string | undefined
  /** SHA1(SHA1(password)) */
  native: Buffer | undefined
  /** SHA256(SHA256(password)) */
  sha2: Buffer | undefined
  stored: StoredHash | undefined
  /** whether it stands for an unknown name, so that the check takes the same time; no password is right */
  isDecoy: boolean
}

export interface LocalUsers {
  /** never fails: returns a decoy for an unknown name */
  find(name: string): LocalUser
}

/** Whether `text` is a hash as MySQL stores it, not a password. */
export function isPasswordHash(text: string): boolean {
  return nativeHashOf(text) !== undefined || parseStoredHash(bytesOf(text)) !== undefined
}

/** `text`, decoded if it is in MySQL's form 0x… (print_identified_with_as_hex). */
function bytesOf(text: string): string {
  return /^0x(?:[0-9a-f]{2})+$/i.test(text) ? Buffer.from(text.slice(2), 'hex').toString('latin1') : text
}

function nativeHashOf(text: string): Buffer | undefined {
  return /^\*[0-9a-f]{40}$/i.test(text) ? Buffer.from(text.slice(1), 'hex') : undefined
}

/**
 * @param options empty: nobody can log in
 * @throws ProxyError CONFIG_INVALID naming the user, never the password
 */
export function createLocalUsers(options: readonly LocalUserOptions[]): LocalUsers {
  const users = new Map<string, LocalUser>()
  for (const user of options.map(toLocalUser)) {
    if (users.has(user.name)) throw invalid(user.name, 'is a duplicate')
    users.set(user.name, user)
  }
  const secret = randomBytes(32)
  /** the models of decoys */
  const known =
    users.size > 0 ? [...users.values()] : [toLocalUser({ name: 'nobody', password: secret.toString('hex') })]
  return {
    find(name) {
      // Made for each name, so that a known one takes as long.
      const decoy = decoyUser(known[pickIndex(secret, name, known.length)]!, name, secret)
      return users.get(name) ?? decoy
    },
  }
}

function toLocalUser({ name, password, passwordHash, user }: LocalUserOptions): LocalUser {
  const common = { name, databaseUser: user, isDecoy: false }
  if (name === '') throw invalid(name, 'has no name')
  if (password !== undefined && passwordHash !== undefined) throw invalid(name, 'has a password and a hash')
  if (password) return { ...common, native: nativeHash(password), sha2: sha2Digest(password), stored: undefined }
  if (password === '' || passwordHash === undefined) throw invalid(name, 'has no password')
  const native = nativeHashOf(passwordHash)
  const stored = parseStoredHash(bytesOf(passwordHash))
  if (!native && !stored) throw invalid(name, 'has a hash that is neither *… (40 digits) nor $A$005$… (63 characters)')
  return { ...common, native, sha2: undefined, stored }
}

function invalid(name: string, what: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', `local user '${name}' ${what}`)
}

/** A decoy whose login takes the same steps as that of `model`; always the same one for the same name. */
function decoyUser(model: LocalUser, name: string, secret: Buffer): LocalUser {
  const random = createHmac('sha512', secret).update(name).digest()
  return {
    name,
    databaseUser: undefined,
    native: model.native && random.subarray(0, 20),
    sha2: model.sha2 && random.subarray(0, 32),
    stored: model.stored && { ...model.stored, salt: random.subarray(32, 52) },
    isDecoy: true,
  }
}

function pickIndex(secret: Buffer, name: string, count: number): number {
  return createHmac('sha256', secret).update(name).digest().readUInt32LE(0) % count
}

/** Longest password, as with MySQL: hashing a longer one would take seconds. */
const MAX_PASSWORD_BYTES = 256

/** The previous hash: one per event loop iteration, so that sessions go on beside many logins. */
let hashing: Promise<unknown> = Promise.resolve()

/** Checks a full password. If it is right, keeps the hashes that check the next login without it. */
export async function checkPassword(user: LocalUser, password: string): Promise<boolean> {
  if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) return false
  if (user.stored) {
    hashing = hashing.then(() => new Promise(resolve => setImmediate(resolve)))
    await hashing
  }
  const isRight = matchesStored(user, password) && !user.isDecoy
  if (isRight) {
    user.sha2 ??= sha2Digest(password)
    user.native ??= nativeHash(password)
  }
  return isRight
}

function matchesStored({ native, sha2, stored }: LocalUser, password: string): boolean {
  if (stored) {
    const digest = sha256Crypt(Buffer.from(password), stored.salt, stored.rounds)
    return timingSafeEqual(sha256(digest), sha256(stored.digest))
  }
  if (sha2) return timingSafeEqual(sha2Digest(password), sha2)
  return native !== undefined && timingSafeEqual(nativeHash(password), native)
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
