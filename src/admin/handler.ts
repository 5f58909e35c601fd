/**
 * Answers requests for health, metrics, status and the status page. Two users: the listeners of server.ts, and the page that a
 * host program mounts in its own server, host-page.ts.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { performance } from 'node:perf_hooks'
import { monotonicClock } from '../clock.ts'
import type { Logger } from '../log.ts'
import { type EndpointState, type Phase, type Session, sessionFields } from '../state.ts'
import { createActivities } from './activity.ts'
import { closeSessions } from './close-sessions.ts'
import { hasToken, isForLoopback, isFromOtherPage, isLocalClient } from './guard.ts'
import { type Life, type ReadyWhen, readinessOf } from './health.ts'
import { createHistory } from './history.ts'
import { loadPage } from './page.ts'
import { readQuery } from './sessions.ts'
import { pageStatus, readStatusQuery } from './status.ts'

/** What the listeners and the mounted page have in common. */
export interface HandlerOptions extends Life {
  /** undefined: nobody needs one */
  token: string | undefined
  readyWhen: ReadyWhen
  /** the current endpoints; a reload changes them */
  endpoints: () => readonly EndpointState[]
  /** sessions in the processes that this one has replaced at upgrades; none by default */
  drainingSessions?: (() => number) | undefined
  /** called for POST /quitquitquit; undefined turns that off */
  onQuit?: (() => void) | undefined
  /** how many sessions the limit of open files allows; undefined for any number */
  sessionsLimit?: number | undefined
  metrics: MetricsSource
  /** the version of mysql-iam-proxy */
  version: string
}

export interface MetricsSource {
  contentType: string
  text(): string | Promise<string>
  /** Gets the duration of each phase of a login. */
  observe?(name: string, phase: Phase | 'total', milliseconds: number): void
}

export interface Handler {
  /** Answers a request. It never throws. @param path instead of the path of the request */
  serve(request: IncomingMessage, response: ServerResponse, place: Place, path?: string): void
  /** Adds new endpoints to the metrics and the history now, so that no login is missed. `tick` does it, too. */
  watchAll(): void
  /** Call it every SLOT_MS: it samples what the page shows. */
  tick(): void
}

export interface Reply {
  status: number
  /** the Content-Type; text/plain by default */
  type?: string
  body: string
  headers?: Record<string, string>
  /** called after the reply is written */
  after?: () => void
}

interface Route {
  method: 'GET' | 'POST'
  /**
   * Who may use it. probes: everyone, whatever their Host header is. everybody: requests whose Host header names this
   * machine. token: the same, and neither other web pages nor requests without the token.
   */
  access: 'probes' | 'everybody' | 'token'
  /** whether the health listener serves it too */
  isHealth?: true
  /** whether it closes sessions */
  closes?: true
  answer(query: URLSearchParams, place: Place): Reply | Promise<Reply>
}

/** What one address serves, and to whom. */
export interface Place {
  healthOnly: boolean
  /** whether the Host header may name another machine: with a token, for health and metrics beyond loopback, or if the host checks */
  anyHost: boolean
  /** whether clients of other machines are refused; a listener at a loopback address has none */
  localOnly: boolean
  /** whether it closes sessions */
  mayClose: boolean
}

/** Longest accepted request body. Its content is ignored. */
const MAX_BODY_BYTES = 4_096

export function createHandler(options: HandlerOptions, log: Logger): Handler {
  const { token, readyWhen, endpoints, onQuit, version, sessionsLimit, metrics, drainingSessions = () => 0 } = options
  const startedAt = monotonicClock.now()
  const uptime = () => monotonicClock.now() - startedAt
  const page = loadPage()
  const history = createHistory(0)
  const activities = createActivities()
  let utilization = performance.eventLoopUtilization()
  let busy = 0

  const watched = new WeakSet<EndpointState>()
  function watch(state: EndpointState): void {
    if (watched.has(state)) return
    watched.add(state)
    const next = state.onPhase
    state.onPhase = (phase, milliseconds) => {
      next?.(phase, milliseconds)
      metrics.observe?.(state.name, phase, milliseconds)
      if (phase === 'total') history.addLogin(state, milliseconds)
      else history.addPhase(state, phase, milliseconds)
    }
  }
  const watchAll = () => {
    for (const state of endpoints()) watch(state)
  }
  watchAll()

  const routes: Record<string, Route> = {
    '/startup': {
      method: 'GET',
      access: 'probes',
      isHealth: true,
      answer: () => health(options.isStarted(), options.isStarted() ? [] : ['not started yet']),
    },
    '/readiness': { method: 'GET', access: 'probes', isHealth: true, answer: readiness },
    '/liveness': { method: 'GET', access: 'probes', isHealth: true, answer: () => health(true, []) },
    '/metrics': {
      method: 'GET',
      access: 'everybody',
      isHealth: true,
      answer: async () => ({ status: 200, type: metrics.contentType, body: await metrics.text() }),
    },
    '/': {
      method: 'GET',
      access: 'everybody',
      answer: () => ({
        status: 200,
        type: 'text/html; charset=utf-8',
        body: page.html,
        headers: { 'content-security-policy': page.contentSecurityPolicy },
      }),
    },
    '/api/status': {
      method: 'GET',
      access: 'token',
      answer(query, { mayClose }) {
        const { isReady, reasons: notReady } = readinessOf(endpoints(), options, readyWhen)
        const draining = { drainingSessions: drainingSessions() }
        const facts = { version, uptime: uptime(), isReady, notReady, busy, sessionsLimit, mayClose, ...draining }
        return json(200, pageStatus(endpoints(), { history, activities }, facts, readStatusQuery(query)))
      },
    },
    '/api/sessions/close': { method: 'POST', access: 'token', closes: true, answer: closeMatching },
    '/quitquitquit': { method: 'POST', access: 'token', answer: quit },
  }

  /** Of all endpoints, or of those that the query names. */
  function readiness(query: URLSearchParams): Reply {
    const wanted = query.getAll('endpoint')
    if (wanted.length === 0 || !options.isStarted()) {
      const { isReady, reasons } = readinessOf(endpoints(), options, readyWhen)
      return health(isReady, reasons)
    }
    const states = endpoints().filter(({ retired }) => !retired)
    const unknown = wanted.find(name => !states.some(state => state.name === name))
    if (unknown !== undefined) {
      const names = states.map(({ name }) => name).join(', ')
      return { status: 404, body: `There is no such endpoint. There are: ${names}` }
    }
    const found = states.filter(({ name }) => wanted.includes(name))
    const { isReady, reasons } = readinessOf(found, options, 'all')
    return health(isReady, reasons)
  }

  function quit(): Reply {
    if (!onQuit) return { status: 404, body: 'Off. The option quitquitquit turns it on.' }
    log.info({}, 'stopping after POST /quitquitquit')
    return { status: 200, body: 'stopping', after: onQuit }
  }

  const logClosed = (endpoint: string, session: Session) =>
    log.info({ endpoint, ...sessionFields(session) }, 'session closed by an operator')

  function closeSession(endpoint: string, id: string): Reply {
    const session = findSession(endpoints(), endpoint, id)
    if (!session) return json(404, { error: 'this session has already ended' })
    logClosed(endpoint, session)
    session.close('SESSION_CLOSED')
    return json(200, { closed: true })
  }

  async function closeMatching(parameters: URLSearchParams): Promise<Reply> {
    const { filter, endpoint, status } = readQuery(parameters)
    if (filter.trim() === '' && endpoint === '' && status === '' && parameters.get('all') !== 'true') {
      return json(400, { error: 'give filter, endpoint or status, or all=true for all sessions' })
    }
    const closed = await closeSessions(endpoints(), { filter, endpoint, status }, logClosed)
    return json(200, { closed })
  }

  function routeOf(path: string): Route | undefined {
    if (Object.hasOwn(routes, path)) return routes[path]
    const [, endpoint, id] = /^\/api\/sessions\/([^/]+)\/([\w-]+)\/close$/.exec(path) ?? []
    if (endpoint === undefined || id === undefined) return undefined
    return { method: 'POST', access: 'token', closes: true, answer: () => closeSession(decode(endpoint), id) }
  }

  function refusal(request: IncomingMessage, route: Route, place: Place): Reply | undefined {
    const { headers } = request
    if (place.healthOnly && !route.isHealth) {
      return { status: 403, body: 'This address serves only health and metrics. The rest is at --admin-listen.' }
    }
    if (place.localOnly && !isLocalClient(request)) {
      return { status: 403, body: 'Without the option trustNetwork, only programs on this machine get an answer.' }
    }
    if (route.access === 'probes') return undefined
    if (!place.anyHost && !isForLoopback(headers)) {
      return { status: 403, body: 'The Host header does not name this machine; use localhost or 127.0.0.1.' }
    }
    if (route.access === 'everybody') return undefined
    if (isFromOtherPage(headers)) return { status: 403, body: 'Requests from other web pages are not allowed.' }
    if (token !== undefined && !hasToken(headers, token)) return missingToken()
    if (!route.closes || place.mayClose) return undefined
    return { status: 403, body: 'Closing sessions is off. The option closeSessions turns it on.' }
  }

  function missingToken(): Reply {
    return { status: 401, body: 'The admin token is missing or invalid.', headers: { 'www-authenticate': 'Bearer' } }
  }

  async function reply(request: IncomingMessage, place: Place, ownPath: string | undefined): Promise<Reply> {
    if (!(await skipBody(request))) {
      return { status: 413, body: `The body is longer than ${MAX_BODY_BYTES} bytes.`, headers: { connection: 'close' } }
    }
    const [path = '', query = ''] = (request.url ?? '').split('?', 2)
    const route = routeOf(ownPath ?? path)
    if (!route) return { status: 404, body: 'Not found.' }
    const allowed = route.method === 'GET' ? ['GET', 'HEAD'] : ['POST']
    if (!allowed.includes(request.method ?? '')) {
      return { status: 405, body: `Use ${route.method}.`, headers: { allow: allowed.join(', ') } }
    }
    return refusal(request, route, place) ?? (await route.answer(new URLSearchParams(query), place))
  }

  return {
    serve(request, response, place, path) {
      reply(request, place, path)
        .catch((error: unknown) => {
          if (request.errored) return undefined // the client disconnected while it sent its body
          log.error({ code: 'INTERNAL', stack: error instanceof Error ? error.stack : error }, 'admin request failed')
          return BUG
        })
        .then(answer => answer && send(response, answer))
        .catch(() => response.destroy()) // another part of the host program has answered
    },
    watchAll,
    tick() {
      watchAll()
      history.tick(endpoints(), uptime())
      activities.tick(endpoints(), monotonicClock.now())
      busy = performance.eventLoopUtilization(utilization).utilization
      utilization = performance.eventLoopUtilization()
    },
  }
}

/** A process that is ready because of other endpoints also lists the reasons of those that are not. */
function health(isReady: boolean, reasons: readonly string[]): Reply {
  return isReady ? { status: 200, body: ['ok', ...reasons].join('\n') } : { status: 503, body: reasons.join('\n') }
}

function json(status: number, value: unknown): Reply {
  return { status, type: 'application/json', body: JSON.stringify(value) }
}

function findSession(states: readonly EndpointState[], endpoint: string, id: string): Session | undefined {
  for (const { name, sessions } of states) {
    if (name !== endpoint) continue
    for (const session of sessions) if (session.id === id) return session
  }
  return undefined
}

/** Decodes percent-encoding; '' if it is invalid. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

/** Reads the body and drops it. Resolves with false if it is too long. */
async function skipBody(request: IncomingMessage): Promise<boolean> {
  let bytes = 0
  // The answer needs the socket, so an early end of the loop must not destroy it.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += (chunk as Buffer).length
    if (bytes > MAX_BODY_BYTES) return false
  }
  return true
}

const BUG: Reply = {
  status: 500,
  body: 'This is a bug in mysql-iam-proxy. Please report it with the line in the log.',
}

export function send(response: ServerResponse, { status, type, body, headers, after }: Reply): void {
  const text = type === undefined ? `${body}\n` : body
  response.writeHead(status, {
    'content-type': type ?? 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    ...headers,
  })
  response.end(text)
  after?.()
}
