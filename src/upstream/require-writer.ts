/** --require-writer: whether the server takes writes, asked in the session before the client gets it. */
import { type Endpoint, formatHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { framePacket, frameUncompressed, malformed, parsed, readBytes, readPacket, type Wire } from '../net/wire.ts'
import { COM_QUERY, COMPRESSED_HEADER_LENGTH } from '../protocol/command-scanner.ts'
import { ERR, OK, parseERR_Packet } from '../protocol/packets.ts'

/**
 * Sets a session variable to what it is: an OK_Packet from a writer. A reader is given a value that there is not, and says so
 * in an ERR_Packet. Either is so short that a session with compression does not compress it, and changes nothing.
 * innodb_read_only is on for an Aurora reader, read_only for a replica.
 */
const QUESTION =
  "SET @@session.lc_time_names = IF(@@global.innodb_read_only OR @@global.read_only, 'reader', @@session.lc_time_names)"
const ER_UNKNOWN_LOCALE = 1649

/** @throws ProxyError SERVER_NOT_WRITER, UPSTREAM_… */
export async function requireWriter(wire: Wire, endpoint: Endpoint, compressed: boolean): Promise<void> {
  const command = framePacket(Buffer.concat([Buffer.of(COM_QUERY), Buffer.from(QUESTION)]), 0)
  wire.sequence = 1
  wire.socket.write(compressed ? frameUncompressed(command, 0) : command)
  if (compressed) await skipCompressedHeader(wire)
  const answer = await readPacket(wire, 'the answer whether the server takes writes')
  if (answer[0] === OK) return
  const serverError = parsed(wire, 'whether the server takes writes', () => parseERR_Packet(answer))
  if (answer[0] === ERR && serverError.errno !== ER_UNKNOWN_LOCALE) {
    throw new ProxyError('UPSTREAM_REFUSED_LOGIN', serverError.message, { serverError })
  }
  throw new ProxyError('SERVER_NOT_WRITER', `the server behind ${formatHostPort(endpoint.dial)} is read-only`)
}

async function skipCompressedHeader(wire: Wire): Promise<void> {
  const header = await readBytes(wire, COMPRESSED_HEADER_LENGTH, 'whether the server takes writes')
  if (header.readUIntLE(4, 3) !== 0) throw malformed(wire, 'a compressed answer to whether the server takes writes')
}
