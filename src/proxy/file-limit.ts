/** How many sessions the limit of open files allows. */
import { readFileSync } from 'node:fs'

/** Descriptors for everything else: listeners, log, credentials, the admin listener. */
const RESERVED = 40

/** Descriptors of a session: one socket to the client, one to the database. */
const PER_SESSION = 2

/** How many refused clients get an ERR_Packet at the same time. Others are closed without one. */
const MOST_REFUSALS = 100

export interface SessionLimit {
  sessions: number
  refusals: number
}

/**
 * At the limit of open files, libuv accepts and drops clients without an error. So clients are refused before that.
 * Only Linux shows the limit in a file; elsewhere sessions have no limit.
 */
export function sessionLimitFromFileLimit(): SessionLimit {
  const limit = limitOfOpenFiles()
  const refusals = Math.max(1, Math.min(MOST_REFUSALS, Math.floor(limit / 8)))
  return { refusals, sessions: Math.max(1, Math.floor((limit - RESERVED - refusals) / PER_SESSION)) }
}

function limitOfOpenFiles(): number {
  try {
    const soft = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
