/** Names every public type. Compiled by each release of TypeScript, and never run. */
import {
  type Address,
  type Credentials,
  type CredentialsProvider,
  createProxy,
  type EndpointOptions,
  ERRORS,
  type ErrorCode,
  type HostPort,
  type LocalUserOptions,
  type Logger,
  type Proxy as OneProxy,
  ProxyError,
  type ProxyOptions,
  type ProxyStatus,
  type RecentError,
  type RolesAnywhereOptions,
  type SessionStatus,
  type TunnelStatus,
} from 'mysql-iam-proxy'
import { handler, type LambdaContext } from 'mysql-iam-proxy/sync-targets-lambda'

const endpoint: EndpointOptions = { rdsEndpoint: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com' }
const provider: CredentialsProvider = async (): Promise<Credentials> => ({ accessKeyId: 'a', secretAccessKey: 'b' })
const localUsers: LocalUserOptions[] = [{ name: 'connector', password: 'a long password' }]
const logger: Logger = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }
const options: ProxyOptions = { ...endpoint, credentials: provider, localUsers, logger, loginTimeout: 8_000 }
export const rolesAnywhere: RolesAnywhereOptions = {
  certificateFile: 'host.pem',
  keyFile: 'host.key',
  trustAnchorArn: 'arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/a',
  profileArn: 'arn:aws:rolesanywhere:eu-west-1:123456789012:profile/b',
  roleArn: 'arn:aws:iam::123456789012:role/c',
}

export async function use(): Promise<HostPort> {
  const proxy: OneProxy = createProxy(options)
  try {
    const address: Address = await proxy.listen()
    const status: ProxyStatus = proxy.status()
    const sessions: readonly SessionStatus[] = status.sessions
    const errors: readonly RecentError[] = status.recentErrors
    const tunnel: TunnelStatus | undefined = status.tunnel
    if (sessions.length > 0 || errors.length > 0 || tunnel) return address
    return address
  } catch (error) {
    if (!(error instanceof ProxyError)) throw error
    const code: ErrorCode = error.code
    throw new Error(ERRORS[code].explanation)
  } finally {
    await proxy.close(5_000)
  }
}

// @ts-expect-error an unknown option
createProxy({ rdsEndpiont: 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com' })
// @ts-expect-error a required option
createProxy({})

export const invoke = async (event: unknown, context: LambdaContext): Promise<unknown> => await handler(event, context)
