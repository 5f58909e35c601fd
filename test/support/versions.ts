/**
 * Runs the suite on several releases of Node.js, which npm brings (the package `node`), and prints a table.
 * node --import=tsx test/support/versions.ts [--ci] [versions] [test files]
 *
 * A version is for example 24 or 20.19; without one, all of VERSIONS. With --ci, the Node.js that runs this comes first,
 * with coverage. The others follow as far as time allows: they run all files, a few files or none.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { delimiter, dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { installNode } from './node-binary.ts'
import { parseArguments, planRun, type Run } from './versions-plan.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Outcome {
  version: string
  what: string
  passed: number
  failed: number
  seconds: number
  /** why there is no result */
  missing?: string
}

const { isCi, versions, files } = parseArguments(process.argv.slice(2))
const outcomes: Outcome[] = []

if (isCi) {
  outcomes.push(
    await runSuite(process.execPath, { version: process.version, what: 'all, coverage', args: ['--coverage'] }),
  )
}
for (const version of versions) {
  const run = isCi
    ? planRun(version, outcomes[0]!.seconds, performance.now() / 1_000)
    : { version, what: '', args: files }
  if (!run) {
    outcomes.push({ version, what: 'none', passed: 0, failed: 0, seconds: 0, missing: 'no time left' })
    continue
  }
  const what = run.what || (files.length > 0 ? `${files.length} files` : 'all')
  try {
    outcomes.push(await runSuite(await installNode(version), { ...run, what }))
  } catch (error) {
    // Without the package there is nothing to report but that: a failure, unless CI has the machine's own Node.js.
    const missing = (error as Error).message
    outcomes.push({ version, what, passed: 0, failed: isCi ? 0 : 1, seconds: 0, missing })
  }
}

process.stdout.write('\nNode.js     tests           passed  failed  seconds\n')
for (const { version, what, passed, failed, seconds, missing } of outcomes) {
  const numbers = [String(passed).padStart(6), String(failed).padStart(7), seconds.toFixed(0).padStart(8)].join(' ')
  process.stdout.write(`${version.padEnd(11)} ${what.padEnd(15)} ${numbers}${missing ? `  ${missing}` : ''}\n`)
}
const sum = (of: 'passed' | 'failed') => outcomes.reduce((total, outcome) => total + outcome[of], 0)
process.stdout.write(`\n${sum('passed')} passed, ${sum('failed')} failed\n`)
process.exit(sum('failed') === 0 && sum('passed') > 0 ? 0 : 1)

/** Runs test/support/run.ts on `node`, whose programs also find it by name. */
async function runSuite(node: string, { version, what, args, limitSeconds }: Run): Promise<Outcome> {
  process.stdout.write(`\n== Node.js ${version}: ${what}\n`)
  const started = performance.now()
  const child = spawn(node, ['--import=tsx', 'test/support/run.ts', ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env['PATH'] ?? ''}` },
  })
  let isOver = false
  const timer = limitSeconds
    ? setTimeout(() => {
        isOver = true
        child.kill('SIGTERM')
        setTimeout(() => child.kill('SIGKILL'), 30_000).unref()
      }, limitSeconds * 1_000)
    : undefined
  let last = ''
  let failedFiles = 0
  createInterface(child.stdout).on('line', line => {
    process.stdout.write(`${line}\n`)
    if (line.startsWith('not ok ')) failedFiles++
    if (line.trim() !== '') last = line
  })
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(timer)
  const seconds = (performance.now() - started) / 1_000
  // What failed before the time was over counts.
  if (isOver) return { version, what, passed: 0, failed: failedFiles, seconds, missing: 'stopped: no time left' }
  const [, passed, failed] = /^(\d+) passed, (\d+) failed$/.exec(last) ?? []
  const failures = Number(failed ?? 0)
  // A run that says nothing of a failure, and yet does not end well, is one.
  return { version, what, passed: Number(passed ?? 0), failed: code === 0 ? failures : Math.max(1, failures), seconds }
}
