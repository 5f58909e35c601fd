/**
 * Runs test files, each in a separate process. A test file prints TAP by itself. The tap command would load its hooks into
 * each process, also those that tests start, and would need more time for that than most of the tests do.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

const KILL_AFTER_MS = 10_000

export interface TestFiles {
  cwd: string
  /** of Node.js */
  nodeArguments: readonly string[]
  environment: NodeJS.ProcessEnv
  /** files at a time */
  jobs: number
  /** for each file; only one that hangs reaches it, also on a busy machine */
  limitSeconds: number
}

export interface Totals {
  passed: number
  failed: number
}

/** The files that `named` names, by themselves or with their directory. */
export async function findTestFiles(cwd: string, named: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const name of named) {
    const entry = await stat(join(cwd, name))
    if (!entry.isDirectory()) {
      found.push(name)
      continue
    }
    const inside = await readdir(join(cwd, name), { recursive: true })
    found.push(...inside.filter(path => path.endsWith('.test.ts')).map(path => join(name, path)))
  }
  return [...new Set(found)].sort()
}

/** A run of test files, which prints the outcome of each file and each failure. */
export function runTestFiles(files: readonly string[], options: TestFiles) {
  const waiting = [...files]
  const running = new Set<ChildProcess>()
  const totals: Totals = { passed: 0, failed: 0 }
  let [isStopped, done] = [false, 0]

  async function runNext(): Promise<void> {
    for (let file = waiting.shift(); file !== undefined && !isStopped; file = waiting.shift()) {
      const started = performance.now()
      const { code, output } = await run(file)
      const { passed, failed } = totalsOf(output)
      // A file that asserts nothing or ends badly is a failure, whatever it has printed.
      const failures = failed > 0 || (code === 0 && /^# \{ total: [1-9]/m.test(output)) ? failed : 1
      totals.passed += passed
      totals.failed += failures
      printFailures(output)
      const result = failures === 0 ? 'ok' : 'not ok'
      const seconds = ((performance.now() - started) / 1_000).toFixed(1)
      process.stdout.write(`${result} ${++done} - ${file} # ${passed} passed, ${failures} failed, ${seconds} s\n`)
      if (code !== 0) process.stdout.write(`  ${file} ended with ${code}\n`)
    }
  }

  async function run(file: string): Promise<{ code: number | string; output: string }> {
    const child = spawn(process.execPath, [...options.nodeArguments, file], {
      cwd: options.cwd,
      stdio: ['ignore', 'pipe', 'inherit'],
      // tap in the test itself reports which test hangs, before the file is killed.
      env: { ...options.environment, TAP_TIMEOUT: String(options.limitSeconds) },
    })
    running.add(child)
    const timer = setTimeout(() => child.kill('SIGKILL'), options.limitSeconds * 1_000 + KILL_AFTER_MS)
    const output: string[] = []
    child.stdout.setEncoding('utf8').on('data', text => output.push(text))
    // Not 'close': a program that a test has left behind may hold its output open.
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
    await Promise.race([child.stdout.readableEnded || once(child.stdout, 'close'), delay(KILL_AFTER_MS)])
    clearTimeout(timer)
    running.delete(child)
    return { code: code ?? signal!, output: output.join('') }
  }

  return {
    /** a run that was stopped has a failure */
    ended: Promise.all(Array.from({ length: options.jobs }, runNext)).then(
      (): Totals => ({ ...totals, failed: totals.failed + (isStopped ? 1 : 0) }),
    ),
    /** No further file starts. Those that run get the signal, and some time to end what they have started. */
    stop(signal?: NodeJS.Signals) {
      isStopped = true
      if (!signal) return
      for (const child of running) child.kill(signal)
      setTimeout(() => {
        for (const child of running) child.kill('SIGKILL')
      }, KILL_AFTER_MS).unref()
    },
  }
}

function delay(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds).unref())
}

/** Each failure with its diagnostics (a YAML block behind it). */
function printFailures(output: string): void {
  let diagnosing = false
  for (const line of output.split('\n')) {
    if (/^\s*(not )?ok \d+/.test(line)) diagnosing = /^\s*not ok/.test(line) && !/# (SKIP|TODO)/i.test(line)
    if (diagnosing) process.stdout.write(`${line}\n`)
    if (/^\s*\.\.\.$/.test(line)) diagnosing = false
  }
}

/** Of tap's closing comment, `# { total: 31, pass: 30, fail: 1 }`. */
function totalsOf(output: string): Totals {
  const summary = output.match(/^# \{ total: .*\}$/gm)?.at(-1) ?? ''
  const count = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(summary)?.[1] ?? 0)
  return { passed: count('pass'), failed: count('fail') }
}
