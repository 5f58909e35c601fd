/**
 * Connections to the database whose client left before the greeting. Most clients give up after about ten seconds and connect
 * again, but a database that resumes takes longer. The next client of the same source takes such a connection over, together
 * with its place: a client that retries holds one connection, not many.
 *
 * The others stay until the greeting, so that they can log in and be refused. The server would count a connection that just
 * closes as a connection error (../upstream/abandon.ts).
 */
import type { Upstream } from '../upstream/dial.ts'
import type { Place } from './admission.ts'

/** A connection that waits for its greeting, and the place that it holds. */
export interface Dialling {
  upstream: Promise<Upstream>
  place: Place
}

export interface Orphans {
  /** Keeps a connection until its greeting arrives or it fails. Resolves with true once a client has taken it over. */
  keep(source: string, dialling: Dialling): Promise<boolean>
  /** a connection of this source, the oldest first; undefined if there is none */
  take(source: string): Dialling | undefined
  /** Keeps none for another client any more: the network has changed, so their connections may be dead. */
  forget(): void
}

export function createOrphans(): Orphans {
  /** by source; each connection with what ends its keep */
  const kept = new Map<string, Map<Dialling, (isTaken: boolean) => void>>()

  const release = (source: string, dialling: Dialling, isTaken: boolean) => {
    const ofSource = kept.get(source)
    const end = ofSource?.get(dialling)
    ofSource?.delete(dialling)
    if (ofSource?.size === 0) kept.delete(source)
    end?.(isTaken)
  }

  return {
    keep(source, dialling) {
      const ofSource = kept.get(source) ?? new Map()
      const isTaken = new Promise<boolean>(resolve => ofSource.set(dialling, resolve))
      kept.set(source, ofSource)
      const onEnd = () => release(source, dialling, false)
      dialling.upstream.then(onEnd, onEnd)
      return isTaken
    },
    take(source) {
      const [dialling] = kept.get(source)?.keys() ?? []
      if (dialling) release(source, dialling, true)
      return dialling
    },
    forget() {
      for (const [source, ofSource] of kept) for (const dialling of ofSource.keys()) release(source, dialling, false)
    },
  }
}
