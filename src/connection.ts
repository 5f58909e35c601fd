/** What a client needs to connect to an endpoint. Never a password. */
import { type HostPort, isPrivate, type Listen, parseListen } from './endpoint.ts'
import { ProxyError } from './errors.ts'
import { OPTION_VALUES } from './option-values.ts'

/** How a client connects to an endpoint. */
export interface Connection {
  /** the name of the endpoint */
  endpoint: string
  /** a TCP address, or the path of a unix socket */
  at: HostPort | { path: string }
  /** whether other machines can connect too, under a name or address of this one */
  isOpen: boolean
  /** undefined: the client names the database user */
  user: string | undefined
  /** the other local users */
  otherUsers: readonly string[]
  /** whether the user has a password; otherwise none or any will do */
  hasPassword: boolean
  /** whether the client must use TLS. If it may choose, lines turn TLS off, because the bytes do not leave the machine */
  tls: 'off' | 'required'
  /** a file with the authority of the proxy's certificate, to verify it with */
  ca: string | undefined
  /** the default database */
  database: string | undefined
}

/** The options of an endpoint that say how clients connect to it. */
export interface ConnectionOptions {
  listen?: string | undefined
  user?: string | undefined
  localUsers?: readonly { name: string }[] | undefined
  requireTls?: boolean | undefined
  trustNetwork?: boolean | undefined
}

/** What a person wants in the lines, beyond the endpoint's options. */
export interface ConnectionWishes {
  host?: string | undefined
  ca?: string | undefined
  database?: string | undefined
  user?: string | undefined
}

/**
 * How clients connect to an endpoint.
 * @param listen the real address, where it is known: with the port that 0 became, or that of a socket from systemd
 * @throws ProxyError CONFIG_INVALID if the address is known only while the proxy runs, or a wish does not fit
 */
export function connectionOf(
  endpoint: string,
  options: ConnectionOptions,
  wishes: ConnectionWishes = {},
  listen: Listen = parseListen(options.listen ?? OPTION_VALUES.listen.default),
): Connection {
  const { localUsers = [], trustNetwork } = options
  const names = localUsers.map(({ name }) => name)
  const user = names.length > 0 ? localUser(names, wishes.user) : (wishes.user ?? options.user)
  // As the proxy decides in proxy/proxy.ts.
  const requireTls = options.requireTls ?? (!isPrivate(listen) && !trustNetwork)
  const at = addressForClients(endpoint, listen, wishes.host)
  return {
    endpoint,
    at,
    isOpen: !isPrivate(listen),
    user,
    otherUsers: names.filter(name => name !== user),
    hasPassword: names.length > 0,
    tls: 'path' in at || !(requireTls || wishes.ca !== undefined) ? 'off' : 'required',
    ca: 'path' in at ? undefined : wishes.ca,
    database: wishes.database,
  }
}

function localUser(names: readonly string[], wanted: string | undefined): string {
  if (wanted === undefined || names.includes(wanted)) return wanted ?? names[0]!
  throw invalid(`--user: "${wanted}" is not a local user; there are ${names.join(', ')}`)
}

/** A client cannot connect to the address that stands for all addresses. A dual-stack socket takes IPv4 too. */
const ALL_ADDRESSES = ['0.0.0.0', '::']

function addressForClients(endpoint: string, listen: Listen, host: string | undefined): Connection['at'] {
  if ('path' in listen) return listen
  if ('systemd' in listen) {
    throw invalid(`endpoint ${endpoint}: systemd has its address: see ListenStream= of the socket unit`)
  }
  if (listen.port === 0) throw invalid(`endpoint ${endpoint} listens on any free port; give it a port`)
  return { host: host ?? (ALL_ADDRESSES.includes(listen.host) ? '127.0.0.1' : listen.host), port: listen.port }
}

function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message)
}
