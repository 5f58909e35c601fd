/** Startup, readiness and liveness, with the meaning they have in the Cloud SQL Auth Proxy. */
import type { EndpointState } from '../state.ts'

/** The state of the process. */
export interface Life {
  /** whether every endpoint listens */
  isStarted(): boolean
  /** whether it accepts no more clients */
  isStopping(): boolean
}

/** Whether a process with several endpoints is ready when one of them is, or when all of them are. */
export type ReadyWhen = 'any' | 'all'

export interface Readiness {
  isReady: boolean
  /** why the process or single endpoints are not ready */
  reasons: string[]
}

/**
 * Whether to send clients here. An unreachable database is not a reason against it: another replica of the proxy could not
 * reach it either, and clients get an error that says so.
 * @param states the endpoints to ask about
 * @param now Date.now(), for the expiry of credentials
 */
export function readinessOf(
  states: readonly EndpointState[],
  life: Life,
  readyWhen: ReadyWhen,
  now = Date.now(),
): Readiness {
  if (life.isStopping()) return { isReady: false, reasons: ['stopping'] }
  if (!life.isStarted()) return { isReady: false, reasons: ['not started yet'] }
  const serving = states.filter(({ retired }) => !retired)
  const reasons = serving.map(state => whyNotReady(state, now))
  const ready = reasons.filter(of => of.length === 0).length
  const isReady = ready === serving.length || (readyWhen === 'any' && ready > 0)
  return { isReady, reasons: reasons.flat() }
}

function whyNotReady(state: EndpointState, now: number): string[] {
  const { name, sessions, maxConnections, credentialsFailed, address, sync, tunnel } = state
  const reasons: string[] = []
  if (maxConnections > 0 && sessions.size >= maxConnections) {
    reasons.push(`${name}: all ${maxConnections} connections are in use`)
  }
  if (credentialsFailed && !hasCredentials(state, now)) reasons.push(`${name}: no AWS credentials`)
  // Others start with a client, so that only a client can find out if they work.
  if (tunnel?.isPermanent && tunnel.word === 'failed') reasons.push(`${name}: the tunnel has failed`)
  // An endpoint that also serves clients stays ready: they do not need sync-targets.
  if (address === '' && sync?.outcome === 'failed') reasons.push(`${name}: the last pass of sync-targets failed`)
  return reasons
}

/** Whether the newest credentials are known to be valid still. @param now Date.now() */
export function hasCredentials({ credentialsExpire }: Pick<EndpointState, 'credentialsExpire'>, now: number): boolean {
  return credentialsExpire !== undefined && credentialsExpire > now
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
