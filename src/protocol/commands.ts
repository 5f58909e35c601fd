/**
 * Finding COM_CHANGE_USER among a client's commands.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
 */

export const COM_QUIT = 0x01
export const COM_CHANGE_USER = 0x11

const HEADER_LENGTH = 4
/** Payload length of a packet that is continued in the next one. */
const MAX_PACKET = 0xffffff

/**
 * Follows the packets that a client sends, in chunks that may begin and end anywhere. For each chunk it says how many bytes
 * may be handed on: all, or those before a COM_CHANGE_USER, or before a header that is not whole yet. The rest must come
 * again, at the front of the next chunk.
 */
export type CommandScanner = (chunk: Buffer) => number

/**
 * Commands have sequence id 0, but not everything with id 0 is a command: ids wrap at 256 in LOAD DATA LOCAL and in payloads
 * that are split. A packet is a continuation if the one before it was 0xFFFFFF long, or had id 255 and was not empty.
 */
export function createCommandScanner(): CommandScanner {
  /** bytes of the current packet that are still to come */
  let remaining = 0
  let continued = false

  return chunk => {
    const end = chunk.length
    let offset = Math.min(remaining, end)
    remaining -= offset
    while (offset < end) {
      if (end - offset < HEADER_LENGTH) return offset
      const length = chunk[offset]! | (chunk[offset + 1]! << 8) | (chunk[offset + 2]! << 16)
      const sequence = chunk[offset + 3]!
      if (sequence === 0 && !continued && length > 0) {
        if (end - offset === HEADER_LENGTH) return offset
        if (chunk[offset + HEADER_LENGTH] === COM_CHANGE_USER) return offset
      }
      continued = length === MAX_PACKET || (sequence === 255 && length > 0)
      const next = offset + HEADER_LENGTH + length
      remaining = Math.max(0, next - end)
      offset = next - remaining
    }
    return offset
  }
}

/** Whether what a scanner held back is a COM_CHANGE_USER, and not just a header that is not whole. */
export function beginsCommand(held: Buffer): boolean {
  return held.length > HEADER_LENGTH
}
