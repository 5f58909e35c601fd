/**
 * mysql-iam-proxy as a library. docs/library.md has more.
 *
 * @example
 * import { createProxy } from 'mysql-iam-proxy'
 *
 * const proxy = createProxy({
 *   rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com',
 *   connect: 'my-nlb-0123456789abcdef.elb.eu-west-1.amazonaws.com',
 *   listen: '127.0.0.1:0',
 * })
 * const { host, port } = await proxy.listen()
 * // … connect any MySQL client to host:port …
 * await proxy.close()
 */
import type { EventEmitter } from 'node:events'
import { createDurations, metricsText } from './admin/metrics-text.ts'
import { createStatusPage } from './admin/status-page.ts'
import { withHint } from './errors.ts'
import type { ProxyEvents } from './events.ts'
import { tolerateFailures } from './host-logger.ts'
import { silent } from './log.ts'
import type { ProxyOptions } from './proxy/options.ts'
import { checkPageOptions } from './proxy/page-options.ts'
import { createProxy as createServedProxy } from './proxy/proxy.ts'
import type { Proxy as OneProxy, StatusPageOptions } from './proxy/proxy-api.ts'

export type { Credentials, CredentialsProvider } from './aws/credentials-given.ts'
export type { RolesAnywhereOptions } from './aws/roles-anywhere-options.ts'
export type { LocalUserOptions } from './client/local-user-options.ts'
export type { Address, EndpointOptions, HostPort } from './endpoint.ts'
export {
  ERRORS,
  type ErrorCode,
  type ErrorSource,
  type ErrorSpec,
  type LogLevel,
  type ServerErrno,
  type SqlState,
} from './error-codes.ts'
export { ProxyError } from './errors.ts'
export type { LoginFailed, ProxyEvents, SessionEnd, SessionFields, SessionStart } from './events.ts'
export type { Logger } from './log.ts'
export type { ProxyOptions, TlsFiles } from './proxy/options.ts'
export type { StatusPageOptions } from './proxy/proxy-api.ts'
export type { CompressionStatus, ProxyStatus, RecentError, SessionStatus, TunnelStatus } from './proxy/status.ts'

declare global {
  /** As @types/node and the library esnext.disposable of TypeScript declare it. A program may have neither. */
  interface SymbolConstructor {
    readonly asyncDispose: unique symbol
  }
}

/** One proxy. It is also an EventEmitter of Node.js, with the events of `ProxyEvents`. */
export interface Proxy extends OneProxy, EventEmitter<ProxyEvents> {}

/**
 * Creates a proxy for one RDS or Aurora endpoint. It does nothing until `listen()`.
 * @throws ProxyError CONFIG_INVALID, with every mistake in the options
 */
export function createProxy(options: ProxyOptions): Proxy {
  const proxy = hinted(() => createServedProxy(options))
  const { events, state, stopListening, close, connect, status } = proxy
  const durations = createDurations()
  state.onPhase = durations.observe
  const metrics = () => metricsText(state, durations)
  const page = createStatusPage({ ...proxy, metrics }, tolerateFailures(options.logger ?? silent))
  const own = {
    listen: () => proxy.listen().catch(rethrow),
    stopListening,
    close,
    connect: () => connect(),
    status,
    metrics,
    statusPage: (options?: StatusPageOptions) => page(hinted(() => checkPageOptions(options))),
    [Symbol.asyncDispose]: () => close(),
  }
  return Object.assign(events, own)
}

/** Adds the hint to an error that goes to the host program. */
function hinted<Result>(work: () => Result): Result {
  try {
    return work()
  } catch (error) {
    return rethrow(error)
  }
}

function rethrow(error: unknown): never {
  throw withHint(error)
}
