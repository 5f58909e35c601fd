/** What a proxy is to users of the library. Its types refer to nothing internal: test/library-types.test.ts. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Address } from '../endpoint.ts'
import type { ProxyStatus } from './status.ts'

export interface Proxy {
  /**
   * Starts to listen. While it listens, another call has the same result. If it fails, it may be called again. A proxy that was
   * stopped never listens again.
   * @returns the address that clients connect to, with the real port where 0 was asked for
   * @throws ProxyError CONFIG_INVALID, LISTEN_FAILED, PROXY_STOPPING; the reason of the option `signal`
   */
  listen(): Promise<Address>
  /** Stops listening; sessions go on. A pending `listen()` is rejected. Has no effect before `listen()` and when called again. */
  stopListening(): void
  /**
   * Stops listening and ends every session; clients get ERR 1053. Resolves when all connections are closed, a second after the
   * delay at the latest. May be called again: of two calls, the one that ends sooner counts.
   * @param delay milliseconds that sessions get to finish their transactions; default 0
   * @throws ProxyError CONFIG_INVALID if `delay` is no such number; nothing is closed then
   */
  close(delay?: number): Promise<void>
  /** `close()`, for `await using` */
  [Symbol.asyncDispose](): Promise<void>
  /**
   * A connection to the database without a port, for the option `stream` of mysql2 and mariadb. It needs no `listen()`. The bytes
   * stay in this process, so it has no TLS; `localUsers` apply. Errors are those of a stream: after `close()`, it fails with the
   * ProxyError PROXY_STOPPING.
   */
  connect(): Duplex
  /** What the proxy does now: a copy, which later events do not change. */
  status(): ProxyStatus
  /**
   * The metrics of this proxy in the text format of Prometheus, for an endpoint of the host: docs/library.md. They have nothing
   * about the process.
   */
  metrics(): string
  /**
   * The status page, for the host program's own HTTP server: a listener for requests under any path. By itself it answers only
   * programs on this machine and only shows. It works in every state, also after `close()`: docs/library.md.
   * @throws ProxyError CONFIG_INVALID for invalid options
   */
  statusPage(options?: StatusPageOptions): (request: IncomingMessage, response: ServerResponse) => void
}

/** What the status page may do beyond showing the proxy to this machine. */
export interface StatusPageOptions {
  /**
   * Answer clients of any address, and under any name of the host: your server lets in only people who may see it. Default:
   * false, so that others get 403
   */
  readonly trustNetwork?: boolean | undefined
  /** Let people close sessions on the page. Default: false, so that there are no buttons and the requests get 403 */
  readonly closeSessions?: boolean | undefined
}
