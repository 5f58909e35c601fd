/** Who may use an endpoint: from which address, over which transport, as which user. */
import { BlockList, isIP, isIPv4 } from 'node:net'
import { formatListen, isPrivate, type Listen } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
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
}

/**
 * Refuses a listener that would let strangers into the database.
 * @param trustNetwork the network itself keeps strangers out
 * @throws ProxyError CONFIG_INVALID
 */
export function checkExposure(listen: Listen, access: Pick<Access, 'users' | 'tls'>, trustNetwork: boolean): void {
  if (isPrivate(listen) || trustNetwork || (access.users && access.tls)) return
  const message = `--listen ${formatListen(listen)}: other machines can reach this address and would get into the database; set local users (--local-user) and TLS (--tls-cert), or --trust-network if the network itself keeps strangers out`
  throw new ProxyError('CONFIG_INVALID', message)
}

/**
 * Tells whether an address is in one of `networks`. Without networks, every address is.
 * @param networks addresses, or CIDR as 10.0.0.0/8 and fd00::/8
 * @throws ProxyError CONFIG_INVALID
 */
export function createAllowList(networks: readonly string[]): Access['allows'] {
  if (networks.length === 0) return () => true
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', bits] = network.split('/')
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    const most = family === 'ipv4' ? 32 : 128
    if (isIP(address) === 0 || (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= most))) {
      throw new ProxyError('CONFIG_INVALID', `--allow-from: "${network}" is not a network such as 10.0.0.0/8`)
    }
    list.addSubnet(address, bits === undefined ? most : Number(bits), family)
  }
  return address => {
    if (address === undefined) return true // a unix socket has its file mode
    return list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
  }
}
