/** The tunnel of an endpoint: after the network may have changed, and when it ends in the middle of a login. */
import { readFile } from 'node:fs/promises'
import mysql from 'mysql2/promise'
import { test } from 'tap'
import { createEndpoint } from '../../src/endpoint.ts'
import { silent } from '../../src/log.ts'
import { recover } from '../../src/proxy/recover.ts'
import { createTunnelAsSet } from '../../src/proxy/tunnel.ts'
import { createState } from '../../src/state.ts'
import { realServer } from '../support/mariadb.ts'
import { startProxy } from '../support/proxy.ts'
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
  const tunnel = createTunnelAsSet(options, endpoint, state, log, () => Promise.reject(new Error('not needed')))!
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

test('a tunnel that ends in the middle of a login is the error of that login', async t => {
  const server = await realServer(t)
  // Ends at the first bytes of the proxy, which follow the greeting.
  const script = `const net = require('node:net'); const [local, host, port] = process.argv.slice(1); net.createServer(client => { net.connect(+port, host).pipe(client); client.once('data', () => { console.error('out of tokens'); process.exit(7) }) }).listen(+local, '127.0.0.1')`
  const proxy = await startProxy(t, {
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    tunnel: `'${process.execPath}' -e "${script}" {localPort} {host} {port}`,
    tunnelTimeout: 120_000,
    credentials: server.keys.longTerm,
    ca: [server.ca],
  })
  const { host, port } = proxy.address
  const login = mysql.createConnection({ host, port, user: 'iam_user', connectTimeout: 120_000 })
  await t.rejects(login, {
    errno: 1158,
    message: /^mysql-iam-proxy: the tunnel command node ended with exit code 7: out of tokens\. Reconnect\./,
  })
  await until('it is in the log', () => proxy.log.some(({ fields }) => fields['code'] === 'TUNNEL_LOST'))
})
