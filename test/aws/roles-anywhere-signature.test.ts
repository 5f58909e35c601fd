import { createHash, generateKeyPairSync, type KeyObject, verify, X509Certificate } from 'node:crypto'
import { rootCertificates } from 'node:tls'
import { test } from 'tap'
import { type CreateSessionRequest, signCreateSession } from '../../src/aws/roles-anywhere-signature.ts'

const HOST = 'rolesanywhere.eu-west-1.amazonaws.com'
const BODY = '{"durationSeconds":3600}'
const TIME = '20260203T040506Z'
const SCOPE = '20260203/eu-west-1/rolesanywhere/aws4_request'

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const base64 = ({ raw }: X509Certificate) => raw.toString('base64')

/** Any certificates will do. */
const [certificate, ...intermediates] = rootCertificates.slice(0, 3).map(text => new X509Certificate(text)) as [
  X509Certificate,
  ...X509Certificate[],
]

function requestWith(key: KeyObject, chain: readonly X509Certificate[]): CreateSessionRequest {
  const date = new Date('2026-02-03T04:05:06.789Z')
  return { host: HOST, region: 'eu-west-1', body: BODY, date, certificate, intermediates: chain, key }
}

/** The parts of the header, after their format has been checked. */
function authorizationOf(headers: Record<string, string>) {
  const format = /^(\S+) Credential=(\d+)\/(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]+)$/
  const [, algorithm = '', serial = '', scope = '', names = '', signature = ''] =
    format.exec(headers['authorization']!) ?? []
  return { algorithm, serial, scope, names, signature: Buffer.from(signature, 'hex') }
}

/** The text to sign, as AWS documents it, written out. */
function textToSign(algorithm: string, headerLines: readonly string[], names: string): Buffer {
  const canonical = `POST\n/sessions\n\n${headerLines.join('\n')}\n\n${names}\n${sha256(BODY)}`
  return Buffer.from(`${algorithm}\n${TIME}\n${SCOPE}\n${sha256(canonical)}`)
}

test('a request signed with an EC key', t => {
  const { privateKey: key, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const headers = signCreateSession(requestWith(key, []))
  const { authorization, ...others } = headers
  t.same(others, {
    'content-type': 'application/json',
    host: HOST,
    'x-amz-date': TIME,
    'x-amz-x509': base64(certificate),
  })
  const { algorithm, serial, scope, names, signature } = authorizationOf(headers)
  t.equal(algorithm, 'AWS4-X509-ECDSA-SHA256')
  t.equal(scope, SCOPE)
  t.equal(BigInt(serial), BigInt(`0x${certificate.serialNumber}`))
  t.equal(names, 'content-type;host;x-amz-date;x-amz-x509')
  const lines = [
    'content-type:application/json',
    `host:${HOST}`,
    `x-amz-date:${TIME}`,
    `x-amz-x509:${base64(certificate)}`,
  ]
  t.ok(verify('sha256', textToSign(algorithm, lines, names), publicKey, signature))
  t.end()
})

test('a request signed with an RSA key, with intermediate certificates', t => {
  const { privateKey: key, publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const one = signCreateSession(requestWith(key, intermediates.slice(0, 1)))
  t.equal(one['x-amz-x509-chain'], base64(intermediates[0]!))
  const headers = signCreateSession(requestWith(key, intermediates))
  const { algorithm, names, signature } = authorizationOf(headers)
  const chain = `${base64(intermediates[0]!)},${base64(intermediates[1]!)}`
  t.equal(headers['x-amz-x509-chain'], chain)
  t.equal(algorithm, 'AWS4-X509-RSA-SHA256')
  t.equal(names, 'content-type;host;x-amz-date;x-amz-x509;x-amz-x509-chain')
  const lines = [
    ...['content-type:application/json', `host:${HOST}`, `x-amz-date:${TIME}`],
    ...[`x-amz-x509:${base64(certificate)}`, `x-amz-x509-chain:${chain}`],
  ]
  t.ok(verify('sha256', textToSign(algorithm, lines, names), publicKey, signature))
  t.end()
})
