import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { createConnection } from 'mysql2/promise'
import { test } from 'tap'
import { showsLines } from '../../src/commands/run.ts'
import { url } from '../../src/commands/url.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import { ensureProgram } from '../support/packages.ts'
import { testOnEachServer } from '../support/servers.ts'

const HOST = 'orders.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const HASH = `'*${'0'.repeat(40)}'`

const run = promisify(execFile)

test('url prints the endpoint of that name, or the only one', async t => {
  const one = { 'rds-endpoint': HOST, user: 'app' }
  t.equal(await url(one, [], {}), 'mysql://app@127.0.0.1:3306/')
  t.equal(await url({ user: 'app' }, [HOST], {}), 'mysql://app@127.0.0.1:3306/')
  t.equal(await url({ ...one, listen: '127.0.0.1:3310', format: 'go' }, [], {}), 'app@tcp(127.0.0.1:3310)/')
  t.equal(await url({}, [`${HOST}?port=3311&user=bob`], {}), 'mysql://bob@127.0.0.1:3311/', 'URL-style options')
  t.equal(await url({ ...one, database: 'x' }, [], {}), 'mysql://app@127.0.0.1:3306/x')

  const text = `endpoints:
- { name: shop, rds-endpoint: shop.${HOST}, user: app }
- { name: users, rds-endpoint: users.${HOST}, listen: '0.0.0.0:3307', trust-network: true,
    local-users: [{ name: bi, password-hash: ${HASH} }, { name: etl, password-hash: ${HASH}, user: app }] }
`
  const config = `${t.testdir({ 'config.yaml': text })}/config.yaml`
  t.equal(await url({ config }, ['shop'], {}), 'mysql://app@127.0.0.1:3306/')
  t.equal(await url({ config, user: 'other' }, ['shop'], {}), 'mysql://other@127.0.0.1:3306/', '--user')
  t.equal(await url({ config }, ['users'], {}), 'mysql://bi@127.0.0.1:3307/', 'a local user')
  t.equal(await url({ config, user: 'etl', host: 'db.example' }, ['users'], {}), 'mysql://etl@db.example:3307/')
  t.equal(
    await url({ config, 'ssl-ca': '/ca.pem', format: 'mariadb-cli' }, ['users'], {}),
    'mariadb -h 127.0.0.1 -P 3307 -u bi -p --ssl-verify-server-cert --ssl-ca=/ca.pem',
  )
  t.match(await url({ config, format: 'text' }, ['users'], {}), /^users\n {2}host 127\.0\.0\.1, port 3307, user bi/)

  const unknown = 'url: needs the name of one endpoint; there are shop, users'
  await t.rejects(url({ config }, [], {}), { code: 'CONFIG_INVALID', message: unknown })
  await t.rejects(url({ config }, ['nope'], {}), { code: 'CONFIG_INVALID', message: /nope/ })
  await t.rejects(url({ config, user: 'app' }, ['users'], {}), { code: 'CONFIG_INVALID' })
})

test('url names the loopback address for localhost, which many clients take for a socket file', async t => {
  const line = await url({ 'rds-endpoint': HOST, user: 'app', listen: 'localhost:3306' }, [], {})
  t.match(line, /^mysql:\/\/app@(127\.0\.0\.1|\[::1\]):3306\/$/)
})

test('the lines at the start are for people on a terminal', async t => {
  const settings = { 'log-level': 'info', 'log-format': 'auto' } as const
  t.equal(showsLines(settings, true, {}), true)
  t.equal(showsLines({ ...settings, 'log-format': 'pretty' }, true, {}), true)
  t.equal(showsLines({ ...settings, 'log-level': 'debug' }, true, {}), true)
  t.equal(showsLines(settings, false, {}), false, 'not a terminal')
  t.equal(showsLines({ ...settings, 'log-format': 'pretty' }, false, {}), false, 'pretty logs in a file')
  t.equal(showsLines({ ...settings, 'log-format': 'json' }, true, {}), false, 'JSON lines')
  t.equal(showsLines({ ...settings, 'log-level': 'warn' }, true, {}), false, 'a quiet log')
  t.equal(showsLines(settings, true, { NOTIFY_SOCKET: '/run/systemd/notify' }), false, 'a service of systemd')
})

testOnEachServer('real clients log in with what url prints', async (t, server) => {
  const program = await ensureProgram('mariadb', 'mariadb-client')
  const odd = "a b:c/d%@#'"
  const proxy = createProxy({
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    region: server.region,
    connect: `${server.host}:${server.port}`,
    ca: [server.ca],
    credentials: server.keys.longTerm,
    listen: '127.0.0.1:0',
    localUsers: [{ name: odd, user: 'iam_user', password: 'secret' }],
  })
  t.teardown(() => proxy.close())
  const { port } = await proxy.listen()
  const flags = {
    'rds-endpoint': HOST,
    listen: `127.0.0.1:${port}`,
    'local-user': odd,
  }
  const environment = { MYSQL_IAM_PROXY_LOCAL_PASSWORD: 'secret' }

  await t.test('mysql2', async t => {
    for (const more of [{}, { 'require-tls': true }]) {
      const uri = await url({ ...flags, ...more, format: 'node' }, [], environment)
      const connection = await createConnection({ uri, password: 'secret' })
      const [rows] = await connection.query('SELECT CURRENT_USER() AS user')
      t.match(rows, [{ user: 'iam_user@%' }])
      await connection.end()
    }
  })

  await t.test('the mariadb command line, and an option file', async t => {
    const query = ['-N', '-e', 'SELECT CURRENT_USER()']
    for (const more of [{}, { 'require-tls': true }]) {
      const line = await url({ ...flags, ...more, format: 'mariadb-cli' }, [], environment)
      const script = `${line.replace(/^mariadb/, '"$0"').replace(' -p', ' -psecret')} "$@"`
      t.match((await run('sh', ['-c', script, program, ...query])).stdout, 'iam_user@%')
    }
    const file = `${t.testdir({ 'my.cnf': await url({ ...flags, format: 'my-cnf' }, [], environment) })}/my.cnf`
    const args = [`--defaults-file=${file}`, '-psecret', ...query]
    t.match((await run(program, args)).stdout, 'iam_user@%')
  })
})
