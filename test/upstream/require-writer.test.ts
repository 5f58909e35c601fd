import { test } from 'tap'
import { startMariadb } from '../support/mariadb.ts'
import { connect, startProxy, until, value } from '../support/raw-client.ts'

test('--require-writer', async t => {
  const server = await startMariadb()
  t.teardown(() => server.stop())
  const proxy = await startProxy(t, server, { requireWriter: true, maxLoginsPerSecond: 0 })
  for (const compress of [false, true]) {
    await server.query('SET GLOBAL read_only = 0')
    const session = await connect(proxy, { compress })
    t.equal(await value(session, 'SELECT @@lc_time_names'), 'en_US', 'the session is as it was')
    t.same((await session.query('SHOW WARNINGS'))[0], [])
    await session.end()

    await server.query('SET GLOBAL read_only = 1')
    const refusal = { errno: 1290, message: /is read-only\. After a failover.*--require-writer/ }
    await t.rejects(connect(proxy, { compress }), refusal, compress ? 'compressed' : 'plain')
  }
  const query = "SELECT COUNT(*) AS count FROM information_schema.processlist WHERE user = 'iam_user'"
  await until('nothing is left on the server', async () => {
    const [row] = (await server.query(query)) as { count: number | bigint }[]
    return Number(row!.count) === 0
  })
  const indifferent = await startProxy(t, server)
  const session = await connect(indifferent)
  await session.end()
  t.equal(proxy.log.filter(({ fields }) => 'code' in fields).length, 2, 'a line for each refusal')
})
