/**
 * Returns memory to the system while the process is idle. After many logins, V8 keeps the memory of its young generation: on
 * Node.js 24 it does not return it even once its heap is small again. docs/decisions/0189-memory-of-an-idle-process.md
 */
import { backgroundClock, type Clock } from './clock.ts'

/** The process, as tests replace it. */
export interface ProcessMemory {
  /** resident bytes */
  resident(): number
  /** the busy share of the event loop's time since the last call, from 0 to 1 */
  utilization(): number
  /** Collects all garbage, which stops the process meanwhile, and returns what is unused to the system. */
  collect(): Promise<void>
}

const LOOK_MS = 15_000

/** An event loop that is busier than this is not idle. */
const IDLE_UTILIZATION = 0.02

/** A collection stops the process for 0.1 s and more: it must be worth it. */
const MIN_GROWTH_BYTES = 32 * 1024 * 1024
const MIN_GROWTH_SHARE = 0.25

/** Collects whenever the process is idle and has grown since the last collection. Call the result to stop. */
export function returnIdleMemory(
  memory: ProcessMemory = createProcessMemory(),
  clock: Clock = backgroundClock,
): () => void {
  let cancel = () => {}
  /** the smallest since the last collection */
  let smallest = memory.resident()
  memory.utilization()
  const look = async () => {
    const isIdle = memory.utilization() <= IDLE_UTILIZATION
    const resident = memory.resident()
    smallest = Math.min(smallest, resident)
    const isWorthIt = resident - smallest >= Math.max(MIN_GROWTH_BYTES, smallest * MIN_GROWTH_SHARE)
    if (!isIdle || !isWorthIt) return
    await memory.collect()
    smallest = memory.resident()
  }
  const wait = () => {
    cancel = clock.after(LOOK_MS, () => {
      wait()
      void look()
    })
  }
  wait()
  return () => cancel()
}

export function createProcessMemory(): ProcessMemory {
  let last = performance.eventLoopUtilization()
  return {
    resident: () => process.memoryUsage.rss(),
    utilization() {
      const now = performance.eventLoopUtilization()
      const { utilization } = performance.eventLoopUtilization(now, last)
      last = now
      return utilization
    },
    collect: collectGarbage,
  }
}

/**
 * By the inspector, inside this process: it opens no port, and it sets no flag of V8, which would be unsafe by now.
 * https://chromedevtools.github.io/devtools-protocol/v8/HeapProfiler/#method-collectGarbage
 */
async function collectGarbage(): Promise<void> {
  try {
    const { Session } = process.getBuiltinModule('node:inspector')
    const session = new Session()
    session.connect()
    await new Promise<void>(resolve => session.post('HeapProfiler.collectGarbage', () => resolve()))
    session.disconnect()
  } catch {
    // A Node.js without the inspector, or without the permission to use it, goes on without this.
  }
}
