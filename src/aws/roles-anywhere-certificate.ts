/** The certificate and key of IAM Roles Anywhere, read from files and checked before AWS sees them. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { ProxyError, systemCode } from '../errors.ts'
import { firstLine } from '../password-file.ts'
import type { RolesAnywhereOptions } from './roles-anywhere-options.ts'

export interface Identity {
  certificate: X509Certificate
  intermediates: X509Certificate[]
  key: KeyObject
}

/**
 * Reads the files. It refuses only what AWS refuses too.
 * https://docs.aws.amazon.com/rolesanywhere/latest/userguide/trust-model.html
 * @param now milliseconds of the wall clock
 * @throws ProxyError CREDENTIALS_CERTIFICATE_INVALID
 */
export async function readIdentity(options: RolesAnywhereOptions, now: number): Promise<Identity> {
  const { certificateFile, keyFile, keyPassphraseFile, intermediatesFile } = options
  const [certificateText, keyText, passphrase, intermediatesText] = await Promise.all([
    read(certificateFile),
    read(keyFile),
    keyPassphraseFile === undefined ? undefined : read(keyPassphraseFile),
    intermediatesFile === undefined ? undefined : read(intermediatesFile),
  ])
  const [certificate, ...others] = parseCertificates(certificateText, certificateFile)
  const intermediates = intermediatesText === undefined ? [] : parseCertificates(intermediatesText, intermediatesFile!)
  const key = parseKey(keyText, keyFile, passphrase && firstLine(passphrase))
  const problem = problemOf(certificate!, now)
  if (problem) throw invalid(certificateFile, problem)
  if (!certificate!.checkPrivateKey(key)) {
    throw invalid(keyFile, `is not the key of the certificate in ${certificateFile}`)
  }
  return { certificate: certificate!, intermediates: withoutDuplicates([...others, ...intermediates]), key }
}

/** When the certificate expires, in milliseconds of Date.now(). */
export function expiryOf({ validTo }: X509Certificate): number {
  return Date.parse(validTo)
}

/** 'CN=host', or the whole subject if it has no common name. */
export function nameOf({ subject, serialNumber }: X509Certificate): string {
  const parts = subject?.split('\n') ?? []
  return parts.find(part => part.startsWith('CN=')) ?? (parts.join(', ') || `serial number ${serialNumber}`)
}

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    throw invalid(file, `cannot be read: ${systemCode(error)}`, error)
  }
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** At least one. */
function parseCertificates(text: Buffer, file: string): X509Certificate[] {
  const blocks = text.toString('latin1').match(PEM_CERTIFICATE) ?? []
  if (blocks.length === 0) throw invalid(file, 'has no PEM certificate')
  try {
    return blocks.map(block => new X509Certificate(block))
  } catch (error) {
    throw invalid(file, 'has a certificate that is damaged', error)
  }
}

function parseKey(text: Buffer, file: string, passphrase: string | undefined): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey({ key: text, passphrase })
  } catch {
    // The error is not kept as the cause, because it could repeat what the file contains.
    const isEncrypted = /ENCRYPTED/.test(text.toString('latin1'))
    const problem =
      passphrase === undefined ? 'is encrypted; give its passphrase in a file' : 'does not open with this passphrase'
    throw invalid(file, isEncrypted ? problem : 'has no PEM private key')
  }
  const type = key.asymmetricKeyType
  if (type !== 'rsa' && type !== 'ec') throw invalid(file, `is a ${type} key; IAM Roles Anywhere takes RSA and EC keys`)
  return key
}

function problemOf(certificate: X509Certificate, now: number): string | undefined {
  const { ca, validFrom, raw } = certificate
  const [from, to] = [Date.parse(validFrom), expiryOf(certificate)]
  if (now > to) return `the certificate expired at ${seconds(to)}`
  if (now < from) return `the certificate is not valid before ${seconds(from)}`
  if (ca) return 'the certificate is that of an authority (CA:TRUE); use the certificate of this host'
  if (keyUsageOf(raw)?.digitalSignature === false) return 'the key usage of the certificate has no digitalSignature'
  return undefined
}

function seconds(time: number): string {
  return new Date(time).toISOString().replace(/\.\d+Z/, 'Z')
}

function withoutDuplicates(certificates: X509Certificate[]): X509Certificate[] {
  return [...new Map(certificates.map(certificate => [certificate.fingerprint256, certificate])).values()]
}

function invalid(file: string, problem: string, cause?: unknown): ProxyError {
  return new ProxyError('CREDENTIALS_CERTIFICATE_INVALID', `IAM Roles Anywhere: ${file}: ${problem}`, { cause })
}

// ---- DER ----

const KEY_USAGE = Buffer.from('551d0f', 'hex') // 2.5.29.15
const EXTENSIONS = 0xa3
const OCTET_STRING = 0x04

/** The keyUsage extension, which Node.js does not show; undefined without one. https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.3 */
function keyUsageOf(der: Buffer): { digitalSignature: boolean } | undefined {
  const [certificate] = elements(der)
  const [tbsCertificate] = elements(certificate!.content)
  const extensions = elements(tbsCertificate!.content).find(({ tag }) => tag === EXTENSIONS)
  for (const extension of extensions ? elements(elements(extensions.content)[0]!.content) : []) {
    const [id, ...rest] = elements(extension.content)
    if (!id!.content.equals(KEY_USAGE)) continue
    const value = rest.find(({ tag }) => tag === OCTET_STRING)!
    const [bits] = elements(value.content)
    // The first byte counts the unused bits; digitalSignature is the first bit after it.
    return { digitalSignature: ((bits!.content[1] ?? 0) & 0x80) !== 0 }
  }
  return undefined
}

/** The elements of a constructed value. OpenSSL has parsed the certificate before, so the lengths are right. */
function elements(der: Buffer): { tag: number; content: Buffer }[] {
  const found: { tag: number; content: Buffer }[] = []
  for (let at = 0; at < der.length; ) {
    const first = der[at + 1]!
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f
    const length = lengthBytes === 0 ? first : der.readUIntBE(at + 2, lengthBytes)
    const start = at + 2 + lengthBytes
    found.push({ tag: der[at]!, content: der.subarray(start, start + length) })
    at = start + length
  }
  return found
}
