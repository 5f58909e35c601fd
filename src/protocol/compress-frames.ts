/**
 * The compressed packets ("frames") of a server, decompressed.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression_packet.html
 */
import { MalformedPacket } from './bytes.ts'
import { COMPRESSED_HEADER_LENGTH } from './compressed-command-scanner.ts'
import { createInflater, inflateWhole } from './inflate.ts'

/**
 * Largest frame that is decompressed at once, in bytes before and after compression. It takes less than 1 ms. A larger one is
 * decompressed as it arrives, off the main thread: 16 MiB at once would stop all sessions for 64 to 116 ms.
 */
export const MAX_WHOLE_BYTES = 64 * 1024

/** A compressed packet. @param length of `payload` before compression; 0 if it is not compressed */
export function encodeFrame(payload: Buffer, length: number, sequence: number): Buffer {
  const frame = Buffer.allocUnsafe(COMPRESSED_HEADER_LENGTH + payload.length)
  frame.writeUIntLE(payload.length, 0, 3)
  frame[3] = sequence
  frame.writeUIntLE(length, 4, 3)
  payload.copy(frame, COMPRESSED_HEADER_LENGTH)
  return frame
}

export interface FrameReaderEvents {
  /** a frame with this sequence id begins; it throws MalformedPacket to stop */
  onFrame(sequence: number): void
  /** the next bytes of the stream inside the frames, in memory that nobody else uses */
  onData(bytes: Buffer): void
  /** the reader needs more bytes, after `write` or `resume` returned false */
  onNeed(): void
  /** the stream cannot be followed; the reader does nothing more */
  onError(error: unknown): void
}

export interface FrameReader {
  /** Returns whether it needs more bytes: if not, call it again after `onNeed`. */
  write(chunk: Buffer): boolean
  /** stops `onData` until `resume` */
  pause(): void
  /** Returns whether it needs more bytes. */
  resume(): boolean
  /** frees the memory of the decompression; nothing is called after it */
  close(): void
}

interface Frame {
  /** bytes of the payload that have not come yet */
  remaining: number
  /** length before compression as the header says; 0 if not compressed. Never trusted with memory */
  claimed: number
  /** decompressed at once */
  isWhole: boolean
  /** bytes of the stream that the frame has brought so far */
  brought: number
}

const NOTHING: Buffer = Buffer.alloc(0)

/** It holds at most one frame of MAX_WHOLE_BYTES and one chunk, and for larger frames what Node.js's stream holds. */
export function createFrameReader(events: FrameReaderEvents): FrameReader {
  let held = NOTHING
  /** what has come behind `held`. It is joined once it is enough: joining each chunk would copy a frame several times */
  let waiting: Buffer[] = []
  let waitingBytes = 0
  let frame: Frame | undefined
  let isPaused = false
  let isInflating = false
  let isClosed = false

  const onData = (bytes: Buffer) => {
    if (isClosed || !frame) return
    frame.brought += bytes.length
    if (frame.claimed > 0 && frame.brought > frame.claimed) throw new MalformedPacket('a longer frame than it claims')
    if (bytes.length > 0) events.onData(bytes)
  }
  const inflater = createInflater(onData)

  /** Whether so many bytes have come. If so, `held` has them. */
  const has = (length: number): boolean => {
    if (held.length >= length) return true
    if (held.length + waitingBytes < length) return false
    held = held.length === 0 && waiting.length === 1 ? waiting[0]! : Buffer.concat([held, ...waiting])
    waiting = []
    waitingBytes = 0
    return true
  }
  /** The next bytes: so many, or all of `held` if it has fewer. */
  const take = (length: number) => {
    const whole = held
    held = length < whole.length ? whole.subarray(length) : NOTHING
    return length < whole.length ? whole.subarray(0, length) : whole
  }
  const endFrame = ({ claimed, brought }: Frame) => {
    frame = undefined
    if (claimed > 0 && brought !== claimed) throw new MalformedPacket('a shorter frame than it claims')
  }

  /** One step; false if it needs more bytes for it. */
  const step = (): boolean => {
    if (!frame) {
      if (!has(COMPRESSED_HEADER_LENGTH)) return false
      const header = take(COMPRESSED_HEADER_LENGTH)
      const [length, claimed] = [header.readUIntLE(0, 3), header.readUIntLE(4, 3)]
      const isWhole = claimed > 0 && claimed <= MAX_WHOLE_BYTES && length <= MAX_WHOLE_BYTES
      frame = { remaining: length, claimed, isWhole, brought: 0 }
      events.onFrame(header[3]!)
    }
    const { remaining, claimed, isWhole } = frame
    if (!has(isWhole ? remaining : Math.min(1, remaining))) return false
    const part = take(remaining)
    frame.remaining -= part.length
    if (claimed === 0) onData(part)
    else if (isWhole) onData(inflateWhole(part, claimed))
    else {
      void inflate(part, frame)
      return true
    }
    if (frame.remaining === 0) endFrame(frame)
    return true
  }

  const inflate = async (part: Buffer, of: Frame) => {
    isInflating = true
    try {
      await inflater.write(part)
      if (isClosed) return
      isInflating = false
      if (of.remaining === 0) {
        inflater.reset()
        endFrame(of)
      }
    } catch (error) {
      fail(error)
      return
    }
    if (run()) events.onNeed()
  }

  /** Returns whether it needs more bytes. */
  const run = (): boolean => {
    try {
      while (!isPaused && !isInflating && !isClosed) {
        if (step()) continue
        // Sessions are idle most of the time, and zstd takes megabytes.
        if (!frame && held.length + waitingBytes === 0) inflater.release()
        return true
      }
    } catch (error) {
      fail(error)
    }
    return false
  }
  const fail = (error: unknown) => {
    if (isClosed) return
    reader.close()
    events.onError(error)
  }

  const reader: FrameReader = {
    write(chunk) {
      waiting.push(chunk)
      waitingBytes += chunk.length
      return run()
    },
    pause() {
      isPaused = true
      inflater.pause()
    },
    resume() {
      isPaused = false
      inflater.resume()
      return run()
    },
    close() {
      isClosed = true
      held = NOTHING
      waiting = []
      waitingBytes = 0
      inflater.destroy()
    },
  }
  return reader
}
