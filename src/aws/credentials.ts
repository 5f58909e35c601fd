/** AWS credentials: where they come from, how long they are cached, and what their errors mean. */
import { ProxyError } from '../errors.ts'
import type { Credentials, CredentialsProvider } from './credential-types.ts'
import { trackHelpers } from './helper-processes.ts'
import { createAwsAgent } from './https-agent.ts'
import { harmless, redact } from './redact.ts'
import type { RolesAnywhereOptions } from './roles-anywhere-options.ts'

export type { Credentials, CredentialsProvider } from './credential-types.ts'

/** Credentials are renewed in the background this long before they expire. */
const RENEW_BEFORE_MS = 5 * 60_000

/** How long credentials without an expiry are cached. Other programs may write new ones into ~/.aws/credentials. */
const KEEP_WITHOUT_EXPIRY_MS = 60_000

/** Later logins start a new lookup if the pending one takes longer than this. */
const LOOKUP_TIMEOUT_MS = 60_000

/** Where credentials come from; without `profile` and `rolesAnywhere` from the whole chain. */
export interface CredentialsSource {
  /** of the STS calls for roles */
  region: string
  profile?: string | undefined
  rolesAnywhere?: RolesAnywhereOptions | undefined
}

/**
 * The credentials to sign with: only from `profile` if it is given, else from the whole chain of the AWS SDK (environment,
 * AWS_PROFILE, SSO, credential_process, web identity, ECS/EKS containers, instance metadata).
 * https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
 */
export function createCredentials({ region, profile, rolesAnywhere }: CredentialsSource): CredentialsProvider {
  if (rolesAnywhere) {
    return cacheUntilExpiry(async () => {
      const { fromRolesAnywhere } = await import('./roles-anywhere.ts')
      return await fromRolesAnywhere(rolesAnywhere)
    })
  }
  return cacheUntilExpiry(async () => {
    const { fromIni, fromNodeProviderChain } = await import('@aws-sdk/credential-providers')
    const agent = createAwsAgent({ profile })
    const requestHandler = { httpsAgent: agent }
    const options = {
      // For the STS calls of roles. SSO takes the region of its profile. Some providers pass on only one of both.
      parentClientConfig: { region, requestHandler },
      clientConfig: { requestHandler },
      // Files in ~/.aws may change while the proxy runs.
      ignoreCache: true,
    }
    const named = profile ?? process.env.AWS_PROFILE
    try {
      const provider = profile ? fromIni({ profile, ...options }) : fromNodeProviderChain(options)
      return await provider()
    } catch (error) {
      const reason = profile ? error : await profileReason(error, fromIni(options))
      // The providers keep only the text of an error, or none.
      throw agent.problem ?? explainCredentialsError(reason, named)
    } finally {
      agent.destroy()
    }
  })
}

/** The chain only reports that no provider has credentials. The error of a profile that exists but fails says more. */
async function profileReason(error: unknown, profileProvider: CredentialsProvider): Promise<unknown> {
  return profileProvider().then(
    () => error,
    (reason: unknown) => (messageOf(reason).startsWith('Could not resolve credentials using profile') ? error : reason),
  )
}

interface Cached {
  credentials: Credentials
  /** performance.now() when they arrived */
  arrived: number
  /** milliseconds that they had left then; undefined without an expiry */
  lifetime: number | undefined
}

/**
 * Milliseconds until `cached` must not be used any more. The wall clock may have stepped since they arrived, in either
 * direction: the shorter of both times counts, so that a step never keeps them too long.
 */
function remaining({ credentials, arrived, lifetime }: Cached): number {
  const age = performance.now() - arrived
  if (!credentials.expiration || lifetime === undefined) return KEEP_WITHOUT_EXPIRY_MS + RENEW_BEFORE_MS - age
  return Math.min(credentials.expiration.getTime() - Date.now(), lifetime - age)
}

/** Calls `provider` once for all who wait, and caches the result until shortly before it expires. */
export function cacheUntilExpiry(provider: CredentialsProvider): CredentialsProvider {
  let cached: Cached | undefined
  let pending: Promise<Credentials> | undefined

  function lookUp(): Promise<Credentials> {
    const helpers = trackHelpers()
    // An async function, so that a provider that throws also rejects.
    const result = helpers.during(async () => await provider())
    pending = result
    const forget = () => {
      if (pending === result) pending = undefined
    }
    // A helper that hangs must not block all later logins, and must not stay.
    const giveUp = setTimeout(() => {
      forget()
      helpers.kill()
    }, LOOKUP_TIMEOUT_MS).unref()
    const onDone = () => {
      clearTimeout(giveUp)
      forget()
    }
    result.then(credentials => {
      // A lookup that was given up may be older than the cached one.
      const lifetime = credentials.expiration && credentials.expiration.getTime() - Date.now()
      if (pending === result) cached = { credentials, arrived: performance.now(), lifetime }
      onDone()
    }, onDone)
    return result
  }

  return async () => {
    const left = cached ? remaining(cached) : 0
    if (cached && left > RENEW_BEFORE_MS) return cached.credentials
    const result = pending ?? lookUp()
    if (!cached || left <= 0) return await result
    // Still valid for this login. If the renewal fails, the next login tries again.
    result.catch(() => undefined)
    return cached.credentials
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The SDK's SSO provider reports expired sessions so, and the service itself those that were revoked. */
const SSO_EXPIRED = /\bSSO session\b|aws sso login|UnauthorizedException: Session token not found/

/** How shells report that a program does not exist. The group is its name. */
const NO_SUCH_PROGRAM =
  /^\S*sh: (?:(?:line )?\d+: )?(.+): (?:not found|command not found|No such file or directory)$|^'(.+)' is not recognized as an internal/m

/** The ProxyError for what the AWS SDK threw. Its message may contain what a helper or an endpoint answered: see redact.ts. */
export function explainCredentialsError(error: unknown, profile: string | undefined): ProxyError {
  if (error instanceof ProxyError) return error
  const message = messageOf(error).split('\n', 1)[0]!.slice(0, 200)
  const ofProfile = profile ? ` (profile ${profile})` : ''
  if (SSO_EXPIRED.test(message)) {
    const values = { ssoLogin: profile ? `aws sso login --profile ${profile}` : 'aws sso login' }
    const what = `the AWS SSO session${ofProfile} has expired`
    return new ProxyError('CREDENTIALS_SSO_EXPIRED', what, { cause: error, hintValues: values })
  }
  if (/from any providers/.test(message)) {
    return new ProxyError('CREDENTIALS_MISSING', `no AWS credentials found${ofProfile}`, { cause: error })
  }
  const missing = message.startsWith('Command failed:') ? NO_SUCH_PROGRAM.exec(messageOf(error)) : null
  if (missing) {
    const what = `the program of credential_process${ofProfile} does not exist: ${redact((missing[1] ?? missing[2])!).slice(0, 200)}`
    return new ProxyError('CREDENTIALS_PROGRAM_MISSING', what, { cause: error })
  }
  const why = message.startsWith('Command failed:') ? 'credential_process failed' : harmless(error)
  return new ProxyError('CREDENTIALS_FAILED', `AWS credentials${ofProfile}: ${why}`, { cause: error })
}
