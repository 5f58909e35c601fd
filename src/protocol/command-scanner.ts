/**
 * Finding COM_CHANGE_USER among a client's commands.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression_packet.html
 */
import zlib from 'node:zlib'

export const COM_QUIT = 0x01
export const COM_QUERY = 0x03
export const COM_CHANGE_USER = 0x11

/** Length (3), sequence id (1) */
const HEADER_LENGTH = 4

/** Length as sent (3), sequence id (1), length before compression (3), 0 where the payload is not compressed */
export const COMPRESSED_HEADER_LENGTH = 7

/** Payload length of a packet that is continued in the next one. */
const MAX_PACKET = 0xffffff

/** Longest COM_CHANGE_USER that is looked for in a compressed packet, in bytes: connection attributes may have 64 KiB. */
const LONGEST_COMMAND = 128 * 1024

/** Follows the packets that a client sends, in chunks that may begin and end anywhere. */
export interface CommandScanner {
  /**
   * How many bytes of `chunk` may be handed on: all, or those before a COM_CHANGE_USER, or before what is not whole enough to
   * tell. The rest must come again, at the front of the next chunk.
   */
  scan(chunk: Buffer): number
  /** whether the rest of the last chunk begins with a COM_CHANGE_USER */
  found: boolean
}

/**
 * Commands have sequence id 0, but not everything with id 0 is a command: ids wrap at 256 in LOAD DATA LOCAL and in payloads
 * that are split. A packet is a continuation if the one before it was 0xFFFFFF long, or had id 255 and was not empty.
 */
export function createCommandScanner(): CommandScanner {
  /** bytes of the current packet that are still to come */
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
        continued = length === MAX_PACKET || (sequence === 255 && length > 0)
        const next = offset + HEADER_LENGTH + length
        remaining = Math.max(0, next - end)
        offset = next - remaining
      }
      return offset
    },
  }
  return scanner
}

/**
 * The same for CLIENT_COMPRESS and CLIENT_ZSTD_COMPRESSION_ALGORITHM, where packets travel inside compressed ones, whose
 * sequence ids begin anew with each command as well. Only what may hold a COM_CHANGE_USER is inflated.
 * zstd needs Node.js 22.15 or newer; before, a COM_CHANGE_USER in it is not found.
 */
export function createCompressedCommandScanner(): CommandScanner {
  let remaining = 0
  let continued = false

  const scanner: CommandScanner = {
    found: false,
    scan(chunk) {
      const end = chunk.length
      let offset = Math.min(remaining, end)
      remaining -= offset
      while (offset < end) {
        if (end - offset < COMPRESSED_HEADER_LENGTH) return offset
        const length = uint24(chunk, offset)
        const sequence = chunk[offset + 3]!
        const inflatedLength = uint24(chunk, offset + 4)
        const next = offset + COMPRESSED_HEADER_LENGTH + length
        if (sequence === 0 && !continued && inflatedLength <= LONGEST_COMMAND && length <= LONGEST_COMMAND) {
          if (next > end) return offset
          const payload = chunk.subarray(offset + COMPRESSED_HEADER_LENGTH, next)
          scanner.found = isChangeUser(inflatedLength === 0 ? payload : inflate(payload))
          if (scanner.found) return offset
        }
        continued = sequence === 255
        remaining = Math.max(0, next - end)
        offset = next - remaining
      }
      return offset
    },
  }
  return scanner
}

function isChangeUser(packet: Buffer): boolean {
  return packet.length > HEADER_LENGTH && packet[3] === 0 && packet[HEADER_LENGTH] === COM_CHANGE_USER
}

const NOTHING = Buffer.alloc(0)
const ZSTD_MAGIC = 0xfd2fb528
const { zstdDecompressSync } = zlib as { zstdDecompressSync?: (data: Buffer, options: object) => Buffer }

/** What can't be inflated is not ours to complain of: the server will. */
function inflate(payload: Buffer): Buffer {
  const options = { maxOutputLength: LONGEST_COMMAND }
  try {
    const isZstd = payload.length >= 4 && payload.readUInt32LE() === ZSTD_MAGIC
    if (isZstd) return zstdDecompressSync?.(payload, options) ?? NOTHING
    return zlib.inflateSync(payload, options)
  } catch {
    return NOTHING
  }
}

function uint24(buffer: Buffer, offset: number): number {
  return buffer[offset]! | (buffer[offset + 1]! << 8) | (buffer[offset + 2]! << 16)
}
