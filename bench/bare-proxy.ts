/**
 * The least that a proxy has to do for a login, for login-cpu: the same handshakes as mysql-iam-proxy, without errors, limits,
 * a log and a token for each login. It takes each packet of a handshake for one chunk, so it is no proxy for anything else.
 */
import { once } from 'node:events'
import { connect as connectTcp, createServer, type Socket } from 'node:net'
import { connect as connectTls, createSecureContext } from 'node:tls'
import type { Credentials } from '../src/aws/credentials.ts'
import { createTokenSource } from '../src/aws/token.ts'
import type { HostPort } from '../src/endpoint.ts'
import { clearPassword, MYSQL_CLEAR_PASSWORD } from '../src/protocol/auth.ts'
import { offeredToClient, sentUpstream } from '../src/protocol/capabilities.ts'
import {
  encodeHandshakeResponse41,
  encodeHandshakeV10,
  encodeSSLRequest,
  parseHandshakeResponse41,
  parseHandshakeV10,
} from '../src/protocol/packets.ts'
import { packet } from './client.ts'

/** In the environment variable BARE_TASK, as JSON: everybody may read the arguments of a process. */
export interface BareTask {
  listen: HostPort
  server: HostPort
  tls: { ca: string; servername: string }
  rds: HostPort & { region: string }
  user: string
  credentials: Credentials
}

const HEADER_BYTES = 4
/** As the proxy: servers accept a session for minutes. A token lasts for 15. */
const RENEW_AFTER_MS = 60_000

const { listen, server, tls, rds, user, credentials } = JSON.parse(process.env['BARE_TASK']!) as BareTask
const createToken = createTokenSource(rds, async () => credentials)
const secureContext = createSecureContext({ ca: tls.ca, ecdhCurve: 'prime256v1:X25519', minVersion: 'TLSv1.2' })
let token = ''
let session: Buffer | undefined
let renewedAt = Number.NEGATIVE_INFINITY

createServer({ noDelay: true }, client => {
  client.on('error', () => {})
  serve(client).catch(() => client.destroy())
}).listen(listen.port, listen.host)

async function serve(client: Socket): Promise<void> {
  const plain = connectTcp({ ...server, noDelay: true })
  const greeting = parseHandshakeV10(await nextPayload(plain))
  const offered = offeredToClient(greeting.capabilities, false)
  client.write(packet(encodeHandshakeV10({ ...greeting, capabilities: offered }), 0))
  const response = parseHandshakeResponse41(await nextPayload(client))
  const capabilities = sentUpstream(response.capabilities, greeting.capabilities, {
    database: false,
    attributes: false,
  })
  const isOld = performance.now() - renewedAt > RENEW_AFTER_MS
  if (isOld) token = await createToken(user)
  plain.write(packet(encodeSSLRequest({ ...response, capabilities }), 1))
  const upstream = connectTls({
    socket: plain,
    servername: tls.servername,
    secureContext,
    ...(session ? { session } : {}),
  })
  if (isOld) {
    upstream.once('session', ticket => {
      session = ticket
      renewedAt = performance.now()
    })
  }
  await once(upstream, 'secureConnect')
  const login = {
    capabilities,
    user: Buffer.from(user),
    authResponse: clearPassword(token),
    authPlugin: MYSQL_CLEAR_PASSWORD,
  }
  upstream.write(packet(encodeHandshakeResponse41({ ...response, ...login }), 2))
  client.write(packet(await nextPayload(upstream), 2))
  client.pipe(upstream).pipe(client)
}

async function nextPayload(socket: Socket): Promise<Buffer> {
  const [chunk] = (await once(socket, 'data')) as [Buffer]
  return chunk.subarray(HEADER_BYTES)
}
