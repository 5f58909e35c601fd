/**
 * What a server's stream ends with. Within a relayed session the packets' boundaries are not followed; but a server that
 * has asked something says no more until it has the answer, so that its question is the end of what it sent.
 */
import { AUTH_SWITCH_REQUEST, ERR } from './packets.ts'

const HEADER_LENGTH = 4
/** Longest AuthSwitchRequest and ERR_Packet that are looked for, with their headers. */
const LONGEST = 600

/** The offset of the packet that `chunk` ends with if it is the first answer to a command and `matches`, else -1. */
function lastPacketAt(chunk: Buffer, matches: (payload: Buffer) => boolean): number {
  for (let offset = Math.max(0, chunk.length - LONGEST); offset + HEADER_LENGTH < chunk.length; offset++) {
    const length = chunk[offset]! | (chunk[offset + 1]! << 8) | (chunk[offset + 2]! << 16)
    const whole = length === chunk.length - offset - HEADER_LENGTH && chunk[offset + 3] === 1
    if (whole && matches(chunk.subarray(offset + HEADER_LENGTH))) return offset
  }
  return -1
}

/** The offset of an AuthSwitchRequest, header included, at the end of `chunk`; -1 where there is none. */
export function authSwitchRequestAt(chunk: Buffer): number {
  return lastPacketAt(
    chunk,
    payload => payload[0] === AUTH_SWITCH_REQUEST && /^[a-z0-9_]{4,64}\0/.test(payload.toString('latin1', 1)),
  )
}

/** Whether `chunk` ends with an ERR_Packet that is the first answer to a command. */
export function endsWithERR_Packet(chunk: Buffer): boolean {
  return lastPacketAt(chunk, payload => payload[0] === ERR && payload[3] === 0x23) >= 0 // '#'
}
