/**
 * --compress auto: whether the line to the database is slow, by what earlier logins and sessions have seen.
 * docs/decisions/0172-auto-measures-the-line.md
 */
import { type Clock, monotonicClock } from '../clock.ts'

/** Greetings come sooner inside a region of AWS, also from another availability zone: within 2 ms. */
const SLOW_ROUND_TRIP_MS = 5

/** How many greetings count. One may be late because this process or the server was busy. */
const LAST_GREETINGS = 8

/** A line that brings a session this much in a second, in bytes, is fast: 240 Mbit/s. */
const FAST_BYTES_PER_SECOND = 30_000_000

/** How long a line counts as fast since it last was. */
const FAST_FOR_MS = 60 * 60_000

const TICK_MS = 1_000

/** What is measured of a connection to the server. */
interface Counted {
  /** as on the line, also if that is compressed */
  bytesRead: number
}

/** The state of a line, and what it follows from. */
export interface Measured {
  isSlow: boolean
  /** in words */
  why: string
  /** the shortest of the last greetings, in milliseconds; undefined before the first */
  roundTrip: number | undefined
  /** the most that a session got in a second within the last hour; undefined if no session was measured */
  bytesPerSecond: number | undefined
}

export interface LineMeter {
  /** A server has greeted. @param milliseconds from the connection to the greeting: a round trip, also through a tunnel */
  greeted(milliseconds: number): void
  isSlow(): boolean
  measured(): Measured
  /** Measures a session. Call the result when it has ended. */
  watch(connection: Counted): () => void
  /** the network may be another one */
  forget(): void
}

export function createLineMeter(clock: Clock = monotonicClock): LineMeter {
  /** how long the last greetings took */
  let greetings: number[] = []
  /** what each connection had brought when it was last looked at */
  const watched = new Map<Counted, number>()
  let lookedAt = 0
  let fastAt: number | undefined
  /** the highest rate, and when it was seen */
  let best: { bytesPerSecond: number; at: number } | undefined
  let cancelTimer: (() => void) | undefined

  const roundTrip = () => (greetings.length > 0 ? Math.min(...greetings) : undefined)
  const isDistant = () => (roundTrip() ?? 0) >= SLOW_ROUND_TRIP_MS
  const isRecent = (at: number) => clock.now() - at < FAST_FOR_MS
  const look = () => {
    const now = clock.now()
    const seconds = (now - lookedAt) / 1_000
    for (const [connection, before] of watched) {
      const { bytesRead } = connection
      const bytesPerSecond = seconds > 0 ? (bytesRead - before) / seconds : 0
      if (bytesPerSecond >= FAST_BYTES_PER_SECOND) fastAt = now
      if (!best || !isRecent(best.at) || bytesPerSecond >= best.bytesPerSecond) best = { bytesPerSecond, at: now }
      watched.set(connection, bytesRead)
    }
    lookAgain()
  }
  const lookAgain = () => {
    lookedAt = clock.now()
    cancelTimer = clock.after(TICK_MS, look)
  }

  const isSlow = () => isDistant() && (fastAt === undefined || !isRecent(fastAt))
  const why = (milliseconds: number | undefined): string => {
    if (milliseconds === undefined) return 'the server has not greeted yet'
    if (!isDistant()) return `a greeting came within ${spoken(milliseconds)} ms`
    if (!isSlow()) return `a session got ${FAST_BYTES_PER_SECOND / 1e6} MB in a second or more`
    return `greetings take ${spoken(milliseconds)} ms or more`
  }

  return {
    greeted(milliseconds) {
      greetings = [...greetings.slice(1 - LAST_GREETINGS), milliseconds]
    },
    isSlow,
    measured() {
      const milliseconds = roundTrip()
      const bytesPerSecond = best && isRecent(best.at) ? Math.round(best.bytesPerSecond) : undefined
      return { isSlow: isSlow(), why: why(milliseconds), roundTrip: milliseconds, bytesPerSecond }
    },
    watch(connection) {
      // Near a database the answer is known.
      if (!isDistant()) return () => {}
      if (watched.size === 0) lookAgain()
      watched.set(connection, connection.bytesRead)
      return () => {
        watched.delete(connection)
        if (watched.size === 0) cancelTimer?.()
      }
    },
    forget() {
      greetings = []
      fastAt = undefined
      best = undefined
    },
  }
}

/** 0.42, 3.8, 38 */
function spoken(milliseconds: number): string {
  return String(Number(milliseconds.toPrecision(2)))
}
