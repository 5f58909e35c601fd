/** The log lines of a session: who, as whom, from where, when, how long, how it ended; and its id, which the client reads too. */
import type { Connection } from 'mysql2/promise'
import { type Test, test } from 'tap'
import { realServer } from '../support/mariadb.ts'
import { connect, type LogLine, startProxy, type TestProxy, until } from '../support/raw-client.ts'

const PASSWORD = 'a long password'
const localUsers = ['reporting', 'billing'].map(name => ({ name, password: PASSWORD, user: 'iam_user' }))
const as = (user: string) => ({ user, password: PASSWORD })

/** Of a session's lines, what all of them have. */
function identity({ fields }: LogLine): Record<string, unknown> {
  const { endpoint, session, localUser, user, client, threadId } = fields
  return { endpoint, session, localUser, user, client, threadId }
}

async function ends({ log }: TestProxy, count = 1): Promise<LogLine[]> {
  const found = () => log.filter(({ message }) => message === 'session ended')
  await until('the session has ended', () => found().length >= count)
  return found()
}

/** The session that an error names. */
function sessionIn(error: unknown): string | undefined {
  return /\(session ([a-z0-9]{4}-\d+)\)$/.exec((error as Error).message)?.[1]
}

async function failure(connecting: Promise<Connection>): Promise<Error> {
  return await connecting.then(
    () => new Error('no error'),
    error => error,
  )
}

test('with a real server', async t => {
  const server = await realServer(t)
  const start = (t: Test, more = {}) => startProxy(t, server, { name: 'orders', localUsers, ...more })

  await t.test('two local users with one database user differ in every line', async t => {
    const proxy = await start(t)
    for (const { name } of localUsers) {
      const connection = await connect(proxy, { ...as(name), database: 'lab' })
      const { threadId } = connection
      await connection.end()
      const end = (await ends(proxy, localUsers.findIndex(user => user.name === name) + 1)).at(-1)!
      const begin = proxy.log.findLast(({ message }) => message === 'session started')!
      const who = { endpoint: 'orders', localUser: name, user: 'iam_user', client: '127.0.0.1', threadId }
      t.match(identity(begin), { ...who, session: /^[a-z0-9]{4}-\d+$/ })
      t.same(identity(end), identity(begin), 'the same in both lines')
      t.match(begin, { level: 'info', fields: { database: 'lab', durationMs: Number } })
      t.match(end, { level: 'info', fields: { endedBy: 'client quit', durationMs: Number, bytesFromServer: Number } })
      t.ok((end.fields['bytesFromClient'] as number) > 0)
    }
    const ids = new Set(proxy.log.map(({ fields }) => fields['session']))
    t.equal(ids.size, 2)
  })

  await t.test('a wrong local password: the error and the log name the session and the local user', async t => {
    const proxy = await start(t)
    const error = await failure(connect(proxy, { user: 'billing', password: 'wrong' }))
    const line = proxy.log.find(({ fields }) => fields['code'] === 'CLIENT_ACCESS_DENIED')!
    t.match(identity(line), { endpoint: 'orders', localUser: 'billing', user: 'iam_user', client: '127.0.0.1' })
    t.equal(sessionIn(error), line.fields['session'])
    t.match(line.fields, { durationMs: Number, threadId: Number })
  })

  await t.test("the database's refusal: the hint names the session, the server's words stay", async t => {
    const credentials = { ...server.keys.longTerm, secretAccessKey: 'another' }
    const proxy = await start(t, { localUsers: undefined, credentials })
    const error = await failure(connect(proxy))
    const [line] = proxy.log.filter(({ fields }) => fields['code'] === 'UPSTREAM_REFUSED_LOGIN')
    t.match(line!.fields, { user: 'iam_user', localUser: undefined, errno: 1045 })
    t.match(error.message, /^Access denied for user 'iam_user'@/)
    t.match(error.message, /\(mysql-iam-proxy: .*\) \(session/)
    t.equal(sessionIn(error), line!.fields['session'])
  })

  await t.test('COM_CHANGE_USER: a line names both users, and later lines the new one', async t => {
    const proxy = await start(t)
    const connection = await connect(proxy, as('reporting'))
    await connection.changeUser(as('billing'))
    await connection.end()
    const [end] = await ends(proxy)
    t.match(proxy.log.at(-2), {
      message: 'session changed its user',
      fields: { localUser: 'billing', user: 'iam_user', localUserBefore: 'reporting', userBefore: 'iam_user' },
    })
    t.match(identity(end!), { localUser: 'billing' })
  })

  const endings: [endedBy: string | RegExp, end: (connection: Connection, proxy: TestProxy) => unknown][] = [
    ['client quit', connection => connection.end()],
    ['client closed', connection => connection.destroy()],
    [
      'client reset',
      connection =>
        (
          connection as unknown as { connection: { stream: import('node:net').Socket } }
        ).connection.stream.resetAndDestroy(),
    ],
    ['server closed', connection => server.query(`KILL CONNECTION ${connection.threadId}`)],
    ['PROXY_STOPPING', (_connection, proxy) => proxy.close()],
  ]
  for (const [endedBy, end] of endings) {
    await t.test(`how a session ended: ${endedBy}`, async t => {
      const proxy = await start(t)
      const connection = await connect(proxy, as('reporting'))
      let error: unknown
      connection.on('error', thrown => {
        error = thrown
      })
      await end(connection, proxy)
      const [line] = await ends(proxy)
      t.equal(line!.fields['endedBy'], endedBy)
      if (endedBy === 'client reset') t.equal(line!.fields['cause'], 'ECONNRESET')
      if (endedBy !== 'PROXY_STOPPING') return
      await until('the client reads it', () => error !== undefined)
      t.equal(sessionIn(error), line!.fields['session'], 'the client reads the session')
    })
  }

  await t.test('compressed: a COM_QUIT is seen', async t => {
    const proxy = await start(t)
    const connection = await connect(proxy, { ...as('reporting'), compress: true })
    await connection.query('SELECT 1')
    await connection.end()
    t.match(await ends(proxy), [{ fields: { endedBy: 'client quit' } }])
  })
})
