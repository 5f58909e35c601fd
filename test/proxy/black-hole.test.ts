import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'
import { namespaceCommand } from '../support/distant-address.ts'
import { env } from '../support/packages.ts'

const namespace = process.platform === 'linux' ? namespaceCommand() : { unavailable: 'not Linux' }
const skip = 'unavailable' in namespace ? namespace.unavailable : false

test('a black hole between the proxy and a real server', { skip }, async t => {
  if (!('command' in namespace)) return
  const [program = '', ...words] = namespace.command
  const script = fileURLToPath(new URL('black-hole-run.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(program, [...words, process.execPath, ...process.execArgv, script], {
    env,
  })
  const seen = JSON.parse(stdout)
  t.equal(seen.slowAnswer, 0, 'a query that takes longer than the limit is answered')
  t.match(seen.asking, {
    errno: 1159,
    sqlState: '08S01',
    message: /the database behind 10\.78\.1\.10:3306 has acknowledged nothing for 2 s\. Reconnect/,
  })
  t.equal(seen.waitingAnswer, 0, 'a query that had arrived before the black hole is answered after it')
  t.equal(seen.idleAnswer, 7, 'an idle session outlives it')
  t.strictSame(seen.log, [{ level: 'error', code: 'UPSTREAM_UNREACHABLE' }], 'one line in the log')
  t.strictSame(seen.endedBy, ['UPSTREAM_UNREACHABLE'])
})
