/** Ending a session from outside: between two commands where that can be, and the client is told. */

import type { ErrorCode } from '../error-codes.ts'
import { ProxyError, toERR_Packet } from '../errors.ts'
import { framePacket, frameUncompressed, type Wire } from '../net/wire.ts'
import { endsWithERR_Packet, isIdle, statusAtEnd } from '../protocol/last-packet.ts'
import { encodeERR_Packet } from '../protocol/packets.ts'
import type { Flow } from '../relay/relay.ts'
import type { Session } from '../state.ts'

/** Milliseconds for the last bytes to be taken. */
const LINGER_MS = 1_000

const MESSAGES: Partial<Record<ErrorCode, string>> = {
  PROXY_STOPPING: 'the proxy is being stopped',
  SESSION_CLOSED: 'this session was closed by an administrator',
}

/** Lets `live` be ended while its bytes are relayed. */
export function installClose(live: Session, flow: Flow, client: Wire, upstream: Wire, compressed: boolean): void {
  live.isIdle = () => {
    if (flow.clientSpokeLast) return false
    if (flow.lastBytes.length === 0) return true // nothing was asked yet
    const status = statusAtEnd(flow.lastBytes)
    return status !== undefined && isIdle(status)
  }
  live.close = why => {
    live.endedBy = why
    if (canReceiveError(flow)) {
      const packet = framePacket(encodeERR_Packet(toERR_Packet(new ProxyError(why, MESSAGES[why] ?? why), {})), 1)
      client.socket.write(compressed ? frameUncompressed(packet, 1) : packet)
    }
    client.socket.destroySoon()
    upstream.socket.destroySoon()
    // Who does not read is not waited for.
    const timer = setTimeout(() => {
      client.socket.destroy()
      upstream.socket.destroy()
    }, LINGER_MS)
    client.socket.once('close', () => clearTimeout(timer))
  }
}

/** Not in the middle of an answer. The ERR_Packet is then the answer to the command before it, or to the next one. */
function canReceiveError({ clientSpokeLast, lastBytes: tail }: Flow): boolean {
  return clientSpokeLast || tail.length === 0 || statusAtEnd(tail) !== undefined || endsWithERR_Packet(tail)
}
