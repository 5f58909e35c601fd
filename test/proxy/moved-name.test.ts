/** Signs of a failover: from then on, each login looks up the name. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'
import { nameLookup } from '../../src/upstream/name-lookup.ts'
import { namespaceCommand } from '../support/distant-address.ts'
import { realServer } from '../support/mariadb.ts'
import { env } from '../support/packages.ts'
import { connect, connectDirectly, startProxy, until } from '../support/raw-client.ts'

const NAME = 'localhost'
const PATIENT = { connectTimeout: 120_000 }

test('a session that the server ends, and a server with another certificate', async t => {
  const server = await realServer(t)
  const distrusted: string[] = []
  t.intercept(nameLookup, 'distrust', { value: (host: string) => distrusted.push(host) })
  const proxy = await startProxy(t, server, { connect: `${NAME}:${server.port}` })
  const ended = () => until('the session has ended', () => proxy.state.sessions.size === 0)

  // The name may have ::1 too, where nobody listens.
  const first = await connect(proxy, PATIENT)
  distrusted.length = 0
  await first.end()
  await ended()
  t.same(distrusted, [], 'a client that quits')

  const second = await connect(proxy, PATIENT)
  second.on('error', () => {})
  distrusted.length = 0
  const direct = await connectDirectly(server)
  await direct.query(`KILL ${second.threadId}`)
  await direct.end()
  await ended()
  t.same(distrusted, [NAME], 'a session that the server ends')

  const stranger = await startProxy(t, server, {
    connect: `${NAME}:${server.port}`,
    rdsEndpoint: `another.abc.eu-west-1.rds.amazonaws.com:${server.rdsPort}`,
  })
  distrusted.length = 0
  await t.rejects(connect(stranger, PATIENT))
  t.equal(distrusted.at(-1), NAME, 'another certificate')
})

const namespace = process.platform === 'linux' ? namespaceCommand() : { unavailable: 'not Linux' }
const skip = 'unavailable' in namespace ? namespace.unavailable : false

test('logins follow a failover, although DNS says that the old answer is valid for an hour', { skip }, async t => {
  if (!('command' in namespace)) return
  const [program = '', ...words] = namespace.command
  const script = fileURLToPath(new URL('moved-name-run.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(
    program,
    [...words, '--mount', process.execPath, ...process.execArgv, script],
    { env },
  )
  const [old, present] = ['127.0.0.2', '127.0.0.3']
  t.same(JSON.parse(stdout), { before: old, afterLostSession: present, afterRefusal: present })
})
