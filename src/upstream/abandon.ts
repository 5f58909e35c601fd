/** Disconnects before login without raising the server's count of connection errors (max_connect_errors). */
import { TLSSocket } from 'node:tls'
import { readPacket, writePacket } from '../net/wire.ts'
import {
  CLIENT_CONNECT_ATTRS,
  CLIENT_CONNECT_WITH_DB,
  CLIENT_SSL,
  has,
  isCompressed,
  sentUpstream,
} from '../protocol/capabilities.ts'
import { COM_QUIT } from '../protocol/command-scanner.ts'
import { ERR, encodeHandshakeResponse41, type HandshakeResponse41, OK, parseERR_Packet } from '../protocol/packets.ts'
import type { Upstream } from './dial.ts'
import { placeholderPlugin, sendSSLRequest, writeCommand } from './login.ts'

/** Time for a server to refuse the anonymous login. */
const ABANDON_TIMEOUT_MS = 2_000

/**
 * Sends a login that the server refuses, if it has sent its greeting and got no login yet. A connection that just closes
 * counts towards max_connect_errors; at that limit the server locks out everybody behind our address (ERROR 1129). A refused
 * login does not count. Never rejects; resolves with the error number of the refusal, if there was one.
 * @param waitForSlot runs before the login is sent: it counts towards the rate
 */
export async function abandonLogin(
  upstream: Upstream,
  waitForSlot: () => Promise<void> = async () => {},
): Promise<number | undefined> {
  const { wire } = upstream
  const { socket } = wire
  // One of the two is set once the TLS handshake is over.
  const inTls = socket instanceof TLSSocket && (socket.authorized || Boolean(socket.authorizationError))
  const isUnanswered = wire.sequence === (inTls ? 2 : 1)
  if (!isUnanswered || socket.destroyed) return undefined
  if (upstream.end) {
    await upstream.end()
    return undefined
  }
  await waitForSlot()
  wire.deadline = wire.clock.now() + ABANDON_TIMEOUT_MS
  try {
    const login = anonymousLogin(upstream)
    writePacket(wire, encodeHandshakeResponse41(login))
    for (;;) {
      const packet = await readPacket(wire, 'the refusal of the login')
      if (packet[0] === ERR) return parseERR_Packet(packet).errno
      if (packet[0] === OK) {
        writeCommand(wire, COM_QUIT, isCompressed(login.capabilities)) // a server that lets anybody in
        return undefined
      }
      writePacket(wire, Buffer.alloc(0))
    }
  } catch {
    // Closed already, or silent.
    return undefined
  }
}

/**
 * A login without a real user or a secret: it goes over plaintext, or to a server that is not verified. After an SSLRequest it
 * repeats the same flags. To MySQL, other flags are a bad handshake, which counts as a connection error.
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
    zstdLevel: 3, // sent with CLIENT_ZSTD_COMPRESSION_ALGORITHM alone
  }
}

/** Requests TLS to look at the server's certificate, without a login to follow. End with `abandonLogin`. */
export function requestTls(upstream: Upstream): void {
  const { greeting } = upstream
  const capabilities = sentUpstream(0, greeting.capabilities, { database: false, attributes: false })
  sendSSLRequest(upstream, { capabilities, maxPacketSize: 0, charset: greeting.charset, reserved: Buffer.alloc(23) })
}
