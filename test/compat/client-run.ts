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

/** Milliseconds for one behaviour. */
const PATIENCE = 60_000

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) kill(child)
})

/**
 * A program that dies or stands still is started again for what is left.
 * @throws Error when it does not even come to say its version
 */
export async function runClient(client: Command, work: Work): Promise<ClientRun> {
  const run: ClientRun = { version: undefined, reports: new Map() }
  let left = work.behaviours
  while (left.length > 0) {
    const end = await runOnce(client, { ...work, behaviours: left }, run)
    left = left.filter(({ id }) => !run.reports.has(id))
    const [culprit, ...rest] = left
    if (!culprit) break
    if (run.version === undefined) throw new Error(end)
    run.reports.set(culprit.id, { error: [0, '', end] })
    left = rest
  }
  return run
}

/** @returns how it ended, when something is left */
async function runOnce(client: Command, work: Work, run: ClientRun): Promise<string> {
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
  const onTimeout = () => {
    isStuck = true
    kill(child)
  }
  let timer = setTimeout(onTimeout, PATIENCE)
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{')) continue
    clearTimeout(timer)
    timer = setTimeout(onTimeout, PATIENCE)
    const { behaviour, version, ...report } = JSON.parse(line) as Report & { behaviour?: string; version?: string }
    if (version !== undefined) run.version ??= version
    if (behaviour) run.reports.set(behaviour, report)
  }
  clearTimeout(timer)
  const [code] = await closed
  kill(child)
  running.delete(child)
  if (isStuck) return `no answer within ${PATIENCE / 1_000} s`
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
