/** The options of a proxy, and what is wrong with them. */
import type { Credentials, CredentialsProvider } from '../aws/credentials.ts'
import { type RolesAnywhereOptions, rolesAnywhereProblems } from '../aws/roles-anywhere-options.ts'
import { createLocalUsers, type LocalUserOptions } from '../client/local-users.ts'
import {
  type EndpointOptions,
  formatListen,
  isPrivate,
  type Listen,
  listenProblem,
  parseListen,
  rdsEndpointProblem,
  remoteProblem,
} from '../endpoint.ts'
import { asProxyError, ProxyError } from '../errors.ts'
import { databaseProxyProblem } from '../forward-proxy.ts'
import type { Logger } from '../log.ts'
import { LIBRARY_NAMES, OPTION_VALUES, type OptionNames } from '../option-values.ts'
import { ssmTargetProblem } from '../ssm-target.ts'
import { tunnelCommandProblem } from '../tunnel-command.ts'
import { createTrust } from '../upstream/trust.ts'
import { networkProblem, proxyProtocolProblem, rangeProblem, regionNameProblem } from '../value-checks.ts'

/** Options of `createProxy`; only `rdsEndpoint` is required. */
export interface ProxyOptions extends EndpointOptions {
  /** `host:port` to listen on, or `unix:/path`; default 127.0.0.1:3306. Port 0 takes a free one */
  listen?: string | undefined
  /** A command that forwards 127.0.0.1:{localPort} to {host}:{port}, such as `ssh -N -L …`; it runs without a shell. Default: none */
  tunnel?: string | undefined
  /** A tunnel through Session Manager: `i-…`, `mi-…` or `ecs:CLUSTER_TASKID_RUNTIMEID`. Default: none */
  ssmTarget?: string | undefined
  /** Milliseconds until the port of `tunnel` must accept connections; default 20,000 */
  tunnelTimeout?: number | undefined
  /** Milliseconds without a connection after which the tunnel ends; default 600,000. 0: it opens with the proxy and stays open */
  tunnelIdleTimeout?: number | undefined
  /** A profile in ~/.aws/config; default: the credential chain of the AWS SDK */
  profile?: string | undefined
  /** IAM Roles Anywhere with a certificate of this host, to use instead of `profile` and the chain */
  rolesAnywhere?: RolesAnywhereOptions | undefined
  /** Credentials, or a credentials provider of the AWS SDK, to use instead of `profile`, `rolesAnywhere` and the chain */
  credentials?: Credentials | CredentialsProvider | undefined
  /** Milliseconds in which the logins of a database user share one token, at most 600,000; default 0: each login gets a new one */
  tokenReuse?: number | undefined
  /** PEM texts of certificate authorities to trust beside the RDS bundle and the public roots */
  ca?: readonly string[] | undefined
  /** Trust only `ca`; default false */
  caOnly?: boolean | undefined
  /**
   * 'cached' trusts the CA certificates of RDS that `mysql-iam-proxy trust update` has downloaded for the region, 'auto'
   * also downloads them in the background if the server's CA is unknown, 'off' trusts none of them; default 'cached'
   */
  regionBundle?: (typeof OPTION_VALUES.regionBundle.choices)[number] | undefined
  /** The folder of the downloaded CA certificates; default: none, so that 'cached' has nothing to trust and 'auto' keeps them in memory */
  bundleCache?: string | undefined
  /** The users that clients log in as here; default: any name, with any password or none */
  localUsers?: readonly LocalUserOptions[] | undefined
  /** Paths of PEM files for TLS to clients; the proxy reads them again when they change */
  tls?: { certFile: string; keyFile: string } | undefined
  /** Without `tls`: 'auto' offers TLS with a self-signed certificate, 'off' offers none; default 'auto' */
  localTls?: (typeof OPTION_VALUES.localTls.choices)[number] | undefined
  /** Refuse clients without TLS; default: true if other machines can reach `listen`, unless `trustNetwork` is set */
  requireTls?: boolean | undefined
  /** Networks (CIDR) or addresses that clients may come from; default: any */
  allowFrom?: readonly string[] | undefined
  /** Networks (CIDR) or addresses of load balancers that send the PROXY protocol, or 'unix' for those on a unix socket; default: none */
  proxyProtocol?: readonly string[] | undefined
  /** Allow a `listen` address that other machines can reach without `localUsers` and `tls`; default false */
  trustNetwork?: boolean | undefined
  /** Open client connections; more get ERR 1040. Default 10,000; 0 for no limit */
  maxConnections?: number | undefined
  /** Server connections of clients that have not logged in yet; other clients wait for a place. Default 20; 0 for no limit */
  maxUnauthenticated?: number | undefined
  /** Server connections, 0 to 2, that are prepared for the next logins of a program that logs in often; default 0 */
  preparedConnections?: number | undefined
  /** Logins to the database per second; others wait. Default 150; 0 for no limit and no circuit breaker */
  maxLoginsPerSecond?: number | undefined
  /** Milliseconds to poll for more input before the event loop blocks, for all proxies of a process; 0 to 1. Default 0.1 if there are spare processors */
  busyPoll?: number | undefined
  /** Closes the proxy when it aborts, as `close()` does. `listen()` then fails with its reason. Default: none */
  signal?: AbortSignal | undefined
  /** Default: logs nothing */
  logger?: Logger | undefined
}

/** @throws ProxyError CONFIG_INVALID, with every mistake; options are called as in `names` */
export function validateOptions(options: ProxyOptions, names: OptionNames = LIBRARY_NAMES): void {
  const problems = optionProblems(options, names)
  if (problems.length > 0) throw new ProxyError('CONFIG_INVALID', problems.join('; '))
}

/** Every mistake in the options, without those of the files that they name. */
export function optionProblems(options: ProxyOptions, names: OptionNames): string[] {
  const problems = valueProblems(options, names)
  // Options that are invalid themselves make no sense together.
  if (problems.length > 0) return problems
  problems.push(...combinationProblems(options, names))
  if (options.ca?.length) problems.push(...problemsOf(() => createTrust(options.ca!, false)))
  if (options.localUsers) problems.push(...problemsOf(() => createLocalUsers(options.localUsers!)))
  return problems
}

function problemsOf(create: () => unknown): string[] {
  try {
    create()
    return []
  } catch (error) {
    return [asProxyError(error).message]
  }
}

const RANGES = [
  'maxConnections',
  'maxUnauthenticated',
  'preparedConnections',
  'maxLoginsPerSecond',
  'connectTimeout',
  'greetingTimeout',
  'tokenReuse',
  'tunnelTimeout',
  'tunnelIdleTimeout',
  'loginTimeout',
  'keepalive',
  'tcpUserTimeout',
  'clientWriteTimeout',
  'busyPoll',
] as const

/** What is wrong with each option by itself. */
function valueProblems(options: ProxyOptions, names: OptionNames): string[] {
  const problems: string[] = []
  function check<Value>(
    option: keyof ProxyOptions,
    value: Value | undefined,
    problemOf: (value: Value) => string | undefined,
  ) {
    const problem = value === undefined ? undefined : problemOf(value)
    if (problem) problems.push(`${names.place(option)}: ${problem}`)
  }
  check('rdsEndpoint', options.rdsEndpoint, remoteProblem)
  check('connect', options.connect, remoteProblem)
  check('proxy', options.proxy, databaseProxyProblem)
  check('tunnel', options.tunnel, tunnelCommandProblem)
  check('ssmTarget', options.ssmTarget, ssmTargetProblem)
  check('listen', options.listen, listenProblem)
  check('region', options.region, regionNameProblem)
  for (const network of options.allowFrom ?? []) check('allowFrom', network, networkProblem)
  for (const network of options.proxyProtocol ?? []) check('proxyProtocol', network, proxyProtocolProblem)
  for (const option of RANGES) check(option, options[option], value => rangeProblem(value, OPTION_VALUES[option]))
  for (const option of ['tokenInHandshake', 'compress', 'localTls', 'regionBundle'] as const) {
    const choices: readonly string[] = OPTION_VALUES[option].choices
    check(option, options[option], value =>
      choices.includes(value) ? undefined : `"${value}" is not one of ${choices.join(', ')}`,
    )
  }
  check('signal', options.signal, signalProblem)
  return [...problems, ...rolesAnywhereProblems(options, names)]
}

/** One of another realm or of a polyfill will do. */
function signalProblem(signal: unknown): string | undefined {
  const { aborted, addEventListener } = Object(signal) as Partial<AbortSignal>
  if (typeof aborted === 'boolean' && typeof addEventListener === 'function') return undefined
  return 'is not an AbortSignal; pass the signal of an AbortController'
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

/** What is wrong with valid options beside one another. */
export function combinationProblems(options: CombinedOptions, names: OptionNames): string[] {
  const listen = parseListen(options.listen ?? OPTION_VALUES.listen.default)
  return [
    rdsEndpointProblem(options, names),
    options.caOnly && !options.ca?.length
      ? `${names.place('caOnly')}: needs at least one ${names.name('ca')}`
      : undefined,
    options.caOnly && options.regionBundle === 'auto'
      ? `${names.place('regionBundle')}: auto contradicts ${names.name('caOnly')}`
      : undefined,
    options.tunnel !== undefined && options.ssmTarget !== undefined
      ? `${names.place('ssmTarget')}: contradicts ${names.name('tunnel')}: choose one tunnel`
      : undefined,
    options.proxy !== undefined && options.ssmTarget !== undefined
      ? `${names.place('ssmTarget')}: contradicts ${names.name('proxy')}: the tunnel makes its own way; for calls to AWS, set HTTPS_PROXY`
      : undefined,
    options.proxy !== undefined && options.tunnel !== undefined
      ? `${names.place('tunnel')}: contradicts ${names.name('proxy')}: the tunnel makes its own way`
      : undefined,
    exposureProblem(listen, options, names),
    localTlsProblem(options, names),
    requireTlsProblem(listen, options, names),
  ].filter(problem => problem !== undefined)
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
  const hasUsers = localUsers !== undefined && localUsers.length > 0
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
