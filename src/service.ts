/** The endpoints of a process: starting them together, reading the configuration again, stopping. */
import type { Config } from './config/load.ts'
import { invalid, toProxyOptions } from './config/proxy-options.ts'
import type { Settings } from './config/settings.ts'
import { formatHostPort } from './endpoint.ts'
import { asProxyError, hintFor } from './errors.ts'
import type { EndpointState } from './index.ts'
import type { Logger } from './log.ts'
import { createProxy, type ProxyOptions, type Proxy as ServedProxy } from './proxy/proxy.ts'
import { noteSync } from './state.ts'
import type { SyncFailure, SyncJob, SyncResult } from './sync-targets/sync.ts'

export interface Service {
  /** of the endpoints as they are now, and of those before them that still have sessions */
  states(): EndpointState[]
  /**
   * Goes over to another configuration: endpoints that are the same stay, the others come and go; sessions live on.
   * @throws ProxyError CONFIG_INVALID, LISTEN_FAILED; what was there before is there still
   */
  reload(config: Config): Promise<void>
  /** @param delay milliseconds for sessions to end their transactions */
  stop(delay: number): Promise<void>
}

interface Served {
  proxy: ServedProxy
  options: ProxyOptions
  /** its options as one text: another text is another endpoint */
  identity: string
  /** lets the targets of its NLB follow it */
  sync: SyncJob | undefined
  /** ends that */
  stop: AbortController
}

/** Starts every endpoint, or none. @throws ProxyError CONFIG_INVALID, LISTEN_FAILED */
export async function startService(config: Config, log: Logger): Promise<Service> {
  let served = await prepare(config, log)
  await listenAll(served, log)
  const retired = new Set<ServedProxy>()

  const dropDrained = () => {
    for (const proxy of retired) if (proxy.state.sessions.size === 0) retired.delete(proxy)
  }

  return {
    states() {
      dropDrained()
      return [...served.map(({ proxy }) => proxy), ...retired].map(({ state }) => state)
    },
    async reload(config) {
      dropDrained()
      const next = await prepare(config, log)
      const kept = (one: Served, others: Served[]) => others.find(({ identity }) => identity === one.identity)
      const come = next.filter(one => !kept(one, served))
      const go = served.filter(one => !kept(one, next))
      const ofSystemd = [...come, ...go].find(({ options }) => options.listen?.startsWith('systemd'))
      if (ofSystemd)
        throw invalid(`endpoint ${ofSystemd.proxy.state.name}: its socket is systemd's; restart to change it`)
      for (const { proxy } of go) proxy.stopListening()
      try {
        await listenAll(come, log)
      } catch (error) {
        const again = go.map(asBefore)
        served = served.filter(one => !go.includes(one))
        await listenAll(again, log).then(
          () => served.push(...again),
          failure => logReloadFailure(failure, log),
        )
        for (const { proxy, stop } of go) {
          stop.abort()
          retired.add(proxy)
        }
        throw error
      }
      for (const { proxy, stop } of go) {
        stop.abort()
        retired.add(proxy)
        log.info({ endpoint: proxy.state.name, sessions: proxy.state.sessions.size }, 'no longer listening')
      }
      served = next.map(one => kept(one, served) ?? one)
    },
    async stop(delay) {
      for (const { stop } of served) stop.abort()
      const proxies = [...served.map(({ proxy }) => proxy), ...retired]
      await Promise.all(proxies.map(proxy => proxy.close(delay)))
    },
  }
}

async function prepare({ settings, endpoints }: Config, log: Logger): Promise<Served[]> {
  const all: Served[] = []
  for (const endpoint of endpoints) {
    const options = await toProxyOptions(endpoint, log)
    const sync = endpoint.sync ? await toSyncJob(endpoint.sync) : undefined
    const served = serve({ ...options, busyPoll: settings['busy-poll'] }, sync)
    all.push({ ...served, identity: served.identity + JSON.stringify(endpoint.sync) })
  }
  return all
}

/** The same endpoint anew, on the very address. */
function asBefore({ proxy, options, identity, sync }: Served): Served {
  return { ...serve({ ...options, listen: proxy.state.address }, sync), identity }
}

function serve(options: ProxyOptions, sync: SyncJob | undefined): Served {
  const { logger: _logger, ...rest } = options
  return { proxy: createProxy(options), options, identity: JSON.stringify(rest), sync, stop: new AbortController() }
}

/** Only where an endpoint has a `sync`, its modules are loaded. @throws ProxyError CONFIG_INVALID */
async function toSyncJob(settings: Settings): Promise<SyncJob> {
  const { toJob } = await import('./sync-targets/job.ts')
  return await toJob(settings)
}

/** sync-targets beside the endpoint, until that goes. */
async function follow({ proxy, sync, stop }: Served, log: Logger): Promise<void> {
  if (!sync) return
  const note = (result: SyncResult | SyncFailure) => noteSync(proxy.state, result)
  try {
    const { startSync } = await import('./sync-targets/sync.ts')
    await startSync(sync, log, stop.signal, note)
  } catch (thrown) {
    if (stop.signal.aborted) return
    const error = asProxyError(thrown)
    log.error({ code: error.code, hint: hintFor(error, {}) }, `sync-targets has ended: ${error.message}`)
  }
}

/** @throws ProxyError of the first that can't, after those that could have stopped again */
async function listenAll(served: readonly Served[], log: Logger): Promise<void> {
  const listening: ServedProxy[] = []
  try {
    for (const { proxy, options } of served) {
      await proxy.listen()
      listening.push(proxy)
      const { endpoint, state } = proxy
      const names = {
        endpoint: endpoint.name,
        rds: formatHostPort(endpoint.rds),
        dial: formatHostPort(endpoint.dial),
        region: endpoint.rds.region,
      }
      log.info(names, `listening on ${state.address}; ${describeExposure(options)}`)
    }
  } catch (error) {
    await Promise.all(listening.map(proxy => proxy.close()))
    throw error
  }
  for (const one of served) void follow(one, log)
}

/** What listening there means. */
function describeExposure({ localUsers = [], listen = '', trustNetwork }: ProxyOptions): string {
  if (localUsers.length > 0) return `clients log in as ${localUsers.map(({ name }) => `'${name}'`).join(', ')}`
  if (listen.startsWith('unix:')) return 'no password is asked for: every program of this user is in the database'
  const who = trustNetwork ? 'everybody who' : 'every program on this machine that'
  return `no password is asked for: ${who} reaches it is in the database`
}

/** Tells the log of a reload that was not possible. */
export function logReloadFailure(thrown: unknown, log: Logger): void {
  const error = asProxyError(thrown)
  log.error({ code: error.code, hint: hintFor(error, {}) }, `${error.message}; going on as before`)
}
