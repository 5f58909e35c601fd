/**
 * Gives the memory of large chunks back once they are written. Left to the garbage collector, it makes V8 go over its whole
 * heap every 30 MB or so: a quarter of the processor time of a bulk transfer (docs/performance.md).
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** ArrayBuffer.prototype.transfer: the memory goes to what it returns; of a new length of 0, nowhere. */
type Transfer = (this: ArrayBufferLike, newLength: number) => ArrayBuffer

let transfer: Transfer | undefined
let isKnown = false

/**
 * Empties `chunk`, of which nobody may want a byte any more: nobody in JavaScript, and no system call.
 * One that shares its memory with others is left alone.
 */
export function releaseBuffer(chunk: Buffer): void {
  if (chunk.byteLength !== chunk.buffer.byteLength) return
  if (!isKnown) transfer = findTransfer()
  isKnown = true
  transfer?.call(chunk.buffer, 0)
}

/** Node.js 20 has it behind a flag of V8, which holds for contexts that are made after it is set. */
function findTransfer(): Transfer | undefined {
  const { transfer } = ArrayBuffer.prototype as { transfer?: Transfer }
  if (transfer) return transfer
  setFlagsFromString('--harmony-rab-gsab-transfer')
  const found: unknown = runInNewContext('ArrayBuffer.prototype.transfer')
  return typeof found === 'function' ? (found as Transfer) : undefined
}
