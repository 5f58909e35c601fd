import { test } from 'tap'
import type { Behaviour } from './behaviours.ts'
import { parsePage } from './earlier-page.ts'
import { NOT_SELECTED, page } from './page.ts'

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

test('a merged page keeps what the run does not have, and says so', t => {
  const passed = new Map(servers.map(it => [it, { outcome: 'passed' as const }]))
  const failed = new Map(servers.map(it => [it, { outcome: 'as direct' as const, detail: 'its way' }]))
  const shows: Behaviour = { ...behaviours[0]!, id: 'shows', title: 'an error', shows: 'shutdown' }
  const base = { servers, missing: [], nodeVersion: '20' }
  const first = page({
    ...base,
    behaviours,
    clients: [
      { name: 'old', version: '1', cells: new Map([['one', failed]]) },
      { name: 'both', version: '1', cells: new Map([['one', passed]]) },
    ],
  })
  const text = page({
    ...base,
    behaviours: [...behaviours, shows],
    earlier: parsePage(first),
    clients: [
      { name: 'old', cells: new Map(), missing: 'not selected for this run' },
      { name: 'both', version: '2', cells: new Map([['shows', passed]]) },
      { name: 'never', cells: new Map(), missing: 'no test program yet' },
    ],
  })
  t.match(text, '| old | 1 |')
  t.match(text, '| both | 2 |')
  t.match(text, '| old | = | · |')
  t.match(text, '| both | ✓ | ✓ |')
  t.match(text, '- old: its way (one thing; MariaDB 1, MySQL 2)')
  t.match(text, 'These results are from an earlier run, except for what each client shows: old; both.')
  t.match(text, '- never: no test program yet')
  t.end()
})

test('a merged page keeps the reason why a client was not run', t => {
  const base = { servers, behaviours, missing: [], nodeVersion: '20' }
  const first = page({ ...base, clients: [{ name: 'absent', cells: new Map(), missing: 'no such package' }] })
  const clients = [{ name: 'absent', cells: new Map(), missing: NOT_SELECTED }]
  t.match(page({ ...base, clients, earlier: parsePage(first) }), '- absent: no such package')
  t.match(page({ ...base, clients }), `- absent: ${NOT_SELECTED}`)
  t.end()
})
