/** Monotonic time for durations, deadlines and rates: setting the machine's clock does not move it. */
import { uptime } from 'node:os'

export interface Clock {
  /** milliseconds since a fixed moment; only differences mean something */
  now(): number
  /** Calls `work` once, after `milliseconds`; at once where they have passed. Returns what cancels it. */
  after(milliseconds: number, work: () => void): () => void
}

/**
 * Milliseconds between the wall clock and the monotonic clock. They change by more than drift when somebody sets the machine's
 * clock and, on Linux, when the machine sleeps.
 */
export function wallClockOffset(): number {
  return Date.now() - performance.now()
}

/** A change of `wallClockOffset` by more than this is a step. Clocks that are kept in time move in smaller ones. */
export const CLOCK_STEP_MS = 1_000

/**
 * Milliseconds between the wall clock and the uptime of the machine. Unlike `wallClockOffset`, a machine that sleeps does not
 * change it, because its uptime goes on.
 */
export function wallClockAgainstUptime(): number {
  return Date.now() - uptime() * 1_000
}

/** The most that a timer of Node.js can hold. */
const MAX_TIMER_MS = 2 ** 31 - 1

export const monotonicClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, work) {
    // Node.js warns of a negative time and of NaN.
    const timer = setTimeout(work, milliseconds > 0 ? Math.min(milliseconds, MAX_TIMER_MS) : 0)
    return () => clearTimeout(timer)
  },
}

/** The same, but its timers do not keep the process alive. */
export const backgroundClock: Clock = {
  now: monotonicClock.now,
  after(milliseconds, work) {
    const timer = setTimeout(work, Math.max(0, Math.min(milliseconds, MAX_TIMER_MS))).unref()
    return () => clearTimeout(timer)
  },
}

export function wait(clock: Clock, milliseconds: number): Promise<void> {
  return new Promise(resolve => clock.after(milliseconds, resolve))
}
