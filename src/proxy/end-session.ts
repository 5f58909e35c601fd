/** Ending a session from outside: between two commands where that can be, and the client is told. */

import type { ErrorCode } from '../error-codes.ts'
import { ProxyError, toERR_Packet } from '../errors.ts'
import { framePacket, frameUncompressed, type Wire } from '../net/wire.ts'
import { encodeERR_Packet } from '../protocol/packets.ts'
import { endsWithERR_Packet, isAtRest, statusAtEnd } from '../protocol/tail.ts'
import type { Flow } from '../relay/relay.ts'
import type { LiveSession } from '../state.ts'

/** Milliseconds for the last bytes to be taken. */
const LINGER = 1_000

const MESSAGES: Partial<Record<ErrorCode, string>> = {
  PROXY_STOPPING: 'the proxy is being stopped',
  SESSION_CLOSED: 'this session was closed by an administrator',
}

/** Lets `live` be ended while its bytes are relayed. */
export function allowFarewell(live: LiveSession, flow: Flow, client: Wire, upstream: Wire, compressed: boolean): void {
  live.isAtRest = () => {
    if (flow.clientSpokeLast) return false
    if (flow.tail.length === 0) return true // nothing was asked yet
    const status = statusAtEnd(flow.tail)
    return status !== undefined && isAtRest(status)
  }
  live.close = why => {
    live.endedBy = why
    if (mayBeTold(flow)) {
      const packet = framePacket(encodeERR_Packet(toERR_Packet(new ProxyError(why, MESSAGES[why] ?? why), {})), 1)
      client.socket.write(compressed ? frameUncompressed(packet, 1) : packet)
    }
    client.socket.destroySoon()
    upstream.socket.destroySoon()
    // Who does not read is not waited for.
    const timer = setTimeout(() => {
      client.socket.destroy()
      upstream.socket.destroy()
    }, LINGER)
    client.socket.once('close', () => clearTimeout(timer))
  }
}

/** Not in the middle of an answer. The ERR_Packet is then the answer to the command before it, or to the next one. */
function mayBeTold({ clientSpokeLast, tail }: Flow): boolean {
  return clientSpokeLast || tail.length === 0 || statusAtEnd(tail) !== undefined || endsWithERR_Packet(tail)
}
