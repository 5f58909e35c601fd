/** IP addresses: their canonical form, and which of them may become targets. */
import { BlockList, isIP, SocketAddress } from 'node:net'

export type Family = 'ipv4' | 'ipv6'

/** The address as Node.js and AWS write it (2001:db8::1); undefined if `text` is not an address. */
export function canonicalAddress(text: string): string | undefined {
  const version = isIP(text)
  if (version === 0) return undefined
  return version === 4 ? text : new SocketAddress({ address: text, family: 'ipv6' }).address
}

/** The address of a peer. A socket that listens for both families has IPv4 addresses as ::ffff:192.0.2.1. */
export function withoutMapping(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/, '')
}

/**
 * The addresses that an NLB accepts as IPv4 targets: RFC 1918 and RFC 6598.
 * https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-target-groups.html#target-type
 */
const privateNets = new BlockList()
privateNets.addSubnet('10.0.0.0', 8)
privateNets.addSubnet('172.16.0.0', 12)
privateNets.addSubnet('192.168.0.0', 16)
privateNets.addSubnet('100.64.0.0', 10)
// IPv6 addresses of a VPC are global unicast or unique local ones. The load balancer refuses all others.
privateNets.addSubnet('2000::', 3, 'ipv6')
privateNets.addSubnet('fc00::', 7, 'ipv6')

/** Documentation, Teredo and 6to4: never a database's. */
const neverNets = new BlockList()
neverNets.addSubnet('2001:db8::', 32, 'ipv6')
neverNets.addSubnet('2001::', 32, 'ipv6')
neverNets.addSubnet('2002::', 16, 'ipv6')

/** Whether a database in a VPC can have this address: not a public, loopback, link-local or multicast one. */
export function isInsideVpc(address: string): boolean {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  return privateNets.check(address, family) && !neverNets.check(address, family)
}
