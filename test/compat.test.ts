/** The compatibility matrix with clients from npm and Debian. npm run compat runs all clients. */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Test, test } from 'tap'
import { BEHAVIOURS } from './compat/behaviours.ts'
import { debianClients, fewClients } from './compat/clients.ts'
import type { Outcome } from './compat/judge.ts'
import { type Run, setUpBench } from './compat/matrix.ts'
import { startOwnServer } from './compat/servers.ts'
import { PROGRAM } from './support/program.ts'

const modules = fileURLToPath(new URL('..', import.meta.url))

test('clients behave the same through the proxy and directly', async t => {
  const scratch = await mkdtemp(join(tmpdir(), 'compat-'))
  await chmod(scratch, 0o755)
  t.teardown(() => rm(scratch, { recursive: true, force: true }))
  const server = await startOwnServer(scratch)
  t.teardown(() => server.stop())
  const bench = await setUpBench(server, PROGRAM, scratch)
  t.teardown(() => bench.stop())
  t.same(bench.missing, [], 'the proxy supports all routes')

  for (const { name, prepare } of fewClients({ modules })) {
    await t.test(name, async t => await check(t, await bench.run(await prepare(), BEHAVIOURS), name))
  }
  for (const { name, prepare } of debianClients()) {
    await t.test(`${name} shows the errors of the proxy`, async t => {
      const errors = BEHAVIOURS.filter(({ shows }) => shows)
      await check(t, await bench.run(await prepare(), errors), name)
    })
  }
})

/**
 * What clients do with such an error of a server, too: they show a different error at the query after a shutdown. PDO shows
 * the server's if it reads it before the system tells it that its query came too late.
 */
const EXCEPTIONS: Record<string, Record<string, Outcome | Outcome[]>> = {
  'mysql of npm': { 'shows-shutdown': 'hidden' },
  'PDO of PHP': { 'shows-shutdown': ['hidden', 'passed'] },
  // PyMySQL 1.0 drops the first six characters of an error that comes instead of a greeting.
  'PyMySQL of Debian': {
    'shows-port-closed': 'in part',
    'shows-dns-unknown': 'in part',
    'shows-too-many-connections': 'in part',
  },
}

async function check(t: Test, { cells }: Run, name: string): Promise<void> {
  let passed = 0
  for (const [id, { outcome, detail }] of cells) {
    if (outcome === 'unsupported') continue
    const allowed = [EXCEPTIONS[name]?.[id] ?? 'passed'].flat()
    t.ok(allowed.includes(outcome), `${id}: ${detail ?? outcome}`, { outcome, allowed })
    passed++
  }
  t.ok(passed >= 7, `${passed} behaviours`)
}
