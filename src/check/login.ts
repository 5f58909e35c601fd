/** The login itself, then a MySQL client through the proxy, then what its session says. */
import type { Connection, QueryError, RowDataPacket } from 'mysql2/promise'
import { formatHostPort, isIndirect } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import {
  CLIENT_CONNECT_WITH_DB,
  CLIENT_LONG_PASSWORD,
  CLIENT_PROTOCOL_41,
  CLIENT_SECURE_CONNECTION,
} from '../protocol/capabilities.ts'
import { COM_QUIT } from '../protocol/command-scanner.ts'
import type { HandshakeResponse41 } from '../protocol/packets.ts'
import { createProxy } from '../proxy/proxy.ts'
import { dial } from '../upstream/dial.ts'
import { assertOK, login, writeCommand } from '../upstream/login.ts'
import { requireWriter } from '../upstream/require-writer.ts'
import type { Context } from './context.ts'
import { spokenDuration } from './credentials.ts'
import { leaveAndEnd } from './network.ts'
import type { StepLog } from './steps.ts'

/** As the proxy does it, over a connection of its own. @throws ProxyError DIAL_…, TLS_…, UPSTREAM_…, AUTH_PLUGIN_UNEXPECTED, SERVER_NOT_WRITER */
export async function checkLogin({ target, user, database, stop }: Context, notes: StepLog): Promise<void> {
  let upstream = await dial(target.endpoint, stop)
  try {
    const response = responseOf(user, database)
    const result = await login(upstream, target, response, user, stop)
    upstream = result.upstream
    assertOK(upstream.wire, result.payload, user)
    const asked = target.takesTokenInHandshake === false || target.endpoint.tokenInHandshake === 'never'
    notes.fact('token', asked ? 'sent in answer to an AuthSwitchRequest' : 'sent inside HandshakeResponse41')
    if (target.endpoint.requireWriter) await requireWriter(upstream.wire, target.endpoint, response.capabilities)
    writeCommand(upstream.wire, COM_QUIT, false)
  } finally {
    await leaveAndEnd(upstream)
  }
}

/** What a plain client without a password answers. */
function responseOf(user: string, database: string | undefined): HandshakeResponse41 {
  return {
    capabilities:
      CLIENT_LONG_PASSWORD |
      CLIENT_PROTOCOL_41 |
      CLIENT_SECURE_CONNECTION |
      (database === undefined ? 0 : CLIENT_CONNECT_WITH_DB),
    maxPacketSize: 1 << 24,
    charset: 45, // utf8mb4_general_ci, which all servers know
    reserved: Buffer.alloc(23),
    user: Buffer.from(user),
    authResponse: Buffer.alloc(0),
    database: database === undefined ? undefined : Buffer.from(database),
    authPlugin: undefined,
    attributes: undefined,
    zstdLevel: undefined,
  }
}

/** A MySQL client through the proxy itself; resolves with its connection. @throws ProxyError PROXY_LOGIN_FAILED */
export async function checkLocalLeg(path: Context, notes: StepLog): Promise<Connection> {
  const { connectTimeout, loginTimeout } = path.target.endpoint
  const { createConnection } = await import('mysql2/promise')
  const { options } = path
  const toAnybody = { localUsers: undefined, tls: undefined, requireTls: undefined, allowFrom: undefined }
  const proxy = createProxy({ ...options, ...toAnybody, listen: '127.0.0.1:0' })
  path.cleanup.push(() => proxy.close())
  const { host, port } = await proxy.listen()
  const { database, user } = path
  try {
    const connection = await createConnection({
      host,
      port,
      user,
      ...(database === undefined ? {} : { database }),
      connectTimeout: connectTimeout + loginTimeout,
    })
    path.cleanup.push(() => connection.destroy())
    const [rows] = await connection.query<RowDataPacket[]>('SELECT CURRENT_USER() AS me')
    notes.fact('client', `mysql2, through the proxy on ${formatHostPort({ host, port })}, without a password`)
    notes.fact('SELECT CURRENT_USER()', String(rows[0]?.['me']))
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
  'innodb_read_only',
  'max_connect_errors',
  'max_connections',
  'read_only',
  'require_secure_transport',
  'wait_timeout',
]

/** Of a TCP listener of an NLB, in seconds, unless it is set. https://docs.aws.amazon.com/elasticloadbalancing/latest/network/update-idle-timeout.html */
const NLB_IDLE_TIMEOUT = 350

/** Fewer than this are soon reached where all clients share the address of a load balancer. */
const FEW_CONNECT_ERRORS = 1_000

/** What the session says of the server's settings. Nothing of it keeps a login from working. @throws ProxyError PROXY_LOGIN_FAILED */
export async function checkSession(path: Context, connection: Connection, notes: StepLog): Promise<void> {
  const { endpoint } = path.target
  const settings = await readVariables(connection)
  await connection.end()

  const isReadOnly = settings['read_only'] === 'ON' || settings['innodb_read_only'] === 'ON'
  notes.fact('server is', isReadOnly ? 'read-only: a reader or replica' : 'a writer')
  if (isReadOnly && isWriterEndpoint(endpoint.rds.host)) {
    const message = `the server behind ${formatHostPort(endpoint.dial)} is read-only, but ${endpoint.rds.host} is a writer endpoint`
    notes.warn(new ProxyError('SERVER_READ_ONLY', message))
  }
  notes.fact('max_connections', settings['max_connections'] ?? 'not told')

  const connectErrors = settings['max_connect_errors']
  notes.fact('max_connect_errors', connectErrors ?? 'not told')
  if (isIndirect(endpoint) && Number(connectErrors) < FEW_CONNECT_ERRORS) {
    const message = `max_connect_errors is ${connectErrors}`
    notes.warn(new ProxyError('MAX_CONNECT_ERRORS_LOW', message))
  }

  const transport = settings['require_secure_transport']
  notes.fact(
    'require_secure_transport',
    transport === 'OFF' ? 'OFF: other clients may log in without TLS' : (transport ?? 'not told'),
  )
  notes.fact('wait_timeout', `${settings['wait_timeout']} s: the server ends sessions that are idle for longer`)
  checkKeepalive(path, notes)
}

function checkKeepalive({ target: { endpoint }, loadBalancer }: Context, notes: StepLog): void {
  const keepalive = endpoint.keepalive / 1_000
  if (!isIndirect(endpoint)) {
    notes.fact('keepalive', `after ${keepalive} s of idleness`)
    return
  }
  const idle = loadBalancer?.idleTimeout ?? NLB_IDLE_TIMEOUT
  const whose = loadBalancer?.idleTimeout ? `the NLB's ${idle} s` : `the ${idle} s of an NLB`
  notes.fact('keepalive', `after ${keepalive} s of idleness, ${keepalive < idle ? 'below' : 'not below'} ${whose}`)
  if (keepalive < idle) return
  const message = `--keepalive ${spokenDuration(endpoint.keepalive)} is not below ${whose} of idle timeout`
  notes.warn(new ProxyError('NLB_IDLE_TIMEOUT', message))
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

/** The writer endpoint of an Aurora or Multi-AZ cluster: its readers have cluster-ro-, custom ones are what they are. */
function isWriterEndpoint(host: string): boolean {
  return /\.cluster-(?!ro-|custom-)/.test(host)
}
