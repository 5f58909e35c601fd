/**
 * mysql-iam-proxy as a library.
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

export type { Credentials, CredentialsProvider } from './aws/credentials.ts'
export type { LocalUserOptions } from './client/local-users.ts'
export type { HostPort } from './endpoint.ts'
export { ERRORS, type ErrorCode } from './error-codes.ts'
export { ProxyError } from './errors.ts'
export type { Logger } from './log.ts'
export { type Address, createProxy, type Proxy, type ProxyOptions } from './proxy/proxy.ts'
export type { EndpointState, Session } from './state.ts'
