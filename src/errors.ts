/**
 * Everything that can go wrong, in one table: what the client is told, how loud the log is, what to do about it.
 * `{rds}`, `{dial}`, `{region}` and `{user}` in a hint stand for the endpoint's own values.
 */

import { ERRORS, type ErrorCode, SERVER_ERRORS } from './error-codes.ts'
import type { ERR_Packet } from './protocol/packets.ts'

/** The one error type of this project: a stable code, and a message that says what happened with the names involved; never a secret. */
export class ProxyError extends Error {
  override name = 'ProxyError'
  readonly code: ErrorCode
  /** values for the hint beside the endpoint's own, for example `ssoLogin` */
  readonly hintValues: Readonly<Record<string, string>>
  /** where the server itself refused, its own words: they reach the client as they are, with a hint behind them */
  readonly serverError: ERR_Packet | undefined
  /** resolves when the client may be told */
  readonly delay: Promise<void> | undefined
  /** whether this login was not tried, because those before it failed so */
  readonly fromOpenCircuit: boolean

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, { cause: details.cause })
    this.code = code
    this.hintValues = details.hintValues ?? {}
    this.serverError = details.serverError
    this.delay = details.delay
    this.fromOpenCircuit = details.fromOpenCircuit ?? false
  }
}

export interface ErrorDetails {
  cause?: unknown
  hintValues?: Record<string, string>
  serverError?: ERR_Packet
  delay?: Promise<void>
  fromOpenCircuit?: boolean
}

/** Any thrown value as a ProxyError; what is not one already is a bug, and is called INTERNAL. */
export function asProxyError(thrown: unknown): ProxyError {
  if (thrown instanceof ProxyError) return thrown
  return new ProxyError('INTERNAL', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown })
}

/** What a person does about `error`; `values` are those of the endpoint. '' where the server said it all. */
export function hintFor(error: ProxyError, values: Readonly<Record<string, string | undefined>>): string {
  const hint = error.serverError ? (SERVER_ERRORS[error.serverError.errno]?.hint ?? '') : ERRORS[error.code].hint
  return fillHint(hint, { ...values, ...error.hintValues })
}

/** Clients cut what is longer, in bytes (MYSQL_ERRMSG_SIZE, less its NUL). */
const MAX_MESSAGE = 511

function cut(text: string, bytes: number): string {
  return Buffer.byteLength(text) <= bytes
    ? text
    : `${Buffer.from(text)
        .subarray(0, bytes - 6)
        .toString()}…`
}

/** The ERR_Packet that tells a client about `error`: what happened, then what to do. */
export function toERR_Packet(error: ProxyError, values: Readonly<Record<string, string | undefined>>): ERR_Packet {
  const hint = hintFor(error, values)
  if (error.serverError) {
    const { errno, sqlState, message } = error.serverError
    const tail = hint && ` (mysql-iam-proxy: ${hint})`
    return { errno, sqlState, message: cut(message, MAX_MESSAGE - Buffer.byteLength(tail)) + tail }
  }
  const { errno, sqlState } = ERRORS[error.code]
  const what = cut(`mysql-iam-proxy: ${error.message}`, MAX_MESSAGE - Buffer.byteLength(hint) - 2)
  return { errno, sqlState, message: `${what}. ${hint}` }
}

/** `hint` with its `{name}` placeholders filled from `values`; a name without a value stays, in round brackets. */
export function fillHint(hint: string, values: Readonly<Record<string, string | undefined>>): string {
  return hint.replace(/\{(\w+)\}/g, (_placeholder, name: string) => values[name] ?? `(${name})`)
}

/** The code of a system or TLS error ('ECONNREFUSED', 'CERT_HAS_EXPIRED'…), '' where there is none. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}
