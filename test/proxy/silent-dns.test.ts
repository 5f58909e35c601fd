import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'
import { namespaceCommand } from '../support/distant-address.ts'
import { env } from '../support/packages.ts'

const namespace = process.platform === 'linux' ? namespaceCommand() : { unavailable: 'not Linux' }
const skip = 'unavailable' in namespace ? namespace.unavailable : false

test('a name server that is silent, and 50 clients that wait for it', { skip }, async t => {
  if (!('command' in namespace)) return
  const [program = '', ...words] = namespace.command
  const script = fileURLToPath(new URL('silent-dns-run.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(
    program,
    [...words, '--mount', process.execPath, ...process.execArgv, script],
    { env },
  )
  const { seven, status, waiting, codes, resolvConf } = JSON.parse(stdout)
  t.equal(resolvConf, 'nameserver 127.0.0.1\n')
  t.equal(seven, 7, 'a login to another name works, whose lookup needs a thread too')
  t.equal(status, 200, '/liveness')
  t.comment(`${waiting} clients still waited`)
  t.same(codes, ['ER_BAD_HOST_ERROR'], 'the clients of the silent name get an error')
})
