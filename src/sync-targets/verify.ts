/** Checks that the server at an address is the database: reads its greeting, then starts TLS as with the RDS endpoint. */
import type { HostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { CLIENT_SSL, has } from '../protocol/capabilities.ts'
import { abandonLogin, requestTls } from '../upstream/abandon.ts'
import { dial } from '../upstream/dial.ts'
import { startTls } from '../upstream/tls.ts'
import type { Trust } from '../upstream/trust.ts'

const CONNECT_TIMEOUT_MS = 5_000
const GREETING_TIMEOUT_MS = 8_000
const TLS_TIMEOUT_MS = 8_000
const KEEPALIVE_MS = 60_000

/**
 * Resolves if the server at `address` presents the certificate of `rds`. It sends no token and no password. It ends the
 * connection with a login that the server refuses, because that does not count towards max_connect_errors.
 * @throws ProxyError DIAL_…, UPSTREAM_…, TLS_…
 */
export async function verifyAddress(address: string, rds: HostPort, trust: Trust, signal: AbortSignal): Promise<void> {
  // Otherwise the first address of a region that is not built in would be refused while its CA is downloaded.
  await trust.begin()
  const target = { host: address, port: rds.port }
  const timing = {
    connectTimeout: CONNECT_TIMEOUT_MS,
    greetingTimeout: GREETING_TIMEOUT_MS,
    loginTimeout: TLS_TIMEOUT_MS,
    keepalive: KEEPALIVE_MS,
  }
  const upstream = await dial({ dial: target, ...timing }, signal)
  const { wire, greeting } = upstream
  try {
    if (!has(greeting.capabilities, CLIENT_SSL)) {
      throw new ProxyError('TLS_NOT_OFFERED', `the server at ${address}:${rds.port} does not offer TLS`)
    }
    requestTls(upstream)
    await startTls(wire, { rds, dial: target }, trust)
  } finally {
    await abandonLogin(upstream)
    wire.socket.destroy()
  }
}
