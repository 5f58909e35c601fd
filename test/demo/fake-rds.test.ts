import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { createBuiltinBackend } from '../../src/demo/builtin-backend.ts'
import { createAuthority } from '../../src/demo/certificates.ts'
import { type Decision, startFakeRds } from '../../src/demo/fake-rds.ts'
import { signToken } from '../support/token.ts'

const rds = { host: 'demo-1.abcdefghijkl.eu-west-1.rds.amazonaws.com', port: 3306, region: 'eu-west-1' }
const credentials = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'a secret' }

async function start(t: Test) {
  const authority = await createAuthority('stand-in for tests')
  const decisions: Decision[] = []
  const fake = await startFakeRds({
    ...rds,
    ...(await authority.issue({ names: [rds.host] })),
    backend: createBuiltinBackend('demo'),
    accessKeys: [credentials],
    users: ['iam_user'],
    onDecision: decision => decisions.push(decision),
  })
  t.teardown(() => fake.close())

  function login(user: string, token: string, options: mysql.ConnectionOptions = {}) {
    return mysql.createConnection({
      host: '127.0.0.1',
      port: fake.address.port,
      user,
      password: token,
      ssl: { ca: authority.certificate, servername: rds.host } as mysql.SslOptions,
      authPlugins: { mysql_clear_password: () => () => Buffer.from(`${token}\0`) },
      ...options,
    })
  }

  return { port: fake.address.port, decisions, login, authority }
}

/** The error of a rejected promise. */
function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'no error',
    error => error,
  )
}

const token = (user = 'iam_user') => signToken({ ...rds, user, credentials })

test('a client with a valid token logs in and runs queries', async t => {
  const { login, decisions } = await start(t)
  const connection = await login('iam_user', token(), { database: 'demo' })
  t.teardown(() => connection.end())
  const [rows] = await connection.query("select current_user() AS who, version(), DATABASE() as db, 1, 'x' label")
  t.match(rows, [{ who: 'iam_user@%', 'version()': /demo/, db: 'demo', 1: '1', label: 'x' }])
  await connection.ping()
  await connection.query('SET NAMES utf8mb4')
  t.same((await connection.query('show databases'))[0], [{ Database: 'demo' }])
  t.match(await failure(connection.query('select * from secrets')), { errno: 1235, sqlState: '42000' })
  t.match(await failure(connection.execute('select 1')), { errno: 1235 })
  t.match(await failure(connection.query('use other')), { errno: 1049 })
  t.match(decisions, [{ user: 'iam_user', tokenInHandshake: false, tls: 'TLSv1.3', refusal: undefined }])
  t.equal(decisions[0]?.tokenBytes, token().length)
})

test('an unknown database fails the login', async t => {
  const { login } = await start(t)
  t.match(await failure(login('iam_user', token(), { database: 'other' })), { errno: 1049 })
})

test('a client without CLIENT_DEPRECATE_EOF gets EOF_Packets', async t => {
  const { login } = await start(t)
  const connection = await login('iam_user', token(), { flags: ['-DEPRECATE_EOF'] })
  t.teardown(() => connection.end())
  t.same((await connection.query('SELECT 1 AS one, database() AS db'))[0], [{ one: '1', db: null }])
})

test('an invalid token is refused and never recorded', async t => {
  const { login, decisions } = await start(t)
  const denied = { errno: 1045, sqlState: '28000' }
  t.match(await failure(login('iam_user', 'hunter2')), {
    ...denied,
    message: "Access denied for user 'iam_user'@'127.0.0.1' (using password: YES)",
  })
  t.match(await failure(login('iam_user', token('nobody'))), denied)
  t.match(await failure(login('nobody', token('nobody'))), denied)
  t.match(await failure(login('iam_user', '')), { ...denied, message: /using password: NO/ })
  t.same(
    decisions.map(({ user, refusal }) => [user, refusal]),
    [
      ['iam_user', 'the token is not a presigned URL'],
      ['iam_user', 'DBUser is not the user of the login'],
      ['nobody', 'unknown account'],
      ['iam_user', 'the token is not a presigned URL'],
    ],
  )
  t.notMatch(JSON.stringify(decisions), /hunter2|X-Amz/)
})

test('a client without TLS is refused', async t => {
  const { port, decisions } = await start(t)
  const options = { host: '127.0.0.1', port, user: 'iam_user', password: token() }
  t.match(await failure(mysql.createConnection(options)), { errno: 3159, message: /insecure transport/ })
  t.same(decisions, [])
})

test('anything but a login closes the connection, and the stand-in keeps running', async t => {
  const { port, login, authority } = await start(t)
  for (const bytes of ['', 'GET / HTTP/1.1\r\n\r\n', '\x20\0\0\x01\0\x0a', '\xff\xff\xff\x01']) {
    const socket = connect(port, '127.0.0.1', () => socket.end(bytes, 'latin1'))
    await new Promise(resolve => socket.resume().once('close', resolve))
  }
  // TLS without an SSLRequest, and an SSLRequest followed by plain text
  const early = connectTls({ port, host: '127.0.0.1', ca: authority.certificate, servername: rds.host })
  await new Promise(resolve => early.on('error', () => {}).once('close', resolve))
  const sslRequest = Buffer.from(`20000001008a0800${'00'.repeat(28)}`, 'hex')
  const socket = connect(port, '127.0.0.1', () => socket.write(Buffer.concat([sslRequest, Buffer.from('plain text')])))
  await new Promise(resolve =>
    socket
      .on('error', () => {})
      .resume()
      .once('close', resolve),
  )

  const connection = await login('iam_user', token())
  await connection.end()
})
