/** The examples of docs/library-guides.md, as programs that others write: compiled, run, and logged in to a real server. */
import { readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { type Consumer, consumer } from '../support/consumers.ts'
import { realServer } from '../support/mariadb.ts'

const COMPILER = createRequire(import.meta.url)
  .resolve('typescript/package.json')
  .replace('package.json', 'bin/tsc')
const LOGGED_IN = /iam_user@%/

test('the examples of the guides', async t => {
  const server = await realServer(t)
  await server.query('CREATE DATABASE IF NOT EXISTS orders')
  const project = await consumer(t, 'guides', server)
  const key = server.keys.longTerm
  const file = {
    AccessKeyId: key.accessKeyId,
    SecretAccessKey: key.secretAccessKey,
    Expiration: '2100-01-01T00:00:00Z',
  }
  await writeFile(join(project.directory, 'keys.json'), JSON.stringify(file))

  const compiled = await project.run(['node', COMPILER, '-p', '.'])
  t.equal(compiled.stdout, '', 'they compile')

  const examples = {
    'pool.js': LOGGED_IN,
    'stream.js': LOGGED_IN,
    'knex.js': LOGGED_IN,
    'sequelize.js': LOGGED_IN,
    'credentials.js': LOGGED_IN,
    'cname.js': LOGGED_IN,
    'commonjs.cjs': LOGGED_IN,
    'pino.js': /"name":"orders","part":"database",.*"msg":"session started"/,
    'winston.js': /"level":"info","message":"session started"/,
    'console.js': /^session started \{$/m,
  }
  for (const [name, printed] of Object.entries(examples)) {
    const { stdout, stderr } = await project.run(['node', name], { CREDENTIALS_FILE: 'keys.json' })
    t.match(stdout, printed, name)
    t.equal(stderr, '', `${name}: nothing on standard error`)
  }
  await shutdown(t, project)

  const all = readdirSync(project.directory).filter(name => /\.c?js$/.test(name))
  t.same(all.sort(), [...Object.keys(examples), 'shutdown.js'].sort(), 'each example was run')
})

async function shutdown(t: Test, project: Consumer) {
  const { child, finished, line } = project.start(['node', 'shutdown.js'])
  t.equal(await line(), 'ready')
  child.kill('SIGTERM')
  t.match(await finished, { code: 0, stdout: 'ready\nclosed\n', stderr: '' }, 'shutdown.js')
}
