/** `mysql-iam-proxy wait`: returns when a proxy in another process is ready, for start-up order. */

import { monotonicClock } from '../clock.ts'
import type { Settings } from '../config/settings.ts'
import { formatDuration } from '../duration.ts'
import { parseListen } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { isListening } from '../net/listen.ts'

const POLL_MS = 100

/**
 * Asks /startup of the admin listener if --admin-listen is given. Otherwise connects to --listen.
 * @throws ProxyError WAIT_TIMEOUT
 */
export async function waitUntilReady(settings: Settings, stop: AbortSignal): Promise<void> {
  const admin = settings['admin-listen']
  const isReady = admin ? () => answersStartup(admin) : () => takesConnections(settings.listen)
  const deadline = monotonicClock.now() + settings.max
  while (!(await isReady())) {
    if (stop.aborted) return
    if (monotonicClock.now() >= deadline) {
      throw new ProxyError(
        'WAIT_TIMEOUT',
        `no proxy was ready at ${admin ?? settings.listen} within ${formatDuration(settings.max)}`,
      )
    }
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
}

async function answersStartup(admin: string): Promise<boolean> {
  const response = await fetch(`http://${admin}/startup`, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined)
  await response?.body?.cancel()
  return response?.ok ?? false
}

async function takesConnections(listen: string): Promise<boolean> {
  const address = parseListen(listen, '--listen')
  if ('systemd' in address) return true // systemd opened the socket before the proxy started
  return await isListening(address, AbortSignal.timeout(2_000))
}
