/** startTls() against a server in the same process; on a clock that stands still. */
import { once } from 'node:events'
import { join } from 'node:path'
import { TLSSocket, type TLSSocketOptions } from 'node:tls'
import { type Test, test } from 'tap'
import type { ConfirmMember } from '../../src/aws/global-members.ts'
import { type Certificate, createAuthority, type IssueOptions } from '../../src/demo/certificates.ts'
import { createWire } from '../../src/net/wire.ts'
import { createRegionBundle } from '../../src/upstream/region-bundle.ts'
import { namesOf, startTls } from '../../src/upstream/tls.ts'
import { createTrust, type Trust } from '../../src/upstream/trust.ts'
import { createTestClock } from '../support/clock.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'
import { socketPair } from '../support/socket-pair.ts'

const NAME = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const DAY_MS = 86_400_000
const authority = await createAuthority('Test CA')
const good = await authority.issue({ names: [NAME] })

/** A connection to a server that waits for TLS: our end, and the server's. */
async function connect(t: Test, otherTrust?: Trust) {
  const clock = createTestClock()
  const [server, socket] = await socketPair(t)
  server.on('error', () => {})
  const wire = createWire(socket, 'upstream', 5_000, clock)
  const trust = otherTrust ?? createTrust([authority.certificate], false, clock)
  const dial = { host: '10.0.0.1', port: 3306 }
  return {
    clock,
    wire,
    server,
    start: (host = NAME, confirm?: ConfirmMember) => startTls(wire, { rds: { host }, dial }, trust, confirm),
    accept: ({ certificate, key }: Certificate, options: TLSSocketOptions = {}) => {
      const tls = new TLSSocket(server, { isServer: true, cert: certificate, key, ...options })
      tls.on('error', () => {}).resume()
      return tls
    },
  }
}

test('whether a certificate is confirmed is asked within the time of the login', async t => {
  const { clock, start, accept } = await connect(t)
  accept(good)
  let ask: (names: readonly string[]) => void = () => {}
  const asked = new Promise<readonly string[]>(resolve => {
    ask = resolve
  })
  const started = start('other.example', names => {
    ask(names)
    return new Promise(() => {}) // RDS never answers
  })
  t.same(await asked, [NAME])
  clock.advance(24 * 3_600_000)
  await t.rejects(started, { code: 'UPSTREAM_TIMEOUT' })
  t.equal(clock.pending(), 0, 'no timer stays')
})

test('a verified server: no timer and no listener stays', async t => {
  const { clock, wire, start, accept } = await connect(t)
  const tls = accept(good)
  await start()
  t.ok(wire.socket instanceof TLSSocket && wire.socket.authorized)
  t.equal(tls.servername, NAME)
  t.equal(clock.pending(), 0)
  const isOurs = ({ name }: { name: string }) => name === 'onClose'
  t.same((wire.socket.listeners('close') as { name: string }[]).filter(isOurs), [])
  const isOnce = (listener: object) => 'listener' in listener
  t.same(wire.socket.rawListeners('error').filter(isOnce), [])
})

test('a session is resumed, but not behind a global endpoint, whose region is read from each certificate', async t => {
  let asked = 0
  const trust = createTrust([authority.certificate], false)
  const counting: Trust = {
    ...trust,
    session: () => {
      asked++
      return undefined
    },
  }
  for (const [host, times] of [
    [NAME, 1],
    ['shop.global-abcdefghijkl.global.rds.amazonaws.com', 0],
  ] as const) {
    const { start, accept } = await connect(t, counting)
    accept(await authority.issue({ names: [host] }))
    asked = 0
    await start(host)
    t.equal(asked, times, host)
  }
})

test('changed authorities may take half of the time that is left', async t => {
  const times: number[] = []
  const trust = createTrust([authority.certificate], false)
  const { clock, start, accept } = await connect(t, { ...trust, refresh: async time => void times.push(time) })
  accept(good)
  clock.advance(1_000)
  await start()
  t.same(times, [2_000])
})

test('an IP address is verified, and not sent as a server name', async t => {
  const { start, accept } = await connect(t)
  const tls = accept(await authority.issue({ names: ['10.0.0.9'] }))
  await start('10.0.0.9')
  t.notOk(tls.servername)
})

const invalid: [name: string, options: Partial<IssueOptions>, code: string, message: string | RegExp][] = [
  [
    'of another name',
    { names: ['other.example.com'] },
    'TLS_WRONG_NAME',
    `the certificate of the server behind 10.0.0.1:3306 does not name ${NAME}, it names DNS:other.example.com`,
  ],
  [
    'of many names',
    { names: [1, 2, 3].map(number => `${'n'.repeat(60)}.x${number}.example.com`) },
    'TLS_WRONG_NAME',
    /, it names (?=DNS:n).{120}$/,
  ],
  [
    'that has expired',
    { notBefore: new Date(Date.now() - 9 * DAY_MS), notAfter: new Date(Date.now() - DAY_MS) },
    'TLS_EXPIRED',
    `the certificate of ${NAME} has expired or is not valid yet (CERT_HAS_EXPIRED)`,
  ],
  [
    'that is not valid yet',
    { notBefore: new Date(Date.now() + DAY_MS), notAfter: new Date(Date.now() + 9 * DAY_MS) },
    'TLS_EXPIRED',
    `the certificate of ${NAME} has expired or is not valid yet (CERT_NOT_YET_VALID)`,
  ],
]

for (const [name, options, code, message] of invalid) {
  test(`a certificate ${name}`, async t => {
    const { clock, wire, start, accept } = await connect(t)
    const tls = accept(await authority.issue({ names: [NAME], ...options }))
    const isSecure = once(tls, 'secure')
    await t.rejects(start(), { code, message })
    await isSecure
    t.ok(wire.socket instanceof TLSSocket && !wire.socket.destroyed, 'the handshake is not broken off')
    t.equal(clock.pending(), 0)
  })
}

test('a certificate of an unknown authority', async t => {
  const { start, accept } = await connect(t)
  accept(await (await createAuthority('somebody else')).issue({ names: [NAME] }))
  const message = `the certificate of ${NAME} was not issued by a trusted CA (UNABLE_TO_VERIFY_LEAF_SIGNATURE)`
  await t.rejects(start(), { code: 'TLS_UNKNOWN_CA', message })
})

test('a CA of a region that is not built in: with auto, the proxy downloads it, and the next login works', async t => {
  const region = 'ca-west-1'
  const host = `database-1.abcdefghijkl.${region}.rds.amazonaws.com`
  const rds = createRdsAuthority(region)
  const downloads: ((text: string) => void)[] = []
  const bundle = createRegionBundle({
    region,
    mode: 'auto',
    folder: join(t.testdir(), 'cache'),
    fetchBundle: () => new Promise(resolve => downloads.push(resolve)),
  })
  const trust = createTrust([], false, createTestClock(), bundle)
  const first = await connect(t, trust)
  first.accept(rds.issue(host))
  const because = `(UNABLE_TO_VERIFY_LEAF_SIGNATURE); the proxy is downloading the CA certificates of ${region}`
  const message = `the certificate of ${host} was not issued by a trusted CA ${because}`
  await t.rejects(first.start(host), { code: 'TLS_UNKNOWN_CA', message })

  const second = await connect(t, trust)
  second.accept(rds.issue(host))
  const verified = second.start(host)
  downloads[0]!(rds.root)
  await verified
  t.ok(second.wire.socket instanceof TLSSocket && second.wire.socket.authorized)
  t.equal(downloads.length, 1)
})

test('plaintext that arrives while a login waits for a download', async t => {
  let finish = () => {}
  const refreshing = new Promise<void>(resolve => {
    finish = resolve
  })
  const trust = { ...createTrust([authority.certificate], false), refresh: () => refreshing }
  const { wire, server, start } = await connect(t, trust)
  const outcome = t.rejects(start(), { code: 'TLS_PLAINTEXT_INJECTED' })
  const isThere = once(wire.socket.pause(), 'readable')
  server.write(Buffer.of(0))
  await isThere
  finish()
  await outcome
})

test('a server that does not speak TLS, or not the same', async t => {
  const plain = await connect(t)
  plain.server.write('HTTP/1.1 400 Bad Request\r\n\r\n')
  await once(plain.wire.socket.pause(), 'readable')
  await t.rejects(plain.start(), { code: 'TLS_PLAINTEXT_INJECTED' })

  const late = await connect(t)
  late.server.once('data', () => late.server.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
  const message = /^TLS with 10\.0\.0\.1:3306 failed: (wrong version number|packet length too long)$/
  await t.rejects(late.start(), { code: 'TLS_FAILED', message })

  const { server, start } = await connect(t)
  server.once('data', () => server.write(Buffer.from('15030300020228', 'hex')))
  await t.rejects(start(), { code: 'TLS_FAILED', message: /: (ssl\/tls|sslv3) alert handshake failure$/ })
})

test('a single byte of plaintext before TLS', async t => {
  const { wire, server, start } = await connect(t)
  const isThere = once(wire.socket.pause(), 'readable')
  server.write(Buffer.of(0))
  await isThere
  await t.rejects(start(), { code: 'TLS_PLAINTEXT_INJECTED' })
})

test('a connection that has ended before TLS, or is destroyed', async t => {
  const ended = await connect(t)
  ended.server.end()
  await once(ended.wire.socket.resume(), 'end')
  t.notOk(ended.wire.socket.destroyed)
  const error = { code: 'UPSTREAM_CLOSED', message: /while waiting for TLS/ }
  await t.rejects(ended.start(), error)
  const destroyed = await connect(t)
  destroyed.wire.socket.destroy()
  await t.rejects(destroyed.start(), error)
})

test('a connection that closes during TLS, by whatever error', async t => {
  for (const code of ['ECONNRESET', 'EPIPE']) {
    const { clock, wire, server, start } = await connect(t)
    const outcome = t.rejects(start(), { code: 'UPSTREAM_CLOSED', message: /while waiting for TLS/ }, code)
    await once(server, 'data')
    wire.socket.destroy(Object.assign(new Error('gone'), { code }))
    await outcome
    t.equal(clock.pending(), 0)
  }
  const { wire, server, start } = await connect(t)
  const outcome = t.rejects(start(), { code: 'UPSTREAM_CLOSED', message: /while waiting for TLS/ }, 'no error')
  await once(server, 'data')
  wire.socket.destroy()
  await outcome
})

test('a chain that leads to no trusted CA, by whatever code of OpenSSL', async t => {
  for (const code of [
    'SELF_SIGNED_CERT_IN_CHAIN',
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'UNABLE_TO_GET_ISSUER_CERT',
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  ]) {
    const { wire, server, start } = await connect(t)
    const outcome = t.rejects(start(), { code: 'TLS_UNKNOWN_CA' }, code)
    await once(server, 'data')
    wire.socket.destroy(Object.assign(new Error('not trusted'), { code }))
    await outcome
  }
})

test('an error of the system during TLS', async t => {
  const { wire, server, start } = await connect(t)
  const outcome = t.rejects(start(), { code: 'TLS_FAILED', message: 'TLS with 10.0.0.1:3306 failed: EHOSTUNREACH' })
  await once(server, 'data')
  wire.socket.destroy(Object.assign(new Error('gone'), { code: 'EHOSTUNREACH' }))
  await outcome
  const other = await connect(t)
  const second = t.rejects(other.start(), { code: 'TLS_FAILED', message: 'TLS with 10.0.0.1:3306 failed: gone' })
  await once(other.server, 'data')
  other.wire.socket.destroy(new Error('gone'))
  await second
})

test('TLS takes at most the time of the login', async t => {
  const { clock, server, start } = await connect(t)
  const outcome = t.rejects(start(), { code: 'UPSTREAM_TIMEOUT', message: /while waiting for TLS/ })
  await once(server, 'data')
  clock.advance(5_000)
  await outcome
})

test('the names on a certificate are those that Node.js verifies', t => {
  const names = (subjectaltname: string | undefined, ...CN: string[]) =>
    namesOf({ subjectaltname, subject: { CN } } as unknown as Parameters<typeof namesOf>[0])
  t.same(names('DNS:a.example, IP Address:10.0.0.1, DNS:*.b.example'), ['a.example', '*.b.example'])
  // Node.js quotes a name with a comma, so that it does not look like two.
  t.same(names('URI:"http://a/, DNS:other.example, x\\"y, DNS:z", DNS:a.example'), ['a.example'])
  t.same(names('DNS:"a.example, DNS:other.example"'), [])
  t.same(names('DNS:a.example', 'other.example'), ['a.example'], 'the common name does not count beside others')
  t.same(names(undefined, 'a.example'), ['a.example'])
  t.end()
})
