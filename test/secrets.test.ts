/** Everything that the program says, at its most talkative, while all goes well and while all goes wrong: no secret is in it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import mysql from 'mysql2/promise'
import { test } from 'tap'
import { createAuthority } from '../src/demo/certificates.ts'
import { createSalt } from '../src/protocol/auth.ts'
import { storedHash } from '../src/protocol/sha256-crypt.ts'
import { freePort } from './support/free-port.ts'
import { realServer } from './support/mariadb.ts'
import { PROGRAM } from './support/program.ts'
import { until } from './support/raw-client.ts'

const [command, ...first] = PROGRAM
const LOCAL_PASSWORD = 'local-password-of-the-tests'
const WRONG_PASSWORD = 'wrong-password-of-the-tests'
const HASHED_PASSWORD = 'hashed-password-of-the-tests'
const ADMIN_TOKEN = 'admin-token-of-the-tests'

test('no token, password or key in any output, error or metric', async t => {
  const server = await realServer(t)
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  const path = (name: string) => join(directory, name)
  const local = await (await createAuthority('local')).issue({ names: ['localhost'] })
  const hash = storedHash(HASHED_PASSWORD, Buffer.from(createSalt().map(byte => 0x41 + (byte % 26))))
  await writeFile(path('ca.pem'), server.ca)
  await writeFile(path('other-ca.pem'), (await createAuthority('another')).certificate)
  await writeFile(path('cert.pem'), local.certificate)
  await writeFile(path('key.pem'), local.key)
  await writeFile(path('password'), `${LOCAL_PASSWORD}\n`)
  await writeFile(path('admin-token'), `${ADMIN_TOKEN}\n`)
  const endpoint = (name: string, ca: string, host = server.rdsHost) => `
  - name: ${name}
    rds-endpoint: ${host}:${server.rdsPort}
    region: ${server.region}
    connect: ${server.host}:${server.port}
    ca: ${path(ca)}
    listen: 127.0.0.1:0
    tls-cert: ${path('cert.pem')}
    tls-key: ${path('key.pem')}
    local-users:
      - {name: one, user: iam_user, password-file: ${path('password')}}
      - {name: two, user: iam2, password-hash: '${hash}'}
      - {name: denied, user: nobody_of_the_tests, password-env: LOCAL_PASSWORD}
`
  const config = path('config.yaml')
  await writeFile(
    config,
    `log-level: debug\nadmin-listen: 127.0.0.1:${await freePort()}\nadmin-token-file: ${path('admin-token')}\nendpoints:${endpoint('good', 'ca.pem')}${endpoint('unknown-ca', 'other-ca.pem')}${endpoint('wrong-name', 'ca.pem', `x-${server.rdsHost}`)}`,
  )
  const { accessKeyId, secretAccessKey, sessionToken } = server.keys.temporary
  const environment = {
    PATH: process.env['PATH'],
    NODE_OPTIONS: process.env['NODE_OPTIONS'],
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
    LOCAL_PASSWORD,
  }
  let said = ''
  const start = (...args: string[]) => {
    const child = spawn(command, [...first, ...args], { env: environment })
    t.teardown(() => child.kill('SIGKILL'))
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', chunk => {
        said += chunk
      })
    }
    return child
  }

  const proxy = start('--config', config)
  const ports = () => [...said.matchAll(/listening on 127\.0\.0\.1:(\d+); clients/g)].map(([, port]) => Number(port))
  await until(`all listen: ${said}`, () => ports().length === 3)
  const [good, unknownCa, wrongName] = ports()
  const logIn = async (port: number | undefined, user: string, password: string, options = {}) => {
    const connection = await mysql.createConnection({ host: '127.0.0.1', port: port!, user, password, ...options })
    await connection.query('SELECT 1')
    return connection
  }
  const errors: string[] = []
  const fails = async (login: Promise<unknown>) => {
    errors.push(
      await login.then(
        () => 'logged in',
        (error: Error) => JSON.stringify({ ...error, message: error.message }),
      ),
    )
  }
  const tls = { ssl: { rejectUnauthorized: false } }
  const one = await logIn(good, 'one', LOCAL_PASSWORD)
  const two = await logIn(good, 'two', HASHED_PASSWORD, tls)
  await one.changeUser({ user: 'two', password: HASHED_PASSWORD })
  await fails(one.changeUser({ user: 'one', password: WRONG_PASSWORD }))
  await fails(logIn(good, 'one', WRONG_PASSWORD))
  await fails(logIn(good, 'two', WRONG_PASSWORD, tls))
  await fails(logIn(good, 'nobody', LOCAL_PASSWORD))
  await fails(logIn(good, 'denied', LOCAL_PASSWORD))
  await fails(logIn(good, 'one', LOCAL_PASSWORD, { database: 'no_such_database' }))
  await fails(logIn(unknownCa, 'one', LOCAL_PASSWORD))
  await fails(logIn(wrongName, 'one', LOCAL_PASSWORD))
  t.equal(errors.filter(error => error !== 'logged in').length, 8)

  const admin = /admin-listen: (\S+)/.exec(await readFile(config, 'utf8'))![1]
  const get = async (path: string) => {
    const response = await fetch(`http://${admin}${path}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } })
    return `${response.status} ${path}\n${await response.text()}`
  }
  const served = await Promise.all(['/', '/metrics', '/api/status', '/readiness', '/startup', '/liveness'].map(get))
  for (const text of served) t.match(text, /^200 /)
  t.match(served[2], /unknown-ca/)

  proxy.kill('SIGHUP')
  await until('read again', () => said.includes('configuration read again'))
  await two.end()
  proxy.kill('SIGTERM')
  await once(proxy, 'close')

  for (const [code, ...args] of [
    [0, 'config', 'show'],
    [0, 'config', 'check'],
    [0, 'check', 'iam_user', '--endpoint', 'good', '--log-level', 'debug'],
    [0, 'check', 'iam_user', '--endpoint', 'good', '--json'],
    [5, 'check', 'iam_user', '--endpoint', 'unknown-ca', '--json'],
    [7, 'check', 'nobody_of_the_tests', '--endpoint', 'good'],
  ] as [code: number, ...args: string[]][]) {
    t.same(await once(start(...args, '--config', config), 'close'), [code, null], args.join(' '))
  }

  const everything = [said, ...errors, ...served].join('\n')
  t.ok(everything.length > 20_000, `${everything.length} characters were looked at`)
  const secrets = {
    'the secret access key': secretAccessKey,
    'the session token': sessionToken!.slice(0, 40),
    'a token': 'X-Amz-Credential',
    'the signature of a token': 'X-Amz-Signature',
    'a local password': LOCAL_PASSWORD,
    'a wrong password': WRONG_PASSWORD,
    'a hashed password': HASHED_PASSWORD,
    'a hash of it': hash.slice(7),
    'the admin token': ADMIN_TOKEN,
    'a private key': 'PRIVATE KEY',
  }
  for (const [name, secret] of Object.entries(secrets)) {
    for (const form of formsOf(secret)) {
      const found = everything.indexOf(form)
      t.equal(found, -1, `${name}: ${found < 0 ? 'nowhere' : everything.slice(Math.max(0, found - 200), found + 100)}`)
    }
  }
})

/** As it is, and as a Buffer with it, at any place, comes out of a log: hex, base64, JSON. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret)
  // whole groups of three bytes
  const base64 = [0, 1, 2].map(from =>
    bytes.subarray(from, bytes.length - ((bytes.length - from) % 3)).toString('base64'),
  )
  return [secret, bytes.toString('hex'), ...base64, [...bytes].join()]
}
