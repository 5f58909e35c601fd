/** TLS to the database. The certificate must be that of the RDS endpoint, whatever address was dialled. */
import { isIP } from 'node:net'
import { connect as connectTls, type PeerCertificate, type TLSSocket } from 'node:tls'
import { unlessAborted } from '../abort.ts'
import type { ConfirmMember } from '../aws/global-members.ts'
import { formatHostPort, type HostPort, isGlobalEndpoint } from '../endpoint.ts'
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { closed, switchSocket, timedOut, timeLeft, type Wire } from '../net/wire.ts'
import type { Trust } from './trust.ts'

/** The names that TLS and its error messages need. */
export interface TlsNames {
  /** whose certificate the server must present */
  rds: Pick<HostPort, 'host'>
  dial: HostPort
}

/**
 * Starts TLS on the connection to the database and verifies the RDS endpoint. `wire` then uses the TLS socket.
 * @param confirm decides about a valid certificate that does not name the RDS endpoint
 * @throws ProxyError TLS_…, UPSTREAM_CLOSED, UPSTREAM_TIMEOUT
 */
export async function startTls(wire: Wire, names: TlsNames, trust: Trust, confirm?: ConfirmMember): Promise<void> {
  // Before everything else: what follows must not be interrupted.
  const refreshed = trust.refresh(timeLeft(wire) / 2)
  await (wire.stop ? unlessAborted(refreshed, wire.stop) : refreshed)
  // After TLS, plaintext bytes behind the greeting would look as if the verified server had sent them.
  if (wire.socket.readableLength > 0) {
    throw new ProxyError('TLS_PLAINTEXT_INJECTED', 'the server sent plaintext between its greeting and TLS')
  }
  if (wire.socket.readableEnded || wire.socket.destroyed) throw closed(wire, 'TLS')
  const { host } = names.rds
  // A resumed handshake shows no certificate, but behind a global endpoint each login reads the region from it.
  const session = isGlobalEndpoint(host) ? undefined : trust.session()
  const secureContext = trust.secureContext()
  const tls = connectTls({
    socket: wire.socket,
    host, // checked against the certificate
    ...(isIP(host) ? {} : { servername: host }),
    secureContext,
    ...(session ? { session } : {}),
    // The certificate is checked right after the handshake, before anything is sent. Breaking off the handshake would
    // count as a connection error; after max_connect_errors a server locks out everybody behind our address (ERROR 1129).
    rejectUnauthorized: false,
  })
  switchSocket(wire, tls)
  let stop = () => {}
  const failure = new Promise<never>((_resolve, fail) => {
    const cancelTimer = wire.clock.after(timeLeft(wire), () => fail(timedOut(wire, 'TLS')))
    const onClose = () => fail(closed(wire, 'TLS'))
    tls.once('error', fail).once('close', onClose)
    wire.stop?.addEventListener('abort', onClose)
    stop = () => {
      cancelTimer()
      wire.stop?.removeEventListener('abort', onClose)
      tls.off('error', fail).off('close', onClose)
    }
  })
  try {
    await Promise.race([new Promise<void>(resolve => tls.once('secureConnect', resolve)), failure])
    if (!tls.authorized) await confirmCertificate(tls, confirm, failure)
    trust.remember(tls, secureContext)
  } catch (error) {
    throw tlsError(wire, names, error, trust)
  } finally {
    stop()
  }
}

/**
 * @param failure rejects when it is too late
 * @throws what `refusedCertificate` returns, with why the certificate was not confirmed
 */
async function confirmCertificate(
  tls: TLSSocket,
  confirm: ConfirmMember | undefined,
  failure: Promise<never>,
): Promise<void> {
  const refused = refusedCertificate(tls)
  // Node.js checks the name last: the chain is valid.
  if (!confirm || refused.code !== WRONG_NAME) throw refused
  const unconfirmed = await Promise.race([confirm(namesOf(refused.cert)), failure])
  if (unconfirmed !== undefined) throw Object.assign(refused, { unconfirmed })
  tls.authorized = true
}

/** A name that Node.js quotes, because it contains a comma or another special character. No host name does. */
const QUOTED = /"(?:[^"\\]|\\.)*"/g

/** The host names on a certificate: as in Node.js, the common name counts only if there is no other. */
export function namesOf({
  subjectaltname = '',
  subject,
}: Pick<PeerCertificate, 'subjectaltname' | 'subject'>): string[] {
  // Split first, a quoted URI could contain ", DNS:" and a name that the certificate is not for.
  const entries = subjectaltname.replace(QUOTED, '').split(', ')
  const names = entries.flatMap(name => /^DNS:(.+)$/.exec(name)?.[1] ?? [])
  return names.length > 0 ? names : [subject?.CN ?? []].flat()
}

const WRONG_NAME = 'ERR_TLS_CERT_ALTNAME_INVALID'

/** Why Node.js does not authorize the connection; `code` is OpenSSL's or its own. */
function refusedCertificate(tls: TLSSocket) {
  const code = String(tls.authorizationError)
  return Object.assign(new Error(code), { code, cert: tls.getPeerCertificate() })
}

const TLS_CODES: Record<string, ErrorCode> = {
  [WRONG_NAME]: 'TLS_WRONG_NAME',
  CERT_HAS_EXPIRED: 'TLS_EXPIRED',
  CERT_NOT_YET_VALID: 'TLS_EXPIRED',
  SELF_SIGNED_CERT_IN_CHAIN: 'TLS_UNKNOWN_CA',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'TLS_UNKNOWN_CA',
  UNABLE_TO_GET_ISSUER_CERT: 'TLS_UNKNOWN_CA',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'TLS_UNKNOWN_CA',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'TLS_UNKNOWN_CA',
}

function tlsError(wire: Wire, names: TlsNames, cause: unknown, trust: Trust): ProxyError {
  if (cause instanceof ProxyError) return cause
  const code = systemCode(cause)
  if (code === 'ECONNRESET' || code === 'EPIPE') return closed(wire, 'TLS')
  const { host } = names.rds
  const dial = formatHostPort(names.dial)
  const errorCode = TLS_CODES[code] ?? 'TLS_FAILED'
  const reason = errorCode === 'TLS_UNKNOWN_CA' ? trust.explainUnknown(certificateIn(cause)) : ''
  const messages: Partial<Record<ErrorCode, string>> = {
    TLS_WRONG_NAME: `the certificate of the server behind ${dial} does not name ${host}${namesInError(cause)}${whyUnconfirmed(cause)}`,
    TLS_EXPIRED: `the certificate of ${host} has expired or is not valid yet (${code})`,
    TLS_UNKNOWN_CA: `the certificate of ${host} was not issued by a trusted CA (${code})${reason && `; ${reason}`}`,
  }
  return new ProxyError(errorCode, messages[errorCode] ?? `TLS with ${dial} failed: ${reasonOf(cause)}`, { cause })
}

/** The server's certificate, as far as the error has it. */
function certificateIn(error: unknown): Partial<PeerCertificate> {
  return (error instanceof Error && 'cert' in error ? (error.cert as PeerCertificate) : undefined) ?? {}
}

function namesInError(error: unknown): string {
  const { subjectaltname } = certificateIn(error)
  return subjectaltname ? `, it names ${subjectaltname.slice(0, 120)}` : ''
}

function whyUnconfirmed(error: unknown): string {
  return error instanceof Error && 'unconfirmed' in error ? ` (${error.unconfirmed})` : ''
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'reason' in error && typeof error.reason === 'string' ? error.reason : systemCode(error) || error.message
}
