/** Ends the programs that a lookup of credentials has started, such as a credential_process that hangs. */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { ChildProcess } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { killTree } from '../process-tree.ts'

export interface Helpers {
  /** Runs `work` and keeps track of the programs that it starts. */
  during<Result>(work: () => Promise<Result>): Promise<Result>
  /** Kills those that still run, and their own children. Returns whether there were any. */
  kill(): boolean
}

/** The lookup that the present code belongs to: the AWS SDK starts programs without showing them. */
const lookup = new AsyncLocalStorage<Set<ChildProcess>>()

/** lookups that are under way */
let lookups = 0

/** of all lookups */
const running = new Set<ChildProcess>()

/** https://nodejs.org/api/diagnostics_channel.html#child-process */
const CHANNEL = 'child_process'

const onStart = (message: unknown) => {
  const ofLookup = lookup.getStore()
  if (!ofLookup) return
  const { process: child } = message as { process: ChildProcess }
  ofLookup.add(child)
  running.add(child)
  child.once('exit', () => {
    ofLookup.delete(child)
    running.delete(child)
    stopIfDone()
  })
}

const onExit = () => killAll(running)

let isTracking = false

function start(): void {
  if (isTracking) return
  isTracking = true
  subscribe(CHANNEL, onStart)
  process.once('exit', onExit)
}

/** A program that uses the library gets its process back as it was. */
function stopIfDone(): void {
  if (!isTracking || lookups > 0 || running.size > 0) return
  isTracking = false
  unsubscribe(CHANNEL, onStart)
  process.off('exit', onExit)
}

export function trackHelpers(): Helpers {
  const helpers = new Set<ChildProcess>()
  return {
    async during(work) {
      lookups++
      start()
      try {
        return await lookup.run(helpers, work)
      } finally {
        lookups--
        // Up to Node.js 22, every promise and every callback of the process would cost more from the first lookup on.
        if (lookups === 0) lookup.disable()
        stopIfDone()
      }
    },
    kill() {
      const isRunning = helpers.size > 0
      killAll(helpers)
      return isRunning
    },
  }
}

/** The SDK starts a shell, whose child is the program. */
function killAll(children: Iterable<ChildProcess>): void {
  for (const { pid } of children) if (pid !== undefined) killTree(pid)
}
