/**
 * The Authenticode signature of a Windows program. A changed program must lose it: Windows shows an invalid signature as
 * an error, and none as an unknown publisher. Layout: https://learn.microsoft.com/windows/win32/debug/pe-format
 */

const PE_OFFSET_AT = 0x3c
const COFF_HEADER_BYTES = 20
const PE32_PLUS = 0x20b
const CHECKSUM_AT = 64
const DIRECTORIES_AT = 112
const CERTIFICATE_TABLE = 4

/** A copy of this 64-bit program without its signature. */
export function removeWindowsSignature(program: Buffer): Buffer {
  const pe = program.readUInt32LE(PE_OFFSET_AT)
  const header = pe + 4 + COFF_HEADER_BYTES
  if (program.toString('latin1', pe, pe + 4) !== 'PE\0\0' || program.readUInt16LE(header) !== PE32_PLUS)
    throw new Error('Not a 64-bit program for Windows')
  const directory = header + DIRECTORIES_AT + CERTIFICATE_TABLE * 8
  const [start, bytes] = [program.readUInt32LE(directory), program.readUInt32LE(directory + 4)]
  if (start === 0) return Buffer.from(program)
  if (start + bytes < program.length) throw new Error('The signature is not at the end')
  const copy = Buffer.from(program.subarray(0, start))
  copy.fill(0, directory, directory + 8)
  // Zero is "no checksum". Only drivers need one.
  copy.writeUInt32LE(0, header + CHECKSUM_AT)
  return copy
}
