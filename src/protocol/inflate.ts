/** Compression and decompression of compressed packets: zlib, and zstd where Node.js has it (22.15 or newer). */
import zlib, { type Inflate } from 'node:zlib'
import { MalformedPacket } from './bytes.ts'

/** With the option `info`. */
type DecompressSync = (data: Buffer, options: object) => { buffer: Buffer; engine: { bytesWritten: number } }

const { constants, createZstdDecompress, inflateSync, zstdCompressSync, zstdDecompressSync } = zlib as unknown as {
  constants: { ZSTD_d_windowLogMax?: number }
  createZstdDecompress?: (options: object) => Inflate
  zstdCompressSync?: (data: Buffer) => Buffer
  zstdDecompressSync?: DecompressSync
  inflateSync: DecompressSync
}

/** Whether this Node.js can decompress zstd. If not, zstd is not offered to clients: their commands would pass unseen. */
export const hasZstd = createZstdDecompress !== undefined && zstdDecompressSync !== undefined

/** First byte of a zstd frame. zlib would need a window of 1 KiB to begin with it, and its second byte is invalid there. */
const ZSTD_MAGIC_BYTE = 0x28

/**
 * The memory that a zstd frame may ask for, as a power of 2: a compressed packet has 16 MiB at most. Without a limit, a few bytes
 * of a hostile server would get 128 MiB.
 */
const MAX_WINDOW_LOG = 24
const ZSTD_OPTIONS = hasZstd ? { params: { [constants.ZSTD_d_windowLogMax!]: MAX_WINDOW_LOG } } : {}

/** Decompresses streams in sequence, off the main thread. */
export interface Inflater {
  /**
   * Decompresses the next part of the current stream; `onData` has had all its output when this resolves.
   * @throws MalformedPacket for bytes that are not a compressed stream, or that follow its end
   */
  write(part: Buffer): Promise<void>
  /** begins the next stream */
  reset(): void
  /** frees the memory until the next stream begins; call it only between two */
  release(): void
  /** no output until `resume`; `write` waits meanwhile */
  pause(): void
  resume(): void
  destroy(): void
}

/** @param onData gets the output; it throws to stop */
export function createInflater(onData: (bytes: Buffer) => void): Inflater {
  let isFirst = true
  let current: Inflate | undefined
  let fail: (error: unknown) => void = () => {}
  const ofKind: { zlib?: Inflate | undefined; zstd?: Inflate | undefined } = {}

  const create = (kind: 'zlib' | 'zstd') => {
    const stream = kind === 'zlib' ? zlib.createInflate() : createZstdDecompress?.(ZSTD_OPTIONS)
    if (!stream) throw new MalformedPacket('zstd, which was not offered')
    stream.on('data', bytes => {
      try {
        onData(bytes)
      } catch (error) {
        fail(error)
        stream.destroy()
      }
    })
    stream.on('error', () => fail(new MalformedPacket('not a compressed stream')))
    stream.on('end', () => fail(new MalformedPacket('bytes after the end of a compressed stream')))
    return stream
  }

  const destroy = () => {
    ofKind.zlib?.destroy()
    ofKind.zstd?.destroy()
  }

  return {
    async write(part) {
      if (part.length === 0) return
      if (isFirst) {
        const kind = part[0] === ZSTD_MAGIC_BYTE ? 'zstd' : 'zlib'
        current = ofKind[kind] ??= create(kind)
        isFirst = false
      }
      await new Promise<void>((resolve, reject) => {
        fail = reject
        const stream = current!
        const resolveWhenRead = () => {
          if (stream.readableLength === 0) resolve()
          else stream.once('data', resolveWhenRead) // it is paused
        }
        stream.write(part, error =>
          error ? reject(new MalformedPacket('not a compressed stream')) : resolveWhenRead(),
        )
      })
    },
    pause() {
      current?.pause()
    },
    resume() {
      current?.resume()
    },
    reset() {
      isFirst = true
      current?.reset()
    },
    release() {
      destroy()
      current = ofKind.zlib = ofKind.zstd = undefined
    },
    destroy,
  }
}

/** Smallest chunkSize that Node.js takes. */
const MIN_CHUNK_BYTES = 64

/** How much memory a claimed length gets before a byte is decompressed, because it may be a lie. */
const MAX_CHUNK_BYTES = 64 * 1024

/**
 * The memory of the output is longer by this. With a full buffer, Node.js would allocate the next one before it sees that
 * the stream has ended.
 */
const SPARE_BYTES = 1

/** Smaller outputs are left to the garbage collector. */
const MIN_RELEASED_BYTES = 16 * 1024

/** Memory that holds one output of `inflateWhole` and nothing else, with the output's length. */
const unshared = new WeakMap<ArrayBufferLike, number>()

/** Whether `bytes` is all that a call of `inflateWhole` returned, in memory that nothing else uses. */
export function isWholeOutput({ buffer, byteLength }: Buffer): boolean {
  return unshared.get(buffer) === byteLength
}

/** A whole compressed payload, decompressed. @param length exactly so many bytes come out. @throws MalformedPacket */
export function inflateWhole(payload: Buffer, length: number): Buffer {
  // One buffer of the right size, instead of pieces that are put together.
  const options = { maxOutputLength: Math.max(1, length), chunkSize: chunkSizeFor(length), info: true }
  let result: ReturnType<DecompressSync> | undefined
  try {
    result =
      payload[0] === ZSTD_MAGIC_BYTE
        ? zstdDecompressSync?.(payload, { ...options, ...ZSTD_OPTIONS })
        : inflateSync(payload, options)
  } catch {
    // The message may hold what the client sent.
  }
  // Node.js ignores bytes behind the end of the stream.
  const isWhole = result?.buffer.length === length && result.engine.bytesWritten === payload.length
  if (!isWhole) throw new MalformedPacket('not a compressed payload of its length')
  const { buffer } = result!
  // Otherwise it is in the pool of Buffer, which is 64 KiB in newer versions of Node.js.
  const isUnshared = buffer.buffer.byteLength === options.chunkSize
  if (isUnshared && length >= MIN_RELEASED_BYTES) unshared.set(buffer.buffer, length)
  return buffer
}

function chunkSizeFor(length: number): number {
  return Math.min(Math.max(MIN_CHUNK_BYTES, length), MAX_CHUNK_BYTES) + SPARE_BYTES
}

export type Compression = 'zlib' | 'zstd'

/** The level for zlib: level 6 takes twice the time, and its output is 5 % smaller. */
const ZLIB_LEVEL = 3

/** Compresses at once: give it 64 KiB at most, which takes 1 ms. */
export function deflateWhole(bytes: Buffer, compression: Compression): Buffer {
  if (compression === 'zstd' && zstdCompressSync) return zstdCompressSync(bytes)
  return zlib.deflateSync(bytes, { level: ZLIB_LEVEL })
}
