/** What all calls to AWS APIs share: limits, and the meaning of their errors. */
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError, systemCode } from '../errors.ts'
import type { Credentials } from './credentials.ts'
import { type AwsAgent, createAwsAgent } from './https-agent.ts'
import { harmless } from './redact.ts'

/**
 * Settings for a client that gives up soon: from a private subnet the API is often unreachable.
 * @param agent makes its connections, and knows why they fail
 */
export function clientSettings(
  region: string,
  credentials: () => Promise<Credentials>,
  agent: AwsAgent = createAwsAgent(),
) {
  const requestHandler = {
    httpsAgent: agent,
    // until the headers of the answer
    requestTimeout: 8_000,
    throwOnRequestTimeout: true,
    // without a byte, also in the body
    socketTimeout: 8_000,
  }
  return { region, credentials, maxAttempts: 2, requestHandler }
}

/**
 * The codes of one caller for what can go wrong. All callers share CREDENTIALS_REJECTED, AWS_THROTTLED and AWS_CALL_REFUSED.
 */
export interface AwsErrorCodes {
  /** the IAM policy does not allow the action */
  denied: ErrorCode
  notFound: ErrorCode
  /** everything else: AWS is unreachable, did not answer in time, had an error, or something else answered */
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
/** https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/CommonErrors.html and those of other services */
const THROTTLED = /Throttl|^(RequestLimitExceeded|TooManyRequests|SlowDown|BandwidthLimitExceeded)/

/**
 * The ProxyError for what a client of the AWS SDK threw.
 * @param action as IAM policies name it, for example `rds:DescribeDBInstances`; also a value for hints
 */
export function explainAwsError(error: unknown, action: string, codes: AwsErrorCodes = INSPECTION): ProxyError {
  if (error instanceof ProxyError) return error
  const { name } = error instanceof Error ? error : new Error(String(error))
  const { httpStatusCode, attempts = 1 } = metadataOf(error)
  const reason = httpStatusCode === 200 && name === 'Error' && systemCode(error) === '' ? NOT_OF_AWS : harmless(error)
  const tries = attempts > 1 ? ` (after ${attempts} attempts)` : ''
  const what = `${action} failed: ${reason}${tries}`
  const details = { cause: error, hintValues: { action } }
  if (REJECTED.test(name)) return new ProxyError('CREDENTIALS_REJECTED', what, details)
  if (NOT_FOUND.test(name)) return new ProxyError(codes.notFound, what, details)
  if (DENIED.test(name) || httpStatusCode === 403) return new ProxyError(codes.denied, what, details)
  if (THROTTLED.test(name) || httpStatusCode === 429) return new ProxyError('AWS_THROTTLED', what, details)
  const isRefused = httpStatusCode !== undefined && httpStatusCode >= 400 && httpStatusCode < 500
  if (isRefused) return new ProxyError('AWS_CALL_REFUSED', what, details)
  return new ProxyError(codes.failed, what, details)
}

/** For an answer that the SDK could not read, or that lacks what AWS always sends. */
const NOT_OF_AWS = 'the answer is not from AWS; a proxy or a login page may have sent it'

/**
 * The list in an answer of AWS. It is there even if it is empty; the SDK returns undefined if something else answered, such
 * as the login page of a network.
 * @throws ProxyError codes.failed
 */
export function listIn<Item>(list: Item[] | undefined, action: string, codes: AwsErrorCodes = INSPECTION): Item[] {
  if (list) return list
  throw new ProxyError(codes.failed, `${action} failed: ${NOT_OF_AWS}`, { hintValues: { action } })
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
