/** Connects to the database and reads its HandshakeV10. */
import { once } from 'node:events'
import { connect, type LookupFunction, type Socket } from 'node:net'
import { type Clock, monotonicClock } from '../clock.ts'
import { type Endpoint, formatHostPort, type HostPort } from '../endpoint.ts'
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError, systemCode } from '../errors.ts'
import type { ForwardProxy } from '../forward-proxy.ts'
import { forwardProxyError, openTunnel } from '../net/tunnel.ts'
import { createWire, parsed, readPacket, type Wire } from '../net/wire.ts'
import type { Compression } from '../protocol/inflate.ts'
import { ERR, type HandshakeV10, parseERR_Packet, parseHandshakeV10, type SSLRequest } from '../protocol/packets.ts'
import { type AddressBook, createAddressBook } from './address-book.ts'
import { type GreetingWatch, SILENT_AFTER_MS } from './greeting-watch.ts'
import { type Answer, createNameLookup, hasMore } from './name-lookup.ts'

/** A connection to the database that has received its HandshakeV10. */
export interface Upstream {
  wire: Wire
  greeting: HandshakeV10
  /** the SSLRequest that was sent; undefined before */
  sslRequest?: SSLRequest
  /** what the proxy added to the client's flags in it */
  compression?: Compression | undefined
  /** of a prepared connection (prepared.ts): ends it, so that the server counts no error; may be called again */
  end?: () => Promise<void>
  /** Why the tunnel that led here was lost; undefined if it was not. Undefined without a tunnel. */
  lost?: (() => Promise<ProxyError | undefined>) | undefined
}

/** A way to the server with its own address, which it may have to make first: a tunnel (../tunnel/tunnel.ts). */
export interface Way {
  /** Waits until there is a way. @param stop stops to wait. @throws ProxyError TUNNEL_… */
  acquire(stop: AbortSignal): Promise<{
    address: HostPort
    /** a new connection to `address`, if there is one already */
    connection: Socket | undefined
    /** the error for a connection that failed or closed before the greeting */
    explain(error: ProxyError): Promise<ProxyError>
    lost(): Promise<ProxyError | undefined>
    /** call it when the connection has closed */
    release(): void
  }>
  /** whether logins wait for it */
  isStarting(): boolean
  /** The network may have changed: finds out if the way is dead, and then makes another one. */
  recheck?(): void
}

/** The part of an Endpoint that dialling needs. */
export type DialOptions = Pick<Endpoint, 'dial' | 'connectTimeout' | 'greetingTimeout' | 'loginTimeout' | 'keepalive'> &
  Partial<Pick<Endpoint, 'proxy'>>

/** What dials share, and what tests replace. */
export interface DialTools {
  /** which addresses failed lately; looks up names, unless `lookup` does */
  addresses?: AddressBook
  /** notices a database that does not greet */
  greetings?: GreetingWatch
  /** leads to the server instead of a connection to `dial` itself */
  tunnel?: Way | undefined
  /** called when the TCP connection is there */
  onConnect?: (wire: Wire) => void
  clock?: Clock
  lookup?: LookupFunction
}

/**
 * Connects to the address that is dialled, through the forward proxy or the tunnel if there is one, and reads the server's greeting. The time
 * of the login starts with the greeting, as the server's own connect_timeout does: waiting for it costs the server nothing.
 * @param stop destroys the connection, now or later
 * @throws ProxyError DIAL_…, FORWARD_PROXY_…, TUNNEL_…, UPSTREAM_…
 */
export async function dial(options: DialOptions, stop: AbortSignal, tools: DialTools = {}): Promise<Upstream> {
  const { clock = monotonicClock, greetings } = tools
  const addresses = addressesOf(tools, clock)
  const way = await tools.tunnel?.acquire(stop)
  const connecting = way?.connection ?? connectTcp(options, stop, clock, addresses, way?.address)
  const explained = async (error: unknown): Promise<unknown> => {
    const isOurs = !(error instanceof ProxyError) || stop.aborted || !(isSilent(error) || isDialError(error))
    return isOurs || !way ? error : await way.explain(error)
  }
  let socket: Socket
  try {
    socket = await connecting
  } catch (error) {
    const explanation = await explained(error)
    way?.release()
    throw explanation
  }
  if (way) onceClosed(socket, way.release)
  const address = socket.remoteAddress ?? ''
  const wire = createWire(socket, 'upstream', options.greetingTimeout, clock)
  const onStop = () => wire.socket.destroy()
  stop.addEventListener('abort', onStop)
  socket.on('close', () => stop.removeEventListener('abort', onStop))
  tools.onConnect?.(wire)
  const endWait = greetings?.begin()
  // A zone of an NLB without a usable target accepts the connection, but nobody sends a greeting. Meanwhile, other logins
  // prefer the other addresses. This one goes on: the database may be resuming.
  const failed = () => {
    // The address of a forward proxy or a tunnel says nothing about what is behind it.
    if (options.proxy || way) return
    addresses.failed(address)
    addresses.names.distrust(options.dial.host)
  }
  const cancelTimer = clock.after(SILENT_AFTER_MS, failed)
  try {
    const payload = await readPacket(wire, `the greeting of ${formatHostPort(options.dial)}`)
    endWait?.(true)
    addresses.succeeded(address)
    wire.deadline = clock.now() + options.loginTimeout
    return { wire, greeting: parseGreeting(wire, payload), lost: way?.lost }
  } catch (error) {
    endWait?.(false)
    socket.destroy()
    if (!stop.aborted && isSilent(error)) failed()
    throw await explained(error)
  } finally {
    cancelTimer()
  }
}

/** Calls `work` when the socket has closed; at once if it has already. */
function onceClosed(socket: Socket, work: () => void): void {
  if (socket.closed) work()
  else socket.once('close', work)
}

function isSilent(error: unknown): boolean {
  return error instanceof ProxyError && (error.code === 'UPSTREAM_CLOSED' || error.code === 'UPSTREAM_TIMEOUT')
}

/** With `lookup`, no answer of DNS is used again. */
function addressesOf({ addresses, lookup }: DialTools, clock: Clock): AddressBook {
  if (addresses && !lookup) return addresses
  const names = createNameLookup(undefined, clock, lookup)
  return addresses ? { ...addresses, names } : createAddressBook(clock, names)
}

/** Connects, and through the forward proxy if there is one. @throws ProxyError DIAL_…, FORWARD_PROXY_…, UPSTREAM_CLOSED */
async function connectTcp(
  options: DialOptions,
  stop: AbortSignal,
  clock: Clock,
  addresses: AddressBook,
  ofWay: HostPort | undefined,
): Promise<Socket> {
  const { host, port } = ofWay ?? options.proxy ?? options.dial
  const { names } = addresses
  const deadline = clock.now() + options.connectTimeout
  let answer: Answer | undefined
  const first: Find = async name => {
    answer = await names.find(name)
    return answer
  }
  const attempt = (find: Find) => connectOnce({ host, port, find }, options, deadline, stop, clock, addresses)
  try {
    return await attempt(first)
  } catch (error) {
    // A login fails only by an answer of its own time.
    if (!answer?.isReused || stop.aborted || error instanceof ProxyError) throw dialError(options, error)
    const { addresses: before } = answer
    const again: Find = async name => {
      const now = await names.find(name)
      if (!hasMore(before, now.addresses)) throw error
      return now
    }
    return await attempt(again).catch(second => Promise.reject(dialError(options, second)))
  }
}

type Find = (name: string) => Promise<Answer>

/** @param to `find` is called unless `host` is an address */
async function connectOnce(
  to: HostPort & { find: Find },
  { connectTimeout, dial: target, keepalive, proxy }: DialOptions,
  deadline: number,
  stop: AbortSignal,
  clock: Clock,
  addresses: AddressBook,
): Promise<Socket> {
  const { host, port, find } = to
  const { names } = addresses
  let trying: string | undefined
  let answer: Answer | undefined
  let isResolving = false
  // An NLB has an address in each zone: wait for a slow one, and keep time for the next.
  const attemptTimeout = Math.max(250, Math.floor(connectTimeout / 3))
  const socket = connect({
    host,
    port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: keepalive,
    autoSelectFamilyAttemptTimeout: attemptTimeout,
    lookup: (name, { all }, done) => {
      isResolving = true
      const onFound = (found: Answer) => {
        answer = found
        isResolving = false
        if (found.isReused) cancelTimers.push(clock.after(attemptTimeout, () => void askAgain()))
        const [first, ...others] = addresses.sort(found.addresses)
        if (all) done(null, [first!, ...others])
        else done(null, first!.address, first!.family)
      }
      find(name).then(onFound, error => done(error, []))
    },
  })
  const failed = (address: string) => {
    addresses.failed(address)
    names.distrust(host)
  }
  const onAttempt = (address: string) => {
    trying = address
  }
  socket.on('connectionAttempt', onAttempt)
  socket.on('connectionAttemptFailed', failed)
  socket.on('connectionAttemptTimeout', failed)
  const end = (code: string) => socket.destroy(Object.assign(new Error('timed out'), { code }))
  const giveUp = () => {
    if (trying) failed(trying)
    end(isResolving && !proxy ? 'EAI_AGAIN' : 'ETIMEDOUT')
  }
  // Packets may vanish at an address that the name no longer has.
  const askAgain = async () => {
    if (!answer?.isReused || !socket.connecting) return
    names.distrust(host)
    const now = await names.find(host).catch(() => answer!)
    if (socket.connecting && hasMore(answer.addresses, now.addresses)) end('ETIMEDOUT')
  }
  const cancelTimers = [clock.after(deadline - clock.now(), giveUp)]
  try {
    await once(socket, 'connect', { signal: stop })
    trying = undefined
    if (proxy) await openTunnelUntil(stop, socket, proxy, target)
    return socket
  } catch (error) {
    socket.destroy()
    if (!stop.aborted) names.distrust(host)
    throw error
  } finally {
    for (const cancel of cancelTimers) cancel()
    // For as long as the session lives, they would keep all that this function needs.
    socket.off('connectionAttempt', onAttempt)
    socket.off('connectionAttemptFailed', failed)
    socket.off('connectionAttemptTimeout', failed)
  }
}

async function openTunnelUntil(
  stop: AbortSignal,
  socket: Socket,
  proxy: ForwardProxy,
  target: HostPort,
): Promise<void> {
  const onStop = () => socket.destroy()
  stop.addEventListener('abort', onStop)
  try {
    await openTunnel(socket, proxy, target)
  } finally {
    stop.removeEventListener('abort', onStop)
  }
}

/** Whether this is a sign that the name may lead to another server by now, as after a failover. */
export function mayHaveMoved({ code }: ProxyError): boolean {
  return code === 'SERVER_NOT_WRITER' || (/^(TLS|UPSTREAM)_/.test(code) && code !== 'UPSTREAM_REFUSED_LOGIN')
}

/** Whether this is an error of the way to the server, which other logins meet too. */
export function isDialError({ code }: ProxyError): boolean {
  return /^(DIAL_|FORWARD_PROXY_|TUNNEL_)/.test(code)
}

const ER_CON_COUNT_ERROR = 1040

/** Dials again if the server has no place for another connection and `makeRoom` has ended one to it. @throws what `dialOnce` throws */
export async function dialWithRoom(
  dialOnce: () => Promise<Upstream>,
  makeRoom: () => Promise<boolean>,
): Promise<Upstream> {
  try {
    return await dialOnce()
  } catch (error) {
    const isFull = error instanceof ProxyError && error.serverError?.errno === ER_CON_COUNT_ERROR
    if (!isFull || !(await makeRoom())) throw error
    return await dialOnce()
  }
}

function dialError(options: DialOptions, cause: unknown): ProxyError {
  const dial = formatHostPort(options.dial)
  if (cause instanceof ProxyError) return cause
  const code = systemCode(cause) || 'unknown error'
  if (options.proxy && code !== 'EMFILE' && code !== 'ENFILE') {
    const what = `is unreachable: ${code === 'ETIMEDOUT' ? `no answer within ${options.connectTimeout} ms` : code}`
    return forwardProxyError('FORWARD_PROXY_FAILED', { proxy: options.proxy, target: options.dial }, what, cause)
  }
  const spoken: Record<string, [ErrorCode, string]> = {
    ECONNREFUSED: ['DIAL_REFUSED', `connection to ${dial} refused`],
    ETIMEDOUT: ['DIAL_TIMEOUT', `no answer from ${dial} within ${options.connectTimeout} ms`],
    ENOTFOUND: ['DIAL_DNS', `the name ${options.dial.host} is unknown to DNS`],
    ECONNRESET: ['UPSTREAM_CLOSED', `connection to ${dial} reset immediately`],
    EMFILE: ['FILE_LIMIT_REACHED', 'this process has no file descriptor left'],
    ENFILE: ['FILE_LIMIT_REACHED', 'this machine has no file descriptor left'],
    EAI_AGAIN: ['DIAL_DNS', `no answer from DNS for the name ${options.dial.host}`],
  }
  const [errorCode, message] = spoken[code] ?? ['DIAL_FAILED', `connection to ${dial} failed: ${code}`]
  return new ProxyError(errorCode, message, { cause })
}

function parseGreeting(wire: Wire, payload: Buffer): HandshakeV10 {
  if (payload[0] === ERR) {
    const serverError = parsed(wire, 'ERR_Packet', () => parseERR_Packet(payload))
    throw new ProxyError('UPSTREAM_REFUSED_CONNECTION', serverError.message, { serverError })
  }
  return parsed(wire, 'no MySQL greeting', () => parseHandshakeV10(payload))
}
