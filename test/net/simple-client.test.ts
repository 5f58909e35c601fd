import { test } from 'tap'
import { connectClient, type SimpleClientOptions } from '../../src/net/simple-client.ts'
import { lenencBytes, uint8 } from '../../src/protocol/bytes.ts'
import { createTestClock } from '../support/clock.ts'
import { freePort } from '../support/free-port.ts'
import { startProxy, until } from '../support/raw-client.ts'
import { authSwitch, err, greeting, OK, type Peer, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { testOnEachServer } from '../support/servers.ts'

const TIMEOUT_MS = 120_000

testOnEachServer('the simple client reads results of a real server, through the proxy', async (t, server) => {
  const proxy = await startProxy(t, server)
  const client = await connectClient({ ...proxy, user: 'iam_user', timeout: TIMEOUT_MS })
  t.same(await client.query("SELECT 1 AS a, NULL AS b, '' AS c, 'Grüße' AS d"), [
    { a: '1', b: null, c: '', d: 'Grüße' },
  ])
  t.same(await client.query('SELECT 1 AS n UNION SELECT 2 UNION SELECT 3'), [{ n: '1' }, { n: '2' }, { n: '3' }])
  t.same(await client.query('SELECT 1 AS n WHERE FALSE'), [])
  t.same(await client.query('SET @a = 1'), [], 'a statement without a result set')
  const [long] = await client.query("SELECT REPEAT('x', 70000) AS x")
  t.equal(long?.['x']?.length, 70_000)
  const syntax = await client.query('SELECT nothing FROM').catch(error => error)
  t.match(syntax, { code: 'UPSTREAM_REFUSED_LOGIN', serverError: { errno: 1064, sqlState: '42000' } })
  t.same(await client.query('SELECT 4 AS n'), [{ n: '4' }], 'the session goes on after an error')
  client.end()
  await until('the session has ended', () => proxy.state.sessions.size === 0)
  const refused = connectClient({ ...proxy, user: 'nobody', database: 'test', timeout: TIMEOUT_MS })
  await t.rejects(refused, { code: 'UPSTREAM_REFUSED_LOGIN', serverError: { errno: 1045, sqlState: '28000' } })
})

type Script = (peer: Peer) => Promise<void>

/** Logs a client in to a server that follows `script`. */
async function connectTo(t: Parameters<typeof startScriptedUpstream>[0], script: Script, more = {}) {
  const { port } = await startScriptedUpstream(t, [script])
  const options: SimpleClientOptions = { host: '127.0.0.1', port, user: 'app', timeout: TIMEOUT_MS, ...more }
  return await connectClient(options)
}

async function acceptLogin(peer: Peer): Promise<void> {
  peer.send(greeting())
  await peer.expect()
  peer.send(OK)
}

/** Answers one statement with `packets`. */
function answering(...packets: Buffer[]): Script {
  return async peer => {
    await acceptLogin(peer)
    await peer.expect()
    for (const packet of packets) peer.send(packet)
    await peer.expect()
  }
}

const ONE_COLUMN = uint8(1)
const COLUMN = Buffer.concat(['def', '', '', '', 'a', 'a'].map(field => lenencBytes(Buffer.from(field))))
const EOF = Buffer.of(0xfe, 0, 0, 2, 0)

test('another authentication method gets an empty answer, for no password', async t => {
  const client = await connectTo(t, async peer => {
    peer.send(greeting())
    await peer.expect()
    peer.send(authSwitch('mysql_clear_password'))
    t.equal((await peer.expect()).length, 0)
    peer.send(OK)
    await peer.expect()
  })
  client.destroy()
})

test('an answer to the login that is no OK_Packet is malformed', async t => {
  const client = connectTo(t, async peer => {
    peer.send(greeting())
    await peer.expect()
    peer.send(uint8(1))
  })
  await t.rejects(client, { code: 'UPSTREAM_NOT_MYSQL', message: /login: a packet that begins with 1/ })
})

test('a result: an error between rows, no end of the columns, a row that is too short', async t => {
  const failing = await connectTo(
    t,
    answering(ONE_COLUMN, COLUMN, EOF, lenencBytes(Buffer.from('1')), err(1317, '70100', 'killed')),
  )
  const killed = await failing.query('SELECT 1').catch(error => error)
  t.match(killed, { serverError: { errno: 1317, message: 'killed' } })
  failing.destroy()

  const endless = await connectTo(t, answering(ONE_COLUMN, COLUMN, lenencBytes(Buffer.from('1'))))
  await t.rejects(endless.query('SELECT 1'), { code: 'UPSTREAM_NOT_MYSQL', message: /no EOF_Packet after the columns/ })
  endless.destroy()

  const short = await connectTo(t, answering(ONE_COLUMN, COLUMN, EOF, Buffer.of(5, 0x61)))
  await t.rejects(short.query('SELECT 1'), { code: 'UPSTREAM_NOT_MYSQL' })
  short.destroy()
})

test('a server that says nothing, and one that is not there', async t => {
  const clock = createTestClock()
  const silent = connectTo(t, peer => peer.expect().then(() => {}), { clock, timeout: 1_000 })
  const failed = t.rejects(silent, { code: 'UPSTREAM_TIMEOUT' })
  await until('the client waits', () => clock.pending() > 0)
  clock.advance(1_000)
  await failed
  const nobody = connectClient({ host: '127.0.0.1', port: await freePort(), user: 'app', timeout: TIMEOUT_MS })
  await t.rejects(nobody, { code: 'UPSTREAM_CLOSED', message: /ECONNREFUSED/ })
})
