/** Access to the admin listener: for clients with its token, or on this machine, and never for other web pages. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { withoutMapping } from '../address.ts'
import { isPrivate, parseHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { readText } from '../read-file.ts'

/** In characters. Shorter tokens can be guessed. */
const MIN_TOKEN_LENGTH = 16

/** Reads the token in `file`, without the white space around it. @param name starts the error. @throws ProxyError CONFIG_INVALID */
export async function readAdminToken(file: string, name: string): Promise<string> {
  const token = (await readText(name, file)).trim()
  if (!/^[\x21-\x7e]+$/.test(token) || token.length < MIN_TOKEN_LENGTH) {
    const form = `one line of at least ${MIN_TOKEN_LENGTH} ASCII characters without spaces`
    throw new ProxyError('CONFIG_INVALID', `${name} ${file}: a token is ${form}`)
  }
  return token
}

/** Whether the Authorization header has the token. Compares digests, so that timing does not show how much was right. */
export function hasToken({ authorization }: IncomingHttpHeaders, token: string): boolean {
  const given = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1]
  return given !== undefined && timingSafeEqual(digest(given), digest(token))
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** Whether the Host header names this machine. With DNS rebinding, a page's own name resolves to this machine, and Host has that name. */
export function isForLoopback({ host }: IncomingHttpHeaders): boolean {
  try {
    return isPrivate(parseHostPort(host ?? '', 80, 'Host'))
  } catch {
    return false
  }
}

/**
 * Whether the request comes from another web page. Browsers send Sec-Fetch-Site (Fetch Metadata) or, with each POST,
 * Origin. Other programs send neither.
 * https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
 */
export function isFromOtherPage(headers: IncomingHttpHeaders): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true
  const { origin, host } = headers
  return origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`
}

/** What reverse proxies on this machine add for clients that may be elsewhere. */
const FORWARDED = ['forwarded', 'x-forwarded-for', 'x-real-ip']

/** Whether a program on this machine sent the request. A unix socket has no address, and mostly a reverse proxy in front of it. */
export function isLocalClient({ socket, headers }: IncomingMessage): boolean {
  const { remoteAddress } = socket
  if (remoteAddress === undefined || FORWARDED.some(name => headers[name] !== undefined)) return false
  return isPrivate({ host: withoutMapping(remoteAddress), port: 0 })
}
