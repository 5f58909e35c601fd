/** The three names of a database: the address to dial, the name on its certificate, and the name that tokens are signed for. */
import { isIP } from 'node:net'
import { ProxyError } from './errors.ts'
import { LIBRARY_NAMES, OPTION_VALUES, type OptionNames } from './option-values.ts'

export const DEFAULT_PORT = 3306

export interface HostPort {
  host: string
  port: number
}

/** Where clients connect: a TCP address, the path of a unix socket, or a socket of either kind that systemd hands over. */
export type Listen = HostPort | { path: string } | { systemd: string }

/** One database as a proxy serves it. */
export interface Endpoint {
  /** the name in logs, metrics and on the status page */
  name: string
  /** the RDS endpoint: the name on the certificate, and the host, port and region that tokens are signed for */
  rds: HostPort & { region: string }
  /** the address to dial: an NLB, or the RDS endpoint itself */
  dial: HostPort
  /** the database user; undefined: the user that the client names */
  user: string | undefined
  /** whether the token goes inside HandshakeResponse41, or in answer to an AuthSwitchRequest */
  tokenInHandshake: 'auto' | 'always' | 'never'
  /** milliseconds for the TCP connection */
  connectTimeout: number
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
}

/** What describes one database. Durations in milliseconds; the defaults are in option-values.ts. */
export interface EndpointOptions {
  /** `host[:port]` of the RDS, Aurora or RDS Proxy endpoint: the name on the certificate and the one that tokens are signed for */
  rdsEndpoint: string
  /** `host[:port]` to dial, for example of a Network Load Balancer; default: `rdsEndpoint` */
  connect?: string | undefined
  /** The name in logs, metrics and on the status page; default: `rdsEndpoint` */
  name?: string | undefined
  /** The database user; default: the user that the client names */
  user?: string | undefined
  /** The AWS region; default: read from the name of `rdsEndpoint` */
  region?: string | undefined
  /** Whether the token goes inside HandshakeResponse41; default 'auto' */
  tokenInHandshake?: 'auto' | 'always' | 'never' | undefined
  /** Milliseconds for the TCP connection to the database; default 5,000 */
  connectTimeout?: number | undefined
  /** Milliseconds from the server's greeting to the end of the login; default 8,000 */
  loginTimeout?: number | undefined
  /** Milliseconds of idle time before TCP keepalive probes begin, on both legs; default 60,000 */
  keepalive?: number | undefined
  /** Milliseconds that sent bytes may stay unacknowledged, on both legs and only on Linux; default 60,000. 0 for the kernel's own limit */
  tcpUserTimeout?: number | undefined
  /** Milliseconds that a client may take none of the bytes that wait for it; default 90,000. 0 for no limit */
  clientWriteTimeout?: number | undefined
  /** Refuse a server that is read-only, such as a demoted writer behind a stale NLB target; default false */
  requireWriter?: boolean | undefined
}

/** @throws ProxyError CONFIG_INVALID, with the option called as in `names` */
export function createEndpoint(options: EndpointOptions, names: OptionNames = LIBRARY_NAMES): Endpoint {
  const rds = parseHostPort(options.rdsEndpoint, DEFAULT_PORT, names.place('rdsEndpoint'))
  const problem = regionProblem(options, names)
  if (problem) throw new ProxyError('CONFIG_INVALID', problem)
  return {
    name: options.name ?? formatHostPort(rds),
    rds: { ...rds, region: options.region ?? regionOf(rds.host)! },
    dial: options.connect ? parseHostPort(options.connect, rds.port, names.place('connect')) : rds,
    user: options.user,
    tokenInHandshake: options.tokenInHandshake ?? OPTION_VALUES.tokenInHandshake.default,
    connectTimeout: options.connectTimeout ?? OPTION_VALUES.connectTimeout.default,
    loginTimeout: options.loginTimeout ?? OPTION_VALUES.loginTimeout.default,
    keepalive: options.keepalive ?? OPTION_VALUES.keepalive.default,
    tcpUserTimeout: options.tcpUserTimeout ?? OPTION_VALUES.tcpUserTimeout.default,
    clientWriteTimeout: options.clientWriteTimeout ?? OPTION_VALUES.clientWriteTimeout.default,
    requireWriter: options.requireWriter ?? false,
  }
}

/** What to say of an endpoint whose region is unknown; undefined for others, and where the endpoint itself is invalid. */
export function regionProblem(
  { rdsEndpoint, region }: Pick<EndpointOptions, 'rdsEndpoint' | 'region'>,
  names: OptionNames,
): string | undefined {
  const rds = readHostPort(rdsEndpoint, DEFAULT_PORT)
  if (!rds || region || regionOf(rds.host)) return undefined
  return `${names.place('rdsEndpoint')}: no AWS region in the name ${formatHostPort(rds)}; give the endpoint's own name, not a CNAME or a load balancer, or set ${names.name('region')}`
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
export function listenProblem(text: string): string | undefined {
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
  return `"${text}" is not host or host:port`
}

/** `host:port` as it is written and signed; an IPv6 address in brackets. */
export function formatHostPort({ host, port }: HostPort): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}

// database-1.abc.eu-west-1.rds.amazonaws.com, also cluster-, cluster-ro-, cluster-custom- and proxy- names;
// database-1.abc.rds.cn-north-1.amazonaws.com.cn in China; c2s.ic.gov, sc2s.sgov.gov and others in isolated regions.
const REGION = '[a-z]{2,}(?:-[a-z]+)+-\\d+'
/** Whether this has the form of an AWS region, such as eu-west-1. */
export function isRegion(text: string): boolean {
  return new RegExp(`^${REGION}$`).test(text)
}

const RDS_NAMES = [
  new RegExp(`\\.(${REGION})\\.rds\\.amazonaws\\.com(?:\\.cn)?$`),
  new RegExp(
    `\\.rds\\.(${REGION})\\.(?:amazonaws\\.com(?:\\.cn)?|c2s\\.ic\\.gov|sc2s\\.sgov\\.gov|csp\\.hci\\.ic\\.gov|cloud\\.adc-e\\.uk)$`,
  ),
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

/** The values of the placeholders in hints. */
export function hintValues(endpoint: Endpoint, user: string | undefined): Record<string, string | undefined> {
  return {
    rds: formatHostPort(endpoint.rds),
    dial: formatHostPort(endpoint.dial),
    region: endpoint.rds.region,
    user: user ?? endpoint.user,
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
