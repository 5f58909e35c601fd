/** RDS for MariaDB: what check says about it, and whether the statements to copy work there. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type Test, test } from 'tap'
import { alterToIamUser, createIamUser } from '../../src/check/sql.ts'
import type { HostPort } from '../../src/endpoint.ts'
import { runCheck, secretEnvironment, setEnvironment } from '../support/check.ts'
import { realServer, startMariadb } from '../support/mariadb.ts'

/** Servers block only addresses other than 127.0.0.1. On Linux, all of 127.0.0.0/8 is this machine. */
const CLIENT_ADDRESS = '127.0.0.2'

/** As an NLB: the server sees one address for all clients. */
async function startForwarder(t: Test, port: number): Promise<HostPort> {
  const server = createServer(client => {
    const upstream = connect({ host: '127.0.0.1', port, localAddress: CLIENT_ADDRESS })
    for (const socket of [client, upstream]) socket.on('error', () => {})
    client.pipe(upstream).pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
}

async function readGreetingAndLeave(port: number): Promise<void> {
  const socket: Socket = connect({ host: '127.0.0.1', port, localAddress: CLIENT_ADDRESS })
  await once(socket, 'data')
  socket.destroy()
  await once(socket, 'close')
}

test('ERROR 1129 of MariaDB: the advice unblocks it, what helps MySQL does not', async t => {
  setEnvironment(t)
  const server = await startMariadb({
    extraConfig: 'max_connect_errors = 2\nskip_name_resolve = OFF\nperformance_schema = OFF',
  })
  t.teardown(() => server.stop())
  const { accessKeyId, secretAccessKey } = server.keys.longTerm
  setEnvironment(t, {
    ...secretEnvironment(),
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: '',
  })
  const { host, port } = await startForwarder(t, server.port)
  const options = { rdsEndpoint: server.rdsHost, connect: `${host}:${port}`, ca: [server.ca] }
  const codeOf = async () => (await runCheck(t, { options })).json.error?.errno ?? 0

  for (let tries = 0; tries < 4; tries++) await readGreetingAndLeave(server.port)
  const blocked = await runCheck(t, { options })
  t.match(blocked.json.error, { errno: 1129, message: /mariadb-admin flush-hosts/ })
  const snippets = blocked.json.error?.advice.flatMap(({ snippet }) => snippet ?? [])
  t.same(snippets, ['FLUSH HOSTS;'])
  t.match(blocked.text, /health check/)

  await server.query('TRUNCATE TABLE performance_schema.host_cache')
  t.equal(await codeOf(), 1129, 'TRUNCATE has no effect while performance_schema is off')
  await server.query(snippets![0]!)
  t.equal(await codeOf(), 0)
})

test('the statements that check prints work on MariaDB', async t => {
  const server = await realServer(t)
  const user = "o'brien of the advice"
  await server.query(`DROP USER IF EXISTS ${JSON.stringify(user)}@'%'`)
  t.teardown(() => server.query(`DROP USER IF EXISTS ${JSON.stringify(user)}@'%'`))
  await server.query(createIamUser(user))
  await server.query(alterToIamUser(user))
  const rows = await server.query(`SELECT plugin FROM mysql.user WHERE User = ${JSON.stringify(user)}`)
  t.match(JSON.stringify(rows), /AWSAuthenticationPlugin/i)
})
