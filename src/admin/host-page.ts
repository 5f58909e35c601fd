/**
 * The status page in a host program's own HTTP server, under any path. The library loads this file at the first call of
 * `statusPage`: decision 186.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { LIBRARY_VERSION } from '../library-version.ts'
import type { Logger } from '../log.ts'
import type { EndpointState } from '../state.ts'
import { createHandler, type Handler, type Place, send } from './handler.ts'
import type { Life } from './health.ts'
import { SLOT_MS } from './history.ts'

export interface HostPage {
  serve(request: IncomingMessage, response: ServerResponse, place: Place): void
  /** Stops the history. The page goes on. */
  stop(): void
}

/** The paths of the page, after whatever the host program puts before them. */
const PATH =
  /\/(?:api\/status|api\/sessions\/close|api\/sessions\/[^/]+\/[\w-]+\/close|metrics|startup|readiness|liveness)?$/

export function createHostPage(state: EndpointState, life: Life, text: () => string, log: Logger): HostPage {
  const metrics = { contentType: 'text/plain; version=0.0.4; charset=utf-8', text }
  const endpoints = () => [state]
  const handler = createHandler(
    { ...life, token: undefined, readyWhen: 'all', endpoints, metrics, version: LIBRARY_VERSION },
    log,
  )
  const timer = sample(new WeakRef(handler))
  return {
    serve(request, response, place) {
      const { path, location } = routeOf(request)
      const isRead = request.method === 'GET' || request.method === 'HEAD'
      if (location === undefined || !isRead) return handler.serve(request, response, place, path)
      send(response, { status: 307, body: 'The page is here, with a slash at the end.', headers: { location } })
    },
    stop: () => clearInterval(timer),
  }
}

/** The timer must not keep a proxy that the host program has forgotten without closing it. */
function sample(handler: WeakRef<Handler>): ReturnType<typeof setInterval> {
  const timer = setInterval(() => {
    const alive = handler.deref()
    if (alive) alive.tick()
    else clearInterval(timer)
  }, SLOT_MS)
  return timer.unref()
}

/**
 * The path as the handler knows it. A framework such as Express leaves the rest after its own prefix in `url`; without one,
 * `url` is the whole path.
 * @returns `location` if the page was asked for without the slash at the end: its relative links would lead elsewhere
 */
function routeOf(request: IncomingMessage): { path: string; location?: string } {
  const { url = '', originalUrl = url } = request as IncomingMessage & { originalUrl?: string }
  const [rest = ''] = url.split('?', 1)
  const [whole = '', ...query] = originalUrl.split('?')
  const known = PATH.exec(rest)?.[0]
  if (known !== undefined && known !== '/') return { path: known }
  // The prefix is known only if it was cut off: then other paths do not exist.
  if (known === undefined && originalUrl !== url) return { path: rest }
  const last = whole.slice(whole.lastIndexOf('/') + 1)
  if (last === '') return { path: '/' }
  // Relative, so that it can lead to no other host.
  return { path: '/', location: [`./${last}/`, ...query].join('?') }
}
