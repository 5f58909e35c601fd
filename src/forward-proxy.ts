/** Forward proxies, which companies put between their machines and other networks: their URLs, with and without secrets. */
import { isIP } from 'node:net'

/** How to ask the proxy for a connection: CONNECT over HTTP, CONNECT over HTTPS, or SOCKS 5. */
export type ForwardProxyProtocol = 'http' | 'https' | 'socks5'

export interface ForwardProxy {
  protocol: ForwardProxyProtocol
  host: string
  port: number
  /** '' for none */
  user: string
  /** a secret */
  password: string
  /** for hints: where the proxy was configured, for example `HTTPS_PROXY` */
  setting: string
  /** for messages: the URL without user and password */
  shown: string
}

const DEFAULT_PORTS: Readonly<Record<ForwardProxyProtocol, number>> = { http: 80, https: 443, socks5: 1080 }

/** RFC 1929 has one byte for the length of each. */
const MAX_SOCKS5_FIELD_BYTES = 255

/** `protocol://[user:password@]host[:port]`; undefined if it is not the URL of a proxy. */
export function readForwardProxy(
  text: string,
  setting: string,
  protocols: readonly ForwardProxyProtocol[] = ['http', 'https', 'socks5'],
): ForwardProxy | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  // A proxy always resolves the names, which curl calls socks5h.
  const name = url?.protocol.replace(/:$/, '').replace(/^socks5h$/, 'socks5')
  const protocol = protocols.find(known => known === name)
  const host = url?.hostname.replace(/^\[(.*)\]$/, '$1') ?? ''
  if (!url || !protocol || host === '' || url.port === '0') return undefined
  if (!/^\/?$/.test(url.pathname) || url.search || url.hash) return undefined
  const [user, password] = [decode(url.username), decode(url.password)]
  if (user === undefined || password === undefined) return undefined
  const isTooLong = [user, password].some(part => Buffer.byteLength(part) > MAX_SOCKS5_FIELD_BYTES)
  if (protocol === 'socks5' && (isTooLong || (user === '') !== (password === ''))) return undefined
  const port = url.port === '' ? DEFAULT_PORTS[protocol] : Number(url.port)
  return { protocol, host, port, user, password, setting, shown: `${protocol}://${url.hostname}:${port}` }
}

/** undefined for a malformed percent encoding */
function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** The protocols to the database: TLS to the database inside TLS to a proxy is not supported. */
const TO_DATABASE: readonly ForwardProxyProtocol[] = ['socks5', 'http']

/** The value of the option `proxy`; undefined if it is invalid. */
export function readDatabaseProxy(text: string): ForwardProxy | undefined {
  return readForwardProxy(text, 'the option proxy', TO_DATABASE)
}

/** What is wrong with a value of the option `proxy`; undefined where nothing is. The value may hold a password, so it is not shown. */
export function databaseProxyProblem(text: string): string | undefined {
  if (readDatabaseProxy(text)) return undefined
  if (readForwardProxy(text, '')) return 'https:// is unsupported here; use http:// or socks5://'
  return 'not socks5://[USER:PASSWORD@]HOST:PORT or http://…; special characters need percent-encoding'
}

/** Whether `host` is a loopback or link-local address, or a name that always is one. These are reached without a proxy. */
export function isLocalHost(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[(.*)\]$/, '$1')
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  if (isIP(name) === 4) return name.startsWith('127.') || name.startsWith('169.254.')
  // fd00:ec2::254 and fd00:ec2::23: instance metadata and EKS Pod Identity
  return isIP(name) === 6 && /^(::1|fe[89ab][0-9a-f]:.*|fd00:ec2::.*)$/.test(name)
}
