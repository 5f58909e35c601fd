/** A clock that moves only when the test says so. */
import type { Clock } from '../../src/clock.ts'

export interface TestClock extends Clock {
  /** Moves the time on; timers that are due run in their order, each at its own time. */
  advance(milliseconds: number): void
  /** Moves the time on without running timers: all that are due are late. */
  skip(milliseconds: number): void
  /** timers that still wait */
  pending(): number
}

export function createTestClock(start = 0): TestClock {
  let time = start
  let timers: { at: number; work: () => void }[] = []
  return {
    now: () => time,
    after(milliseconds, work) {
      const timer = { at: time + Math.max(0, milliseconds), work }
      timers.push(timer)
      return () => {
        timers = timers.filter(other => other !== timer)
      }
    },
    advance(milliseconds) {
      const end = time + milliseconds
      for (;;) {
        const due = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
        if (!due) break
        timers = timers.filter(other => other !== due)
        time = Math.max(time, due.at)
        due.work()
      }
      time = end
    },
    skip(milliseconds) {
      time += milliseconds
    },
    pending: () => timers.length,
  }
}
