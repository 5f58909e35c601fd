/**
 * Loaded first by each process that tries mutants: a mutant may loop for ever, and take more and more memory. A separate
 * thread kills the process, with all that it has started, once run.ts has exited or the process takes more than
 * MAX_RSS_BYTES.
 */
import { isMainThread, Worker, workerData } from 'node:worker_threads'

const MAX_RSS_BYTES = 2 ** 31

const INTERVAL_MS = 200

if (isMainThread) {
  const maxRssBytes = Number(process.env.MUTATE_MAX_RSS_BYTES ?? MAX_RSS_BYTES)
  new Worker(new URL(import.meta.url), { workerData: { parent: process.ppid, maxRssBytes }, execArgv: [] }).unref()
} else if (workerData?.maxRssBytes) {
  setInterval(() => {
    if (process.ppid === workerData.parent && process.memoryUsage.rss() <= workerData.maxRssBytes) return
    for (const target of [-process.pid, process.pid]) {
      try {
        process.kill(target, 'SIGKILL')
      } catch {} // it leads no group
    }
  }, INTERVAL_MS)
}
