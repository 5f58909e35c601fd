/**
 * What may be shown of foreign texts: of errors of the AWS SDK, which repeat what an endpoint answered, and of the output of
 * helper programs. Any of them may contain a secret.
 */
import { type ProxyError, systemCode } from '../errors.ts'

/**
 * The first line that credential_process wrote to stderr, redacted; undefined if it wrote nothing. The first line of the
 * SDK's message is the command line, which may contain a password.
 */
export function stderrOf(error: ProxyError): string | undefined {
  if (!(error.cause instanceof Error) || !error.cause.message.startsWith('Command failed:')) return undefined
  const line = error.cause.message
    .split('\n')
    .slice(1)
    .map(text => text.trim())
    .find(text => text !== '')
  return line === undefined ? undefined : redact(line).slice(0, 200)
}

const CALLED_SECRET = '(?:secret|token|password|passphrase|signature|key)[\\w-]*'

/** Replaces by *** what is named like a secret, and what looks like a key. */
export function redact(text: string): string {
  return text
    .replace(new RegExp(`(${CALLED_SECRET}["']?\\s*[=:]\\s*["']?)[^\\s"',&]+`, 'gi'), '$1***')
    .replace(new RegExp(`(${CALLED_SECRET}["']?\\s+["']?)(?=\\S*\\d)[^\\s"']+`, 'gi'), '$1***')
    .replace(/[A-Za-z0-9+/=_-]{20,}/g, run => (looksLikeKey(run) ? '***' : run))
}

/** Keys mix upper case, lower case and digits. Paths do too, but not within one long part. */
function looksLikeKey(run: string): boolean {
  const parts = run.startsWith('/') ? run.split('/').filter(part => part.length >= 16) : [run]
  return parts.some(part => /[A-Z]/.test(part) && /[a-z]/.test(part) && /\d/.test(part))
}

/** A name of a profile, a session, a field or an action: short, and not like a key. */
const NAME = "[\\w .@:'/=+-]{1,128}?"

/** Messages of the AWS SDK and of AWS that contain only fixed words and names. */
const HARMLESS = [
  'The IP address NAME is not .{0,150}',
  'Target groups? NAME not found',
  // of Node.js, with an address
  '(?:connect|read|write|getaddrinfo) E[A-Z_]{2,20}(?: [\\w.:-]{1,128})?',
  'Profile NAME (?:credential_process (?:returned (?:invalid credentials|invalid JSON|expired credentials)|did not return Version 1)|could not be found in shared credentials file|was not found|requires multi-factor authentication, but no MFA code callback was provided|is not configured with SSO credentials|does not contain login_session|did not contain credential_process)\\.',
  'Could not resolve credentials using profile: \\[NAME\\] in configuration/credentials file\\(s\\)\\.',
  '(?:SSO|Sso) session NAME (?:could not be found in shared credentials file|is missing required property NAME)\\.?',
  'Unsupported credential source in profile NAME\\. Got NAME, .{0,100}',
  'Profile is configured with invalid SSO credentials\\. Required parameters .{0,200}',
  'Detected a cycle attempting to resolve credentials for profile.{0,200}',
  'Conflicting SSO (?:start_url|region).{0,200}',
  'Server responded with status: \\d{3}',
  'Invalid response received from instance metadata service\\.',
  '(?:Error response received|TimeoutError) from instance metadata service',
  'Unable to connect to instance metadata service',
  'HTTP credential provider response not of the required format, an object matching: .{0,200}',
  "(?:ENOENT|EACCES): [a-z ,]{1,60}, open '?NAME'?",
  'URL not accepted\\. It must either be HTTPS or match one of the following:',
  "Unable to refresh credentials due to insufficient permissions\\. You may be missing permission for the 'CreateOAuth2Token' action\\.",
  'The container metadata credential provider cannot be used unless.{0,100}',
  'EC2 Instance Metadata Service access disabled',
  'Web identity configuration not specified',
  'SSO returns an invalid temporary credential\\.',
  'User: NAME is not authorized to perform: NAME(?: on resource: NAME)?(?: because NAME)?',
  'Not authorized to perform sts:AssumeRoleWithWebIdentity',
  'The security token included in the request is (?:invalid|expired)\\.?',
  'Rate exceeded',
  'MultiFactorAuthentication failed with invalid MFA one time pass code\\.?',
  'MultiFactorAuthentication failed, unable to validate MFA code\\..{0,100}',
].map(text => new RegExp(`^${text.replaceAll('NAME', NAME)}$`))

const MAX_CHARACTERS = 200

/**
 * What may be shown of a foreign error: its message if that is known to be harmless, else its name, system code and HTTP
 * status.
 */
export function harmless(error: unknown): string {
  const { name, message } = error instanceof Error ? error : new Error(String(error))
  // Some providers keep an error only as text, with its name in front.
  const text = message
    .split('\n', 1)[0]!
    .trim()
    .replace(/^(?:\w*Error: )+/, '')
    .slice(0, MAX_CHARACTERS)
  // It goes into a sentence of our own.
  if (HARMLESS.some(known => known.test(text))) return redact(text).replace(/[.:]$/, '')
  const { httpStatusCode } = (error as { $metadata?: { httpStatusCode?: unknown } } | undefined)?.$metadata ?? {}
  const facts = [
    /^[A-Z][A-Za-z]{1,60}$/.test(name) && name !== 'Error' ? name : '',
    /^[A-Z][A-Z0-9_]{1,40}$/.test(systemCode(error)) ? systemCode(error) : '',
    typeof httpStatusCode === 'number' ? `HTTP ${httpStatusCode}` : '',
  ].filter(fact => fact !== '')
  return facts.join(', ') || 'no details, because the message could contain a secret'
}
