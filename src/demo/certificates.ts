/** Throw-away certificates for the demo and the tests. */
import { generateKeyPair } from 'node:crypto'
import { promisify } from 'node:util'
import { createCertificate } from '../x509.ts'

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

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Creates a certificate authority whose key stays in memory. */
export async function createAuthority(commonName: string): Promise<Authority> {
  const keys = await generateKeys()
  const notBefore = new Date(Date.now() - HOUR_MS)
  const issuer = { commonName: shorten(commonName), publicKey: keys.publicKey }
  const certificate = createCertificate({
    ...issuer,
    notBefore,
    notAfter: new Date(notBefore.getTime() + 365 * DAY_MS),
    signingKey: keys.privateKey,
    isAuthority: true,
  })

  async function issue({ names, notBefore, notAfter }: IssueOptions): Promise<Certificate> {
    const leafKeys = await generateKeys()
    const from = notBefore ?? new Date(Math.min(Date.now(), notAfter?.getTime() ?? Number.POSITIVE_INFINITY) - HOUR_MS)
    const leaf = createCertificate({
      commonName: shorten(names[0] ?? 'localhost'),
      names,
      notBefore: from,
      notAfter: notAfter ?? new Date(from.getTime() + 90 * DAY_MS),
      publicKey: leafKeys.publicKey,
      signingKey: keys.privateKey,
      issuer,
    })
    return { certificate: leaf, key: leafKeys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
  }

  return { certificate, issue }
}

/** RSA, because some MySQL 5.7 servers and old clients do not support ECDSA certificates. */
function generateKeys() {
  return promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
}

/** X.509 limits a common name to 64 characters. Clients verify the alternative names, which are complete. */
function shorten(name: string): string {
  return Buffer.byteLength(name) <= 64 ? name : `${Buffer.from(name).subarray(0, 61).toString('latin1')}...`
}
