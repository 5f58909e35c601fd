import { deflateSync } from 'node:zlib'
import { test } from 'tap'
import { inflateWhole } from '../../src/protocol/inflate.ts'
import { releaseBuffer } from '../../src/relay/release-memory.ts'

test('memory of a single chunk is released', async t => {
  const chunk = Buffer.allocUnsafeSlow(64 * 1024)
  const before = process.memoryUsage().arrayBuffers
  releaseBuffer(chunk)
  t.equal(chunk.length, 0)
  t.ok(process.memoryUsage().arrayBuffers <= before - 64 * 1024, 'at once')
})

test('memory that a chunk shares is not released', async t => {
  const whole = Buffer.allocUnsafeSlow(64 * 1024).fill('x')
  for (const part of [whole.subarray(0, 60_000), whole.subarray(4)]) {
    releaseBuffer(part)
    t.equal(part.toString(), 'x'.repeat(part.length))
  }
  t.equal(whole.length, 64 * 1024)
  const small = Buffer.from('of the pool')
  releaseBuffer(small)
  t.equal(small.toString(), 'of the pool')
})

test('the memory of decompressed payloads is released, unless it is of the pool or a part', async t => {
  for (const length of [16, 16_384, 23_422, 32_767, 40_000, 65_536]) {
    const [whole, other] = [1, 2].map(() => inflateWhole(deflateSync(Buffer.alloc(length, 'x')), length)) as [
      Buffer,
      Buffer,
    ]
    const part = other.subarray(0, length - 1)
    releaseBuffer(part)
    t.equal(part.toString(), 'x'.repeat(length - 1), `a part of ${length} bytes`)
    releaseBuffer(whole)
    if (length > 32_768) t.equal(whole.length, 0, `${length} bytes`)
    t.equal(other.toString(), 'x'.repeat(length), `${length} bytes beside it`)
  }
})
