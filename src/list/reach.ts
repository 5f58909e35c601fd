/** Whether this machine reaches a database: the server there must present the certificate of the endpoint. */
import { isDown } from '../aws/rds-words.ts'
import { monotonicClock } from '../clock.ts'
import type { HostPort } from '../endpoint.ts'
import { asProxyError } from '../errors.ts'
import type { DialTools } from '../upstream/dial.ts'
import type { Trust } from '../upstream/trust.ts'
import { type VerifyTiming, verifyServer } from '../upstream/verify-server.ts'
import type { FoundDatabase, Reach } from './found.ts'

/** Short, because people wait for the list. A path that works takes a part of a second. */
const TIMING: VerifyTiming = { connectTimeout: 2_000, greetingTimeout: 3_000, tlsTimeout: 3_000 }

/** Codes that only a server which answers can cause. */
const ANSWERED = /^(TLS_|UPSTREAM_NOT_MYSQL|UPSTREAM_REFUSED|UPSTREAM_TOO_OLD)/

/** Why a connection must not be tried; undefined if it may. */
export function reasonNotToTry({ status, pauses }: Pick<FoundDatabase, 'status' | 'pauses'>): string | undefined {
  if (isDown(status)) return `the database is ${status}`
  if (pauses) return 'a connection would wake the database if it is paused'
  return undefined
}

/** Never rejects unless `signal` aborts. @param target the address to dial: the endpoint or a load balancer */
export async function tryToReach(
  target: HostPort,
  rds: Pick<HostPort, 'host'>,
  trust: Trust,
  signal: AbortSignal,
  tools: DialTools = {},
): Promise<Reach> {
  const { clock = monotonicClock } = tools
  const started = clock.now()
  try {
    await verifyServer(target, rds, trust, signal, TIMING, tools)
    const milliseconds = Math.round(clock.now() - started)
    return { state: 'yes', code: undefined, reason: undefined, milliseconds }
  } catch (thrown) {
    signal.throwIfAborted()
    const { code, message } = asProxyError(thrown)
    return { state: ANSWERED.test(code) ? 'other' : 'no', code, reason: message, milliseconds: undefined }
  }
}
