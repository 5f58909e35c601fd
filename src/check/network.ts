/** The connection to the server: names, addresses, TCP, greeting. */
import { lookup } from 'node:dns/promises'
import { monotonicClock } from '../clock.ts'
import { formatHostPort, isIndirect, isLocalForward } from '../endpoint.ts'
import { asProxyError, ProxyError, systemCode } from '../errors.ts'
import * as flags from '../protocol/capabilities.ts'
import { abandonLogin } from '../upstream/abandon.ts'
import { dial, isDialError, type Upstream } from '../upstream/dial.ts'
import { SILENT_AFTER_MS } from '../upstream/greeting-watch.ts'
import { assertSupportsTokens } from '../upstream/login.ts'
import type { Context } from './context.ts'
import { spokenDuration } from './credentials.ts'
import { FORWARD, type StepLog } from './steps.ts'

/**
 * Resolves both names as the proxy does, with the system's resolver. A forward proxy or a tunnel resolves the name to dial itself.
 * @throws ProxyError DIAL_DNS
 */
export async function checkDns(context: Context, log: StepLog): Promise<void> {
  const { endpoint, state } = context.target
  const { dial, rds, proxy } = endpoint
  if (state.tunnel) {
    log.fact(dial.host, `${state.tunnel.name} leads to it, and the far end resolves it`)
    context.addresses = { dial: [dial.host], rds: [] }
    return
  }
  if (proxy) {
    const ofProxy = await resolve(proxy.host)
    if (ofProxy instanceof ProxyError) throw ofProxy
    log.fact(proxy.host, ofProxy.map(address => (address === proxy.host ? 'is an address' : address)).join(', '))
    log.fact(dial.host, `the proxy ${proxy.shown} resolves it`)
    const ofDatabase = await resolve(rds.host)
    context.addresses = { dial: [dial.host], rds: ofDatabase instanceof ProxyError ? [] : ofDatabase }
    return
  }
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

/** A connection to one address. */
interface Attempt {
  address: string
  /** to the end of the TCP handshake */
  milliseconds: number
  /** undefined if the address accepted the connection */
  error: ProxyError | undefined
  /** undefined before the greeting */
  upstream: Upstream | undefined
  /** resolves with the greeting, or with what came instead of it */
  greeted: Promise<Upstream | ProxyError>
  /** stops to wait for the greeting */
  giveUp(): void
}

/**
 * Connects to each address of the name. One that does not answer is only a warning if another one does, because an NLB has
 * one address in each zone.
 * @throws ProxyError DIAL_…, FORWARD_PROXY_…, TUNNEL_… if none answers
 */
export async function checkTcp(context: Context, log: StepLog): Promise<Attempt[]> {
  const { endpoint } = context.target
  const { dial: dialled, rds } = context.addresses!
  const attempts = await Promise.all(dialled.map(address => attempt(address, context)))
  for (const each of attempts) {
    context.cleanup.push(() => (each.upstream ? leaveAndEnd(each.upstream) : each.giveUp()))
  }
  for (const { address, milliseconds, error } of attempts) {
    const whose = rds.includes(address) ? "the database's own address" : whoseElse(context, rds)
    log.fact(
      formatHostPort({ host: address, port: endpoint.dial.port }),
      error ? spokenFailure(error) : `open, ${milliseconds} ms; ${whose}`,
    )
  }
  const closed = attempts.flatMap(({ error }) => error ?? [])
  if (closed.length === attempts.length) throw closed[0]!
  for (const error of closed) log.warn(error)
  return attempts
}

function whoseElse({ target: { endpoint, state } }: Context, rds: string[]): string {
  if (state.tunnel) return `through ${state.tunnel.name}`
  if (endpoint.proxy) return `through the proxy ${endpoint.proxy.shown}`
  if (!isIndirect(endpoint)) return "the database's own address"
  if (isLocalForward(endpoint)) return FORWARD
  return rds.length > 0 ? `not the database's (${rds.join(', ')}), so it forwards` : 'it forwards'
}

function spokenFailure(error: ProxyError): string {
  if (error.code === 'DIAL_REFUSED') return 'refused'
  if (error.code === 'DIAL_TIMEOUT') return 'no answer'
  return systemCode(error.cause) || 'failed'
}

/** Resolves when the address has accepted the connection, or has not. */
function attempt(address: string, { target: { endpoint, tunnel }, stop }: Context): Promise<Attempt> {
  const started = performance.now()
  const controller = new AbortController()
  stop.addEventListener('abort', () => controller.abort(), { once: true })
  return new Promise(resolve => {
    let isSettled = false
    const accepted = (error?: ProxyError) => {
      // An open connection may fail later, before the greeting.
      if (isSettled) return
      isSettled = true
      result.milliseconds = Math.round(performance.now() - started)
      result.error = error
      resolve(result)
    }
    const greeted = async () => {
      try {
        const options = { ...endpoint, dial: { ...endpoint.dial, host: address } }
        result.upstream = await dial(options, controller.signal, { onConnect: () => accepted(), tunnel })
        return result.upstream
      } catch (thrown) {
        const error = asProxyError(thrown)
        accepted(isDialError(error) ? error : undefined)
        return error
      }
    }
    const giveUp = () => controller.abort()
    const result: Attempt = {
      address,
      milliseconds: 0,
      error: undefined,
      upstream: undefined,
      greeted: Promise.resolve().then(greeted),
      giveUp,
    }
  })
}

/** Disconnects without counting towards max_connect_errors. */
export async function leaveAndEnd(upstream: Upstream): Promise<void> {
  await abandonLogin(upstream)
  upstream.wire.socket.destroySoon()
}

/** @throws ProxyError UPSTREAM_…, TLS_NOT_OFFERED */
export async function checkGreeting(context: Context, attempts: Attempt[], log: StepLog): Promise<void> {
  const { endpoint } = context.target
  const open = attempts.filter(({ error }) => !error)
  const notice = () =>
    log.progress('waiting; a paused Aurora Serverless database takes 15 s and more to resume, others do not')
  const started = monotonicClock.now()
  const cancelTimer = monotonicClock.after(SILENT_AFTER_MS, notice)
  const failures = await awaitGreetings(open, endpoint.loginTimeout).finally(cancelTimer)
  const waited = monotonicClock.now() - started
  const upstream = open.find(each => each.upstream)?.upstream
  if (!upstream) throw failures[0]!
  context.upstream = upstream
  const { greeting } = upstream
  if (waited > SILENT_AFTER_MS) log.fact('waited', spokenDuration(waited))
  log.fact('version', `${greeting.serverVersion}, thread id ${greeting.threadId}`)
  log.fact('plugin', greeting.authPlugin || 'none named')
  log.fact(
    'offers',
    OFFERS.flatMap(([name, flag]) => (flags.has(greeting.capabilities, flag) ? [name] : [])).join(', '),
  )
  assertSupportsTokens(greeting, endpoint)
  // One zone of the NLB may lead to a broken server.
  if (failures[0]) log.warn(failures[0])
}

/**
 * Waits for the first greeting, and then for the others as long as a login may take: one that is silent now is not resuming.
 * Resolves with the errors of those that did not greet.
 */
async function awaitGreetings(attempts: Attempt[], patience: number): Promise<ProxyError[]> {
  const all = Promise.all(attempts.map(({ greeted }) => greeted))
  const greeting = async ({ greeted }: Attempt) => {
    const result = await greeted
    if (result instanceof ProxyError) throw result
  }
  await Promise.any(attempts.map(greeting)).catch(() => undefined)
  const silent = new Set<Attempt>()
  const giveUp = () => {
    for (const each of attempts) {
      if (each.upstream) continue
      silent.add(each)
      each.giveUp()
    }
  }
  const cancelTimer = monotonicClock.after(patience, giveUp)
  const results = await all.finally(cancelTimer)
  return results.flatMap((result, index) => {
    const { address } = attempts[index]!
    if (!(result instanceof ProxyError)) return []
    const message = `timed out while waiting for the greeting of ${address}`
    return silent.has(attempts[index]!) ? new ProxyError('UPSTREAM_TIMEOUT', message) : result
  })
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
