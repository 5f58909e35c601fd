/** A connection inside this process: one end for a client library, the other for the proxy. No port and no socket is behind it. */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { destroySoon } from './compressed-socket.ts'

/** How much waits for a reader before the writer waits, and the largest piece that moves at a time. */
const HIGH_WATER_MARK_BYTES = 64 * 1024

/** What sessions and client libraries call on a socket. Here it has no effect. */
const OF_SOCKET = ['ref', 'setKeepAlive', 'setNoDelay', 'setTimeout', 'unref']

/** One end, as the other one sees it. */
interface End {
  readonly stream: Duplex
  /** bytes that came from the other end */
  received: number
  /** goes on with a write of the other end, which waits for this one to read */
  goOn: (() => void) | undefined
}

/**
 * Both ends. What one writes, the other reads, in order and never within the call of `write`. An end that is destroyed ends the
 * other one's reading, and fails what that writes, as a closed TCP connection does.
 * @returns `client` for the client library; `server` with what a session needs of a socket besides its stream
 */
export function createMemoryConnection(): { client: Duplex; server: Socket } {
  const client = createEnd(() => server, false)
  const server = createEnd(() => client, true)
  for (const { stream } of [client, server])
    for (const name of OF_SOCKET) Object.assign(stream, { [name]: () => stream })
  const ofSession: PropertyDescriptorMap = {
    bytesRead: { get: () => server.received },
    destroySoon: { value: () => destroySoon(server.stream) },
  }
  return { client: client.stream, server: Object.defineProperties(server.stream, ofSession) as Socket }
}

/** @param other is called once both ends exist */
function createEnd(other: () => End, allowHalfOpen: boolean): End {
  /** Moves `chunks` to the other end, in pieces, as it reads them. */
  const move = (chunks: Buffer[], done: (error?: Error | null) => void) => {
    const to = other()
    let [chunk] = chunks
    let index = 0
    let offset = 0
    const next = () => {
      to.goOn = undefined
      if (to.stream.destroyed) return done(closedByPeer())
      if (isOver) return done()
      while (chunk) {
        const piece = chunk.subarray(offset, offset + HIGH_WATER_MARK_BYTES)
        offset += piece.length
        if (offset >= chunk.length) {
          offset = 0
          chunk = chunks[++index]
        }
        if (piece.length === 0) continue
        to.received += piece.length
        // A copy: either side may use its own memory again, and the relay frees what it has written.
        if (to.stream.push(Buffer.from(piece))) continue
        to.goOn = next
        return
      }
      done()
    }
    process.nextTick(next)
  }
  const sendEnd = () => {
    if (isOver) return
    isOver = true
    const { stream } = other()
    if (!stream.destroyed) stream.push(null)
  }
  let isOver = false

  const stream = new Duplex({
    allowHalfOpen,
    readableHighWaterMark: HIGH_WATER_MARK_BYTES,
    writableHighWaterMark: HIGH_WATER_MARK_BYTES,
    read: () => end.goOn?.(),
    write: (chunk: Buffer, _encoding, done) => move([chunk], done),
    writev: (chunks, done) =>
      move(
        chunks.map(({ chunk }) => chunk),
        done,
      ),
    final(done) {
      process.nextTick(sendEnd)
      done()
    },
    destroy(error, done) {
      process.nextTick(() => {
        sendEnd()
        end.goOn?.() // what the other end is writing fails
      })
      done(error)
    },
  })
  const end: End = { stream, received: 0, goOn: undefined }
  return end
}

function closedByPeer(): Error {
  return Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })
}
