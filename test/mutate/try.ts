/** Runs test files against mutants. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Work } from './reload.ts'

/** A test file that takes this many times as long as without a change, and SPARE_MS more, hangs. */
const TIMES = 4
const SPARE_MS = 10_000

/** For a test file without a change. */
const LONGEST_MS = 10 * 60_000

export type Outcome = 'passed' | 'failed' | 'hung'

/** Node.js' own type stripping starts sooner than tsx. */
const ARGS = ['--import=./test/mutate/guard.mjs', '--import=./test/support/warnings.mjs']

/** Kill the processes that run now. */
const kills = new Set<() => void>()
process.on('exit', () => {
  for (const kill of kills) kill()
})

interface Streams {
  stdout?: 'ignore' | 'pipe'
  channel?: 'ignore' | 'ipc'
}

function start(
  project: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  { stdout = 'ignore', channel = 'ignore' }: Streams = {},
) {
  const child = spawn(process.execPath, [...ARGS, ...args], {
    cwd: project,
    stdio: ['ignore', stdout, 'ignore', channel],
    detached: true,
    env: { ...process.env, TAP_TIMEOUT: '6000', NODE_COMPILE_CACHE: `${project}.cache`, ...env },
  })
  /** with all that the test has started */
  const kill = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {}
  }
  kills.add(kill)
  child.on('exit', () => kills.delete(kill))
  return { child, kill }
}

/**
 * Runs one test file up to its first failure.
 * @param onOutput gets what it writes to stdout
 */
export async function tryTest(
  project: string,
  test: string,
  env: NodeJS.ProcessEnv,
  limitMs = LONGEST_MS,
  onOutput?: (text: string) => void,
): Promise<Outcome> {
  const stdout = onOutput ? 'pipe' : 'ignore'
  const { child, kill } = start(project, [test], { TAP_BAIL: '1', ...env }, { stdout })
  if (onOutput) child.stdout?.setEncoding('utf8').on('data', onOutput)
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    kill()
  }, limitMs)
  const isClosed = new Promise(resolve => child.on('close', resolve))
  const code = await new Promise(resolve => child.on('exit', resolve))
  clearTimeout(timer)
  kill()
  await isClosed
  return isLate ? 'hung' : code === 0 ? 'passed' : 'failed'
}

/**
 * A limit for `test` from a run without a change, at the machine's present load.
 * @throws Error if the test file fails
 */
export async function measureLimit(project: string, test: string, env: NodeJS.ProcessEnv): Promise<number> {
  const started = performance.now()
  let output = ''
  const outcome = await tryTest(project, test, env, LONGEST_MS, text => {
    output += text
  })
  if (outcome !== 'passed') throw failsUnchanged(test, outcome, output)
  return TIMES * (performance.now() - started) + SPARE_MS
}

/** With the first failure, in TAP. */
function failsUnchanged(test: string, outcome: Outcome, output = ''): Error {
  const lines = output.split('\n')
  const first = lines.findIndex(line => /^ *(not ok|Bail out)/.test(line))
  const excerpt = first < 0 ? lines.slice(-10) : lines.slice(first, first + 30)
  return new Error([`${test} ${outcome} without any change`, ...excerpt].join('\n').trim())
}

/**
 * Runs one test file against each of `texts` in few processes (reload.ts).
 * @param unchanged the text of `file` without a change. Each process tries it first, which measures its limit. The last
 * process also tries it last: what mutants have left behind must not fail others.
 * @returns undefined if it does: then each text needs a separate process
 * @throws Error if the test file fails without a change
 */
export async function tryTexts(
  project: string,
  work: Omit<Work, 'texts'>,
  env: NodeJS.ProcessEnv,
  unchanged: string,
  texts: readonly string[],
): Promise<Outcome[] | undefined> {
  const outcomes: Outcome[] = []
  let hung: number | undefined
  while (outcomes.length <= texts.length) {
    const left = [unchanged, ...texts.slice(outcomes.length), unchanged]
    const found = await tryInOneProcess(project, { ...work, texts: left }, env)
    if (found[0] !== 'passed') throw failsUnchanged(work.test, found[0]!)
    if (found.length === left.length && found.at(-1) !== 'passed') return undefined
    outcomes.push(...found.slice(1))
    // Once more in the next process, which measures its limit again: perhaps only the machine was slow.
    if (found.at(-1) === 'hung' && hung !== outcomes.length) {
      hung = outcomes.length
      outcomes.pop()
    }
  }
  return outcomes.slice(0, -1)
}

/** The outcomes up to the first text with which the process hangs or ends. */
async function tryInOneProcess(project: string, work: Work, env: NodeJS.ProcessEnv): Promise<Outcome[]> {
  const reload = fileURLToPath(new URL('reload.ts', import.meta.url))
  const { child, kill } = start(project, [reload], env, { channel: 'ipc' })
  const outcomes: Outcome[] = []
  let limitMs = LONGEST_MS
  let started = performance.now()
  let isLate = false
  let timer: NodeJS.Timeout | undefined
  const startTimer = () => {
    clearTimeout(timer)
    started = performance.now()
    timer = setTimeout(() => {
      isLate = true
      kill()
    }, limitMs)
  }
  startTimer()
  child.on('message', isPassing => {
    if (typeof isPassing !== 'boolean') return // of tap
    outcomes.push(isPassing ? 'passed' : 'failed')
    // The first run also started the process, which takes longer than most runs.
    if (outcomes.length === 1) limitMs = Math.max(2 * (performance.now() - started), 5_000)
    startTimer()
  })
  child.send(work)
  await Promise.all(['exit', 'disconnect'].map(event => new Promise(resolve => child.on(event, resolve))))
  clearTimeout(timer)
  kill()
  if (outcomes.length < work.texts.length) outcomes.push(isLate ? 'hung' : 'failed')
  return outcomes
}
