import { test } from 'tap'
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
