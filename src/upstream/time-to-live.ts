/**
 * How long DNS says that an answer of the system's resolver is valid. That resolver (getaddrinfo) does not say it. So the name
 * servers are asked as well, and their answer counts only if it has the same addresses: the system's may be from /etc/hosts, mDNS
 * or the resolver of a VPN.
 */
import type { LookupAddress, RecordWithTtl } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import { canonicalAddress } from '../address.ts'

/** How many seconds `addresses` are valid; undefined if DNS does not say so. Never rejects. */
export type AskTimeToLive = (host: string, addresses: readonly LookupAddress[]) => Promise<number | undefined>

/** No login waits for it. */
const TIMEOUT_MS = 1_000

export const timeToLive: AskTimeToLive = (host, addresses) => askNameServers(host, addresses, [])

/** @param servers `address:port` of each; [] for those of the system */
export async function askNameServers(
  host: string,
  addresses: readonly LookupAddress[],
  servers: readonly string[],
): Promise<number | undefined> {
  // Such names, localhost among them, are not those of DNS alone: the system adds a domain, or asks its neighbours.
  if (!host.includes('.') || /\.local\.?$/i.test(host)) return undefined
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 1 })
  // It would go on with the next name server.
  const timer = setTimeout(() => resolver.cancel(), TIMEOUT_MS)
  const has = (family: number) => addresses.some(entry => entry.family === family)
  try {
    if (servers.length > 0) resolver.setServers(servers)
    const none: RecordWithTtl[] = []
    const [v4, v6] = await Promise.all([
      has(4) ? resolver.resolve4(host, { ttl: true }) : none,
      has(6) ? resolver.resolve6(host, { ttl: true }) : none,
    ])
    const records = [...v4, ...v6]
    const isSame = listOf(addresses) === listOf(records)
    return isSame ? Math.min(...records.map(({ ttl }) => ttl)) : undefined
  } catch {
    return undefined
  } finally {
    clearTimeout(timer)
  }
}

function listOf(entries: readonly { address: string }[]): string {
  return [...new Set(entries.map(({ address }) => canonicalAddress(address)))].sort().join()
}
