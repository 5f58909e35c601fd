/** What the errors of credential providers mean. Their texts may repeat what a helper or an endpoint answered: see redact.ts. */
import { ProxyError, systemCode } from '../errors.ts'
import { NoCredentials } from './credential-chain.ts'
import { readProfileNames } from './profiles.ts'
import { harmless, redact } from './redact.ts'

/** The failure of a call that a provider made. Providers keep only its text, or replace it. */
export interface CallFailure {
  clientName: string
  error: unknown
}

/** A logger for providers and their clients: it prints nothing, and keeps the last failure. */
export function createListener() {
  const ignore = () => {}
  const listener = {
    failure: undefined as CallFailure | undefined,
    logger: {
      ...{ trace: ignore, debug: ignore, info: ignore, warn: ignore },
      error(event?: unknown) {
        const { clientName, error } = Object(event) as Partial<CallFailure>
        if (error !== undefined) listener.failure = { clientName: String(clientName), error }
      },
    },
  }
  return listener
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The SDK's SSO provider reports expired sessions so, and the service itself those that were revoked. */
const SSO_EXPIRED = /\bSSO session\b|aws sso login|UnauthorizedException: Session token not found/

/** The same of `aws login`. */
const LOGIN_EXPIRED = /please re-?authenticate|^Failed to load (?:a token for session|token from) /i

/** How shells report that a program does not exist. The group is its name. */
const NO_SUCH_PROGRAM =
  /^\S*sh: (?:(?:line )?\d+: )?(.+): (?:not found|command not found|No such file or directory)$|^'(.+)' is not recognized as an internal/m

const NO_SUCH_PROFILE =
  /^Could not resolve credentials using profile: \[(.+)\]|^Profile '?(.+?)'? (?:could not be found|was not found)/

/** The ProxyError for what the AWS SDK threw. @param failure of the last call of a provider */
export function explainCredentialsError(
  error: unknown,
  profile: string | undefined,
  failure?: CallFailure | undefined,
): ProxyError {
  if (error instanceof ProxyError) return error
  const message = messageOf(error).split('\n', 1)[0]!.slice(0, 200)
  const ofProfile = profile ? ` (profile ${profile})` : ''
  if (failure && isUnreachable(failure.error)) {
    const service = SERVICES[failure.clientName] ?? 'AWS'
    const what = `${service}${ofProfile} did not answer: ${harmless(failure.error)}`
    return new ProxyError('CREDENTIALS_UNREACHABLE', what, { cause: error, hintValues: { service } })
  }
  for (const [pattern, command, name] of [
    [LOGIN_EXPIRED, 'aws login', 'aws login'],
    [SSO_EXPIRED, 'mysql-iam-proxy login', 'AWS SSO'],
  ] as const) {
    if (!pattern.test(message)) continue
    const values = { ssoLogin: profile ? `${command} --profile ${profile}` : command }
    const what = `the ${name} session${ofProfile} has expired`
    return new ProxyError('CREDENTIALS_SSO_EXPIRED', what, { cause: error, hintValues: values })
  }
  if (error instanceof NoCredentials) return explainChain(error, profile)
  // The SDK's own chain, as users of the library may have it.
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

/** As explainCredentialsError, but for a profile that does not exist it names those that do. */
export async function explainFailedLookup(
  error: unknown,
  profile: string | undefined,
  failure: CallFailure | undefined,
): Promise<ProxyError> {
  const reason = error instanceof NoCredentials ? error.reason : error
  const match = NO_SUCH_PROFILE.exec(messageOf(reason))
  const name = match?.[1] ?? match?.[2]
  if (name !== undefined) {
    const { profiles, withoutPrefix } = await readProfileNames()
    if (!profiles.includes(name)) return noSuchProfile(name, profiles, withoutPrefix, error)
  }
  return explainCredentialsError(error, profile, failure)
}

const MAX_NAMES = 12

/** The error for a profile that does not exist, with the names of those that do. */
export function noSuchProfile(name: string, profiles: string[], withoutPrefix: string[], cause: unknown): ProxyError {
  const shown = profiles.slice(0, MAX_NAMES).map(redact).join(', ')
  const others =
    profiles.length === 0 ? 'there are none' : `there are ${shown}${profiles.length > MAX_NAMES ? ', …' : ''}`
  const prefix = withoutPrefix.includes(name) ? `. Write [profile ${name}] instead of [${name}] in the config file` : ''
  const what = `the AWS profile ${name} does not exist; ${others}${prefix}`
  return new ProxyError('CREDENTIALS_PROFILE_MISSING', what, { cause, hintValues: { profile: name } })
}

/** No provider has credentials, but one of them may have tried. */
function explainChain(chain: NoCredentials, profile: string | undefined): ProxyError {
  const { reason } = chain
  if (reason === undefined) return new ProxyError('CREDENTIALS_MISSING', 'no AWS credentials found', { cause: chain })
  const message = messageOf(reason)
  if (!/instance metadata/i.test(message)) {
    const explained = explainCredentialsError(reason, profile)
    const isOfContainer = profile === undefined && explained.code === 'CREDENTIALS_FAILED'
    if (!isOfContainer) return explained
    const what = `AWS credentials of the container: ${harmless(reason)}`
    return new ProxyError('CREDENTIALS_FAILED', what, { cause: reason })
  }
  const { statusCode } = reason as { statusCode?: number }
  if (statusCode === 404) {
    const what = 'no AWS credentials found: instance metadata answers that this machine has no role (HTTP 404)'
    return new ProxyError('CREDENTIALS_MISSING', what, { cause: reason })
  }
  if (statusCode !== undefined) {
    const what = `no AWS credentials found: instance metadata refused the request (HTTP ${statusCode})`
    return new ProxyError('CREDENTIALS_FAILED', what, { cause: reason })
  }
  if (/^(?:TimeoutError|Unable to connect)/.test(message)) {
    const what = 'no AWS credentials found, and instance metadata does not answer'
    return new ProxyError('CREDENTIALS_MISSING', what, { cause: reason })
  }
  return new ProxyError('CREDENTIALS_FAILED', `AWS credentials: ${harmless(reason)}`, { cause: reason })
}

/** What a person calls the services behind the SDK's clients. */
const SERVICES: Readonly<Record<string, string>> = {
  SSOClient: 'IAM Identity Center',
  SSOOIDCClient: 'IAM Identity Center',
  SigninClient: 'AWS sign-in',
  STSClient: 'AWS STS',
}

const NETWORK_CODES =
  /^(?:ECONNREFUSED|ECONNRESET|ECONNABORTED|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EPROTO|ERR_TLS_.*|ERR_SSL_.*|CERT_.*|.*_CERT_.*|.*SELF_SIGNED.*)$/

/** Whether a call got no answer, or a failure of the server. */
function isUnreachable(error: unknown): boolean {
  if (error instanceof ProxyError) return false
  const { name, $metadata } = Object(error) as { name?: string; $metadata?: { httpStatusCode?: number } }
  if (name === 'TimeoutError' || NETWORK_CODES.test(systemCode(error))) return true
  return ($metadata?.httpStatusCode ?? 0) >= 500
}
