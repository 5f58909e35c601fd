import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { type Test, test } from 'tap'
import { checkCertificate, createLocalTls, startClientTls } from '../../src/client/tls.ts'
import { silent } from '../../src/log.ts'
import { createWire } from '../../src/net/wire.ts'
import { type CertificateOptions, createCertificate } from '../../src/x509.ts'
import { createTestClock } from '../support/clock.ts'
import { createMemoryPair, settled } from '../support/memory-pair.ts'

const RELOAD_INTERVAL_MS = 5_000

const notBefore = new Date(Date.UTC(2030, 0, 1))
const notAfter = new Date(Date.UTC(2030, 0, 31))
const host = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const pemOf = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()
const KEY = pemOf(host.privateKey)

function certificateOf(options: Partial<CertificateOptions> = {}): string {
  const { publicKey, privateKey } = host
  const names = ['localhost']
  return createCertificate({
    commonName: 'host',
    names,
    notBefore,
    notAfter,
    publicKey,
    signingKey: privateKey,
    ...options,
  })
}

/** A certificate for clients, in files; `log` holds what was logged. */
async function createFiles(t: Test) {
  const directory = await mkdtemp(join(tmpdir(), 'mysql-iam-proxy-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  const renew = async (until = notAfter) => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    await writeFile(certFile, certificateOf({ publicKey, signingKey: privateKey, notAfter: until }))
    await writeFile(keyFile, pemOf(privateKey))
  }
  await renew()
  const clock = createTestClock()
  const log: string[] = []
  const logger = {
    ...silent,
    info: ({ expires }: { expires?: string }, message: string) => void log.push(`info ${message}, until ${expires}`),
    warn: ({ code }: { code?: string }, message: string) => void log.push(`warn ${code} ${message}`),
  }
  return { keyFile, renew, clock, log, tls: await createLocalTls(certFile, keyFile, logger, clock) }
}

test('a certificate that changes is loaded at the next check', async t => {
  const { renew, clock, log, tls } = await createFiles(t)
  const first = await tls.secureContext()
  await renew()
  clock.advance(RELOAD_INTERVAL_MS - 1)
  t.equal(await tls.secureContext(), first, 'not before')
  clock.advance(1)
  const second = await tls.secureContext()
  t.not(second, first)
  t.match(log, [/^info .*cert\.pem: new certificate for clients, until 2030-01-31T00:00:00\.000Z/])
  clock.advance(RELOAD_INTERVAL_MS)
  t.equal(await tls.secureContext(), second, 'files that have not changed are not loaded again')
  await renew()
  clock.advance(RELOAD_INTERVAL_MS - 1)
  t.equal(await tls.secureContext(), second, 'the interval begins with each check')
})

test('invalid files leave the previous certificate in use, with one warning', async t => {
  const { keyFile, renew, clock, log, tls } = await createFiles(t)
  const first = await tls.secureContext()
  await writeFile(keyFile, 'half')
  for (let time = 0; time < 3; time++) {
    clock.advance(RELOAD_INTERVAL_MS)
    t.equal(await tls.secureContext(), first)
  }
  t.equal(log.length, 1)
  t.match(log[0], /^warn CONFIG_INVALID TLS key .*the previous certificate stays in use$/)
  await renew()
  clock.advance(RELOAD_INTERVAL_MS)
  t.not(await tls.secureContext(), first, 'and valid ones are loaded again')
  await writeFile(keyFile, 'half')
  clock.advance(RELOAD_INTERVAL_MS)
  await tls.secureContext()
  t.equal(log.length, 3, 'after valid ones, the same mistake gets a warning again')
})

test('the time of expiry follows new files, also if no client connects', async t => {
  const { renew, clock, tls } = await createFiles(t)
  const first = tls.expires()
  await renew(new Date(Date.UTC(2031, 0, 1)))
  clock.advance(RELOAD_INTERVAL_MS)
  t.equal(tls.expires(), first, 'it asks for the files')
  while (tls.expires() === first) await setImmediate()
  t.pass('and knows of them soon')
})

/** What is said of two files with these texts, at a time. */
async function check(t: Test, cert: string | undefined, key: string | undefined, now = Date.UTC(2030, 0, 15)) {
  const directory = mkdtempSync(join(tmpdir(), 'client-tls-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  if (cert !== undefined) writeFileSync(certFile, cert)
  if (key !== undefined) writeFileSync(keyFile, key)
  t.intercept(Date, 'now', { value: () => now })
  const { problems, context, expires, warning } = await checkCertificate(certFile, keyFile, {
    cert: 'tls-cert',
    key: 'tls-key',
  })
  const short = (text: string) => text.replaceAll(`${directory}/`, '')
  return {
    problems: problems.map(short),
    hasContext: context !== undefined,
    expires,
    warning: warning && short(warning),
  }
}

test('a certificate and its key', async t => {
  const good = { problems: [], hasContext: true, expires: notAfter.getTime(), warning: undefined }
  t.same(await check(t, certificateOf(), KEY), good)
  const trusted = certificateOf().replaceAll(' CERTIFICATE', ' TRUSTED CERTIFICATE')
  t.not((await check(t, trusted, KEY)).problems[0], 'tls-cert cert.pem: is not a certificate in PEM format')
  const sec1 = host.privateKey.export({ type: 'sec1', format: 'pem' }).toString()
  t.same(await check(t, certificateOf(), sec1), good)
})

test('the dates of the certificate, which only some clients check', async t => {
  const at = async (time: number) => {
    const { warning, hasContext } = await check(t, certificateOf(), KEY, time)
    t.ok(hasContext)
    return warning
  }
  const early = 'tls-cert cert.pem: the certificate is not valid before 2030-01-01T00:00:00.000Z'
  t.equal(await at(notBefore.getTime() - 1), early)
  t.equal(await at(notBefore.getTime()), undefined)
  t.equal(await at(notAfter.getTime() - 1), undefined)
  t.equal(await at(notAfter.getTime()), 'tls-cert cert.pem: the certificate expired on 2030-01-31T00:00:00.000Z')
})

test('what is wrong with which of the files', async t => {
  const says = async (cert: string | undefined, key: string | undefined, ...expected: RegExp[]) => {
    const { problems, hasContext } = await check(t, cert, key)
    t.equal(problems.length, expected.length, problems.join())
    t.match(problems, expected)
    t.equal(hasContext, false)
  }
  const damaged = (pem: string) => pem.replace(/\n.{64}\n/, '\n')
  const certificate = certificateOf()
  await says(undefined, undefined, /^tls-cert cert\.pem: ENOENT/, /^tls-key key\.pem: ENOENT/)
  await says(
    'text',
    'text',
    /^tls-cert cert\.pem: is not a certificate in PEM format$/,
    /^tls-key key\.pem: is not a private key in PEM format$/,
  )
  await says(
    KEY,
    certificate,
    /^tls-cert cert\.pem: is a private key, not a certificate$/,
    /^tls-key key\.pem: is a certificate, not a private key$/,
  )
  await says(
    damaged(certificate),
    damaged(KEY),
    /^tls-cert cert\.pem: is not a valid certificate \(ERR_OSSL_[A-Z0-9_]+\)$/,
    /^tls-key key\.pem: is not a valid private key \(ERR_OSSL_[A-Z0-9_]+\)$/,
  )
  await says(
    certificate,
    pemOf(other.privateKey),
    /^tls-key key\.pem: the key does not belong to the certificate cert\.pem$/,
  )
  const encrypted = host.privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
  const old = host.privateKey.export({ type: 'sec1', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
  for (const key of [encrypted, old]) {
    await says(certificate, key.toString(), /^tls-key key\.pem: the key is encrypted; use one without a passphrase$/)
  }
  const weak = generateKeyPairSync('rsa', { modulusLength: 512 })
  const weakCertificate = certificateOf({ publicKey: weak.publicKey, signingKey: weak.privateKey })
  await says(weakCertificate, pemOf(weak.privateKey), /^tls-cert cert\.pem: ERR_SSL_EE_KEY_TOO_SMALL$/)
})

test('the time of expiry, if only one of the files is valid', async t => {
  t.equal((await check(t, certificateOf(), 'text')).expires, notAfter.getTime())
  t.equal((await check(t, 'text', KEY)).expires, 0)
})

test('files that are invalid at the start', async t => {
  const directory = t.testdir({ 'cert.pem': certificateOf() })
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  await t.rejects(createLocalTls(certFile, keyFile, silent), {
    code: 'CONFIG_INVALID',
    message: /^TLS key .*key\.pem: ENOENT[^;]*$/,
  })
  await t.rejects(createLocalTls(join(directory, 'none'), keyFile, silent), {
    message: /^TLS certificate .*none: ENOENT.*; TLS key .*key\.pem: ENOENT/,
  })
})

/** The server's side of TLS with a client at the other end of `program`. */
async function startServer(t: Test) {
  const directory = t.testdir({ 'cert.pem': certificateOf(), 'key.pem': KEY })
  const clock = createTestClock(1_000)
  const tls = await createLocalTls(join(directory, 'cert.pem'), join(directory, 'key.pem'), silent, clock)
  const [socket, program] = createMemoryPair(t)
  return { clock, program, wire: createWire(socket, 'client', 8_000, clock), tls }
}

test('TLS with a client', async t => {
  const { clock, program, wire, tls } = await startServer(t)
  const starting = startClientTls(wire, tls)
  while (clock.pending() === 0) await setImmediate()
  const listeners = () => ['close', 'end'].map(event => wire.socket.listenerCount(event))
  const [close, end] = listeners()
  const client = connectTls({ socket: program, rejectUnauthorized: false, servername: 'localhost' })
  t.teardown(() => client.on('error', () => {}).destroy())
  await once(client, 'secureConnect')
  await starting
  t.ok(wire.socket instanceof TLSSocket)
  t.equal(clock.pending(), 0)
  t.same(listeners(), [close! - 1, end! - 1], 'nobody waits for the end of the handshake any more')
  client.write('login')
  if (wire.socket.readableLength === 0) await once(wire.socket, 'readable')
  t.equal(String(wire.socket.read()), 'login')
  client.end()
  await once(wire.socket.resume(), 'end')
})

test('bytes that are no TLS end the connection, also after the handshake', async t => {
  const { program, wire, tls } = await startServer(t)
  const starting = startClientTls(wire, tls)
  const client = connectTls({ socket: program, rejectUnauthorized: false, servername: 'localhost' })
  t.teardown(() => client.on('error', () => {}).destroy())
  await once(client, 'secureConnect')
  await starting
  wire.socket.resume()
  program.write(Buffer.from('170303000568656c6c6f', 'hex'))
  await t.rejects(settled(once(wire.socket, 'close')), { code: /^ERR_SSL_/ })
})

test('a client that speaks no TLS, leaves, or is silent', async t => {
  const garbage = await startServer(t)
  garbage.program.write('GET / HTTP/1.1\r\n\r\n')
  await t.rejects(settled(startClientTls(garbage.wire, garbage.tls)), {
    code: 'CLIENT_TLS_FAILED',
    message: /^TLS with the client failed: ERR_SSL_HTTP_REQUEST$/,
    cause: Error,
  })
  t.ok(garbage.wire.socket.destroyed)
  t.equal(garbage.clock.pending(), 0)

  const gone = await startServer(t)
  gone.wire.socket.destroy()
  await t.rejects(settled(startClientTls(gone.wire, gone.tls)), { code: 'CLIENT_CLOSED', message: /TLS$/ })
  t.notOk(gone.wire.socket instanceof TLSSocket)

  const leaving = await startServer(t)
  leaving.program.end()
  await t.rejects(settled(startClientTls(leaving.wire, leaving.tls)), { code: 'CLIENT_CLOSED', message: /TLS$/ })
  t.ok(leaving.wire.socket.destroyed)

  const closing = await startServer(t)
  const closed = settled(startClientTls(closing.wire, closing.tls))
  closed.catch(() => {})
  while (closing.clock.pending() === 0) await setImmediate()
  closing.wire.socket.destroy()
  await t.rejects(closed, { code: 'CLIENT_CLOSED', message: /TLS$/ })

  const silentOne = await startServer(t)
  const outcome = settled(startClientTls(silentOne.wire, silentOne.tls))
  outcome.catch(() => {})
  while (silentOne.clock.pending() === 0) await setImmediate()
  silentOne.clock.advance(7_999)
  await setImmediate()
  t.notOk(silentOne.wire.socket.destroyed)
  silentOne.clock.advance(1)
  await t.rejects(outcome, { code: 'CLIENT_TIMEOUT', message: /TLS$/ })
  t.ok(silentOne.wire.socket.destroyed)
})
