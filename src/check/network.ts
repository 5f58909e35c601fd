/** The way to the server: names, addresses, TCP, greeting. */
import { lookup } from 'node:dns/promises'
import { type Endpoint, formatHostPort, isIndirect } from '../endpoint.ts'
import { asProxyError, ProxyError, systemCode } from '../errors.ts'
import * as flags from '../protocol/capabilities.ts'
import { abandonLogin } from '../upstream/abandon.ts'
import { dial, type Upstream } from '../upstream/dial.ts'
import { assertSupportsTokens } from '../upstream/login.ts'
import type { Context } from './context.ts'
import type { StepLog } from './steps.ts'

/** Looks both names up as the proxy does, by the system's resolver. @throws ProxyError DIAL_DNS */
export async function checkDns(path: Context, notes: StepLog): Promise<void> {
  const { dial, rds } = path.target.endpoint
  const dialled = await resolve(dial.host)
  if (dialled instanceof ProxyError) throw dialled
  notes.fact(dial.host, dialled.map(address => (address === dial.host ? 'is an address' : address)).join(', '))
  if (!isIndirect(path.target.endpoint)) {
    path.addresses = { dial: dialled, rds: dialled }
    return
  }
  const ofDatabase = await resolve(rds.host)
  // The name of the database itself is not dialled: without it, logins still work.
  if (ofDatabase instanceof ProxyError) notes.fact(rds.host, 'unknown here; it is not what is dialled')
  else notes.fact(rds.host, ofDatabase.join(', '))
  path.addresses = { dial: dialled, rds: ofDatabase instanceof ProxyError ? [] : ofDatabase }
}

async function resolve(host: string): Promise<string[] | ProxyError> {
  try {
    const found = await lookup(host, { all: true })
    return [...new Set(found.map(({ address }) => address))]
  } catch (cause) {
    const message =
      systemCode(cause) === 'EAI_AGAIN'
        ? `no answer from DNS for the name ${host}`
        : `the name ${host} is unknown to DNS`
    return new ProxyError('DIAL_DNS', message, { cause })
  }
}

/** How an attempt at one address came out. */
interface Attempt {
  address: string
  milliseconds: number
  upstream: Upstream | undefined
  error: ProxyError | undefined
}

/**
 * Connects to each address that the dialled name has. One that does not answer is a warning as long as another does:
 * an NLB has one in each zone.
 * @throws ProxyError DIAL_… where none answers
 */
export async function checkTcp(path: Context, notes: StepLog): Promise<Attempt[]> {
  const { endpoint } = path.target
  const { dial: dialled, rds } = path.addresses!
  const attempts = await Promise.all(dialled.map(address => attempt(address, endpoint, path.stop)))
  for (const { upstream } of attempts) if (upstream) path.cleanup.push(() => leaveAndEnd(upstream))
  for (const { address, milliseconds, error } of attempts) {
    const isClosed = error?.code.startsWith('DIAL_')
    const whose = rds.includes(address) ? "the database's own address" : whoseElse(endpoint, rds)
    notes.fact(
      formatHostPort({ host: address, port: endpoint.dial.port }),
      isClosed ? spokenFailure(error!) : `open, ${milliseconds} ms; ${whose}`,
    )
  }
  const closed = attempts.flatMap(({ error }) => (error?.code.startsWith('DIAL_') ? [error] : []))
  if (closed.length === attempts.length) throw closed[0]!
  for (const error of closed) notes.warn(error)
  return attempts
}

function whoseElse(endpoint: Endpoint, rds: string[]): string {
  if (!isIndirect(endpoint)) return "the database's own address"
  return rds.length > 0 ? `not the database's (${rds.join(', ')}), so one that forwards` : 'one that forwards'
}

function spokenFailure(error: ProxyError): string {
  if (error.code === 'DIAL_REFUSED') return 'refused'
  if (error.code === 'DIAL_TIMEOUT') return 'no answer'
  return systemCode(error.cause) || 'failed'
}

async function attempt(address: string, endpoint: Endpoint, stop: AbortSignal): Promise<Attempt> {
  const started = performance.now()
  const took = () => Math.round(performance.now() - started)
  try {
    const upstream = await dial({ ...endpoint, dial: { ...endpoint.dial, host: address } }, stop)
    return { address, milliseconds: took(), upstream, error: undefined }
  } catch (thrown) {
    return { address, milliseconds: took(), upstream: undefined, error: asProxyError(thrown) }
  }
}

/** Without counting towards max_connect_errors. */
export async function leaveAndEnd(upstream: Upstream): Promise<void> {
  await abandonLogin(upstream)
  upstream.wire.socket.destroySoon()
}

/** @throws ProxyError UPSTREAM_…, TLS_NOT_OFFERED */
export function checkGreeting(path: Context, attempts: Attempt[], notes: StepLog): void {
  const greeted = attempts.find(({ upstream }) => upstream !== undefined)
  const failed = attempts.find(({ error }) => error && !error.code.startsWith('DIAL_'))?.error
  if (!greeted?.upstream) throw failed ?? attempts[0]!.error!
  path.upstream = greeted.upstream
  const { greeting } = greeted.upstream
  notes.fact('version', `${greeting.serverVersion}, thread id ${greeting.threadId}`)
  notes.fact('plugin', greeting.authPlugin || 'none named')
  notes.fact(
    'offers',
    OFFERS.flatMap(([name, flag]) => (flags.has(greeting.capabilities, flag) ? [name] : [])).join(', '),
  )
  assertSupportsTokens(greeting, path.target.endpoint)
  // A zone of the NLB may lead to a server that is not well.
  if (failed) notes.warn(failed)
}

/** The capabilities that people ask about. */
const OFFERS: [name: string, flag: number][] = [
  ['TLS', flags.CLIENT_SSL],
  ['long tokens', flags.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA],
  ['compression', flags.CLIENT_COMPRESS],
  ['zstd', flags.CLIENT_ZSTD_COMPRESSION_ALGORITHM],
  ['LOCAL INFILE', flags.CLIENT_LOCAL_FILES],
  ['multiple statements', flags.CLIENT_MULTI_STATEMENTS],
  ['session tracking', flags.CLIENT_SESSION_TRACK],
  ['query attributes', flags.CLIENT_QUERY_ATTRIBUTES],
]
