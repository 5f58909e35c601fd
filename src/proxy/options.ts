/** The options of a proxy, and what is wrong with them beside one another. */
import type { Credentials, CredentialsProvider } from '../aws/credentials-given.ts'
import type { RolesAnywhereOptions } from '../aws/roles-anywhere-options.ts'
import type { LocalUserOptions } from '../client/local-user-options.ts'
import {
  type EndpointOptions,
  formatListen,
  isPrivate,
  type Listen,
  parseListen,
  rdsEndpointProblem,
} from '../endpoint.ts'
import type { Logger } from '../log.ts'
import { OPTION_VALUES, type OptionNames } from '../option-values.ts'

/** Paths of PEM files. */
export interface TlsFiles {
  /** The certificate, with its chain */
  certFile: string
  /** Its private key, without a passphrase */
  keyFile: string
}

/**
 * Options of `createProxy`; only `rdsEndpoint` is required. An option that is undefined has its default. Durations in
 * milliseconds. Each comment ends with the default.
 */
export interface ProxyOptions extends EndpointOptions {
  /** `host:port` to listen on, or `unix:/path`. Port 0 takes a free one. Default: 127.0.0.1:3306 */
  listen?: string | undefined
  /** A command that forwards 127.0.0.1:{localPort} to {host}:{port}, such as `ssh -N -L …`; it runs without a shell. Default: none */
  tunnel?: string | undefined
  /** A tunnel through Session Manager: `i-…`, `mi-…` or `ecs:CLUSTER_TASKID_RUNTIMEID`. Default: none */
  ssmTarget?: string | undefined
  /** Milliseconds until the port of `tunnel` must accept connections. Default: 20,000 */
  tunnelTimeout?: number | undefined
  /** Milliseconds without a connection after which the tunnel ends. 0: it opens with the proxy and stays open. Default: 600,000 */
  tunnelIdleTimeout?: number | undefined
  /** A profile in ~/.aws/config. Default: the credential chain of the AWS SDK */
  profile?: string | undefined
  /** IAM Roles Anywhere with a certificate of this host, to use instead of `profile` and the chain. Default: none */
  rolesAnywhere?: RolesAnywhereOptions | undefined
  /** Credentials, or a credentials provider of the AWS SDK, to use instead of `profile`, `rolesAnywhere` and the chain. Default: none */
  credentials?: Credentials | CredentialsProvider | undefined
  /** Milliseconds in which the logins of a database user share one token. 0: each login gets a new one. Default: 0 */
  tokenReuse?: number | undefined
  /**
   * PEM texts of certificate authorities to trust beside the RDS bundle and the public roots, as Node.js's `tls` takes them; each
   * may hold several certificates. An empty array adds none. Default: none
   */
  ca?: string | Uint8Array | readonly (string | Uint8Array)[] | undefined
  /** Trust only `ca`. Default: false */
  caOnly?: boolean | undefined
  /**
   * 'cached' trusts the CA certificates of RDS that `mysql-iam-proxy trust update` has downloaded for the region, 'auto'
   * also downloads them in the background if the server's CA is unknown, 'off' trusts none of them. Default: 'cached'
   */
  regionBundle?: (typeof OPTION_VALUES.regionBundle.choices)[number] | undefined
  /** The folder of the downloaded CA certificates. Default: none, so that 'cached' has nothing to trust and 'auto' keeps them in memory */
  bundleCache?: string | undefined
  /** The users that clients log in as here. With an empty array, nobody can log in. Default: any name, with any password or none */
  localUsers?: readonly LocalUserOptions[] | undefined
  /** The certificate and key for TLS to clients; the proxy reads the files again when they change. Default: none */
  tls?: TlsFiles | undefined
  /** Without `tls`: 'auto' offers TLS with a self-signed certificate, 'off' offers none. Default: 'auto' */
  localTls?: (typeof OPTION_VALUES.localTls.choices)[number] | undefined
  /** Refuse clients without TLS. Default: true if other machines can reach `listen`, unless `trustNetwork` is set */
  requireTls?: boolean | undefined
  /**
   * Networks (CIDR) or addresses that clients may come from; a client of a unix socket has no address and may. An empty array
   * lets nobody in, also over a unix socket; it does not apply to `connect()`. Default: any
   */
  allowFrom?: readonly string[] | undefined
  /** Networks (CIDR) or addresses of load balancers that send the PROXY protocol, or 'unix' for those on a unix socket. An empty array means none. Default: none */
  proxyProtocol?: readonly string[] | undefined
  /** Allow a `listen` address that other machines can reach without `localUsers` and `tls`. Default: false */
  trustNetwork?: boolean | undefined
  /** Open client connections; more get ERR 1040. 0 for no limit. Default: 10,000 */
  maxConnections?: number | undefined
  /** Server connections of clients that have not logged in yet; other clients wait for a place. 0 for no limit. Default: 20 */
  maxUnauthenticated?: number | undefined
  /** Server connections that are prepared for the next logins of a program that logs in often. Default: 0 */
  preparedConnections?: number | undefined
  /** Logins to the database per second; others wait. 0 for no limit and no circuit breaker. Default: 150 */
  maxLoginsPerSecond?: number | undefined
  /** Milliseconds to poll for more input before the event loop blocks, for all proxies of a process. 0 turns it off. Default: 0.1 if there are spare processors */
  busyPoll?: number | undefined
  /** Closes the proxy when it aborts, as `close()` does. `listen()` then fails with its reason. Default: none */
  signal?: AbortSignal | undefined
  /** Gets what the log of the command line has. Default: nothing is logged */
  logger?: Logger | undefined
}

/** The options that depend on one another. Of users, authorities and files only whether there are any counts. */
export interface CombinedOptions
  extends Pick<
    ProxyOptions,
    | 'rdsEndpoint'
    | 'region'
    | 'listen'
    | 'trustNetwork'
    | 'localTls'
    | 'regionBundle'
    | 'proxy'
    | 'tunnel'
    | 'ssmTarget'
  > {
  ca?: readonly unknown[] | undefined
  caOnly?: boolean | undefined
  localUsers?: readonly unknown[] | undefined
  tls?: unknown
  requireTls?: boolean | undefined
}

/**
 * What is wrong with valid options beside one another.
 * @param invalid options that are invalid themselves, so that a report about them and others would be false
 */
export function combinationProblems(
  options: CombinedOptions,
  names: OptionNames,
  invalid: ReadonlySet<string> = new Set(),
): string[] {
  const listen = parseListen(options.listen ?? OPTION_VALUES.listen.default)
  const about = (involved: readonly (keyof CombinedOptions)[], problem: string | false | undefined) =>
    problem && !involved.some(option => invalid.has(option)) ? [problem] : []
  const both = (first: 'proxy' | 'tunnel', second: 'tunnel' | 'ssmTarget', why: string) =>
    options[first] !== undefined &&
    options[second] !== undefined &&
    `${names.place(second)}: contradicts ${names.name(first)}: ${why}`
  return [
    ...about(['rdsEndpoint', 'region'], rdsEndpointProblem(options, names)),
    ...about(
      ['caOnly', 'ca'],
      options.caOnly && !options.ca?.length && `${names.place('caOnly')}: needs at least one ${names.name('ca')}`,
    ),
    ...about(
      ['caOnly', 'regionBundle'],
      options.caOnly &&
        options.regionBundle === 'auto' &&
        `${names.place('regionBundle')}: auto contradicts ${names.name('caOnly')}`,
    ),
    ...about(['tunnel', 'ssmTarget'], both('tunnel', 'ssmTarget', 'choose one tunnel')),
    ...about(
      ['proxy', 'ssmTarget'],
      both('proxy', 'ssmTarget', 'the tunnel makes its own way; for calls to AWS, set HTTPS_PROXY'),
    ),
    ...about(['proxy', 'tunnel'], both('proxy', 'tunnel', 'the tunnel makes its own way')),
    ...about(['listen', 'localUsers', 'tls', 'trustNetwork'], exposureProblem(listen, options, names)),
    ...about(['localTls', 'tls'], localTlsProblem(options, names)),
    ...about(['listen', 'requireTls', 'tls', 'localTls'], requireTlsProblem(listen, options, names)),
  ]
}

/**
 * What would let strangers into the database; undefined where nothing does.
 * @param listen of a socket that systemd hands over, the address is known only once the proxy listens
 */
export function exposureProblem(
  listen: Listen,
  { localUsers, tls, trustNetwork }: CombinedOptions,
  names: OptionNames,
): string | undefined {
  // With an empty list, nobody can log in.
  const hasUsers = localUsers !== undefined
  if (isPrivate(listen) || trustNetwork || (hasUsers && tls)) return undefined
  const users = hasUsers ? [] : [`local users (${names.name('localUsers')})`]
  const safe = `set ${[...users, ...(tls ? [] : [`TLS (${names.name('tls')})`])].join(' and ')}`
  const what = hasUsers ? 'send passwords without TLS' : 'use the database without a password'
  const isolated = `${names.name('trustNetwork')} if the network itself is isolated, as that of a pod is`
  return `${names.place('listen')}: other machines can reach ${formatListen(listen)} and ${what}; ${safe}, or ${isolated}`
}

function localTlsProblem({ tls, localTls }: CombinedOptions, names: OptionNames): string | undefined {
  if (!tls || localTls !== 'off') return undefined
  return `${names.place('localTls')}: off contradicts ${names.name('tls')}`
}

/** A unix socket counts as safe as TLS is. */
export function requireTlsProblem(
  listen: Listen,
  { tls, localTls, requireTls }: CombinedOptions,
  names: OptionNames,
): string | undefined {
  if (!requireTls || tls || localTls !== 'off' || !('host' in listen)) return undefined
  return `${names.place('requireTls')}: contradicts ${names.name('localTls')} off`
}
