/** --require-writer: asks in the new session whether the server accepts writes, before the client uses it. */
import { type Endpoint, formatHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { framePacket, frameUncompressed, malformed, parsed, readBytes, readPacket, type Wire } from '../net/wire.ts'
import { isCompressed } from '../protocol/capabilities.ts'
import { COMPRESSED_HEADER_LENGTH } from '../protocol/compressed-command-scanner.ts'
import { inflateWhole } from '../protocol/inflate.ts'
import { encodeComQuery, OK, parseERR_Packet } from '../protocol/packets.ts'

/**
 * Sets a session variable to its own value, which a writer answers with an OK_Packet. A reader gets an unknown value, and
 * answers with an ERR_Packet. Neither changes anything, and either is one packet whatever the capabilities are.
 * innodb_read_only is on for an Aurora reader, read_only for a replica.
 */
const QUESTION =
  "SET @@session.lc_time_names = IF(@@global.innodb_read_only OR @@global.read_only, 'reader', @@session.lc_time_names)"
const ER_UNKNOWN_LOCALE = 1649

/** Longest answer, in bytes: an OK_Packet may tell of session-state changes. */
const LONGEST_ANSWER_BYTES = 64 * 1024

const STEP = 'whether the server accepts writes'

/**
 * @param capabilities the flags that the session has on both legs
 * @throws ProxyError SERVER_NOT_WRITER, UPSTREAM_…
 */
export async function requireWriter(wire: Wire, endpoint: Endpoint, capabilities: number): Promise<void> {
  const compressed = isCompressed(capabilities)
  const command = framePacket(encodeComQuery(QUESTION, capabilities), 0)
  wire.sequence = 1
  wire.socket.write(compressed ? frameUncompressed(command, 0) : command)
  const answer = compressed ? await readCompressedPacket(wire) : await readPacket(wire, STEP)
  if (answer[0] === OK) return
  const serverError = parsed(wire, STEP, () => parseERR_Packet(answer))
  if (serverError.errno !== ER_UNKNOWN_LOCALE) {
    throw new ProxyError('UPSTREAM_REFUSED_LOGIN', serverError.message, { serverError })
  }
  throw new ProxyError('SERVER_NOT_WRITER', `the server behind ${formatHostPort(endpoint.dial)} is read-only`)
}

/** The payload of a packet that has a compressed packet for itself. Servers compress from 50 bytes on. */
async function readCompressedPacket(wire: Wire): Promise<Buffer> {
  const header = await readBytes(wire, COMPRESSED_HEADER_LENGTH, STEP)
  const length = header.readUIntLE(0, 3)
  const inflatedLength = header.readUIntLE(4, 3)
  if (Math.max(length, inflatedLength) > LONGEST_ANSWER_BYTES) throw malformed(wire, `${STEP}: ${length} bytes`)
  const payload = await readBytes(wire, length, STEP)
  const packet = inflatedLength === 0 ? payload : parsed(wire, STEP, () => inflateWhole(payload, inflatedLength))
  if (packet.length < 5 || packet.readUIntLE(0, 3) !== packet.length - 4) {
    throw malformed(wire, `${STEP}: not a compressed packet with one packet inside`)
  }
  return packet.subarray(4)
}
