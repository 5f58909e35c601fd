/**
 * Asks a forward proxy for a connection to another host: HTTP CONNECT (https://www.rfc-editor.org/rfc/rfc9110#CONNECT) and
 * SOCKS 5 (https://www.rfc-editor.org/rfc/rfc1928, with user and password: https://www.rfc-editor.org/rfc/rfc1929).
 */
import { isIP, type Socket } from 'node:net'
import { formatHostPort, type HostPort } from '../endpoint.ts'
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError, systemCode } from '../errors.ts'
import type { ForwardProxy } from '../forward-proxy.ts'

/** Largest answer to CONNECT: its header lines. */
const MAX_HTTP_ANSWER_BYTES = 16 * 1024

/**
 * Makes `socket`, a new connection to `proxy`, a connection to `target`. The proxy resolves its name. Bytes that the target
 * sends at once stay in the socket. For a deadline, destroy the socket with an error whose code is ETIMEDOUT.
 * @throws ProxyError FORWARD_PROXY_…
 */
export async function openTunnel(socket: Socket, proxy: ForwardProxy, target: HostPort): Promise<void> {
  const tunnel: Tunnel = { socket, proxy, target }
  // An error without a listener would end the process. Reads find it in the socket.
  socket.on('error', ignore)
  try {
    if (proxy.protocol === 'socks5') await openSocks5(tunnel)
    else await openHttp(tunnel)
  } finally {
    // 'error' comes a moment after the failure of the read.
    if (!socket.destroyed) socket.off('error', ignore)
  }
}

function ignore(): void {}

interface Tunnel {
  socket: Socket
  proxy: ForwardProxy
  target: HostPort
}

/** The error for a step with the proxy. */
export function forwardProxyError(
  code: ErrorCode,
  { proxy, target }: Pick<Tunnel, 'proxy' | 'target'>,
  what: string,
  cause?: unknown,
): ProxyError {
  const hintValues = { setting: proxy.setting, target: formatHostPort(target) }
  return new ProxyError(code, `the proxy ${proxy.shown} ${what}`, { cause, hintValues })
}

async function openHttp(tunnel: Tunnel): Promise<void> {
  const { socket, proxy, target } = tunnel
  const address = formatHostPort(target)
  const lines = [`CONNECT ${address} HTTP/1.1`, `Host: ${address}`]
  if (proxy.user !== '') {
    lines.push(`Proxy-Authorization: Basic ${Buffer.from(`${proxy.user}:${proxy.password}`).toString('base64')}`)
  }
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  const [status, reason] = await read(tunnel, 'target', bytes => parseHttpAnswer(tunnel, bytes))
  if (status >= 200 && status < 300) return
  const answer = `${status} ${reason}`.trim()
  // tinyproxy answers 401 to a wrong password.
  if (status === 407 || status === 401) throw authenticationError(tunnel, answer)
  // squid answers 502 to 504 if it cannot connect, tinyproxy 500.
  if (status >= 500) {
    throw forwardProxyError('FORWARD_PROXY_TARGET', tunnel, `cannot connect to ${address}: ${answer}`)
  }
  throw forwardProxyError('FORWARD_PROXY_REFUSED', tunnel, `refuses the connection to ${address}: ${answer}`)
}

function authenticationError(tunnel: Tunnel, answer: string): ProxyError {
  const what = tunnel.proxy.user === '' ? 'requires a user and password' : 'rejects the user or password'
  return forwardProxyError('FORWARD_PROXY_AUTHENTICATION', tunnel, answer === '' ? what : `${what}: ${answer}`)
}

type Parsed<Value> = { value: Value; length: number } | undefined

/** The status and its reason, from the header of the answer. */
function parseHttpAnswer(tunnel: Tunnel, bytes: Buffer): Parsed<[number, string]> {
  const start = bytes.subarray(0, 9).toString('latin1')
  if (!'HTTP/1.1 '.startsWith(start) && !'HTTP/1.0 '.startsWith(start)) throw notA(tunnel, 'an HTTP proxy')
  const end = bytes.indexOf('\r\n\r\n')
  if (end === -1) {
    if (bytes.length > MAX_HTTP_ANSWER_BYTES) throw notA(tunnel, 'an HTTP proxy')
    return undefined
  }
  const [, status, reason = ''] = /^HTTP\/1\.[01] (\d{3})(?: (.*))?$/m.exec(bytes.toString('latin1', 0, end)) ?? []
  if (status === undefined) throw notA(tunnel, 'an HTTP proxy')
  return { value: [Number(status), printable(reason)], length: end + 4 }
}

/** A text of the proxy, for a message. */
function printable(text: string): string {
  return text.replace(/[^ -~]/g, '').slice(0, 60)
}

function notA(tunnel: Tunnel, what: string): ProxyError {
  return forwardProxyError('FORWARD_PROXY_FAILED', tunnel, `does not answer as ${what}`)
}

const VERSION = 5
const NO_AUTHENTICATION = 0
const USER_AND_PASSWORD = 2
const NO_METHOD = 0xff
const CONNECT = 1
const IPV4 = 1
const NAME = 3
const IPV6 = 4
/** Its length has one byte. */
const MAX_NAME_BYTES = 255

/** The replies of RFC 1928 to a request, other than success. */
const REPLIES: Readonly<Record<number, [code: ErrorCode, meaning: string]>> = {
  1: ['FORWARD_PROXY_TARGET', 'general failure'],
  2: ['FORWARD_PROXY_REFUSED', 'not allowed by its rules'],
  3: ['FORWARD_PROXY_TARGET', 'network unreachable'],
  4: ['FORWARD_PROXY_TARGET', 'host unreachable'],
  5: ['FORWARD_PROXY_TARGET', 'connection refused'],
  6: ['FORWARD_PROXY_TARGET', 'TTL expired'],
  7: ['FORWARD_PROXY_REFUSED', 'CONNECT not supported'],
  8: ['FORWARD_PROXY_REFUSED', 'type of address not supported'],
}

async function openSocks5(tunnel: Tunnel): Promise<void> {
  const { socket, proxy, target } = tunnel
  const methods = proxy.user === '' ? [NO_AUTHENTICATION] : [NO_AUTHENTICATION, USER_AND_PASSWORD]
  socket.write(Buffer.from([VERSION, methods.length, ...methods]))
  const method = await read(tunnel, 'greeting', bytes => {
    if (bytes[0] !== VERSION) throw notA(tunnel, 'a SOCKS 5 proxy')
    return bytes.length < 2 ? undefined : { value: bytes[1]!, length: 2 }
  })
  if (method === NO_METHOD) throw authenticationError(tunnel, '')
  if (!methods.includes(method)) throw notA(tunnel, 'a SOCKS 5 proxy')
  if (method === USER_AND_PASSWORD) await sendPassword(tunnel)

  const address = formatHostPort(target)
  const encoded = encodeAddress(target)
  if (!encoded) throw forwardProxyError('FORWARD_PROXY_TARGET', tunnel, `cannot connect to ${address}: name too long`)
  socket.write(Buffer.concat([Buffer.from([VERSION, CONNECT, 0]), encoded]))
  const reply = await read(tunnel, 'target', parseReply)
  if (reply === 0) return
  const [code, meaning] = REPLIES[reply] ?? ['FORWARD_PROXY_TARGET', `reply ${reply}`]
  const verb = code === 'FORWARD_PROXY_REFUSED' ? 'refuses the connection to' : 'cannot connect to'
  throw forwardProxyError(code, tunnel, `${verb} ${address}: ${meaning}`)
}

async function sendPassword(tunnel: Tunnel): Promise<void> {
  const [user, password] = [Buffer.from(tunnel.proxy.user), Buffer.from(tunnel.proxy.password)]
  const lengths = [user, password].map(text => Buffer.from([text.length]))
  tunnel.socket.write(Buffer.concat([Buffer.from([1]), lengths[0]!, user, lengths[1]!, password]))
  // A proxy must close the connection after it has rejected a password, and some do so without an answer.
  const status = await read(tunnel, 'password', bytes =>
    bytes.length < 2 ? undefined : { value: bytes[1]!, length: 2 },
  )
  if (status !== 0) throw authenticationError(tunnel, '')
}

/** ATYP, DST.ADDR and DST.PORT; undefined for a name of more than 255 bytes. */
function encodeAddress({ host, port }: HostPort): Buffer | undefined {
  const tail = Buffer.from([port >> 8, port & 0xff])
  if (isIP(host) === 4) return Buffer.concat([Buffer.from([IPV4, ...host.split('.').map(Number)]), tail])
  // An address with a zone, as fe80::1%eth0, goes as a name: the 16 bytes have no place for the zone.
  if (isIP(host) === 6 && !host.includes('%')) return Buffer.concat([Buffer.from([IPV6]), encodeIPv6(host), tail])
  const name = Buffer.from(host)
  if (name.length > MAX_NAME_BYTES) return undefined
  return Buffer.concat([Buffer.from([NAME, name.length]), name, tail])
}

function encodeIPv6(host: string): Buffer {
  // The URL parser writes every IPv6 address in hexadecimal.
  const text = new URL(`http://[${host}]`).hostname.slice(1, -1)
  const [head = '', tail] = text.split('::')
  const groups = (part: string) => (part === '' ? [] : part.split(':'))
  const [before, after] = [groups(head), groups(tail ?? '')]
  const zeros = Array<string>(8 - before.length - after.length).fill('')
  return Buffer.from([...before, ...zeros, ...after].map(group => group.padStart(4, '0')).join(''), 'hex')
}

/** VER, REP, RSV, ATYP, BND.ADDR, BND.PORT: only REP matters. */
function parseReply(bytes: Buffer): Parsed<number> {
  const [, reply, , type, nameLength] = bytes
  // A refusal may be short: nothing follows it.
  if (reply !== undefined && reply !== 0) return { value: reply, length: bytes.length }
  if (type === undefined || nameLength === undefined) return undefined
  const addressBytes = type === IPV4 ? 4 : type === IPV6 ? 16 : 1 + nameLength
  const length = 4 + addressBytes + 2
  return bytes.length < length ? undefined : { value: 0, length }
}

/**
 * What `parse` makes of the next bytes. It returns undefined if it needs more, and may throw. Further bytes stay in the socket.
 * @param step what the answer is about
 */
function read<Value>(tunnel: Tunnel, step: Step, parse: (bytes: Buffer) => Parsed<Value>): Promise<Value> {
  const { socket } = tunnel
  let bytes = Buffer.alloc(0)
  return new Promise((resolve, reject) => {
    const attempt = () => {
      try {
        for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) {
          bytes = Buffer.concat([bytes, chunk as Buffer])
          const parsed = parse(bytes)
          if (!parsed) continue
          socket.unshift(bytes.subarray(parsed.length))
          stop()
          return resolve(parsed.value)
        }
        if (socket.readableEnded || socket.destroyed) throw closedError(tunnel, step)
      } catch (error) {
        stop()
        reject(error)
      }
    }
    const stop = () => socket.off('readable', attempt).off('end', attempt).off('close', attempt)
    socket.on('readable', attempt).on('end', attempt).on('close', attempt)
    attempt()
  })
}

/** What the proxy is asked for. */
type Step = 'greeting' | 'password' | 'target'

function closedError(tunnel: Tunnel, step: Step): ProxyError {
  const cause = tunnel.socket.errored ?? undefined
  const reason = systemCode(cause)
  if (reason === 'ETIMEDOUT') {
    // The proxy answers when its own attempt to connect fails, which may be later.
    if (step === 'target') {
      const what = `has not connected to ${formatHostPort(tunnel.target)} in time`
      return forwardProxyError('FORWARD_PROXY_TARGET', tunnel, what, cause)
    }
    return forwardProxyError('FORWARD_PROXY_FAILED', tunnel, 'does not answer in time', cause)
  }
  if (step === 'password') return authenticationError(tunnel, '')
  const what = `closed the connection${reason === '' ? '' : ` (${reason})`}`
  return forwardProxyError('FORWARD_PROXY_FAILED', tunnel, what, cause)
}
