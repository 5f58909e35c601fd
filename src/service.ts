/** The endpoints of a process: starts them together, reloads the configuration, stops them. */
import type { SignInHelper } from './aws/credentials.ts'
import type { Config } from './config/load.ts'
import { type PreparedEndpoint, prepareEndpoints } from './config/proxy-options.ts'
import { type Connection, connectionOf } from './connection.ts'
import { type Endpoint, formatHostPort } from './endpoint.ts'
import { asProxyError, hintFor, ProxyError } from './errors.ts'
import { type Logger, withFields } from './log.ts'
import type { ProxyOptions } from './proxy/options.ts'
import { createProxy, type ServedProxy } from './proxy/proxy.ts'
import { type EndpointState, type LoginTracer, noteSync } from './state.ts'
import type { SyncResult } from './sync-targets/plan.ts'
import type { SyncFailure, SyncJob } from './sync-targets/sync.ts'
import { wakeWatch } from './wake.ts'

export interface Service {
  /** Of the present endpoints, and of former ones that still have sessions */
  states(): EndpointState[]
  /** How clients connect to the endpoints */
  connections(): Connection[]
  /**
   * Changes to another configuration. Unchanged endpoints stay, the others stop or start; sessions live on.
   * @throws ProxyError CONFIG_INVALID, LISTEN_FAILED; then everything stays as it was
   */
  reload(config: Config): Promise<void>
  /** Resolves when the first logins need not wait for what a start loads. */
  warmUp(): Promise<void>
  /** Stops listening, because another process serves from now on; sessions go on. */
  retire(): void
  /** @param delay milliseconds for sessions to finish their transactions */
  stop(delay: number): Promise<void>
}

/** Makes what follows the logins of an endpoint. */
type TracerOf = (endpoint: Endpoint) => LoginTracer

interface ServedEndpoint {
  proxy: ServedProxy
  prepared: PreparedEndpoint
  options: ProxyOptions
  /** All options as one text: another text means another endpoint */
  identity: string
  /** Stops sync-targets beside the endpoint */
  stop: AbortController
}

/** What the endpoints of a process share. */
interface Shared {
  tracerOf: TracerOf | undefined
  signIn: SignInHelper | undefined
}

/**
 * Starts every endpoint, or none.
 * @param tracerOf for traces of logins
 * @param signIn helps logins whose credentials need a person
 * @throws ProxyError CONFIG_INVALID, LISTEN_FAILED
 */
export async function startService(
  config: Config,
  log: Logger,
  tracerOf?: TracerOf,
  signIn?: SignInHelper,
): Promise<Service> {
  const shared: Shared = { tracerOf, signIn }
  let served = await prepare(config, log, shared)
  await listenAll(served, log)
  const retired = new Set<ServedProxy>()
  const unsubscribe = wakeWatch.subscribe(({ what }) =>
    log.info({}, `${what}: connections are probed, and failures before it are forgotten`),
  )

  const dropDrained = () => {
    for (const proxy of retired) if (proxy.state.sessions.size === 0) retired.delete(proxy)
  }

  return {
    states() {
      dropDrained()
      return [...served.map(({ proxy }) => proxy), ...retired].map(({ state }) => state)
    },
    connections() {
      return served.map(({ proxy, options }) => connectionOf(proxy.endpoint.name, options, {}, proxy.address()))
    },
    async reload(config) {
      dropDrained()
      const next = await prepare(config, log, shared)
      const sameIn = (others: ServedEndpoint[], one: ServedEndpoint) =>
        others.find(({ identity }) => identity === one.identity)
      const added = next.filter(one => !sameIn(served, one))
      const removed = served.filter(one => !sameIn(next, one))
      refuseSystemdSockets([...added, ...removed])
      const predecessors = findPredecessors(added, removed)
      const stopped = removed.filter(one => ![...predecessors.values()].includes(one))
      for (const { proxy } of stopped) proxy.stopListening()
      try {
        await listenAll(
          added.filter(one => !predecessors.has(one)),
          log,
        )
      } catch (error) {
        const restored = stopped.map(one => onSameAddress(one, shared))
        served = served.filter(one => !stopped.includes(one))
        await listenAll(restored, log).then(
          () => served.push(...restored),
          failure => logReloadFailure(failure, log),
        )
        for (const { proxy, stop } of stopped) {
          stop.abort()
          retired.add(proxy)
        }
        throw error
      }
      // Last, because these take the place of the others at once.
      await listenAll([...predecessors.keys()], log, predecessors)
      for (const { proxy, stop } of removed) {
        stop.abort()
        retired.add(proxy)
        const message = stopped.some(one => one.proxy === proxy)
          ? 'no longer listening'
          : 'replaced; its sessions go on'
        log.info({ endpoint: proxy.state.name, sessions: proxy.state.sessions.size }, message)
      }
      served = next.map(one => sameIn(served, one) ?? one)
    },
    async warmUp() {
      await Promise.all(served.map(({ proxy }) => proxy.warmUp()))
    },
    retire() {
      unsubscribe()
      for (const { proxy, stop } of served) {
        stop.abort()
        proxy.stopListening()
        retired.add(proxy)
      }
      served = []
    },
    async stop(delay) {
      unsubscribe()
      for (const { stop } of served) stop.abort()
      const proxies = [...served.map(({ proxy }) => proxy), ...retired]
      await Promise.all(proxies.map(proxy => proxy.close(delay)))
    },
  }
}

/** The endpoints of `added` that listen where one of `removed` does: they take its socket over, so that no client is refused. */
function findPredecessors(
  added: readonly ServedEndpoint[],
  removed: readonly ServedEndpoint[],
): Map<ServedEndpoint, ServedEndpoint> {
  const found = new Map<ServedEndpoint, ServedEndpoint>()
  const left = new Set(removed)
  for (const one of added) {
    const { listen } = one.options
    const isSame = ({ prepared, proxy }: ServedEndpoint) => {
      // Endpoints that asked for any free port have nothing in common but their name.
      const isNamed = !listen?.endsWith(':0') || proxy.state.name === one.proxy.state.name
      return listen === proxy.state.address || (listen === prepared.options.listen && isNamed)
    }
    const predecessor = [...left].find(isSame)
    if (!predecessor) continue
    left.delete(predecessor)
    found.set(one, predecessor)
  }
  return found
}

/** systemd hands over sockets only at the start of a process. */
function refuseSystemdSockets(changed: readonly ServedEndpoint[]): void {
  const found = changed.find(({ options }) => options.listen?.startsWith('systemd'))
  if (!found) return
  const message = `endpoint ${found.proxy.state.name}: systemd owns its socket; use mysql-iam-proxy upgrade to change it`
  throw new ProxyError('CONFIG_INVALID', message)
}

async function prepare({ settings, endpoints }: Config, log: Logger, shared: Shared): Promise<ServedEndpoint[]> {
  const prepared = await prepareEndpoints(endpoints, log)
  return prepared.map(one => serve(one, { ...one.options, busyPoll: settings['busy-poll'] }, shared))
}

/** The same endpoint again, on the address that it had, which may have been a free port. */
function onSameAddress({ proxy, prepared, options, identity }: ServedEndpoint, shared: Shared): ServedEndpoint {
  return { ...serve(prepared, { ...options, listen: proxy.state.address }, shared), identity }
}

function serve(prepared: PreparedEndpoint, options: ProxyOptions, { tracerOf, signIn }: Shared): ServedEndpoint {
  const { logger: _logger, ...rest } = options
  const proxy = createProxy(options, prepared.config.names, { signIn })
  proxy.state.tracer = tracerOf?.(proxy.endpoint)
  return {
    proxy,
    prepared,
    options,
    identity: JSON.stringify([rest, prepared.config.sync?.settings]),
    stop: new AbortController(),
  }
}

/** Runs sync-targets beside the endpoint, until the endpoint stops. */
async function follow(job: SyncJob, { proxy, stop }: ServedEndpoint, log: Logger): Promise<void> {
  const note = (result: SyncResult | SyncFailure) => noteSync(proxy.state, result)
  try {
    const { startSync } = await import('./sync-targets/sync.ts')
    await startSync(job, log, stop.signal, note)
  } catch (thrown) {
    if (stop.signal.aborted) return
    const error = asProxyError(thrown)
    log.error({ code: error.code, hint: hintFor(error, {}) }, `sync-targets has stopped: ${error.message}`)
  }
}

/** @throws ProxyError, with the place of the address in the configuration */
async function listenAtPlace({ proxy, prepared }: ServedEndpoint, predecessor: ServedProxy | undefined): Promise<void> {
  try {
    await proxy.listen(predecessor)
  } catch (error) {
    if (!(error instanceof ProxyError) || error.code !== 'LISTEN_FAILED') throw error
    const place = prepared.config.names.place('listen')
    throw new ProxyError('LISTEN_FAILED', `${place}: ${error.message}`, { cause: error })
  }
}

/** @throws ProxyError of the first endpoint that cannot listen, after those that could have stopped again */
async function listenAll(
  served: readonly ServedEndpoint[],
  log: Logger,
  predecessors: ReadonlyMap<ServedEndpoint, ServedEndpoint> = new Map(),
): Promise<void> {
  const listening: ServedProxy[] = []
  try {
    for (const one of served) {
      const { proxy, options } = one
      await listenAtPlace(one, predecessors.get(one)?.proxy)
      listening.push(proxy)
      const { endpoint, state } = proxy
      const names = {
        endpoint: endpoint.name,
        rds: formatHostPort(endpoint.rds),
        dial: formatHostPort(endpoint.dial),
        proxy: endpoint.proxy?.shown,
        tunnel: state.tunnel?.name,
        region: endpoint.rds.region,
      }
      log.info(names, `listening on ${state.address}; ${describeExposure(options)}`)
    }
  } catch (error) {
    await Promise.all(listening.map(proxy => proxy.close()))
    throw error
  }
  for (const one of served)
    if (one.prepared.sync)
      void follow(
        one.prepared.sync,
        one,
        withFields(log, () => ({ endpoint: one.proxy.state.name })),
      )
}

/** Who can use the database through this listener. */
function describeExposure({ localUsers = [], listen = '', trustNetwork }: ProxyOptions): string {
  if (localUsers.length > 0) return `clients log in as ${localUsers.map(({ name }) => `'${name}'`).join(', ')}`
  if (listen.startsWith('unix:')) return 'no password required: any program of this user can use this database'
  const who = trustNetwork ? 'anyone who can reach this address' : 'any program on this machine'
  return `no password required: ${who} can use this database`
}

/** Logs why a reload failed. */
export function logReloadFailure(thrown: unknown, log: Logger): void {
  const error = asProxyError(thrown)
  log.error({ code: error.code, hint: hintFor(error, {}) }, `the previous configuration stays active: ${error.message}`)
}
