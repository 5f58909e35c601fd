/** How many clients the limit of open files leaves room for. */
import { readFileSync } from 'node:fs'

/** Descriptors for everything but clients: listeners, log, credentials, the admin listener. */
const RESERVED = 40

/** A session's sockets: to the client, and to the database. */
const PER_SESSION = 2

/** Clients that are told why they are refused, at a time: those beyond are just closed. */
const MOST_REFUSALS = 100

export interface SessionLimit {
  sessions: number
  refusals: number
}

/**
 * Beyond this, the operating system would close clients without a word (libuv accepts and drops them), so they are refused
 * before. No limit on sessions where none can be read: only Linux tells it in a file.
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
