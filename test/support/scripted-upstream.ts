/** A MySQL server that follows a script and records every byte that it receives. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createSecureContext, type SecureContextOptions, TLSSocket } from 'node:tls'
import type { Test } from 'tap'
import { type Authority, type Certificate, createAuthority } from '../../src/demo/certificates.ts'
import * as flags from '../../src/protocol/capabilities.ts'
import {
  encodeAuthSwitchRequest,
  encodeERR_Packet,
  encodeHandshakeV10,
  encodeOK_Packet,
  type HandshakeResponse41,
  type HandshakeV10,
  isSSLRequest,
  parseHandshakeResponse41,
} from '../../src/protocol/packets.ts'

/** The RDS endpoint of the proxies under test. */
export const RDS_HOST = 'database-1.abcdefghijkl.eu-west-1.rds.amazonaws.com'

/** The operations of a script on its connection. */
export interface Peer {
  /** sends a packet with the next sequence id, or with the given one */
  send(payload: Buffer, sequence?: number): void
  /** sends bytes as they are */
  sendRaw(bytes: Buffer | string): void
  /** the payload of the next packet; throws if its sequence id is wrong, ends the script if there is none */
  expect(): Promise<Buffer>
  /** the next `length` bytes, whatever they are */
  expectRaw(length: number): Promise<Buffer>
  /** resolves when TLS is up, ends the script when it fails */
  startTls(certificate: Certificate, options?: SecureContextOptions): Promise<void>
  /** sends FIN */
  close(): void
  /** sends RST */
  reset(): void
  wait(milliseconds: number): Promise<void>
}

/** The script of one connection. If it returns without an end, the server keeps reading until the other side ends. */
export type Script = (peer: Peer) => Promise<void>

/** What a connection received. */
export interface Connection {
  /** all bytes before TLS */
  clear: Buffer
  /** all bytes inside TLS */
  decrypted: Buffer
  /** whether the other side ended or reset the connection */
  ended: boolean
}

export interface ScriptedUpstream {
  port: number
  /** host:port */
  address: string
  connections: Connection[]
}

/** Thrown in a script whose peer disconnected. It does not fail the test. */
class PeerLeft extends Error {}

/** @param scripts one per connection, in order; the last one serves all further connections */
export async function startScriptedUpstream(t: Test, scripts: Script[], port = 0): Promise<ScriptedUpstream> {
  const connections: Connection[] = []
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    const script = scripts[Math.min(connections.length, scripts.length - 1)]!
    const connection: Connection = { clear: Buffer.alloc(0), decrypted: Buffer.alloc(0), ended: false }
    connections.push(connection)
    runScript(socket, script, connection).catch(error => t.fail('the script of the upstream failed', { error }))
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const address = server.address() as AddressInfo
  return { port: address.port, address: `127.0.0.1:${address.port}`, connections }
}

async function runScript(rawSocket: Socket, script: Script, connection: Connection): Promise<void> {
  let socket = rawSocket
  let sequence = 0
  const record = (bytes: Buffer) => {
    const stage = socket instanceof TLSSocket ? 'decrypted' : 'clear'
    connection[stage] = Buffer.concat([connection[stage], bytes])
  }
  const watch = () => {
    const onEnd = () => {
      connection.ended = true
    }
    socket.on('end', onEnd).on('close', onEnd).on('error', onEnd)
  }
  const take = async (length: number) => {
    const bytes = await takeBytes(socket, length)
    record(bytes)
    if (bytes.length < length) throw new PeerLeft()
    return bytes
  }
  watch()
  const peer: Peer = {
    send(payload, id = sequence) {
      sequence = (id + 1) & 0xff
      socket.write(packet(payload, id))
    },
    sendRaw(bytes) {
      socket.write(bytes)
    },
    async expect() {
      const header = await take(4)
      const id = header[3]!
      // A command restarts the sequence ids.
      if (id !== sequence && id !== 0) throw new Error(`sequence id ${id}, expected ${sequence}`)
      sequence = (id + 1) & 0xff
      return take(header.readUIntLE(0, 3))
    },
    expectRaw: take,
    async startTls({ certificate, key }, options = {}) {
      const secureContext = createSecureContext({ cert: certificate, key, ...options })
      socket = new TLSSocket(socket, { isServer: true, secureContext })
      watch()
      const secure = await new Promise(resolve => {
        socket.once('secure', () => resolve(true)).once('close', () => resolve(false))
      })
      if (!secure) throw new PeerLeft()
    },
    close() {
      socket.end()
    },
    reset() {
      rawSocket.resetAndDestroy()
    },
    wait,
  }
  try {
    await script(peer)
  } catch (error) {
    if (!(error instanceof PeerLeft)) throw error
  } finally {
    if (socket.readableEnded) socket.end()
    else socket.on('data', record).once('end', () => socket.end())
  }
}

/** The next `length` bytes of a socket, or fewer if it ends first. The rest stays in the socket. */
export function takeBytes(socket: Socket, length: number): Promise<Buffer> {
  if (length === 0) return Promise.resolve(Buffer.alloc(0))
  return new Promise(resolve => {
    const attempt = () => {
      const bytes: Buffer | null = socket.read(length)
      if (!bytes && !socket.readableEnded && !socket.destroyed) return
      socket.off('readable', attempt).off('end', attempt).off('close', attempt)
      resolve(bytes ?? Buffer.alloc(0))
    }
    // One listener for the whole wait: each new listener gets an event for the same bytes.
    socket.on('readable', attempt).on('end', attempt).on('close', attempt)
    attempt()
  })
}

/** `payload` with its header. */
export function packet(payload: Buffer, sequence: number): Buffer {
  const header = Buffer.alloc(4)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, payload])
}

export function wait(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds))
}

let certificates: Promise<{ authority: Authority; certificate: Certificate }> | undefined

/** The authority that proxies under test trust, and its certificate for RDS_HOST. */
export function testCertificates(): Promise<{ authority: Authority; certificate: Certificate }> {
  certificates ??= createAuthority('trusted by the tests').then(async authority => ({
    authority,
    certificate: await authority.issue({ names: [RDS_HOST] }),
  }))
  return certificates
}

const CAPABILITIES =
  flags.CLIENT_LONG_PASSWORD |
  flags.CLIENT_LONG_FLAG |
  flags.CLIENT_CONNECT_WITH_DB |
  flags.CLIENT_LOCAL_FILES |
  flags.CLIENT_PROTOCOL_41 |
  flags.CLIENT_SSL |
  flags.CLIENT_TRANSACTIONS |
  flags.CLIENT_SECURE_CONNECTION |
  flags.CLIENT_MULTI_RESULTS |
  flags.CLIENT_PLUGIN_AUTH |
  flags.CLIENT_CONNECT_ATTRS |
  flags.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA |
  flags.CLIENT_DEPRECATE_EOF

const GREETING: HandshakeV10 = {
  serverVersion: '8.0.39',
  threadId: 4711,
  salt: Buffer.from('abcdefghijklmnopqrst'),
  capabilities: CAPABILITIES,
  charset: 45,
  status: 2,
  mariadbCapabilities: 0,
  authPlugin: 'caching_sha2_password',
}

/** A greeting as RDS sends it. */
export function greeting(changes: Partial<HandshakeV10> = {}): Buffer {
  return encodeHandshakeV10({ ...GREETING, ...changes })
}

/** A greeting that lacks `flag`. */
export function greetingWithout(flag: number): Buffer {
  return greeting({ capabilities: (CAPABILITIES & ~flag) >>> 0 })
}

export const OK = encodeOK_Packet({ affectedRows: 0, lastInsertId: 0, status: 2, warnings: 0 })

/** An ERR_Packet; one that comes instead of a greeting has no SQL state. */
export function err(errno: number, sqlState: string | undefined, message: string): Buffer {
  return encodeERR_Packet({ errno, sqlState, message })
}

export const ACCESS_DENIED = err(1045, '28000', "Access denied for user 'iam_user'@'10.0.0.5' (using password: YES)")

export function authSwitch(authPlugin: string): Buffer {
  return encodeAuthSwitchRequest({ authPlugin, data: GREETING.salt })
}

/** A login as far as the client's HandshakeResponse41. */
export async function untilResponse(
  peer: Peer,
  changes: Partial<HandshakeV10> = {},
  certificate?: Certificate,
): Promise<HandshakeResponse41> {
  peer.send(greeting(changes))
  const request = await peer.expect()
  if (!isSSLRequest(request)) return refuseInClear(peer)
  await peer.startTls(certificate ?? (await testCertificates()).certificate)
  return parseHandshakeResponse41(await peer.expect())
}

/** Refuses a login without TLS or of an unknown user, as servers do. This counts as a refused login. */
function refuseInClear(peer: Peer): never {
  peer.send(ACCESS_DENIED)
  peer.close()
  throw new PeerLeft()
}

/** Refuses a complete login. */
export function refuseLogin(certificate?: Certificate): Script {
  return async peer => {
    await untilResponse(peer, {}, certificate)
    peer.send(ACCESS_DENIED)
    peer.close()
  }
}

/** Accepts a login, however its token comes, and answers every command with OK. */
export const goodLogin: Script = async peer => {
  const response = await untilResponse(peer)
  if (response.authPlugin !== 'mysql_clear_password') {
    peer.send(authSwitch('mysql_clear_password'))
    await peer.expect()
  }
  peer.send(OK)
  await serveCommands(peer)
}

const COM_QUIT = 1

export async function serveCommands(peer: Peer): Promise<void> {
  for (;;) {
    const command = await peer.expect()
    if (command[0] === COM_QUIT) return peer.close()
    peer.send(OK)
  }
}
