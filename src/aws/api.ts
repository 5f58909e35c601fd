/** What the clients of the AWS API have in common here: limits, and what their errors mean. */
import { ProxyError, systemCode } from '../errors.ts'
import type { Credentials } from './credentials.ts'

/** Settings for a client that does not wait long: from a private subnet the API is often out of reach. */
export function clientSettings(region: string, credentials: () => Promise<Credentials>) {
  return { region, credentials, maxAttempts: 2, requestHandler: { connectionTimeout: 3_000, requestTimeout: 8_000 } }
}

const DENIED = /^(AccessDenied|UnauthorizedOperation|AuthorizationError)/
const REJECTED =
  /^(InvalidClientTokenId|UnrecognizedClient|ExpiredToken|SignatureDoesNotMatch|InvalidAccessKeyId|IncompleteSignature|AuthFailure)/

/** What a client of the SDK threw when it was to do `action`, such as `rds:DescribeDBInstances`. */
export function explainAwsError(error: unknown, action: string): ProxyError {
  if (error instanceof ProxyError) return error
  const name = error instanceof Error ? error.name : ''
  // The service's own words may hold ARNs, but no secret.
  const said = (error instanceof Error ? error.message : String(error)).split('\n', 1)[0]!.slice(0, 200)
  if (DENIED.test(name)) {
    return new ProxyError('AWS_ACCESS_DENIED', `these credentials may not do ${action}`, { cause: error })
  }
  if (REJECTED.test(name)) {
    return new ProxyError('CREDENTIALS_REJECTED', `AWS does not accept the credentials: ${name}`, { cause: error })
  }
  const why = hasAnswer(error) ? `${name}: ${said}` : systemCode(error) || name || said
  return new ProxyError('AWS_UNREACHABLE', `${action} failed (${why})`, { cause: error })
}

function hasAnswer(error: unknown): boolean {
  const metadata = (error as { $metadata?: { httpStatusCode?: number } } | undefined)?.$metadata
  return metadata?.httpStatusCode !== undefined
}

/** What `send` resolves with; undefined where there is no such thing. @throws ProxyError AWS_…, CREDENTIALS_REJECTED */
export async function ask<Answer>(action: string, send: () => Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await send()
  } catch (error) {
    if (error instanceof Error && /NotFound/.test(error.name)) return undefined
    throw explainAwsError(error, action)
  }
}
