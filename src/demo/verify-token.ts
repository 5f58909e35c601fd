/**
 * Verifies a token as documented for RDS: a presigned SigV4 `GET /` for the service rds-db.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

/** An AWS access key, for signatures. */
export interface AccessKey {
  accessKeyId: string
  secretAccessKey: string
  /** for temporary credentials; their tokens must contain it */
  sessionToken?: string
}

/** The required values of a token. */
export interface ExpectedToken {
  host: string
  port: number
  region: string
  /** the database user of the login; case matters */
  user: string
  keys: readonly AccessKey[]
}

/** How far ahead the signer's clock may be. */
const CLOCK_SKEW_MS = 5 * 60_000

/** Longest validity of a token. */
const MAX_EXPIRES_SECONDS = 900

const REQUIRED = [
  'Action',
  'DBUser',
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-Signature',
  'X-Amz-SignedHeaders',
]

const SESSION_TOKEN = 'X-Amz-Security-Token'

/**
 * Verifies an IAM token. `token` must not include the NUL that follows it on the wire.
 * @returns the reason to refuse it, without any part of the token; undefined if it is valid
 */
export function verifyToken(token: string, expected: ExpectedToken, now = new Date()): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(token)) return 'the token starts with a URL scheme'
  const [host, query, ...rest] = token.split('/?')
  if (query === undefined || rest.length > 0) return 'the token is not a presigned URL'
  if (host !== `${expected.host}:${expected.port}`) return `the token is not for ${expected.host}:${expected.port}`

  const parameters = parseQuery(query)
  if (typeof parameters === 'string') return parameters
  const parameter = (name: string) => parameters.get(name) ?? ''
  if (parameter('Action') !== 'connect') return 'Action is not connect'
  if (parameter('DBUser') !== expected.user) return 'DBUser is not the user of the login'
  if (parameter('X-Amz-Algorithm') !== 'AWS4-HMAC-SHA256') return 'X-Amz-Algorithm is not AWS4-HMAC-SHA256'
  if (parameter('X-Amz-SignedHeaders') !== 'host') return 'X-Amz-SignedHeaders is not host'

  const time = parameter('X-Amz-Date')
  const signed = parseTime(time)
  if (signed === undefined) return 'X-Amz-Date is not a time'
  const expires = /^\d{1,3}$/.test(parameter('X-Amz-Expires')) ? Number(parameter('X-Amz-Expires')) : 0
  if (expires < 1 || expires > MAX_EXPIRES_SECONDS) return `X-Amz-Expires is not 1 to ${MAX_EXPIRES_SECONDS}`
  if (signed > now.getTime() + CLOCK_SKEW_MS) return 'the token was signed in the future'
  if (now.getTime() > signed + expires * 1000) return 'the token has expired'

  const [keyId, ...scope] = parameter('X-Amz-Credential').split('/')
  const wanted = [time.slice(0, 8), expected.region, 'rds-db', 'aws4_request']
  if (scope.join('/') !== wanted.join('/'))
    return `the token is not signed for rds-db in ${expected.region} on its date`
  const key = expected.keys.find(({ accessKeyId }) => accessKeyId === keyId)
  if (!key) return 'its access key is unknown'
  if (!equal(parameter(SESSION_TOKEN), key.sessionToken ?? '')) return 'its session token does not match the access key'

  const request = ['GET', '/', canonicalQuery(parameters), `host:${host}`, '', 'host', sha256('')].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', time, wanted.join('/'), sha256(request)].join('\n')
  const signingKey = wanted.reduce<string | Buffer>(hmac, `AWS4${key.secretAccessKey}`)
  if (!equal(parameter('X-Amz-Signature'), hmac(signingKey, toSign).toString('hex'))) return 'its signature is invalid'
  return undefined
}

/** The parameters by name, or the reason why they are invalid. Each must occur exactly once, and no others may. */
function parseQuery(query: string): Map<string, string> | string {
  const parameters = new Map<string, string>()
  for (const pair of query.split('&')) {
    const [name = '', value, ...rest] = pair.split('=')
    if (!REQUIRED.includes(name) && name !== SESSION_TOKEN) return 'the token has an unknown parameter'
    if (parameters.has(name)) return `${name} is duplicate`
    if (value === undefined || rest.length > 0) return `${name} is malformed`
    try {
      parameters.set(name, decodeURIComponent(value))
    } catch {
      return `${name} is malformed`
    }
  }
  const missing = REQUIRED.find(name => !parameters.has(name))
  return missing === undefined ? parameters : `${missing} is missing`
}

function canonicalQuery(parameters: ReadonlyMap<string, string>): string {
  return [...parameters]
    .filter(([name]) => name !== 'X-Amz-Signature')
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .sort()
    .join('&')
}

/** Percent-encodes everything except letters, digits and `-._~` (RFC 3986). */
function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** Parses `20250131T235959Z` to milliseconds of the Unix epoch. */
function parseTime(text: string): number | undefined {
  const iso = text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z')
  const time = iso === text ? Number.NaN : Date.parse(iso)
  return Number.isNaN(time) ? undefined : time
}

/** Compares in constant time, whatever the contents and lengths. */
function equal(a: string, b: string): boolean {
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest())
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
