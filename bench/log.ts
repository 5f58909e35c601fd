/**
 * `npm run bench -- --only log`: what a log line costs, and whether a log that takes no lines delays anything. Each log
 * belongs to a separate process, because a process has one standard output.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { droppedLogLines, flushLogs } from '../src/log-sink.ts'
import { createLogger } from '../src/program-log.ts'
import { number, progress, table } from './compare.ts'

const LINES = 50_000
const LINES_PER_TURN = 20
/** A reader that shares a busy machine must keep up. */
const LINES_PER_FLUSH = 2_000

interface LogCost {
  /** of all threads */
  cpuMicrosecondsPerLine: number
  /** that 99.9 % of the lines kept their caller at most: a busy machine decides about the longest */
  p999Microseconds: number
  dropped: number
}

/** The file descriptor or the kind of pipe that the child's standard output is. */
type Output = 'pipe' | 'unread pipe' | number

export async function logCost(scratch: string): Promise<string> {
  const file = (name: string) => openSync(join(scratch, name), 'w')
  const logs: [string, Output, string][] = [
    ['a file, JSON', file('json.log'), 'json'],
    ['a file, pretty', file('pretty.log'), 'pretty'],
    ['a pipe, JSON', 'pipe', 'json'],
    ['a pipe that nobody reads', 'unread pipe', 'json'],
    ['a full disk (`/dev/full`)', openSync('/dev/full', 'w'), 'json'],
    ['level `error`: no line is written', file('silent.log'), 'error'],
  ]
  const rows: string[][] = []
  for (const [name, output, format] of logs) {
    const { cpuMicrosecondsPerLine, p999Microseconds, dropped } = await measure(output, format)
    progress(`log: ${name}: ${number(cpuMicrosecondsPerLine)} µs`)
    rows.push([name, cpuMicrosecondsPerLine.toFixed(1), number(p999Microseconds), dropped.toLocaleString('en')])
  }
  const head = ['', 'µs of CPU per line', '99.9 % return within, µs', 'lines dropped']
  return table(`log: ${LINES.toLocaleString('en')} lines of a login`, head, rows)
}

async function measure(output: Output, format: string): Promise<LogCost> {
  const stdout = typeof output === 'number' ? output : 'pipe'
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), [format, String(output === 'pipe')], {
    stdio: ['ignore', stdout, 'inherit', 'ipc'],
  })
  if (output === 'pipe') child.stdout!.resume()
  const [cost] = await once(child, 'message')
  child.kill('SIGKILL')
  return cost as LogCost
}

async function writeLines(format: string, hasReader: boolean): Promise<LogCost> {
  const log = await createLogger(format === 'error' ? 'error' : 'info', format === 'pretty' ? 'pretty' : 'json')
  const times = new Float64Array(LINES)
  const writeOne = (session: number) => {
    const started = performance.now()
    log.info(
      {
        endpoint: 'orders',
        session,
        localUser: 'app',
        user: 'iam_user',
        client: '127.0.0.1:50123',
        threadId: session,
        ms: 12.3,
      },
      'logged in',
    )
    return performance.now() - started
  }
  // The first lines compile the code.
  for (let line = 0; line < 2_000; line++) writeOne(line)
  await turn()
  const before = process.cpuUsage()
  for (let line = 0; line < LINES; line++) {
    times[line] = writeOne(line)
    if (line % LINES_PER_TURN === 0) await turn()
    if (hasReader && line % LINES_PER_FLUSH === 0) await flushLogs()
  }
  const { user, system } = process.cpuUsage(before)
  return {
    cpuMicrosecondsPerLine: (user + system) / LINES,
    p999Microseconds: times.sort()[Math.floor(LINES * 0.999)]! * 1_000,
    dropped: droppedLogLines(),
  }
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.send(await writeLines(process.argv[2] ?? 'json', process.argv[3] === 'true'))
}
