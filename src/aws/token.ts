/** IAM authentication tokens. They are always signed for the RDS endpoint, even if the proxy connects to an NLB. */
import { createHash, createHmac, createSecretKey } from 'node:crypto'
import { CLOCK_STEP_MS, type Clock, monotonicClock, wallClockOffset } from '../clock.ts'
import type { Endpoint } from '../endpoint.ts'
import { MAX_KEPT_NAME_LENGTH } from '../protocol/packets.ts'
import { explainCredentialsError } from './credential-errors.ts'
import type { Credentials, CredentialsProvider } from './credentials.ts'

/**
 * Resolves with a new token for a database user. It is a secret: anyone who has it can log in for 15 minutes.
 * @param region of the server; only for an Aurora global endpoint, whose name has no region
 * @throws ProxyError CREDENTIALS_…
 */
export type TokenSource = (user: string, region?: string) => Promise<string>

/**
 * Signs a new token for each login. Signing is local and takes about 0.2 ms, and a token expires with the credentials that
 * signed it, so only the credentials are cached.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
 */
export function createTokenSource(rds: Endpoint['rds'], credentials: CredentialsProvider): TokenSource {
  return async (user, region) => await sign(rds, region, user, await credentials())
}

/** Tokens that several logins use. */
export interface ReusedTokens {
  create: TokenSource
  /** The server has refused the token of this user: the next login gets a new one. */
  forget(user: string): void
}

interface Kept {
  token: string
  region: string | undefined
  keys: Credentials
  /** in the time of the clock */
  until: number
  /** wallClockOffset() at the signature */
  wallOffset: number
}

/** Users whose token is kept: clients choose the names. */
const MAX_KEPT = 1_000

/**
 * Uses a token for the logins of its user for `duration` milliseconds, and never after its credentials have expired or with
 * other credentials.
 */
export function createReusedTokens(
  rds: Endpoint['rds'],
  credentials: CredentialsProvider,
  duration: number,
  clock: Clock = monotonicClock,
  wallOffset: () => number = wallClockOffset,
): ReusedTokens {
  /** by user */
  const kept = new Map<string, Kept>()
  const isUsable = ({ keys, until, wallOffset: before }: Kept, current: Credentials) =>
    clock.now() < until && isSame(keys, current) && Math.abs(wallOffset() - before) <= CLOCK_STEP_MS
  return {
    async create(user, region) {
      const keys = await credentials()
      const before = kept.get(user)
      // The writer of a global database moves between regions.
      if (before && before.region === region && isUsable(before, keys)) return before.token
      const now = clock.now()
      const token = await sign(rds, region, user, keys)
      if (user.length > MAX_KEPT_NAME_LENGTH) return token
      const left = keys.expiration ? keys.expiration.getTime() - (now + wallOffset()) : Number.POSITIVE_INFINITY
      kept.delete(user)
      if (kept.size >= MAX_KEPT) kept.delete(kept.keys().next().value!)
      kept.set(user, { token, region, keys, until: now + Math.min(duration, left), wallOffset: wallOffset() })
      return token
    },
    forget(user) {
      kept.delete(user)
    },
  }
}

function isSame(left: Credentials, right: Credentials): boolean {
  const { accessKeyId, secretAccessKey, sessionToken } = left
  return (
    accessKeyId === right.accessKeyId &&
    secretAccessKey === right.secretAccessKey &&
    sessionToken === right.sessionToken
  )
}

/** Not loaded before it is needed. An import takes 10 to 35 µs also if it is loaded already. */
let signerModule: Promise<typeof import('@aws-sdk/rds-signer')> | undefined

/**
 * SHA-256 for AWS's signer. Its own passes the bytes of a key to createHmac, and Node.js 24 then makes an error with its
 * stack each time, only to see that the bytes are no KeyObject.
 */
class Sha256 {
  readonly #hash

  /** @param secret the key of an HMAC */
  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    if (secret === undefined) this.#hash = createHash('sha256')
    else this.#hash = createHmac('sha256', typeof secret === 'string' ? secret : createSecretKey(secret as Uint8Array))
  }

  update(data: Uint8Array): void {
    this.#hash.update(data)
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest()
  }
}

/** @throws ProxyError CREDENTIALS_… */
async function sign(
  rds: Endpoint['rds'],
  region: string | undefined,
  username: string,
  credentials: Credentials,
): Promise<string> {
  signerModule ??= import('@aws-sdk/rds-signer')
  const { Signer } = await signerModule
  const { host: hostname, port } = rds
  const configuration = { hostname, port, region: rds.region ?? region!, username, credentials, sha256: Sha256 }
  const signer = new Signer(configuration)
  try {
    return await signer.getAuthToken()
  } catch (error) {
    throw explainCredentialsError(error, undefined)
  }
}
