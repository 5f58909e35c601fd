/** The clocks of the process, moved by a test. */
import type { Test } from 'tap'

/** Stops the wall clock and the monotonic clock for one test, which moves them. */
export function createClock(t: Test): { advance(milliseconds: number): void; sleep(milliseconds: number): void } {
  // Whole milliseconds, so that sums are exact.
  const [now, monotonic] = [Date.now(), Math.round(performance.now())]
  let ahead = 0
  let slept = 0
  t.intercept(Date, 'now', { value: () => now + ahead + slept })
  t.intercept(performance, 'now', { value: () => monotonic + ahead })
  return {
    advance(milliseconds) {
      ahead += milliseconds
    },
    /** As on Linux, where the monotonic clock stops meanwhile. */
    sleep(milliseconds) {
      slept += milliseconds
    },
  }
}
