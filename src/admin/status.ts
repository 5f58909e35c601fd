/**
 * The answer to GET /api/status, which the status page shows. It has no secrets. Times are milliseconds of the Unix epoch
 * unless their comment says otherwise.
 */
import { monotonicClock } from '../clock.ts'
import { formatHostPort } from '../endpoint.ts'
import type { ErrorCode } from '../error-codes.ts'
import { droppedLogLines } from '../log-sink.ts'
import type { CompressionState, EndpointState, Phase, SignInState, TUNNEL_WORDS } from '../state.ts'
import { countFailed, countOpen, traffic } from '../state.ts'
import type { Activities } from './activity.ts'
import { type History, type LastMinute, type Peaks, RANGES, type Range, type Slot } from './history.ts'
import { type Level, type Problem, problemsOf, stateOf } from './problems.ts'
import { listSessions, readQuery, type SessionQuery, type SessionRow } from './sessions.ts'

export interface Status {
  version: string
  /** of Node.js */
  node: string
  pid: number
  /** resident memory in bytes */
  memory: number
  /** how busy the event loop was lately, from 0 to 1 */
  busy: number
  /** how many sessions the limit of open files allows; undefined for any number */
  sessionsLimit: number | undefined
  /** the wall clock of this process */
  now: number
  startedAt: number
  /** milliseconds since the start, of a monotonic clock; for rates */
  uptime: number
  /** reasons to send no more clients here; none means ready */
  isReady: boolean
  /** why the process or single endpoints are not ready */
  notReady: string[]
  /** sessions in the processes that this one has replaced at upgrades */
  drainingSessions: number
  /** whether the page may close sessions */
  mayClose: boolean
  /** log lines that were dropped because the log could not be written */
  logLinesDropped: number
  /** of each endpoint's history */
  range: Range
  endpoints: EndpointStatus[]
  /** as the request asks for: 50 by default, the oldest first */
  sessions: SessionRow[]
  /** how many sessions fit the filter of the request */
  sessionsMatching: number
  sessionsTotal: number
  /** newest first */
  errors: ErrorStatus[]
}

export interface EndpointStatus {
  name: string
  level: Level
  /** the state in two or three words */
  word: string
  /** the worst first */
  problems: Problem[]
  /** the address for clients; '' before it listens, and for a retired endpoint whose last sessions are still open */
  address: string
  /** a reload removed or replaced it, and its last sessions are still open */
  retired: boolean
  /** host:port that the proxy dials */
  dial: string
  /** undefined without a tunnel */
  tunnel: TunnelStatus | undefined
  /** host:port of the RDS endpoint: its certificate is required, and tokens are signed for it */
  rds: string
  region: string
  /** the database user of all logins; undefined if each client names its own */
  user: string | undefined
  /** clients that are logged in */
  open: number
  loggingIn: number
  /** milliseconds since the accept of the oldest of them */
  longestLogin: number | undefined
  /** 0 means no limit */
  maxConnections: number
  /** logins that wait in the queue */
  waiting: number
  loginsOK: number
  loginsFailed: number
  lastMinute: LastMinute
  peaks: Peaks
  /** when a login succeeded last */
  lastLogin: number | undefined
  /** milliseconds, over the newest logins */
  loginTime: { median: number; p95: number } | undefined
  /** the median of each phase in milliseconds, over the newest logins */
  phaseTimes: Partial<Record<Phase, number>>
  /** failed logins by error code, since the start */
  failures: Partial<Record<ErrorCode, number>>
  bytesFromClient: number
  bytesFromServer: number
  /** the same as they travelled between the proxy and the database, which compression makes fewer */
  lineBytesFromClient: number
  lineBytesFromServer: number
  /** of the next session; undefined where compression is off */
  compression: CompressionState | undefined
  credentialsExpire: number | undefined
  credentialsFailed: boolean
  /** what a person must do before there are credentials: a sign-in at `url`, or a code on the terminal of the proxy */
  signIn: SignInState | undefined
  certificateExpires: number | undefined
  /** of the certificate for IAM Roles Anywhere */
  rolesAnywhereCertificateExpires: number | undefined
  localCertificateExpires: number | undefined
  /** of the range that the request asks for, oldest first; none for an endpoint that it does not name */
  history: readonly Slot[]
}

/** What leads to the database. */
export interface TunnelStatus {
  /** such as "the tunnel command ssh" */
  name: string
  word: (typeof TUNNEL_WORDS)[number]
  /** of the word */
  since: number
  /** starts after a failure */
  restarts: number
  /** why it failed last */
  error: string | undefined
}

export interface ErrorStatus {
  endpoint: string
  /** of the newest; the session and its users are its */
  at: number
  firstAt: number
  /** errors with the same code and message */
  count: number
  code: string
  message: string
  hint: string
  session: string
  localUser: string | undefined
  user: string | undefined
  client: string
}

export interface ProcessFacts {
  version: string
  /** milliseconds of a monotonic clock */
  uptime: number
  isReady: boolean
  /** why the process or single endpoints are not ready */
  notReady: string[]
  /** how busy the event loop was lately, from 0 to 1 */
  busy: number
  /** how many sessions the limit of open files allows; undefined for any number */
  sessionsLimit: number | undefined
  /** sessions in the processes that this one has replaced at upgrades */
  drainingSessions: number
  mayClose: boolean
}

/** What a request asks for. */
export interface StatusQuery {
  sessions: SessionQuery
  range: Range
  /** the endpoints whose history is wanted; undefined means all */
  open: readonly string[] | undefined
}

/** What the page needs to know about the past. */
export interface Past {
  /** on the clock of `uptime`, from the start */
  history: History
  /** on the clock of `Session.started` */
  activities: Activities
}

/** Reads the parameters of a request. Unknown and invalid values count as missing. */
export function readStatusQuery(parameters: URLSearchParams): StatusQuery {
  const range = parameters.get('range') ?? ''
  return {
    sessions: readQuery(parameters),
    range: Object.hasOwn(RANGES, range) ? (range as Range) : '5m',
    open: parameters.has('open') ? parameters.getAll('open') : undefined,
  }
}

/** The current status. */
export function pageStatus(
  states: readonly EndpointState[],
  past: Past,
  facts: ProcessFacts,
  query: StatusQuery = readStatusQuery(new URLSearchParams()),
): Status {
  const errors = states.flatMap(errorsOf).sort((left, right) => right.at - left.at)
  const now = Date.now()
  const startedAt = now - facts.uptime
  const { rows, matching, total } = listSessions(states, query.sessions, past.activities, monotonicClock.now())
  return {
    ...facts,
    node: process.version,
    pid: process.pid,
    memory: process.memoryUsage.rss(),
    now,
    startedAt,
    logLinesDropped: droppedLogLines(),
    range: query.range,
    endpoints: states.map(state => endpointStatus(state, past.history, facts.uptime, now, query)),
    errors,
    sessions: rows,
    sessionsMatching: matching,
    sessionsTotal: total,
  }
}

function endpointStatus(
  state: EndpointState,
  history: History,
  uptime: number,
  now: number,
  { range, open: wanted }: StatusQuery,
): EndpointStatus {
  const open = countOpen(state)
  const lastMinute = history.lastMinute(state, uptime)
  const problems = state.retired ? [] : problemsOf(state, lastMinute, now)
  const lastLogin = history.lastLogin(state)
  const slots = wanted && !wanted.includes(state.name) ? [] : history.slots(state, range)
  return {
    name: state.name,
    ...stateOf(state, problems),
    problems,
    address: state.retired ? '' : state.address,
    retired: state.retired,
    dial: formatHostPort(state.endpoint.dial),
    tunnel: tunnelStatus(state),
    rds: formatHostPort(state.endpoint.rds),
    region: state.endpoint.rds.region ?? 'the region of the writer',
    user: state.endpoint.user,
    open,
    loggingIn: state.sessions.size - open,
    longestLogin: longestLogin(state),
    maxConnections: state.maxConnections,
    waiting: state.loginsQueued,
    loginsOK: state.outcomes.get('OK') ?? 0,
    loginsFailed: countFailed(state),
    lastMinute,
    peaks: history.peaks(state),
    lastLogin: lastLogin === undefined ? undefined : now - uptime + lastLogin,
    loginTime: history.loginTime(state),
    phaseTimes: history.phaseTimes(state),
    failures: Object.fromEntries([...state.outcomes].filter(([code]) => code !== 'OK')),
    ...traffic(state),
    compression: state.retired ? undefined : state.compression(),
    credentialsExpire: state.credentialsExpire,
    credentialsFailed: state.credentialsFailed,
    signIn: state.signIn,
    certificateExpires: state.certificateExpires,
    rolesAnywhereCertificateExpires: state.rolesAnywhereCertificateExpires,
    localCertificateExpires: state.localCertificateExpires(),
    history: slots.map(slot => ({ ...slot, at: now - uptime + slot.at })),
  }
}

function tunnelStatus({ tunnel }: EndpointState): TunnelStatus | undefined {
  if (!tunnel) return undefined
  const { name, word, since, restarts, error } = tunnel
  return { name, word, since, restarts, error: error?.message }
}

/** How long the oldest login has been in progress, in milliseconds. */
function longestLogin({ sessions }: EndpointState): number | undefined {
  // The oldest is first: a Set keeps the order of insertion.
  for (const { phase, started } of sessions) if (phase !== 'open') return Math.round(monotonicClock.now() - started)
  return undefined
}

function errorsOf({ name, recentErrors }: EndpointState): ErrorStatus[] {
  return recentErrors.map(error => ({ endpoint: name, ...error }))
}
