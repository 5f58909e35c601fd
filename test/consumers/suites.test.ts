/** Test suites of others, which start one proxy for all of their tests. */
import { test } from 'tap'
import { consumer } from '../support/consumers.ts'
import { realServer } from '../support/mariadb.ts'

test('suites of Vitest and Jest', async t => {
  const server = await realServer(t)
  await server.query('CREATE DATABASE IF NOT EXISTS orders')
  const project = await consumer(t, 'suites', server)

  const vitest = await project.run(['node', 'node_modules/vitest/vitest.mjs', 'run', '--testTimeout=120000'])
  t.match(vitest.stdout, /Tests +.*1 passed/)

  const jest = await project.run(['node', 'node_modules/jest/bin/jest.js', '--testTimeout=120000'])
  t.match(jest.stderr, /Tests: +1 passed, 1 total/)
  t.notMatch(jest.stderr, /did not exit/)
})
