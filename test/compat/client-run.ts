/** Runs a client program over behaviours and collects its reports. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { type Clock, monotonicClock } from '../../src/clock.ts'
import { BIG, type Route, type Step } from './behaviours.ts'
import type { Target } from './proxies.ts'

/** How a client program is started. */
export interface Command {
  command: string[]
  env?: Record<string, string>
}

/** A client's report of one behaviour. */
export interface Report {
  values?: unknown[]
  /** [errno, SQLSTATE, message] of a failed step */
  error?: [number | string, string, string]
  /** the driver does not support it */
  unsupported?: string
}

export interface ClientRun {
  version: string | undefined
  reports: Map<string, Report>
}

export interface Work {
  /** true without the proxy: drivers may then request a public key to encrypt the password */
  direct: boolean
  /** for LOAD DATA LOCAL; its name is the name of the table */
  file: string
  targets: Partial<Record<Route, Target>>
  behaviours: { id: string; steps: Step[] }[]
}

/** Time limits in milliseconds, for one behaviour and for a whole run of a client. */
export interface Limits {
  behaviour: number
  client: number
}

const LIMITS: Limits = { behaviour: 60_000, client: 600_000 }

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) kill(child)
})

/**
 * Restarts a program that exits or hangs, for the remaining behaviours.
 * @param clock for the time limits
 * @throws Error if the program does not report its version, or exceeds the limit of the whole run
 */
export async function runClient(
  client: Command,
  work: Work,
  limits: Limits = LIMITS,
  clock: Clock = monotonicClock,
): Promise<ClientRun> {
  const run: ClientRun = { version: undefined, reports: new Map() }
  const deadline = clock.now() + limits.client
  let left = work.behaviours
  while (left.length > 0) {
    const end = await runOnce(client, { ...work, behaviours: left }, run, limits, clock, deadline)
    left = left.filter(({ id }) => !run.reports.has(id))
    const [culprit, ...rest] = left
    if (!culprit) break
    if (run.version === undefined) throw new Error(end)
    if (clock.now() >= deadline) {
      const which = work.direct ? 'directly' : 'through the proxy'
      throw new Error(`stopped after ${limits.client / 1_000} s ${which}, at ${culprit.id}, ${left.length} left`)
    }
    run.reports.set(culprit.id, { error: [0, '', end] })
    left = rest
  }
  return run
}

/** @returns how the program ended, for behaviours without a report */
async function runOnce(
  client: Command,
  work: Work,
  run: ClientRun,
  limits: Limits,
  clock: Clock,
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
    // Its children in other process groups may keep these streams open.
    lines.close()
    child.stdout.destroy()
    child.stderr.destroy()
  }
  // A timer may fire up to a millisecond early, so it starts a little later than the deadline.
  const startTimer = () => clock.after(Math.min(limits.behaviour, deadline - clock.now() + 10), onTimeout)
  let cancelTimer = startTimer()
  for await (const line of lines) {
    if (!line.startsWith('{')) continue
    cancelTimer()
    cancelTimer = startTimer()
    const { behaviour, version, ...report } = JSON.parse(line) as Report & { behaviour?: string; version?: string }
    if (version !== undefined) run.version ??= version
    if (behaviour) run.reports.set(behaviour, report)
  }
  const [code] = await closed
  cancelTimer()
  kill(child)
  running.delete(child)
  if (isStuck) return `no answer within ${limits.behaviour / 1_000} s`
  return `the program exited with ${code}: ${essence(stderr)}`
}

/** The line with the error, from the output of a runtime. */
function essence(stderr: string): string {
  const lines = stderr.trim().split('\n')
  return (lines.findLast(line => /error|exception|panic|fatal/i.test(line)) ?? lines.at(-1) ?? '').trim().slice(0, 300)
}

function kill({ pid }: ChildProcess): void {
  try {
    if (pid) process.kill(-pid, 'SIGKILL')
  } catch {} // the process has exited
}
