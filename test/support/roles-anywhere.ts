/**
 * A stand-in for IAM Roles Anywhere that verifies each request as AWS documents it, and shares no code with the proxy.
 * https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-sign-process.html
 */
import { execFileSync } from 'node:child_process'
import { createHash, verify, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import type { RolesAnywhereOptions } from '../../src/aws/roles-anywhere-options.ts'
import { ensureProgram } from './packages.ts'

export const REGION = 'eu-west-1'
/** the service's own name */
export const HOST = `rolesanywhere.${REGION}.amazonaws.com`

export const ARNS = {
  trustAnchorArn: `arn:aws:rolesanywhere:${REGION}:123456789012:trust-anchor/11111111-2222-3333-4444-555555555555`,
  profileArn: `arn:aws:rolesanywhere:${REGION}:123456789012:profile/66666666-7777-8888-9999-000000000000`,
  roleArn: 'arn:aws:iam::123456789012:role/rds-connect',
}

/** Files of one certificate. */
export interface Issued {
  certificateFile: string
  keyFile: string
}

interface IssueOptions {
  /** as in `openssl genpkey`; default EC on P-256 */
  key?: string[]
  /** default: self-signed */
  issuer?: Issued
  ca?: boolean
  hash?: string
  serial?: string
  /** default: that of a host, with digitalSignature */
  extensions?: string[]
}

export const RSA = (bits: number) => ['-algorithm', 'RSA', '-pkeyopt', `rsa_keygen_bits:${bits}`]
export const EC = (curve: string) => ['-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${curve}`]

export async function openssl(...args: string[]): Promise<void> {
  execFileSync(await ensureProgram('openssl', 'openssl'), args, { stdio: 'pipe' })
}

/** Issues a certificate for `CN=name` into `directory`. */
export async function issue(directory: string, name: string, options: IssueOptions = {}): Promise<Issued> {
  const { key = EC('P-256'), issuer, ca = false, hash = 'sha256', serial, extensions } = options
  const files = { certificateFile: join(directory, `${name}.pem`), keyFile: join(directory, `${name}-key.pem`) }
  await openssl('genpkey', ...key, '-out', files.keyFile)
  const usage = ca ? ['basicConstraints=critical,CA:TRUE', 'keyUsage=keyCertSign'] : ['keyUsage=digitalSignature']
  await openssl(
    ...['req', '-x509', '-new', '-key', files.keyFile, '-subj', `/O=Example/CN=${name}`, '-days', '30', `-${hash}`],
    ...(extensions ?? (ca ? usage : ['basicConstraints=CA:FALSE', ...usage])).flatMap(text => ['-addext', text]),
    ...(issuer ? ['-CA', issuer.certificateFile, '-CAkey', issuer.keyFile] : []),
    ...(serial ? ['-set_serial', serial] : []),
    ...['-out', files.certificateFile],
  )
  return files
}

export interface Asked {
  algorithm: string
  serial: string
  certificate: X509Certificate
  chain: X509Certificate[]
  body: Record<string, unknown>
}

export interface StandIn {
  /** https://127.0.0.1:PORT */
  url: string
  asked: Asked[]
  /** how many requests came, also those that were refused */
  requests: number
}

export interface StandInOptions {
  /** the authority behind the trust anchor */
  authority: Issued
  /** milliseconds that its clock is ahead of this machine's */
  clockAhead?: number
  /** instead of the checks and the credentials */
  answer?: (request: IncomingMessage, response: ServerResponse) => void
  /** milliseconds until the credentials expire */
  lifetime?: number
}

export const CREDENTIALS = {
  accessKeyId: 'ASIAEXAMPLE',
  secretAccessKey: 'a secret/of+CreateSession',
  sessionToken: 'IQoJ/b3+of+the+session==',
}

/** Starts a stand-in; calls from this process trust its certificate until the test ends. */
export async function startRolesAnywhere(t: Test, options: StandInOptions): Promise<StandIn> {
  const { certificateFile, keyFile } = await issue(dirname(options.authority.keyFile), 'server', {
    extensions: ['basicConstraints=CA:FALSE', `subjectAltName=IP:127.0.0.1,DNS:${HOST}`],
  })
  const clock = () => Date.now() + (options.clockAhead ?? 0)
  const standIn: StandIn = { url: '', asked: [], requests: 0 }
  const files = { cert: readFileSync(certificateFile), key: readFileSync(keyFile) }
  const server = createServer(files, async (incoming, outgoing) => {
    standIn.requests++
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk)
    outgoing.setHeader('date', new Date(clock()).toUTCString())
    outgoing.setHeader('connection', 'close')
    if (options.answer) return options.answer(incoming, outgoing)
    try {
      const asked = verifyRequest(incoming, Buffer.concat(chunks), options.authority, clock())
      standIn.asked.push(asked)
      const expiration = new Date(clock() + (options.lifetime ?? Number(asked.body.durationSeconds) * 1_000))
      const credentials = { ...CREDENTIALS, expiration: expiration.toISOString().replace(/\.\d+Z/, 'Z') }
      outgoing.writeHead(201, { 'content-type': 'application/json' })
      outgoing.end(JSON.stringify({ credentialSet: [{ credentials }], subjectArn: 'arn:aws:rolesanywhere:…' }))
    } catch (error) {
      refuse(outgoing, 403, 'AccessDeniedException', (error as Error).message)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  standIn.url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const before = process.env.AWS_CA_BUNDLE
  process.env.AWS_CA_BUNDLE = certificateFile
  t.teardown(() => {
    if (before === undefined) delete process.env.AWS_CA_BUNDLE
    else process.env.AWS_CA_BUNDLE = before
  })
  return standIn
}

/** As AWS reports an error. */
export function refuse(outgoing: ServerResponse, status: number, name: string, message: string): void {
  outgoing.writeHead(status, { 'content-type': 'application/json', 'x-amzn-errortype': `${name}:http://internal` })
  outgoing.end(JSON.stringify({ message }))
}

const AUTHORIZATION =
  /^(AWS4-X509-\S+) Credential=(\d+)\/(\d{8})\/([a-z0-9-]+)\/rolesanywhere\/aws4_request, SignedHeaders=(\S+), Signature=([0-9a-f]+)$/

/** @throws Error that says what is wrong */
function verifyRequest({ method, url, headers }: IncomingMessage, body: Buffer, authority: Issued, now: number): Asked {
  const wrong = (what: string) => new Error(what)
  const header = (name: string) => String(headers[name] ?? '')
  if (method !== 'POST' || url !== '/sessions') throw wrong(`${method} ${url}`)
  const match = AUTHORIZATION.exec(header('authorization'))
  if (!match) throw wrong('authorization')
  const [, algorithm = '', serial = '', day = '', region = '', names = '', signature = ''] = match
  const certificate = new X509Certificate(Buffer.from(header('x-amz-x509'), 'base64'))
  const chain = header('x-amz-x509-chain')
    .split(',')
    .filter(Boolean)
    .map(text => new X509Certificate(Buffer.from(text, 'base64')))

  const type = certificate.publicKey.asymmetricKeyType === 'rsa' ? 'RSA' : 'ECDSA'
  if (algorithm !== `AWS4-X509-${type}-SHA256`) throw wrong(`algorithm ${algorithm}`)
  if (BigInt(serial).toString(16).toUpperCase() !== certificate.serialNumber.replace(/^0+/, '')) throw wrong('serial')

  const time = header('x-amz-date')
  const at = Date.parse(time.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  if (!(Math.abs(at - now) <= 5 * 60_000)) throw wrong('Signature expired')
  if (day !== time.slice(0, 8) || region !== REGION) throw wrong(`scope ${day}/${region}`)

  const signed = names.split(';')
  const required = [
    'content-type',
    'host',
    'x-amz-date',
    'x-amz-x509',
    ...(chain.length > 0 ? ['x-amz-x509-chain'] : []),
  ]
  if (required.some(name => !signed.includes(name))) throw wrong(`signed headers ${names}`)
  if (signed.join() !== [...signed].sort().join()) throw wrong('the order of the signed headers')
  const hash = (data: string | Buffer) => createHash('sha256').update(data).digest('hex')
  const lines = signed.map(name => `${name}:${header(name).trim()}\n`).join('')
  const canonical = `POST\n/sessions\n\n${lines}\n${names}\n${hash(body)}`
  const text = `${algorithm}\n${time}\n${day}/${region}/rolesanywhere/aws4_request\n${hash(canonical)}`
  const isSigned = verify('sha256', Buffer.from(text), certificate.publicKey, Buffer.from(signature, 'hex'))
  if (!isSigned) throw wrong('The request signature we calculated does not match')

  const root = new X509Certificate(readFileSync(authority.certificateFile))
  let current = certificate
  for (const next of [...chain, root]) {
    if (!current.checkIssued(next) || !current.verify(next.publicKey)) throw wrong('Untrusted certificate')
    current = next
  }
  const asked = JSON.parse(body.toString()) as Record<string, unknown>
  for (const [name, arn] of Object.entries(ARNS)) if (asked[name] !== arn) throw wrong(`${name} not found`)
  return { algorithm, serial, certificate, chain, body: asked }
}

/** The options for a certificate and a stand-in. */
export function optionsFor(issued: Issued, { url }: StandIn): RolesAnywhereOptions {
  return { ...issued, ...ARNS, endpoint: url }
}

/** One file with the texts of others. */
export function concatenate(directory: string, name: string, ...files: string[]): string {
  const file = join(directory, name)
  writeFileSync(file, Buffer.concat(files.map(part => readFileSync(part))))
  return file
}
