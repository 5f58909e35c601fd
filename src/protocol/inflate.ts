/** Decompression of what a client sends: zlib, and zstd where Node.js has it (22.15 or newer). */
import zlib, { type Inflate } from 'node:zlib'
import { MalformedPacket } from './bytes.ts'

const { createZstdDecompress, zstdDecompressSync } = zlib as {
  createZstdDecompress?: () => Inflate
  zstdDecompressSync?: (data: Buffer, options: object) => Buffer
}

/** Whether this Node.js can decompress zstd. If not, zstd is not offered to clients: their commands would pass unseen. */
export const hasZstd = createZstdDecompress !== undefined && zstdDecompressSync !== undefined

/** First byte of a zstd frame. zlib would need a window of 1 KiB to begin with it, and its second byte is invalid there. */
const ZSTD_MAGIC_BYTE = 0x28

/** Decompresses streams in sequence, off the main thread. */
export interface Inflater {
  /**
   * Decompresses the next part of the current stream; `onData` has had all its output when this resolves.
   * @throws MalformedPacket for bytes that are not a compressed stream, or that follow its end
   */
  write(part: Buffer): Promise<void>
  /** begins the next stream */
  reset(): void
  destroy(): void
}

/** @param onData gets the output; it throws to stop */
export function createInflater(onData: (bytes: Buffer) => void): Inflater {
  let isFirst = true
  let current: Inflate | undefined
  let fail: (error: unknown) => void = () => {}
  const ofKind: { zlib?: Inflate; zstd?: Inflate } = {}

  const create = (kind: 'zlib' | 'zstd') => {
    const stream = kind === 'zlib' ? zlib.createInflate() : createZstdDecompress?.()
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
        current!.write(part, error => (error ? reject(new MalformedPacket('not a compressed stream')) : resolve()))
      })
    },
    reset() {
      isFirst = true
      current?.reset()
    },
    destroy() {
      ofKind.zlib?.destroy()
      ofKind.zstd?.destroy()
    },
  }
}

/** A whole compressed payload, decompressed. @param length exactly so many bytes come out. @throws MalformedPacket */
export function inflateWhole(payload: Buffer, length: number): Buffer {
  const options = { maxOutputLength: Math.max(1, length) }
  let bytes: Buffer | undefined
  try {
    bytes = payload[0] === ZSTD_MAGIC_BYTE ? zstdDecompressSync?.(payload, options) : zlib.inflateSync(payload, options)
  } catch {
    // The message may hold what the client sent.
  }
  if (bytes?.length !== length) throw new MalformedPacket('not a compressed payload of its length')
  return bytes
}
