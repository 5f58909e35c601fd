/**
 * Signatures of macOS programs. macOS runs a program for arm64 only with one, and a changed program breaks the signature
 * that it had. An ad hoc signature has hashes of all pages and no certificate; Apple's own linker makes the same kind.
 * Layout: mach-o/loader.h, and osfmk/kern/cs_blobs.h of https://github.com/apple-oss-distributions/xnu
 */
import { createHash } from 'node:crypto'

const MH_MAGIC_64 = 0xfeedfacf
const HEADER_BYTES = 32
const LC_SEGMENT_64 = 0x19
const LC_CODE_SIGNATURE = 0x1d
const LC_CODE_SIGNATURE_BYTES = 16

const PAGE_BITS = 12
const PAGE_BYTES = 1 << PAGE_BITS
/** The segments of arm64 start at multiples of this. */
const SEGMENT_BYTES = 0x4000
const HASH_BYTES = 32

const CSMAGIC_EMBEDDED_SIGNATURE = 0xfade0cc0
const CSMAGIC_CODEDIRECTORY = 0xfade0c02
/** The version with the range of the executable segment, which macOS wants of a main program. */
const CODE_DIRECTORY_VERSION = 0x20400
const CODE_DIRECTORY_BYTES = 88
const SUPER_BLOB_BYTES = 20
const CS_ADHOC = 0x2
const CS_LINKER_SIGNED = 0x20000
const CS_HASHTYPE_SHA256 = 2
const CS_EXECSEG_MAIN_BINARY = 1

interface Command {
  at: number
  type: number
  bytes: number
}

interface Segment {
  at: number
  fileOffset: number
  fileBytes: number
}

/** A copy of this 64-bit program without its signature. */
export function removeMacosSignature(program: Buffer): Buffer {
  const commands = readCommands(program)
  const signature = commands.find(({ type }) => type === LC_CODE_SIGNATURE)
  if (!signature) return Buffer.from(program)
  const end = program.readUInt32LE(signature.at + 8)
  if (end + program.readUInt32LE(signature.at + 12) < program.length) throw new Error('The signature is not at the end')
  const copy = Buffer.from(program.subarray(0, end))
  const commandsEnd = endOf(commands)
  copy.copyWithin(signature.at, signature.at + signature.bytes, commandsEnd)
  copy.fill(0, commandsEnd - signature.bytes, commandsEnd)
  setCommands(copy, commands.length - 1, commandsEnd - signature.bytes - HEADER_BYTES)
  endLinkEdit(copy, end)
  return copy
}

/** A copy of this program, which has no signature, with an ad hoc one. */
export function signForMacos(program: Buffer, identifier: string): Buffer {
  const commands = readCommands(program)
  if (commands.some(({ type }) => type === LC_CODE_SIGNATURE)) throw new Error('The program has a signature')
  const commandsEnd = endOf(commands)
  if (!program.subarray(commandsEnd, commandsEnd + LC_CODE_SIGNATURE_BYTES).every(byte => byte === 0))
    throw new Error('No room for the load command of a signature')
  const start = roundUp(program.length, 16)
  const pages = Math.ceil(start / PAGE_BYTES)
  const name = Buffer.from(`${identifier}\0`)
  const directoryBytes = CODE_DIRECTORY_BYTES + name.length + pages * HASH_BYTES
  const signatureBytes = roundUp(SUPER_BLOB_BYTES + directoryBytes, 16)

  const signed = Buffer.alloc(start + signatureBytes)
  program.copy(signed)
  for (const [index, value] of [LC_CODE_SIGNATURE, LC_CODE_SIGNATURE_BYTES, start, signatureBytes].entries())
    signed.writeUInt32LE(value, commandsEnd + index * 4)
  setCommands(signed, commands.length + 1, commandsEnd + LC_CODE_SIGNATURE_BYTES - HEADER_BYTES)
  endLinkEdit(signed, start + signatureBytes)

  const text = segmentOf(signed, '__TEXT')
  const numbers = [
    CSMAGIC_EMBEDDED_SIGNATURE,
    SUPER_BLOB_BYTES + directoryBytes,
    1, // blobs in it
    0, // which is the code directory
    SUPER_BLOB_BYTES,
    CSMAGIC_CODEDIRECTORY,
    directoryBytes,
    CODE_DIRECTORY_VERSION,
    CS_ADHOC | CS_LINKER_SIGNED,
    CODE_DIRECTORY_BYTES + name.length, // offset of the hashes
    CODE_DIRECTORY_BYTES, // offset of the identifier
    0, // special slots
    pages,
    start, // the hashes cover all up to here
    (HASH_BYTES << 24) | (CS_HASHTYPE_SHA256 << 16) | PAGE_BITS,
    0, // spare
    0, // scatter
    0, // team
    0, // spare
    ...[0, 0], // the same limit in 64 bits, for larger programs
    ...[0, text.fileOffset],
    ...[0, text.fileBytes],
    ...[0, CS_EXECSEG_MAIN_BINARY],
  ]
  let at = start
  for (const number of numbers) at = signed.writeUInt32BE(number >>> 0, at)
  name.copy(signed, at)
  at += name.length
  // After all changes: the first page has the load commands.
  for (let page = 0; page < pages; page++) {
    const bytes = signed.subarray(page * PAGE_BYTES, Math.min((page + 1) * PAGE_BYTES, start))
    at += createHash('sha256').update(bytes).digest().copy(signed, at)
  }
  return signed
}

function readCommands(program: Buffer): Command[] {
  if (program.readUInt32LE(0) !== MH_MAGIC_64) throw new Error('Not a 64-bit program for macOS')
  const commands: Command[] = []
  let at = HEADER_BYTES
  for (let left = program.readUInt32LE(16); left > 0; left--) {
    const bytes = program.readUInt32LE(at + 4)
    commands.push({ at, type: program.readUInt32LE(at), bytes })
    at += bytes
  }
  return commands
}

function endOf(commands: readonly Command[]): number {
  const last = commands.at(-1)
  return last ? last.at + last.bytes : HEADER_BYTES
}

function setCommands(program: Buffer, count: number, bytes: number): void {
  program.writeUInt32LE(count, 16)
  program.writeUInt32LE(bytes, 20)
}

function segmentOf(program: Buffer, name: string): Segment {
  const found = readCommands(program).find(
    ({ at, type }) =>
      type === LC_SEGMENT_64 && program.toString('latin1', at + 8, at + 24).replace(/\0+$/, '') === name,
  )
  if (!found) throw new Error(`No segment ${name}`)
  const { at } = found
  return {
    at,
    fileOffset: Number(program.readBigUInt64LE(at + 40)),
    fileBytes: Number(program.readBigUInt64LE(at + 48)),
  }
}

/** The segment with the signature is the last in the file. */
function endLinkEdit(program: Buffer, end: number): void {
  const { at, fileOffset } = segmentOf(program, '__LINKEDIT')
  program.writeBigUInt64LE(BigInt(end - fileOffset), at + 48)
  program.writeBigUInt64LE(BigInt(roundUp(end - fileOffset, SEGMENT_BYTES)), at + 32)
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple
}
