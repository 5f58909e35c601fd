import { test } from 'tap'
import { shareOpenFiles } from '../src/file-limit.ts'

test('sessions, refusals and admin connections fit into the limit of open files', async t => {
  for (const limit of [64, 80, 256, 1_024, 65_536]) {
    const { sessions, refusals, adminConnections } = shareOpenFiles(limit)
    t.ok(2 * sessions + refusals + adminConnections + 40 <= limit, `${limit}: ${sessions} sessions`)
  }
  t.same(shareOpenFiles(1_024), { sessions: 392, refusals: 100, adminConnections: 100 })
})

test('a very low limit still leaves room for one session', async t => {
  t.same(shareOpenFiles(8), { sessions: 1, refusals: 1, adminConnections: 1 })
})

test('without a limit, sessions have none', async t => {
  t.equal(shareOpenFiles(Number.POSITIVE_INFINITY).sessions, Number.POSITIVE_INFINITY)
})
