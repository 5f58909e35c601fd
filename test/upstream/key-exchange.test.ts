/** Key shares that the server takes: counted in the bytes of real handshakes. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { createServer, type TlsOptions } from 'node:tls'
import { type Test, test } from 'tap'
import { createAuthority } from '../../src/demo/certificates.ts'
import { createWire } from '../../src/net/wire.ts'
import { groupOf, groupsFrom } from '../../src/upstream/key-exchange.ts'
import { startTls } from '../../src/upstream/tls.ts'
import { createTrust, type Trust } from '../../src/upstream/trust.ts'

const NAME = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const authority = await createAuthority('Test CA')
const { certificate: cert, key } = await authority.issue({ names: [NAME] })

/** The random of a ServerHello that is a HelloRetryRequest. https://www.rfc-editor.org/rfc/rfc8446#section-4.1.3 */
const RETRY = Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex')

/** Logs in over TLS to a server with these groups. Each login: whether it was resumed, and the server's HelloRetryRequests. */
async function serve(t: Test, options: TlsOptions) {
  const server = createServer({ key, cert, ...options }, socket => socket.on('error', () => {}).end('hello'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const bytes: Buffer[] = []
  const recorder = createTcpServer(near => {
    const far = connect(port, '127.0.0.1').on('error', () => {})
    far.on('data', chunk => bytes.push(chunk))
    near.on('error', () => far.destroy())
    near.pipe(far).pipe(near)
  }).listen(0, '127.0.0.1')
  await once(recorder, 'listening')
  const address = recorder.address() as AddressInfo
  t.teardown(() => {
    server.close()
    recorder.close()
  })
  return async (trust: Trust) => {
    bytes.length = 0
    const socket = connect(address.port, '127.0.0.1')
    await once(socket, 'connect')
    const wire = createWire(socket, 'upstream', 120_000)
    const dial = { host: '127.0.0.1', port: address.port }
    await startTls(wire, { rds: { host: NAME }, dial }, trust)
    const { socket: tls } = wire as unknown as { socket: import('node:tls').TLSSocket }
    const result = { reused: tls.isSessionReused(), group: groupOf(tls), retries: 0 }
    tls.resume()
    await once(tls, 'close')
    const received = Buffer.concat(bytes)
    for (let at = received.indexOf(RETRY); at >= 0; at = received.indexOf(RETRY, at + 1)) result.retries++
    return result
  }
}

const createTestTrust = () => createTrust([authority.certificate], true)

test('a server with the curves of MySQL takes the first key share, at the first login too', async t => {
  const logIn = await serve(t, { ecdhCurve: 'P-256:P-384:P-521' })
  const trust = createTestTrust()
  t.same(await logIn(trust), { reused: false, group: 'prime256v1', retries: 0 })
  for (let round = 0; round < 2; round++) {
    t.same(await logIn(trust), { reused: true, group: 'prime256v1', retries: 0 })
  }
})

for (const [ecdhCurve, group] of [
  ['X25519', 'X25519'],
  ['P-384', 'secp384r1'],
  ['P-521', 'secp521r1'],
  ['ffdhe3072', 'ffdhe3072'],
  ['X25519MLKEM768', 'X25519MLKEM768'],
] as const) {
  const isSupported = groupsFrom('prime256v1').includes(group)
  test(`a server that knows ${ecdhCurve} alone: its later logins have that key share`, async t => {
    if (!isSupported) {
      t.notOk(process.versions.openssl.startsWith('3.5'), 'this OpenSSL does not have it')
      return
    }
    const logIn = await serve(t, { ecdhCurve })
    const trust = createTestTrust()
    t.same(await logIn(trust), { reused: false, group, retries: 1 })
    for (let round = 0; round < 2; round++) t.same(await logIn(trust), { reused: true, group, retries: 0 })
  })
}

test('a server that prefers another group gets it', async t => {
  const logIn = await serve(t, {})
  const trust = createTestTrust()
  const first = await logIn(trust)
  // As a server, OpenSSL 3.5 prefers ML-KEM, and 3.0 takes the first share that it supports.
  const prefers = groupsFrom('X25519').includes('X25519MLKEM768')
  t.equal(first.group, prefers ? 'X25519MLKEM768' : 'prime256v1')
  t.match(await logIn(trust), { group: first.group, retries: 0 })
})

test('a session is resumed after the server has changed its group, and the contexts are kept', async t => {
  const ticketKeys = Buffer.alloc(48, 1)
  const [one, other] = [
    await serve(t, { ecdhCurve: 'P-256', ticketKeys }),
    await serve(t, { ecdhCurve: 'P-384', ticketKeys }),
  ]
  const trust = createTestTrust()
  t.same(await one(trust), { reused: false, group: 'prime256v1', retries: 0 })
  const first = trust.secureContext()
  t.same(await other(trust), { reused: true, group: 'secp384r1', retries: 1 })
  const second = trust.secureContext()
  t.not(second, first)
  t.same(await other(trust), { reused: true, group: 'secp384r1', retries: 0 })
  t.same(await one(trust), { reused: true, group: 'prime256v1', retries: 1 })
  t.equal(trust.secureContext(), first, 'not built again')
})

test('TLS 1.2 has no key share: its group changes nothing', async t => {
  const logIn = await serve(t, { ecdhCurve: 'P-384', maxVersion: 'TLSv1.2' })
  const trust = createTestTrust()
  const context = trust.secureContext()
  t.same(await logIn(trust), { reused: false, group: undefined, retries: 0 })
  t.equal(trust.secureContext(), context)
  t.same(await logIn(trust), { reused: true, group: undefined, retries: 0 })
})

test('no group is lost', t => {
  const groups = groupsFrom('prime256v1').split(':')
  for (const group of ['X25519', 'prime256v1', 'X448', 'secp384r1', 'secp521r1', 'ffdhe2048', 'ffdhe3072']) {
    t.ok(groups.includes(group), group)
  }
  t.same(groupsFrom('X448').split(':').toSorted(), groups.toSorted(), 'whichever is first')
  t.equal(groupsFrom('X448').split(':')[0], 'X448')
  t.end()
})

test('a group that is unknown here', t => {
  const used = (info: object | null) =>
    groupOf({ getProtocol: () => 'TLSv1.3', getEphemeralKeyInfo: () => info as never })
  t.equal(used({ type: 'ECDH', name: 'brainpoolP256r1', size: 256 }), undefined)
  t.equal(used({ type: 'DH', size: 1024 }), undefined)
  const mlkem = groupsFrom('X25519').includes('X25519MLKEM768') ? 'X25519MLKEM768' : undefined
  t.equal(used({}), mlkem)
  t.equal(used(null), mlkem)
  t.end()
})
