/** Reads the PROXY protocol header at the start of a client's connection. */
import { ProxyError } from '../errors.ts'
import { MalformedPacket } from '../protocol/bytes.ts'
import { type ProxyHeader, parseProxyHeader } from '../protocol/proxy-header.ts'
import { closed, timeLeft, type Wire } from './wire.ts'

/** Load balancers send the header at once. The time covers a lost segment or two, as the specification demands. */
const HEADER_TIMEOUT_MS = 5_000

/**
 * The header. Bytes that follow it stay in the socket, where the handshake finds them.
 * @throws ProxyError PROXY_HEADER_INVALID, CLIENT_CLOSED
 */
export function readProxyHeader(wire: Wire): Promise<ProxyHeader> {
  const { socket, clock, stop } = wire
  const step = 'the PROXY protocol header'
  let bytes = Buffer.alloc(0)
  return new Promise((resolve, reject) => {
    const attempt = () => {
      if (stop?.aborted) return settle(closed(wire, step))
      for (let chunk = read(); chunk; chunk = read()) {
        bytes = Buffer.concat([bytes, chunk])
        const header = parse(bytes)
        if (!header) continue
        if (header instanceof ProxyError) return settle(header)
        if (bytes.length > header.length) socket.unshift(bytes.subarray(header.length))
        return settle(header)
      }
      if (socket.readableEnded || socket.destroyed) settle(closed(wire, step))
    }
    const read = () => socket.read() as Buffer | null
    const settle = (result: ProxyHeader | ProxyError) => {
      cancelTimer()
      socket.off('readable', attempt).off('end', attempt).off('close', attempt)
      stop?.removeEventListener('abort', attempt)
      if (result instanceof ProxyError) reject(result)
      else resolve(result)
    }
    const timeout = Math.min(HEADER_TIMEOUT_MS, timeLeft(wire))
    const cancelTimer = clock.after(timeout, () => {
      settle(new ProxyError('PROXY_HEADER_INVALID', `no PROXY protocol header within ${Math.ceil(timeout / 1_000)} s`))
    })
    socket.on('readable', attempt).on('end', attempt).on('close', attempt)
    stop?.addEventListener('abort', attempt)
    attempt()
  })
}

/** undefined if more bytes are needed. */
function parse(bytes: Buffer): ProxyHeader | ProxyError | undefined {
  try {
    return parseProxyHeader(bytes)
  } catch (error) {
    if (!(error instanceof MalformedPacket)) throw error
    return new ProxyError('PROXY_HEADER_INVALID', error.message, { cause: error })
  }
}
