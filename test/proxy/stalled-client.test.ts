import { isIP } from 'node:net'
import { COM_QUERY, connect, logInRaw, sendCommand, startProxy, until, value } from '../support/raw-client.ts'
import { testOnEachServer } from '../support/servers.ts'

/** 100 MB that no compression makes smaller. */
const HUGE = `SELECT RANDOM_BYTES(1024) FROM information_schema.columns AS a, information_schema.columns AS b LIMIT 100000`

testOnEachServer('a client that stops reading loses its session, also after the server gave up', async (t, server) => {
  const proxy = await startProxy(t, server, { clientWriteTimeout: 5_000 })
  const working = await connect(proxy)
  const stalled = await logInRaw(proxy)
  const { threadId } = stalled.greeting
  sendCommand(stalled, COM_QUERY, 'SET net_write_timeout = 1')
  await until('the server has answered', () => stalled.socket.readableLength > 0)
  sendCommand(stalled, COM_QUERY, HUGE)
  const isAtServer = async () =>
    (await server.query(`SELECT ID FROM information_schema.PROCESSLIST WHERE ID = ${threadId}`)).length > 0
  await until('the server has given up', async () => !(await isAtServer()))
  const ends = () => proxy.log.filter(({ message }) => message === 'session ended')
  t.strictSame(ends(), [], 'the proxy still holds what the client did not read')

  await until('the session has ended', () => ends().length > 0)
  t.match(ends(), [{ fields: { threadId, endedBy: 'CLIENT_WRITE_TIMEOUT' } }])
  const warnings = proxy.log.filter(({ level }) => level === 'warn')
  t.match(warnings, [{ fields: { code: 'CLIENT_WRITE_TIMEOUT', hint: /clientWriteTimeout/ } }])
  t.equal(warnings.length, 1, 'the log says it once')
  t.ok(isIP(String(warnings[0]?.fields['client'])), 'with the client')
  t.equal(await value(working, 'SELECT 1'), 1, 'other sessions go on')
  await working.end()
  stalled.socket.destroy()
})
