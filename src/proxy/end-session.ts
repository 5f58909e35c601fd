/** Ends a session from outside: between two commands if possible, with an ERR_Packet for the client if possible. */
import type { Socket } from 'node:net'
import { type Clock, monotonicClock } from '../clock.ts'
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError, toERR_Packet } from '../errors.ts'
import { framePacket, frameUncompressed, type Wire } from '../net/wire.ts'
import {
  endsWithERR_Packet,
  endsWithPrepareOK,
  hasMoreResults,
  isIdle,
  isInTransaction,
  statusAtEnd,
} from '../protocol/last-packet.ts'
import { type ERR_Packet, encodeERR_Packet } from '../protocol/packets.ts'
import type { Flow } from '../relay/relay.ts'
import type { Activity, Session } from '../state.ts'

/** How long the client may take to read the last bytes. */
const LINGER_MS = 1_000

const MESSAGES: Partial<Record<ErrorCode, string>> = {
  PROXY_STOPPING: 'the proxy is being stopped',
  SESSION_CLOSED: 'this session was closed by an administrator',
}

/** An open session with what ending it needs. */
export interface Ending {
  session: Session
  flow: Flow
  client: Wire
  upstream: Wire
  compressed: boolean
}

/** Sets `session.isIdle`, `session.activity` and `session.close` for the time in which its bytes are relayed. */
export function installClose(ending: Ending): void {
  const { session, flow } = ending
  session.isIdle = () => {
    if (flow.clientSpokeLast) return false
    if (flow.lastBytes.length === 0) return true // no command yet
    const status = statusAtEnd(flow.lastBytes)
    return status !== undefined && isIdle(status)
  }
  session.activity = () => activityOf(flow)
  session.close = why => {
    // A client that has quit has ended its session itself, and reads nothing more.
    if (flow.hasQuit) closeBoth(ending, monotonicClock)
    else endWith(ending, endError(why))
  }
}

/** Sets `session.close` for the time of a login: what waits for the client or the server gets the error, and passes it on. */
export function installStop(session: Session, ...wires: Wire[]): void {
  const stop = new AbortController()
  for (const wire of wires) wire.stop = stop.signal
  session.close = why => {
    session.endedBy = why
    stop.abort(endError(why))
  }
}

function activityOf({ clientSpokeLast, lastBytes }: Flow): Activity {
  if (clientSpokeLast) return 'waiting for an answer'
  if (lastBytes.length === 0) return 'idle' // no command yet
  const status = statusAtEnd(lastBytes)
  if (status === undefined) return 'open'
  if (hasMoreResults(status)) return 'waiting for an answer'
  return isInTransaction(status) ? 'in a transaction' : 'idle'
}

/**
 * Waits before a refusal. A client that leaves ends the wait. So does `session.close`: a proxy that stops does not wait, and the
 * client gets its answer at once.
 */
export async function delayRefusal(delay: Promise<void>, session: Session, socket: Socket): Promise<void> {
  const ended = new Promise<void>(resolve => {
    session.isIdle = () => true
    session.close = () => resolve()
  })
  await Promise.race([delay, closing(socket), ended])
}

/** Resolves when the socket is closed. */
function closing(socket: Socket): Promise<void> {
  return new Promise(resolve => (socket.closed ? resolve() : socket.once('close', () => resolve())))
}

/** The error that has ended a session, or is about to. @param known an error that may be it */
export function endError(why: ErrorCode, known?: ProxyError): ProxyError {
  return known?.code === why ? known : new ProxyError(why, MESSAGES[why] ?? why)
}

/** Ends an open session; the client gets `error` unless it is in the middle of an answer. */
export function endWith(ending: Ending, error: ProxyError, clock: Clock = monotonicClock): void {
  const { session, flow, client, compressed } = ending
  session.endedBy = error.code
  if (canReceiveError(flow)) writeError(client.socket, toERR_Packet(error, {}, session.id), compressed)
  closeBoth(ending, clock)
}

/** Closes both connections once their last bytes are sent. */
function closeBoth({ client, upstream }: Ending, clock: Clock): void {
  client.socket.destroySoon()
  upstream.socket.destroySoon()
  // A client that does not read would keep both sockets.
  const cancelTimer = clock.after(LINGER_MS, () => {
    client.socket.destroy()
    upstream.socket.destroy()
  })
  client.socket.once('close', cancelTimer)
}

/**
 * Ends an open session whose client reads nothing: nothing can be sent to it. A reset frees the memory of the system too, which
 * would otherwise keep the last bytes for minutes. @param transport the client's TCP or unix socket, also below TLS
 */
export function cutOff({ session, upstream }: Ending, transport: Socket, code: ErrorCode): void {
  session.endedBy = code
  if (transport.remotePort === undefined) transport.destroy()
  else transport.resetAndDestroy()
  upstream.socket.destroy()
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
