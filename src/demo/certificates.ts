/** Throw-away certificates for the demo and the tests. */
import { webcrypto } from 'node:crypto'
import { isIP } from 'node:net'

export interface Certificate {
  /** PEM */
  certificate: string
  /** PEM, PKCS #8 */
  key: string
}

export interface IssueOptions {
  /** DNS names or IP addresses; the first is also the common name */
  names: string[]
  notBefore?: Date
  notAfter?: Date
}

export interface Authority {
  /** PEM */
  certificate: string
  issue(options: IssueOptions): Promise<Certificate>
}

// RSA, because some MySQL 5.7 servers and old clients do not support ECDSA certificates.
const algorithm = {
  name: 'RSASSA-PKCS1-v1_5',
  hash: 'SHA-256',
  publicExponent: new Uint8Array([1, 0, 1]),
  modulusLength: 2048,
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Creates a certificate authority whose key stays in memory. */
export async function createAuthority(commonName: string): Promise<Authority> {
  const x509 = await loadX509()
  const keys = await generateKeys()
  const notBefore = new Date(Date.now() - HOUR_MS)
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [shorten(commonName)] }],
    keys,
    notBefore,
    notAfter: new Date(notBefore.getTime() + 365 * DAY_MS),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })

  async function issue({ names, notBefore, notAfter }: IssueOptions): Promise<Certificate> {
    const leafKeys = await generateKeys()
    const from = notBefore ?? new Date(Math.min(Date.now(), notAfter?.getTime() ?? Number.POSITIVE_INFINITY) - HOUR_MS)
    const leaf = await x509.X509CertificateGenerator.create({
      serialNumber: serialNumber(),
      subject: [{ CN: [shorten(names[0] ?? 'localhost')] }],
      issuer: root.subjectName,
      notBefore: from,
      notAfter: notAfter ?? new Date(from.getTime() + 90 * DAY_MS),
      publicKey: leafKeys.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyEncipherment, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          names.map(value => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value }) as const),
        ),
        await x509.SubjectKeyIdentifierExtension.create(leafKeys.publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
      ],
    })
    const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', leafKeys.privateKey)
    return { certificate: pem(leaf.toString('pem')), key: pem(x509.PemConverter.encode(pkcs8, 'PRIVATE KEY')) }
  }

  return { certificate: pem(root.toString('pem')), issue }
}

/** Loaded on demand, as only the demo and tests issue certificates. The library requires the metadata polyfill. */
async function loadX509(): Promise<typeof import('@peculiar/x509')> {
  await import('reflect-metadata')
  return await import('@peculiar/x509')
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
}

/** A positive 127-bit number, in hexadecimal. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16))
  bytes[0] = (bytes[0]! & 0x3f) | 0x40
  return Buffer.from(bytes).toString('hex')
}

/** X.509 limits a common name to 64 characters. Clients verify the alternative names, which are complete. */
function shorten(name: string): string {
  return Buffer.byteLength(name) <= 64 ? name : `${Buffer.from(name).subarray(0, 61).toString('latin1')}...`
}

function pem(text: string): string {
  return text.endsWith('\n') ? text : `${text}\n`
}
