/**
 * The admin listener: health, metrics, status and the status page, over HTTP.
 *
 * Health and metrics are for everybody who reaches it: probes and Prometheus come without a token, and what they read
 * holds no user, client address or message. The page itself is open too, for it asks for the token; all data that it
 * shows, and all that changes something, needs the token where there is one. Without one, it listens on loopback alone.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { formatHostPort, type HostPort, isPrivate } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import type { Logger } from '../log.ts'
import { listenOn } from '../net/listen.ts'
import type { EndpointState, Session } from '../state.ts'
import { limitConnections } from './connection-limit.ts'
import { hasToken, isForLoopback, isFromOtherPage } from './guard.ts'
import { createCredentialsRetry, type Life, whyNotReady } from './health.ts'
import { createHistory, SLOT } from './history.ts'
import { createMetrics } from './metrics.ts'
import { loadPage } from './page.ts'
import { statusOf } from './status.ts'

export interface AdminOptions extends Life {
  listen: HostPort
  /** needed where it listens beyond loopback; asked for wherever it is given */
  token: string | undefined
  /** those that are served now; they may come and go */
  endpoints: () => readonly EndpointState[]
  /** what POST /quitquitquit does; undefined: it is not there */
  onQuit?: (() => void) | undefined
  /** of mysql-iam-proxy */
  version: string
}

export interface Admin {
  /** the address that it listens on; its port is the real one where 0 was asked for */
  address: HostPort
  /** takes the logins of new endpoints into the metrics from the first one on; by itself it notices them within two seconds */
  watchAll(): void
  /** stops listening and cuts off who is connected */
  close(): Promise<void>
}

interface Reply {
  status: number
  /** text/plain where not given */
  type?: string
  body: string
  headers?: Record<string, string>
  /** called when the reply is on its way */
  after?: () => void
}

interface Route {
  method: 'GET' | 'POST'
  /** who may ask: probes, whatever they call this machine; everybody but other web pages; who has the token */
  for: 'probes' | 'everybody' | 'token'
  answer(): Reply | Promise<Reply>
}

/** Bytes of a request's body, which nothing here reads. */
const MAX_BODY_BYTES = 4_096

const MAX_CONNECTIONS = 100

/** Closes connections that transfer nothing for so long, such as those of clients that do not read. */
const IDLE_TIMEOUT_MS = 30_000

/** Bounds on the time and size of a request; a client that exceeds the times gets 408. */
const SERVER_OPTIONS = {
  maxHeaderSize: 16_384,
  headersTimeout: 5_000,
  requestTimeout: 5_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
}

/** Starts to listen. @throws ProxyError CONFIG_INVALID for an address beyond loopback without a token, LISTEN_FAILED */
export async function startAdmin(options: AdminOptions, log: Logger): Promise<Admin> {
  const { listen, token, endpoints, onQuit, version } = options
  if (!isPrivate(listen) && token === undefined) {
    const message = `--admin-listen ${formatHostPort(listen)} is beyond loopback: add --admin-token-file`
    throw new ProxyError('CONFIG_INVALID', message)
  }
  const startedAt = Date.now()
  const page = loadPage()
  const metrics = createMetrics(endpoints, version)
  const history = createHistory()

  const watched = new WeakSet<EndpointState>()
  function watch(state: EndpointState): void {
    if (watched.has(state)) return
    watched.add(state)
    const next = state.onPhase
    state.onPhase = (phase, milliseconds) => {
      next?.(phase, milliseconds)
      metrics.observe(state.name, phase, milliseconds)
      if (phase === 'total') history.addLogin(state, milliseconds)
    }
  }
  const watchAll = () => {
    for (const state of endpoints()) watch(state)
  }
  watchAll()

  const routes: Record<string, Route> = {
    '/startup': { method: 'GET', for: 'probes', answer: () => health(options.isStarted() ? [] : ['not started yet']) },
    '/readiness': { method: 'GET', for: 'probes', answer: () => health(whyNotReady(endpoints(), options)) },
    '/liveness': { method: 'GET', for: 'probes', answer: () => health([]) },
    '/metrics': {
      method: 'GET',
      for: 'everybody',
      answer: async () => ({ status: 200, type: metrics.contentType, body: await metrics.text() }),
    },
    '/': {
      method: 'GET',
      for: 'everybody',
      answer: () => ({
        status: 200,
        type: 'text/html; charset=utf-8',
        body: page.html,
        headers: { 'content-security-policy': page.contentSecurityPolicy },
      }),
    },
    '/api/status': {
      method: 'GET',
      for: 'token',
      answer() {
        const notReady = whyNotReady(endpoints(), options)
        return json(200, statusOf(endpoints(), history, { version, startedAt, notReady }))
      },
    },
    '/quitquitquit': { method: 'POST', for: 'token', answer: quit },
  }

  function quit(): Reply {
    if (!onQuit) return { status: 404, body: 'off: start mysql-iam-proxy with --quitquitquit' }
    log.info({}, 'asked to stop by POST /quitquitquit')
    return { status: 200, body: 'stopping', after: onQuit }
  }

  function closeSession(endpoint: string, id: number): Reply {
    const session = findSession(endpoints(), endpoint, id)
    if (!session) return json(404, { error: 'this session is over already' })
    const { user, client, threadId } = session
    log.info({ endpoint, user, client, threadId }, 'session closed by the admin listener')
    session.close('SESSION_CLOSED')
    return json(200, { closed: true })
  }

  function routeOf(path: string): Route | undefined {
    if (Object.hasOwn(routes, path)) return routes[path]
    const [, endpoint, id] = /^\/api\/sessions\/([^/]+)\/(\d+)\/close$/.exec(path) ?? []
    if (endpoint === undefined) return undefined
    return { method: 'POST', for: 'token', answer: () => closeSession(decode(endpoint), Number(id)) }
  }

  function refusal(request: IncomingMessage, route: Route): Reply | undefined {
    const { headers } = request
    if (route.for === 'probes') return undefined
    if (token === undefined && !isForLoopback(headers)) {
      return { status: 403, body: 'The Host header does not name this machine; use localhost or 127.0.0.1.' }
    }
    if (route.for === 'everybody') return undefined
    if (isFromOtherPage(headers)) return { status: 403, body: 'Not for other web pages.' }
    if (token === undefined || hasToken(headers, token)) return undefined
    return { status: 401, body: 'The admin token is missing or wrong.', headers: { 'www-authenticate': 'Bearer' } }
  }

  async function reply(request: IncomingMessage): Promise<Reply> {
    if (!(await skipBody(request))) {
      return { status: 413, body: `A body of more than ${MAX_BODY_BYTES} bytes.`, headers: { connection: 'close' } }
    }
    const route = routeOf(request.url?.split('?')[0] ?? '')
    if (!route) return { status: 404, body: 'Nothing is here.' }
    const allowed = route.method === 'GET' ? ['GET', 'HEAD'] : ['POST']
    if (!allowed.includes(request.method ?? '')) {
      return { status: 405, body: `Use ${route.method}.`, headers: { allow: allowed.join(', ') } }
    }
    return refusal(request, route) ?? (await route.answer())
  }

  const server = createServer(SERVER_OPTIONS, (request, response) => {
    reply(request)
      .catch((error: unknown) => {
        if (request.errored) return undefined // gone while it sent its body
        log.error({ code: 'INTERNAL', stack: error instanceof Error ? error.stack : error }, 'admin request failed')
        return { status: 500, body: 'This is a bug in mysql-iam-proxy: please report it with the log line.' }
      })
      .then(answer => answer && send(response, answer))
  })
  server.setTimeout(IDLE_TIMEOUT_MS)
  limitConnections(server, MAX_CONNECTIONS)
  const address = (await listenOn(server, listen)) as HostPort
  const retryCredentials = createCredentialsRetry(startedAt)
  const timer = setInterval(() => {
    const now = Date.now()
    watchAll()
    history.tick(endpoints(), now)
    retryCredentials(endpoints(), now)
  }, SLOT)
  timer.unref()
  server.on('error', error => log.error({ code: systemCode(error) }, `admin listener: ${error.message}`))
  return {
    address,
    watchAll,
    async close() {
      clearInterval(timer)
      if (!server.listening) return
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

function health(reasons: readonly string[]): Reply {
  return reasons.length === 0 ? { status: 200, body: 'ok' } : { status: 503, body: reasons.join('\n') }
}

function json(status: number, value: unknown): Reply {
  return { status, type: 'application/json', body: JSON.stringify(value) }
}

function findSession(states: readonly EndpointState[], endpoint: string, id: number): Session | undefined {
  for (const { name, sessions } of states) {
    if (name !== endpoint) continue
    for (const session of sessions) if (session.id === id) return session
  }
  return undefined
}

/** What is no valid encoding names nothing. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

/** False where the body is longer than allowed. */
async function skipBody(request: IncomingMessage): Promise<boolean> {
  let bytes = 0
  // Left early, the stream must not end its socket, over which the answer goes.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += (chunk as Buffer).length
    if (bytes > MAX_BODY_BYTES) return false
  }
  return true
}

function send(response: ServerResponse, { status, type, body, headers, after }: Reply): void {
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
