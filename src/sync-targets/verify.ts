/** Asks whoever answers at an address whether it is the database: MySQL's greeting, then TLS as the RDS endpoint. */
import type { HostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { CLIENT_SSL, has } from '../protocol/capabilities.ts'
import { abandonLogin, requestTls } from '../upstream/abandon.ts'
import { dial } from '../upstream/dial.ts'
import { startTls } from '../upstream/tls.ts'
import type { Trust } from '../upstream/trust.ts'

/** Milliseconds. */
const CONNECT_TIMEOUT_MS = 5_000
const TLS_TIMEOUT_MS = 8_000

/**
 * Resolves where `address` presents a certificate of `rds`. It sends no token and no password, and leaves by a login that
 * the server refuses, whoever it is: that does not count towards max_connect_errors.
 * @throws ProxyError DIAL_…, UPSTREAM_…, TLS_…
 */
export async function verifyAddress(address: string, rds: HostPort, trust: Trust, signal: AbortSignal): Promise<void> {
  const endpoint = {
    name: rds.host,
    rds: { ...rds, region: '' },
    dial: { host: address, port: rds.port },
    user: undefined,
    tokenInHandshake: 'never',
    connectTimeout: CONNECT_TIMEOUT_MS,
    loginTimeout: TLS_TIMEOUT_MS,
    keepalive: 60_000,
    requireWriter: false,
  } as const
  const upstream = await dial(endpoint, signal)
  const { wire, greeting } = upstream
  try {
    if (!has(greeting.capabilities, CLIENT_SSL)) {
      throw new ProxyError('TLS_NOT_OFFERED', `the server at ${address}:${rds.port} does not offer TLS`)
    }
    requestTls(upstream)
    await startTls(wire, endpoint, trust)
  } finally {
    await abandonLogin(upstream)
    wire.socket.destroy()
  }
}
