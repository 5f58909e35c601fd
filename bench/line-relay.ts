/** A line between two sockets: a round-trip time, a rate for each direction, and a count of the bytes. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { HostPort } from '../src/endpoint.ts'

export interface Line extends HostPort {
  /** bytes so far, both directions */
  bytes(): number
  close(): void
}

/** Larger chunks would arrive in bursts. */
const PIECE_BYTES = 8 * 1024
/** What may wait for its time, beside what the line itself holds. */
const QUEUE_BYTES = 256 * 1024

/**
 * @param roundTrip milliseconds
 * @param rate bits per second in each direction; Infinity for no limit
 */
export async function startLine(to: HostPort, roundTrip: number, rate: number): Promise<Line> {
  let bytes = 0
  const count = (length: number) => {
    bytes += length
  }
  const sockets = new Set<Socket>()
  const listener = createServer({ noDelay: true, allowHalfOpen: true }, near => {
    const opened = performance.now()
    const far = connect({ host: to.host, port: to.port, noDelay: true, allowHalfOpen: true })
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {
        near.destroy()
        far.destroy()
      })
      socket.on('close', () => sockets.delete(socket))
    }
    carry(near, far, roundTrip / 2, rate, opened, count)
    // The handshake of TCP takes a round trip, which the listener on this machine has not waited for.
    carry(far, near, roundTrip / 2, rate, opened + roundTrip, count)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    host: '127.0.0.1',
    port: (listener.address() as AddressInfo).port,
    bytes: () => bytes,
    close() {
      listener.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** Writes what comes from `from` to `to` when it would have come over the line. */
function carry(
  from: Socket,
  to: Socket,
  delay: number,
  rate: number,
  earliest: number,
  count: (length: number) => void,
): void {
  const queue: { piece: Buffer; at: number }[] = []
  const bytesPerMs = rate / 8 / 1_000
  const limit = QUEUE_BYTES + (Number.isFinite(bytesPerMs) ? bytesPerMs * delay : 4 * 1024 * 1024)
  let waiting = 0
  let freeAt = 0
  let hasEnded = false
  let isTimed = false
  const deliver = () => {
    isTimed = false
    const now = performance.now()
    to.cork()
    while (queue.length > 0 && queue[0]!.at <= now + 0.5) {
      const { piece } = queue.shift()!
      waiting -= piece.length
      to.write(piece)
    }
    to.uncork()
    if (waiting < limit) from.resume()
    if (queue.length > 0) deliverLater(now)
    else if (hasEnded) to.end()
  }
  const deliverLater = (now: number) => {
    if (!isTimed) setTimeout(deliver, queue[0]!.at - now)
    isTimed = true
  }
  from.on('data', chunk => {
    const now = performance.now()
    count(chunk.length)
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
      const piece = chunk.subarray(at, at + PIECE_BYTES)
      freeAt = Math.max(now, freeAt) + piece.length / bytesPerMs
      queue.push({ piece, at: Math.max(freeAt, earliest) + delay })
      waiting += piece.length
    }
    if (waiting > limit) from.pause()
    deliverLater(now)
  })
  from.on('end', () => {
    hasEnded = true
    if (queue.length === 0) setTimeout(() => to.end(), delay)
  })
}
