/** TLS to clients without configuration: with a self-signed certificate that exists only in this process. */
import { generateKeyPair } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import { promisify } from 'node:util'
import { createCertificate } from '../x509.ts'
import type { LocalTls } from './tls.ts'

const DAY_MS = 24 * 3_600_000
const LIFETIME_MS = 365 * DAY_MS
const RENEW_BEFORE_MS = 30 * DAY_MS
/** The client's clock may be slow: some clients check the dates of a certificate that they do not verify otherwise. */
const VALID_SINCE_MS = DAY_MS

const NAMES = ['localhost', '127.0.0.1', '::1']

interface Made {
  context: Promise<SecureContext>
  since: number
}

/**
 * Makes the certificate when the first client asks for TLS, so that starting costs nothing, and another one long before it
 * expires. No client can verify it: it encrypts, but it does not prove who the proxy is.
 * @param wallClock the time that certificates are dated with, in ms
 */
export function createSelfSignedTls(wallClock: () => number = Date.now): LocalTls {
  let made: Made | undefined
  return {
    secureContext() {
      const now = wallClock()
      const age = made ? now - made.since : undefined
      // A clock that was set back may be before the first day of the certificate.
      const isUsable = age !== undefined && age >= -VALID_SINCE_MS / 2 && age < LIFETIME_MS - RENEW_BEFORE_MS
      if (!made || !isUsable) {
        const next = { context: makeContext(now), since: now }
        next.context.catch(() => {
          if (made === next) made = undefined
        })
        made = next
      }
      return made.context
    },
    expires: () => undefined,
  }
}

async function makeContext(now: number): Promise<SecureContext> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' })
  const cert = createCertificate({
    commonName: NAMES[0]!,
    names: NAMES,
    notBefore: new Date(now - VALID_SINCE_MS),
    notAfter: new Date(now + LIFETIME_MS),
    publicKey,
    signingKey: privateKey,
  })
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' })
  return createSecureContext({ cert, key, minVersion: 'TLSv1.2' })
}
