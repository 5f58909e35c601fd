/**
 * Runs the suite several times in a row beside busy loops, as on a busy machine:
 * node --import=tsx test/support/loaded.ts [--times 5] [--loops 8] [test files]
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { values, positionals } = parseArgs({
  options: { times: { type: 'string', default: '5' }, loops: { type: 'string', default: '8' } },
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

let [passed, failed] = [0, 0]
const table: string[] = []
for (let run = 1; run <= Number(values.times); run++) {
  const started = performance.now()
  const child = spawn(process.execPath, ['--import=tsx', 'test/support/run.ts', ...positionals], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let last = ''
  createInterface(child.stdout).on('line', line => {
    process.stdout.write(`${line}\n`)
    if (line.trim() !== '') last = line
  })
  const [code] = (await once(child, 'close')) as [number | null]
  const [, good, bad] = /^(\d+) passed, (\d+) failed$/.exec(last) ?? []
  passed += Number(good ?? 0)
  failed += code === 0 ? 0 : Math.max(1, Number(bad ?? 0))
  table.push(`run ${run}: ${last}, ${((performance.now() - started) / 1_000).toFixed(0)} s`)
}
for (const child of loops) child.kill('SIGKILL')

process.stdout.write(`\n${loops.length} busy loops\n${table.join('\n')}\n\n${passed} passed, ${failed} failed\n`)
process.exit(failed === 0 && passed > 0 ? 0 : 1)
