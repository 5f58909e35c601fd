/** Startup, readiness and liveness, with the meaning they have in the Cloud SQL Auth Proxy. */
import type { EndpointState } from '../state.ts'

/** The state of the process. */
export interface Life {
  /** whether every endpoint listens */
  isStarted(): boolean
  /** whether it accepts no more clients */
  isStopping(): boolean
}

/**
 * The reasons to send no more clients here; none means ready. An unreachable database is not a reason: another replica of
 * the proxy could not reach it either, and clients get an error that says so.
 * @param now Date.now(), for the expiry of credentials
 */
export function whyNotReady(states: readonly EndpointState[], life: Life, now = Date.now()): string[] {
  if (life.isStopping()) return ['stopping']
  if (!life.isStarted()) return ['not started yet']
  const reasons: string[] = []
  for (const {
    name,
    retired,
    sessions,
    maxConnections,
    credentialsFailed,
    credentialsExpire,
    address,
    sync,
  } of states) {
    if (retired) continue
    if (maxConnections > 0 && sessions.size >= maxConnections) {
      reasons.push(`${name}: all ${maxConnections} connections are in use`)
    }
    const stillGood = credentialsExpire !== undefined && credentialsExpire > now
    if (credentialsFailed && !stillGood) reasons.push(`${name}: no AWS credentials`)
    // An endpoint that also serves clients stays ready: they do not need sync-targets.
    if (address === '' && sync?.outcome === 'failed') reasons.push(`${name}: the last pass of sync-targets failed`)
  }
  return reasons
}

const RETRY_INTERVAL_MS = 10_000

/**
 * Requests missing credentials again, at most once in RETRY_INTERVAL_MS; call it often. Logins request them too, but an
 * endpoint without credentials is not ready, so it may get no logins.
 * @param now milliseconds of a monotonic clock
 */
export function createCredentialsRetry(now: number): (states: readonly EndpointState[], now: number) => void {
  let last = now
  return (states, now) => {
    if (now - last < RETRY_INTERVAL_MS) return
    last = now
    for (const state of states) if (state.credentialsFailed && !state.retired) state.retryCredentials?.()
  }
}
