/**
 * The messages of Session Manager's data channel: bytes in, values out. The client sends input_stream_data, the SSM agent
 * sends output_stream_data, and both acknowledge. AWS documents them only in the source of the plugin and of the agent:
 * https://github.com/aws/session-manager-plugin/blob/mainline/src/message/clientmessage.go
 * https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/contracts/agentmessage.go
 */
import { createHash } from 'node:crypto'

export const MESSAGE_TYPES = {
  input: 'input_stream_data',
  output: 'output_stream_data',
  acknowledge: 'acknowledge',
  channelClosed: 'channel_closed',
  startPublication: 'start_publication',
  pausePublication: 'pause_publication',
} as const

/** What the payload of a stream message is. */
export const PAYLOAD_TYPES = {
  data: 1,
  handshakeRequest: 5,
  handshakeResponse: 6,
  handshakeComplete: 7,
  encryptionChallengeRequest: 8,
  flag: 10,
} as const

/** The payload of a message of the type `flag`, 4 bytes. */
export const FLAGS = { terminateSession: 2, connectToPortError: 3 } as const

export interface SsmMessage {
  type: string
  /** milliseconds since 1970 */
  createdAt: number
  /** counts the stream messages of a direction, from 0; 0 in others */
  sequence: number
  flags: bigint
  /** a UUID, as text */
  id: string
  payloadType: number
  payload: Buffer
}

/** Thrown for bytes that are no message, or whose payload does not match its digest. */
export class MalformedSsmMessage extends Error {
  override name = 'MalformedSsmMessage'
}

// The offsets of the header. All integers are big-endian.
const HEADER_LENGTH = 0
const TYPE = 4
const SCHEMA_VERSION = 36
const CREATED_AT = 40
const SEQUENCE = 48
const FLAG_BITS = 56
const ID = 64
const DIGEST = 80
const PAYLOAD_TYPE = 112
const PAYLOAD_LENGTH = 116
const PAYLOAD = 120

export function encodeSsmMessage({ type, createdAt, sequence, flags, id, payloadType, payload }: SsmMessage): Buffer {
  const bytes = Buffer.alloc(PAYLOAD + payload.length)
  // The length of the payload does not count as part of the header.
  bytes.writeUInt32BE(PAYLOAD_LENGTH, HEADER_LENGTH)
  bytes.write(type.padEnd(SCHEMA_VERSION - TYPE, ' '), TYPE, 'latin1')
  bytes.writeUInt32BE(1, SCHEMA_VERSION)
  bytes.writeBigUInt64BE(BigInt(createdAt), CREATED_AT)
  bytes.writeBigInt64BE(BigInt(sequence), SEQUENCE)
  bytes.writeBigUInt64BE(flags, FLAG_BITS)
  swapHalves(Buffer.from(id.replaceAll('-', ''), 'hex')).copy(bytes, ID)
  digestOf(payload).copy(bytes, DIGEST)
  bytes.writeUInt32BE(payloadType, PAYLOAD_TYPE)
  bytes.writeUInt32BE(payload.length, PAYLOAD_LENGTH)
  payload.copy(bytes, PAYLOAD)
  return bytes
}

/** @throws MalformedSsmMessage */
export function decodeSsmMessage(bytes: Buffer): SsmMessage {
  const headerLength = bytes.length < PAYLOAD_LENGTH ? 0 : bytes.readUInt32BE(HEADER_LENGTH)
  // A newer schema may have a longer header.
  if (headerLength < PAYLOAD_LENGTH || headerLength + 4 > bytes.length) {
    throw new MalformedSsmMessage(`${bytes.length} bytes with a header of ${headerLength} bytes`)
  }
  const payload = bytes.subarray(headerLength + 4)
  const type = bytes
    .toString('latin1', TYPE, SCHEMA_VERSION)
    .replace(/[\0 ]+$/, '')
    .replace(/^[\0 ]+/, '')
  if (payload.length > 0 && !isControl(type) && !digestOf(payload).equals(bytes.subarray(DIGEST, PAYLOAD_TYPE))) {
    throw new MalformedSsmMessage(`the payload of a message of the type ${type} does not match its digest`)
  }
  return {
    type,
    createdAt: Number(bytes.readBigUInt64BE(CREATED_AT)),
    sequence: Number(bytes.readBigInt64BE(SEQUENCE)),
    flags: bytes.readBigUInt64BE(FLAG_BITS),
    id: toUuid(swapHalves(bytes.subarray(ID, DIGEST))),
    payloadType: bytes.readUInt32BE(PAYLOAD_TYPE),
    payload,
  }
}

/** The service sends these without a valid digest. */
function isControl(type: string): boolean {
  return type === MESSAGE_TYPES.startPublication || type === MESSAGE_TYPES.pausePublication
}

function digestOf(payload: Buffer): Buffer {
  return createHash('sha256').update(payload).digest()
}

/** A UUID is sent with its second half first. */
function swapHalves(uuid: Buffer): Buffer {
  return Buffer.concat([uuid.subarray(8), uuid.subarray(0, 8)])
}

function toUuid(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

/** The payload of an acknowledgement. */
export interface Acknowledgement {
  AcknowledgedMessageType: string
  AcknowledgedMessageId: string
  AcknowledgedMessageSequenceNumber: number
  IsSequentialMessage: boolean
}

/** The acknowledgement of a stream message. @param id a new UUID */
export function acknowledgementOf(message: SsmMessage, id: string, createdAt: number): SsmMessage {
  const content: Acknowledgement = {
    AcknowledgedMessageType: message.type,
    AcknowledgedMessageId: message.id,
    AcknowledgedMessageSequenceNumber: message.sequence,
    IsSequentialMessage: true,
  }
  // Flags: the first and the last message of its stream.
  return {
    type: MESSAGE_TYPES.acknowledge,
    createdAt,
    sequence: 0,
    flags: 3n,
    id,
    payloadType: 0,
    payload: Buffer.from(JSON.stringify(content)),
  }
}

/** The sequence number that an acknowledgement names. @throws MalformedSsmMessage */
export function acknowledgedSequence({ payload }: SsmMessage): number {
  const sequence = jsonOf(payload)['AcknowledgedMessageSequenceNumber']
  if (typeof sequence !== 'number') throw new MalformedSsmMessage('an acknowledgement without a sequence number')
  return sequence
}

/** The JSON object in a payload. @throws MalformedSsmMessage */
export function jsonOf(payload: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(payload.toString())
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // The message says enough.
  }
  throw new MalformedSsmMessage('a payload that is no JSON object')
}
