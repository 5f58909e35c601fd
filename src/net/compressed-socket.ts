/**
 * A connection whose packets travel compressed, seen as one without compression. All who use it, such as the relay, see the
 * packets of an ordinary session. docs/decisions/0171-compression-below-the-relay.md
 */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { createCompressedExchange } from '../protocol/compress-exchange.ts'
import { createFrameReader, MAX_WHOLE_BYTES } from '../protocol/compress-frames.ts'
import { isTooLarge, largePacket } from '../protocol/net-buffer.ts'
import type { CompressedTraffic } from '../state.ts'

/** Decompressed bytes that may wait for a reader. */
const HIGH_WATER_MARK_BYTES = 64 * 1024

/** What the proxy reads and sets of a socket besides its stream. The connection below has it. */
const OF_CARRIER = ['localAddress', 'localPort', 'remoteAddress', 'remotePort', 'remoteFamily'] as const

/**
 * @param carrier the connection to the server, at the end of a login with compression. Nothing else may use it afterwards
 * @param traffic what the login has agreed on; it counts the bytes of the carrier
 * @param onTooLarge the server's network buffer is made larger with the first command; called if its max_allowed_packet is too
 * small for that, which ends the session. undefined: the buffer stays as it is
 */
export function createCompressedSocket(carrier: Socket, traffic: CompressedTraffic, onTooLarge?: () => void): Socket {
  const exchange = createCompressedExchange(traffic.compression)
  /** whether the server has closed its direction. Its last bytes may not be decompressed yet */
  let hasEnded = false
  let needsMore = true
  let isLargePacketDue = onTooLarge !== undefined
  let isFirstAnswer = true
  const readMore = () => {
    needsMore = true
    if (hasEnded) duplex.push(null)
    else carrier.resume()
  }
  const reader = createFrameReader({
    onFrame: exchange.beginFrame,
    onData: bytes => {
      if (isFirstAnswer && isTooLarge(bytes)) onTooLarge?.()
      isFirstAnswer = false
      exchange.renumber(bytes)
      if (!duplex.push(bytes)) reader.pause()
    },
    onNeed: readMore,
    onError: error => duplex.destroy(error as Error),
  })

  /** A part of what waits at a time: compressing all of it at once would stop other sessions. */
  const writeParts = (chunks: Buffer[], done: (error?: Error | null) => void) => {
    const frames: Buffer[] = isLargePacketDue ? [largePacket(traffic.compression)] : []
    isLargePacketDue = false
    let length = 0
    while (length < MAX_WHOLE_BYTES && chunks.length > 0) {
      const chunk = chunks.shift()!
      length += chunk.length
      frames.push(...exchange.framesFor(chunk))
    }
    const next = (error?: Error | null) => (error || chunks.length === 0 ? done(error) : writeParts(chunks, done))
    if (frames.length === 0) next()
    else send(frames.length === 1 ? frames[0]! : Buffer.concat(frames), next)
  }
  const send = (bytes: Buffer, done?: (error?: Error | null) => void) => {
    traffic.bytesFromClient += bytes.length
    carrier.write(bytes, done)
  }

  const duplex = new Duplex({
    readableHighWaterMark: HIGH_WATER_MARK_BYTES,
    decodeStrings: true,
    read: () => {
      if (reader.resume()) readMore()
    },
    write: (chunk: Buffer, _encoding, done) => writeParts([chunk], done),
    writev: (chunks, done) =>
      writeParts(
        chunks.map(({ chunk }) => chunk),
        done,
      ),
    final: done => {
      for (const frame of exchange.lastFrames()) send(frame)
      carrier.end(() => done())
    },
    destroy: (error, done) => {
      reader.close()
      carrier.destroy(error ?? undefined)
      done(error)
    },
  })

  carrier.pause()
  carrier.on('data', (chunk: Buffer) => {
    traffic.bytesFromUpstream += chunk.length
    needsMore = reader.write(chunk)
    if (!needsMore) carrier.pause()
  })
  carrier.on('end', () => {
    hasEnded = true
    if (needsMore) readMore()
  })
  carrier.on('error', error => duplex.destroy(error))
  carrier.on('close', () => {
    // What has arrived is read first.
    if (hasEnded && !duplex.readableEnded) duplex.once('end', () => duplex.destroy())
    else duplex.destroy()
  })
  return withSocketMethods(duplex, carrier)
}

function withSocketMethods(duplex: Duplex, carrier: Socket): Socket {
  const own: PropertyDescriptorMap = {
    destroySoon: { value: () => destroySoon(duplex) },
    setKeepAlive: { value: carrier.setKeepAlive.bind(carrier) },
  }
  for (const name of OF_CARRIER) own[name] = { get: () => carrier[name] }
  return Object.defineProperties(duplex, own) as Socket
}

/** As a socket does it: closes once all that waits is written. */
export function destroySoon(duplex: Duplex): void {
  if (duplex.writable) duplex.end()
  if (duplex.writableFinished) duplex.destroy()
  else duplex.once('finish', () => duplex.destroy())
}
