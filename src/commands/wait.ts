/** `mysql-iam-proxy wait`: returns when a proxy in another process is ready, for start-up order. */

import { monotonicClock } from '../clock.ts'
import type { Settings } from '../config/settings.ts'
import { formatDuration } from '../duration.ts'
import { formatHostPort, parseHostPort, parseListen } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { isListening } from '../net/listen.ts'

const POLL_MS = 100

/** Resolves with why the proxy is not ready, or '' if it does not say; with undefined if it is ready. */
type Ask = () => Promise<string | undefined>

/**
 * Asks /readiness, or with --until started /startup, at --admin-listen or --health-listen. Without both, it connects to
 * --listen.
 * @throws ProxyError WAIT_TIMEOUT, CONFIG_INVALID
 */
export async function waitUntilReady(settings: Settings, stop: AbortSignal): Promise<void> {
  const { listen, until, endpoint, max } = settings
  const address = settings['admin-listen'] ?? settings['health-listen']
  if (address === undefined && endpoint !== undefined) {
    throw new ProxyError('CONFIG_INVALID', '--endpoint: wait needs --admin-listen or --health-listen for it')
  }
  if (until === 'started' && endpoint !== undefined) {
    throw new ProxyError(
      'CONFIG_INVALID',
      '--endpoint: cannot be used with --until started, as all endpoints start together',
    )
  }
  const path = until === 'started' ? '/startup' : '/readiness'
  const query = endpoint === undefined ? '' : `?${new URLSearchParams({ endpoint })}`
  const ask: Ask = address === undefined ? () => connectTo(listen) : () => askHealth(`${urlOf(address)}${path}${query}`)
  const deadline = monotonicClock.now() + max
  for (;;) {
    const why = await ask()
    if (why === undefined || stop.aborted) return
    if (monotonicClock.now() >= deadline) {
      const message = `no proxy was ready at ${address ?? listen} within ${formatDuration(max)}`
      throw new ProxyError('WAIT_TIMEOUT', why === '' ? message : `${message}; it says: ${why}`)
    }
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
}

/** A proxy that listens on all addresses of this machine also listens on loopback. */
function urlOf(address: string): string {
  const { host, port } = parseHostPort(address, 0, 'the address of the listener')
  const asked = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${formatHostPort({ host: asked, port })}`
}

/** @throws ProxyError CONFIG_INVALID if the proxy does not have the endpoint */
async function askHealth(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) })
    if (response.ok) {
      await response.body?.cancel()
      return undefined
    }
    const text = showable(await response.text())
    // Another program may answer 404 to any path.
    if (response.status === 404 && url.includes('?')) throw new ProxyError('CONFIG_INVALID', `--endpoint: ${text}`)
    return text
  } catch (error) {
    if (error instanceof ProxyError) throw error
    return ''
  }
}

/** In characters. Another program may answer there. */
const MAX_SHOWN = 500

function showable(text: string): string {
  return text
    .trim()
    .replace(/\p{Cc}+/gu, '; ')
    .slice(0, MAX_SHOWN)
}

async function connectTo(listen: string): Promise<string | undefined> {
  const address = parseListen(listen, '--listen')
  if ('systemd' in address) return undefined // systemd opened the socket before the proxy started
  return (await isListening(address, AbortSignal.timeout(2_000))) ? undefined : ''
}
