/**
 * The answer to GET /api/status, which the status page shows. It has no secrets. Times are milliseconds of the Unix epoch
 * unless their comment says otherwise.
 */
import { formatHostPort } from '../endpoint.ts'
import { droppedLogLines } from '../log-sink.ts'
import type { EndpointState } from '../state.ts'
import { countOpen, traffic } from '../state.ts'
import type { History, Slot } from './history.ts'

export interface Status {
  version: string
  /** of Node.js */
  node: string
  /** the wall clock of this process */
  now: number
  startedAt: number
  /** milliseconds since the start, of a monotonic clock; for rates */
  uptime: number
  /** reasons to send no more clients here; none means ready */
  isReady: boolean
  /** why the process or single endpoints are not ready */
  notReady: string[]
  /** log lines that were dropped because the log could not be written */
  logLinesDropped: number
  endpoints: EndpointStatus[]
  /** oldest first; at most MAX_SESSIONS over all endpoints */
  sessions: SessionRow[]
  /** newest first */
  errors: ErrorStatus[]
}

export interface EndpointStatus {
  name: string
  /** the address for clients; '' before it listens, and for a retired endpoint whose last sessions are still open */
  address: string
  /** host:port that the proxy dials */
  dial: string
  /** host:port of the RDS endpoint: its certificate is required, and tokens are signed for it */
  rds: string
  region: string
  /** the database user of all logins; undefined if each client names its own */
  user: string | undefined
  /** clients that are logged in */
  open: number
  loggingIn: number
  /** 0 means no limit */
  maxConnections: number
  /** logins that wait in the queue */
  waiting: number
  loginsOK: number
  loginsFailed: number
  /** milliseconds, over the newest logins */
  loginTime: { median: number; p95: number } | undefined
  bytesFromClient: number
  bytesFromServer: number
  credentialsExpire: number | undefined
  credentialsFailed: boolean
  certificateExpires: number | undefined
  /** of the certificate for IAM Roles Anywhere */
  rolesAnywhereCertificateExpires: number | undefined
  localCertificateExpires: number | undefined
  /** the last five minutes, oldest first */
  history: readonly Slot[]
}

export interface SessionRow {
  id: string
  endpoint: string
  since: number
  phase: 'logging in' | 'open'
  client: string
  localUser: string | undefined
  user: string | undefined
  database: string | undefined
  program: string | undefined
  threadId: number | undefined
  bytesFromClient: number
  bytesFromServer: number
}

export interface ErrorStatus {
  endpoint: string
  at: number
  code: string
  message: string
  hint: string
  session: string
  localUser: string | undefined
  user: string | undefined
  client: string
}

/** Bounds the size of the answer. The counts include the sessions that are not listed. */
export const MAX_SESSIONS = 1_000

export interface ProcessFacts {
  version: string
  /** milliseconds of a monotonic clock */
  uptime: number
  isReady: boolean
  /** why the process or single endpoints are not ready */
  notReady: string[]
}

/** The current status. @param history on the clock of `uptime`, from the start */
export function pageStatus(states: readonly EndpointState[], history: History, facts: ProcessFacts): Status {
  const sessions = states.flatMap(sessionsOf).sort((left, right) => left.since - right.since)
  const errors = states.flatMap(errorsOf).sort((left, right) => right.at - left.at)
  const now = Date.now()
  const startedAt = now - facts.uptime
  return {
    ...facts,
    node: process.version,
    now,
    startedAt,
    logLinesDropped: droppedLogLines(),
    endpoints: states.map(state => endpointStatus(state, history, startedAt)),
    sessions: sessions.slice(0, MAX_SESSIONS),
    errors,
  }
}

function endpointStatus(state: EndpointState, history: History, startedAt: number): EndpointStatus {
  const open = countOpen(state)
  let loginsFailed = 0
  for (const [code, times] of state.outcomes) if (code !== 'OK') loginsFailed += times
  return {
    name: state.name,
    address: state.retired ? '' : state.address,
    dial: formatHostPort(state.endpoint.dial),
    rds: formatHostPort(state.endpoint.rds),
    region: state.endpoint.rds.region ?? 'the region of the writer',
    user: state.endpoint.user,
    open,
    loggingIn: state.sessions.size - open,
    maxConnections: state.maxConnections,
    waiting: state.loginsQueued,
    loginsOK: state.outcomes.get('OK') ?? 0,
    loginsFailed,
    loginTime: history.loginTime(state),
    ...traffic(state),
    credentialsExpire: state.credentialsExpire,
    credentialsFailed: state.credentialsFailed,
    certificateExpires: state.certificateExpires,
    rolesAnywhereCertificateExpires: state.rolesAnywhereCertificateExpires,
    localCertificateExpires: state.localCertificateExpires,
    history: history.slots(state).map(slot => ({ ...slot, at: startedAt + slot.at })),
  }
}

function sessionsOf({ name, sessions }: EndpointState): SessionRow[] {
  return Array.from(sessions, session => ({
    id: session.id,
    endpoint: name,
    since: session.since,
    phase: session.phase,
    client: session.client,
    localUser: session.localUser,
    user: session.user,
    database: session.database,
    program: session.program,
    threadId: session.threadId,
    bytesFromClient: session.traffic.bytesFromClient,
    bytesFromServer: session.traffic.bytesFromUpstream,
  }))
}

function errorsOf({ name, recentErrors }: EndpointState): ErrorStatus[] {
  return recentErrors.map(error => ({ endpoint: name, ...error }))
}
