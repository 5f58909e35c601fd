/** Who may use an endpoint: from which address, over which transport, as which user. */
import { BlockList, isIP, isIPv4 } from 'node:net'
import { ProxyError } from '../errors.ts'
import { networkProblem } from '../value-checks.ts'
import type { LocalUsers } from './local-users.ts'
import type { LoginThrottle } from './login-throttle.ts'
import type { LocalTls } from './tls.ts'

export interface Access {
  /** undefined: any user with any password or none */
  users: LocalUsers | undefined
  loginThrottle: LoginThrottle
  /** undefined: clients are not offered TLS */
  tls: LocalTls | undefined
  /** whether clients must use TLS; a unix socket counts as TLS */
  requireTls: boolean
  /** whether clients connect over a unix socket, where nobody can listen in */
  overUnixSocket: boolean
  /** whether a client may connect from this address */
  allows(address: string | undefined): boolean
  /** whether connections from this address, or 'unix', begin with a PROXY protocol header */
  expectsProxyHeader(address: string): boolean
}

/** Why a client may not connect; undefined if it may. */
export function addressRefusal({ allows, overUnixSocket }: Access, client: string): ProxyError | undefined {
  if (allows(overUnixSocket ? undefined : client)) return undefined
  return new ProxyError('CLIENT_NOT_ALLOWED', `clients from ${client} are not allowed`)
}

/**
 * Tells whether an address is in one of `networks`.
 * @param networks addresses, or CIDR as 10.0.0.0/8 and fd00::/8; undefined allows every client, and an empty list none
 * @throws ProxyError CONFIG_INVALID
 */
export function createAllowList(networks: readonly string[] | undefined): Access['allows'] {
  if (networks === undefined) return () => true
  if (networks.length === 0) return () => false
  const contains = createNetworkList('allowFrom', networks)
  return address => address === undefined || contains(address) // a unix socket has its file mode
}

/** The word that stands for the proxy's own unix socket in the option proxyProtocol. */
const UNIX = 'unix'

/**
 * Tells which connections begin with a PROXY protocol header.
 * @param networks addresses, CIDR, or 'unix'
 * @throws ProxyError CONFIG_INVALID
 */
export function createProxyHeaderList(networks: readonly string[]): Access['expectsProxyHeader'] {
  const contains = createNetworkList(
    'proxyProtocol',
    networks.filter(network => network !== UNIX),
  )
  return address => (address === UNIX ? networks.includes(UNIX) : contains(address))
}

function createNetworkList(option: string, networks: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const network of networks) {
    const problem = networkProblem(network)
    if (problem) throw new ProxyError('CONFIG_INVALID', `${option}: ${problem}`)
    const [address = '', bits] = network.split('/')
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    list.addSubnet(address, bits === undefined ? (family === 'ipv4' ? 32 : 128) : Number(bits), family)
  }
  return address => isIP(address) !== 0 && list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}
