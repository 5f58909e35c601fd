/** Runs a client program over behaviours and takes down what it reports. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { BIG, type Route, type Step } from './behaviours.ts'
import type { Target } from './proxies.ts'

/** How a client program is started. */
export interface Command {
  command: string[]
  env?: Record<string, string>
}

/** What a client says of one behaviour. */
export interface Report {
  values?: unknown[]
  /** [errno, SQLSTATE, message] of a step that did not come off */
  error?: [number | string, string, string]
  /** the driver has no such thing */
  unsupported?: string
}

export interface ClientRun {
  version: string | undefined
  reports: Map<string, Report>
}

export interface Work {
  /** not through the proxy: drivers that want to be asked may get a key for a password's encryption */
  direct: boolean
  /** for LOAD DATA LOCAL; its name is the table's */
  file: string
  targets: Partial<Record<Route, Target>>
  behaviours: { id: string; steps: Step[] }[]
}

/** Milliseconds for one behaviour, and for all that a client is given at once. */
export interface Patience {
  behaviour: number
  client: number
}

const PATIENCE: Patience = { behaviour: 60_000, client: 600_000 }

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) kill(child)
})

/**
 * A program that dies or stands still is started again for what is left.
 * @throws Error when it does not even come to say its version, or takes too long for all of them
 */
export async function runClient(client: Command, work: Work, patience: Patience = PATIENCE): Promise<ClientRun> {
  const run: ClientRun = { version: undefined, reports: new Map() }
  const deadline = Date.now() + patience.client
  let left = work.behaviours
  while (left.length > 0) {
    const end = await runOnce(client, { ...work, behaviours: left }, run, patience, deadline)
    left = left.filter(({ id }) => !run.reports.has(id))
    const [culprit, ...rest] = left
    if (!culprit) break
    if (run.version === undefined) throw new Error(end)
    if (Date.now() >= deadline) {
      const which = work.direct ? 'directly' : 'through the proxy'
      throw new Error(`stopped after ${patience.client / 1_000} s ${which}, at ${culprit.id}, ${left.length} left`)
    }
    run.reports.set(culprit.id, { error: [0, '', end] })
    left = rest
  }
  return run
}

/** @returns how it ended, when something is left */
async function runOnce(
  client: Command,
  work: Work,
  run: ClientRun,
  patience: Patience,
  deadline: number,
): Promise<string> {
  const [program = '', ...args] = client.command
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...client.env, COMPAT: JSON.stringify({ ...work, big: BIG }) },
    detached: true,
  })
  running.add(child)
  const closed = once(child, 'close').catch((error: Error) => [error.message])
  let stderr = ''
  child.stderr.on('data', data => {
    stderr = `${stderr}${data}`.slice(-2_000)
  })
  let isStuck = false
  const lines = createInterface({ input: child.stdout })
  const onTimeout = () => {
    isStuck = true
    kill(child)
    // What it started in a group of its own may hold them open.
    lines.close()
    child.stdout.destroy()
    child.stderr.destroy()
  }
  // Rather after the deadline than a millisecond before it, as timers may be.
  const startTimer = () => setTimeout(onTimeout, Math.max(0, Math.min(patience.behaviour, deadline - Date.now() + 10)))
  let timer = startTimer()
  for await (const line of lines) {
    if (!line.startsWith('{')) continue
    clearTimeout(timer)
    timer = startTimer()
    const { behaviour, version, ...report } = JSON.parse(line) as Report & { behaviour?: string; version?: string }
    if (version !== undefined) run.version ??= version
    if (behaviour) run.reports.set(behaviour, report)
  }
  const [code] = await closed
  clearTimeout(timer)
  kill(child)
  running.delete(child)
  if (isStuck) return `no answer within ${patience.behaviour / 1_000} s`
  return `the program ended with ${code}: ${essence(stderr)}`
}

/** The line that says what happened, of all that a runtime prints when it ends. */
function essence(stderr: string): string {
  const lines = stderr.trim().split('\n')
  return (lines.findLast(line => /error|exception|panic|fatal/i.test(line)) ?? lines.at(-1) ?? '').trim().slice(0, 300)
}

function kill({ pid }: ChildProcess): void {
  try {
    if (pid) process.kill(-pid, 'SIGKILL')
  } catch {} // it has ended
}
