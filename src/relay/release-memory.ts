/**
 * Frees the memory of large chunks once they are written. If the garbage collector has to do it, V8 traverses its whole heap
 * about every 30 MB, which is a quarter of the processor time of a bulk transfer (docs/performance.md).
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isWholeOutput } from '../protocol/inflate.ts'

/** ArrayBuffer.prototype.transfer moves the memory to a new buffer; with a length of 0 it frees it. */
type Transfer = (this: ArrayBufferLike, newLength: number) => ArrayBuffer

let transfer: Transfer | undefined
let isKnown = false

/**
 * Empties `chunk`. Call it only when neither JavaScript nor a system call needs its bytes. A chunk that shares its memory
 * stays as it is.
 */
export function releaseBuffer(chunk: Buffer): void {
  if (chunk.byteLength !== chunk.buffer.byteLength && !isWholeOutput(chunk)) return
  if (!isKnown) transfer = findTransfer()
  isKnown = true
  transfer?.call(chunk.buffer, 0)
}

/** Node.js 20 has it behind a flag of V8, which applies to contexts created later. */
function findTransfer(): Transfer | undefined {
  const { transfer } = ArrayBuffer.prototype as { transfer?: Transfer }
  if (transfer) return transfer
  setFlagsFromString('--harmony-rab-gsab-transfer')
  const found: unknown = runInNewContext('ArrayBuffer.prototype.transfer')
  return typeof found === 'function' ? (found as Transfer) : undefined
}
