/** Live counters and sessions of an endpoint: written by sessions, read by metrics, status page and drain. */
import type { Endpoint } from './endpoint.ts'
import { ERRORS, type ErrorCode } from './error-codes.ts'
import { asProxyError, hintFor, type ProxyError } from './errors.ts'
import type { Emit, SessionFields } from './events.ts'

/** A step of a login, in the order in which they happen. */
export const PHASES = ['dial', 'client', 'queue', 'token', 'tls', 'login'] as const
export type Phase = (typeof PHASES)[number]

/** What an open session does. open: its last packet does not say whether a transaction is open. */
export type Activity = 'waiting for an answer' | 'in a transaction' | 'idle' | 'open'

/** One client, from accept to close. */
export interface Session {
  /** short; unique in this process, and most likely beyond it. In the log, in our errors and in the status API */
  id: string
  /** Date.now() at accept, for display */
  since: number
  /** the same on the monotonic clock, for durations */
  started: number
  phase: 'logging in' | 'open'
  /** the client's address, 'unix' or 'in-process' */
  client: string
  /** the local user that the client names; undefined without local users, and before the client's HandshakeResponse41 */
  localUser: string | undefined
  /** the database user; undefined before the client's HandshakeResponse41 */
  user: string | undefined
  /** the database that the client named at login */
  database: string | undefined
  /** `program_name` of the connection attributes, or `_client_name` */
  program: string | undefined
  /** the version of TLS to the client, such as TLSv1.3; undefined without TLS, and before the client's HandshakeResponse41 */
  tls: string | undefined
  /** the server's thread id; undefined before its greeting */
  threadId: number | undefined
  traffic: Traffic
  /** undefined unless the proxy has added compression between it and the database */
  compressed: CompressedTraffic | undefined
  /** whether its login has failed, and the event for it has come */
  hasFailed?: boolean
  /** why it was ended from outside; undefined if it was not, or if the client had quit already */
  endedBy: ErrorCode | undefined
  /** whether it could end now and interrupt nothing: no answer is due, no transaction is open */
  isIdle(): boolean
  /** for display; meaningless before the login */
  activity(): Activity
  /** ends the session; the client gets an ERR_Packet unless it is in the middle of an answer */
  close(why: ErrorCode): void
}

/** Follows logins, for traces. */
export interface LoginTracer {
  /** runs a session: the login that its phases belong to */
  run<Result>(work: () => Promise<Result>): Promise<Result>
  /** a phase that has ended now; `started` on the monotonic clock */
  phase(phase: Phase, started: number, error: ErrorCode | undefined): void
  /** the end of the login */
  end(session: Session, code: 'OK' | ErrorCode): void
}

/** An error, or several with the same code and message. The session and its users are those of the newest. */
export interface ErrorRecord {
  /** Date.now() of the newest */
  at: number
  /** Date.now() of the first */
  firstAt: number
  count: number
  code: ErrorCode
  message: string
  hint: string
  /** the id of the session */
  session: string
  localUser: string | undefined
  user: string | undefined
  client: string
}

/** Logins that failed, without one that succeeded between them. */
export interface Failing {
  count: number
  /** of the newest */
  code: ErrorCode
  /** Date.now() of the first */
  since: number
}

export const SYNC_OUTCOMES = ['unchanged', 'changed', 'unhealthy', 'refused', 'failed'] as const

/** The results of the passes of sync-targets. */
export interface SyncState {
  /** Date.now() of the last one */
  at: number
  outcome: (typeof SYNC_OUTCOMES)[number]
  /** why the last one was refused or failed */
  reason: string | undefined
  counts: Record<(typeof SYNC_OUTCOMES)[number], number>
}

/** idle: it starts with the next client. failed: it could not start or has ended; the next start comes after a pause */
export const TUNNEL_WORDS = ['idle', 'starting', 'open', 'failed'] as const

/** The tunnel of an endpoint, as others see it. */
export interface TunnelState {
  /** what makes it, such as "the tunnel command ssh" */
  name: string
  /** the command line that makes it, for people to try; without secrets. Undefined if it runs none */
  command: string | undefined
  /** whether it opens with the proxy and stays open: then its failure is one of the endpoint */
  isPermanent: boolean
  word: (typeof TUNNEL_WORDS)[number]
  /** Date.now() of the last change of the word */
  since: number
  /** starts after a failure or an end that nobody asked for */
  restarts: number
  /** why the last one failed; undefined once another one is open */
  error: { code: ErrorCode; message: string; hint: string } | undefined
}

/** What a person must do before there are credentials. */
export interface SignInState {
  /** a sentence without its full stop */
  what: string
  /** the address to open; undefined if there is none */
  url: string | undefined
  /** to compare with the one that the page of `url` shows */
  code: string | undefined
  /** Date.now() */
  since: number
}

export interface EndpointState {
  /** as the configuration calls it; by default the RDS endpoint */
  name: string
  endpoint: Endpoint
  /** the address that clients connect to; '' before it listens */
  address: string
  sessions: Set<Session>
  /** a reload removed or replaced it: it accepts no more clients, and stays until its sessions have ended */
  retired: boolean
  /** 0: no limit */
  maxConnections: number
  /** bytes of ended sessions */
  ended: Traffic
  /** the same as they travelled between the proxy and the database */
  endedOnLine: Traffic
  /** what the next session to the database gets; undefined where compression is off */
  compression: () => CompressionState | undefined
  /** logins by result, since the start */
  outcomes: Map<'OK' | ErrorCode, number>
  /** failed logins since the last that succeeded; mistakes of clients do not count. undefined if there is none */
  failing: Failing | undefined
  /** the newest last, at most 50 */
  recentErrors: ErrorRecord[]
  /** logins that wait in the queue */
  loginsQueued: number
  /** when the credentials expire, in Date.now() time; undefined if unknown or never */
  credentialsExpire: number | undefined
  /** whether the last lookup of credentials failed */
  credentialsFailed: boolean
  /** what a person must do before there are credentials; undefined if nothing has started */
  signIn: SignInState | undefined
  /** looks credentials up again, for an endpoint that gets no logins because it is not ready */
  retryCredentials: (() => void) | undefined
  /** when the certificate for IAM Roles Anywhere expires, in Date.now() time; undefined without it or before its first use */
  rolesAnywhereCertificateExpires: number | undefined
  /** when the server's certificate expires, in Date.now() time; undefined before the first login */
  certificateExpires: number | undefined
  /** the same for our own certificate for clients; a function, because new files can replace it */
  localCertificateExpires: () => number | undefined
  /** the passes of sync-targets; undefined before the first */
  sync: SyncState | undefined
  /** undefined for an endpoint without a tunnel */
  tunnel: TunnelState | undefined
  /** gets the duration of each phase of each login, in milliseconds; 'total' is from accept to OK_Packet */
  onPhase: ((phase: Phase | 'total', milliseconds: number) => void) | undefined
  /** undefined without traces */
  tracer: LoginTracer | undefined
  /** for listeners of the library */
  emit: Emit
}

const MOST_RECENT_ERRORS = 50

export function createState(endpoint: Endpoint, maxConnections: number): EndpointState {
  return {
    name: endpoint.name,
    endpoint,
    address: '',
    sessions: new Set(),
    retired: false,
    maxConnections,
    ended: { bytesFromClient: 0, bytesFromUpstream: 0 },
    endedOnLine: { bytesFromClient: 0, bytesFromUpstream: 0 },
    compression: () => undefined,
    outcomes: new Map(),
    failing: undefined,
    recentErrors: [],
    loginsQueued: 0,
    credentialsExpire: undefined,
    credentialsFailed: false,
    signIn: undefined,
    retryCredentials: undefined,
    rolesAnywhereCertificateExpires: undefined,
    certificateExpires: undefined,
    localCertificateExpires: () => undefined,
    sync: undefined,
    tunnel: undefined,
    onPhase: undefined,
    tracer: undefined,
    emit: () => {},
  }
}

/** Reports how long `work` took, as a phase of a login. */
export async function timed<Value>(state: EndpointState, phase: Phase, work: Promise<Value>): Promise<Value> {
  if (!state.onPhase && !state.tracer) return await work
  const started = performance.now()
  try {
    const result = await work
    state.onPhase?.(phase, performance.now() - started)
    state.tracer?.phase(phase, started, undefined)
    return result
  } catch (error) {
    state.tracer?.phase(phase, started, asProxyError(error).code)
    throw error
  }
}

/** Keeps the result of a pass of sync-targets. */
export function noteSync(state: EndpointState, { outcome, reason }: Pick<SyncState, 'outcome' | 'reason'>): void {
  const counts = state.sync?.counts ?? { unchanged: 0, changed: 0, unhealthy: 0, refused: 0, failed: 0 }
  counts[outcome]++
  state.sync = { at: Date.now(), outcome, reason, counts }
}

export function createTunnelState(name: string, command?: string, isPermanent = false): TunnelState {
  return { name, command, isPermanent, word: 'idle', since: Date.now(), restarts: 0, error: undefined }
}

/** @param error why it failed. @param hint what to do about it */
export function changeTunnel(state: TunnelState, word: TunnelState['word'], error?: ProxyError, hint = ''): void {
  if (state.word !== word) state.since = Date.now()
  state.word = word
  if (error) state.error = { code: error.code, message: error.message, hint }
  else if (word === 'open') state.error = undefined
}

/** Counts the result of a login. */
export function countOutcome(state: EndpointState, code: 'OK' | ErrorCode): void {
  state.outcomes.set(code, (state.outcomes.get(code) ?? 0) + 1)
  if (code === 'OK') state.failing = undefined
  // A login that was ended from outside says nothing about the next one.
  else if (ERRORS[code].source !== 'client' && code !== 'PROXY_STOPPING' && code !== 'SESSION_CLOSED') {
    const { count, since } = state.failing ?? { count: 0, since: Date.now() }
    state.failing = { count: count + 1, code, since }
  }
}

/** Keeps an error for the status page. Equal ones share a record, so that one kind does not displace the others. */
export function keepError(
  { recentErrors }: EndpointState,
  error: ProxyError,
  values: Readonly<Record<string, string | undefined>>,
  { id, localUser, client }: Session,
): void {
  const { code, message } = error
  const hint = hintFor(error, values)
  const index = recentErrors.findIndex(other => other.code === code && other.message === message)
  const before = index < 0 ? undefined : recentErrors.splice(index, 1)[0]
  const at = Date.now()
  const times = { at, firstAt: before?.firstAt ?? at, count: (before?.count ?? 0) + 1 }
  recentErrors.push({ ...times, code, message, hint, session: id, localUser, user: values['user'], client })
  if (recentErrors.length > MOST_RECENT_ERRORS) recentErrors.shift()
}

/** How many logins have failed. */
export function countFailed({ outcomes }: EndpointState): number {
  let failed = 0
  for (const [code, times] of outcomes) if (code !== 'OK') failed += times
  return failed
}

/** The fields that every log line about a session has: docs/logs.md. */
export function sessionFields({ id, localUser, user, client, threadId }: Session): object {
  return { session: id, localUser, user, client, threadId }
}

/** The same for events of the library, and what else is known of the client. */
export function eventFields(session: Session): SessionFields {
  const { id, localUser, user, client, threadId, database, program } = session
  return { session: id, localUser, user, client, threadId, database, program }
}

/** How many sessions are logged in. */
export function countOpen(state: EndpointState): number {
  let open = 0
  for (const session of state.sessions) if (session.phase === 'open') open++
  return open
}

/** Removes a session that has ended, and keeps its bytes. */
export function removeSession(state: EndpointState, session: Session): void {
  state.sessions.delete(session)
  add(state.ended, session.traffic)
  add(state.endedOnLine, onLine(session))
}

/** Bytes of all sessions so far, ended and open: as clients see them, and as they travelled between proxy and database. */
export function traffic(state: EndpointState): BytesOfAll {
  const all = { ...state.ended }
  const line = { ...state.endedOnLine }
  for (const session of state.sessions) {
    add(all, session.traffic)
    add(line, onLine(session))
  }
  return {
    bytesFromClient: all.bytesFromClient,
    bytesFromServer: all.bytesFromUpstream,
    lineBytesFromClient: line.bytesFromClient,
    lineBytesFromServer: line.bytesFromUpstream,
  }
}

/** The bytes of a session as they travelled between the proxy and the database. */
export function onLine({ compressed, traffic }: Pick<Session, 'compressed' | 'traffic'>): Traffic {
  return compressed ?? traffic
}

function add(sum: Traffic, { bytesFromClient, bytesFromUpstream }: Traffic): void {
  sum.bytesFromClient += bytesFromClient
  sum.bytesFromUpstream += bytesFromUpstream
}

export interface BytesOfAll {
  bytesFromClient: number
  bytesFromServer: number
  lineBytesFromClient: number
  lineBytesFromServer: number
}

/** How many bytes a session has moved. */
export interface Traffic {
  bytesFromClient: number
  bytesFromUpstream: number
}

/** The same as they travelled between the proxy and the database, without TLS. */
export interface CompressedTraffic extends Traffic {
  compression: 'zlib' | 'zstd'
}

/** Which compression the next session to the database gets. */
export interface CompressionState {
  /** of the option */
  setting: 'auto' | 'zlib' | 'zstd'
  /** undefined: none */
  next: 'zlib' | 'zstd' | undefined
  /** in words; '' if the option and the server's offer say it */
  why: string
  /** of auto: the shortest of the last greetings, in milliseconds; undefined before the first */
  roundTrip: number | undefined
  /** of auto: the most bytes that a session got in a second lately; undefined if none was measured */
  bytesPerSecond: number | undefined
}
