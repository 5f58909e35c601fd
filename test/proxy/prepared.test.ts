/** --prepared-connections with a running proxy. */
import mysql from 'mysql2/promise'
import { test } from 'tap'
import { connectMysql, startProxy, until } from '../support/proxy.ts'
import {
  err,
  goodLogin,
  greeting,
  OK,
  type Script,
  startScriptedUpstream,
  untilResponse,
} from '../support/scripted-upstream.ts'

test('logins of a program take prepared connections over, and none is left at the end', async t => {
  const upstream = await startScriptedUpstream(t, [goodLogin])
  const { address, proxy, log } = await startProxy(t, { connect: upstream.address, preparedConnections: 2 })
  for (let count = 1; count <= 2; count++) await (await connectMysql(address)).end()
  t.equal(upstream.connections.length, 2, 'one for each login')
  for (let count = 1; count <= 3; count++) {
    const connection = await connectMysql(address)
    await connection.ping()
    // Two are prepared at the third login, and one for each that is taken.
    t.ok(await until(() => upstream.connections.length === 4 + count))
    await connection.end()
  }
  await proxy.close()
  t.ok(await until(() => upstream.connections.every(({ ended }) => ended)))
  t.equal(upstream.connections.length, 7)
  t.match(
    log.filter(({ message }) => message === 'session started').map(({ fields }) => fields['user']),
    ['iam_user', 'iam_user', 'iam_user', 'iam_user', 'iam_user'],
  )
})

test('a session that could not use its prepared connection has its real thread id', async t => {
  let threadId = 100
  const upstream = await startScriptedUpstream(t, [
    async peer => {
      const send = peer.send
      const id = threadId++
      await goodLogin({
        ...peer,
        send(payload, ...rest) {
          send(payload[0] === 10 ? greeting({ threadId: id }) : payload, ...rest)
        },
      })
    },
  ])
  const { address, proxy } = await startProxy(t, { connect: upstream.address, preparedConnections: 1 })
  for (let count = 1; count <= 3; count++) await (await connectMysql(address)).end()
  t.ok(await until(() => upstream.connections.length === 4))
  const other = await connectMysql(address, { charset: 'latin1_swedish_ci' })
  t.equal(upstream.connections.length, 5)
  t.match(proxy.status().sessions, [{ threadId: 104 }])
  await other.end()
})

test('prepared connections keep no client out of a server whose last places they have', async t => {
  let open = 0
  const ofThree: Script = async peer => {
    if (open === 3) {
      peer.send(err(1040, undefined, 'Too many connections'))
      peer.close()
      return
    }
    open++
    await goodLogin(peer).finally(() => open--)
  }
  const upstream = await startScriptedUpstream(t, [ofThree])
  const { address, proxy } = await startProxy(t, { connect: upstream.address, preparedConnections: 2 })
  for (let count = 1; count <= 2; count++) await (await connectMysql(address)).end()
  t.ok(await until(() => open === 0))
  const stays = await connectMysql(address)
  t.ok(await until(() => open === 3), 'one session, and two that are prepared')
  const other = await mysql.createConnection({ user: 'iam_user', stream: proxy.connect() })
  await other.ping()
  await other.end()
  await stays.end()
})

test('after the database has closed a session, no login takes over a connection from before', async t => {
  const closesSession: Script = async peer => {
    await untilResponse(peer)
    peer.send(OK)
    await peer.expect()
    peer.close()
  }
  const upstream = await startScriptedUpstream(t, [goodLogin, goodLogin, closesSession, goodLogin])
  const { address } = await startProxy(t, { connect: upstream.address, preparedConnections: 2 })
  for (let count = 1; count <= 2; count++) await (await connectMysql(address)).end()
  const session = await connectMysql(address)
  t.ok(await until(() => upstream.connections.length === 5))
  const prepared = upstream.connections.slice(3)
  await t.rejects(session.ping())
  t.ok(await until(() => prepared.every(({ ended }) => ended)))
  await (await connectMysql(address)).end()
  t.ok(upstream.connections.length >= 6, 'a new connection')
})
