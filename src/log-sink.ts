/**
 * Writes log lines without ever blocking the event loop, in bounded memory. Lines wait while the disk is full or the
 * reader of a pipe stands still. Lines that do not fit are dropped and counted.
 */
import { constants, fstatSync, openSync, write, writeSync } from 'node:fs'
import type { Writable } from 'node:stream'
import { isatty } from 'node:tty'
import { type Clock, monotonicClock } from './clock.ts'
import { systemCode } from './errors.ts'

export interface LogSink {
  /** @param line with its line end */
  write(line: string): void
  /** Resolves when all lines are written, or after a second. */
  flush(): Promise<void>
  /** The same for the end of the process: blocks. */
  flushSync(): void
}

/** Where the lines go. Each function writes some of `bytes`. */
export interface LogTarget {
  /** Calls `done` once, before it returns or later. Never blocks. */
  write(bytes: Buffer, done: (error: unknown, written: number) => void): void
  /** Returns how many bytes were written; for the end of the process. @throws system errors */
  writeSync(bytes: Buffer): number
  /** bytes of the write in progress that the system has not taken and, at exit, will not take */
  unwritten?(): number
}

/** Bytes of lines that may wait. */
export const MAX_WAITING_BYTES = 1 << 20

/**
 * Lines that come within this time after a write share the next one. A write wakes a thread or the reader of a pipe, which costs
 * as much as several lines. A line after a pause does not wait.
 */
const BATCH_MS = 10

/** How soon to try again while the reader does not read. */
const RETRY_FULL_PIPE_MS = 10
/** The same after another error, for example a full disk. */
const RETRY_MS = 1_000

/** How long the end of the process may wait for the log. */
const FLUSH_TIMEOUT_MS = 1_000

let dropped = 0

/** Log lines that this process has dropped so far. */
export function droppedLogLines(): number {
  return dropped
}

/** @param onRecovered called when all waiting lines are written, if some were dropped; `why` is the code of the last error */
export function createLogSink(
  target: LogTarget,
  onRecovered: (lost: number, why: string) => void,
  clock: Clock = monotonicClock,
): LogSink {
  let waiting: string[] = []
  /** the start of the waiting lines, as far as they are encoded */
  let chunk: Buffer = Buffer.alloc(0)
  /** bytes in `waiting` and `chunk` */
  let size = 0
  let isWriting = false
  let cancelRetry: (() => void) | undefined
  /** undefined if the next line need not wait for others */
  let cancelBatch: (() => void) | undefined
  let lost = 0
  let lastError = ''
  let onEmpty = () => {}

  const pump = () => {
    if (isWriting || cancelRetry) return
    if (size === 0) {
      onEmpty()
      return
    }
    if (chunk.length === 0) {
      if (cancelBatch) return
      cancelBatch = clock.after(BATCH_MS, endBatch)
      takeChunk()
    }
    isWriting = true
    target.write(chunk, (error, written) => {
      isWriting = false
      if (error) {
        lastError = systemCode(error)
        cancelRetry = clock.after(lastError === 'EAGAIN' ? RETRY_FULL_PIPE_MS : RETRY_MS, () => {
          cancelRetry = undefined
          pump()
        })
        return
      }
      advance(written)
      if (size === 0) reportLost()
      pump()
    })
  }

  const endBatch = () => {
    cancelBatch?.()
    cancelBatch = undefined
    pump()
  }

  const takeChunk = () => {
    if (chunk.length > 0) return
    chunk = Buffer.from(waiting.join(''))
    waiting = []
  }

  const advance = (written: number) => {
    chunk = chunk.subarray(written)
    size -= written
  }

  const reportLost = () => {
    if (lost === 0) return
    const count = lost
    lost = 0
    onRecovered(count, lastError)
  }

  return {
    write(line) {
      const bytes = Buffer.byteLength(line)
      if (size + bytes > MAX_WAITING_BYTES) {
        lost++
        dropped++
        return
      }
      size += bytes
      waiting.push(line)
      pump()
    },
    async flush() {
      // Only a reader is worth the wait: a full disk stays full.
      if (size === 0 || (cancelRetry && lastError !== 'EAGAIN')) return
      await new Promise<void>(resolve => {
        const cancelTimer = clock.after(FLUSH_TIMEOUT_MS, resolve)
        onEmpty = () => {
          cancelTimer()
          resolve()
        }
        endBatch()
      })
    },
    flushSync() {
      cancelRetry?.()
      cancelBatch?.()
      const deadline = clock.now() + FLUSH_TIMEOUT_MS
      // A write in progress keeps its chunk: the thread that writes it ends before the process does.
      if (isWriting) advance(chunk.length - (target.unwritten?.() ?? 0))
      while (size > 0) {
        takeChunk()
        try {
          advance(target.writeSync(chunk))
        } catch (error) {
          if (systemCode(error) !== 'EAGAIN' || clock.now() >= deadline) return
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_FULL_PIPE_MS)
        }
      }
    },
  }
}

const openSinks: LogSink[] = []

/** A sink for standard output or standard error. Writes the waiting lines also when the process ends with an uncaught error. */
export function openLogSink(fd: 1 | 2, onRecovered: (lost: number, why: string) => void): LogSink {
  const sink = createLogSink(logTarget(fd), onRecovered)
  openSinks.push(sink)
  process.once('exit', () => sink.flushSync())
  return sink
}

/** Resolves when all lines are written, or after a second. */
export async function flushLogs(): Promise<void> {
  await Promise.all(openSinks.map(sink => sink.flush()))
}

/** The target for standard output or standard error, whatever is behind it. */
export function logTarget(fd: 1 | 2): LogTarget {
  // A thread writes, because a write to a hung disk or network file system does not return. A console of Windows is
  // no file.
  if (!isatty(fd) && isFile(fd)) return fileTarget(fd)
  const ownFd = reopenNonBlocking(fd)
  return ownFd === undefined ? streamTarget(fd) : nonBlockingTarget(ownFd)
}

function isFile(fd: number): boolean {
  const stats = fstatSync(fd)
  return !stats.isFIFO() && !stats.isSocket()
}

/**
 * A non-blocking descriptor for the same pipe or terminal. A thread that waits in write(2) would keep the process from
 * ending, and O_NONBLOCK on `fd` itself would apply to all processes that share it. Only Linux has this, and not for sockets.
 */
function reopenNonBlocking(fd: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  } catch {
    return undefined
  }
}

function nonBlockingTarget(fd: number): LogTarget {
  return {
    write(bytes, done) {
      let written = 0
      let failure: unknown
      try {
        written = writeSync(fd, bytes)
      } catch (error) {
        failure = error
      }
      done(failure, written)
    },
    writeSync: bytes => writeSync(fd, bytes),
  }
}

function fileTarget(fd: number): LogTarget {
  return {
    write: (bytes, done) => write(fd, bytes, done),
    writeSync: bytes => writeSync(fd, bytes),
  }
}

/** Node.js's own stream makes a pipe or socket non-blocking. */
function streamTarget(fd: 1 | 2): LogTarget {
  const stream: Writable = fd === 1 ? process.stdout : process.stderr
  // The callback of the write gets the error too.
  stream.on('error', () => {})
  return {
    write(bytes, done) {
      let isDone = false
      const finish = (error?: unknown) => {
        if (isDone) return
        isDone = true
        done(error, error ? 0 : bytes.length)
      }
      stream.write(bytes, finish)
      if (stream.writableLength === 0) finish()
    },
    writeSync: bytes => writeSync(fd, bytes),
    unwritten: () => (stream as { _handle?: { writeQueueSize?: number } })._handle?.writeQueueSize ?? 0,
  }
}
