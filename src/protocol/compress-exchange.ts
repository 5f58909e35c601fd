/**
 * Both directions between a client without compression and a server with it.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression.html
 *
 * The client's packets travel in compressed packets ("frames"), and each command begins with its own frame. The sequence
 * ids of frames restart with each command, as those of packets do, and both sides count together: the id of an answer's first
 * frame is the number of frames that the command took.
 *
 * Servers number the packets inside frames as well, but after each flush they go on from the id of the frame. Clients without
 * compression expect each packet to have the id after the last. So the packets get new ids.
 */
import { MalformedPacket } from './bytes.ts'
import { COM_QUIT, COM_STMT_CLOSE, HEADER_LENGTH, MAX_PACKET_BYTES } from './command-scanner.ts'
import { encodeFrame } from './compress-frames.ts'
import { type Compression, deflateWhole } from './inflate.ts'
import { hasMoreResults, statusFlags } from './last-packet.ts'
import { ERR } from './packets.ts'

/** Largest frame to the server, in bytes before compression. */
const MAX_FRAME_BYTES = 64 * 1024

/** Shorter frames are not compressed: it would take longer than sending them. */
const MIN_COMPRESSED_BYTES = 1024

/** How much of a packet is kept to see whether an answer ends with it, in bytes. */
const MAX_TAIL_BYTES = 64

export interface CompressedExchange {
  /** The frames for the client's next bytes, which begin and end anywhere. */
  framesFor(chunk: Buffer): Buffer[]
  /** The frames for the beginning of a packet, at the client's end. */
  lastFrames(): Buffer[]
  /**
   * The bytes that follow come from a frame of the server with this sequence id.
   * @throws MalformedPacket in the middle of a packet, if this is not the next id
   */
  beginFrame(sequence: number): void
  /** Gives the packets in the server's next bytes the ids that the client expects, in place. */
  renumber(bytes: Buffer): void
}

/** What the client sends before the server speaks: a command, or its reply to a question of the server, such as a file. */
interface Turn {
  /** sequence id of the next frame, either way */
  frame: number
  /** sequence id of the next packet, either way */
  packet: number
  isReply: boolean
  /** whether the server's answer to it has begun */
  isAnswered: boolean
  /** how many equal turns this stands for */
  count: number
}

const COM_STMT_SEND_LONG_DATA = 0x18
/** What a replica acknowledges transactions with (semisynchronous replication). It is not a command. */
const SEMISYNC_ACK = 0xef

const UNANSWERED = new Set([COM_QUIT, COM_STMT_SEND_LONG_DATA, COM_STMT_CLOSE, SEMISYNC_ACK])

const NOTHING: Buffer = Buffer.alloc(0)

export function createCompressedExchange(compression: Compression): CompressedExchange {
  // of the client
  let partial = NOTHING
  let remaining = 0
  let continued = false
  let turn: Turn = { frame: 0, packet: 0, isReply: false, isAnswered: false, count: 1 }
  /** turns whose answer has not begun, the oldest first */
  const awaited: Turn[] = []

  // of the server
  let lastFrame = -1
  const packets = createPacketNumbers()

  const beginTurn = (frame: number, isReply: boolean, command: number | undefined) => {
    turn = { frame, packet: 0, isReply, isAnswered: false, count: 1 }
    if (!isReply && command !== undefined && UNANSWERED.has(command)) return
    const [before, last] = [awaited.at(-2), awaited.at(-1)]
    // A client may send any number of commands before it reads an answer.
    if (before && last && isEqual(before, last)) {
      before.count += last.count
      awaited.pop()
    }
    awaited.push(turn)
  }

  const frameFor = (piece: Buffer): Buffer => {
    const compressed = piece.length >= MIN_COMPRESSED_BYTES ? deflateWhole(piece, compression) : piece
    const payload = compressed.length < piece.length ? compressed : piece
    const frame = encodeFrame(payload, payload === piece ? 0 : piece.length, turn.frame)
    turn.frame = (turn.frame + 1) & 0xff
    return frame
  }

  /** Puts `bytes`, which are of one turn, into frames. */
  const pushFrames = (bytes: Buffer, frames: Buffer[]) => {
    const isComplete = remaining === 0 && !continued
    for (let at = 0; at < bytes.length; at += MAX_FRAME_BYTES) {
      const piece = bytes.subarray(at, at + MAX_FRAME_BYTES)
      const isLast = isComplete && at + MAX_FRAME_BYTES >= bytes.length
      // One more frame, so that the answer's first id is not the one that continues the answer before.
      const isAmbiguous = isLast && !turn.isReply && ((turn.frame + 1) & 0xff) === ((lastFrame + 1) & 0xff)
      if (isAmbiguous && piece.length > 1) {
        const middle = piece.length >> 1
        frames.push(frameFor(piece.subarray(0, middle)), frameFor(piece.subarray(middle)))
      } else frames.push(frameFor(piece))
    }
  }

  /** Whether a packet with this id, which does not continue the packet before, is the first of a turn. */
  const beginsTurn = (sequence: number) => sequence === 0 || turn.isAnswered || sequence !== turn.packet

  /** The id of the first frame of a reply. It may come before the server's question, which is one packet then. */
  const frameOfReply = (sequence: number) =>
    (turn.isAnswered ? lastFrame + 1 : turn.frame + ((sequence - turn.packet) & 0xff)) & 0xff

  return {
    framesFor(chunk) {
      const bytes = partial.length > 0 ? Buffer.concat([partial, chunk]) : chunk
      partial = NOTHING
      const frames: Buffer[] = []
      let from = 0
      let at = 0
      for (;;) {
        const skipped = Math.min(remaining, bytes.length - at)
        remaining -= skipped
        at += skipped
        if (at === bytes.length) break
        const isWhole = bytes.length - at > HEADER_LENGTH || (bytes.length - at === HEADER_LENGTH && isEmpty(bytes, at))
        if (!isWhole) {
          partial = Buffer.from(bytes.subarray(at))
          break
        }
        const length = bytes.readUIntLE(at, 3)
        const sequence = bytes[at + 3]!
        if (!continued && beginsTurn(sequence)) {
          if (at > from) pushFrames(bytes.subarray(from, at), frames)
          from = at
          const isReply = sequence !== 0
          beginTurn(isReply ? frameOfReply(sequence) : 0, isReply, bytes[at + HEADER_LENGTH])
        }
        turn.packet = (sequence + 1) & 0xff
        continued = length === MAX_PACKET_BYTES || (sequence === 255 && length > 0)
        remaining = length
        at += HEADER_LENGTH
      }
      if (at > from) pushFrames(bytes.subarray(from, at), frames)
      return frames
    },
    lastFrames() {
      const rest = partial
      partial = NOTHING
      return rest.length > 0 ? [frameFor(rest)] : []
    },
    beginFrame(sequence) {
      const isNext = sequence === ((lastFrame + 1) & 0xff)
      if (!isNext && !packets.isAtBoundary())
        throw new MalformedPacket(`compressed packet ${sequence} after ${lastFrame}`)
      lastFrame = sequence
      if (!packets.isAtBoundary()) return
      const index = awaited.findIndex(({ frame }) => frame === sequence)
      const found = awaited[index]
      if (found && (!isNext || found.isReply || packets.endedAnswer())) {
        packets.beginAnswer(found.packet)
        found.isAnswered = true
        // Turns before it had no answer.
        awaited.splice(0, --found.count > 0 ? index : index + 1)
      } else packets.beginFrame(sequence, isNext)
    },
    renumber: packets.renumber,
  }
}

function isEqual(a: Turn, b: Turn): boolean {
  return a.frame === b.frame && a.packet === b.packet && a.isReply === b.isReply
}

function isEmpty(bytes: Buffer, at: number): boolean {
  return bytes.readUIntLE(at, 3) === 0
}

/** Follows a server's packets and changes their sequence ids. */
interface PacketNumbers {
  isAtBoundary(): boolean
  /** whether the last packet is one that ends an answer, as far as it shows */
  endedAnswer(): boolean
  /** the next packet is the first of an answer, and gets this id */
  beginAnswer(packet: number): void
  /** the next packet is the first in a frame. @param isNext whether the frame continues the frame before */
  beginFrame(sequence: number, isNext: boolean): void
  renumber(bytes: Buffer): void
}

function createPacketNumbers(): PacketNumbers {
  /** bytes of the current packet's payload that have not come yet */
  let remaining = 0
  /** bytes of the next header that have come, and the length that they give */
  let headerBytes = 0
  let length = 0
  let continued = false
  /** the id that the next packet gets, and the id that the server gave the last */
  let next = 0
  let given = -1
  /** ids with which the next packet continues the answer; with another id it keeps its own. undefined: whatever its id */
  let expected: number[] | undefined
  /** the last packet's beginning. Not from the pool of small buffers: sessions keep it */
  const tail = Buffer.allocUnsafeSlow(MAX_TAIL_BYTES)
  let tailLength = 0

  const endHeader = (bytes: Buffer, at: number) => {
    const id = bytes[at]!
    if (expected && !expected.includes(id)) next = id
    expected = undefined
    given = id
    bytes[at] = next
    next = (next + 1) & 0xff
    continued = length === MAX_PACKET_BYTES
    remaining = length
    headerBytes = length = 0
  }

  return {
    isAtBoundary: () => remaining === 0 && headerBytes === 0 && !continued,
    endedAnswer() {
      const last = tail.subarray(0, tailLength)
      if (last[0] === ERR) return true
      const status = statusFlags(last)
      return status !== undefined && !hasMoreResults(status)
    },
    beginAnswer(packet) {
      next = packet
      expected = undefined
    },
    beginFrame(sequence, isNext) {
      expected = isNext ? [sequence, (given + 1) & 0xff] : []
    },
    renumber(bytes) {
      let start = -1
      for (let at = 0; at < bytes.length; ) {
        if (remaining > 0) {
          const skipped = Math.min(remaining, bytes.length - at)
          remaining -= skipped
          at += skipped
        } else if (headerBytes < HEADER_LENGTH - 1) {
          length |= bytes[at]! << (8 * headerBytes)
          headerBytes++
          at++
        } else {
          endHeader(bytes, at)
          at++
          start = at
        }
      }
      if (start >= 0) tailLength = 0
      tailLength += bytes.copy(tail, tailLength, Math.max(start, 0))
    },
  }
}
