/** The tunnel of an endpoint after the network may have changed. */
import { readFile } from 'node:fs/promises'
import { test } from 'tap'
import { createEndpoint } from '../../src/endpoint.ts'
import { silent } from '../../src/log.ts'
import { recover } from '../../src/proxy/recover.ts'
import { createTunnelAsSet } from '../../src/proxy/tunnel.ts'
import { createState } from '../../src/state.ts'
import { realServer } from '../support/mariadb.ts'
import { until } from '../support/raw-client.ts'
import { startSshd } from '../support/sshd.ts'

test('after a change of the network, a tunnel that works stays, and a silent one is restarted', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const options = {
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    tunnel: sshd.command(),
    tunnelTimeout: 120_000,
  }
  const endpoint = createEndpoint(options)
  const state = createState(endpoint, 0)
  const lines: string[] = []
  const log = { ...silent, info: (_fields: object, message: string) => lines.push(message) }
  const tunnel = createTunnelAsSet(options, endpoint, state, log)!
  t.teardown(() => tunnel.close())
  const none = () => {}
  const changed = () =>
    recover({
      addresses: { forget: none } as never,
      breaker: { reset: none } as never,
      orphans: { forget: none } as never,
      refreshCredentials: none,
      tunnel,
    })

  changed()
  t.equal(state.tunnel?.word, 'idle', 'it starts nothing')
  const use = await tunnel.acquire(new AbortController().signal)
  use.connection?.destroy()
  const connections = async () => (await sshd.log()).match(/Connection from|Accepted publickey/g)?.length ?? 0
  const before = await connections()
  const refused = async () => JSON.stringify(await server.query("SHOW GLOBAL STATUS LIKE 'Access_denied_errors'"))
  const refusedBefore = await refused()
  changed()
  changed()
  await until('it has asked with a login to refuse', async () => (await refused()) !== refusedBefore)
  t.equal(state.tunnel?.word, 'open')
  t.equal(await connections(), before)

  const children = await readFile(`/proc/${await sshd.pid()}/task/${await sshd.pid()}/children`, 'utf8')
  const ofConnection = Number(children.split(' ')[0])
  process.kill(ofConnection, 'SIGSTOP')
  t.teardown(() => process.kill(ofConnection, 'SIGKILL'))
  changed()
  await until('it is restarted', () => lines.some(line => line.endsWith('is restarted')))
  await until('it is open again', () => state.tunnel?.word === 'open')
  t.match(await use.lost(), { code: 'TUNNEL_LOST', message: /was restarted/ })
  t.equal(state.tunnel?.restarts, 1)
  use.release()
})
