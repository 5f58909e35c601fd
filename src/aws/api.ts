/** What all calls to AWS APIs share: limits, and the meaning of their errors. */
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError } from '../errors.ts'
import type { Credentials } from './credentials.ts'
import { harmless } from './redact.ts'

/** Settings for a client that gives up soon: from a private subnet the API is often unreachable. */
export function clientSettings(region: string, credentials: () => Promise<Credentials>) {
  return { region, credentials, maxAttempts: 2, requestHandler: { connectionTimeout: 3_000, requestTimeout: 8_000 } }
}

/** The codes of one caller for what can go wrong; credentials that AWS rejects are CREDENTIALS_REJECTED for all. */
export interface AwsErrorCodes {
  /** the IAM policy does not allow the action */
  denied: ErrorCode
  notFound: ErrorCode
  /** everything else: unreachable, throttled, refused */
  failed: ErrorCode
}

const INSPECTION: AwsErrorCodes = {
  denied: 'AWS_ACCESS_DENIED',
  notFound: 'AWS_NOT_FOUND',
  failed: 'AWS_UNREACHABLE',
}

const DENIED = /^(AccessDenied|UnauthorizedOperation|AuthorizationError)/
const REJECTED =
  /^(InvalidClientTokenId|UnrecognizedClient|ExpiredToken|SignatureDoesNotMatch|InvalidAccessKeyId|IncompleteSignature|AuthFailure)/
const NOT_FOUND = /NotFound/

/**
 * The ProxyError for what a client of the AWS SDK threw.
 * @param action as IAM policies name it, for example `rds:DescribeDBInstances`; also a value for hints
 */
export function explainAwsError(error: unknown, action: string, codes: AwsErrorCodes = INSPECTION): ProxyError {
  if (error instanceof ProxyError) return error
  const { name } = error instanceof Error ? error : new Error(String(error))
  const { httpStatusCode, attempts = 1 } = metadataOf(error)
  const reason = harmless(error)
  const tries = attempts > 1 ? ` (after ${attempts} attempts)` : ''
  const what = `${action} failed: ${reason}${tries}`
  const details = { cause: error, hintValues: { action } }
  if (REJECTED.test(name)) return new ProxyError('CREDENTIALS_REJECTED', what, details)
  if (NOT_FOUND.test(name)) return new ProxyError(codes.notFound, what, details)
  if (DENIED.test(name) || httpStatusCode === 403) return new ProxyError(codes.denied, what, details)
  return new ProxyError(codes.failed, what, details)
}

function metadataOf(error: unknown): { httpStatusCode?: number; attempts?: number } {
  return (error as { $metadata?: { httpStatusCode?: number; attempts?: number } } | undefined)?.$metadata ?? {}
}

/** The result of `send`, or undefined if AWS does not know what it asks for. @throws ProxyError AWS_…, CREDENTIALS_REJECTED */
export async function callAws<Result>(action: string, send: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await send()
  } catch (error) {
    const explained = explainAwsError(error, action)
    if (explained.code === 'AWS_NOT_FOUND') return undefined
    throw explained
  }
}
