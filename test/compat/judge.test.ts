import { test } from 'tap'
import type { Behaviour } from './behaviours.ts'
import { judge } from './judge.ts'

const behaviour: Behaviour = { id: 'one', group: 'Queries', title: 'one', steps: () => [] }
const steps = [{ do: 'query', sql: 'SELECT word' }]

test('a cell that differs from the direct run shows where, also after an emoji', t => {
  const report = (text: string) => ({ values: [[[[text]]]] })
  const { outcome, detail } = judge({
    behaviour,
    steps,
    proxied: report(`😀${'x'.repeat(200)}one`),
    direct: { steps, report: report(`😀${'x'.repeat(200)}two`) },
    names: [],
  })
  t.equal(outcome, 'failed')
  t.match(detail, /x{20}one.*, directly x{20}two/)
  t.end()
})
