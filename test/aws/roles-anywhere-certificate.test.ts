/** The files of IAM Roles Anywhere: what is read, and what is refused before AWS sees it. No program and no server runs. */
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { expiryOf, type Identity, nameOf, readIdentity } from '../../src/aws/roles-anywhere-certificate.ts'
import type { RolesAnywhereOptions } from '../../src/aws/roles-anywhere-options.ts'
import { type CertificateOptions, createCertificate } from '../../src/x509.ts'

const notBefore = new Date(Date.UTC(2030, 0, 1))
const notAfter = new Date(Date.UTC(2030, 0, 31))
const NOW = Date.UTC(2030, 0, 15)

const host = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })

function certificateOf(commonName: string, options: Partial<CertificateOptions> = {}): string {
  const { publicKey, privateKey } = host
  return createCertificate({ commonName, notBefore, notAfter, publicKey, signingKey: privateKey, ...options })
}

const pemOf = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString()
const encrypted = host.privateKey
  .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'hunter2' })
  .toString()

interface Texts {
  certificate?: string
  key?: string
  passphrase?: string
  intermediates?: string
}

/** Reads files with these texts. */
async function read(t: Test, texts: Texts = {}, now = NOW): Promise<Identity> {
  const directory = mkdtempSync(join(tmpdir(), 'roles-anywhere-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const write = (name: string, text: string | undefined) => {
    if (text === undefined) return undefined
    writeFileSync(join(directory, name), text)
    return join(directory, name)
  }
  const options = {
    certificateFile: write('host.pem', texts.certificate ?? certificateOf('host')),
    keyFile: write('host.key', texts.key ?? pemOf(host.privateKey)),
    keyPassphraseFile: write('passphrase', texts.passphrase),
    intermediatesFile: write('intermediates.pem', texts.intermediates),
  }
  return await readIdentity(options as unknown as RolesAnywhereOptions, now)
}

async function refused(t: Test, texts: Texts, file: string, problem: string, now = NOW): Promise<void> {
  const error: Error = await read(t, texts, now).then(
    () => new Error('accepted'),
    thrown => thrown,
  )
  t.match(error, { name: 'ProxyError', code: 'CREDENTIALS_CERTIFICATE_INVALID' }, problem)
  t.match(error.message, /^IAM Roles Anywhere: \//)
  t.ok(error.message.endsWith(`/${file}: ${problem}`), error.message)
  t.notMatch(`${error.message} ${error.cause}`, /hunter2|PRIVATE KEY/)
}

const names = (certificates: readonly X509Certificate[]) => certificates.map(nameOf)

test('a certificate and its key', async t => {
  const { certificate, key, intermediates } = await read(t)
  t.equal(nameOf(certificate), 'CN=host')
  t.equal(expiryOf(certificate), notAfter.getTime())
  t.ok(key.equals(host.privateKey))
  t.same(intermediates, [])
})

test('intermediates, from both files, each once', async t => {
  const [first, second, third] = ['first', 'second', 'third'].map(name => certificateOf(name, { isAuthority: true }))
  const certificate = `Bag attributes\n${certificateOf('host')}${first}${second}`
  const found = await read(t, { certificate, intermediates: `# ours\r\n${second}\r\n${third}` })
  t.equal(nameOf(found.certificate), 'CN=host')
  t.same(names(found.intermediates), ['CN=first', 'CN=second', 'CN=third'])
  await refused(t, { intermediates: 'none' }, 'intermediates.pem', 'has no PEM certificate')
})

test('a file that is not there', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'roles-anywhere-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'host.pem'), certificateOf('host'))
  writeFileSync(join(directory, 'host.key'), pemOf(host.privateKey))
  const files = { certificateFile: join(directory, 'host.pem'), keyFile: join(directory, 'host.key') }
  for (const option of ['certificateFile', 'keyFile', 'keyPassphraseFile', 'intermediatesFile']) {
    const options = { ...files, [option]: '/no-such-file' } as unknown as RolesAnywhereOptions
    await t.rejects(readIdentity(options, NOW), {
      code: 'CREDENTIALS_CERTIFICATE_INVALID',
      message: 'IAM Roles Anywhere: /no-such-file: cannot be read: ENOENT',
      cause: { code: 'ENOENT' },
    })
  }
})

test('a file without a certificate, or with a damaged one', async t => {
  await refused(t, { certificate: pemOf(host.privateKey) }, 'host.pem', 'has no PEM certificate')
  const damaged = certificateOf('host').replace(/\n.{64}\n/, '\n')
  await refused(t, { certificate: damaged }, 'host.pem', 'has a certificate that is damaged')
})

test('keys', async t => {
  await refused(t, { key: 'hunter2' }, 'host.key', 'has no PEM private key')
  await refused(t, { key: certificateOf('host') }, 'host.key', 'has no PEM private key')
  await refused(t, { key: encrypted }, 'host.key', 'is encrypted; give its passphrase in a file')
  await refused(t, { key: encrypted, passphrase: 'other' }, 'host.key', 'does not open with this passphrase')
  await refused(t, { key: 'none', passphrase: 'other' }, 'host.key', 'has no PEM private key')
  for (const key of [encrypted, pemOf(host.privateKey)]) {
    const identity = await read(t, { key, passphrase: 'hunter2\nanother line' })
    t.ok(identity.key.equals(host.privateKey))
  }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const certificate = certificateOf('host', { publicKey: rsa.publicKey })
  t.equal((await read(t, { certificate, key: pemOf(rsa.privateKey) })).key.asymmetricKeyType, 'rsa')
  const ed25519 = pemOf(generateKeyPairSync('ed25519').privateKey)
  await refused(t, { key: ed25519 }, 'host.key', 'is a ed25519 key; IAM Roles Anywhere takes RSA and EC keys')
})

test('the key of another certificate', async t => {
  await t.rejects(read(t, { key: pemOf(other.privateKey) }), {
    code: 'CREDENTIALS_CERTIFICATE_INVALID',
    message: /host\.key: is not the key of the certificate in \/.*\/host\.pem$/,
  })
})

test('the dates of the certificate, to the second', async t => {
  await refused(t, {}, 'host.pem', 'the certificate is not valid before 2030-01-01T00:00:00Z', notBefore.getTime() - 1)
  await refused(t, {}, 'host.pem', 'the certificate expired at 2030-01-31T00:00:00Z', notAfter.getTime() + 1)
  for (const valid of [notBefore, notAfter]) await t.resolves(read(t, {}, valid.getTime()))
})

test('the certificate of an authority', async t => {
  const certificate = certificateOf('host', { isAuthority: true })
  const problem = 'the certificate is that of an authority (CA:TRUE); use the certificate of this host'
  await refused(t, { certificate }, 'host.pem', problem)
})

/** `certificate` with other bytes in its DER. Its signature is wrong then, which only AWS verifies. */
function withBytes(certificate: string, change: (der: Buffer) => Buffer): string {
  const lines = change(new X509Certificate(certificate).raw)
    .toString('base64')
    .match(/.{1,64}/g)!
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

function replaced(der: Buffer, from: string, to: string): Buffer {
  const text = der.toString('hex')
  if (text.split(from).length !== 2) throw new Error(`${from} is not there once`)
  return Buffer.from(text.replace(from, to), 'hex')
}

/** keyUsage, critical, a BIT STRING with digitalSignature alone; the last byte has the bits. */
const DIGITAL_SIGNATURE = '0603551d0f0101ff04040302' + '0780'

test('the key usage needs digitalSignature, if there is one', async t => {
  const certificate = certificateOf('host')
  const usage = (to: string) => withBytes(certificate, der => replaced(der, DIGITAL_SIGNATURE, to))
  const problem = 'the key usage of the certificate has no digitalSignature'
  for (const bits of ['0540', '0106', '0001', '0700']) {
    await refused(t, { certificate: usage(`0603551d0f0101ff04040302${bits}`) }, 'host.pem', problem)
  }
  await t.resolves(read(t, { certificate: usage('0603551d0f0101ff0404030205a0') }), 'with another usage')
  await t.resolves(read(t, { certificate: usage('0603551d630101ff040403020540') }), 'without a key usage')
})

/** A DER element. */
function element(tag: number, content: Buffer): Buffer {
  const { length } = content
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...head]), content])
}

/** What follows the tag and the length of a DER element. */
function behindHead(der: Buffer): Buffer {
  return der.subarray(der[1]! < 0x80 ? 2 : 2 + (der[1]! & 0x7f))
}

test('a certificate without extensions', async t => {
  const certificate = withBytes(certificateOf('host'), der => {
    // The first of them is basicConstraints, below three heads of two bytes. They are the last element of tbsCertificate.
    const extensions = der.indexOf('0603551d13', 'hex') - 6
    const rest = der.subarray(extensions + 2 + der[extensions + 1]!)
    const tbsStart = der.length - behindHead(behindHead(der)).length
    return element(0x30, Buffer.concat([element(0x30, der.subarray(tbsStart, extensions)), rest]))
  })
  t.equal(nameOf((await read(t, { certificate })).certificate), 'CN=host')
})

test('the name of a certificate', t => {
  const named = (subject: string | undefined) => nameOf({ subject, serialNumber: '0A' } as unknown as X509Certificate)
  t.equal(named('O=Example\nCN=host\nOU=a'), 'CN=host')
  t.equal(named('O=Example\nOU=CN=a'), 'O=Example, OU=CN=a')
  t.equal(named(''), 'serial number 0A')
  t.equal(named(undefined), 'serial number 0A')
  t.end()
})
