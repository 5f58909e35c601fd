/**
 * The signature of CreateSession, the one call of IAM Roles Anywhere: SigV4, but signed with the key of a certificate.
 * https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-sign-process.html
 */
import { createHash, type KeyObject, sign, type X509Certificate } from 'node:crypto'

export interface CreateSessionRequest {
  host: string
  region: string
  /** JSON */
  body: string
  date: Date
  certificate: X509Certificate
  /** from the issuer of `certificate` towards the trust anchor */
  intermediates: readonly X509Certificate[]
  /** the private key of `certificate`, RSA or EC */
  key: KeyObject
}

/** All headers of the request, with its signature. */
export function signCreateSession(request: CreateSessionRequest): Record<string, string> {
  const { host, region, body, date, certificate, intermediates, key } = request
  const time = date.toISOString().replace(/[-:]|\.\d+/g, '')
  const signed: Record<string, string> = {
    'content-type': 'application/json',
    host,
    'x-amz-date': time,
    'x-amz-x509': toBase64(certificate),
    ...(intermediates.length > 0 ? { 'x-amz-x509-chain': intermediates.map(toBase64).join(',') } : {}),
  }
  const names = Object.keys(signed).sort()
  const canonicalHeaders = names.map(name => `${name}:${signed[name]}\n`).join('')
  const canonicalRequest = ['POST', '/sessions', '', canonicalHeaders, names.join(';'), sha256(body)].join('\n')
  // The key alone decides. The hash is SHA-256, whatever the certificate itself is signed with.
  const algorithm = key.asymmetricKeyType === 'rsa' ? 'AWS4-X509-RSA-SHA256' : 'AWS4-X509-ECDSA-SHA256'
  const scope = `${time.slice(0, 8)}/${region}/rolesanywhere/aws4_request`
  const text = [algorithm, time, scope, sha256(canonicalRequest)].join('\n')
  // PKCS #1 v1.5 for RSA, DER for EC.
  const signature = sign('sha256', Buffer.from(text), key).toString('hex')
  // The serial number is decimal.
  const credential = `${BigInt(`0x${certificate.serialNumber}`)}/${scope}`
  const authorization = `${algorithm} Credential=${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`
  return { ...signed, authorization }
}

function toBase64({ raw }: X509Certificate): string {
  return raw.toString('base64')
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
