/** Who may ask the admin listener: people and programs with its token, or on this machine; never another web page. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { isPrivate, parseHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { readText } from '../read-file.ts'

/** Short ones can be guessed. */
const SHORTEST_TOKEN = 16

/** The token in a file, without white space around it. @throws ProxyError CONFIG_INVALID */
export async function readAdminToken(file: string): Promise<string> {
  const token = (await readText('--admin-token-file', file)).trim()
  if (!/^[\x21-\x7e]+$/.test(token) || token.length < SHORTEST_TOKEN) {
    const form = `one line of at least ${SHORTEST_TOKEN} ASCII characters without spaces`
    throw new ProxyError('CONFIG_INVALID', `--admin-token-file ${file}: a token is ${form}`)
  }
  return token
}

/** Whether the Authorization header holds the token; the time it takes says nothing about how much of it is right. */
export function hasToken({ authorization }: IncomingHttpHeaders, token: string): boolean {
  const given = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1]
  return given !== undefined && timingSafeEqual(digest(given), digest(token))
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** Whether the Host header names this machine: a page whose own name was made to point here (DNS rebinding) names itself. */
export function isForLoopback({ host }: IncomingHttpHeaders): boolean {
  try {
    return isPrivate(parseHostPort(host ?? '', 80, 'Host'))
  } catch {
    return false
  }
}

/**
 * Whether another web page asks. Browsers say where a request comes from (Fetch Metadata), or in which page it was made
 * (Origin, with each POST); other programs say neither.
 * https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
 */
export function isFromOtherPage(headers: IncomingHttpHeaders): boolean {
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true
  const { origin, host } = headers
  return origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`
}
