import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'
import { namespaceCommand } from '../support/distant-address.ts'
import { env } from '../support/packages.ts'

const namespace = process.platform === 'linux' ? namespaceCommand() : { unavailable: 'not Linux' }
const skip = 'unavailable' in namespace ? namespace.unavailable : false

test('a real server behind a network that changes, and a machine that sleeps', { skip }, async t => {
  if (!('command' in namespace)) return
  const [program = '', ...words] = namespace.command
  const script = fileURLToPath(new URL('changed-network-run.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(
    program,
    [...words, '--mount', process.execPath, ...process.execArgv, script],
    { env },
  )
  const { removed, flapped, lostBehindVpn, loginAfterVpn, slept, log } = JSON.parse(stdout)

  const gone = {
    errno: 1159,
    message: /the database behind 10\.78\.1\.10:3306 is dead: this machine no longer has its address 10\.78\.1\.5/,
  }
  t.equal(removed.loginAtOnce, 7, 'the first login after its address was removed goes through the other one')
  t.match(removed.busy, gone, 'a query that waits')
  t.match(removed.idle, gone, 'an idle session')
  t.match(removed.inTransaction, gone, 'a session in a transaction')
  t.match(removed.halfRead, { message: /the connection ended/ }, 'in the middle of an answer: closed without an error')
  t.comment(`told after ${removed.seconds} s`)

  t.strictSame(flapped, { heard: ['network', 'network'], answer: 8 }, 'an address that comes back keeps its sessions')

  t.match(lostBehindVpn.told, {
    errno: 1159,
    message: /broken \(ETIMEDOUT\) since the network of this machine has changed \(new: 10\.99\.0\.1\)/,
  })
  t.comment(`told after ${lostBehindVpn.seconds} s`)
  t.equal(loginAfterVpn, 7)

  t.strictSame(slept.heard, ['sleep'])
  t.match(slept.told, { errno: 1159, message: /broken \(ETIMEDOUT\) since this machine slept for (480|479) min/ })
  t.equal(slept.login, 7)

  t.strictSame(log, Array(6).fill({ level: 'error', code: 'UPSTREAM_UNREACHABLE' }), 'one line for each session')
})
