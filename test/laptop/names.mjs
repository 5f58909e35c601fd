/** The name service of the laptop: names that LAPTOP_NAMES, a JSON object, has lead to the address there. Loaded with --import. */
import dns from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'

const names = JSON.parse(process.env.LAPTOP_NAMES ?? '{}')
const { lookup } = dns
const { lookup: lookupPromise } = dns.promises

const addressOf = host => names[String(host).toLowerCase()] ?? host
dns.lookup = (host, ...rest) => lookup(addressOf(host), ...rest)
dns.promises.lookup = (host, ...rest) => lookupPromise(addressOf(host), ...rest)
syncBuiltinESMExports()
