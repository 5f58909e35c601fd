/** `npm run laptop-demo`: writes docs/laptop-run.md. */
import { writeFileSync } from 'node:fs'
import { test } from 'tap'
import { runOnLaptop } from './laptop-run.ts'
import { countsOf, pageOf } from './page.ts'

test('docs/laptop-run.md is written', async t => {
  const run = await runOnLaptop(t)
  writeFileSync(new URL('../../docs/laptop-run.md', import.meta.url), pageOf(run))
  const { lines, keystrokes } = countsOf(run).run
  t.comment(`${lines} lines and ${keystrokes} keystrokes`)
  t.ok(lines > 0)
})
