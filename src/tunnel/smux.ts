/**
 * smux, protocol version 1: many streams in one. Session Manager forwards connections with it. Bytes in, values out.
 * Its header has 8 bytes: version, command, length (2 bytes) and stream id (4 bytes), little-endian.
 * https://github.com/xtaci/smux#specification
 */

export const SMUX_COMMANDS = { open: 0, close: 1, data: 2, keepalive: 3 } as const

const VERSION = 1
const HEADER_BYTES = 8

/** The largest data of a frame: smux has 2 bytes for the length and sends 32 KiB by default. */
export const MAX_FRAME_BYTES = 32 * 1024

export interface SmuxFrame {
  command: number
  stream: number
  /** empty except for `data` */
  data: Buffer
}

/** Thrown for bytes that are not smux version 1. */
export class MalformedSmux extends Error {
  override name = 'MalformedSmux'
}

const NOTHING = Buffer.alloc(0)

export function encodeSmuxFrame(command: number, stream: number, data: Buffer = NOTHING): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt8(VERSION, 0)
  header.writeUInt8(command, 1)
  header.writeUInt16LE(data.length, 2)
  header.writeUInt32LE(stream, 4)
  return data.length === 0 ? header : Buffer.concat([header, data])
}

/** The frames that carry `data` in a stream. */
export function* encodeSmuxData(stream: number, data: Buffer): Generator<Buffer> {
  for (let start = 0; start < data.length; start += MAX_FRAME_BYTES) {
    yield encodeSmuxFrame(SMUX_COMMANDS.data, stream, data.subarray(start, start + MAX_FRAME_BYTES))
  }
}

/** Finds frames in bytes that come in any pieces. Returns the frames that `bytes` complete. @throws MalformedSmux */
export function createSmuxParser(): (bytes: Buffer) => SmuxFrame[] {
  let pieces: Buffer[] = []
  let length = 0
  /** bytes until the next frame is complete, or its header */
  let needed = HEADER_BYTES
  return bytes => {
    pieces.push(bytes)
    length += bytes.length
    if (length < needed) return []
    let rest = pieces.length === 1 ? bytes : Buffer.concat(pieces)
    const frames: SmuxFrame[] = []
    for (;;) {
      needed = HEADER_BYTES
      if (rest.length < needed) break
      const [version, command] = [rest.readUInt8(0), rest.readUInt8(1)]
      if (version !== VERSION || command > SMUX_COMMANDS.keepalive) {
        throw new MalformedSmux(`version ${version}, command ${command}`)
      }
      // As in smux itself, only frames with data have a length that counts.
      needed += command === SMUX_COMMANDS.data ? rest.readUInt16LE(2) : 0
      if (rest.length < needed) break
      frames.push({ command, stream: rest.readUInt32LE(4), data: rest.subarray(HEADER_BYTES, needed) })
      rest = rest.subarray(needed)
    }
    pieces = rest.length === 0 ? [] : [rest]
    length = rest.length
    return frames
  }
}
