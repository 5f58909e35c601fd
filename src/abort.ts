/** Waiting, but not beyond an AbortSignal. */
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
