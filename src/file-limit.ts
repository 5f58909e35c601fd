/** How the limit of open files is shared between sessions and everything else. */
import { readFileSync } from 'node:fs'

/** Descriptors for everything that is not listed below: listeners, log, credentials, metrics. */
const RESERVED = 40

/** Descriptors of a session: one socket to the client, one to the database. */
const PER_SESSION = 2

/** How many refused clients get an ERR_Packet at the same time. Others are closed without one. */
const MAX_REFUSALS = 100

/** Connections to the admin listener. */
const MAX_ADMIN_CONNECTIONS = 100

export interface FileShares {
  sessions: number
  refusals: number
  adminConnections: number
}

/**
 * The most that may be open of each. At the limit of open files, libuv accepts and drops clients without an error. So clients
 * are refused before that. Only Linux shows the limit in a file; elsewhere sessions have no limit.
 */
export function shareOpenFiles(limit: number = limitOfOpenFiles()): FileShares {
  const share = (most: number) => Math.max(1, Math.min(most, Math.floor(limit / 8)))
  const [refusals, adminConnections] = [share(MAX_REFUSALS), share(MAX_ADMIN_CONNECTIONS)]
  const forSessions = limit - RESERVED - refusals - adminConnections
  return { refusals, adminConnections, sessions: Math.max(1, Math.floor(forSessions / PER_SESSION)) }
}

function limitOfOpenFiles(): number {
  try {
    const soft = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
