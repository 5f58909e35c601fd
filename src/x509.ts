/**
 * Creates X.509 certificates, which Node.js can read but not create. Only what TLS servers and their authorities need.
 * https://www.rfc-editor.org/rfc/rfc5280 and, for DER, https://www.itu.int/rec/T-REC-X.690
 */
import { createHash, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP, isIPv4 } from 'node:net'

/** The name of a certificate's owner. */
export interface OwnerName {
  /** at most 64 characters; clients verify the DNS names instead */
  commonName: string
  organization?: string
  organizationalUnit?: string
}

export interface CertificateOptions extends OwnerName {
  /** DNS names and IP addresses of a server; without them, the certificate is not for servers */
  names?: readonly string[]
  notBefore: Date
  notAfter: Date
  publicKey: KeyObject
  /** the private key of the issuer, RSA or ECDSA */
  signingKey: KeyObject
  /** undefined: the certificate is self-signed */
  issuer?: OwnerName & { publicKey: KeyObject }
  /** whether it may sign other certificates; default false */
  isAuthority?: boolean
}

/** @returns PEM */
export function createCertificate(options: CertificateOptions): string {
  const { notBefore, notAfter, publicKey, signingKey, issuer } = options
  const subject = name(options)
  const algorithm = signatureAlgorithm(signingKey)
  const tbsCertificate = sequence(
    explicit(0, integer(Buffer.of(2))), // version 3
    integer(serialNumber()),
    algorithm,
    issuer ? name(issuer) : subject,
    sequence(time(notBefore), time(notAfter)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...extensions(options))),
  )
  const der = sequence(tbsCertificate, algorithm, bitString(sign('sha256', tbsCertificate, signingKey)))
  const lines = der.toString('base64').match(/.{1,64}/g)!
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

function extensions({ names = [], publicKey, issuer, isAuthority = false }: CertificateOptions): Buffer[] {
  const keyId = keyIdentifier(publicKey)
  const issuerId = issuer ? keyIdentifier(issuer.publicKey) : keyId
  // Bits from the left: 0 digitalSignature, 2 keyEncipherment, 5 keyCertSign, 6 cRLSign.
  const usage = isAuthority ? [1, 0x06] : publicKey.asymmetricKeyType === 'rsa' ? [5, 0xa0] : [7, 0x80]
  const list = [
    extension('2.5.29.19', isAuthority ? sequence(TRUE) : sequence(), true), // basicConstraints
    extension('2.5.29.15', tagged(0x03, Buffer.from(usage)), true), // keyUsage
    extension('2.5.29.14', octetString(keyId)), // subjectKeyIdentifier
    extension('2.5.29.35', sequence(tagged(0x80, issuerId))), // authorityKeyIdentifier
  ]
  if (names.length > 0) {
    list.push(
      extension('2.5.29.37', sequence(objectId('1.3.6.1.5.5.7.3.1'))), // extKeyUsage: serverAuth
      extension('2.5.29.17', sequence(...names.map(alternativeName))), // subjectAltName
    )
  }
  return list
}

/** A GeneralName. Its tag says what it is: 2 for a DNS name, 7 for an address. */
function alternativeName(text: string): Buffer {
  return isIP(text) === 0 ? tagged(0x82, Buffer.from(text)) : tagged(0x87, addressBytes(text))
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number))
  const [head = '', tail] = address.split('::')
  const groups = head.split(':').filter(Boolean)
  const rest = tail?.split(':').filter(Boolean) ?? []
  const zeros = Array<string>(8 - groups.length - rest.length).fill('0')
  const words = [...groups, ...zeros, ...rest].map(group => Number.parseInt(group, 16))
  return Buffer.from(words.flatMap(word => [word >>> 8, word & 0xff]))
}

/** Any value that stays the same for a key. */
function keyIdentifier(publicKey: KeyObject): Buffer {
  return createHash('sha1')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest()
}

/** A positive 127-bit number. */
function serialNumber(): Buffer {
  const bytes = randomBytes(16)
  bytes[0] = (bytes[0]! & 0x3f) | 0x40
  return bytes
}

function signatureAlgorithm({ asymmetricKeyType }: KeyObject): Buffer {
  const isRsa = asymmetricKeyType === 'rsa'
  return isRsa ? sequence(objectId('1.2.840.113549.1.1.11'), NULL) : sequence(objectId('1.2.840.10045.4.3.2'))
}

function name({ commonName, organization, organizationalUnit }: OwnerName): Buffer {
  const attributes: [id: string, text: string | undefined][] = [
    ['2.5.4.10', organization],
    ['2.5.4.11', organizationalUnit],
    ['2.5.4.3', commonName],
  ]
  const isSet = (entry: [string, string | undefined]): entry is [string, string] => entry[1] !== undefined
  const entries = attributes.filter(isSet).map(([id, text]) => {
    const value = tagged(0x0c, Buffer.from(text)) // UTF8String
    return tagged(0x31, sequence(objectId(id), value))
  })
  return sequence(...entries)
}

// ---- DER ----

const TRUE = Buffer.of(0x01, 0x01, 0xff)
const NULL = Buffer.of(0x05, 0x00)

function tagged(tag: number, content: Buffer): Buffer {
  const { length } = content
  const sized = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >>> 8, length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...sized), content])
}

function sequence(...parts: Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts))
}

function explicit(number: number, content: Buffer): Buffer {
  return tagged(0xa0 | number, content)
}

/** @param bytes big-endian, first bit 0 */
function integer(bytes: Buffer): Buffer {
  return tagged(0x02, bytes)
}

function octetString(bytes: Buffer): Buffer {
  return tagged(0x04, bytes)
}

function bitString(bytes: Buffer): Buffer {
  return tagged(0x03, Buffer.concat([Buffer.of(0), bytes]))
}

function objectId(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  return tagged(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]))
}

/** The most significant 7 bits first; all bytes but the last have the high bit set. */
function base128(value: number): number[] {
  const bytes = [value & 0x7f]
  for (let left = value >>> 7; left > 0; left >>>= 7) bytes.unshift((left & 0x7f) | 0x80)
  return bytes
}

function extension(id: string, value: Buffer, isCritical = false): Buffer {
  return sequence(objectId(id), ...(isCritical ? [TRUE] : []), octetString(value))
}

/** UTCTime up to 2049, then GeneralizedTime. */
function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/\D/g, '').slice(0, 14)
  const isShort = date.getUTCFullYear() < 2050
  return tagged(isShort ? 0x17 : 0x18, Buffer.from(`${isShort ? digits.slice(2) : digits}Z`))
}
