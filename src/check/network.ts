/** The connection to the server: names, addresses, TCP, greeting. */
import { lookup } from 'node:dns/promises'
import { type Endpoint, formatHostPort, isIndirect } from '../endpoint.ts'
import { asProxyError, ProxyError, systemCode } from '../errors.ts'
import * as flags from '../protocol/capabilities.ts'
import { abandonLogin } from '../upstream/abandon.ts'
import { dial, type Upstream } from '../upstream/dial.ts'
import { assertSupportsTokens } from '../upstream/login.ts'
import type { Context } from './context.ts'
import type { StepLog } from './steps.ts'

/** Resolves both names as the proxy does, with the system's resolver. @throws ProxyError DIAL_DNS */
export async function checkDns(context: Context, log: StepLog): Promise<void> {
  const { dial, rds } = context.target.endpoint
  const dialled = await resolve(dial.host)
  if (dialled instanceof ProxyError) throw dialled
  log.fact(dial.host, dialled.map(address => (address === dial.host ? 'is an address' : address)).join(', '))
  if (!isIndirect(context.target.endpoint)) {
    context.addresses = { dial: dialled, rds: dialled }
    return
  }
  const ofDatabase = await resolve(rds.host)
  // The proxy does not connect to the name of the database itself: logins work without it.
  if (ofDatabase instanceof ProxyError) log.fact(rds.host, 'unknown here; the proxy does not connect to it')
  else log.fact(rds.host, ofDatabase.join(', '))
  context.addresses = { dial: dialled, rds: ofDatabase instanceof ProxyError ? [] : ofDatabase }
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

/** The result of one address. */
interface Attempt {
  address: string
  milliseconds: number
  upstream: Upstream | undefined
  error: ProxyError | undefined
}

/**
 * Connects to each address of the name. One that does not answer is only a warning if another one does, because an NLB has
 * one address in each zone.
 * @throws ProxyError DIAL_… if none answers
 */
export async function checkTcp(context: Context, log: StepLog): Promise<Attempt[]> {
  const { endpoint } = context.target
  const { dial: dialled, rds } = context.addresses!
  const attempts = await Promise.all(dialled.map(address => attempt(address, endpoint, context.stop)))
  for (const { upstream } of attempts) if (upstream) context.cleanup.push(() => leaveAndEnd(upstream))
  for (const { address, milliseconds, error } of attempts) {
    const isClosed = error?.code.startsWith('DIAL_')
    const whose = rds.includes(address) ? "the database's own address" : whoseElse(endpoint, rds)
    log.fact(
      formatHostPort({ host: address, port: endpoint.dial.port }),
      isClosed ? spokenFailure(error!) : `open, ${milliseconds} ms; ${whose}`,
    )
  }
  const closed = attempts.flatMap(({ error }) => (error?.code.startsWith('DIAL_') ? [error] : []))
  if (closed.length === attempts.length) throw closed[0]!
  for (const error of closed) log.warn(error)
  return attempts
}

function whoseElse(endpoint: Endpoint, rds: string[]): string {
  if (!isIndirect(endpoint)) return "the database's own address"
  return rds.length > 0 ? `not the database's (${rds.join(', ')}), so it forwards` : 'it forwards'
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

/** Disconnects without counting towards max_connect_errors. */
export async function leaveAndEnd(upstream: Upstream): Promise<void> {
  await abandonLogin(upstream)
  upstream.wire.socket.destroySoon()
}

/** @throws ProxyError UPSTREAM_…, TLS_NOT_OFFERED */
export function checkGreeting(context: Context, attempts: Attempt[], log: StepLog): void {
  const greeted = attempts.find(({ upstream }) => upstream !== undefined)
  const failed = attempts.find(({ error }) => error && !error.code.startsWith('DIAL_'))?.error
  if (!greeted?.upstream) throw failed ?? attempts[0]!.error!
  context.upstream = greeted.upstream
  const { greeting } = greeted.upstream
  log.fact('version', `${greeting.serverVersion}, thread id ${greeting.threadId}`)
  log.fact('plugin', greeting.authPlugin || 'none named')
  log.fact(
    'offers',
    OFFERS.flatMap(([name, flag]) => (flags.has(greeting.capabilities, flag) ? [name] : [])).join(', '),
  )
  assertSupportsTokens(greeting, context.target.endpoint)
  // One zone of the NLB may lead to a broken server.
  if (failed) log.warn(failed)
}

/** The capabilities worth showing. */
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
