import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { hintFor } from '../../src/errors.ts'
import type { Refusal } from '../../src/sync-targets/plan.ts'
import { errorOf, NEXT_STEPS } from '../../src/sync-targets/refusals.ts'

const rds = { host: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', port: 3306 }
const nothing = { registered: [], deregistered: [] }

test('the message says what the pass did before it stopped', async t => {
  const pass = { outcome: 'refused', why: 'contested', reason: 'REASON' } as const
  const said = (registered: string[], deregistered: string[]) =>
    errorOf(rds, { ...pass, registered, deregistered }).message
  t.equal(said([], []), 'changed nothing: REASON')
  t.equal(said(['10.0.0.1'], []), 'registered 10.0.0.1, then stopped: REASON')
  t.equal(
    said(['10.0.0.1', '10.0.0.2'], ['10.0.0.3']),
    'registered 10.0.0.1, 10.0.0.2 and deregistered 10.0.0.3, then stopped: REASON',
  )
  const unhealthy = { outcome: 'unhealthy', why: 'unhealthy', reason: 'REASON' } as const
  const where = `${rds.host}:3306`
  t.equal(
    errorOf(rds, { ...unhealthy, ...nothing }).message,
    `the load balancer does not find ${where} healthy: REASON`,
  )
  t.equal(
    errorOf(rds, { ...unhealthy, registered: ['10.0.0.1'], deregistered: [] }).message,
    `registered 10.0.0.1, but the load balancer does not find ${where} healthy: REASON`,
  )
})

test('each reason has its own next step, in the error and in the docs', async t => {
  const page = readFileSync('docs/sync-targets.md', 'utf8').replaceAll('`', '')
  const hints = Object.entries(NEXT_STEPS).map(([why, step]) => {
    t.ok(page.includes(step.replaceAll('{rds}', 'HOST')), `docs/sync-targets.md: ${step}`)
    for (const outcome of ['refused', 'unhealthy']) {
      const hint = hintFor(errorOf(rds, { outcome, why: why as Refusal, reason: '', ...nothing }), {})
      t.notMatch(hint, /[{}]|\((rds|nextStep)\)/, 'all filled in')
    }
    return step
  })
  t.equal(new Set(hints).size, hints.length)
})
