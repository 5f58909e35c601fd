/** TypeORM, and other runtimes than Node.js where npm brings them: npm run consumers */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { consumer } from '../support/consumers.ts'
import { realServer } from '../support/mariadb.ts'

/** Each with the scope of the npm packages that bring its program, one for each system. */
const RUNTIMES = [
  { name: 'Bun', scope: '@oven', program: 'bin/bun', words: ['login.js'] },
  { name: 'Deno', scope: '@deno', program: 'deno', words: ['run', '--quiet', '--allow-all', 'login.js'] },
]

test('TypeORM, Bun and Deno', async t => {
  const server = await realServer(t)
  await server.query('CREATE DATABASE IF NOT EXISTS orders')
  const project = await consumer(t, 'more', server)
  t.match((await project.run(['node', 'typeorm.js'])).stdout, /iam_user@%/, 'TypeORM')
  for (const { name, scope, program, words } of RUNTIMES) {
    const folder = join(project.directory, 'node_modules', scope)
    const installed = existsSync(folder) ? readdirSync(folder).find(name => !name.includes('musl')) : undefined
    const skip = installed === undefined && `not run: npm has no ${name} for this system`
    await t.test(name, { skip }, async t => {
      const { stdout } = await project.run([join(folder, installed!, program), ...words])
      t.match(stdout, /iam_user@%/)
    })
  }
})
