/** Closes the sessions that fit a filter. */
import { setImmediate } from 'node:timers/promises'
import type { EndpointState, Session } from '../state.ts'
import { findSessions, type SessionQuery } from './sessions.ts'

/** So many at once, then other work of the event loop. */
const BATCH = 100

/**
 * Closes the sessions that fit now. Later ones stay open, also those of clients that reconnect.
 * @param onClose called before each close
 * @returns how many were closed
 */
export async function closeSessions(
  states: readonly EndpointState[],
  query: Pick<SessionQuery, 'filter' | 'endpoint' | 'status'>,
  onClose: (endpoint: string, session: Session) => void,
): Promise<number> {
  let closed = 0
  for (const [index, { endpoint, session }] of findSessions(states, query).entries()) {
    if (index > 0 && index % BATCH === 0) await setImmediate()
    if (session.endedBy) continue
    onClose(endpoint, session)
    session.close('SESSION_CLOSED')
    closed++
  }
  return closed
}
