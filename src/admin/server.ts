/**
 * The admin listener: health, metrics, status and the status page, over HTTP. The health listener: health and metrics alone.
 *
 * Health and metrics need no token, as probes and Prometheus have none; they contain no user, client address or message.
 * The page itself needs none either, as it asks for it. If a token is configured, everything else needs it: the data on the
 * page, and each request that changes something. Without a token, the admin listener accepts loopback addresses only; the
 * health listener accepts any address.
 */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { monotonicClock } from '../clock.ts'
import { formatHostPort, type HostPort, isPrivate } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { shareOpenFiles } from '../file-limit.ts'
import type { Logger } from '../log.ts'
import { listenOn } from '../net/listen.ts'
import { closeListener } from '../net/listeners.ts'
import { limitConnections } from './connection-limit.ts'
import { createHandler, type HandlerOptions, type Place } from './handler.ts'
import { createCredentialsRetry } from './health.ts'
import { SLOT_MS } from './history.ts'
import { createMetrics } from './metrics.ts'

export interface AdminOptions extends Omit<HandlerOptions, 'metrics' | 'sessionsLimit'> {
  /** undefined: no admin listener */
  listen: HostPort | undefined
  /** undefined: no health listener */
  healthListen?: HostPort | undefined
  /** required for an admin listener at an address other than loopback */
  token: string | undefined
}

export interface Admin {
  /** the addresses that it listens on, with the actual ports if 0 was requested */
  address: HostPort | undefined
  healthAddress: HostPort | undefined
  /** Adds new endpoints to the metrics now, so that no login is missed. Otherwise this happens every two seconds. */
  watchAll(): void
  /** Stops listening and closes all connections. Further calls do nothing. */
  close(): Promise<void>
}

/** Its clients are on this machine already, or have the token. */
const EVERYTHING = { healthOnly: false, localOnly: false, mayClose: true }

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

/** Starts to listen, at one or both addresses. @throws ProxyError CONFIG_INVALID for an address beyond loopback without a token, LISTEN_FAILED */
export async function startAdmin(options: AdminOptions, log: Logger): Promise<Admin> {
  const { listen, healthListen, token, endpoints, version, drainingSessions = () => 0 } = options
  if (listen && !isPrivate(listen) && token === undefined) {
    const message = `the admin listener needs a token on ${formatHostPort(listen)}, which is not a loopback address`
    throw new ProxyError('CONFIG_INVALID', message)
  }
  const shares = shareOpenFiles()
  const sessionsLimit = Number.isFinite(shares.sessions) ? shares.sessions : undefined
  const metrics = createMetrics(endpoints, version, drainingSessions)
  const { serve, watchAll, tick } = createHandler({ ...options, metrics, sessionsLimit }, log)

  const servers: Server[] = []
  const open = async (listen: HostPort, place: Place) => {
    const server = createServer(SERVER_OPTIONS, (request, response) => serve(request, response, place))
    server.setTimeout(IDLE_TIMEOUT_MS)
    limitConnections(server, shares.adminConnections)
    const address = (await listenOn(
      server,
      listen,
      place.healthOnly ? 'health listener' : 'admin listener',
    )) as HostPort
    server.on('error', error => log.error({ code: systemCode(error) }, `admin listener: ${error.message}`))
    servers.push(server)
    return address
  }
  const close = async () => {
    for (const server of servers.splice(0)) {
      closeListener(server)
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
  const address = listen && (await open(listen, { ...EVERYTHING, anyHost: token !== undefined }))
  const atHealth = healthListen && { ...EVERYTHING, healthOnly: true, anyHost: !isPrivate(healthListen) }
  const healthAddress =
    atHealth &&
    (await open(healthListen, atHealth).catch(async error => {
      await close()
      throw error
    }))
  const retryCredentials = createCredentialsRetry(monotonicClock.now())
  const timer = setInterval(() => {
    tick()
    retryCredentials(endpoints(), monotonicClock.now())
  }, SLOT_MS)
  timer.unref()
  return {
    address,
    healthAddress,
    watchAll,
    async close() {
      clearInterval(timer)
      await close()
    },
  }
}
