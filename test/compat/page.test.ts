import { test } from 'tap'
import type { Behaviour } from './behaviours.ts'
import { page } from './page.ts'

const behaviours: Behaviour[] = [{ id: 'one', group: 'Queries', title: 'one thing', steps: () => [] }]
const servers = ['MariaDB 1', 'MySQL 2']

test('the page lists clients that were not run and failed runs, with reasons', t => {
  const text = page({
    servers,
    behaviours,
    clients: [
      {
        name: 'good',
        version: '1',
        cells: new Map([['one', new Map(servers.map(it => [it, { outcome: 'passed' }]))]]),
      },
      {
        name: 'slow',
        version: '1',
        cells: new Map([['one', new Map([['MySQL 2', { outcome: 'passed' }]])]]),
        broken: new Map([['MariaDB 1', 'stopped after 600 s']]),
      },
      { name: 'absent', cells: new Map(), missing: 'gem is not installed' },
    ],
    missing: [],
    nodeVersion: '20',
  })
  const [, failed = '', notRun = ''] = /## Runs that failed\n\n(.*?)\n\n## Not run\n\n(.*)/s.exec(text) ?? []
  t.equal(failed, '- slow, MariaDB 1: stopped after 600 s')
  t.equal(notRun.trim(), '- absent: gem is not installed')
  t.match(text, '| good | ✓ |')
  t.match(text, '| slow | · ✓ |')
  t.notMatch(text, '| absent |')
  t.end()
})

test('the page omits empty sections', t => {
  const text = page({ servers, behaviours, clients: [], missing: [], nodeVersion: '20' })
  t.notMatch(text, 'Runs that failed')
  t.notMatch(text, 'Not run')
  t.end()
})
