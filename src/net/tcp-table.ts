/**
 * Linux's table of TCP connections, which says whether a peer acknowledges what was sent to it. Node.js has no such call.
 * https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
 */
import { readFile } from 'node:fs/promises'
import { isIPv4, type Socket } from 'node:net'
import { endianness } from 'node:os'

/** What the kernel says about one connection. */
export interface TcpState {
  /** bytes that were sent or wait to be sent, and that the peer has not acknowledged */
  unacknowledged: number
  /** retransmissions, or probes of a closed window, since the peer last acknowledged something */
  unanswered: number
}

/** Connections by their `tcpKey`. */
export type TcpTable = Map<string, TcpState>

/** The connections of this process's network, or undefined where the system has no such table. */
export async function readTcpTable(): Promise<TcpTable | undefined> {
  if (process.platform !== 'linux') return undefined
  const texts = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map(file => readFile(file, 'latin1').catch(() => '')),
  )
  return new Map(texts.flatMap(parseTcpTable))
}

const ESTABLISHED_OR_CLOSING = new Set(['01', '04', '05', '08', '09', '0B'])
const RETRANSMISSION_TIMER = '01'
const PROBE_TIMER = '04'

/** The rows of /proc/net/tcp or tcp6, without connections that are only beginning or closed. */
export function parseTcpTable(text: string): [key: string, state: TcpState][] {
  return text.split('\n').flatMap(line => {
    const [, local, remote, state = '', queues = '', timer = '', retransmits = '', , probes = ''] = line
      .trim()
      .split(/\s+/)
    if (!ESTABLISHED_OR_CLOSING.has(state)) return []
    const kind = timer.split(':')[0]
    const unacknowledged = Number.parseInt(queues.split(':')[0]!, 16)
    // A probe that has just left is no sign of trouble: its answer is due.
    const ofProbes = kind === PROBE_TIMER ? Math.max(0, Number(probes) - 1) : 0
    const unanswered = kind === RETRANSMISSION_TIMER ? Number.parseInt(retransmits, 16) : ofProbes
    return [[`${local} ${remote}`, { unacknowledged, unanswered }]]
  })
}

/** The key of a connected socket in a TcpTable; undefined for a socket that is not TCP. */
export function tcpKey({ localAddress, localPort, remoteAddress, remotePort }: Socket): string | undefined {
  if (!localAddress || !remoteAddress || localPort === undefined || remotePort === undefined) return undefined
  return `${encode(localAddress, localPort)} ${encode(remoteAddress, remotePort)}`
}

function encode(address: string, port: number): string {
  return `${encodeAddress(address)}:${hex(Buffer.of(port >> 8, port & 0xff))}`
}

/** As the kernel prints it: 32-bit words in the byte order of the machine. */
function encodeAddress(address: string): string {
  const bytes = isIPv4(address) ? Buffer.from(address.split('.').map(Number)) : ipv6Bytes(address)
  return hex(endianness() === 'LE' ? bytes.swap32() : bytes)
}

function ipv6Bytes(address: string): Buffer {
  // ::ffff:10.0.0.1 ends in four decimal bytes.
  const [text = ''] = address
    .replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, ...bytes) => {
      const [a, b, c, d] = bytes.slice(0, 4).map(Number) as [number, number, number, number]
      return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
    })
    .split('%')
  const [head = '', tail = ''] = text.split('::')
  const groupsOf = (part: string) => part.split(':').filter(group => group !== '')
  const [left, right] = [groupsOf(head), groupsOf(tail)]
  const groups = [...left, ...Array(8 - left.length - right.length).fill('0'), ...right]
  return Buffer.from(groups.map(group => group.padStart(4, '0')).join(''), 'hex')
}

function hex(bytes: Buffer): string {
  return bytes.toString('hex').toUpperCase()
}
