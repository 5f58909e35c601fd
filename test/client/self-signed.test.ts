/** TLS to clients with the certificate that the proxy makes. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls, createServer, type PeerCertificate } from 'node:tls'
import type mysql from 'mysql2/promise'
import { type Test, test } from 'tap'
import { createSelfSignedTls } from '../../src/client/self-signed.ts'
import type { LocalTls } from '../../src/client/tls.ts'
import { CLIENT_SSL, has } from '../../src/protocol/capabilities.ts'
import { connect, connectRaw, startProxy, value } from '../support/raw-client.ts'
import { testOnEachServer } from '../support/servers.ts'

const DAY_MS = 24 * 3_600_000

/** What a TLS client sees of the certificate. */
async function certificateOf(t: Test, tls: LocalTls): Promise<PeerCertificate> {
  const context = await tls.secureContext()
  const server = createServer({ SNICallback: (_name, done) => done(null, context) })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  return await new Promise((resolve, reject) => {
    const socket = connectTls({ port, host: '127.0.0.1', servername: 'x', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate())
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

test('an ECDSA certificate for this machine, of today', async t => {
  const now = Date.UTC(2031, 4, 6)
  const { subject, subjectaltname, asn1Curve, valid_from, valid_to } = await certificateOf(
    t,
    createSelfSignedTls(() => now),
  )
  t.equal(subject.CN, 'localhost')
  t.equal(subjectaltname, 'DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1')
  t.equal(asn1Curve, 'prime256v1')
  t.equal(Date.parse(valid_from), now - DAY_MS, 'also for a client with a slow clock')
  t.equal(Date.parse(valid_to), now + 365 * DAY_MS)
})

test('it is made once, and another one a month before it expires', async t => {
  let now = Date.UTC(2031, 4, 6)
  const tls = createSelfSignedTls(() => now)
  const first = tls.secureContext()
  t.equal(tls.secureContext(), first, 'two clients at the same time')
  now += 335 * DAY_MS - 1
  t.equal(tls.secureContext(), first)
  now += 1
  const second = tls.secureContext()
  t.not(second, first)
  t.not(await second, await first)
  t.equal(tls.secureContext(), second)
  t.equal(tls.expires(), undefined, 'nothing for an alarm')
})

test('a clock that was set back gets another one', async t => {
  let now = Date.UTC(2031, 4, 6)
  const tls = createSelfSignedTls(() => now)
  const first = tls.secureContext()
  now -= DAY_MS / 2
  t.equal(tls.secureContext(), first)
  now -= 1
  t.not(tls.secureContext(), first)
})

/** Whether the session uses TLS between client and proxy; throws if the login fails. */
async function isEncrypted(login: Promise<mysql.Connection>): Promise<boolean> {
  const connection = await login
  const text = 'ü'.repeat(100_000)
  if ((await value(connection, 'SELECT ?', [text])) !== text) throw new Error('not the same text')
  const { stream } = (connection as unknown as { connection: { stream: { encrypted?: boolean } } }).connection
  const result = stream.encrypted === true
  await connection.end()
  return result
}

testOnEachServer('a client with SSL on, one without, and one that verifies', async (t, server) => {
  for (const localUsers of [undefined, [{ name: 'local', password: 'x y', user: 'iam_user' }]]) {
    const proxy = await startProxy(t, server, { localUsers })
    const account = localUsers ? { user: 'local', password: 'x y' } : {}
    const ssl = { rejectUnauthorized: false }
    t.ok(await isEncrypted(connect(proxy, { ...account, ssl })), 'TLS')
    t.notOk(await isEncrypted(connect(proxy, account)), 'no TLS')
    await t.rejects(connect(proxy, { ...account, ssl: {} }), { message: /self-signed certificate/ })
  }
})

testOnEachServer('a unix socket offers TLS as well, as a server does', async (t, server) => {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const socketPath = join(directory, 'proxy.sock')
  const proxy = await startProxy(t, server, { listen: `unix:${socketPath}` })
  t.ok(await isEncrypted(connect(proxy, { socketPath, ssl: { rejectUnauthorized: false } })))
  t.notOk(await isEncrypted(connect(proxy, { socketPath })))
  t.ok(
    await isEncrypted(connect(server, { socketPath: server.socketPath, ...APP, ssl: { ca: server.ca } })),
    'directly',
  )
})

const APP = { user: 'app', password: 'app-pw' }

testOnEachServer('localTls off offers none, and requireTls needs no files', async (t, server) => {
  const off = await connectRaw(await startProxy(t, server, { localTls: 'off' }))
  t.notOk(has(off.greeting.capabilities, CLIENT_SSL))
  off.socket.destroy()
  const required = await startProxy(t, server, { requireTls: true })
  t.ok(await isEncrypted(connect(required, { ssl: { rejectUnauthorized: false } })))
  await t.rejects(connect(required), { message: /TLS connections only/ })
})
