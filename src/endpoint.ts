/** The three names of a database: the address to dial, the name on its certificate, and the name that tokens are signed for. */
import { isIP } from 'node:net'
import { ProxyError } from './errors.ts'
import { databaseProxyProblem, type ForwardProxy, readDatabaseProxy } from './forward-proxy.ts'
import { LIBRARY_NAMES, OPTION_VALUES, type OptionNames } from './option-values.ts'

export const DEFAULT_PORT = 3306

export interface HostPort {
  host: string
  port: number
}

/** The address that clients connect to. Of a unix socket, `path` is set, `host` is '' and `port` 0. */
export interface Address extends HostPort {
  path?: string
}

/** Where clients connect: a TCP address, the path of a unix socket, or a socket of either kind that systemd hands over. */
export type Listen = HostPort | { path: string } | { systemd: string }

/** One database as a proxy serves it. */
export interface Endpoint {
  /** the name in logs, metrics and on the status page */
  name: string
  /**
   * the RDS endpoint: the name on the certificate, and the host, port and region that tokens are signed for. Without a
   * region for an Aurora global endpoint: each login finds it on the server's certificate
   */
  rds: HostPort & { region: string | undefined }
  /** the address to dial: an NLB, or the RDS endpoint itself */
  dial: HostPort
  /** the forward proxy on the way to it; it resolves the name of `dial` */
  proxy: ForwardProxy | undefined
  /** whether the proxy makes a tunnel: then `dial` is an address for its far end */
  isTunnelled: boolean
  /** the database user; undefined: the user that the client names */
  user: string | undefined
  /** whether the token goes inside HandshakeResponse41, or in answer to an AuthSwitchRequest */
  tokenInHandshake: 'auto' | 'always' | 'never'
  /** milliseconds for the TCP connection */
  connectTimeout: number
  /** milliseconds from the TCP connection to the server's greeting */
  greetingTimeout: number
  /** milliseconds from the greeting to the end of the login */
  loginTimeout: number
  /** milliseconds of idleness after which TCP keepalive probes begin, on both legs */
  keepalive: number
  /** milliseconds that sent bytes may stay unacknowledged, on both legs; 0: as long as the kernel waits */
  tcpUserTimeout: number
  /** milliseconds that a client may take none of the bytes that wait for it; 0: no limit */
  clientWriteTimeout: number
  /** refuse a server that is read-only */
  requireWriter: boolean
  /** compression between proxy and database, for clients that ask for none */
  compress: 'off' | 'auto' | 'zlib' | 'zstd'
  /** whether a program uses the library: hints then have its names of options */
  isOfLibrary?: boolean
}

/** What describes one database. Durations in milliseconds; the defaults are in option-values.ts. */
export interface EndpointOptions {
  /** `host[:port]` of the RDS, Aurora or RDS Proxy endpoint: the name on the certificate and the one that tokens are signed for */
  rdsEndpoint: string
  /** `host[:port]` to dial, for example of a Network Load Balancer. Default: `rdsEndpoint` */
  connect?: string | undefined
  /** `socks5://` or `http://[user:password@]host:port` of a forward proxy on the way to the database. Default: none */
  proxy?: string | undefined
  /** The name in logs, metrics and on the status page. Default: `rdsEndpoint` */
  name?: string | undefined
  /** The database user. Default: the user that the client names */
  user?: string | undefined
  /** The AWS region. Default: read from the name of `rdsEndpoint`, or for an Aurora global endpoint from the server's certificate */
  region?: string | undefined
  /** Whether the token goes inside HandshakeResponse41. 'auto' finds out what the server needs. Default: 'auto' */
  tokenInHandshake?: 'auto' | 'always' | 'never' | undefined
  /** Milliseconds for the TCP connection to the database. Default: 5,000 */
  connectTimeout?: number | undefined
  /** Milliseconds from the TCP connection to the server's greeting, which a database that resumes from a pause sends late. Default: 60,000 */
  greetingTimeout?: number | undefined
  /** Milliseconds from the server's greeting to the end of the login. Default: 8,000 */
  loginTimeout?: number | undefined
  /** Milliseconds of idle time before TCP keepalive probes begin, on both legs. Default: 60,000 */
  keepalive?: number | undefined
  /** Milliseconds that sent bytes may stay unacknowledged, on both legs and only on Linux. 0 for the kernel's own limit. Default: 60,000 */
  tcpUserTimeout?: number | undefined
  /** Milliseconds that a client may take none of the bytes that wait for it. 0 for no limit. Default: 90,000 */
  clientWriteTimeout?: number | undefined
  /** Refuse a server that is read-only, such as a demoted writer behind a stale NLB target. Default: false */
  requireWriter?: boolean | undefined
  /** Compression between proxy and database, for clients that ask for none: 'zstd', or 'zlib' where the server or Node.js has no zstd. 'auto' is 'zstd' over a slow line and else 'off'. Default: 'off' */
  compress?: 'off' | 'auto' | 'zlib' | 'zstd' | undefined
}

/** @throws ProxyError CONFIG_INVALID, with the option called as in `names` */
export function createEndpoint(
  options: EndpointOptions & { tunnel?: string | undefined; ssmTarget?: string | undefined },
  names: OptionNames = LIBRARY_NAMES,
): Endpoint {
  const rds = parseRemote(options.rdsEndpoint, DEFAULT_PORT, names.place('rdsEndpoint'))
  const problem = rdsEndpointProblem(options, names)
  if (problem) throw new ProxyError('CONFIG_INVALID', problem)
  return {
    name: options.name ?? formatHostPort(rds),
    rds: { ...rds, region: options.region ?? regionOf(rds.host) },
    dial: options.connect ? parseRemote(options.connect, rds.port, names.place('connect')) : rds,
    proxy: options.proxy === undefined ? undefined : parseProxy(options.proxy, names),
    isTunnelled: options.tunnel !== undefined || options.ssmTarget !== undefined,
    user: options.user,
    tokenInHandshake: options.tokenInHandshake ?? OPTION_VALUES.tokenInHandshake.default,
    connectTimeout: options.connectTimeout ?? OPTION_VALUES.connectTimeout.default,
    greetingTimeout: options.greetingTimeout ?? OPTION_VALUES.greetingTimeout.default,
    loginTimeout: options.loginTimeout ?? OPTION_VALUES.loginTimeout.default,
    keepalive: options.keepalive ?? OPTION_VALUES.keepalive.default,
    tcpUserTimeout: options.tcpUserTimeout ?? OPTION_VALUES.tcpUserTimeout.default,
    clientWriteTimeout: options.clientWriteTimeout ?? OPTION_VALUES.clientWriteTimeout.default,
    requireWriter: options.requireWriter ?? false,
    compress: options.compress ?? OPTION_VALUES.compress.default,
    isOfLibrary: names === LIBRARY_NAMES,
  }
}

function parseProxy(text: string, names: OptionNames): ForwardProxy {
  const proxy = readDatabaseProxy(text)
  if (proxy) return proxy
  throw new ProxyError('CONFIG_INVALID', `${names.place('proxy')}: ${databaseProxyProblem(text)}`)
}

/** What is wrong with the name of an RDS endpoint; undefined where nothing is, and where it is no name at all. */
export function rdsEndpointProblem(
  { rdsEndpoint, region }: Pick<EndpointOptions, 'rdsEndpoint' | 'region'>,
  names: OptionNames,
): string | undefined {
  const rds = readRemote(rdsEndpoint, DEFAULT_PORT)
  if (!rds) return undefined
  const place = names.place('rdsEndpoint')
  const other = OTHER_NAMES.find(([pattern]) => pattern.test(rds.host))
  if (other) {
    const [, what, isDialled] = other
    const own = "give the database's own endpoint here"
    return `${place}: ${rds.host} is ${what}; ${own}${isDialled ? `, and that name as ${names.name('connect')}` : ''}`
  }
  if (region || regionOf(rds.host) || isGlobalEndpoint(rds.host)) return undefined
  return `${place}: no AWS region in the name ${formatHostPort(rds)}; give the endpoint's own name, not a CNAME or a load balancer, or set ${names.name('region')}`
}

/**
 * `host:port`, `unix:/path`, or `systemd:NAME` (FileDescriptorName= of a socket unit).
 * @param label starts the error, for example '--listen'
 * @throws ProxyError CONFIG_INVALID
 */
export function parseListen(text: string, label = 'listen'): Listen {
  const listen = readListen(text)
  if (listen) return listen
  throw new ProxyError('CONFIG_INVALID', `${label}: ${listenProblem(text)}`)
}

/** sun_path on macOS, in bytes; Linux has 108. */
const MAX_SOCKET_PATH_BYTES = 103

function readListen(text: string): Listen | undefined {
  const systemd = /^systemd(?::(.+))?$/.exec(text)
  if (systemd) return { systemd: systemd[1] ?? '' }
  if (!text.startsWith('unix:')) return isPortAlone(text) ? undefined : readHostPort(text, DEFAULT_PORT)
  const path = text.slice('unix:'.length)
  return path.startsWith('/') && Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES ? { path } : undefined
}

function isPortAlone(text: string): boolean {
  return /^:?\d+$/.test(text)
}

/** What is wrong with an address to listen on; undefined where nothing is. */
export function listenProblem(text: string, platform: NodeJS.Platform = process.platform): string | undefined {
  if (platform === 'win32' && text.startsWith('unix:')) return `"${text}" needs Linux or macOS; write 127.0.0.1:PORT`
  if (readListen(text)) return undefined
  if (text.startsWith('unix:')) {
    return `"${text}" is not unix: and an absolute path of at most ${MAX_SOCKET_PATH_BYTES} bytes`
  }
  if (isPortAlone(text)) return `"${text}" has no host; write 127.0.0.1:${text.replace(':', '')} for that port`
  return `"${text}" is not host:port, unix:/path or systemd`
}

/** As `parseListen` reads it. */
export function formatListen(listen: Listen): string {
  if ('systemd' in listen) return listen.systemd ? `systemd:${listen.systemd}` : 'systemd'
  return 'path' in listen ? `unix:${listen.path}` : formatHostPort(listen)
}

/** `host`, `host:port`, `[ipv6]:port`. @param label starts the error. @throws ProxyError CONFIG_INVALID */
export function parseHostPort(text: string, defaultPort: number, label: string): HostPort {
  const found = readHostPort(text, defaultPort)
  if (found) return found
  throw new ProxyError('CONFIG_INVALID', `${label}: ${hostPortProblem(text)}`)
}

function readHostPort(text: string, defaultPort: number): HostPort | undefined {
  const match = /^(?:\[([^\]]+)\]|([\p{L}\p{N}._-]+))(?::(\d{1,5}))?$/u.exec(text)
  const inBrackets = match?.[1]
  const host = (inBrackets ?? match?.[2])?.toLowerCase().replace(/\.$/, '')
  const port = match?.[3] === undefined ? defaultPort : Number(match[3])
  const isAddress = inBrackets === undefined || isIP(inBrackets) === 6
  return host && isAddress && port <= 65535 ? { host, port } : undefined
}

/** What is wrong with a `host[:port]`; undefined where nothing is. */
export function hostPortProblem(text: string): string | undefined {
  if (readHostPort(text, DEFAULT_PORT)) return undefined
  if (isIP(text) === 6) return `"${text}" is not host or host:port; write [${text}] for an IPv6 address`
  return `"${withoutSecrets(text)}" is not host or host:port`
}

/** The start of the URLs that drivers take: mysql://, jdbc:mysql://, jdbc:aws-wrapper:mysql://, mysql+pymysql://. */
const DRIVER_URL = /^(?:jdbc:)?(?:aws-wrapper:)?(?:mysql|mariadb)[a-z0-9+]*(?::aws)?:\/\//i

/**
 * A `host[:port]` to connect to, as people paste it: also with blanks around it, a slash at its end, or as a driver's URL
 * that has nothing else in it.
 * @param label starts the error
 * @throws ProxyError CONFIG_INVALID
 */
export function parseRemote(text: string, defaultPort: number, label: string): HostPort {
  const found = readRemote(text, defaultPort)
  if (found) return found
  throw new ProxyError('CONFIG_INVALID', `${label}: ${remoteProblem(text)}`)
}

function readRemote(text: string, defaultPort: number): HostPort | undefined {
  const found = readHostPort(withoutUrl(text), defaultPort)
  return found?.port === 0 ? undefined : found
}

function withoutUrl(text: string): string {
  return text.trim().replace(DRIVER_URL, '').replace(/\/$/, '')
}

/** `text` without the user and password of a URL, to be shown. */
export function withoutUser(text: string): string {
  return text.replace(/^([a-z0-9+:.-]+:\/\/)?.*@/is, '$1')
}

/** `text` without what may be a password in a URL: the user, and what follows a question mark. */
export function withoutSecrets(text: string): string {
  return withoutUser(text).replace(/\?.+$/s, '?…')
}

/** What is wrong with a `host[:port]` to connect to; undefined where nothing is. A URL is not repeated: it may hold a password. */
export function remoteProblem(text: string): string | undefined {
  if (readRemote(text, DEFAULT_PORT)) return undefined
  const bare = withoutUrl(text)
  if (readHostPort(bare, DEFAULT_PORT)) return `"${bare}" has port 0; write the port of the database, usually 3306`
  if (/^arn:/i.test(bare)) return `"${bare}" is an ARN; write the name of the endpoint, which ends with amazonaws.com`
  const [, scheme] = /^([a-z0-9+:.-]+):\/\//i.exec(bare) ?? []
  if (scheme) return `this is a URL of ${scheme}; write host or host:port of a MySQL or MariaDB database`
  const host = /^(?:[^/?]*@)?([^/?@]+)/.exec(bare)?.[1] ?? ''
  if (/[/?@]/.test(bare) && readHostPort(host, DEFAULT_PORT)) {
    return `this URL has more than a host and a port; write ${host}, and give user and database to the client`
  }
  return hostPortProblem(bare)
}

/** `host:port` as it is written and signed; an IPv6 address in brackets. */
export function formatHostPort({ host, port }: HostPort): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}

/** The form of an AWS region, as the source of a regular expression. */
export const REGION = '[a-z]{2,}(?:-[a-z]+)+-\\d+'

/** Whether this has the form of an AWS region, such as eu-west-1. */
export function isRegion(text: string): boolean {
  return new RegExp(`^${REGION}$`).test(text)
}

/** The DNS suffixes of AWS's partitions; a test compares them with the AWS SDK's. */
export const DNS_SUFFIXES = [
  'amazonaws.com.cn',
  'amazonaws.com',
  'amazonaws.eu',
  'c2s.ic.gov',
  'sc2s.sgov.gov',
  'csp.hci.ic.gov',
  'cloud.adc-e.uk',
]
const SUFFIX = `(?:${DNS_SUFFIXES.join('|').replaceAll('.', '\\.')})`

// database-1.abc.eu-west-1.rds.amazonaws.com, also cluster-, cluster-ro-, cluster-custom- and proxy- names;
// database-1.abc.rds.cn-north-1.amazonaws.com.cn in China and in isolated regions. A dual-stack database has the same name.
const RDS_NAMES = [new RegExp(`\\.(${REGION})\\.rds\\.${SUFFIX}$`), new RegExp(`\\.rds\\.(${REGION})\\.${SUFFIX}$`)]

const GLOBAL_NAME = new RegExp(`^[^.]+\\.global-[a-z0-9]+\\.global\\.rds\\.${SUFFIX}$`)

/** Names that people give instead of a database's own, what they are, and whether the proxy may dial them. */
const OTHER_NAMES: [pattern: RegExp, what: string, isDialled: boolean][] = [
  [new RegExp(`\\.elb\\.(?:${REGION}\\.)?${SUFFIX}$`), 'a load balancer', true],
  [new RegExp(`\\.vpce\\.${SUFFIX}$`), 'a VPC endpoint', true],
  [new RegExp(`^rds(?:-fips|-data)?\\.${REGION}\\.[a-z0-9.-]+$`), 'an endpoint of the RDS API', false],
]

/**
 * The AWS region in the name of an RDS endpoint: instance, cluster, reader, custom endpoint or RDS Proxy, in any partition.
 * Undefined where the name has none, for example a CNAME or an Aurora global writer endpoint.
 * https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html
 */
export function regionOf(host: string): string | undefined {
  for (const pattern of RDS_NAMES) {
    const match = pattern.exec(host)
    if (match) return match[1]
  }
  return undefined
}

/**
 * Whether this is the writer endpoint of an Aurora Global Database: `NAME.global-….global.rds.amazonaws.com`. It follows the
 * writer from region to region.
 * https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-global-database-connecting.html
 */
export function isGlobalEndpoint(host: string): boolean {
  return GLOBAL_NAME.test(host)
}

/** The region to call AWS in; for a global endpoint, that of the environment. */
export function apiRegion({ region }: Endpoint['rds'], environment: NodeJS.ProcessEnv = process.env): string {
  return region ?? (environment.AWS_REGION || environment.AWS_DEFAULT_REGION || 'us-east-1')
}

/** Whether this is an endpoint of RDS Proxy: `NAME.proxy-….REGION.rds.…` or `NAME.endpoint.proxy-….REGION.rds.…`. */
export function isRdsProxy(host: string): boolean {
  return regionOf(host) !== undefined && /^[^.]+\.(?:endpoint\.)?proxy-/.test(host)
}

/** The values of the placeholders in hints. */
export function hintValues(endpoint: Endpoint, user: string | undefined): Record<string, string | undefined> {
  return {
    rds: formatHostPort(endpoint.rds),
    dial: formatHostPort(endpoint.dial),
    region: endpoint.rds.region ?? 'of the writer',
    user: user ?? endpoint.user,
    forward: isLocalForward(endpoint) ? formatHostPort(endpoint.dial) : undefined,
    library: endpoint.isOfLibrary ? 'yes' : undefined,
  }
}

/** Whether only this machine, pod or task reaches the address. The address of a systemd socket is known later; then ask again. */
export function isPrivate(listen: Listen): boolean {
  if (!('host' in listen)) return true
  const { host } = listen
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** Whether the address to dial is not the database itself but a load balancer or a tunnel. */
export function isIndirect({ dial, rds }: Endpoint): boolean {
  return dial.host !== rds.host
}

/** Whether the proxy dials a port of this machine, where a tunnel or port forward to the database listens: ssh -L, SSM, kubectl. */
export function isLocalForward(endpoint: Endpoint): boolean {
  return isIndirect(endpoint) && isPrivate(endpoint.dial) && endpoint.proxy === undefined && !endpoint.isTunnelled
}

/** Whether the address to dial is one of the machine at the far end of the tunnel, such as 127.0.0.1 there. */
export function isOnFarEnd(endpoint: Endpoint): boolean {
  return endpoint.isTunnelled && isPrivate(endpoint.dial)
}

/** Whether the name resolves to one of several instances, a different one each time: readers, custom endpoints, RDS Proxy. */
export function namesOneOfSeveral(host: string): boolean {
  return /\.(cluster-ro|cluster-custom|proxy)-/.test(host)
}
