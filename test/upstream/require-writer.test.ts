import { connect, startProxy, until, value } from '../support/raw-client.ts'
import { testOnEachOwnServer } from '../support/servers.ts'

testOnEachOwnServer('--require-writer', async (t, server) => {
  const proxy = await startProxy(t, server, { requireWriter: true, maxLoginsPerSecond: 0 })
  // mysql2 sets CLIENT_QUERY_ATTRIBUTES.
  for (const compress of [false, true]) {
    for (const tracked of ['time_zone', '*']) {
      await server.query('SET GLOBAL read_only = 0')
      await server.query(`SET GLOBAL session_track_system_variables = '${tracked}'`)
      const flags = ['SESSION_TRACK']
      const session = await connect(proxy, { compress, flags })
      t.equal(await value(session, 'SELECT @@lc_time_names'), 'en_US', 'the session is as it was')
      t.same((await session.query('SHOW WARNINGS'))[0], [])
      await session.end()

      await server.query('SET GLOBAL read_only = 1')
      const refusal = { errno: 1290, message: /is read-only\. After a failover.*requireWriter/ }
      await t.rejects(connect(proxy, { compress, flags }), refusal, compress ? 'compressed' : 'plain')
    }
  }
  const query = "SELECT COUNT(*) AS count FROM information_schema.processlist WHERE user = 'iam_user'"
  await until('nothing is left on the server', async () => {
    const [row] = (await server.query(query)) as { count: number | bigint }[]
    return Number(row!.count) === 0
  })
  const indifferent = await startProxy(t, server)
  const session = await connect(indifferent)
  await session.end()
  t.equal(proxy.log.filter(({ fields }) => 'code' in fields).length, 4, 'a line for each refusal')
})
