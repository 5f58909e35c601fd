/** The hot path: bytes both ways between two sockets whose logins are done. */
import type { Socket } from 'node:net'
import { createCommandScanner, createCompressedCommandScanner } from '../protocol/command-scanner.ts'
import type { Traffic } from '../state.ts'
import { writeBatched } from './write-batching.ts'

/** Bytes that may wait for one socket. Stopping and starting a source for every chunk costs more than they do. */
const HIGH_WATER_MARK_BYTES = 1024 * 1024

/** Milliseconds that a client has to close after its server has. */
const LINGER_MS = 5_000

/** What a session moves, and where it stands. */
export interface Flow extends Traffic {
  /** whether the client spoke last: an answer is due */
  clientSpokeLast: boolean
  /** the last bytes from the server, as many as an OK_Packet may have; empty before the first */
  lastBytes: Buffer
}

/** Bytes of the tail that are kept of a longer chunk. */
const LAST_BYTES = 256

export function createFlow(): Flow {
  return { bytesFromClient: 0, bytesFromUpstream: 0, clientSpokeLast: false, lastBytes: Buffer.alloc(0) }
}

/** Why a relay stopped. */
export interface RelayEnd {
  /** the side that closed; or a command that is not ours to hand on, and waits in the client's socket */
  by: 'client' | 'upstream' | 'COM_CHANGE_USER'
  /** whether the server still owes answers to commands before that one, as far as can be seen */
  pipelined?: boolean
  /** what broke the connection, where it did not just close */
  error?: Error
}

/**
 * Relays until both directions have ended, or the client sends a COM_CHANGE_USER. An end (FIN) of one side is handed on as
 * an end, so that what is still on its way in the other direction arrives; a broken side (RST) ends the other after what
 * had arrived from it was delivered. Resolves, never rejects.
 * @param compressed whether the client's packets are inside compressed ones
 */
export function relay(client: Socket, upstream: Socket, flow: Flow, compressed: boolean): Promise<RelayEnd> {
  return new Promise(resolve => {
    let end: RelayEnd | undefined
    let open = 2
    /** What concerns both sides alike; `last` is done when this one has ended. */
    const listenersOf = (by: 'client' | 'upstream', other: Socket, last: () => void) => ({
      error: (error: Error) => {
        end ??= { by, error }
        other.destroySoon()
      },
      end: () => {
        end ??= { by }
        last()
        other.end()
      },
      close: () => {
        end ??= { by }
        other.destroySoon()
        if (--open > 0) return
        clearTimeout(linger)
        resolve(end)
      },
      drain: () => other.resume(),
    })

    const scanner = compressed ? createCompressedCommandScanner() : createCommandScanner()
    let held: Buffer | undefined
    const ofClient = {
      ...listenersOf('client', upstream, () => held && upstream.write(held)),
      data: (data: Buffer) => {
        const chunk = held ? Buffer.concat([held, data]) : data
        const length = scanner.scan(chunk)
        const pipelined = flow.clientSpokeLast || length > 0
        held = length < chunk.length ? chunk.subarray(length) : undefined
        if (length > 0) {
          flow.bytesFromClient += length
          flow.clientSpokeLast = true
          forward(held ? chunk.subarray(0, length) : chunk, client, upstream)
        }
        if (held && scanner.found) stopBefore(held, pipelined)
      },
    }

    // MySQL servers end both directions at once; a client that does not close its own, as an idle one in a pool, must not keep us.
    let linger: NodeJS.Timeout | undefined
    const lingerThenClose = () => {
      linger = setTimeout(() => upstream.destroySoon(), LINGER_MS)
    }
    const ofUpstream = {
      ...listenersOf('upstream', client, lingerThenClose),
      data: (chunk: Buffer) => {
        flow.bytesFromUpstream += chunk.length
        flow.clientSpokeLast = false
        flow.lastBytes = chunk.length <= LAST_BYTES ? chunk : copyOfEnd(chunk, flow.lastBytes)
        forward(chunk, upstream, client)
      },
    }

    const stopBefore = (command: Buffer, pipelined: boolean) => {
      flow.clientSpokeLast = true
      detach(client, ofClient)
      detach(upstream, ofUpstream)
      clearTimeout(linger)
      client.pause()
      upstream.pause()
      client.unshift(command)
      resolve({ by: 'COM_CHANGE_USER', pipelined })
    }

    attach(client, ofClient)
    attach(upstream, ofUpstream)
    flow.clientSpokeLast = false
    client.resume()
    upstream.resume()
  })
}

interface Listeners {
  data(chunk: Buffer): void
  drain(): void
  end(): void
  close(): void
  error(error: Error): void
}

/** Also tells of what has happened already. */
function attach(socket: Socket, { data, drain, end, close, error }: Listeners): void {
  socket.on('data', data).on('drain', drain).on('end', end).on('close', close).on('error', error)
  if (socket.readableEnded) end()
  if (socket.closed) close()
}

function detach(socket: Socket, { data, drain, end, close, error }: Listeners): void {
  socket.off('data', data).off('drain', drain).off('end', end).off('close', close).off('error', error)
}

/** The end of `chunk`, without keeping all of it in memory; in `last` again where that has the room. */
function copyOfEnd(chunk: Buffer, last: Buffer): Buffer {
  const end =
    last.length === LAST_BYTES && last.byteLength === last.buffer.byteLength ? last : Buffer.allocUnsafeSlow(LAST_BYTES)
  chunk.copy(end, 0, chunk.length - LAST_BYTES)
  return end
}

/** Hands `chunk` on; a destination that has enough to write pauses its source until it has written all. */
function forward(chunk: Buffer, source: Socket, destination: Socket): void {
  writeBatched(destination, chunk)
  if (destination.writableLength > HIGH_WATER_MARK_BYTES) source.pause()
}
