/** A database that accepts connections and greets late, as Aurora Serverless does while it resumes. */
import { readFileSync } from 'node:fs'
import { type Test, test } from 'tap'
import type { RealServer } from '../support/database-server.ts'
import { connectMysql, connectRaw, logIn, problems, startProxy, type TestProxy, until } from '../support/proxy.ts'
import { ACCESS_DENIED, goodLogin, greeting, type Script, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { isMariadb, testOnEachOwnServer } from '../support/servers.ts'

/** A database whose connections are greeted only after `resume`. */
async function startSleeping(t: Test) {
  let resume = () => {}
  const awake = new Promise<void>(resolve => {
    resume = resolve
  })
  const script: Script = async peer => {
    await awake
    await goodLogin(peer)
  }
  return { upstream: await startScriptedUpstream(t, [script]), resume }
}

const codes = ({ log }: TestProxy) => problems(log).map(({ fields }) => fields['code'])

test('a login waits for the greeting for longer than a login may take', async t => {
  const { upstream, resume } = await startSleeping(t)
  const proxy = await startProxy(t, { connect: upstream.address, loginTimeout: 2_000 })
  const login = connectMysql(proxy.address)
  const isNoticed = () => proxy.log.some(({ message }) => /has sent no greeting for 3 s/.test(message))
  t.ok(await until(isNoticed), 'the log says that the database may be resuming')
  resume()
  const connection = await login
  t.ok(proxy.log.some(({ message }) => /sent its greeting after \d+ s$/.test(message)))
  t.same(codes(proxy), [undefined, undefined], 'no error')
  await connection.end()
})

test('a client that leaves during the wait causes no connection error at the server', async t => {
  let resume = () => {}
  const awake = new Promise<void>(resolve => {
    resume = resolve
  })
  let request: Buffer | undefined
  const script: Script = async peer => {
    await awake
    peer.send(greeting())
    request = await peer.expect()
    peer.send(ACCESS_DENIED)
    peer.close()
  }
  const upstream = await startScriptedUpstream(t, [script])
  const proxy = await startProxy(t, { connect: upstream.address })
  const client = await connectRaw(t, proxy.address)
  await until(() => upstream.connections.length === 1)
  client.socket.destroy()
  t.ok(await until(() => codes(proxy).includes('CLIENT_CLOSED')), 'the log says so at once')
  t.match(problems(proxy.log)[0]?.message, /while waiting for the greeting of 127\.0\.0\.1:\d+/)
  t.notOk(upstream.connections[0]!.ended, 'the connection stays for its greeting')
  resume()
  t.ok(await until(() => upstream.connections[0]!.ended && proxy.proxy.state.sessions.size === 0))
  t.ok(request, 'the server gets a login to refuse')
  t.notMatch(String(request), 'iam_user', 'without the user')
})

test('a client that comes back takes over the connection that waits', async t => {
  const { upstream, resume } = await startSleeping(t)
  const proxy = await startProxy(t, { connect: upstream.address, maxUnauthenticated: 1 })
  const { sessions } = proxy.proxy.state
  const isAlone = (id: string) => sessions.size === 1 && [...sessions][0]!.id !== id
  let last = ''
  for (let attempt = 1; attempt <= 3; attempt++) {
    const client = await connectRaw(t, proxy.address)
    t.ok(await until(() => isAlone(last) && upstream.connections.length === 1), 'the session before it has ended')
    last = [...sessions][0]!.id
    client.socket.destroy()
    await until(() => codes(proxy).length === attempt)
  }
  const login = logIn(t, proxy.address)
  await until(() => isAlone(last))
  resume()
  t.ok((await login).ok, 'it gets in, although there is one place only')
  t.equal(upstream.connections.length, 1, 'over the first connection')
  t.same(codes(proxy).filter(Boolean), ['CLIENT_CLOSED', 'CLIENT_CLOSED', 'CLIENT_CLOSED'])
})

test('a database that greets nobody', async t => {
  const upstream = await startScriptedUpstream(t, [async () => {}])
  const options = { connect: upstream.address, greetingTimeout: 300, maxUnauthenticated: 2 }
  const { address } = await startProxy(t, options)
  const outcomes = await Promise.all(Array.from({ length: 6 }, () => logIn(t, address)))
  t.same(
    outcomes.map(({ error }) => error?.errno),
    Array(6).fill(1159),
    'those without a place get the same error',
  )
})

test('the proxy stops while clients wait', async t => {
  const { upstream } = await startSleeping(t)
  const { address, proxy } = await startProxy(t, { connect: upstream.address })
  const clients = [await connectRaw(t, address), await connectRaw(t, address)]
  await until(() => upstream.connections.length === 2)
  clients[0]!.socket.destroy()
  await proxy.close()
  t.equal(proxy.state.sessions.size, 0)
})

/** How many connections failed before their login, and how many of these had their login refused. Only MariaDB counts the latter. */
async function failedLogins(server: RealServer): Promise<{ all: number; refused: number | undefined }> {
  const sql = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Aborted_connects', 'Access_denied_errors')"
  const rows = (await server.query(sql)) as { Variable_name: string; Value: string }[]
  const of = (name: string) => rows.find(row => row.Variable_name === name)?.Value
  const refused = of('Access_denied_errors')
  return { all: Number(of('Aborted_connects')), refused: refused === undefined ? undefined : Number(refused) }
}

testOnEachOwnServer('clients that leave a frozen server: it refuses their logins later', async (t, server) => {
  const [row] = (await server.query('SELECT @@pid_file AS file')) as { file: string }[]
  const pid = Number(readFileSync(row!.file, 'utf8'))
  const before = await failedLogins(server)
  const { address, log, proxy } = await startProxy(t, {
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    ca: [server.ca],
    credentials: server.keys.longTerm,
  })
  const { sessions } = proxy.state
  t.teardown(() => process.kill(pid, 'SIGCONT'))
  process.kill(pid, 'SIGSTOP')
  const clients = await Promise.all([1, 2, 3].map(() => connectRaw(t, address)))
  t.ok(await until(() => sessions.size === 3), 'each of them dials')
  for (const { socket } of clients) socket.destroy()
  const left = () => log.filter(({ fields }) => fields['code'] === 'CLIENT_CLOSED').length
  t.ok(await until(() => left() === 3), 'they are noticed while the server is frozen')
  process.kill(pid, 'SIGCONT')
  const login = await connectMysql(address)
  t.same((await login.query('SELECT 1 AS one'))[0], [{ one: 1 }])
  await login.end()
  t.ok(await until(() => sessions.size === 0))
  const after = await failedLogins(server)
  if (isMariadb(server)) t.equal(after.refused! - before.refused!, after.all - before.all, 'none just closed')
})
