/**
 * Finds COM_CHANGE_USER among the commands of a client without compression.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
 */

export const COM_QUIT = 0x01
export const COM_QUERY = 0x03
export const COM_CHANGE_USER = 0x11
export const COM_STMT_CLOSE = 0x19

/** Length (3), sequence id (1) */
export const HEADER_LENGTH = 4

/** Payload length of a packet that continues in the next packet. */
export const MAX_PACKET_BYTES = 0xffffff

/** Follows the packets that a client sends, in chunks that begin and end anywhere. */
export interface CommandScanner {
  /**
   * How many bytes of `chunk` may be forwarded: all, or those before a COM_CHANGE_USER, or those before a packet that is too
   * incomplete to judge. The caller keeps the rest and passes it again, at the front of the next chunk.
   */
  scan(chunk: Buffer): number
  /** whether the rest of the last chunk begins with a COM_CHANGE_USER */
  found: boolean
}

/**
 * Commands have sequence id 0, but a packet with id 0 need not be a command: ids wrap at 256 in LOAD DATA LOCAL and in split
 * payloads. A packet is a continuation if the packet before it was 0xFFFFFF long, or had id 255 and was not empty.
 */
export function createCommandScanner(): CommandScanner {
  /** bytes of the current packet that have not come yet */
  let remaining = 0
  let continued = false

  const scanner: CommandScanner = {
    found: false,
    scan(chunk) {
      const end = chunk.length
      let offset = Math.min(remaining, end)
      remaining -= offset
      while (offset < end) {
        if (end - offset < HEADER_LENGTH) return offset
        const length = uint24(chunk, offset)
        const sequence = chunk[offset + 3]!
        if (sequence === 0 && !continued && length > 0) {
          if (end - offset === HEADER_LENGTH) return offset
          scanner.found = chunk[offset + HEADER_LENGTH] === COM_CHANGE_USER
          if (scanner.found) return offset
        }
        continued = length === MAX_PACKET_BYTES || (sequence === 255 && length > 0)
        const next = offset + HEADER_LENGTH + length
        remaining = Math.max(0, next - end)
        offset = next - remaining
      }
      return offset
    },
  }
  return scanner
}

function uint24(buffer: Buffer, offset: number): number {
  return buffer[offset]! | (buffer[offset + 1]! << 8) | (buffer[offset + 2]! << 16)
}
