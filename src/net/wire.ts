/**
 * Packets over a socket: framing, sequence ids, a size cap and a deadline. Only for the connection phase; the relay moves bytes.
 *
 * The socket is paused and read with `socket.read(n)`. Unread bytes stay in the socket, where TLS or the relay finds them.
 */
import type { Socket } from 'node:net'
import { type Clock, monotonicClock } from '../clock.ts'
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { MalformedPacket } from '../protocol/bytes.ts'
import { encodeFrame } from '../protocol/compress-frames.ts'
import type { Compression } from '../protocol/inflate.ts'
import { startsLikeProxyHeader } from '../protocol/proxy-header.ts'
import type { CompressedTraffic } from '../state.ts'
import { createCompressedSocket } from './compressed-socket.ts'

/** One connection in its handshake. `socket` changes when TLS starts. */
export interface Wire {
  readonly peer: 'client' | 'upstream'
  socket: Socket
  /** the connection below `socket`, if that hides its compression */
  carrier: Socket | undefined
  /** what has travelled over `carrier` since */
  compressed: CompressedTraffic | undefined
  /** sequence id of the next packet, either way */
  sequence: number
  readonly clock: Clock
  /** when the handshake must be over, in the time of `clock` */
  deadline: number
  /** the error that ended the socket, if any */
  failure: Error | undefined
  /** ends the handshake from outside: who waits for this peer gets its reason, a ProxyError. The socket can still be written to */
  stop?: AbortSignal | undefined
}

const HEADER_BYTES = 4

/** Largest packet of a handshake, in bytes: connection attributes may have 64 KiB, a token about 1.5 KiB. */
export const MAX_HANDSHAKE_PACKET_BYTES = 128 * 1024

const CODES = {
  client: { closed: 'CLIENT_CLOSED', timeout: 'CLIENT_TIMEOUT', malformed: 'CLIENT_MALFORMED' },
  upstream: { closed: 'UPSTREAM_CLOSED', timeout: 'UPSTREAM_TIMEOUT', malformed: 'UPSTREAM_NOT_MYSQL' },
} as const satisfies Record<Wire['peer'], Record<string, ErrorCode>>

/** @param timeout milliseconds until the handshake must be over */
export function createWire(socket: Socket, peer: Wire['peer'], timeout: number, clock = monotonicClock): Wire {
  const deadline = clock.now() + timeout
  const wire: Wire = {
    peer,
    socket,
    carrier: undefined,
    compressed: undefined,
    sequence: 0,
    clock,
    deadline,
    failure: undefined,
  }
  watch(wire)
  return wire
}

/** Milliseconds until the deadline; negative after it. */
export function timeLeft({ clock, deadline }: Wire): number {
  return deadline - clock.now()
}

/** Goes on over `socket`, a TLS socket around the one before it. */
export function switchSocket(wire: Wire, socket: Socket): void {
  wire.socket = socket
  watch(wire)
}

/** Goes on with packets that travel compressed, from the end of the login on. @param onTooLarge as of `createCompressedSocket` */
export function startCompression(wire: Wire, compression: Compression, onTooLarge?: () => void): void {
  wire.carrier = wire.socket
  wire.compressed = { compression, bytesFromClient: 0, bytesFromUpstream: 0 }
  switchSocket(wire, createCompressedSocket(wire.carrier, wire.compressed, onTooLarge))
}

function watch(wire: Wire): void {
  wire.socket.on('error', error => {
    wire.failure ??= error
  })
}

/**
 * The next packet's payload; `step` names it for errors.
 * @throws ProxyError CLIENT_… or UPSTREAM_…: CLOSED, TIMEOUT, or for the wrong sequence id and size MALFORMED / NOT_MYSQL
 */
export async function readPacket(wire: Wire, step: string): Promise<Buffer> {
  const header = await readBytes(wire, HEADER_BYTES, step)
  const length = header.readUIntLE(0, 3)
  const sequence = header[3]!
  if (sequence !== wire.sequence && wire.peer === 'client' && startsLikeProxyHeader(header)) {
    wire.sequence++ // the client sends its own packet with this id after the header
    const message = `the connection from ${wire.socket.remoteAddress ?? 'a unix socket'} began with a PROXY protocol header`
    throw new ProxyError('PROXY_HEADER_UNEXPECTED', message)
  }
  if (sequence !== wire.sequence) {
    throw malformed(wire, `${step}: sequence id ${sequence}, expected ${wire.sequence}`)
  }
  if (length > MAX_HANDSHAKE_PACKET_BYTES) throw malformed(wire, `${step}: a packet of ${length} bytes`)
  wire.sequence = (sequence + 1) & 0xff
  return length === 0 ? Buffer.alloc(0) : readBytes(wire, length, step)
}

/** Sends one packet with the next sequence id. */
export function writePacket(wire: Wire, payload: Buffer): void {
  wire.socket.write(framePacket(payload, wire.sequence))
  wire.sequence = (wire.sequence + 1) & 0xff
}

/** `payload` behind its 4-byte header. */
export function framePacket(payload: Buffer, sequence: number): Buffer {
  const packet = Buffer.allocUnsafe(HEADER_BYTES + payload.length)
  packet.writeUIntLE(payload.length, 0, 3)
  packet[3] = sequence
  payload.copy(packet, HEADER_BYTES)
  return packet
}

/** `packet` as the payload of a compressed packet that is stored uncompressed, which the protocol allows. */
export function frameUncompressed(packet: Buffer, sequence: number): Buffer {
  return encodeFrame(packet, 0, sequence)
}

/** The error for bytes from this peer that do not follow the protocol. */
export function malformed(wire: Wire, message: string, cause?: unknown): ProxyError {
  return new ProxyError(CODES[wire.peer].malformed, message, { cause })
}

/**
 * Reads exactly `length` bytes before the deadline; `step` names them for errors. It keeps one set of listeners until all
 * bytes are there: with new 'readable' listeners for each attempt, the stream would announce a partial packet without end.
 * @throws ProxyError CLIENT_… or UPSTREAM_…: CLOSED, TIMEOUT
 */
export async function readBytes(wire: Wire, length: number, step: string): Promise<Buffer> {
  const { socket } = wire
  const take = (): Buffer | ProxyError | undefined => {
    if (wire.stop?.aborted) return closed(wire, step)
    const bytes: Buffer | null = socket.read(length)
    if (bytes?.length === length) return bytes
    // After its end, a socket returns the remaining bytes even if they are fewer than requested.
    return bytes || socket.readableEnded || socket.destroyed ? closed(wire, step) : undefined
  }
  const result = take() ?? (await retryUntil(wire, step, take))
  if (result instanceof ProxyError) throw result
  return result
}

/** What `take` returns once it is not undefined, or a ProxyError at the deadline. */
function retryUntil<Value>(wire: Wire, step: string, take: () => Value | undefined): Promise<Value | ProxyError> {
  const { socket, stop } = wire
  return new Promise(resolve => {
    const attempt = () => {
      const result = take()
      if (result !== undefined) settle(result)
    }
    const settle = (result: Value | ProxyError) => {
      cancelTimer()
      socket.off('readable', attempt).off('end', attempt).off('close', attempt)
      stop?.removeEventListener('abort', attempt)
      resolve(result)
    }
    const cancelTimer = wire.clock.after(timeLeft(wire), () => settle(timedOut(wire, step)))
    socket.on('readable', attempt).on('end', attempt).on('close', attempt)
    stop?.addEventListener('abort', attempt)
    attempt()
  })
}

/**
 * Runs `work` with a signal that aborts when the peer disconnects. Its reason is CLIENT_CLOSED or UPSTREAM_CLOSED, or that of
 * `wire.stop`. Use it while nothing else reads from the socket.
 */
export async function whileConnected<Value>(
  wire: Wire,
  step: string,
  work: (disconnected: AbortSignal) => Promise<Value>,
): Promise<Value> {
  const controller = new AbortController()
  const stop = watchForEnd(wire, () => controller.abort(closed(wire, step)))
  try {
    return await work(controller.signal)
  } finally {
    stop()
  }
}

/** The result of `work`, which goes on by itself if the peer disconnects. @throws ProxyError CLIENT_CLOSED, UPSTREAM_CLOSED */
export async function unlessDisconnected<Value>(wire: Wire, step: string, work: Promise<Value>): Promise<Value> {
  let stop = () => {}
  const disconnected = new Promise<never>((_resolve, reject) => {
    stop = watchForEnd(wire, () => reject(closed(wire, step)))
  })
  try {
    return await Promise.race([work, disconnected])
  } finally {
    stop()
  }
}

/** Calls `onEnd` when the peer disconnects or `wire.stop` aborts, at once if it has already. Call the result to stop. */
export function watchForEnd(wire: Wire, onEnd: () => void): () => void {
  const { socket, stop } = wire
  // 'end' is emitted only after a read.
  const onReadable = () => socket.readableLength === 0 && socket.read(0)
  socket.on('readable', onReadable).on('end', onEnd).on('close', onEnd)
  stop?.addEventListener('abort', onEnd)
  if (!isOpen(wire)) onEnd()
  return () => {
    socket.off('readable', onReadable).off('end', onEnd).off('close', onEnd)
    stop?.removeEventListener('abort', onEnd)
  }
}

/** Whether the peer has not disconnected, as far as this process has read, and the handshake goes on. */
export function isOpen({ socket, stop }: Wire): boolean {
  return !socket.readableEnded && !socket.destroyed && !stop?.aborted
}

/** The result of `parse`. @throws ProxyError CLIENT_MALFORMED or UPSTREAM_NOT_MYSQL instead of MalformedPacket */
export function parsed<Value>(wire: Wire, step: string, parse: () => Value): Value {
  try {
    return parse()
  } catch (error) {
    if (error instanceof MalformedPacket) throw malformed(wire, `${step}: ${error.message}`, error)
    throw error
  }
}

export function timedOut(wire: Wire, step: string): ProxyError {
  return new ProxyError(CODES[wire.peer].timeout, `timed out while waiting for ${step}`)
}

/** The error for a peer that has disconnected, or the reason of `wire.stop`. */
export function closed(wire: Wire, step: string): ProxyError {
  if (wire.stop?.aborted) return wire.stop.reason
  // A socket knows its error a moment before it emits it.
  const cause = wire.failure ?? wire.socket.errored ?? undefined
  if (cause instanceof MalformedPacket) return malformed(wire, `${step}: ${cause.message}`, cause)
  const how = cause ? ` (${systemCode(cause) || cause.message})` : ''
  return new ProxyError(CODES[wire.peer].closed, `connection closed while waiting for ${step}${how}`, { cause })
}

/** Time for a socket to deliver its last bytes. */
const LINGER_MS = 1_000

/** Ends a socket so that its last packet arrives: closing a socket with unread bytes would reset the connection. */
export function endGracefully({ socket, clock }: Wire): void {
  if (socket.destroyed) return
  socket.end()
  socket.resume()
  const cancelTimer = clock.after(LINGER_MS, () => socket.destroy())
  socket.once('end', () => socket.destroySoon())
  socket.once('close', cancelTimer)
}
