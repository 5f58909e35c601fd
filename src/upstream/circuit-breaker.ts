/**
 * Stops logins for a moment while they all fail for the same lasting reason. There is a circuit for the endpoint and one for
 * each database user. Each is closed, open (logins fail with the last error), or half-open (one login probes).
 */
import { CLOCK_STEP_MS, type Clock, monotonicClock, wallClockOffset } from '../clock.ts'
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError } from '../errors.ts'
import { MAX_KEPT_NAME_LENGTH } from '../protocol/packets.ts'

/** Equal failures without a success between them that open a circuit. */
export const FAILURE_THRESHOLD = 5

/** Failures further apart than this do not add up. */
const FAILURE_WINDOW_MS = 10_000

/** How long a circuit stays open: at first, and at most. Each failed probe doubles the time. */
export const MIN_OPEN_MS = 1_000
export const MAX_OPEN_MS = 10_000

/** After this time without an outcome, the next login may probe too. */
const PROBE_TIMEOUT_MS = 1_000

/** Circuits that are kept: clients choose the names of users. */
const MAX_CIRCUITS = 1_000

/**
 * Reasons that every login of the endpoint meets, that last, and that cost the database or AWS something. A TCP connection
 * that is refused, silent or closed costs nothing; and after a restart or failover the first login must find the database.
 */
const ENDPOINT_ERRORS: ReadonlySet<ErrorCode> = new Set([
  'UPSTREAM_REFUSED_CONNECTION',
  'UPSTREAM_NOT_MYSQL',
  'UPSTREAM_TOO_OLD',
  'TLS_NOT_OFFERED',
  'TLS_PLAINTEXT_INJECTED',
  'TLS_WRONG_NAME',
  'TLS_UNKNOWN_CA',
  'TLS_EXPIRED',
  'TLS_FAILED',
  // A company's proxy may lock an account after some wrong passwords.
  'FORWARD_PROXY_AUTHENTICATION',
])

/**
 * The same for credentials. Credentials that arrive close the circuit at once: a lookup may take longer than a login waits
 * (CREDENTIALS_TIMEOUT), and goes on.
 */
const CREDENTIALS_ERRORS: ReadonlySet<ErrorCode> = new Set([
  'CREDENTIALS_MISSING',
  'CREDENTIALS_PROFILE_MISSING',
  'CREDENTIALS_PROGRAM_MISSING',
  'CREDENTIALS_SSO_EXPIRED',
  'CREDENTIALS_FAILED',
  'CREDENTIALS_TIMEOUT',
  'CREDENTIALS_UNREACHABLE',
  'CREDENTIALS_CERTIFICATE_INVALID',
  'CREDENTIALS_ROLES_ANYWHERE',
  'CLOCK_SKEW',
  'AWS_TLS_UNTRUSTED',
  'AWS_ENVIRONMENT_INVALID',
])

/**
 * Server errors that depend on the database user alone. Others may depend on what one client sent: its database (1044, 1049),
 * character set (1115, 1273), variables (1193, 1231) or flags (1043, 1251, 1862). They must not stop anybody else.
 * https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html, https://mariadb.com/kb/en/mariadb-error-codes/
 */
const USER_ERRNOS: ReadonlySet<number> = new Set([
  1040, // ER_CON_COUNT_ERROR
  1045, // ER_ACCESS_DENIED_ERROR
  1129, // ER_HOST_IS_BLOCKED
  1130, // ER_HOST_NOT_PRIVILEGED
  1203, // ER_TOO_MANY_USER_CONNECTIONS
  1226, // ER_USER_LIMIT_REACHED
  1524, // ER_PLUGIN_IS_NOT_LOADED
  1698, // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
  3118, // ER_ACCOUNT_HAS_BEEN_LOCKED
  3159, // ER_SECURE_TRANSPORT_REQUIRED
  3955, // ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK
  4150, // MariaDB's ER_USER_IS_BLOCKED
  4151, // MariaDB's ER_ACCOUNT_HAS_BEEN_LOCKED
])

/** `login` is any object that stands for one login: the breaker knows by it who probes. */
export interface CircuitBreaker {
  /** @throws the error of the last logins while a circuit is open. @param user undefined before it is known */
  throwIfOpen(user: string | undefined, login: object): void
  succeeded(user: string): void
  /** There are credentials: if only they were missing, logins go on. */
  credentialsArrived(): void
  failed(error: ProxyError, user: string | undefined, login: object): void
  /** Forgets all failures, so that the next login is tried: the network has changed. */
  reset(): void
}

interface Circuit {
  error: ProxyError
  failures: number
  lastFailure: number
  /** how long the circuit is open in this round; 0 while it is closed */
  openMs: number
  /** until when logins fail: those before a probe, and those beside one */
  openUntil: number
  /** the login that probes */
  probe: object | undefined
  /** wallClockOffset() at the last failure */
  wallOffset: number
}

/** The key of the endpoint's own circuit: no database user has this name. */
const ENDPOINT = ''

/** @param enabled false: every login goes on */
export function createCircuitBreaker(
  enabled: boolean,
  clock: Clock = monotonicClock,
  wallOffset: () => number = wallClockOffset,
): CircuitBreaker {
  /** by database user, or ENDPOINT */
  const circuits = new Map<string, Circuit>()

  const check = (key: string, login: object) => {
    const circuit = circuits.get(key)
    if (!circuit?.openMs || circuit.probe === login) return
    const now = clock.now()
    if (isForgotten(circuit, now)) return
    // The failures may be those of a wrong clock, because tokens contain the time: try at once.
    if (Math.abs(wallOffset() - circuit.wallOffset) > CLOCK_STEP_MS) {
      circuits.delete(key)
      return
    }
    const left = circuit.openUntil - now
    if (left > 0) throw openError(circuit.error, left)
    circuit.probe = login
    circuit.openUntil = now + PROBE_TIMEOUT_MS
  }

  /** The probe failed for a reason of that login alone: the next login probes. */
  const releaseProbe = (key: string, login: object) => {
    const circuit = circuits.get(key)
    if (circuit?.probe === login) Object.assign(circuit, { probe: undefined, openUntil: clock.now() })
  }

  return {
    throwIfOpen(user, login) {
      check(ENDPOINT, login)
      if (user !== undefined) check(user, login)
    },
    succeeded(user) {
      circuits.delete(ENDPOINT)
      circuits.delete(user)
    },
    credentialsArrived() {
      const circuit = circuits.get(ENDPOINT)
      if (circuit && CREDENTIALS_ERRORS.has(circuit.error.code)) circuits.delete(ENDPOINT)
    },
    failed(error, user, login) {
      if (!enabled) return
      const key = error.fromOpenCircuit ? undefined : circuitOf(error, user)
      for (const other of [ENDPOINT, user]) if (other !== undefined && other !== key) releaseProbe(other, login)
      // A server that answers the login has TLS, and we had a token for it.
      if (isAnswerToLogin(error) && !error.fromOpenCircuit) circuits.delete(ENDPOINT)
      if (key === undefined) return

      const now = clock.now()
      let circuit = circuits.get(key)
      if (!circuit || isForgotten(circuit, now) || !isSame(circuit.error, error)) {
        circuit = { error, failures: 0, lastFailure: now, openMs: 0, openUntil: 0, probe: undefined, wallOffset: 0 }
        circuits.delete(key)
        if (circuits.size >= MAX_CIRCUITS) circuits.delete(circuits.keys().next().value!)
        circuits.set(key, circuit)
      }
      circuit.failures++
      circuit.lastFailure = now
      circuit.wallOffset = wallOffset()
      // Logins that started before the circuit opened do not keep it open for longer.
      const startedBefore = circuit.openMs > 0 && circuit.probe !== login
      if (circuit.failures < FAILURE_THRESHOLD || startedBefore) return
      circuit.probe = undefined
      circuit.openMs = Math.min(circuit.openMs * 2 || MIN_OPEN_MS, MAX_OPEN_MS)
      circuit.openUntil = now + circuit.openMs
    },
    reset() {
      circuits.clear()
    },
  }
}

/** The circuit that a failure counts for; undefined if it may depend on this one client. */
function circuitOf(error: ProxyError, user: string | undefined): string | undefined {
  if (ENDPOINT_ERRORS.has(error.code) || CREDENTIALS_ERRORS.has(error.code)) return ENDPOINT
  if (user === undefined || user.length > MAX_KEPT_NAME_LENGTH) return undefined
  if (error.code === 'AUTH_PLUGIN_UNEXPECTED') return user
  const isOfUser = error.code === 'UPSTREAM_REFUSED_LOGIN' && USER_ERRNOS.has(error.serverError?.errno ?? 0)
  return isOfUser ? user : undefined
}

function isAnswerToLogin({ code }: ProxyError): boolean {
  return code === 'UPSTREAM_REFUSED_LOGIN' || code === 'AUTH_PLUGIN_UNEXPECTED'
}

function isForgotten({ lastFailure, openMs }: Circuit, now: number): boolean {
  return now - lastFailure > FAILURE_WINDOW_MS + openMs
}

function isSame(left: ProxyError, right: ProxyError): boolean {
  return left.code === right.code && left.serverError?.errno === right.serverError?.errno
}

/** The error of the last logins, for one that was not tried. */
function openError(error: ProxyError, left: number): ProxyError {
  const { code, message, hint, clientMessage, clientHint, hintValues, serverError } = error
  const note = ` (not tried: recent logins failed like this; the next attempt is in ${Math.ceil(left / 1_000)} s)`
  const details = serverError && { serverError: { ...serverError, message: serverError.message + note } }
  return new ProxyError(code, message + note, {
    hint,
    clientMessage: clientMessage && clientMessage + note,
    clientHint,
    hintValues: { ...hintValues },
    fromOpenCircuit: true,
    ...details,
  })
}
