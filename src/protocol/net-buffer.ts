/**
 * A larger network buffer of the server, so that it compresses more of an answer at a time: fewer bytes, and with zstd less work.
 * docs/decisions/0188-larger-net-buffer.md
 */
import { COM_STMT_CLOSE, HEADER_LENGTH } from './command-scanner.ts'
import { encodeFrame } from './compress-frames.ts'
import { type Compression, deflateWhole } from './inflate.ts'
import { isERR } from './packets.ts'

/**
 * Sizes of the buffer, at first 16 KiB (net_buffer_length). zlib takes more of the server's time for larger frames, zstd less. More
 * than 64 KiB would not be decompressed at once (compress-frames.ts).
 */
const NET_BUFFER_BYTES = { zlib: 32 * 1024, zstd: 64 * 1024 } as const

/** ER_NET_PACKET_TOO_LARGE */
const PACKET_TOO_LARGE = 1153

const made = new Map<Compression, Buffer>()

/**
 * A compressed packet for the beginning of a session. Servers keep the buffer that they have read a large packet into, and fill
 * it with rows. The packet is COM_STMT_CLOSE for the statement 0, which never exists, and zeros: it has no answer.
 */
export function largePacket(compression: Compression): Buffer {
  return made.get(compression) ?? make(compression)
}

function make(compression: Compression): Buffer {
  const packet = Buffer.alloc(NET_BUFFER_BYTES[compression])
  packet.writeUIntLE(packet.length - HEADER_LENGTH, 0, 3)
  packet[HEADER_LENGTH] = COM_STMT_CLOSE
  const frame = encodeFrame(deflateWhole(packet, compression), packet.length, 0)
  made.set(compression, frame)
  return frame
}

/** Whether the server's packet says that a packet is larger than its max_allowed_packet. */
export function isTooLarge(packet: Buffer): boolean {
  return isERR(packet.subarray(HEADER_LENGTH), PACKET_TOO_LARGE)
}
