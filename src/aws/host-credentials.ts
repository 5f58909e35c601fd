/**
 * The option `credentials` of the library: credentials, or a function of the host program. What it gives is checked, and its
 * own words are kept for the host's log. docs/decisions/0177-words-of-a-provider.md has why clients do not get them.
 */
import { ProxyError } from '../errors.ts'
import { explainCredentialsError } from './credential-errors.ts'
import type { CachedCredentials, Credentials, CredentialsProvider } from './credential-types.ts'
import { cacheUntilExpiry } from './credentials.ts'
import { redact } from './redact.ts'

const FUNCTION = 'the function in the option credentials'

const MAX_CHARACTERS = 200

const FOR_CLIENT = {
  clientMessage: 'the program that this proxy runs in could not get AWS credentials',
  clientHint: 'The log of that program has the reason.',
}

/** The provider of what the option holds; a function's results are cached. Its errors are ProxyErrors CREDENTIALS_… */
export function createHostCredentials(
  given: Credentials | CredentialsProvider,
): CredentialsProvider & Partial<CachedCredentials> {
  if (typeof given !== 'function') return async () => check(given, 'the option credentials has')
  return cacheUntilExpiry(async () => {
    try {
      return check(await given(), `${FUNCTION} returned`)
    } catch (error) {
      throw explainHostError(error)
    }
  })
}

/** The error for a login that waited for the function in vain. */
export function hostTimedOut(): ProxyError {
  const hint = 'Check that the promise of the function in the option credentials settles.'
  return new ProxyError('CREDENTIALS_TIMEOUT', `${FUNCTION} did not answer in time for this login`, {
    ...FOR_CLIENT,
    hint,
  })
}

/** @param subject what begins the message: who gave it. @throws ProxyError CREDENTIALS_FAILED that names the field */
function check(found: unknown, subject: string): Credentials {
  const problem = credentialsProblem(found)
  if (problem === undefined) return withoutEmptyToken(found as Credentials)
  const isExpired = problem.startsWith(EXPIRED)
  const hint = isExpired
    ? 'Return new credentials from the option credentials, and check the clock of this machine.'
    : 'The option credentials needs { accessKeyId, secretAccessKey }, for temporary ones also sessionToken and the Date expiration.'
  throw new ProxyError('CREDENTIALS_FAILED', `${subject} ${problem}`, { ...FOR_CLIENT, hint })
}

const EXPIRED = 'credentials that expired'

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes */
const TEMPORARY = /^ASIA[A-Z0-9]{16}$/

/** What is wrong with AWS credentials, without a value of them; undefined where nothing is. */
function credentialsProblem(found: unknown): string | undefined {
  if (typeof found === 'function') return 'a function; call it and return its result'
  if (typeof found !== 'object' || found === null || Array.isArray(found))
    return `${kindOf(found)} instead of credentials`
  const { accessKeyId, secretAccessKey, sessionToken, expiration, ...others } = found as Record<string, unknown>
  if (accessKeyId === undefined && Object(others['Credentials']).AccessKeyId !== undefined) {
    return 'a whole answer of STS; take its Credentials, and write accessKeyId instead of AccessKeyId, and so on'
  }
  for (const [name, value] of Object.entries({ accessKeyId, secretAccessKey })) {
    const ofSts = name[0]!.toUpperCase() + name.slice(1)
    if (value === undefined && others[ofSts] !== undefined) {
      return `credentials with ${ofSts}, which is the spelling of STS; write ${name}`
    }
    if (value === undefined || value === '') return `credentials without ${name}`
    if (typeof value !== 'string') return `credentials whose ${name} is ${kindOf(value)} instead of a string`
    if (value.trim() !== value) return `credentials whose ${name} begins or ends with white space`
  }
  if (!isAbsent(sessionToken) && typeof sessionToken !== 'string') {
    return `credentials whose sessionToken is ${kindOf(sessionToken)} instead of a string`
  }
  if (isAbsent(sessionToken) && others['SessionToken'] !== undefined) {
    return 'credentials with SessionToken, which is the spelling of STS; write sessionToken'
  }
  if (isAbsent(sessionToken) && TEMPORARY.test(accessKeyId as string)) {
    return 'credentials without sessionToken; an accessKeyId that begins with ASIA is of temporary credentials, which have one'
  }
  if (expiration === undefined && others['Expiration'] !== undefined) {
    return 'credentials with Expiration, which is the spelling of STS; write expiration'
  }
  return expirationProblem(expiration)
}

function expirationProblem(expiration: unknown): string | undefined {
  if (isAbsent(expiration)) return undefined
  if (!(expiration instanceof Date)) {
    return `credentials whose expiration is ${kindOf(expiration)} instead of a Date; write new Date(…)`
  }
  if (Number.isNaN(expiration.getTime())) return 'credentials whose expiration is an invalid Date'
  return expiration.getTime() > Date.now() ? undefined : `${EXPIRED} at ${expiration.toISOString()}`
}

/** Environment variables and JSON have '' and null for what is missing. To AWS, an empty token is none. */
export function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || value === ''
}

/** A copy, which the host cannot change. */
function withoutEmptyToken(found: Credentials): Credentials {
  const { sessionToken, expiration, ...others } = found
  return { ...others, ...(sessionToken ? { sessionToken } : {}), ...(expiration ? { expiration } : {}) }
}

function kindOf(value: unknown): string {
  if (value === undefined || value === null) return String(value)
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

/** What the function threw, in its own words. The errors of the AWS SDK's providers keep their codes and hints. */
function explainHostError(thrown: unknown): ProxyError {
  if (thrown instanceof ProxyError) return thrown
  const explained = explainCredentialsError(thrown, undefined)
  const ofProgram = messageOf(thrown).startsWith('Command failed:')
  if (explained.code !== 'CREDENTIALS_FAILED' || ofProgram) return explained
  const words = redact(messageOf(thrown).split('\n', 1)[0]!.trim()).slice(0, MAX_CHARACTERS)
  const name = thrown instanceof Error && thrown.name !== 'Error' ? thrown.name : undefined
  const what = [name, words].filter(Boolean).join(': ') || 'an error without a message'
  return new ProxyError('CREDENTIALS_FAILED', `${FUNCTION} failed: ${what}`, {
    ...FOR_CLIENT,
    cause: thrown,
    hint: 'Correct that function, or what it calls.',
  })
}

function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) return String(thrown.message)
  return typeof thrown === 'string' ? thrown : ''
}
