/**
 * mysql-iam-proxy as a library.
 *
 * @example
 * import { createProxy } from 'mysql-iam-proxy'
 *
 * const proxy = createProxy({
 *   rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
 *   connect: 'my-nlb-0123456789abcdef.elb.eu-west-1.amazonaws.com',
 *   listen: '127.0.0.1:0',
 * })
 * const { host, port } = await proxy.listen()
 * // … connect any MySQL client to host:port …
 * await proxy.close()
 */
import {
  DEFAULT_PORT,
  type Endpoint,
  formatHostPort,
  type HostPort,
  hintValues,
  parseHostPort,
  regionOf,
} from './endpoint.ts'
import { asProxyError, hintFor, ProxyError } from './errors.ts'
import { type Logger, silent } from './log.ts'
import { type ProxyServer, startServer } from './server.ts'
import {
  type Credentials,
  type CredentialsProvider,
  createCredentials,
  createTokenSource,
  explainCredentialsError,
  keepUntilExpiry,
} from './token.ts'
import { createTrust } from './trust.ts'
import { hasProcessorsToSpare, setBusyPoll } from './turn.ts'
import type { Target } from './upstream.ts'

export type { HostPort } from './endpoint.ts'
export { ERRORS, type ErrorCode, ProxyError } from './errors.ts'
export type { Logger } from './log.ts'
export type { Credentials, CredentialsProvider } from './token.ts'

export interface ProxyOptions {
  /** host[:port] of the RDS, Aurora or RDS Proxy endpoint: the name on the certificate and the one that tokens are signed for */
  rdsEndpoint: string
  /** host[:port] to dial, for example of a Network Load Balancer; default: `rdsEndpoint` */
  connect?: string | undefined
  /** loopback host:port to listen on; default 127.0.0.1:3306, port 0 takes a free one */
  listen?: string | undefined
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
  /** milliseconds to look for more input before the process sleeps, for all proxies of a process; default 0.1 where there are processors to spare, 1 at most */
  busyPoll?: number | undefined
  /** default: says nothing */
  logger?: Logger | undefined
}

export interface Proxy {
  /** the endpoint as it is served: the three names, and the region */
  readonly endpoint: Readonly<Endpoint>
  /** starts to listen; resolves with the address that clients connect to. @throws ProxyError CONFIG_INVALID, LISTEN_FAILED */
  listen(): Promise<HostPort>
  /** stops listening and ends every session */
  close(): Promise<void>
}

/** A proxy for one endpoint; it does nothing until `listen()`. @throws ProxyError CONFIG_INVALID */
export function createProxy(options: ProxyOptions): Proxy {
  const endpoint = toEndpoint(options)
  const listenAddress = parseHostPort(options.listen ?? '127.0.0.1:3306', DEFAULT_PORT, '--listen')
  const log = options.logger ?? silent
  const credentials = toProvider(options, endpoint)
  const trust = createTrust(options.ca ?? [], options.caOnly ?? false)
  const createToken = createTokenSource(endpoint.rds, credentials)
  const target: Target = { endpoint, trust, createToken, takesTokenInHandshake: undefined }
  let server: ProxyServer | undefined
  return {
    endpoint,
    async listen() {
      setBusyPoll(hasProcessorsToSpare() ? Math.min(options.busyPoll ?? 0.1, 1) : 0)
      server = await startServer(listenAddress, target, log)
      // What the first login would wait for; should credentials be missing, better said now than at the first login.
      setImmediate(() => trust.secureContext())
      credentials().catch(thrown => {
        const error = asProxyError(thrown)
        log.warn({ code: error.code, hint: hintFor(error, hintValues(endpoint, undefined)) }, error.message)
      })
      return server.address
    },
    async close() {
      await server?.close()
    },
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
    rds: { ...rds, region },
    dial: options.connect ? parseHostPort(options.connect, rds.port, '--connect') : rds,
    user: options.user,
    tokenInHandshake: options.tokenInHandshake ?? 'auto',
    connectTimeout: options.connectTimeout ?? 5_000,
    loginTimeout: options.loginTimeout ?? 8_000,
    keepalive: options.keepalive ?? 60_000,
  }
}

function toProvider({ credentials, profile }: ProxyOptions, endpoint: Endpoint): CredentialsProvider {
  if (credentials === undefined) return createCredentials(endpoint.rds.region, profile)
  if (typeof credentials !== 'function') return async () => credentials
  return keepUntilExpiry(async () => {
    try {
      return await credentials()
    } catch (error) {
      throw explainCredentialsError(error, undefined)
    }
  })
}
