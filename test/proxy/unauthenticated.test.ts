/** Clients that connect and do not log in, beside one that does, on real servers. */
import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import type { Test } from 'tap'
import type { RealServer } from '../support/database-server.ts'
import { connect, startProxy, type TestProxy, until } from '../support/raw-client.ts'
import { testOnEachOwnServer } from '../support/servers.ts'

const PASSWORD = 'right-password'
const localUsers = [{ name: 'local', user: 'iam_user', password: PASSWORD }]

async function connectSilently(t: Test, { port }: TestProxy): Promise<Socket> {
  const socket = connectTcp({ host: '127.0.0.1', port })
  socket.on('error', () => undefined).resume()
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** Connections of the server that have not logged in. */
async function unauthenticated(server: RealServer): Promise<number> {
  const sql = "SELECT COUNT(*) AS n FROM information_schema.processlist WHERE user = 'unauthenticated user'"
  const [row] = (await server.query(sql)) as { n: number }[]
  return Number(row!.n)
}

async function refusedLogins(server: RealServer): Promise<number> {
  const [row] = (await server.query("SHOW GLOBAL STATUS LIKE 'Aborted_connects'")) as { Value: string }[]
  return Number(row!.Value)
}

testOnEachOwnServer('310 clients that only connect', async (t, server) => {
  // A client waits that long for a place.
  const proxy = await startProxy(t, server, { localUsers, loginTimeout: 10_000 })
  const sockets = await Promise.all(Array.from({ length: 310 }, () => connectSilently(t, proxy)))
  await until('they have all the places that one address gets', async () => (await unauthenticated(server)) === 15)

  const login = await connect(proxy, { user: 'local', password: PASSWORD })
  t.same((await login.query('SELECT 1 AS one'))[0], [{ one: 1 }], 'a login from the same address succeeds')
  t.ok((await unauthenticated(server)) <= 20)
  await login.end()

  await until(
    'all of them have lost their connection',
    () => sockets.every(({ readableEnded }) => readableEnded),
    120_000,
  )
  await until('and the server has none left', async () => (await unauthenticated(server)) === 0)
  const codes = new Set(proxy.log.map(({ fields }) => fields['code']).filter(Boolean))
  t.same([...codes].sort(), ['CLIENT_TIMEOUT', 'TOO_MANY_UNAUTHENTICATED'])
})

testOnEachOwnServer('logins that the server refuses count towards the rate', async (t, server) => {
  const perSecond = 20
  const proxy = await startProxy(t, server, { localUsers, maxLoginsPerSecond: perSecond })
  const before = await refusedLogins(server)
  const started = performance.now()
  const leave = async () => {
    const socket = await connectSilently(t, proxy)
    await once(socket, 'data').catch(() => undefined) // the greeting
    socket.destroy()
  }
  const leaving = Promise.all(Array.from({ length: 60 }, leave))
  const login = await connect(proxy, { user: 'local', password: PASSWORD })
  await login.end()
  t.pass('a login succeeds meanwhile')
  await leaving
  const left = () => proxy.log.filter(({ fields }) => fields['code'] === 'CLIENT_CLOSED').length
  await until('each of them has ended', async () => left() === 60 && (await unauthenticated(server)) === 0)
  const refused = (await refusedLogins(server)) - before
  const seconds = (performance.now() - started) / 1_000
  t.ok(refused >= 55, `${refused} refused logins`)
  t.ok(refused <= perSecond * seconds + 4, `${(refused / seconds).toFixed(1)} a second`)
})
