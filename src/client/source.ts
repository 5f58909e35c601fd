/** The source of a client, for limits: clients that one attacker can easily pretend to be count as one. */
import { isIPv4, isIPv6 } from 'node:net'
import { withoutMapping } from '../address.ts'

/**
 * The source of an address: the address itself, its /64 for IPv6, and 'loopback' for every address of this machine.
 * @param address of the client, or 'unix'
 */
export function sourceOf(address: string): string {
  const ipv4 = withoutMapping(address)
  if (isIPv4(ipv4)) return ipv4.startsWith('127.') ? 'loopback' : ipv4
  if (!isIPv6(address)) return address
  return address === '::1' ? 'loopback' : first64Bits(address)
}

function first64Bits(address: string): string {
  const [head = '', tail] = address.split('::')
  const groups = head.split(':').filter(Boolean)
  const rest = tail === undefined ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - groups.length - rest.length
  return [...groups, ...Array<string>(Math.max(zeros, 0)).fill('0'), ...rest].slice(0, 4).join(':')
}
