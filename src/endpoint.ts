/** The three names of a database: where it is dialled, whom its certificate names, for what its tokens are signed. */
import { isIP } from 'node:net'
import { ProxyError } from './errors.ts'

export const DEFAULT_PORT = 3306

export interface HostPort {
  host: string
  port: number
}

/** Where clients connect: a TCP address, the path of a unix socket, or a socket of either kind that systemd hands over. */
export type Listen = HostPort | { path: string } | { systemd: string }

/** One database as a proxy serves it. */
export interface Endpoint {
  /** what logs, metrics and the status page call it */
  name: string
  /** the RDS endpoint: the name on the certificate, and the host, port and region that tokens are signed for */
  rds: HostPort & { region: string }
  /** what is dialled: an NLB, or the RDS endpoint itself */
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
  /** refuse a server that is read-only */
  requireWriter: boolean
}

/** `host:port`, `unix:/path`, or `systemd:NAME` (FileDescriptorName= of a socket unit). @throws ProxyError CONFIG_INVALID */
export function parseListen(text: string): Listen {
  const systemd = /^systemd(?::(.+))?$/.exec(text)
  if (systemd) return { systemd: systemd[1] ?? '' }
  if (!text.startsWith('unix:')) return parseHostPort(text, DEFAULT_PORT, '--listen')
  const path = text.slice('unix:'.length)
  // sun_path of macOS; Linux has 108.
  if (!path.startsWith('/') || Buffer.byteLength(path) > 103)
    throw new ProxyError('CONFIG_INVALID', `--listen: "${text}" is not unix: and an absolute path of 103 bytes at most`)
  return { path }
}

/** As `parseListen` reads it. */
export function formatListen(listen: Listen): string {
  if ('systemd' in listen) return listen.systemd ? `systemd:${listen.systemd}` : 'systemd'
  return 'path' in listen ? `unix:${listen.path}` : formatHostPort(listen)
}

/** `host`, `host:port`, `[ipv6]:port`. @throws ProxyError CONFIG_INVALID, naming `option` */
export function parseHostPort(text: string, defaultPort: number, option: string): HostPort {
  const match = /^(?:\[([^\]]+)\]|([^:[\]\s/@]+))(?::(\d{1,5}))?$/.exec(text)
  const inBrackets = match?.[1]
  const host = (inBrackets ?? match?.[2])?.toLowerCase().replace(/\.$/, '')
  const port = match?.[3] === undefined ? defaultPort : Number(match[3])
  const isAddress = inBrackets === undefined || isIP(inBrackets) === 6
  if (!host || !isAddress || port > 65535)
    throw new ProxyError('CONFIG_INVALID', `${option}: "${text}" is not host or host:port`)
  return { host, port }
}

/** `host:port` as it is written and signed; an IPv6 address in brackets. */
export function formatHostPort({ host, port }: HostPort): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`
}

// database-1.abc.eu-west-1.rds.amazonaws.com, also cluster-, cluster-ro-, cluster-custom- and proxy- names;
// database-1.abc.rds.cn-north-1.amazonaws.com.cn in China; c2s.ic.gov, sc2s.sgov.gov and others in isolated regions.
const REGION = '[a-z]{2,}(?:-[a-z]+)+-\\d+'
const RDS_NAMES = [
  new RegExp(`\\.(${REGION})\\.rds\\.amazonaws\\.com(?:\\.cn)?$`),
  new RegExp(
    `\\.rds\\.(${REGION})\\.(?:amazonaws\\.com(?:\\.cn)?|c2s\\.ic\\.gov|sc2s\\.sgov\\.gov|csp\\.hci\\.ic\\.gov|cloud\\.adc-e\\.uk)$`,
  ),
]

/**
 * The AWS region in an RDS endpoint's name, of an instance, a cluster, a reader, a custom endpoint or an RDS Proxy, in any partition;
 * undefined where the name has none (a CNAME, an Aurora global writer endpoint).
 * https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html
 */
export function regionOf(host: string): string | undefined {
  for (const pattern of RDS_NAMES) {
    const match = pattern.exec(host)
    if (match) return match[1]
  }
  return undefined
}

/** The values that hints about this endpoint may name. */
export function hintValues(endpoint: Endpoint, user: string | undefined): Record<string, string | undefined> {
  return {
    rds: formatHostPort(endpoint.rds),
    dial: formatHostPort(endpoint.dial),
    region: endpoint.rds.region,
    user: user ?? endpoint.user,
  }
}

/** Whether only this machine, pod or task reaches the address; of a socket that systemd hands over, that is asked again later. */
export function isPrivate(listen: Listen): boolean {
  if (!('host' in listen)) return true
  const { host } = listen
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** Whether something else than the database is dialled: a load balancer, a tunnel. */
export function isIndirect({ dial, rds }: Endpoint): boolean {
  return dial.host !== rds.host
}
