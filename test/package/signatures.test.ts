/** The signatures of programs for macOS and Windows, on the smallest files that have all the parts. */
import { createHash } from 'node:crypto'
import { test } from 'tap'
import { removeMacosSignature, signForMacos } from '../../bin/package/macos-signature.ts'
import { removeWindowsSignature } from '../../bin/package/windows-signature.ts'

const LINKEDIT_AT = 32 + 72
const COMMANDS_END = LINKEDIT_AT + 72

/** A program with the segments __TEXT (8 KiB) and __LINKEDIT (the rest), without a signature. */
function macosProgram(bytes: number): Buffer {
  const program = Buffer.alloc(bytes)
  program.writeUInt32LE(0xfeedfacf, 0)
  program.writeUInt32LE(2, 16)
  program.writeUInt32LE(144, 20)
  const segments = [
    { at: 32, name: '__TEXT', offset: 0, bytes: 8_192 },
    { at: LINKEDIT_AT, name: '__LINKEDIT', offset: 8_192, bytes: bytes - 8_192 },
  ]
  for (const { at, name, offset, bytes } of segments) {
    program.writeUInt32LE(0x19, at)
    program.writeUInt32LE(72, at + 4)
    program.write(name, at + 8)
    program.writeBigUInt64LE(0x4000n, at + 32)
    program.writeBigUInt64LE(BigInt(offset), at + 40)
    program.writeBigUInt64LE(BigInt(bytes), at + 48)
  }
  program.fill(0xaa, 8_192)
  return program
}

test('an ad hoc signature has the hashes of all pages', t => {
  const program = macosProgram(10_000)
  const signed = signForMacos(program, 'example')
  t.equal(signed.readUInt32LE(16), 3, 'one more load command')
  t.equal(signed.readUInt32LE(20), 144 + 16)
  const [type, , offset, bytes] = [0, 4, 8, 12].map(at => signed.readUInt32LE(COMMANDS_END + at))
  t.equal(type, 0x1d)
  t.equal(offset, 10_000)
  t.equal(offset! + bytes!, signed.length)
  t.equal(signed.readBigUInt64LE(LINKEDIT_AT + 48), BigInt(signed.length - 8_192), 'the last segment contains it')
  const directory = signed.subarray(offset! + 20)
  t.equal(directory.readUInt32BE(0), 0xfade0c02)
  t.equal(directory.readUInt32BE(12), 0x20002, 'ad hoc, by a linker')
  t.equal(directory.toString('latin1', directory.readUInt32BE(20)).split('\0')[0], 'example')
  t.equal(directory.readUInt32BE(28), 3, 'pages')
  t.equal(directory.readUInt32BE(32), 10_000)
  for (let page = 0; page < 3; page++) {
    const hash = directory.subarray(directory.readUInt32BE(16) + page * 32).subarray(0, 32)
    const content = signed.subarray(page * 4_096, Math.min(page * 4_096 + 4_096, 10_000))
    t.same(hash, createHash('sha256').update(content).digest(), `page ${page}`)
  }
  t.throws(() => signForMacos(signed, 'example'), /has a signature/)
  t.end()
})

test('without its signature, a macOS program is as it was before', t => {
  const program = macosProgram(9_008)
  t.same(removeMacosSignature(program), program)
  t.same(removeMacosSignature(signForMacos(program, 'example')), program)
  t.throws(
    () => removeMacosSignature(Buffer.concat([signForMacos(program, 'example'), Buffer.from('more')])),
    /at the end/,
  )
  t.throws(() => removeMacosSignature(Buffer.alloc(100)), /Not a 64-bit program/)
  t.end()
})

test('no room for the load command of a signature', t => {
  const program = macosProgram(9_008)
  program[COMMANDS_END + 15] = 1
  t.throws(() => signForMacos(program, 'example'), /No room/)
  t.end()
})

test('a Windows program loses its signature and checksum', t => {
  const program = Buffer.alloc(1_000)
  const header = 64 + 24
  program.writeUInt32LE(64, 0x3c)
  program.write('PE\0\0', 64)
  program.writeUInt16LE(0x20b, header)
  program.writeUInt32LE(77, header + 64)
  t.same(removeWindowsSignature(program), program, 'without one')
  program.writeUInt32LE(900, header + 112 + 32)
  program.writeUInt32LE(100, header + 112 + 36)
  const without = removeWindowsSignature(program)
  t.equal(without.length, 900)
  t.equal(without.readUInt32LE(header + 64), 0)
  t.equal(without.readBigUInt64LE(header + 112 + 32), 0n)
  t.throws(() => removeWindowsSignature(Buffer.concat([program, Buffer.from('more')])), /at the end/)
  t.throws(() => removeWindowsSignature(Buffer.alloc(100)), /Not a 64-bit program/)
  t.end()
})
