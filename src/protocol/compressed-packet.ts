/**
 * What is inside a compressed packet.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_compression_packet.html
 */
import zlib from 'node:zlib'

const ZSTD_MAGIC = 0xfd2fb528
const { zstdDecompressSync } = zlib as { zstdDecompressSync?: (data: Buffer, options: object) => Buffer }

/**
 * The payload of a compressed packet as it was before, of zlib or zstd. Undefined where it is neither, has more than
 * `maxBytes`, or is zstd and Node.js is older than 22.15.
 */
export function inflateCompressed(payload: Buffer, maxBytes: number): Buffer | undefined {
  const options = { maxOutputLength: maxBytes }
  try {
    const isZstd = payload.length >= 4 && payload.readUInt32LE() === ZSTD_MAGIC
    return isZstd ? zstdDecompressSync?.(payload, options) : zlib.inflateSync(payload, options)
  } catch {
    return undefined
  }
}
