/** Asks the name servers for the addresses of the endpoint. An incomplete or implausible answer is a problem, never an address. */
import { NODATA, NOTFOUND, type RecordWithTtl } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import { canonicalAddress, type Family, isInsideVpc } from '../address.ts'
import { systemCode } from '../errors.ts'
import type { Lookup } from './plan.ts'

/** A lookup, and its time to live in seconds: another answer is possible only after that. */
export type TimedLookup = Lookup & { ttl: number }

export interface LookupOptions {
  host: string
  family: Family
  /** `address:port` of each name server; each lookup asks all of them. []: those of the system, where one answer is enough */
  resolvers: readonly string[]
  /** each answer names one of several instances, so two servers need not agree */
  collectAnswers: boolean
  /** milliseconds for one attempt; each name server gets two */
  timeout?: number
}

/** Rejects only if `signal` aborts. */
export async function lookUp(options: LookupOptions, signal: AbortSignal): Promise<TimedLookup> {
  const { resolvers, collectAnswers } = options
  const servers = resolvers.length > 0 ? resolvers.map(server => [server]) : [[]]
  const answers = await Promise.all(servers.map(server => queryServer(server, options, signal)))
  signal.throwIfAborted()
  for (const answer of answers) if ('problem' in answer) return answer
  const good = answers.filter(answer => 'addresses' in answer)
  const [first] = good
  if (!first) return { problem: 'there is no name server to ask', why: 'noAnswer', ttl: 0 }
  const ttl = Math.max(...good.map(answer => answer.ttl))
  const addresses = [...new Set(good.flatMap(answer => answer.addresses))].sort()
  if (!collectAnswers && good.some(answer => answer.addresses.length !== addresses.length)) {
    const said = good.map((answer, index) => `${resolvers[index]} says ${answer.addresses.join(', ')}`)
    const problem = `the name servers disagree about ${options.host}: ${said.join('; ')}`
    return { problem, why: 'contradictoryAnswers', ttl }
  }
  return { addresses, ttl }
}

/** Asks one server, or those of the system if `servers` is empty. */
async function queryServer(servers: string[], options: LookupOptions, signal: AbortSignal): Promise<TimedLookup> {
  const { host, family, timeout = 2_000 } = options
  const resolver = new Resolver({ timeout, tries: 2 })
  if (servers.length > 0) resolver.setServers(servers)
  const cancel = () => resolver.cancel()
  signal.addEventListener('abort', cancel, { once: true })
  const where = servers[0] ? ` (asked ${servers[0]})` : ''
  try {
    const records: RecordWithTtl[] =
      family === 'ipv4' ? await resolver.resolve4(host, { ttl: true }) : await resolver.resolve6(host, { ttl: true })
    return toLookup(records, host, where)
  } catch (error) {
    const problem = `${host} was not resolved: ${explain(error, family)}${where}`
    return { problem, why: 'noAnswer', ttl: 0 }
  } finally {
    signal.removeEventListener('abort', cancel)
  }
}

function toLookup(records: readonly RecordWithTtl[], host: string, where: string): TimedLookup {
  const ttl = Math.min(...records.map(record => record.ttl))
  if (records.length === 0) return { problem: `${host} has no address${where}`, why: 'noAnswer', ttl: 0 }
  const addresses = records.map(record => canonicalAddress(record.address) ?? record.address)
  const outside = addresses.filter(address => !isInsideVpc(address))
  if (outside.length > 0) {
    const problem = `${host} is at ${outside.join(', ')}, which is not an address inside a VPC${where}`
    return { problem, why: 'outsideVpc', ttl }
  }
  return { addresses: [...new Set(addresses)].sort(), ttl }
}

function explain(error: unknown, family: Family): string {
  const code = systemCode(error)
  if (code === NOTFOUND) return 'the name does not exist (ENOTFOUND)'
  if (code === NODATA) return `the name has no ${family === 'ipv4' ? 'A' : 'AAAA'} record (ENODATA)`
  return code || String(error)
}
