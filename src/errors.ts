/**
 * Everything that can go wrong, in one table: what the client is told, how loud the log is, what to do about it.
 * `{rds}`, `{dial}`, `{region}` and `{user}` in a hint stand for the endpoint's own values.
 */

import type { ERR_Packet } from './protocol/packets.ts'

export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

interface ErrorSpec {
  /** ERR_Packet error code: the server's own numbers (1xxx, 3xxx), or those of libmysqlclient (2xxx) where no server code fits */
  errno: number
  sqlState: string
  level: LogLevel
  /** exit code where the error ends a command */
  exitCode: number
  /** what a person does about it; one sentence */
  hint: string
}

const CONNECT = { errno: 2003, sqlState: 'HY000', level: 'error', exitCode: 4 } as const
const TLS = { errno: 2026, sqlState: 'HY000', level: 'error', exitCode: 5 } as const
const CREDENTIALS = { errno: 2061, sqlState: 'HY000', level: 'error', exitCode: 3 } as const
const CLIENT = { errno: 1043, sqlState: '08S01', level: 'info', exitCode: 1 } as const

const specs = {
  CONFIG_INVALID: {
    errno: 1105,
    sqlState: 'HY000',
    level: 'error',
    exitCode: 2,
    hint: 'Run mysql-iam-proxy --help for the options.',
  },
  LISTEN_FAILED: {
    errno: 1105,
    sqlState: 'HY000',
    level: 'error',
    exitCode: 6,
    hint: 'Choose another address with --listen, for example --listen 127.0.0.1:3307.',
  },
  INTERNAL: {
    errno: 1105,
    sqlState: 'HY000',
    level: 'error',
    exitCode: 70,
    hint: 'This is a bug in mysql-iam-proxy: please report it with the log line.',
  },

  DIAL_DNS: { ...CONNECT, errno: 2005, hint: 'Check the spelling of {dial} and that this machine resolves it.' },
  DIAL_REFUSED: {
    ...CONNECT,
    hint: 'Check the port, the NLB listener and that its target group has the present address of {rds}.',
  },
  DIAL_TIMEOUT: {
    ...CONNECT,
    hint: 'Check security groups, routes and the NLB: its targets must have the present address of {rds}.',
  },
  DIAL_FAILED: { ...CONNECT, hint: 'Check the network path from this machine to {dial}.' },

  UPSTREAM_TIMEOUT: {
    ...CONNECT,
    errno: 2013,
    hint: 'Check that {dial} leads to a MySQL port whose server is not overloaded.',
  },
  UPSTREAM_CLOSED: {
    ...CONNECT,
    errno: 2013,
    hint: 'Check the health of the NLB targets behind {dial} and the server log of {rds}.',
  },
  UPSTREAM_NOT_MYSQL: {
    ...CONNECT,
    errno: 2007,
    hint: 'Check that {dial} leads to the MySQL port of {rds} and not to another service.',
  },
  UPSTREAM_TOO_OLD: {
    ...CONNECT,
    errno: 2007,
    hint: 'IAM authentication needs RDS for MySQL 5.7 or newer, MariaDB 10.6 or newer, or Aurora MySQL 2 or newer.',
  },
  UPSTREAM_REFUSED_CONNECTION: {
    ...CONNECT,
    errno: 1130,
    hint: 'The server refused before login: look at its error log and its limits.',
  },
  UPSTREAM_REFUSED_LOGIN: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: 'The server refused the login: see its message.',
  },

  TLS_NOT_OFFERED: {
    ...TLS,
    hint: 'No token was sent. Check that {dial} leads to {rds} and that the server has TLS on.',
  },
  TLS_PLAINTEXT_INJECTED: {
    ...TLS,
    hint: 'No token was sent. Somebody on the path to {dial} may be tampering with the connection.',
  },
  TLS_WRONG_NAME: {
    ...TLS,
    hint: 'No token was sent. The NLB may have a stale target, or --rds-endpoint is not this database.',
  },
  TLS_UNKNOWN_CA: {
    ...TLS,
    hint: 'No token was sent. If the server really has a CA of its own, name its certificate with --ca.',
  },
  TLS_EXPIRED: {
    ...TLS,
    hint: 'No token was sent. Renew the server certificate in RDS, and check the clock of this machine.',
  },
  TLS_FAILED: { ...TLS, hint: 'No token was sent. Check that the server speaks TLS 1.2 or newer.' },

  AUTH_PLUGIN_UNEXPECTED: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: "The user is missing or was not made for IAM: CREATE USER '{user}' IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'.",
  },

  CREDENTIALS_MISSING: {
    ...CREDENTIALS,
    hint: 'Set AWS_PROFILE or --profile, run aws configure, or give this machine, task or pod an IAM role.',
  },
  CREDENTIALS_SSO_EXPIRED: { ...CREDENTIALS, hint: 'Run: {ssoLogin}' },
  CREDENTIALS_FAILED: {
    ...CREDENTIALS,
    hint: 'Check the profile in ~/.aws/config, with: aws sts get-caller-identity.',
  },
  CREDENTIALS_TIMEOUT: {
    ...CREDENTIALS,
    hint: 'Check the network path to AWS (SSO, STS, metadata) and how long credential_process takes.',
  },

  CLIENT_CLOSED: { ...CLIENT, hint: 'The client left before it had logged in.' },
  CLIENT_TIMEOUT: { ...CLIENT, hint: 'The client did not finish its login in time.' },
  CLIENT_MALFORMED: { ...CLIENT, hint: 'Connect with a MySQL client that speaks protocol 4.1 (2004) or newer.' },
  CLIENT_WANTS_TLS: {
    ...CLIENT,
    hint: 'Turn SSL off, or to preferred, in the client: TLS is between the proxy and the database.',
  },
  CHANGE_USER_COMPRESSED: {
    errno: 1235,
    sqlState: '42000',
    level: 'warn',
    exitCode: 1,
    hint: 'Turn compression off in the client, or let it open a new connection in place of changing the user.',
  },
  CLIENT_TLS_FAILED: {
    ...CLIENT,
    hint: 'Check that the client speaks TLS 1.2 or newer and trusts the certificate of --tls-cert.',
  },
  CLIENT_TLS_REQUIRED: {
    errno: 3159,
    sqlState: 'HY000',
    level: 'warn',
    exitCode: 1,
    hint: 'Turn SSL on in the client (ssl-mode REQUIRED, useSSL=true).',
  },
  CLIENT_ACCESS_DENIED: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: 'User and password are those of --local-user, or of local-users in the configuration file, not those of the database.',
  },
  CLIENT_SLOWED_DOWN: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: 'Mend the password in the client, then wait for its last attempts to end.',
  },
  CLIENT_NOT_ALLOWED: {
    errno: 1130,
    sqlState: 'HY000',
    level: 'warn',
    exitCode: 7,
    hint: 'Add the address of the client to --allow-from.',
  },
  TOO_MANY_CONNECTIONS: {
    errno: 1040,
    sqlState: '08004',
    level: 'warn',
    exitCode: 1,
    hint: 'Close connections that are not in use, or raise --max-connections.',
  },
  OUT_OF_FILES: {
    errno: 1040,
    sqlState: '08004',
    level: 'error',
    exitCode: 1,
    hint: 'Raise the limit of open files (ulimit -n, LimitNOFILE), two for each session, or lower --max-connections.',
  },
  LOGIN_QUEUE_FULL: {
    errno: 1203,
    sqlState: '42000',
    level: 'warn',
    exitCode: 1,
    hint: 'Let clients pool their connections and come back one after the other, or raise --max-logins-per-second (AWS advises fewer than 200).',
  },
  WAIT_TIMEOUT: {
    ...CONNECT,
    hint: 'Look at the log of the proxy, and whether --admin-listen or --listen are the same as there.',
  },
  PROXY_STOPPING: {
    errno: 1053,
    sqlState: '08S01',
    level: 'info',
    exitCode: 1,
    hint: 'Connect again, once it has been started again or to another one.',
  },
  SESSION_CLOSED: {
    errno: 1053,
    sqlState: '08S01',
    level: 'info',
    exitCode: 1,
    hint: 'Connect again; who closed it is in the log of mysql-iam-proxy.',
  },
  NOT_WRITER: {
    errno: 1290,
    sqlState: 'HY000',
    level: 'error',
    exitCode: 7,
    hint: 'After a failover: connect again once the NLB targets behind {dial} follow {rds}; or leave out --require-writer.',
  },
  CLIENT_NO_USER: {
    errno: 1045,
    sqlState: '28000',
    level: 'warn',
    exitCode: 7,
    hint: 'Name the database user in the client, or start mysql-iam-proxy with --user.',
  },
} satisfies Record<string, ErrorSpec>

export type ErrorCode = keyof typeof specs

/** The table above. */
export const ERRORS: Readonly<Record<ErrorCode, ErrorSpec>> = specs

/**
 * What to do about refusals that the server itself speaks, by their ERR_Packet error code: added to the server's message.
 * https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html
 */
export const SERVER_HINTS: Readonly<Record<number, string>> = {
  1040: 'The database behind {dial} has no connection left: raise max_connections or close some.',
  1045: "Check rds-db:connect in the IAM policy for user '{user}' (case matters), that IAM authentication is on, and region {region}.",
  1129: 'Run FLUSH HOSTS on the database, raise max_connect_errors, and see which health check or probe hits {dial}.',
  1130: 'Let the database user log in from this address (behind an NLB: the address of the NLB).',
  1524: 'The server lacks the plugin of this user: IAM authentication is off, or this is not an RDS server.',
  3118: 'Unlock the account: ALTER USER ... ACCOUNT UNLOCK.',
}

/** The one error type of this project: a stable code, and a message that says what happened with the names involved; never a secret. */
export class ProxyError extends Error {
  override name = 'ProxyError'
  readonly code: ErrorCode
  /** values for the hint beside the endpoint's own, for example `ssoLogin` */
  readonly values: Readonly<Record<string, string>>
  /** where the server itself refused, its own words: they reach the client as they are, with a hint behind them */
  readonly serverError: ERR_Packet | undefined
  /** whether this login was not tried, because those before it failed so */
  readonly paused: boolean

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, { cause: details.cause })
    this.code = code
    this.values = details.values ?? {}
    this.serverError = details.serverError
    this.paused = details.paused ?? false
  }
}

export interface ErrorDetails {
  cause?: unknown
  values?: Record<string, string>
  serverError?: ERR_Packet
  paused?: boolean
}

/** Any thrown value as a ProxyError; what is not one already is a bug, and is called INTERNAL. */
export function asProxyError(thrown: unknown): ProxyError {
  if (thrown instanceof ProxyError) return thrown
  return new ProxyError('INTERNAL', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown })
}

/** What a person does about `error`; `values` are those of the endpoint. '' where the server said it all. */
export function hintFor(error: ProxyError, values: Readonly<Record<string, string | undefined>>): string {
  const hint = error.serverError ? (SERVER_HINTS[error.serverError.errno] ?? '') : ERRORS[error.code].hint
  return fillHint(hint, { ...values, ...error.values })
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
function fillHint(hint: string, values: Readonly<Record<string, string | undefined>>): string {
  return hint.replace(/\{(\w+)\}/g, (_placeholder, name: string) => values[name] ?? `(${name})`)
}

/** The code of a system or TLS error ('ECONNREFUSED', 'CERT_HAS_EXPIRED'…), '' where there is none. */
export function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}
