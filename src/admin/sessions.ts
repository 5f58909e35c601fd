/** The sessions that a request asks for: filtered, sorted and limited here, so that 10,000 of them cost little. */
import { type Activity, type EndpointState, onLine, type Session } from '../state.ts'
import type { Activities } from './activity.ts'

export type SessionStatus = 'logging in' | Activity

export interface SessionRow {
  id: string
  endpoint: string
  /** milliseconds since accept, of a monotonic clock */
  age: number
  status: SessionStatus
  /** milliseconds since bytes moved last, to within two seconds; undefined for a new session */
  quiet: number | undefined
  client: string
  localUser: string | undefined
  user: string | undefined
  database: string | undefined
  program: string | undefined
  /** the version of TLS to the client; undefined without TLS */
  tls: string | undefined
  threadId: number | undefined
  /** bytes per second of both directions; undefined for a new session */
  rate: number | undefined
  bytesFromClient: number
  bytesFromServer: number
  /** what the proxy has added between it and the database; undefined for none */
  compression: 'zlib' | 'zstd' | undefined
  /** the bytes as they travelled between the proxy and the database */
  lineBytesFromClient: number
  lineBytesFromServer: number
}

/** What a request asks for. */
export interface SessionQuery {
  /** Each word must occur in a field, in any case. */
  filter: string
  /** '' means all */
  endpoint: string
  /** '' means all */
  status: string
  sort: SortKey
  descending: boolean
  limit: number
}

export interface SessionList {
  rows: SessionRow[]
  /** how many sessions fit the filter */
  matching: number
  /** how many there are */
  total: number
}

/** Bounds the size of an answer. */
export const MAX_SESSIONS = 1_000
const DEFAULT_SESSIONS = 50

interface Found {
  endpoint: string
  session: Session
}

type Value = string | number | undefined

/** What the page can sort by. Texts are compared in lower case. */
const SORT_KEYS = {
  age: ({ session }) => -session.started,
  user: ({ session }) => lower(session.localUser ?? session.user),
  status: ({ session }) => statusOf(session),
  quiet: ({ session }, activities) => {
    const moved = activities.lastMoved(session)
    return moved === undefined ? undefined : -moved
  },
  database: ({ session }) => lower(session.database),
  endpoint: ({ endpoint }) => lower(endpoint),
  client: ({ session }) => session.client,
  program: ({ session }) => lower(session.program),
  session: ({ session }) => session.started,
  tls: ({ session }) => session.tls,
  thread: ({ session }) => session.threadId,
  rate: ({ session }, activities) => activities.rateOf(session),
  received: ({ session }) => session.traffic.bytesFromUpstream,
  sent: ({ session }) => session.traffic.bytesFromClient,
} satisfies { [key: string]: (found: Found, activities: Activities) => Value }

export type SortKey = keyof typeof SORT_KEYS

/** Reads the parameters of a request. Unknown and invalid values count as missing. */
export function readQuery(parameters: URLSearchParams): SessionQuery {
  const sort = parameters.get('sort') ?? ''
  const limit = Number(parameters.get('rows') ?? Number.NaN)
  return {
    filter: parameters.get('filter') ?? '',
    endpoint: parameters.get('endpoint') ?? '',
    status: parameters.get('status') ?? '',
    sort: Object.hasOwn(SORT_KEYS, sort) ? (sort as SortKey) : 'age',
    descending: parameters.get('order') !== 'up',
    limit: Number.isInteger(limit) && limit >= 0 ? Math.min(limit, MAX_SESSIONS) : DEFAULT_SESSIONS,
  }
}

/** The sessions that `query` asks for. @param now milliseconds of the clock of `Session.started` */
export function listSessions(
  states: readonly EndpointState[],
  query: SessionQuery,
  activities: Activities,
  now: number,
): SessionList {
  const found = findSessions(states, query)
  let total = 0
  for (const { sessions } of states) total += sessions.size
  const key = SORT_KEYS[query.sort]
  const keyed = found.map((one, index) => ({ one, index, value: key(one, activities) as Value }))
  const sign = query.descending ? -1 : 1
  keyed.sort((left, right) => compare(left.value, right.value, sign) || left.index - right.index)
  const rows = keyed.slice(0, query.limit).map(({ one }) => rowOf(one, activities, now))
  return { rows, matching: found.length, total }
}

/** The sessions that fit the filter, in no special order. */
export function findSessions(
  states: readonly EndpointState[],
  { filter, endpoint, status }: Pick<SessionQuery, 'filter' | 'endpoint' | 'status'>,
): Found[] {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean)
  const found: Found[] = []
  for (const state of states) {
    if (endpoint !== '' && state.name !== endpoint) continue
    for (const session of state.sessions) {
      if (status !== '' && statusOf(session) !== status) continue
      if (words.length === 0 || matches(session, state.name, words)) found.push({ endpoint: state.name, session })
    }
  }
  return found
}

function matches(session: Session, endpoint: string, words: readonly string[]): boolean {
  const { id, localUser = '', user = '', database = '', client, program = '', tls = '', threadId = '' } = session
  // A line feed separates fields: no word contains one.
  const text =
    `${id}\n${localUser}\n${user}\n${database}\n${client}\n${program}\n${tls}\n${threadId}\n${endpoint}`.toLowerCase()
  return words.every(word => text.includes(word))
}

function statusOf(session: Session): SessionStatus {
  return session.phase === 'open' ? session.activity() : 'logging in'
}

/** Rows without a value come last in both directions. */
function compare(left: Value, right: Value, sign: number): number {
  if (left === right) return 0
  if (left === undefined) return 1
  if (right === undefined) return -1
  return left < right ? -sign : sign
}

function lower(text: string | undefined): string | undefined {
  return text?.toLowerCase()
}

function rowOf({ endpoint, session }: Found, activities: Activities, now: number): SessionRow {
  const moved = activities.lastMoved(session)
  const line = onLine(session)
  return {
    id: session.id,
    endpoint,
    age: Math.max(0, Math.round(now - session.started)),
    status: statusOf(session),
    quiet: moved === undefined ? undefined : Math.max(0, Math.round(now - moved)),
    client: session.client,
    localUser: session.localUser,
    user: session.user,
    database: session.database,
    program: session.program,
    tls: session.tls,
    threadId: session.threadId,
    rate: activities.rateOf(session),
    bytesFromClient: session.traffic.bytesFromClient,
    bytesFromServer: session.traffic.bytesFromUpstream,
    compression: session.compressed?.compression,
    lineBytesFromClient: line.bytesFromClient,
    lineBytesFromServer: line.bytesFromUpstream,
  }
}
