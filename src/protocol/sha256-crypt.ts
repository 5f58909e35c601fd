/**
 * The hash that MySQL stores for caching_sha2_password: `$A$005$`, 20 bytes of salt, 43 characters.
 * SHA-crypt (https://www.akkadia.org/drepper/SHA-crypt.txt) with 1,000 times as many rounds as the hexadecimal number says.
 */
import { createHash } from 'node:crypto'

const PREFIX = /^\$A\$([0-9A-F]{3})\$/
const SALT_LENGTH = 20
const DIGEST_LENGTH = 43
const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** Most rounds of a stored hash, in thousands. More would block the process at each login. */
const MOST_ROUNDS = 100

export interface StoredHash {
  rounds: number
  salt: Buffer
  digest: string
}

/** The parts of `$A$005$…`, bytes as latin1; undefined if it is not such a hash. */
export function parseStoredHash(text: string): StoredHash | undefined {
  const prefix = PREFIX.exec(text)
  const thousands = Number.parseInt(prefix?.[1] ?? '0', 16)
  if (!prefix || thousands < 5 || thousands > MOST_ROUNDS) return undefined
  const rest = text.slice(prefix[0].length)
  if (rest.length !== SALT_LENGTH + DIGEST_LENGTH) return undefined
  return {
    rounds: thousands * 1_000,
    salt: Buffer.from(rest.slice(0, SALT_LENGTH), 'latin1'),
    digest: rest.slice(SALT_LENGTH),
  }
}

/** `password` as MySQL stores it, with 5,000 rounds; takes some 10 ms. @param salt 20 bytes */
export function storedHash(password: string, salt: Buffer): string {
  return `$A$005$${salt.toString('latin1')}${sha256Crypt(Buffer.from(password), salt, 5_000)}`
}

/** The 43 characters of SHA-crypt's digest. */
export function sha256Crypt(password: Buffer, salt: Buffer, rounds: number): string {
  const sha = (...parts: Buffer[]) => {
    const hash = createHash('sha256')
    for (const part of parts) hash.update(part)
    return hash.digest()
  }
  const alternate = sha(password, salt, password)
  const first = [password, salt, repeat(alternate, password.length)]
  for (let bits = password.length; bits > 0; bits >>= 1) first.push(bits & 1 ? alternate : password)
  let digest = sha(...first)

  const p = repeat(sha(...Array<Buffer>(password.length).fill(password)), password.length)
  const s = repeat(sha(...Array<Buffer>(16 + digest[0]!).fill(salt)), salt.length)
  for (let round = 0; round < rounds; round++) {
    const parts = [round & 1 ? p : digest]
    if (round % 3) parts.push(s)
    if (round % 7) parts.push(p)
    parts.push(round & 1 ? digest : p)
    digest = sha(...parts)
  }
  return encode(digest)
}

function repeat(block: Buffer, length: number): Buffer {
  return Buffer.alloc(length, block)
}

/** SHA-crypt's own base64: groups of three bytes that lie ten apart, lowest six bits first. */
function encode(digest: Buffer): string {
  let text = ''
  const put = (high: number, middle: number, low: number, characters: number) => {
    let group = (high << 16) | (middle << 8) | low
    for (let index = 0; index < characters; index++, group >>= 6) text += ALPHABET[group & 0x3f]
  }
  for (let group = 0; group < 10; group++) {
    const [a, b, c] = [group, group + 10, group + 20]
    const order = [
      [a, b, c],
      [c, a, b],
      [b, c, a],
    ][group % 3]!
    put(digest[order[0]!]!, digest[order[1]!]!, digest[order[2]!]!, 4)
  }
  put(0, digest[31]!, digest[30]!, 3)
  return text
}
