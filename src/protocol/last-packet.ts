/**
 * The last packet of a server's stream. The relay does not follow packet boundaries, which would cost time in bulk transfers.
 * But a server that waits for the client sends nothing more, so its last packet ends where the bytes end.
 */
import { AUTH_SWITCH_REQUEST, ERR, OK } from './packets.ts'

const HEADER_LENGTH = 4

/** Longest AuthSwitchRequest or ERR_Packet that is recognised, with its header. */
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

/** The offset of the AuthSwitchRequest, with its header, at the end of `chunk`; -1 if there is none. */
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

/** Whether `chunk` is an OK_Packet that is the first answer to a command. */
export function isOK_Packet(chunk: Buffer): boolean {
  return lastPacketAt(chunk, payload => payload[0] === OK) === 0
}

/**
 * Whether `chunk` ends with the COM_STMT_PREPARE_OK of a statement without parameters and columns, which is the whole
 * answer then. It begins like an OK_Packet, but has no status flags.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_prepare.html
 */
export function endsWithPrepareOK(chunk: Buffer): boolean {
  return lastPacketAt(chunk, isPrepareOK) >= 0
}

const PREPARE_OK_LENGTH = 12

/** One byte longer with CLIENT_OPTIONAL_RESULTSET_METADATA. Both counts and the filler are 0. */
function isPrepareOK(payload: Buffer): boolean {
  const fits = payload.length === PREPARE_OK_LENGTH || payload.length === PREPARE_OK_LENGTH + 1
  return fits && payload[0] === OK && payload.readUInt32LE(5) === 0 && payload[9] === 0
}

const SERVER_STATUS_IN_TRANS = 0x0001
const SERVER_MORE_RESULTS_EXISTS = 0x0008
const SERVER_STATUS_CURSOR_EXISTS = 0x0040

/**
 * The status flags of the OK_Packet or EOF_Packet at the end of an answer. undefined if the last packet is another one, or
 * is longer than `tail`.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html
 */
export function statusAtEnd(tail: Buffer): number | undefined {
  if (endsWithPrepareOK(tail)) return undefined
  for (let offset = tail.length - HEADER_LENGTH - EOF_LENGTH; offset >= 0; offset--) {
    const isWhole = tail.readUIntLE(offset, 3) === tail.length - offset - HEADER_LENGTH && tail[offset + 3] !== 0
    const status = isWhole ? statusFlags(tail.subarray(offset + HEADER_LENGTH)) : undefined
    if (status !== undefined) return status
  }
  return undefined
}

/** Whether nothing more comes and no transaction is open. @param status flags of an OK_Packet or EOF_Packet */
export function isIdle(status: number): boolean {
  return (status & (SERVER_STATUS_IN_TRANS | SERVER_MORE_RESULTS_EXISTS | SERVER_STATUS_CURSOR_EXISTS)) === 0
}

/** @param status flags of an OK_Packet or EOF_Packet */
export function isInTransaction(status: number): boolean {
  return (status & SERVER_STATUS_IN_TRANS) !== 0
}

/** Whether the answer goes on. @param status flags of an OK_Packet or EOF_Packet */
export function hasMoreResults(status: number): boolean {
  return (status & SERVER_MORE_RESULTS_EXISTS) !== 0
}

const EOF = 0xfe
const EOF_LENGTH = 5

/** The status flags of an OK_Packet or EOF_Packet; undefined for another payload. */
export function statusFlags(payload: Buffer): number | undefined {
  if (payload[0] === EOF && payload.length === EOF_LENGTH) return payload.readUInt16LE(3)
  if ((payload[0] !== EOF && payload[0] !== OK) || payload.length < 7) return undefined
  const afterRows = 1 + lenencLength(payload[1]!)
  const afterId = afterRows + lenencLength(payload[afterRows] ?? 0xff)
  return afterId + 4 <= payload.length ? payload.readUInt16LE(afterId) : undefined
}

/** Length of an int<lenenc> with this first byte. */
function lenencLength(first: number): number {
  return first < 0xfb ? 1 : first === 0xfc ? 3 : first === 0xfd ? 4 : 9
}
