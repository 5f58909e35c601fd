/**
 * The integer and string encodings of the MySQL protocol, over a Buffer.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_data_types.html
 */

/** Thrown by every parser in `protocol/` for bytes that break the protocol. The message never holds them: they can be secrets. */
export class MalformedPacket extends Error {
  override name = 'MalformedPacket'
}

/** Reads fields off the front of a packet's payload; `field` names what is being read, for the error. */
export class Reader {
  readonly buffer: Buffer
  offset = 0

  constructor(buffer: Buffer) {
    this.buffer = buffer
  }

  get remaining(): number {
    return this.buffer.length - this.offset
  }

  /** The next `length` bytes, as a view of the packet. */
  bytes(length: number, field: string): Buffer {
    if (length > this.remaining) throw new MalformedPacket(`${field}: ${length} bytes expected, ${this.remaining} left`)
    this.offset += length
    return this.buffer.subarray(this.offset - length, this.offset)
  }

  /** int<1> */
  uint8(field: string): number {
    return this.bytes(1, field).readUInt8()
  }

  /** int<2>, little-endian like all others */
  uint16(field: string): number {
    return this.bytes(2, field).readUInt16LE()
  }

  /** int<3> */
  uint24(field: string): number {
    return this.bytes(3, field).readUIntLE(0, 3)
  }

  /** int<4> */
  uint32(field: string): number {
    return this.bytes(4, field).readUInt32LE()
  }

  /** int<lenenc>; values past 2^53 are malformed here, where every one is a length or a count. */
  lenencInt(field: string): number {
    const first = this.uint8(field)
    if (first < 0xfb) return first
    if (first === 0xfc) return this.uint16(field)
    if (first === 0xfd) return this.uint24(field)
    if (first === 0xfe) {
      const value = this.bytes(8, field).readBigUInt64LE()
      if (value <= Number.MAX_SAFE_INTEGER) return Number(value)
    }
    throw new MalformedPacket(`${field}: not a length-encoded integer`)
  }

  /** string<lenenc> */
  lenencBytes(field: string): Buffer {
    return this.bytes(this.lenencInt(field), field)
  }

  /** string<NUL>, without its NUL */
  nulBytes(field: string): Buffer {
    const end = this.buffer.indexOf(0, this.offset)
    if (end < 0) throw new MalformedPacket(`${field}: no terminating NUL`)
    const value = this.buffer.subarray(this.offset, end)
    this.offset = end + 1
    return value
  }

  /** string<NUL>, or string<EOF> where a client leaves out the last NUL of its packet, which servers accept. */
  nulOrEofBytes(field: string): Buffer {
    return this.buffer.indexOf(0, this.offset) < 0 ? this.rest() : this.nulBytes(field)
  }

  /** string<EOF> */
  rest(): Buffer {
    return this.bytes(this.remaining, 'rest')
  }
}

/** int<1> */
export function uint8(value: number): Buffer {
  return Buffer.of(value)
}

/** int<2> */
export function uint16(value: number): Buffer {
  const buffer = Buffer.allocUnsafe(2)
  buffer.writeUInt16LE(value)
  return buffer
}

/** int<4> */
export function uint32(value: number): Buffer {
  const buffer = Buffer.allocUnsafe(4)
  buffer.writeUInt32LE(value >>> 0)
  return buffer
}

/** int<lenenc>, for values up to 2^32 - 1 */
export function lenencInt(value: number): Buffer {
  if (value < 0xfb) return uint8(value)
  if (value <= 0xffff) return Buffer.concat([uint8(0xfc), uint16(value)])
  if (value <= 0xffffff) return Buffer.concat([uint8(0xfd), uint32(value).subarray(0, 3)])
  return Buffer.concat([uint8(0xfe), uint32(value), uint32(0)])
}

/** string<lenenc> */
export function lenencBytes(value: Buffer): Buffer {
  return Buffer.concat([lenencInt(value.length), value])
}

const NUL = uint8(0)

/** string<NUL>; a NUL inside would end the field early, so it is refused. */
export function nulBytes(value: Buffer): Buffer {
  if (value.includes(0)) throw new MalformedPacket('a NUL inside a NUL-terminated string')
  return Buffer.concat([value, NUL])
}
