/** When each session moved bytes last and how fast it does. It samples sessions, so that relaying costs nothing. */
import type { EndpointState, Session } from '../state.ts'

export interface Activities {
  /** Samples all sessions. @param now milliseconds of a monotonic clock */
  tick(states: readonly EndpointState[], now: number): void
  /** bytes per second between the last two samples; undefined before the second */
  rateOf(session: Session): number | undefined
  /** when it moved bytes last, in milliseconds of the clock of `tick`, to within a tick; undefined before the first sample */
  lastMoved(session: Session): number | undefined
}

interface Sample {
  at: number
  bytes: number
  rate: number | undefined
  moved: number
}

export function createActivities(): Activities {
  const samples = new WeakMap<Session, Sample>()
  return {
    tick(states, now) {
      for (const { sessions } of states) {
        for (const session of sessions) {
          const { bytesFromClient, bytesFromUpstream } = session.traffic
          const bytes = bytesFromClient + bytesFromUpstream
          const sample = samples.get(session)
          if (!sample) {
            samples.set(session, { at: now, bytes, rate: undefined, moved: now })
            continue
          }
          const seconds = Math.max(1, now - sample.at) / 1_000
          // A session has a new counter after its login.
          sample.rate = Math.max(0, Math.round((bytes - sample.bytes) / seconds))
          if (bytes !== sample.bytes) sample.moved = now
          sample.at = now
          sample.bytes = bytes
        }
      }
    },
    rateOf: session => samples.get(session)?.rate,
    lastMoved: session => samples.get(session)?.moved,
  }
}
