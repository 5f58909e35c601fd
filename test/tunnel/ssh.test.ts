/** The option tunnel with a real ssh -L to a real sshd, before a real server. */
import { readdir, readFile } from 'node:fs/promises'
import mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import type { ProxyOptions } from '../../src/index.ts'
import { type RealServer, realServer, startMariadb } from '../support/mariadb.ts'
import { startProxy, type TestProxy } from '../support/proxy.ts'
import { until, value } from '../support/raw-client.ts'
import { type Sshd, startSshd } from '../support/sshd.ts'

async function startTunnelled(
  t: Test,
  server: RealServer,
  sshd: Sshd,
  more: Partial<ProxyOptions> = {},
): Promise<TestProxy> {
  return await startProxy(t, {
    rdsEndpoint: `${server.rdsHost}:${server.rdsPort}`,
    connect: `${server.host}:${server.port}`,
    tunnel: sshd.command(),
    tunnelTimeout: 120_000,
    credentials: server.keys.longTerm,
    ca: [server.ca],
    user: 'iam_user',
    ...more,
  })
}

const connect = ({ address }: TestProxy) =>
  mysql.createConnection({ host: address.host, port: address.port, user: 'iam_user', connectTimeout: 120_000 })

async function logIn(proxy: TestProxy): Promise<string> {
  const connection = await connect(proxy)
  const user = String(await value(connection, 'SELECT CURRENT_USER()'))
  await connection.end()
  return user
}

/** The ssh processes whose command line has `text`. */
async function sshPids(text: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter(name => /^\d+$/.test(name)).map(Number)
  const found = await Promise.all(
    pids.map(async pid => {
      const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
      return words[0]?.endsWith('/ssh') && words.join(' ').includes(text)
    }),
  )
  return pids.filter((_pid, index) => found[index])
}

const tunnelOf = ({ proxy }: TestProxy) => proxy.state.tunnel!
const linesOf = ({ log }: TestProxy) => log.map(({ message }) => message)

async function failureOf(work: Promise<unknown>): Promise<{ errno?: number; message: string }> {
  return await work.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: Error) => error,
  )
}

test('ssh -L: many first clients at once start one tunnel, and all log in with a token of the RDS endpoint', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const proxy = await startTunnelled(t, server, sshd)
  t.same(await sshPids(sshd.directory), [], 'none before the first client')
  t.equal(tunnelOf(proxy).word, 'idle')
  const errorsBefore = await server.query('SHOW GLOBAL STATUS LIKE "Aborted_connects%"')
  const users = await Promise.all(Array.from({ length: 12 }, () => logIn(proxy)))
  t.same([...new Set(users)], ['iam_user@%'])
  t.equal((await sshPids(sshd.directory)).length, 1)
  t.match(tunnelOf(proxy), { word: 'open', restarts: 0, name: 'the tunnel command ssh' })
  t.equal(linesOf(proxy).filter(line => /^the tunnel to .* is open$/.test(line)).length, 1)
  t.same(await server.query('SHOW GLOBAL STATUS LIKE "Aborted_connects%"'), errorsBefore, 'no connection error')

  await proxy.proxy.close()
  await until('ssh has ended', async () => (await sshPids(sshd.directory)).length === 0)
  t.equal(tunnelOf(proxy).word, 'idle')
})

test('ssh -L: a killed ssh ends its sessions with TUNNEL_LOST, and the next login works', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const proxy = await startTunnelled(t, server, sshd)
  const session = await connect(proxy)
  const failed = failureOf(session.query('SELECT SLEEP(600)'))
  await until('the query runs', () => proxy.proxy.state.sessions.size === 1 && tunnelOf(proxy).word === 'open')
  const [pid] = await sshPids(sshd.directory)
  process.kill(pid!, 'SIGKILL')
  t.match((await failed).message, /closed|lost|ECONNRESET/i)
  await until('the loss is in the log', () => linesOf(proxy).some(line => /was ended by SIGKILL/.test(line)))
  await until('the session has ended', () => proxy.log.some(({ message }) => message === 'session ended'))
  const ended = proxy.log.find(({ message }) => message === 'session ended')
  t.equal(ended?.fields['endedBy'], 'TUNNEL_LOST')
  t.equal(await logIn(proxy), 'iam_user@%')
  t.not((await sshPids(sshd.directory))[0], pid)
  t.equal(tunnelOf(proxy).restarts, 1)
  session.destroy()
})

test('ssh -L: an sshd that goes and comes back: errors say why, then logins work', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const proxy = await startTunnelled(t, server, sshd)
  await logIn(proxy)
  await sshd.stop()
  await until('the tunnel is lost', () => tunnelOf(proxy).word !== 'open')
  const error = await failureOf(logIn(proxy))
  t.match(error, { errno: 1042, message: /the tunnel command ssh ended with exit code 255: .*Connection refused/ })
  await sshd.start()
  await until('a login works', async () => (await logIn(proxy).catch(() => '')) === 'iam_user@%')
  t.equal(tunnelOf(proxy).word, 'open')
  t.ok(tunnelOf(proxy).restarts > 0)
})

test('ssh -L: it ends after the idle time, and starts again with the next client', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const proxy = await startTunnelled(t, server, sshd, { tunnelIdleTimeout: 50 })
  await logIn(proxy)
  await until('ssh has ended', async () => (await sshPids(sshd.directory)).length === 0)
  t.equal(tunnelOf(proxy).word, 'idle')
  t.ok(linesOf(proxy).some(line => /ends: nothing uses it$/.test(line)))
  t.equal(await logIn(proxy), 'iam_user@%')
  t.equal(tunnelOf(proxy).restarts, 0)
})

test('ssh -L: with --tunnel-idle-timeout 0s it opens with the proxy, and its first connection is no connection error', async t => {
  const [server, sshd] = [await startMariadb(), await startSshd(t)]
  t.teardown(() => server.stop())
  const errors = async () => await server.query('SHOW GLOBAL STATUS LIKE "Aborted_connects%"')
  const before = JSON.stringify(await errors())
  const proxy = await startTunnelled(t, server, sshd, { tunnelIdleTimeout: 0 })
  await until('it is open', () => tunnelOf(proxy).word === 'open')
  t.equal(await logIn(proxy), 'iam_user@%')
  const blocked = await server.query(
    'SELECT COUNT(*) AS n FROM performance_schema.host_cache WHERE SUM_CONNECT_ERRORS > 0',
  )
  t.same(blocked, [{ n: 0 }])
  t.comment(before, JSON.stringify(await errors()))
})

test('ssh -L: the far end cannot reach the database: the error has the words of ssh', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const proxy = await startTunnelled(t, server, sshd, { connect: '127.0.0.1:1' })
  const error = await failureOf(logIn(proxy))
  t.match(error, {
    errno: 1042,
    message:
      /the tunnel to 127\.0\.0\.1:1 accepted the connection and closed it before the greeting: .*open failed.*refused/,
  })
  t.ok(linesOf(proxy).some(line => /^tunnel: channel \d+: open failed/.test(line)))
})

test('ssh -L: what goes wrong at the start, and what to do', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const cases: [name: string, tunnel: string, message: RegExp][] = [
    [
      'an unknown host key',
      sshd.command('-o UserKnownHostsFile=/dev/null'),
      /255: Host key verification failed\. Connect to that host once by hand/,
    ],
    [
      'a wrong key',
      sshd.command().replace(`${sshd.directory}/user `, `${sshd.directory}/other `),
      /255: .*Permission denied \(publickey\)\. The host refused the login of the tunnel/,
    ],
    [
      'no such program',
      'mysql-iam-proxy-no-such-program {localPort}',
      /cannot be started: .*not found\. Install the program/,
    ],
    [
      'it ends at once',
      "sh -c 'echo said something; exit 3' {localPort}",
      /the tunnel command sh ended with exit code 3: said something\. Run the command/,
    ],
  ]
  for (const [name, tunnel, message] of cases) {
    const proxy = await startTunnelled(t, server, sshd, { tunnel })
    const error = await failureOf(logIn(proxy))
    t.match(error.message, message, name)
    t.equal(tunnelOf(proxy).word, 'failed')
  }
})

test('a command that asks for a password is stopped, and the error says how to avoid it', async t => {
  const [server, sshd] = [await realServer(t), await startSshd(t)]
  const tunnel = `sh -c 'printf "bob@bastion password: "; sleep 600' {localPort}`
  const proxy = await startTunnelled(t, server, sshd, { tunnel, tunnelTimeout: 500 })
  const error = await failureOf(logIn(proxy))
  t.match(error, { errno: 1042, message: /within 0\.5 s: bob@bastion password:\. .*-o BatchMode=yes/ })
})
