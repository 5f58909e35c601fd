/**
 * The header of the PROXY protocol, versions 1 and 2, with which a load balancer names the client that it connects for.
 * https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
 */
import { MalformedPacket } from './bytes.ts'

export interface ProxyHeader {
  /** bytes of the header */
  length: number
  /**
   * The client's IP address; 'unix' if it connected over a unix socket. undefined if the header names no client (LOCAL,
   * UNKNOWN): the load balancer connects for itself, for example for a health check.
   */
  client: string | undefined
}

const V1_START = Buffer.from('PROXY ')
const V2_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')

/** Longest header of version 1, with its CRLF; from the specification. */
const MAX_V1_BYTES = 107

/** Longest header of version 2 that is accepted. TLVs of load balancers are short; MariaDB accepts 256 bytes in all. */
export const MAX_V2_BYTES = 4_096

const V2_FIXED_BYTES = 16
const LOCAL = 0
const PROXY = 1
const AF_INET = 1
const AF_INET6 = 2
const AF_UNIX = 3
const SOCK_STREAM = 1

/** Bytes of both addresses and ports. */
const ADDRESS_BYTES = { [AF_INET]: 12, [AF_INET6]: 36, [AF_UNIX]: 216 } as const

/** Whether the first 4 bytes of a connection are those of a header. No MySQL packet of a client starts like this. */
export function startsLikeProxyHeader(bytes: Buffer): boolean {
  return [V1_START, V2_SIGNATURE].some(start => start.subarray(0, 4).equals(bytes.subarray(0, 4)))
}

/**
 * The header at the start of a connection; undefined if more bytes are needed.
 * @param bytes the first bytes; more may follow the header
 * @throws MalformedPacket
 */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | undefined {
  if (startsWith(bytes, V1_START)) return bytes.length < V1_START.length ? undefined : parseV1(bytes)
  if (startsWith(bytes, V2_SIGNATURE)) return bytes.length < V2_FIXED_BYTES ? undefined : parseV2(bytes)
  throw new MalformedPacket('no PROXY protocol header')
}

/** Whether `bytes` begin with `start`, as far as they go. */
function startsWith(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length)
  return bytes.subarray(0, length).equals(start.subarray(0, length))
}

function parseV1(bytes: Buffer): ProxyHeader | undefined {
  const end = bytes.subarray(0, MAX_V1_BYTES).indexOf('\r\n')
  if (end < 0) {
    if (bytes.length >= MAX_V1_BYTES) throw new MalformedPacket(`a PROXY header longer than ${MAX_V1_BYTES} bytes`)
    return undefined
  }
  const length = end + 2
  const line = bytes.toString('latin1', V1_START.length, end)
  const [protocol, source = '', destination = '', ...ports] = line.split(' ')
  if (protocol === 'UNKNOWN') return { length, client: undefined } // the specification says to ignore the rest of the line
  const parseAddress = protocol === 'TCP4' ? parseIPv4 : protocol === 'TCP6' ? parseIPv6 : undefined
  const client = parseAddress?.(source)
  const isComplete = parseAddress?.(destination) !== undefined && ports.length === 2 && ports.every(isPort)
  if (client === undefined || !isComplete) throw new MalformedPacket('an invalid PROXY header of version 1')
  return { length, client }
}

function parseV2(bytes: Buffer): ProxyHeader | undefined {
  const version = bytes[12]! >> 4
  const command = bytes[12]! & 0x0f
  const family = bytes[13]! >> 4
  const transport = bytes[13]! & 0x0f
  const length = V2_FIXED_BYTES + bytes.readUInt16BE(14)
  if (version !== 2) throw new MalformedPacket(`a PROXY header of version ${version}`)
  if (command !== LOCAL && command !== PROXY) throw new MalformedPacket(`a PROXY header with command ${command}`)
  if (length > MAX_V2_BYTES) throw new MalformedPacket(`a PROXY header of ${length} bytes`)
  if (bytes.length < length) return undefined
  if (command === LOCAL) return { length, client: undefined }
  return { length, client: clientOf(family, transport, bytes.subarray(V2_FIXED_BYTES, length)) }
}

/** The client's address in version 2. TLVs that follow the addresses are skipped. */
function clientOf(family: number, transport: number, addresses: Buffer): string | undefined {
  if (family === 0) return undefined // UNSPEC
  const isKnown = family === AF_INET || family === AF_INET6 || family === AF_UNIX
  if (!isKnown || transport !== SOCK_STREAM) {
    throw new MalformedPacket(`a PROXY header for address family ${family} and transport ${transport}`)
  }
  if (addresses.length < ADDRESS_BYTES[family]) throw new MalformedPacket('a PROXY header without the addresses')
  if (family === AF_UNIX) return 'unix'
  return family === AF_INET ? formatIPv4(addresses) : formatIPv6(addresses)
}

function formatIPv4(bytes: Buffer): string {
  return bytes.subarray(0, 4).join('.')
}

/** RFC 5952; an IPv4-mapped address as IPv4. */
function formatIPv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2))
  const isMapped = groups.slice(0, 5).every(group => group === 0) && groups[5] === 0xffff
  if (isMapped) return formatIPv4(bytes.subarray(12))
  return normalizeIPv6(groups.map(group => group.toString(16)).join(':'))
}

function parseIPv4(text: string): string | undefined {
  const parts = text.split('.')
  const isValid = parts.length === 4 && parts.every(part => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)
  return isValid ? text : undefined
}

/** In its canonical form, so that one client has one name; undefined if it is invalid. */
function parseIPv6(text: string): string | undefined {
  if (!/^[\da-fA-F:.]{2,39}$/.test(text) || !URL.canParse(`tcp://[${text}]`)) return undefined
  return normalizeIPv6(text)
}

function normalizeIPv6(text: string): string {
  const address = new URL(`tcp://[${text}]`).hostname.slice(1, -1)
  const mapped = /^::ffff:([\da-f]{1,4}):([\da-f]{1,4})$/.exec(address)
  if (!mapped) return address
  const [high, low] = [Number.parseInt(mapped[1]!, 16), Number.parseInt(mapped[2]!, 16)]
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

function isPort(text: string): boolean {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}
