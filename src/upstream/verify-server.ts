/** Checks that the server at an address is the database: reads its greeting, then starts TLS as with the RDS endpoint. */
import { formatHostPort, type HostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { CLIENT_SSL, has } from '../protocol/capabilities.ts'
import { abandonLogin, requestTls } from './abandon.ts'
import { type DialTools, dial } from './dial.ts'
import { startTls } from './tls.ts'
import type { Trust } from './trust.ts'

/** Milliseconds for each part of the check. */
export interface VerifyTiming {
  connectTimeout: number
  greetingTimeout: number
  tlsTimeout: number
}

const PATIENT: VerifyTiming = { connectTimeout: 5_000, greetingTimeout: 8_000, tlsTimeout: 8_000 }

const KEEPALIVE_MS = 60_000

/**
 * Resolves with the version in the server's greeting if it presents the certificate of `rds`. It sends no token and no
 * password. It ends the connection with a login that the server refuses, because that does not count towards
 * max_connect_errors.
 * @param target the address to dial
 * @throws ProxyError DIAL_…, UPSTREAM_…, TLS_…
 */
export async function verifyServer(
  target: HostPort,
  rds: Pick<HostPort, 'host'>,
  trust: Trust,
  signal: AbortSignal,
  { connectTimeout, greetingTimeout, tlsTimeout }: VerifyTiming = PATIENT,
  tools?: DialTools,
): Promise<string> {
  // Otherwise the first address of a region that is not built in would be refused while its CA is downloaded.
  await trust.begin()
  const timing = { connectTimeout, greetingTimeout, loginTimeout: tlsTimeout, keepalive: KEEPALIVE_MS }
  const upstream = await dial({ dial: target, ...timing }, signal, tools)
  const { wire, greeting } = upstream
  try {
    if (!has(greeting.capabilities, CLIENT_SSL)) {
      throw new ProxyError('TLS_NOT_OFFERED', `the server at ${formatHostPort(target)} does not offer TLS`)
    }
    requestTls(upstream)
    await startTls(wire, { rds, dial: target }, withoutResumption(trust))
    return greeting.serverVersion
  } finally {
    await abandonLogin(upstream)
    wire.socket.destroy()
  }
}

/** A resumed TLS session shows no certificate, but this check must see it. */
function withoutResumption(trust: Trust): Trust {
  return { ...trust, session: () => undefined, remember: () => {} }
}
