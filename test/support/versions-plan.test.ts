import { existsSync } from 'node:fs'
import { test } from 'tap'
import { CI_BUDGET_SECONDS, parseArguments, planRun, SMOKE_FILES, VERSIONS } from './versions-plan.ts'

test('versions and files are distinguished', async t => {
  t.same(parseArguments([]), { isCi: false, versions: VERSIONS, files: [] })
  const some = parseArguments(['24', 'test/main.test.ts', '20.19'])
  t.same(some, { isCi: false, versions: ['24', '20.19'], files: ['test/main.test.ts'] })
  t.equal(parseArguments(['--ci']).versions[0], '24')
})

test('CI runs the suite on 24 and a smoke test on others', async t => {
  t.match(planRun('24', 300, 400), { what: 'all', args: [] })
  t.match(planRun('22', 300, 700), { what: 'smoke', args: SMOKE_FILES })
})

test('CI runs less when time is short', async t => {
  t.match(planRun('24', 900, 1_000), { what: 'smoke' })
  t.equal(planRun('24', 900, CI_BUDGET_SECONDS - 60), undefined)
  t.equal(planRun('26', 900, CI_BUDGET_SECONDS + 60), undefined)
  const limit = planRun('22', 300, 1_000)?.limitSeconds
  t.equal(limit, CI_BUDGET_SECONDS - 1_000, 'a run never takes more than what is left')
})

test('the smoke files exist', async t => {
  for (const file of SMOKE_FILES) t.ok(existsSync(new URL(`../../${file}`, import.meta.url)), file)
})
