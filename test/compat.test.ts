/** The compatibility matrix with the clients from npm and Debian. npm run compat runs all clients. */
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { BEHAVIOURS } from './compat/behaviours.ts'
import { fewClients } from './compat/clients.ts'
import { setUpBench } from './compat/matrix.ts'
import { startOwnServer } from './compat/servers.ts'
import { PROGRAM } from './support/program.ts'

const modules = fileURLToPath(new URL('..', import.meta.url))

test('clients behave the same through the proxy and directly', async t => {
  const scratch = await mkdtemp(join(tmpdir(), 'compat-'))
  await chmod(scratch, 0o755)
  t.teardown(() => rm(scratch, { recursive: true, force: true }))
  const server = await startOwnServer(scratch)
  t.teardown(() => server.stop())
  const bench = await setUpBench(server, [...PROGRAM], scratch)
  t.teardown(() => bench.stop())
  t.same(bench.missing, [], 'the proxy supports all routes')

  for (const { name, prepare } of fewClients({ modules })) {
    await t.test(name, async t => {
      const { cells } = await bench.run(await prepare(), BEHAVIOURS)
      let passed = 0
      for (const [id, { outcome, detail }] of cells) {
        if (outcome === 'unsupported') continue
        t.equal(outcome, 'passed', `${id}: ${detail ?? outcome}`)
        passed++
      }
      t.ok(passed >= 7, `${passed} behaviours`)
    })
  }
})
