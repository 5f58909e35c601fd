/** CAs that are named like those of RDS, and bundles of them. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { Certificate } from '../../src/demo/certificates.ts'
import { createCertificate, type OwnerName } from '../../src/x509.ts'

const DAY_MS = 86_400_000

export interface RdsAuthority {
  /** PEM */
  root: string
  /** a server's certificate, issued by the root */
  issue(host: string): Certificate
  /** another CA, issued by the root: PEM */
  intermediate(name: string): string
}

interface AuthorityOptions extends Partial<OwnerName> {
  notBefore?: Date
  notAfter?: Date
  isAuthority?: boolean
}

/** A root CA with the name of a region's, unless the options give another. */
export function createRdsAuthority(region: string, options: AuthorityOptions = {}): RdsAuthority {
  const { notBefore = new Date(Date.now() - DAY_MS), notAfter = new Date(Date.now() + DAY_MS), ...other } = options
  const owner: OwnerName = {
    organization: 'Amazon Web Services, Inc.',
    organizationalUnit: 'Amazon RDS',
    commonName: `Amazon RDS ${region} Root CA ECC384 G1`,
    ...other,
  }
  const { publicKey, privateKey } = generateKeys()
  const dates = { notBefore, notAfter }
  const { isAuthority = true } = options
  const root = createCertificate({ ...owner, ...dates, publicKey, signingKey: privateKey, isAuthority })
  const sign = (
    keys: { publicKey: KeyObject },
    subject: OwnerName,
    more: { names?: string[]; isAuthority?: boolean },
  ) =>
    createCertificate({
      ...subject,
      ...dates,
      ...more,
      publicKey: keys.publicKey,
      signingKey: privateKey,
      issuer: { ...owner, publicKey },
    })
  return {
    root,
    issue(host) {
      const keys = generateKeys()
      const certificate = sign(keys, { commonName: host.slice(0, 64) }, { names: [host] })
      return { certificate, key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
    },
    intermediate: name => sign(generateKeys(), { ...owner, commonName: name }, { isAuthority: true }),
  }
}

function generateKeys(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}
