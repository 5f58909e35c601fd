/** Waiting, but not beyond an AbortSignal or a time. */
import type { Clock } from './clock.ts'

/** The result of `work`, which takes no signal and goes on by itself. @throws the reason of `signal`, if that aborts first */
export async function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  work.catch(() => {}) // it may fail after the abort
  signal.throwIfAborted()
  let stop = () => {}
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** Resolves after a time on `clock`. @throws the reason of `signal`, if that aborts first */
export async function pause(milliseconds: number, clock: Clock, signal: AbortSignal): Promise<void> {
  let cancel = () => {}
  const time = new Promise<void>(resolve => {
    cancel = clock.after(milliseconds, resolve)
  })
  await unlessAborted(time, signal).finally(cancel)
}

/** Waits for `work`, but not longer than `milliseconds`; then it goes on by itself. @throws what `work` throws in time */
export async function within(work: Promise<unknown> | undefined, milliseconds: number, clock: Clock): Promise<void> {
  let cancelTimer = () => {}
  const late = new Promise<void>(resolve => {
    cancelTimer = clock.after(milliseconds, resolve)
  })
  try {
    await Promise.race([work, late])
  } finally {
    cancelTimer()
  }
}

/** Who follows a signal: one listener for all of them, because Node.js warns of more than ten. */
const followed = new WeakMap<AbortSignal, { works: Set<() => void>; listener: () => void }>()

/** Calls `work` when `signal` aborts. Call the result to stop. */
export function followSignal(signal: AbortSignal, work: () => void): () => void {
  let one = followed.get(signal)
  if (!one) {
    const works = new Set<() => void>()
    const listener = () => {
      for (const each of works) each()
    }
    one = { works, listener }
    followed.set(signal, one)
    signal.addEventListener('abort', listener)
  }
  const { works, listener } = one
  works.add(work)
  return () => {
    works.delete(work)
    if (works.size > 0 || followed.get(signal)?.works !== works) return
    followed.delete(signal)
    signal.removeEventListener('abort', listener)
  }
}
