/**
 * The error type of this project, and the ERR_Packet that a client gets for it. The tables are in error-codes.ts.
 * `{rds}`, `{dial}`, `{region}` and `{user}` in a hint stand for the values of the endpoint.
 */

import { ERRORS, type ErrorCode, FORWARD_HINTS, SERVER_ERRORS } from './error-codes.ts'
import { inLibraryWords, LIBRARY_HINTS } from './library-words.ts'
import type { ERR_Packet } from './protocol/packets.ts'

/**
 * The one error type of this project: a stable code, and a message that says what happened, with names but never a secret.
 * `cause` is the error that led to it, if there is one.
 */
export class ProxyError extends Error {
  override name = 'ProxyError'
  /** one of the rows of ERRORS; a host program may depend on it */
  readonly code: ErrorCode
  /** what to do about it, in the option names of the library; undefined if the message says it */
  readonly hint: string | undefined
  /** @internal the message for the client, if `message` is only for the log; undefined: `message` */
  readonly clientMessage: string | undefined
  /** @internal the hint for the client, if it has more in it than the log should repeat at each login; undefined: `hint` */
  readonly clientHint: string | undefined
  /** @internal values for the hint that the endpoint does not have, for example `ssoLogin` */
  readonly hintValues: Readonly<Record<string, string>>
  /** @internal the server's own error, if the server sent one: the client gets it unchanged, with a hint added */
  readonly serverError: ERR_Packet | undefined
  /** @internal if set, the client gets the error only after this resolves */
  readonly delay: Promise<void> | undefined
  /** @internal true if this login was not attempted because earlier ones failed with this error */
  readonly fromOpenCircuit: boolean

  /** For the tests of a host program: the proxy makes all others. */
  constructor(code: ErrorCode, message: string, details?: { cause?: unknown; hint?: string | undefined })
  /** @internal */
  constructor(code: ErrorCode, message: string, details?: ErrorDetails)
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    // Sentences are put together from it, and a foreign message may end with a full stop.
    super(message.replace(/\.+$/, ''), { cause: details.cause })
    this.code = code
    this.hint = details.hint
    this.clientMessage = details.clientMessage
    this.clientHint = details.clientHint
    this.hintValues = details.hintValues ?? {}
    this.serverError = details.serverError
    this.delay = details.delay
    this.fromOpenCircuit = details.fromOpenCircuit ?? false
  }
}

/** @internal All that a ProxyError may carry inside the proxy. */
export interface ErrorDetails {
  cause?: unknown
  hint?: string | undefined
  clientMessage?: string | undefined
  clientHint?: string | undefined
  hintValues?: Record<string, string>
  serverError?: ERR_Packet
  delay?: Promise<void>
  fromOpenCircuit?: boolean
}

/** Any thrown value as a ProxyError. Anything else is a bug and becomes INTERNAL. */
export function asProxyError(thrown: unknown): ProxyError {
  if (thrown instanceof ProxyError) return thrown
  return new ProxyError('INTERNAL', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown })
}

/** The values for hints outside an endpoint, in a program that uses the library. */
export const IN_LIBRARY = { library: 'yes' } as const

/** The same error with its hint, for a program that uses the library. Other values stay as they are. */
export function withHint(thrown: unknown): unknown {
  if (!(thrown instanceof ProxyError)) return thrown
  return Object.assign(thrown, { hint: hintFor(thrown, IN_LIBRARY) || undefined })
}

/** What to do about `error`, with the `values` of the endpoint; '' if the server's message says it all. */
export function hintFor(error: ProxyError, values: Readonly<Record<string, string | undefined>>): string {
  const ofForward = values['forward'] === undefined ? undefined : FORWARD_HINTS[error.serverError?.errno ?? error.code]
  const isOfLibrary = values['library'] !== undefined
  const ofCode = (isOfLibrary ? LIBRARY_HINTS[error.code] : undefined) ?? ERRORS[error.code].hint
  const ofTable = error.serverError ? SERVER_ERRORS[error.serverError.errno]?.hint : ofCode
  const filled = fillHint(error.hint ?? ofForward ?? ofTable ?? '', { ...values, ...error.hintValues })
  return isOfLibrary ? inLibraryWords(filled) : filled
}

/** Clients truncate longer messages (MYSQL_ERRMSG_SIZE, less its NUL). */
const MAX_MESSAGE_BYTES = 511

function cut(text: string, bytes: number): string {
  return Buffer.byteLength(text) <= bytes
    ? text
    : `${Buffer.from(text)
        .subarray(0, bytes - 6)
        .toString()}…`
}

/**
 * @internal
 * The ERR_Packet for `error`: what happened, then what to do.
 * @param session the id that the log and the status page have too; undefined for a client that got no session
 */
export function toERR_Packet(
  error: ProxyError,
  values: Readonly<Record<string, string | undefined>>,
  session?: string,
): ERR_Packet {
  const hint = error.clientHint ?? hintFor(error, values)
  const id = session === undefined ? '' : ` (session ${session})`
  if (error.serverError) {
    const { errno, sqlState, message } = error.serverError
    const tail = hint && ` (mysql-iam-proxy: ${hint})${id}`
    return { errno, sqlState, message: cut(message, MAX_MESSAGE_BYTES - Buffer.byteLength(tail)) + tail }
  }
  const { errno, sqlState } = ERRORS[error.code]
  const tail = `. ${hint}${id}`
  const what = cut(
    `mysql-iam-proxy: ${error.clientMessage ?? error.message}`,
    MAX_MESSAGE_BYTES - Buffer.byteLength(tail),
  )
  return { errno, sqlState, message: what + tail }
}

/** `hint` with its `{name}` placeholders filled from `values`. A name without a value becomes `(name)`. */
export function fillHint(hint: string, values: Readonly<Record<string, string | undefined>>): string {
  return hint.replace(/\{(\w+)\}/g, (_placeholder, name: string) => values[name] ?? `(${name})`)
}

/** The code of a system or TLS error ('ECONNREFUSED', 'CERT_HAS_EXPIRED'…), '' if it has none. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}
