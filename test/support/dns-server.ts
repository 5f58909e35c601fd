/** A DNS server for tests, over UDP and TCP. Tests set its answers to questions for A or AAAA. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** Addresses with a time to live in seconds, or a failure. */
export type DnsAnswer =
  | { addresses: readonly string[]; ttl?: number; cname?: string }
  | 'SERVFAIL'
  | 'NXDOMAIN'
  | 'REFUSED'
  | 'empty'
  | 'silent'
  /** sets the truncated flag over UDP, and answers with the addresses over TCP */
  | { truncated: readonly string[] }

export interface DnsServer {
  /** `address:port`, for --resolver */
  address: string
  /** sets the answers: one for every question, or a sequence whose last one repeats */
  answer(...answers: DnsAnswer[]): void
  /** questions so far, as `name type` */
  questions: string[]
  /** Answers over UDP come later by so many milliseconds; of each `losing` questions, one gets none. */
  slowDown(milliseconds: number, losing?: number): void
  close(): Promise<void>
}

const TYPES: Record<number, string> = { 1: 'A', 28: 'AAAA' }
const RCODES = { SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const

export async function startDnsServer(host = '127.0.0.1', port = 0): Promise<DnsServer> {
  let plan: DnsAnswer[] = ['empty']
  const questions: string[] = []
  let [delay, lossEvery] = [0, Number.POSITIVE_INFINITY]

  function respond(query: Buffer, overTcp: boolean): Buffer | undefined {
    const { name, end } = readName(query, 12)
    const type = TYPES[query.readUInt16BE(end)] ?? 'other'
    questions.push(`${name} ${type}`)
    const answer = plan.length > 1 ? plan.shift()! : plan[0]!
    if (answer === 'silent') return undefined
    const question = query.subarray(12, end + 4)
    if (answer === 'empty') return message(query, question, 0, [])
    if (typeof answer === 'string') return message(query, question, RCODES[answer], [])
    if ('truncated' in answer) {
      if (!overTcp) {
        // The client repeats the question over TCP.
        plan.unshift(answer)
        return message(query, question, 0, [], true)
      }
      return message(
        query,
        question,
        0,
        ofType(answer.truncated, type).map(address => record(address, 5)),
      )
    }
    const { ttl = 5, cname } = answer
    const addresses = ofType(answer.addresses, type).map(address => record(address, ttl, cname))
    return message(query, question, 0, cname ? [alias(cname, ttl), ...addresses] : addresses)
  }

  // A port that is free for both UDP and TCP.
  for (;;) {
    const udp = createSocket('udp4')
    udp.bind(port, host)
    await once(udp, 'listening')
    const tcp = createServer(socket => {
      socket.on('error', () => {})
      socket.on('data', data => {
        const response = respond(data.subarray(2), true)
        if (!response) return
        const length = Buffer.alloc(2)
        length.writeUInt16BE(response.length)
        socket.end(Buffer.concat([length, response]))
      })
    })
    const { port: bound } = udp.address()
    const isFree = await new Promise<boolean>(resolve => {
      tcp.once('error', () => resolve(false)).listen(bound, host, () => resolve(true))
    })
    if (!isFree) {
      udp.close()
      await sleep(1)
      continue
    }
    udp.on('message', (query, from) => {
      const response = respond(query, false)
      const send = () => response && udp.send(response, from.port, from.address, () => {})
      if (questions.length % lossEvery === 0) return
      if (delay > 0) setTimeout(send, delay)
      else send()
    })
    return {
      address: `${host}:${(tcp.address() as AddressInfo).port}`,
      answer: (...answers) => {
        plan = answers
      },
      questions,
      slowDown(milliseconds, losing = Number.POSITIVE_INFINITY) {
        delay = milliseconds
        lossEvery = losing
      },
      async close() {
        udp.close()
        await new Promise(resolve => tcp.close(resolve))
      },
    }
  }
}

function ofType(addresses: readonly string[], type: string): string[] {
  return addresses.filter(address => (type === 'AAAA') === address.includes(':'))
}

/** https://www.rfc-editor.org/rfc/rfc1035#section-4.1.1 */
function message(query: Buffer, question: Buffer, rcode: number, records: Buffer[], truncated = false): Buffer {
  const header = Buffer.alloc(12)
  query.copy(header, 0, 0, 2)
  header.writeUInt16BE(0x8180 | (truncated ? 0x0200 : 0) | rcode, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(records.length, 6)
  return Buffer.concat([header, question, ...records])
}

/** A record of the queried name, or of `owner`. */
function record(address: string, ttl: number, owner?: string): Buffer {
  const name = owner === undefined ? Buffer.of(0xc0, 12) : writeName(owner)
  const isV6 = address.includes(':')
  return Buffer.concat([
    name,
    fixed(isV6 ? 28 : 1, ttl, isV6 ? v6Bytes(address) : Buffer.from(address.split('.').map(Number))),
  ])
}

function alias(target: string, ttl: number): Buffer {
  return Buffer.concat([Buffer.of(0xc0, 12), fixed(5, ttl, writeName(target))])
}

function fixed(type: number, ttl: number, data: Buffer): Buffer {
  const head = Buffer.alloc(10)
  head.writeUInt16BE(type, 0)
  head.writeUInt16BE(1, 2)
  head.writeUInt32BE(ttl, 4)
  head.writeUInt16BE(data.length, 8)
  return Buffer.concat([head, data])
}

function v6Bytes(address: string): Buffer {
  const [head = '', tail] = address.split('::')
  const left = head.split(':').filter(Boolean)
  const right = tail === undefined ? [] : tail.split(':').filter(Boolean)
  const groups = [...left, ...Array(8 - left.length - right.length).fill('0'), ...right]
  return Buffer.from(groups.map(group => group.padStart(4, '0')).join(''), 'hex')
}

function writeName(name: string): Buffer {
  const labels = name.split('.').map(label => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]))
  return Buffer.concat([...labels, Buffer.of(0)])
}

function readName(bytes: Buffer, start: number): { name: string; end: number } {
  const labels: string[] = []
  let at = start
  for (let length = bytes[at]!; length > 0; length = bytes[at]!) {
    labels.push(bytes.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.'), end: at + 1 }
}
