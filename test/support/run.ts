/**
 * Runs tap with one MariaDB and one MySQL for all test files:
 * node --import=tsx test/support/run.ts [--coverage] [tap's arguments, test files]
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { prepareCoverage, reportCoverage } from './coverage.ts'
import { serverVariable, startMariadb } from './mariadb.ts'
import { mysqlVariable, type SharedMysql, startMysql } from './mysql.ts'

const tap = fileURLToPath(new URL('../../node_modules/.bin/tap', import.meta.url))
const withCoverage = process.argv.includes('--coverage')
const tapArguments = process.argv.slice(2).filter(argument => argument !== '--coverage')

const [{ decisions: _decisions, query: _query, stop, ...description }, mysql] = await Promise.all([
  startMariadb(),
  sharedMysql(),
])
const scratch = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-run-'))
const results = join(scratch, 'results.tap')
const coverage = withCoverage ? await prepareCoverage(scratch) : undefined
// Into a file or a pipe, a line per test file and what failed: tap's animations fill CI's logs.
const forPeople = process.stdout.isTTY
const reporter = forPeople ? 'base' : 'tap'
// This Node.js, which need not be the one on the PATH.
const child = spawn(process.execPath, [tap, `--reporter=${reporter}`, `--output-file=${results}`, ...tapArguments], {
  stdio: ['inherit', forPeople ? 'inherit' : 'ignore', 'inherit'],
  env: {
    ...process.env,
    [serverVariable]: JSON.stringify(description),
    [mysqlVariable]: JSON.stringify(mysql.shared),
    ...(coverage ? { NODE_V8_COVERAGE: coverage } : {}),
  },
})
// A terminal's Ctrl-C reaches tap by itself. Either way, tap decides when it's over.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {
  child.kill('SIGTERM')
  // tap waits for a test that ignores the signal.
  setTimeout(() => child.kill('SIGKILL'), 10_000).unref()
})

const [code] = (await once(child, 'exit')) as [number | null]
await Promise.all([stop(), mysql.stop()])
if (!forPeople) await printShort(results)
const { passed, failed } = await totals(results)
const isCovered = !coverage || (await reportCoverage(coverage))
await rm(scratch, { recursive: true })
if ('unavailable' in mysql.shared) process.stdout.write(`not run: the tests on MySQL. ${mysql.shared.unavailable}\n`)
// Coverage below the floor is one failure. This line is the last: CI reads it.
process.stdout.write(`\n${passed} passed, ${failed + (isCovered ? 0 : 1)} failed\n`)
// A run without a single assertion has shown nothing.
process.exit(code || (passed > 0 && failed === 0 && isCovered ? 0 : 1))

/** MySQL, or why there is none: such tests are skipped, but never in CI. */
async function sharedMysql(): Promise<{ shared: SharedMysql; stop(): Promise<void> }> {
  try {
    const { decisions: _decisions, query: _query, stop, ...shared } = await startMysql()
    return { shared, stop }
  } catch (error) {
    if (process.env['CI']) throw error
    return { shared: { unavailable: (error as Error).message }, stop: async () => {} }
  }
}

/** The outcome of each test file, and each failure with its diagnostics (a YAML block behind it). */
async function printShort(file: string): Promise<void> {
  let diagnosing = false
  for (const line of (await readFile(file, 'utf8').catch(() => '')).split('\n')) {
    const isResult = /^\s*(not )?ok \d+/.test(line)
    if (isResult) diagnosing = /^\s*not ok/.test(line) && !/# (SKIP|TODO)/i.test(line)
    if (/^(not )?ok /.test(line) || diagnosing) process.stdout.write(`${line}\n`)
    if (/^\s*\.\.\.$/.test(line)) diagnosing = false
  }
}

/** Of tap's closing comment, `# { total: 31, pass: 30, fail: 1 }`. */
async function totals(file: string): Promise<{ passed: number; failed: number }> {
  const text = await readFile(file, 'utf8').catch(() => '')
  const summary = text.match(/^# \{ total: .*\}$/gm)?.at(-1) ?? ''
  const count = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(summary)?.[1] ?? 0)
  return { passed: count('pass'), failed: count('fail') }
}
