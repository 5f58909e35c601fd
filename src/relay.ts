/** The hot path: bytes both ways between two sockets whose logins are done. */
import type { Socket } from 'node:net'

/** Chunks this large are parts of a larger burst (a TLS record holds 16 KiB): worth gathering into one write. */
const BURST = 16 * 1024

/** What a session moved, and how it ended. */
export interface RelayResult {
  bytesFromClient: number
  bytesFromUpstream: number
  /** who ended it: a side that closed, or the error of one */
  endedBy: 'client' | 'upstream'
  error: Error | undefined
}

/**
 * Relays until both directions have ended. An end (FIN) of one side is handed on as an end, so that what is still on its
 * way in the other direction arrives; a broken side (RST) ends the other after what had arrived from it was delivered.
 * Resolves, never rejects: what broke is in the result.
 */
export function relay(client: Socket, upstream: Socket): Promise<RelayResult> {
  return new Promise(resolve => {
    const result: RelayResult = { bytesFromClient: 0, bytesFromUpstream: 0, endedBy: 'client', error: undefined }
    let decided = false
    let open = 2
    const ended = (endedBy: RelayResult['endedBy'], error: Error | undefined) => {
      if (decided) return
      decided = true
      Object.assign(result, { endedBy, error })
    }
    const watch = (socket: Socket, other: Socket, name: RelayResult['endedBy']) => {
      socket.on('end', () => {
        ended(name, undefined)
        other.end()
      })
      socket.on('error', error => {
        ended(name, error)
        other.destroySoon()
      })
      const closed = () => {
        ended(name, undefined)
        other.destroySoon()
        if (--open === 0) resolve(result)
      }
      if (socket.closed) closed()
      else socket.on('close', closed)
    }
    watch(client, upstream, 'client')
    watch(upstream, client, 'upstream')
    forward(client, upstream, bytes => {
      result.bytesFromClient += bytes
    })
    forward(upstream, client, bytes => {
      result.bytesFromUpstream += bytes
    })
  })
}

/**
 * A lone small chunk is written at once: somebody waits for it. The chunks of a burst are gathered for the rest of the
 * event-loop turn and leave in one writev. A destination that is full pauses its source.
 */
function forward(source: Socket, destination: Socket, count: (bytes: number) => void): void {
  const flush = () => destination.uncork()
  source.on('data', (chunk: Buffer) => {
    count(chunk.length)
    if (chunk.length >= BURST && destination.writableCorked === 0) {
      destination.cork()
      setImmediate(flush)
    }
    if (!destination.write(chunk)) source.pause()
  })
  destination.on('drain', () => source.resume())
}
