/** Ends a session from outside: between two commands if possible, with an ERR_Packet for the client if possible. */
import type { Socket } from 'node:net'
import { type Clock, monotonicClock } from '../clock.ts'
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError, toERR_Packet } from '../errors.ts'
import { framePacket, frameUncompressed, type Wire } from '../net/wire.ts'
import { endsWithERR_Packet, endsWithPrepareOK, isIdle, statusAtEnd } from '../protocol/last-packet.ts'
import { type ERR_Packet, encodeERR_Packet } from '../protocol/packets.ts'
import type { Flow } from '../relay/relay.ts'
import type { Session } from '../state.ts'

/** How long the client may take to read the last bytes. */
const LINGER_MS = 1_000

const MESSAGES: Partial<Record<ErrorCode, string>> = {
  PROXY_STOPPING: 'the proxy is being stopped',
  SESSION_CLOSED: 'this session was closed by an administrator',
}

/** Sets `session.isIdle` and `session.close` for the time in which its bytes are relayed. */
export function installClose(
  session: Session,
  flow: Flow,
  client: Wire,
  upstream: Wire,
  compressed: boolean,
  clock: Clock = monotonicClock,
): void {
  session.isIdle = () => {
    if (flow.clientSpokeLast) return false
    if (flow.lastBytes.length === 0) return true // no command yet
    const status = statusAtEnd(flow.lastBytes)
    return status !== undefined && isIdle(status)
  }
  session.close = why => {
    session.endedBy = why
    if (canReceiveError(flow)) {
      writeError(client.socket, toERR_Packet(new ProxyError(why, MESSAGES[why] ?? why), {}), compressed)
    }
    client.socket.destroySoon()
    upstream.socket.destroySoon()
    // A client that does not read would keep both sockets.
    const cancelTimer = clock.after(LINGER_MS, () => {
      client.socket.destroy()
      upstream.socket.destroy()
    })
    client.socket.once('close', cancelTimer)
  }
}

/** False in the middle of an answer. Otherwise the ERR_Packet answers the last command, or the next. */
function canReceiveError({ clientSpokeLast, lastBytes }: Flow): boolean {
  const isComplete =
    statusAtEnd(lastBytes) !== undefined || endsWithERR_Packet(lastBytes) || endsWithPrepareOK(lastBytes)
  return clientSpokeLast || lastBytes.length === 0 || isComplete
}

/** Writes an ERR_Packet as the first answer to a command. */
export function writeError(client: Socket, error: ERR_Packet, compressed: boolean): void {
  const packet = framePacket(encodeERR_Packet(error), 1)
  client.write(compressed ? frameUncompressed(packet, 1) : packet)
}
