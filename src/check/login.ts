/** The login itself, then a MySQL client through the proxy, then the settings of its session. */
import type { Connection, QueryError, RowDataPacket } from 'mysql2/promise'
import { formatHostPort, isGlobalEndpoint, isIndirect, isLocalForward, isOnFarEnd, isRdsProxy } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { LIBRARY_NAMES } from '../option-values.ts'
import {
  CLIENT_CONNECT_WITH_DB,
  CLIENT_LONG_PASSWORD,
  CLIENT_PROTOCOL_41,
  CLIENT_SECURE_CONNECTION,
} from '../protocol/capabilities.ts'
import { COM_QUIT } from '../protocol/command-scanner.ts'
import type { HandshakeResponse41 } from '../protocol/packets.ts'
import { createProxy } from '../proxy/proxy.ts'
import type { CompressionState } from '../state.ts'
import { dial } from '../upstream/dial.ts'
import { assertOK, login, writeCommand } from '../upstream/login.ts'
import { requireWriter } from '../upstream/require-writer.ts'
import type { Context } from './context.ts'
import { spokenDuration } from './credentials.ts'
import { leaveAndEnd } from './network.ts'
import type { StepLog } from './steps.ts'

/** Logs in as the proxy does, over a separate connection. @throws ProxyError DIAL_…, TLS_…, UPSTREAM_…, AUTH_PLUGIN_UNEXPECTED, SERVER_NOT_WRITER */
export async function checkLogin({ target, user, database, stop }: Context, log: StepLog): Promise<void> {
  let upstream = await dial(target.endpoint, stop, target)
  try {
    const response = responseOf(user, database)
    const result = await login(upstream, target, response, user, stop)
    upstream = result.upstream
    assertOK(upstream.wire, result.payload, user, result.hint)
    const asked = target.takesTokenInHandshake === false || target.endpoint.tokenInHandshake === 'never'
    log.fact('token', asked ? 'sent in answer to an AuthSwitchRequest' : 'sent inside HandshakeResponse41')
    const compression = target.compression?.state()
    if (compression) log.fact('compression', spokenCompression(compression))
    if (target.endpoint.requireWriter) await requireWriter(upstream.wire, target.endpoint, response.capabilities)
    writeCommand(upstream.wire, COM_QUIT, false)
  } finally {
    await leaveAndEnd(upstream)
  }
}

/** Such as "auto: zstd, because greetings take 38 ms or more". */
function spokenCompression({ setting, next, why }: CompressionState): string {
  return `${setting}: ${next ?? 'none'}${why && `, because ${why}`}`
}

/** The answer of a simple client without a password. */
function responseOf(user: string, database: string | undefined): HandshakeResponse41 {
  return {
    capabilities:
      CLIENT_LONG_PASSWORD |
      CLIENT_PROTOCOL_41 |
      CLIENT_SECURE_CONNECTION |
      (database === undefined ? 0 : CLIENT_CONNECT_WITH_DB),
    maxPacketSize: 1 << 24,
    charset: 45, // utf8mb4_general_ci, which all servers support
    reserved: Buffer.alloc(23),
    user: Buffer.from(user),
    authResponse: Buffer.alloc(0),
    database: database === undefined ? undefined : Buffer.from(database),
    authPlugin: undefined,
    attributes: undefined,
    zstdLevel: undefined,
  }
}

/** Logs in with a MySQL client through the proxy itself, and resolves with its connection. @throws ProxyError PROXY_LOGIN_FAILED */
export async function checkLocalLeg(context: Context, log: StepLog): Promise<Connection> {
  const { connectTimeout, greetingTimeout, loginTimeout } = context.target.endpoint
  const { default: mysql } = await import('mysql2/promise')
  const { options } = context
  const openToAll = { localUsers: undefined, tls: undefined, requireTls: undefined, allowFrom: undefined }
  const proxy = createProxy({ ...options, ...openToAll, listen: '127.0.0.1:0' }, LIBRARY_NAMES, {
    way: context.target.tunnel,
  })
  context.cleanup.push(() => proxy.close())
  const { host, port } = await proxy.listen()
  const { database, user } = context
  try {
    const connection = await mysql.createConnection({
      host,
      port,
      user,
      ...(database === undefined ? {} : { database }),
      connectTimeout: connectTimeout + greetingTimeout + loginTimeout,
    })
    context.cleanup.push(() => connection.destroy())
    const [rows] = await connection.query<RowDataPacket[]>('SELECT CURRENT_USER() AS me')
    log.fact('client', `mysql2, through the proxy on ${formatHostPort({ host, port })}, without a password`)
    log.fact('SELECT CURRENT_USER()', String(rows[0]?.['me']))
    return connection
  } catch (cause) {
    throw localLegError(cause)
  }
}

function localLegError(cause: unknown): ProxyError {
  const { errno, message } = cause as QueryError
  const number = errno === undefined ? '' : `ERROR ${errno}: `
  const what = `a MySQL client through the proxy failed: ${number}${message}`
  return new ProxyError('PROXY_LOGIN_FAILED', what, { cause })
}

const VARIABLES = [
  'aurora_version',
  'connect_timeout',
  'innodb_read_only',
  'max_connect_errors',
  'max_connections',
  'read_only',
  'require_secure_transport',
  'version_comment',
  'wait_timeout',
]

/** The default of a TCP listener of an NLB, in seconds. https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html */
const NLB_IDLE_TIMEOUT_SECONDS = 350

/** Less is soon reached if all clients share the address of a load balancer. */
const FEW_CONNECT_ERRORS = 1_000

/** Checks the settings of the server. None of them prevents logins. @throws ProxyError PROXY_LOGIN_FAILED */
export async function checkSession(context: Context, connection: Connection, log: StepLog): Promise<void> {
  const { endpoint } = context.target
  const settings = await readVariables(connection)
  context.variables = settings
  await connection.end()

  const isReadOnly = settings['read_only'] === 'ON' || settings['innodb_read_only'] === 'ON'
  log.fact('server is', isReadOnly ? 'read-only: a reader or replica' : 'a writer')
  if (isReadOnly && isWriterEndpoint(endpoint.rds.host)) {
    const message = `the server behind ${formatHostPort(endpoint.dial)} is read-only, but ${endpoint.rds.host} is a writer endpoint`
    log.warn(new ProxyError('SERVER_READ_ONLY', message))
  }
  log.fact('max_connections', settings['max_connections'] ?? 'unknown')

  const connectErrors = settings['max_connect_errors']
  log.fact('max_connect_errors', connectErrors ?? 'unknown')
  // An RDS Proxy has its own connections to the database.
  if (
    isIndirect(endpoint) &&
    !isLocalForward(endpoint) &&
    !isOnFarEnd(endpoint) &&
    !isRdsProxy(endpoint.rds.host) &&
    Number(connectErrors) < FEW_CONNECT_ERRORS
  ) {
    const message = `max_connect_errors is ${connectErrors}`
    log.warn(new ProxyError('MAX_CONNECT_ERRORS_LOW', message))
  }

  const transport = settings['require_secure_transport']
  log.fact(
    'require_secure_transport',
    transport === 'OFF' ? 'OFF: other clients may log in without TLS' : (transport ?? 'unknown'),
  )
  log.fact('wait_timeout', `${settings['wait_timeout']} s: the server closes sessions that are idle for longer`)
  checkKeepalive(context, log)
}

function checkKeepalive({ target: { endpoint }, loadBalancer }: Context, log: StepLog): void {
  const keepalive = endpoint.keepalive / 1_000
  if (!isIndirect(endpoint)) {
    log.fact('keepalive', `after ${keepalive} s of idle time`)
    return
  }
  if (isLocalForward(endpoint) || isOnFarEnd(endpoint)) {
    log.fact('keepalive', `after ${keepalive} s of idle time, but only up to the tunnel: set that of the tunnel too`)
    return
  }
  const idle = loadBalancer?.idleTimeout ?? NLB_IDLE_TIMEOUT_SECONDS
  const whose = loadBalancer?.idleTimeout ? `the NLB's ${idle} s` : `the ${idle} s of an NLB`
  log.fact('keepalive', `after ${keepalive} s of idle time, ${keepalive < idle ? 'below' : 'not below'} ${whose}`)
  if (keepalive < idle) return
  const message = `keepalive (${spokenDuration(endpoint.keepalive)}) is not below ${whose} of idle timeout`
  log.warn(new ProxyError('NLB_IDLE_TIMEOUT', message))
}

async function readVariables(connection: Connection): Promise<Record<string, string>> {
  const names = VARIABLES.map(name => `'${name}'`).join(', ')
  try {
    const [rows] = await connection.query<RowDataPacket[]>(`SHOW GLOBAL VARIABLES WHERE Variable_name IN (${names})`)
    return Object.fromEntries(rows.map(row => [row['Variable_name'], row['Value']]))
  } catch (cause) {
    throw localLegError(cause)
  }
}

/** Whether `host` is the writer endpoint of an Aurora or Multi-AZ cluster or of a Global Database, and not a reader or custom endpoint. */
function isWriterEndpoint(host: string): boolean {
  return isGlobalEndpoint(host) || /\.cluster-(?!ro-|custom-)/.test(host)
}
