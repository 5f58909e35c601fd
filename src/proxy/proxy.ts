/** One proxy: its parts, put together. */

import {
  type Credentials,
  type CredentialsProvider,
  cacheUntilExpiry,
  createCredentials,
  explainCredentialsError,
} from '../aws/credentials.ts'
import { createTokenSource } from '../aws/token.ts'
import { type Access, checkExposure, createAllowList } from '../client/access.ts'
import { createLocalUsers, type LocalUserOptions } from '../client/local-users.ts'
import { createLoginThrottle } from '../client/login-throttle.ts'
import { createLocalTls } from '../client/tls.ts'
import {
  DEFAULT_PORT,
  type Endpoint,
  formatHostPort,
  formatListen,
  type HostPort,
  hintValues,
  isPrivate,
  type Listen,
  parseHostPort,
  parseListen,
  regionOf,
} from '../endpoint.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import { type Logger, silent } from '../log.ts'
import { hasProcessorsToSpare, setBusyPoll } from '../relay/write-batching.ts'
import { createState, type EndpointState } from '../state.ts'
import { createCircuitBreaker } from '../upstream/circuit-breaker.ts'
import { createRateLimiter } from '../upstream/rate-limiter.ts'
import { createTrust } from '../upstream/trust.ts'
import type { Served } from './served.ts'
import { type ProxyServer, startServer } from './server.ts'

export interface ProxyOptions {
  /** host[:port] of the RDS, Aurora or RDS Proxy endpoint: the name on the certificate and the one that tokens are signed for */
  rdsEndpoint: string
  /** host[:port] to dial, for example of a Network Load Balancer; default: `rdsEndpoint` */
  connect?: string | undefined
  /** host:port to listen on, or unix:/path; default 127.0.0.1:3306, port 0 takes a free one */
  listen?: string | undefined
  /** what logs, metrics and the status page call it; default: `rdsEndpoint` */
  name?: string | undefined
  /** the database user; default: the one that the client names */
  user?: string | undefined
  /** default: read from the name of `rdsEndpoint` */
  region?: string | undefined
  /** of ~/.aws/config; default: the credential chain of the AWS SDK */
  profile?: string | undefined
  /** credentials, or a provider of the AWS SDK, to use in place of `profile` and the chain */
  credentials?: Credentials | CredentialsProvider | undefined
  /** PEM texts of certificate authorities to trust beside the RDS bundle and the public roots */
  ca?: readonly string[] | undefined
  /** trust only `ca` */
  caOnly?: boolean | undefined
  /** whether the token goes inside HandshakeResponse41; default 'auto' */
  tokenInHandshake?: 'auto' | 'always' | 'never' | undefined
  /** milliseconds for the TCP connection to the database; default 5,000 */
  connectTimeout?: number | undefined
  /** milliseconds for the login after that; default 8,000 */
  loginTimeout?: number | undefined
  /** milliseconds of idleness after which TCP keepalive probes begin, on both legs; default 60,000 */
  keepalive?: number | undefined
  /** who may log in here; default: everybody who reaches the address, with any password or none */
  localUsers?: readonly LocalUserOptions[] | undefined
  /** PEM files for TLS to clients, read again when they change */
  tls?: { certFile: string; keyFile: string } | undefined
  /** refuse clients without TLS; default: where `listen` is an address that others can reach, unless `trustNetwork` */
  requireTls?: boolean | undefined
  /** networks (CIDR) or addresses that clients may come from; default: any */
  allowFrom?: readonly string[] | undefined
  /** listen on addresses that others can reach without local users and TLS */
  trustNetwork?: boolean | undefined
  /** open connections of clients, beyond which they get ERR 1040; default 10,000, 0 for no limit */
  maxConnections?: number | undefined
  /** logins to the database a second; others wait; default 150, 0 for no limit and no pause while every login fails alike */
  maxLoginsPerSecond?: number | undefined
  /** refuse a server that is read-only, as a demoted writer behind a stale NLB target is */
  requireWriter?: boolean | undefined
  /** milliseconds to look for more input before the process sleeps, for all proxies of a process; default 0.1 where there are processors to spare, 1 at most */
  busyPoll?: number | undefined
  /** default: says nothing */
  logger?: Logger | undefined
}

/** What clients connect to: `path` is that of a unix socket, for which `host` is '' and `port` 0. */
export interface Address extends HostPort {
  path?: string
}

export interface Proxy {
  /** the endpoint as it is served: the three names, and the region */
  readonly endpoint: Readonly<Endpoint>
  /** what goes on, kept up to date */
  readonly state: EndpointState
  /** starts to listen; resolves with the address that clients connect to. @throws ProxyError CONFIG_INVALID, LISTEN_FAILED */
  listen(): Promise<Address>
  /** stops listening; sessions go on */
  stopListening(): void
  /**
   * Stops listening and ends every session; clients are told (ERR 1053).
   * @param delay milliseconds that sessions get to come to the end of their transactions; default 0
   */
  close(delay?: number): Promise<void>
}

/** A proxy for one endpoint; it does nothing until `listen()`. @throws ProxyError CONFIG_INVALID */
export function createProxy(options: ProxyOptions): Proxy {
  const endpoint = toEndpoint(options)
  const listen = parseListen(options.listen ?? '127.0.0.1:3306')
  const log = options.logger ?? silent
  const state = createState(endpoint, options.maxConnections ?? 10000)
  const credentials = trackCredentials(credentialsProvider(options, endpoint), state)
  const trust = createTrust(options.ca ?? [], options.caOnly ?? false)
  const access: Access = {
    users: options.localUsers ? createLocalUsers(options.localUsers) : undefined,
    loginThrottle: createLoginThrottle(),
    tls: undefined,
    requireTls: false,
    overUnixSocket: 'path' in listen,
    allows: createAllowList(options.allowFrom ?? []),
  }
  const { maxLoginsPerSecond = 150 } = options
  const target: Served = {
    endpoint,
    access,
    state,
    trust,
    limiter: createRateLimiter(maxLoginsPerSecond),
    breaker: createCircuitBreaker(maxLoginsPerSecond > 0),
    createToken: createTokenSource(endpoint.rds, credentials),
    takesTokenInHandshake: undefined,
  }
  state.retryCredentials = () => void credentials().catch(() => {})
  let server: ProxyServer | undefined
  return {
    endpoint,
    state,
    async listen() {
      setBusyPoll(hasProcessorsToSpare() ? Math.min(options.busyPoll ?? 0.1, 1) : 0)
      if (options.tls) access.tls = await createLocalTls(options.tls.certFile, options.tls.keyFile, log)
      // Of a socket that systemd hands over, the address is known only when it is there.
      const check = (address: Listen) => {
        checkExposure(address, access, options.trustNetwork ?? false)
        access.overUnixSocket = 'path' in address
        access.requireTls = options.requireTls ?? (!isPrivate(address) && !options.trustNetwork)
        if (access.requireTls && !access.tls && !access.overUnixSocket && !('systemd' in address)) {
          throw new ProxyError('CONFIG_INVALID', '--require-tls: needs --tls-cert and --tls-key')
        }
      }
      check(listen)
      server = await startServer(listen, target, log, check)
      // What the first login would wait for; should credentials be missing, better said now than at the first login.
      setImmediate(() => trust.secureContext())
      credentials().catch(thrown => {
        const error = asProxyError(thrown)
        log.warn({ code: error.code, hint: hintFor(error, hintValues(endpoint, undefined)) }, error.message)
      })
      const { address } = server
      return 'port' in address
        ? address
        : { host: '', port: 0, path: 'path' in address ? address.path : formatListen(address) }
    },
    stopListening() {
      server?.stopListening()
    },
    async close(delay = 0) {
      await server?.close(delay)
    },
  }
}

/** Notes in `state` how look-ups of credentials come out. */
function trackCredentials(credentials: CredentialsProvider, state: EndpointState): CredentialsProvider {
  return async () => {
    try {
      const found = await credentials()
      state.credentialsExpire = found.expiration?.getTime()
      state.credentialsFailed = false
      return found
    } catch (error) {
      state.credentialsFailed = true
      throw error
    }
  }
}

function toEndpoint(options: ProxyOptions): Endpoint {
  const rds = parseHostPort(options.rdsEndpoint, DEFAULT_PORT, '--rds-endpoint')
  const region = options.region ?? regionOf(rds.host)
  if (!region) {
    const message = `--rds-endpoint: no AWS region in the name ${formatHostPort(rds)}; give the endpoint's own name, not a CNAME or an NLB, or add --region`
    throw new ProxyError('CONFIG_INVALID', message)
  }
  return {
    name: options.name ?? formatHostPort(rds),
    rds: { ...rds, region },
    dial: options.connect ? parseHostPort(options.connect, rds.port, '--connect') : rds,
    user: options.user,
    tokenInHandshake: options.tokenInHandshake ?? 'auto',
    connectTimeout: options.connectTimeout ?? 5000,
    loginTimeout: options.loginTimeout ?? 8000,
    keepalive: options.keepalive ?? 60000,
    requireWriter: options.requireWriter ?? false,
  }
}

function credentialsProvider({ credentials, profile }: ProxyOptions, endpoint: Endpoint): CredentialsProvider {
  if (credentials === undefined) return createCredentials(endpoint.rds.region, profile)
  if (typeof credentials !== 'function') return async () => credentials
  return cacheUntilExpiry(async () => {
    try {
      return await credentials()
    } catch (error) {
      throw explainCredentialsError(error, undefined)
    }
  })
}
