/** What GET /api/status says, and the status page shows. Times are milliseconds since 1970 unless they say otherwise; no secret is in it. */
import { formatHostPort } from '../endpoint.ts'
import type { EndpointState } from '../state.ts'
import { countOpen, traffic } from '../state.ts'
import type { History, Slot } from './history.ts'

export interface Status {
  version: string
  /** of Node.js */
  node: string
  /** the clock of this process */
  now: number
  startedAt: number
  /** why no more clients should be sent here; empty: ready */
  notReady: string[]
  endpoints: EndpointStatus[]
  /** the longest-lived first, at most MAX_SESSIONS of all endpoints */
  sessions: SessionStatus[]
  /** the newest first */
  errors: ErrorStatus[]
}

export interface EndpointStatus {
  name: string
  /** what clients connect to; '' where it does not listen: not yet, or no longer and there until its sessions have ended */
  address: string
  /** host:port that is dialled */
  dial: string
  /** host:port on the certificate, and that tokens are signed for */
  rds: string
  region: string
  /** the database user of all logins; undefined: the one that the client names */
  user: string | undefined
  /** clients that are logged in */
  open: number
  loggingIn: number
  /** 0: no limit */
  maxConnections: number
  /** logins that wait for their turn */
  waiting: number
  loginsOK: number
  loginsFailed: number
  /** milliseconds that the newest logins took */
  loginTime: { median: number; p95: number } | undefined
  bytesFromClient: number
  bytesFromServer: number
  credentialsExpire: number | undefined
  credentialsFailed: boolean
  certificateExpires: number | undefined
  localCertificateExpires: number | undefined
  /** the last minutes, oldest first */
  history: readonly Slot[]
}

export interface SessionStatus {
  id: number
  endpoint: string
  since: number
  phase: 'logging in' | 'open'
  client: string
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
  user: string | undefined
  client: string
}

/** More than a person looks through; what is not listed is still counted. */
export const MAX_SESSIONS = 1_000

export interface ProcessFacts {
  version: string
  startedAt: number
  notReady: string[]
}

/** The status as it stands now. */
export function statusOf(states: readonly EndpointState[], history: History, facts: ProcessFacts): Status {
  const sessions = states.flatMap(sessionsOf).sort((left, right) => left.since - right.since)
  const errors = states.flatMap(errorsOf).sort((left, right) => right.at - left.at)
  return {
    ...facts,
    node: process.version,
    now: Date.now(),
    endpoints: states.map(state => endpointStatus(state, history)),
    sessions: sessions.slice(0, MAX_SESSIONS),
    errors,
  }
}

function endpointStatus(state: EndpointState, history: History): EndpointStatus {
  const open = countOpen(state)
  let loginsFailed = 0
  for (const [code, times] of state.outcomes) if (code !== 'OK') loginsFailed += times
  return {
    name: state.name,
    address: state.retired ? '' : state.address,
    dial: formatHostPort(state.endpoint.dial),
    rds: formatHostPort(state.endpoint.rds),
    region: state.endpoint.rds.region,
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
    localCertificateExpires: state.localCertificateExpires,
    history: history.slots(state),
  }
}

function sessionsOf({ name, sessions }: EndpointState): SessionStatus[] {
  return Array.from(sessions, session => ({
    id: session.id,
    endpoint: name,
    since: session.since,
    phase: session.phase,
    client: session.client,
    user: session.user,
    database: session.database,
    program: session.program,
    threadId: session.threadId,
    bytesFromClient: session.traffic.bytesFromClient,
    bytesFromServer: session.traffic.bytesFromUpstream,
  }))
}

function errorsOf({ name, recentErrors }: EndpointState): ErrorStatus[] {
  return recentErrors.map(({ at, code, message, hint, user, client }) => ({
    ...{ endpoint: name, at, code, message, hint, user, client },
  }))
}
