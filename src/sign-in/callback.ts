/** The page on this machine that the browser comes back to, with the authorization code. */
import { timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** IAM Identity Center accepts this path with any port for a client that registered it without one, as the AWS CLI does. */
export const CALLBACK_PATH = '/oauth/callback'

/** What the browser brought: a code, or why there is none. */
export type CallbackResult = { code: string } | { error: string }

export interface Callback {
  /** with its port: the authorization and the token must name the same one */
  redirectUri: string
  /** resolves when the browser comes back with the right state */
  result: Promise<CallbackResult>
  /** answers the browser, once the outcome of the sign-in is known */
  answer(ok: boolean, text: string): void
  close(): void
}

/**
 * Listens on loopback only.
 * @param state a request without it does not belong to this sign-in, and changes nothing
 * @throws the error of the operating system if it cannot listen
 */
export async function openCallback(state: string, port = 0): Promise<Callback> {
  let resolve!: (result: CallbackResult) => void
  const result = new Promise<CallbackResult>(done => {
    resolve = done
  })
  let waiting: ServerResponse | undefined
  const server = createServer((request, response) => {
    const found = read(request, state, server.address() as AddressInfo)
    if (typeof found === 'string') return send(response, found.startsWith('404') ? 404 : 400, found)
    if (waiting) return send(response, 409, 'This sign-in has its answer already.')
    waiting = response
    resolve(found)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const { port: actual } = server.address() as AddressInfo
  return {
    redirectUri: `http://127.0.0.1:${actual}${CALLBACK_PATH}`,
    result,
    answer(ok, text) {
      if (waiting) send(waiting, ok ? 200 : 400, text)
    },
    close() {
      server.close()
      server.closeIdleConnections()
    },
  }
}

/** The result in a request, or what is wrong with the request. */
function read(request: IncomingMessage, state: string, { port }: AddressInfo): CallbackResult | string {
  const { method, headers, url = '' } = request
  // The name of another site that leads here would make this page part of that site.
  if (headers.host !== `127.0.0.1:${port}`) return 'This address is only for 127.0.0.1.'
  // Not by URL, which throws for a target such as `//`: any page in the browser can ask for it.
  const [path = '', query = ''] = url.split('?', 2)
  const searchParams = new URLSearchParams(query)
  if (method !== 'GET' || path !== CALLBACK_PATH) return '404: there is nothing here.'
  if (!isSame(searchParams.get('state') ?? '', state)) {
    return 'This answer belongs to another sign-in. Go back to the newest page of the sign-in.'
  }
  const error = searchParams.get('error')
  if (error !== null) return { error: /^[a-z_]{1,40}$/.test(error) ? error : 'unknown error' }
  const code = searchParams.get('code')
  return code ? { code } : 'The code is missing.'
}

function isSame(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)]
  return a.length === b.length && timingSafeEqual(a, b)
}

/** @param text of our own, without markup */
function send(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    connection: 'close',
  })
  response.end(`<!doctype html><html lang="en"><title>mysql-iam-proxy</title><h1>mysql-iam-proxy</h1><p>${text}</p>\n`)
}
