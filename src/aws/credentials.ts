/** IAM authentication tokens: signed for the RDS endpoint, whatever was dialled. */
import { ProxyError } from '../errors.ts'

/** AWS credentials, in the shape of the AWS SDK's AwsCredentialIdentity. Secrets, but for `accessKeyId` and `expiration`. */
export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  readonly expiration?: Date
}

/** Gives credentials that are good now; any provider of the AWS SDK is one. */
export type CredentialsProvider = () => Promise<Credentials>

/** Credentials this close to their end are renewed in the background, in milliseconds. */
const RENEW_BEFORE_MS = 5 * 60_000

/** How long credentials without an expiry are kept, in milliseconds: other programs write new ones into ~/.aws/credentials. */
const KEEP_WITHOUT_EXPIRY_MS = 60_000

/** A look-up that takes longer than this is not waited for by later logins, in milliseconds. */
const LOOK_UP_TIMEOUT_MS = 60_000

/**
 * The credentials to sign with: of `profile` alone where one is named, else of the whole chain of the AWS SDK (environment,
 * AWS_PROFILE, SSO, credential_process, web identity, ECS/EKS containers, instance metadata).
 * https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
 */
export function createCredentials(region: string, profile: string | undefined): CredentialsProvider {
  return cacheUntilExpiry(async () => {
    const { fromIni, fromNodeProviderChain } = await import('@aws-sdk/credential-providers')
    const options = {
      // For the calls to STS that a role needs; SSO has the region of its profile.
      parentClientConfig: { region },
      // The files in ~/.aws change while the proxy runs.
      ignoreCache: true,
    }
    const named = profile ?? process.env.AWS_PROFILE
    try {
      const provider = profile ? fromIni({ profile, ...options }) : fromNodeProviderChain(options)
      return await provider()
    } catch (error) {
      throw explainCredentialsError(profile ? error : await profileReason(error, fromIni(options)), named)
    }
  })
}

/** The chain only says that no link of it had credentials; a profile that is there but fails has more to say. */
async function profileReason(error: unknown, ofProfile: CredentialsProvider): Promise<unknown> {
  return ofProfile().then(
    () => error,
    (reason: unknown) => (messageOf(reason).startsWith('Could not resolve credentials using profile') ? error : reason),
  )
}

/** One look-up at a time, shared by all who wait; its result kept until it nears its expiry. */
export function cacheUntilExpiry(provider: CredentialsProvider): CredentialsProvider {
  let kept: { credentials: Credentials; until: number } | undefined
  let pending: Promise<Credentials> | undefined
  /** which look-up `pending` is: one that was given up may still come to its end */
  let current: symbol | undefined

  function lookUp(): Promise<Credentials> {
    const mine = Symbol('look-up')
    current = mine
    const forget = () => {
      if (current === mine) current = pending = undefined
    }
    // Also when a helper hangs: it must not take all later logins with it.
    const giveUp = setTimeout(forget, LOOK_UP_TIMEOUT_MS).unref()
    const result = (async () => {
      try {
        const credentials = await provider()
        const until = credentials.expiration?.getTime() ?? Date.now() + KEEP_WITHOUT_EXPIRY_MS + RENEW_BEFORE_MS
        if (current === mine) kept = { credentials, until }
        return credentials
      } finally {
        clearTimeout(giveUp)
        forget()
      }
    })()
    // Unless it is over already: a provider may throw at once.
    if (current === mine) pending = result
    return result
  }

  return async () => {
    const left = kept ? kept.until - Date.now() : 0
    if (kept && left > RENEW_BEFORE_MS) return kept.credentials
    const result = pending ?? lookUp()
    if (!kept || left <= 0) return await result
    // Still good for this login; should the renewal fail, the next login tries again, and the last one says so.
    result.catch(() => undefined)
    return kept.credentials
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** What the SDK's SSO provider says of a session that is over; the service itself says it of one that was revoked. */
const SSO_IS_OVER = /\bSSO session\b|aws sso login|UnauthorizedException: Session token not found/

/** How shells say that there is no such program; the group is its name. */
const NO_SUCH_PROGRAM =
  /^\S*sh: (?:(?:line )?\d+: )?(.+): (?:not found|command not found|No such file or directory)$|^'(.+)' is not recognized as an internal/m

/** What the AWS SDK threw, as one of ours. Only the first line: helpers may print more than is theirs to show. */
export function explainCredentialsError(error: unknown, profile: string | undefined): ProxyError {
  if (error instanceof ProxyError) return error
  const message = messageOf(error).split('\n', 1)[0]!.slice(0, 200)
  const ofProfile = profile ? ` (profile ${profile})` : ''
  if (SSO_IS_OVER.test(message)) {
    const values = { ssoLogin: profile ? `aws sso login --profile ${profile}` : 'aws sso login' }
    const what = `the AWS SSO session${ofProfile} has expired`
    return new ProxyError('CREDENTIALS_SSO_EXPIRED', what, { cause: error, hintValues: values })
  }
  if (/from any providers/.test(message)) {
    return new ProxyError('CREDENTIALS_MISSING', `no AWS credentials found${ofProfile}`, { cause: error })
  }
  const missing = message.startsWith('Command failed:') ? NO_SUCH_PROGRAM.exec(messageOf(error)) : null
  if (missing) {
    const what = `the program of credential_process${ofProfile} does not exist: ${(missing[1] ?? missing[2])!.slice(0, 200)}`
    return new ProxyError('CREDENTIALS_PROGRAM_MISSING', what, { cause: error })
  }
  // Behind this stands the whole command line, which may hold a password.
  const why = message.startsWith('Command failed:') ? 'credential_process failed' : message
  return new ProxyError('CREDENTIALS_FAILED', `AWS credentials${ofProfile}: ${why}`, { cause: error })
}
