/** The library's `statusPage`. It loads host-page.ts at the first call, as few programs want the page. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Logger } from '../log.ts'
import type { EndpointState } from '../state.ts'
import type { Life } from './health.ts'
import type { HostPage } from './host-page.ts'

/** What the page needs of a proxy. */
export interface ShownProxy {
  state: EndpointState
  metrics(): string
  status(): { state: 'idle' | 'listening' | 'closing' | 'closed' }
  whenClosed(stop: () => void): void
}

export type StatusPage = (permissions: {
  trustNetwork: boolean
  closeSessions: boolean
}) => (request: IncomingMessage, response: ServerResponse) => void

export function createStatusPage(proxy: ShownProxy, log: Logger): StatusPage {
  const { state } = proxy
  const life: Life = {
    // connect() needs no listen().
    isStarted: () => proxy.status().state !== 'idle' || state.sessions.size > 0 || state.outcomes.size > 0,
    isStopping: () => ['closing', 'closed'].includes(proxy.status().state),
  }
  async function load(): Promise<HostPage> {
    const { createHostPage } = await import('./host-page.ts')
    const page = createHostPage(state, life, proxy.metrics, log)
    proxy.whenClosed(page.stop)
    return page
  }
  let loading: Promise<HostPage> | undefined

  return ({ trustNetwork, closeSessions }) => {
    const place = { healthOnly: false, anyHost: trustNetwork, localOnly: !trustNetwork, mayClose: closeSessions }
    loading ??= load()
    loading.catch(error => log.error({ code: 'INTERNAL', stack: error?.stack }, 'admin request failed'))
    const page = loading
    return (request, response) => {
      page
        .then(
          ({ serve }) => serve(request, response, place),
          () => response.writeHead(500).end('The status page is unavailable. The log has the reason.\n'),
        )
        .catch(() => response.destroy()) // another part of the host program has answered
    }
  }
}
