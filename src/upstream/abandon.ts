/** Leaving a server that has greeted us and has had no login: in a way that it does not count as a connection error. */
import { TLSSocket } from 'node:tls'
import { readPacket, writePacket } from '../net/wire.ts'
import {
  CLIENT_CONNECT_ATTRS,
  CLIENT_CONNECT_WITH_DB,
  CLIENT_SSL,
  CLIENT_ZSTD_COMPRESSION_ALGORITHM,
  has,
  isCompressed,
  sentUpstream,
} from '../protocol/capabilities.ts'
import { COM_QUIT } from '../protocol/command-scanner.ts'
import { ERR, encodeHandshakeResponse41, type HandshakeResponse41, OK, parseERR_Packet } from '../protocol/packets.ts'
import type { Upstream } from './dial.ts'
import { placeholderPlugin, sendSSLRequest, writeCommand } from './login.ts'

/** Milliseconds that a server gets to refuse a login that is not meant. */
const ABANDON_TIMEOUT_MS = 2_000

/**
 * Leaves a server that has greeted us and has not had a login, with one that it refuses. A connection that just ends
 * counts towards max_connect_errors, at which the server locks out everybody behind our address (ERROR 1129); a refused
 * login does not count. Never rejects; resolves with the error code of the refusal, where there was one.
 */
export async function abandonLogin(upstream: Upstream): Promise<number | undefined> {
  const { wire } = upstream
  const { socket } = wire
  // Once its handshake is over: either is set then.
  const inTls = socket instanceof TLSSocket && (socket.authorized || Boolean(socket.authorizationError))
  const isUnanswered = wire.sequence === (inTls ? 2 : 1)
  if (!isUnanswered || socket.destroyed) return undefined
  wire.deadline = wire.clock.now() + ABANDON_TIMEOUT_MS
  try {
    const login = anonymousLogin(upstream)
    writePacket(wire, encodeHandshakeResponse41(login))
    for (;;) {
      const packet = await readPacket(wire, 'the refusal of the login')
      if (packet[0] === ERR) return parseERR_Packet(packet).errno
      if (packet[0] === OK) {
        writeCommand(wire, COM_QUIT, isCompressed(login.capabilities)) // a server without passwords
        return undefined
      }
      writePacket(wire, Buffer.alloc(0))
    }
  } catch {
    // Gone already, or it says nothing: no more can be done.
    return undefined
  }
}

/**
 * Names nobody, and holds no secret: it goes in clear, or to a server of which nobody knows who it is. After an SSLRequest
 * its flags are the same again: MySQL takes others for a bad handshake, which counts.
 */
function anonymousLogin({ greeting, sslRequest }: Upstream): HandshakeResponse41 {
  const inClear = sentUpstream(0, greeting.capabilities, { database: false, attributes: false }) & ~CLIENT_SSL
  const capabilities = sslRequest?.capabilities ?? inClear
  const nothingFor = (flag: number) => (has(capabilities, flag) ? Buffer.alloc(0) : undefined)
  return {
    capabilities,
    maxPacketSize: sslRequest?.maxPacketSize ?? 0,
    charset: sslRequest?.charset ?? greeting.charset,
    reserved: sslRequest?.reserved ?? Buffer.alloc(23),
    user: Buffer.from('mysql-iam-proxy'),
    authResponse: Buffer.alloc(0),
    database: nothingFor(CLIENT_CONNECT_WITH_DB),
    authPlugin: placeholderPlugin(greeting),
    attributes: nothingFor(CLIENT_CONNECT_ATTRS),
    zstdLevel: has(capabilities, CLIENT_ZSTD_COMPRESSION_ALGORITHM) ? 3 : undefined,
  }
}

/** Asks for TLS without a login in mind, to look at the server's certificate; `leave` ends it in good order. */
export function requestTls(upstream: Upstream): void {
  const { greeting } = upstream
  const capabilities = sentUpstream(0, greeting.capabilities, { database: false, attributes: false })
  sendSSLRequest(upstream, { capabilities, maxPacketSize: 0, charset: greeting.charset, reserved: Buffer.alloc(23) })
}
