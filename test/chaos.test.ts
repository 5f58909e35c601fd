import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'

/** At most a minute of faults; the seed gives the same faults on each machine. `npm run chaos` plays more. */
const ARGUMENTS = ['--minutes', '1', '--faults', '25', '--seed', '20251125']

test('faults at random and together: honest clients notice only what a fault explains', async t => {
  const program = fileURLToPath(new URL('../bench/chaos.ts', import.meta.url))
  const { code, output } = await new Promise<{ code: unknown; output: string }>(resolve => {
    execFile(
      process.execPath,
      [...process.execArgv, program, ...ARGUMENTS],
      { maxBuffer: 64 << 20 },
      (error, stdout, stderr) => resolve({ code: error ? error.code : 0, output: stderr + stdout }),
    )
  })
  t.equal(code, 0, 'nothing is unexplained, nothing is left', { output })
  t.match(output, /\*\*failures that no fault explains\*\* \| 0 \|/)
  const [, honest = '0'] = /honest operations \| ([\d,]+)/.exec(output) ?? []
  t.ok(Number(honest.replaceAll(',', '')) > 100, `${honest} honest operations`)
  t.match(output, /server connections left \| 0 \|/)
})
