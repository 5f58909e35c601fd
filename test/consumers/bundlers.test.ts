/** Bundles of an application run where no package is installed, and log in to a real server. */
import { readdirSync } from 'node:fs'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { type Consumer, consumer, proxyOptions } from '../support/consumers.ts'
import { type RealServer, realServer } from '../support/mariadb.ts'

const BUNDLERS: Record<string, string[]> = {
  esbuild: ['node', 'esbuild.js'],
  rollup: ['node', 'node_modules/rollup/dist/bin/rollup', '--config', '--silent'],
  webpack: ['node', 'webpack.js'],
}

test('bundles', async t => {
  const server = await realServer(t)
  const project = await consumer(t, 'bundlers', server)
  for (const [bundler, words] of Object.entries(BUNDLERS)) {
    await t.test(bundler, async t => {
      await project.run(words)
      await logsIn(t, project, bundler, server)
    })
  }
})

async function logsIn(t: Test, { directory, start }: Consumer, bundler: string, server: RealServer) {
  // Outside of this project, where a bundle would find packages.
  const alone = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-bundle-'))
  t.teardown(() => rm(alone, { recursive: true, force: true }))
  const files = readdirSync(join(directory, 'dist')).filter(name => name.startsWith(bundler))
  for (const name of files) await cp(join(directory, 'dist', name), join(alone, name))
  const environment = { PROXY_OPTIONS: JSON.stringify(proxyOptions(server)) }
  const { child, finished, line } = start(['node', join(alone, `${bundler}.mjs`)], environment)
  const port = Number(await line())
  const connection = await mysql.createConnection({ host: '127.0.0.1', port, user: 'iam_user' })
  const [rows] = await connection.query('SELECT CURRENT_USER() AS user')
  await connection.end()
  t.match(rows, [{ user: 'iam_user@%' }], 'a login')
  child.stdin.end()
  t.match(await finished, { code: 0, stderr: '' }, 'it ends by itself')
}
