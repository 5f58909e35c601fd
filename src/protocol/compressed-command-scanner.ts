/**
 * Finds COM_CHANGE_USER in a compressed session, CLIENT_COMPRESS or CLIENT_ZSTD_COMPRESSION_ALGORITHM.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression_packet.html
 *
 * The client's packets form one stream, cut into compressed packets ("frames") anywhere: a command may begin in the middle of a
 * frame and continue in the next. Servers ignore the sequence ids inside the stream and check those of the frames. So every
 * frame is decompressed and every packet followed, as the server does it. A frame whose length is not what it claims is
 * malformed: servers disagree on where it ends.
 */
import { MalformedPacket } from './bytes.ts'
import { COM_CHANGE_USER, HEADER_LENGTH, MAX_PACKET_BYTES } from './command-scanner.ts'
import { createInflater, inflateWhole } from './inflate.ts'

/** Length as sent (3), sequence id (1), length before compression (3), which is 0 if the payload is not compressed */
export const COMPRESSED_HEADER_LENGTH = 7

/** Longest COM_CHANGE_USER that gets an answer, in bytes: connection attributes may have 64 KiB. */
export const MAX_CHANGE_USER_BYTES = 128 * 1024

/** How much of a frame waits for the command inside it to become readable, in bytes. */
const MAX_HELD_BYTES = 1024

export interface CompressedCommandScanner {
  /**
   * As CommandScanner.scan; one call at a time.
   * @throws MalformedPacket where the stream cannot be followed
   */
  scan(chunk: Buffer): Promise<number>
  /** 'whole': the rest of the last chunk begins with its frame. 'partial': the server has its beginning already. */
  found: 'whole' | 'partial' | undefined
  /** sequence id of the last frame */
  sequence: number
  /** frees the memory of the decompression */
  close(): void
}

interface Frame {
  /** bytes of the payload that have not come yet */
  remaining: number
  /** length before compression as the header says; 0 if not compressed */
  claimed: number
  /** bytes of the stream that the frame has brought so far */
  brought: number
}

export function createCompressedCommandScanner(): CompressedCommandScanner {
  const packets = createPacketFollower()
  let frame: Frame | undefined
  /** bytes at the front of the next chunk that were looked at in the last one */
  let seen = 0

  const follow = (bytes: Buffer) => {
    if (!frame || scanner.found) return
    const at = packets.find(bytes)
    if (at >= 0) scanner.found = 'partial'
    // The frame's first packet, and the frame is the command's first.
    if (at >= 0 && frame.brought + at === HEADER_LENGTH && scanner.sequence === 0) scanner.found = 'whole'
    frame.brought += bytes.length
    if (frame.claimed > 0 && frame.brought > frame.claimed) throw new MalformedPacket('a longer frame than it claims')
  }
  const inflater = createInflater(follow)
  const failUnlessFound = (error: unknown) => {
    if (!scanner.found) throw error
  }

  const scanner: CompressedCommandScanner = {
    found: undefined,
    sequence: 0,
    async scan(chunk) {
      /** where the current frame begins in this chunk; -1 if its beginning was forwarded before */
      let start = seen > 0 ? 0 : -1
      let at = seen
      seen = 0
      for (;;) {
        if (!frame) {
          start = at
          if (chunk.length - at < COMPRESSED_HEADER_LENGTH) return at
          scanner.sequence = chunk[at + 3]!
          frame = { remaining: chunk.readUIntLE(at, 3), claimed: chunk.readUIntLE(at + 4, 3), brought: 0 }
          packets.beginFrame(scanner.sequence)
          at += COMPRESSED_HEADER_LENGTH
        }
        const part = chunk.subarray(at, at + frame.remaining)
        if (frame.claimed === 0) follow(part)
        else await inflater.write(part).catch(failUnlessFound)
        at += part.length
        frame.remaining -= part.length
        if (scanner.found === 'whole' && start < 0) scanner.found = 'partial'
        if (scanner.found) return Math.max(start, 0)
        if (frame.remaining > 0) break
        if (frame.claimed > 0 && frame.brought !== frame.claimed)
          throw new MalformedPacket('a shorter frame than it claims')
        if (frame.claimed > 0) inflater.reset()
        frame = undefined
      }
      // Enough has been read to know that the frame does not begin with a COM_CHANGE_USER, or that it is none of a usual client.
      const isClear = frame.brought > HEADER_LENGTH || at - start > MAX_HELD_BYTES
      if (start < 0 || isClear) return at
      seen = at - start
      return start
    },
    close() {
      inflater.destroy()
    },
  }
  return scanner
}

interface PacketFollower {
  /**
   * The bytes that follow come from a frame with this sequence id.
   * @throws MalformedPacket if the frame before was incomplete and this is not the next
   */
  beginFrame(sequence: number): void
  /** the offset in `bytes` of the command byte of a COM_CHANGE_USER, or -1 */
  find(bytes: Buffer): number
}

/**
 * Tells commands from pieces of a file (LOAD DATA LOCAL), by what servers accept. A command's first frame has id 0. The server
 * answers before a file, so a file's first frame has another id. An empty packet ends the file. Packets in the same frame
 * behind a command are commands as well.
 */
function createPacketFollower(): PacketFollower {
  let sequence = 0
  let isAtFrameStart = true
  /** bytes of the current packet's payload that have not come yet */
  let remaining = 0
  /** bytes of the next header that have come, and the length that they give */
  let headerBytes = 0
  let length = 0
  /** whether the next packet continues the current payload */
  let continued = false
  let inFile = false
  let isCommandNext = false

  const endHeader = () => {
    isCommandNext = length > 0 && !continued && !inFile
    if (length === 0 && !continued) inFile = false
    continued = length === MAX_PACKET_BYTES
    remaining = length
    headerBytes = length = 0
  }

  return {
    beginFrame(next) {
      const isNext = next === ((sequence + 1) & 0xff)
      const isIncomplete = remaining > 0 || headerBytes > 0 || continued || inFile
      if (isIncomplete && !isNext) throw new MalformedPacket(`compressed packet ${next} after ${sequence}`)
      sequence = next
      isAtFrameStart = true
    },
    find(bytes) {
      for (let at = 0; at < bytes.length; ) {
        if (remaining > 0) {
          if (isCommandNext && bytes[at] === COM_CHANGE_USER) return at
          isCommandNext = false
          const skipped = Math.min(remaining, bytes.length - at)
          remaining -= skipped
          at += skipped
        } else {
          if (isAtFrameStart && headerBytes === 0 && !continued && !inFile) inFile = sequence !== 0
          if (headerBytes < 3) length |= bytes[at]! << (8 * headerBytes)
          at++
          if (++headerBytes === HEADER_LENGTH) endHeader()
        }
        isAtFrameStart = false
      }
      return -1
    },
  }
}

/** Whether a frame is exactly one packet. @throws MalformedPacket */
export function isOnePacket(frame: Buffer): boolean {
  const claimed = frame.readUIntLE(4, 3)
  const payload = frame.subarray(COMPRESSED_HEADER_LENGTH)
  const bytes = claimed === 0 ? payload : inflateWhole(payload, claimed)
  return bytes.length >= HEADER_LENGTH && bytes.readUIntLE(0, 3) === bytes.length - HEADER_LENGTH
}
