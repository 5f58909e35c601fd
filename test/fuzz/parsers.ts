/** What the parsers are held to: for any bytes, a value or a MalformedPacket, and what was parsed can be sent on. */
import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import {
  checkNative,
  checkSha2,
  clearText,
  createSalt,
  isEmptyPassword,
  unmaskPassword,
} from '../../src/protocol/auth.ts'
import { lenencInt, MalformedPacket, Reader } from '../../src/protocol/bytes.ts'
import { offeredToClient, sentUpstream } from '../../src/protocol/capabilities.ts'
import { COM_CHANGE_USER, type CommandScanner, createCommandScanner } from '../../src/protocol/command-scanner.ts'
import { createCompressedExchange } from '../../src/protocol/compress-exchange.ts'
import { createFrameReader } from '../../src/protocol/compress-frames.ts'
import { createCompressedCommandScanner } from '../../src/protocol/compressed-command-scanner.ts'
import { inflateWhole } from '../../src/protocol/inflate.ts'
import { authSwitchRequestAt, endsWithERR_Packet, isIdle, statusAtEnd } from '../../src/protocol/last-packet.ts'
import {
  encodeComChangeUser,
  encodeERR_Packet,
  encodeHandshakeResponse41,
  encodeHandshakeV10,
  isSSLRequest,
  parseAuthSwitchRequest,
  parseComChangeUser,
  parseERR_Packet,
  parseHandshakeResponse41,
  parseHandshakeV10,
  programName,
  SALT_LENGTH,
} from '../../src/protocol/packets.ts'
import { MAX_V2_BYTES, parseProxyHeader, startsLikeProxyHeader } from '../../src/protocol/proxy-header.ts'
import { createRandom } from './random.ts'

/** Throws where an input breaks what must hold. */
export type Check = (input: Buffer) => void | Promise<void>

const ALL_FLAGS = 0xffffffff

const NATIVE_HASH = randomBytes(20)
const SHA2_DIGEST = randomBytes(32)

export const parsers: Record<string, Check> = {
  'handshake-v10': input => {
    const greeting = parse(() => parseHandshakeV10(input))
    if (!greeting) return
    ok(greeting.salt.length === 20)
    // As it goes on to the client.
    const capabilities = offeredToClient(greeting.capabilities, false)
    const sent = { ...greeting, salt: createSalt(), capabilities }
    const encoded = encodeHandshakeV10(sent)
    const read = parseHandshakeV10(encoded)
    // MariaDB's capabilities are in the packet whatever the first flag says; who sets it has none.
    deepStrictEqual(read, sent)
    deepStrictEqual(encodeHandshakeV10(read), encoded)
  },

  'handshake-response-41': input => {
    isSSLRequest(input)
    const response = parse(() => parseHandshakeResponse41(input))
    if (!response) return
    // As it goes on to a server, whose flags are the last byte's choice.
    const server = (input.at(-1) ?? 0) & 1 ? ALL_FLAGS : ALL_FLAGS & ~(1 << 26)
    const fields = { database: response.database !== undefined, attributes: response.attributes !== undefined }
    const capabilities = sentUpstream(response.capabilities, server, fields)
    const sent = { ...response, capabilities, authPlugin: 'mysql_clear_password', zstdLevel: response.zstdLevel }
    const encoded = encodeHandshakeResponse41(sent)
    const read = parseHandshakeResponse41(encoded)
    const hasZstd = (capabilities & (1 << 26)) !== 0
    deepStrictEqual(read, { ...sent, zstdLevel: hasZstd ? sent.zstdLevel : undefined })
    deepStrictEqual(encodeHandshakeResponse41({ ...read, zstdLevel: sent.zstdLevel }), encoded)
  },

  'auth-switch-request': input => {
    const request = parse(() => parseAuthSwitchRequest(input))
    if (!request) return
    ok(!request.authPlugin.includes('\0'))
    ok(request.data.length < input.length)
  },

  /** The first 4 bytes are the flags of the client's login. */
  'com-change-user': input => {
    if (input.length < 4) return
    const command = parse(() => parseComChangeUser(input.subarray(4), input.readUInt32LE()))
    if (!command) return
    const encoded = parse(() => encodeComChangeUser(command))
    if (!encoded) return ok(command.authResponse.length > 255)
    // The proxy always names a method; without one, other flags are needed.
    if (command.authPlugin === undefined || command.charset === undefined) return
    const read = parseComChangeUser(encoded, ALL_FLAGS)
    deepStrictEqual(read, command)
    deepStrictEqual(encodeComChangeUser(read), encoded)
  },

  'err-packet': input => {
    const error = parse(() => parseERR_Packet(input))
    if (!error) return
    // What is not UTF-8 is replaced, and grows.
    const isText = Buffer.from(input.toString()).equals(input) && /^[ -~]{5}$/.test(error.sqlState ?? '')
    if (!isText) return
    deepStrictEqual(parseERR_Packet(encodeERR_Packet(error)), error)
  },

  'lenenc-int': input => {
    const value = parse(() => new Reader(input).lenencInt('value'))
    if (value === undefined || value > 0xffffffff) return
    strictEqual(new Reader(lenencInt(value)).lenencInt('value'), value)
  },

  'command-scanner': input => checkScanner(input, createCommandScanner, firstChangeUser),
  'compressed-command-scanner': checkCompressedScanner,
  'compressed-frames': checkFrames,
  'compressed-exchange': checkExchange,

  'connection-attributes': input => {
    const name = programName(input)
    ok(name === undefined || name.length <= 64)
  },

  /** The first 20 bytes are the salt, the rest is what a client answers to it. */
  'auth-answer': input => {
    if (input.length < SALT_LENGTH) return
    const salt = input.subarray(0, SALT_LENGTH)
    const answer = input.subarray(SALT_LENGTH)
    // Nobody knows a password whose hash is random.
    ok(!checkNative(answer, salt, NATIVE_HASH))
    ok(!checkSha2(answer, salt, SHA2_DIGEST))
    clearText(answer)
    unmaskPassword(answer, salt)
    isEmptyPassword(answer)
  },

  'proxy-header': input => {
    const header = parse(() => parseProxyHeader(input))
    if (!header) return
    const { length, client } = header
    ok(length > 0 && length <= input.length && length <= MAX_V2_BYTES)
    ok(client === undefined || client === 'unix' || isIP(client) !== 0, client)
    ok(startsLikeProxyHeader(input))
    // However it is cut, it is complete at the same byte.
    for (let end = 0; end < length; end++) strictEqual(parseProxyHeader(input.subarray(0, end)), undefined)
    deepStrictEqual(parseProxyHeader(input.subarray(0, length)), header)
  },

  tail: input => {
    const at = authSwitchRequestAt(input)
    if (at >= 0) {
      strictEqual(at + 4 + input.readUIntLE(at, 3), input.length)
      strictEqual(input[at + 3], 1)
      parseAuthSwitchRequest(input.subarray(at + 4))
    }
    endsWithERR_Packet(input)
    const status = statusAtEnd(input.subarray(-256))
    if (status !== undefined) isIdle(status)
  },
}

/** undefined for a MalformedPacket; anything else that is thrown is a failure. */
function parse<Value>(parser: () => Value): Value | undefined {
  try {
    return parser()
  } catch (error) {
    if (error instanceof MalformedPacket) return undefined
    throw error
  }
}

/** Where the bytes stop that may be handed on, and whether a COM_CHANGE_USER follows. */
interface Scanned {
  handedOn: number
  found: boolean
}

/** However a stream is cut, the same bytes are handed on. The cuts follow from the input. */
function checkScanner(input: Buffer, create: () => CommandScanner, expected?: (stream: Buffer) => Scanned): void {
  const whole = scan(input, create(), () => input.length)
  const random = createRandom(input.length + (input[0] ?? 0))
  const longestCut = random.pick([1, 3, 20, 5_000])
  // Byte by byte through much that is held would take long, and show no more.
  const least = input.length > 4_000 ? 500 : 1
  deepStrictEqual(
    scan(input, create(), () => least + random.below(longestCut)),
    whole,
    'the same in other chunks',
  )
  if (expected) deepStrictEqual(whole, expected(input))
}

/** As the relay does it: what was not handed on comes again, in front of the next chunk. */
function scan(stream: Buffer, scanner: CommandScanner, cut: () => number): Scanned {
  let handedOn = 0
  for (let end = 0; end < stream.length; ) {
    end = Math.min(stream.length, end + cut())
    const chunk = stream.subarray(handedOn, end)
    const length = scanner.scan(chunk)
    ok(length >= 0 && length <= chunk.length, `${length} of ${chunk.length} bytes`)
    handedOn += length
    if (scanner.found) return { handedOn, found: true }
  }
  return { handedOn, found: false }
}

/** However a compressed stream is cut, the same bytes are forwarded, or it is stopped: zlib gives no output before an error. */
async function checkCompressedScanner(input: Buffer): Promise<void> {
  const random = createRandom(input.length + (input[0] ?? 0))
  const longestCut = random.pick([3, 20, 5_000])
  const least = input.length > 4_000 ? 500 : 1
  const whole = await scanCompressed(input, () => input.length)
  const cut = await scanCompressed(input, () => least + random.below(longestCut))
  deepStrictEqual(cut, whole, 'the same in other chunks')
}

async function scanCompressed(stream: Buffer, cut: () => number): Promise<'stopped' | number> {
  const scanner = createCompressedCommandScanner()
  let forwarded = 0
  try {
    for (let end = 0; end < stream.length; ) {
      end = Math.min(stream.length, end + cut())
      const chunk = stream.subarray(forwarded, end)
      const length = await scanner.scan(chunk)
      ok(length >= 0 && length <= chunk.length, `${length} of ${chunk.length} bytes`)
      forwarded += length
      if (scanner.found) return 'stopped'
    }
    return forwarded
  } catch (error) {
    if (error instanceof MalformedPacket) return 'stopped'
    throw error
  } finally {
    scanner.close()
  }
}

/** However a server's frames are cut, the same packets come out, in the same order of ids, or an error. */
async function checkFrames(input: Buffer): Promise<void> {
  const random = createRandom(input.length + (input[0] ?? 0))
  const least = input.length > 4_000 ? 500 : 1
  const longestCut = random.pick([3, 20, 5_000])
  const whole = await readFrames(input, () => input.length)
  const cut = await readFrames(input, () => least + random.below(longestCut))
  strictEqual(cut.isMalformed, whole.isMalformed)
  // A large frame may bring a part before its error.
  if (!whole.isMalformed) ok(cut.bytes.equals(whole.bytes), 'the same in other chunks')
}

async function readFrames(stream: Buffer, cut: () => number): Promise<{ bytes: Buffer; isMalformed: boolean }> {
  const exchange = createCompressedExchange('zlib')
  const parts: Buffer[] = []
  let failure: unknown
  let proceed = () => {}
  const reader = createFrameReader({
    onFrame: exchange.beginFrame,
    onData(bytes) {
      const part = Buffer.from(bytes)
      exchange.renumber(part)
      parts.push(part)
    },
    onNeed: () => proceed(),
    onError(error) {
      failure = error
      proceed()
    },
  })
  for (let at = 0; at < stream.length && failure === undefined; ) {
    const end = Math.min(stream.length, at + cut())
    const isDone = new Promise<void>(resolve => {
      proceed = resolve
    })
    if (!reader.write(stream.subarray(at, end)) && failure === undefined) await isDone
    at = end
  }
  reader.close()
  if (failure !== undefined && !(failure instanceof MalformedPacket)) throw failure
  return { bytes: Buffer.concat(parts), isMalformed: failure !== undefined }
}

/** Whatever a client sends, and however it is cut, the frames bring exactly that. */
function checkExchange(input: Buffer): void {
  const random = createRandom(input.length + (input[0] ?? 0))
  const exchange = createCompressedExchange('zlib')
  const frames: Buffer[] = []
  for (let at = 0; at < input.length; ) {
    const end = at + 1 + random.below(random.pick([3, 50, 5_000]))
    frames.push(...exchange.framesFor(input.subarray(at, end)))
    at = end
  }
  frames.push(...exchange.lastFrames())
  const brought = frames.map(frame => {
    const [length, claimed] = [frame.readUIntLE(0, 3), frame.readUIntLE(4, 3)]
    const payload = frame.subarray(7)
    strictEqual(payload.length, length)
    return claimed > 0 ? inflateWhole(payload, claimed) : payload
  })
  ok(Buffer.concat(brought).equals(input))
}

/** The same said another way, over the whole stream. */
function firstChangeUser(stream: Buffer): Scanned {
  let continued = false
  for (let at = 0; at < stream.length; ) {
    if (stream.length - at < 4) return { handedOn: at, found: false }
    const length = stream.readUIntLE(at, 3)
    const sequence = stream.readUInt8(at + 3)
    const isCommand = sequence === 0 && !continued && length > 0
    if (isCommand && stream.length === at + 4) return { handedOn: at, found: false }
    if (isCommand && stream[at + 4] === COM_CHANGE_USER) return { handedOn: at, found: true }
    continued = length === 0xffffff || (sequence === 255 && length > 0)
    at += 4 + length
  }
  return { handedOn: stream.length, found: false }
}
