/**
 * Runs the suite several times in a row on a busy machine:
 * node --import=tsx test/support/loaded.ts [--times 5] [--loops 8] [--jobs 2] [test files]
 *
 * Besides the tests, at least `--loops` other processes want a processor all the time. Busy loops stand in for them,
 * except while other programs are as busy (on Linux, where the number of running processes is known).
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { values, positionals } = parseArgs({
  options: {
    times: { type: 'string', default: '5' },
    loops: { type: 'string', default: '8' },
    jobs: { type: 'string', default: '2' },
  },
  allowPositionals: true,
})

// A loop stops when its standard input does, so it never outlives this process.
const loop = `
  process.stdin.on('end', process.exit).resume()
  const spin = () => { for (const until = performance.now() + 100; performance.now() < until; ); setImmediate(spin) }
  spin()`
const loops = Array.from({ length: Number(values.loops) }, () =>
  spawn(process.execPath, ['-e', loop], { stdio: ['pipe', 'ignore', 'inherit'] }),
)

/** The tests themselves keep about so many processes running. */
const busiest = loops.length + Number(values.jobs)
let spinning = loops.length
let samples: number[] = []
let mean = busiest
const watch = setInterval(() => {
  const now = runningProcesses()
  if (now === undefined) return
  samples.push(now)
  mean += (now - mean) / 20
  if (mean > busiest + 1 && spinning > 0) loops[--spinning]!.kill('SIGSTOP')
  else if (mean < busiest && spinning < loops.length) loops[spinning++]!.kill('SIGCONT')
}, 100)

let [passed, failed] = [0, 0]
const table: string[] = []
for (let run = 1; run <= Number(values.times); run++) {
  const started = performance.now()
  samples = []
  const child = spawn(
    process.execPath,
    ['--import=tsx', 'test/support/run.ts', '--jobs', values.jobs, ...positionals],
    { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let last = ''
  createInterface(child.stdout).on('line', line => {
    process.stdout.write(`${line}\n`)
    if (line.trim() !== '') last = line
  })
  const [code] = (await once(child, 'close')) as [number | null]
  const [, good, bad] = /^(\d+) passed, (\d+) failed$/.exec(last) ?? []
  passed += Number(good ?? 0)
  failed += code === 0 ? 0 : Math.max(1, Number(bad ?? 0))
  const running =
    samples.length === 0 ? '' : `, ${(sum(samples) / samples.length).toFixed(1)} running processes on average`
  table.push(`run ${run}: ${last}, ${((performance.now() - started) / 1_000).toFixed(0)} s${running}`)
  process.stdout.write(`${table.at(-1)}\n`)
}
clearInterval(watch)
for (const child of loops) child.kill('SIGKILL')

process.stdout.write(`\n${table.join('\n')}\n\n${passed} passed, ${failed} failed\n`)
process.exit(failed === 0 && passed > 0 ? 0 : 1)

function runningProcesses(): number | undefined {
  try {
    // Without this process, which reads the number.
    return Number(/^procs_running (\d+)/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1]) - 1
  } catch {
    return undefined
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}
