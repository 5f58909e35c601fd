/** Startup, readiness and liveness, as the Cloud SQL Auth Proxy means them. */
import type { EndpointState } from '../state.ts'

/** Where the process is in its life. */
export interface Life {
  /** whether every endpoint listens */
  isStarted(): boolean
  /** whether it no longer takes clients */
  isStopping(): boolean
}

/**
 * Why no more clients should be sent here; empty: ready. A database that is down is no reason: another replica of the
 * proxy would not reach it either, and clients get an error that says so.
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
    // Beside clients, who are served all the same, it is no reason.
    if (address === '' && sync?.outcome === 'failed') reasons.push(`${name}: the last pass of sync-targets failed`)
  }
  return reasons
}

/** Milliseconds. */
const RETRY_AFTER = 10_000

/**
 * To be called now and then: has credentials that could not be had looked up again. Logins do that too, but an endpoint
 * that is not ready for want of credentials may get none, and would stay so.
 * @param now Date.now()
 */
export function createCredentialsRetry(now: number): (states: readonly EndpointState[], now: number) => void {
  let last = now
  return (states, now) => {
    if (now - last < RETRY_AFTER) return
    last = now
    for (const state of states) if (state.credentialsFailed && !state.retired) state.retryCredentials?.()
  }
}
