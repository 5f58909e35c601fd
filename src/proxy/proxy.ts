/** One proxy, assembled from its parts. */
import type { EventEmitter } from 'node:events'
import type { Server } from 'node:net'
import type { Duplex } from 'node:stream'
import { within } from '../abort.ts'
import { watchAwsDates } from '../aws/clock-ahead.ts'
import {
  type CachedCredentials,
  type CredentialsProvider,
  createCredentials,
  type SignInHelper,
  type WaitingEndpoint,
} from '../aws/credentials.ts'
import { createConfirmMember } from '../aws/global-members.ts'
import { createHostCredentials, hostTimedOut } from '../aws/host-credentials.ts'
import { createReusedTokens, createTokenSource } from '../aws/token.ts'
import { type Access, createAllowList, createProxyHeaderList } from '../client/access.ts'
import { createLocalUsers } from '../client/local-users.ts'
import { createLoginThrottle } from '../client/login-throttle.ts'
import { createSelfSignedTls } from '../client/self-signed.ts'
import { createLocalTls } from '../client/tls.ts'
import { monotonicClock } from '../clock.ts'
import {
  type Address,
  apiRegion,
  createEndpoint,
  type Endpoint,
  formatHostPort,
  formatListen,
  hintValues,
  isPrivate,
  type Listen,
  parseListen,
} from '../endpoint.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import { createEvents, type ProxyEvents } from '../events.ts'
import { tolerateFailures } from '../host-logger.ts'
import { silent, withFields } from '../log.ts'
import { createMemoryConnection } from '../net/memory-socket.ts'
import { LIBRARY_NAMES, OPTION_VALUES, type OptionNames } from '../option-values.ts'
import { hasProcessorsToSpare } from '../relay/spare-processors.ts'
import { setBusyPoll } from '../relay/write-batching.ts'
import { createState, type EndpointState } from '../state.ts'
import type { Tunnel } from '../tunnel/tunnel.ts'
import { createAddressBook } from '../upstream/address-book.ts'
import { type CircuitBreaker, createCircuitBreaker } from '../upstream/circuit-breaker.ts'
import { createLineCompression } from '../upstream/compression.ts'
import type { Way } from '../upstream/dial.ts'
import { createGreetingWatch } from '../upstream/greeting-watch.ts'
import { nameLookup } from '../upstream/name-lookup.ts'
import { createPrepared } from '../upstream/prepared.ts'
import { createRateLimiter } from '../upstream/rate-limiter.ts'
import { createLoginHistory } from '../upstream/refusal.ts'
import { createRegionBundle } from '../upstream/region-bundle.ts'
import { createTrust } from '../upstream/trust.ts'
import { wakeWatch } from '../wake.ts'
import { createAdmission } from './admission.ts'
import { checkOptions } from './check-options.ts'
import { createLife, END_MS, type Running } from './life.ts'
import { exposureProblem, type ProxyOptions, requireTlsProblem } from './options.ts'
import { createOrphans } from './orphans.ts'
import type { Proxy as ProxyApi } from './proxy-api.ts'
import type { Served } from './served.ts'
import { type ProxyServer, startServer } from './server.ts'
import { createSessions } from './sessions.ts'
import { statusOf } from './status-of.ts'
import { createTunnelAsSet } from './tunnel.ts'
import { watchdog } from './watchdog.ts'

export type { Address } from '../endpoint.ts'
export type { ProxyOptions } from './options.ts'

/** A proxy with what the rest of this program works on, which the library does not show. */
export interface ServedProxy extends Omit<ProxyApi, 'metrics' | 'statusPage'> {
  readonly endpoint: Readonly<Endpoint>
  readonly state: EndpointState
  /** what the library's users listen to */
  readonly events: EventEmitter<ProxyEvents>
  /** The real address that it listens on; undefined before `listen()` */
  address(): Listen | undefined
  /** @param predecessor a proxy whose socket to take over; it stops listening at that moment, and its sessions go on */
  listen(predecessor?: ServedProxy): Promise<Address>
  /** Resolves when everything is loaded that the first login would wait for, as far as it can be. */
  warmUp(): Promise<void>
  /** @param stop called when the proxy has closed; at once if it has already */
  whenClosed(stop: () => void): void
  /** Stops listening without closing the socket, for a successor. */
  handOver(): Server
}

/** What proxies of one process may have together. */
export interface SharedParts {
  /** the tunnel of another proxy, instead of a separate one */
  way?: Way | undefined
  /** helps logins whose credentials need a person; the library has none */
  signIn?: SignInHelper | undefined
}

/**
 * A proxy for one endpoint. It does nothing until `listen()`.
 * @param names how errors call the options
 * @param shared with other proxies of the process
 * @throws ProxyError CONFIG_INVALID, with every mistake in the options
 */
export function createProxy(
  given: ProxyOptions,
  names: OptionNames = LIBRARY_NAMES,
  shared: SharedParts = {},
): ServedProxy {
  const { signIn, way } = shared
  const options = checkOptions(given, names)
  const endpoint = createEndpoint(options, names)
  const listen = parseListen(options.listen ?? OPTION_VALUES.listen.default)
  const log = withFields(tolerateFailures(options.logger ?? silent), () => ({ endpoint: endpoint.name }))
  const state = createState(endpoint, options.maxConnections ?? OPTION_VALUES.maxConnections.default)
  const events = createEvents(log)
  state.emit = events.emit
  const { maxLoginsPerSecond = OPTION_VALUES.maxLoginsPerSecond.default } = options
  const breaker = createCircuitBreaker(maxLoginsPerSecond > 0)
  const waiting: WaitingEndpoint = {
    profile: options.profile,
    show(shown) {
      state.signIn = shown
    },
    retry: () => credentials(),
    forgetErrors: () => breaker.credentialsArrived(),
  }
  const onArrived = () => signIn?.arrived(waiting)
  const provider = credentialsProvider(options, endpoint, signIn)
  const credentials = trackCredentials(provider, state, breaker, onArrived)
  const ofLogin = signIn ? helpedBy(signIn, waiting) : credentials
  const { region } = endpoint.rds
  const mode = options.regionBundle ?? OPTION_VALUES.regionBundle.default
  const regionBundle = region ? createRegionBundle({ region, mode, folder: options.bundleCache, log }) : undefined
  const trust = createTrust(options.ca ?? [], options.caOnly ?? false, undefined, regionBundle)
  const access: Access = {
    users: options.localUsers ? createLocalUsers(options.localUsers) : undefined,
    loginThrottle: createLoginThrottle(),
    tls: options.localTls === 'off' ? undefined : createSelfSignedTls(),
    requireTls: false,
    overUnixSocket: 'path' in listen,
    allows: createAllowList(options.allowFrom),
    expectsProxyHeader: createProxyHeaderList(options.proxyProtocol ?? []),
  }
  const reused = options.tokenReuse ? createReusedTokens(endpoint.rds, ofLogin, options.tokenReuse) : undefined
  const compression = createLineCompression(endpoint, log)
  if (compression) state.compression = compression.state
  const target: Served = {
    endpoint,
    access,
    state,
    trust,
    limiter: createRateLimiter(maxLoginsPerSecond),
    admission: createAdmission(options.maxUnauthenticated ?? OPTION_VALUES.maxUnauthenticated.default),
    breaker,
    createToken: reused?.create ?? createTokenSource(endpoint.rds, ofLogin),
    forgetToken: reused?.forget,
    lateCredentials: typeof options.credentials === 'function' ? hostTimedOut : undefined,
    confirmMember: createConfirmMember(endpoint.rds.host, credentials, options.profile),
    addresses: createAddressBook(undefined, nameLookup),
    greetings: createGreetingWatch(formatHostPort(endpoint.dial), log, undefined, compression?.line?.greeted),
    compression,
    orphans: createOrphans(),
    refreshCredentials: () => provider.refresh?.(),
    tunnel: way,
    onConnect: wire => watchdog.connected(wire, endpoint.keepalive),
    takesTokenInHandshake: undefined,
    history: createLoginHistory(),
  }
  const { preparedConnections = OPTION_VALUES.preparedConnections.default } = options
  if (preparedConnections > 0) target.prepared = createPrepared(preparedConnections, target, log)
  state.retryCredentials = () => void credentials().catch(() => {})
  const atEnd: (() => void)[] = []
  const life = createLife<Address>(options.signal, undefined, {
    listening: address => events.emit('listening', () => [{ ...address }]),
    closed() {
      for (const stop of atEnd.splice(0)) stop()
      events.emit('closed', () => [])
    },
  })
  const sessions = createSessions(target, log)
  let server: ProxyServer | undefined
  let tunnel: Tunnel | undefined
  /** the endpoint for clients of this process, which need neither TLS nor an address that is allowed */
  let inside: Served | undefined
  /** when close() must resolve, in the time of the clock */
  let endBy = Number.POSITIVE_INFINITY

  let unwatchDates: (() => void) | undefined

  /** Not before the first use: a tunnel without an idle timeout starts at once. */
  function begin(): void {
    unwatchDates ??= watchAwsDates()
    if (!way && !tunnel) target.tunnel = tunnel = createTunnelAsSet(options, endpoint, state, log, credentials)
  }

  async function open(stop: AbortSignal, predecessor: ServedProxy | undefined): Promise<Running<Address>> {
    setBusyPoll((await hasProcessorsToSpare()) ? (options.busyPoll ?? OPTION_VALUES.busyPoll.default) : 0)
    if (options.tls) access.tls = await createLocalTls(options.tls.certFile, options.tls.keyFile, log)
    // The address of a socket that systemd hands over is known only here.
    const check = (address: Listen) => {
      const problem = exposureProblem(address, options, names) ?? requireTlsProblem(address, options, names)
      if (problem) throw new ProxyError('CONFIG_INVALID', problem)
      // Clients behind a load balancer may come from anywhere.
      access.overUnixSocket = 'path' in address && !access.expectsProxyHeader('unix')
      access.requireTls = options.requireTls ?? (!isPrivate(address) && !options.trustNetwork)
    }
    check(listen)
    stop.throwIfAborted()
    begin()
    const takeOver = predecessor && (() => predecessor.handOver())
    let started: ProxyServer
    try {
      started = await startServer(listen, target, sessions, check, takeOver)
    } catch (error) {
      if (!inside) {
        unwatchDates?.()
        unwatchDates = undefined
        await tunnel?.close()
        tunnel = undefined
      }
      throw error
    }
    server = started
    if (!stop.aborted) prepareLogins(stop)
    return {
      address: addressForClients(started.address),
      stopListening() {
        started.stopListening()
        tunnel?.retire()
      },
      close: delay => end(delay, started.close),
    }
  }

  async function end(delay: number, endSessions: (delay: number) => Promise<void>): Promise<void> {
    endBy = Math.min(endBy, monotonicClock.now() + delay + END_MS)
    await endSessions(delay)
    unwatchDates?.()
    regionBundle?.close()
    // A program that does not end at once is killed later.
    await within(tunnel?.close(), endBy - monotonicClock.now(), monotonicClock)
  }

  function connect(): Duplex {
    const { client, server } = createMemoryConnection()
    try {
      life.enter(delay => end(delay, sessions.close))
    } catch (error) {
      return client.destroy(asProxyError(error))
    }
    begin()
    inside ??= { ...target, access: insideAccess(access) }
    sessions.begin()
    wakeWatch.look()
    sessions.serve(server, IN_PROCESS, inside)
    return client
  }

  /** The first login would wait for both. Missing credentials are reported now, not at the first login. */
  function prepareLogins(stop: AbortSignal): void {
    setImmediate(() => stop.aborted || void trust.begin())
    credentials().catch(thrown => {
      if (stop.aborted) return
      const error = asProxyError(thrown)
      log.warn({ code: error.code, hint: hintFor(error, hintValues(endpoint, undefined)) }, error.message)
    })
  }

  return {
    endpoint,
    state,
    events: events.emitter,
    status: () => statusOf(state, life.state()),
    address: () => server?.address,
    listen: predecessor => life.listen(stop => open(stop, predecessor)),
    connect,
    stopListening: life.stopListening,
    close: life.close,
    [Symbol.asyncDispose]: () => life.close(),
    async warmUp() {
      const sign = createTokenSource(endpoint.rds, credentials)
      await Promise.allSettled([trust.begin(), sign('nobody')])
    },
    whenClosed(stop) {
      if (life.state() === 'closed') stop()
      else atEnd.push(stop)
    },
    handOver() {
      if (!server) throw new Error('handOver before listen')
      tunnel?.retire()
      return server.handOver()
    },
  }
}

/** What stands for the address of a client in this process. */
const IN_PROCESS = 'in-process'

/** Nobody can listen in, and no other program gets in. Local users have passwords here, too. */
function insideAccess(access: Access): Access {
  return {
    ...access,
    tls: undefined,
    requireTls: false,
    overUnixSocket: true,
    allows: () => true,
    expectsProxyHeader: () => false,
  }
}

function addressForClients(address: Listen): Address {
  if ('port' in address) return address
  return { host: '', port: 0, path: 'path' in address ? address.path : formatListen(address) }
}

/** Records the result of each credentials lookup in `state`, and tells the circuit breaker of credentials. */
function trackCredentials(
  credentials: CredentialsProvider,
  state: EndpointState,
  breaker: CircuitBreaker,
  onArrived: () => void,
): CredentialsProvider {
  return async () => {
    try {
      const found = await credentials()
      onArrived()
      state.credentialsExpire = found.expiration?.getTime()
      state.credentialsFailed = false
      breaker.credentialsArrived()
      state.rolesAnywhereCertificateExpires = found.certificate?.expires.getTime()
      return found
    } catch (error) {
      state.credentialsFailed = true
      throw error
    }
  }
}

/** The credentials for a client's login: a person may have to act before there are any. */
function helpedBy(signIn: SignInHelper, waiting: WaitingEndpoint): CredentialsProvider {
  return async () => {
    try {
      return await waiting.retry()
    } catch (thrown) {
      throw await signIn.help(asProxyError(thrown), waiting)
    }
  }
}

function credentialsProvider(
  options: ProxyOptions,
  endpoint: Endpoint,
  signIn: SignInHelper | undefined,
): CredentialsProvider & Partial<CachedCredentials> {
  const { credentials } = options
  if (credentials === undefined) {
    const create = () => createCredentials({ ...options, region: apiRegion(endpoint.rds), codes: signIn?.codes })
    return signIn && !options.rolesAnywhere ? signIn.share(options.profile, create) : create()
  }
  return createHostCredentials(credentials)
}
