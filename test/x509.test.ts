/** Certificates of our own DER, read and verified by OpenSSL. */
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { test } from 'tap'
import { type CertificateOptions, createCertificate } from '../src/x509.ts'

const DAY_MS = 24 * 3_600_000

function keyPair(type: 'rsa' | 'ec') {
  return type === 'rsa'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 })
    : generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

function create(type: 'rsa' | 'ec', changes: Partial<CertificateOptions> = {}) {
  const { publicKey, privateKey } = keyPair(type)
  const notBefore = new Date(Date.UTC(2030, 0, 2, 3, 4, 5))
  const notAfter = new Date(notBefore.getTime() + DAY_MS)
  const options = { commonName: 'localhost', notBefore, notAfter, publicKey, signingKey: privateKey, ...changes }
  return { certificate: new X509Certificate(createCertificate(options)), publicKey, privateKey }
}

for (const type of ['rsa', 'ec'] as const) {
  test(`a self-signed certificate, ${type}`, async t => {
    const names = ['localhost', '127.0.0.1', '::1', 'fd00::12:3', '1:2:3:4:5:6:7:8', `${'x'.repeat(63)}.example.com`]
    const { certificate, publicKey, privateKey } = create(type, { names })
    t.ok(certificate.verify(publicKey), 'its signature')
    t.ok(certificate.checkPrivateKey(privateKey))
    t.equal(certificate.subject, 'CN=localhost')
    t.equal(certificate.validFrom, 'Jan  2 03:04:05 2030 GMT')
    t.equal(certificate.validTo, 'Jan  3 03:04:05 2030 GMT')
    t.notOk(certificate.ca)
    t.same(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1'], 'for servers')
    t.equal(certificate.checkHost('localhost'), 'localhost')
    t.equal(certificate.checkHost(names.at(-1)!), names.at(-1))
    t.equal(certificate.checkHost('other'), undefined)
    for (const address of names.slice(1, 5)) t.equal(certificate.checkIP(address), address)
    t.equal(certificate.checkIP('127.0.0.2'), undefined)
  })

  test(`an authority and a certificate that it signs, ${type}`, async t => {
    const root = create(type, { commonName: 'root', isAuthority: true })
    const issuer = { commonName: 'root', publicKey: root.publicKey }
    const leaf = create(type, { names: ['a'], issuer, signingKey: root.privateKey })
    t.ok(root.certificate.ca)
    t.equal(leaf.certificate.issuer, 'CN=root')
    t.ok(leaf.certificate.checkIssued(root.certificate), 'names and key identifiers fit')
    t.ok(leaf.certificate.verify(root.publicKey))
    t.notOk(leaf.certificate.verify(leaf.publicKey))
    t.notOk(create(type, { commonName: 'root' }).certificate.checkIssued(root.certificate))
  })
}

test('without names, a certificate is not only for servers', async t => {
  t.equal(create('ec').certificate.keyUsage, undefined)
})

test('a date of 2050 or later', async t => {
  const { certificate } = create('ec', { notAfter: new Date(Date.UTC(2051, 11, 31, 23, 59, 59)) })
  t.equal(certificate.validTo, 'Dec 31 23:59:59 2051 GMT')
})

test('each certificate has its own positive serial number', async t => {
  const numbers = Array.from({ length: 20 }, () => create('ec').certificate.serialNumber)
  t.equal(new Set(numbers).size, numbers.length)
  for (const number of numbers) t.match(number, /^[4-7][0-9A-F]{31}$/)
})
