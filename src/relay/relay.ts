/** The hot path: bytes in both directions between two sockets whose logins are done. */
import type { Socket } from 'node:net'
import { createCommandScanner } from '../protocol/command-scanner.ts'
import { createCompressedCommandScanner } from '../protocol/compressed-command-scanner.ts'
import type { Traffic } from '../state.ts'
import { writeBatched } from './write-batching.ts'

/** High-water mark per destination. Pausing the source for every chunk costs more than a buffer of this size. */
const HIGH_WATER_MARK_BYTES = 1024 * 1024

/** The same while the buffers of all sessions together are nearly full. */
const LOW_MEMORY_MARK_BYTES = 64 * 1024

let highWaterMark = HIGH_WATER_MARK_BYTES

/** Lets every session of this process buffer less, or as much as usual again. */
export function limitBuffers(isMemoryLow: boolean): void {
  highWaterMark = isMemoryLow ? LOW_MEMORY_MARK_BYTES : HIGH_WATER_MARK_BYTES
}

/** How long a client may take to close after its server has closed. */
const LINGER_MS = 5_000

/** What a session moves, and where it stands. */
export interface Flow extends Traffic {
  /** whether the client spoke last: an answer is due */
  clientSpokeLast: boolean
  /** whether the client's last bytes are a COM_QUIT */
  hasQuit: boolean
  /** the last bytes from the server, at most MAX_LAST_BYTES; empty before the first. The next bytes overwrite them */
  lastBytes: Buffer
}

/** How many bytes are kept of a chunk's end: as many as an OK_Packet may have. */
const MAX_LAST_BYTES = 256

export function createFlow(): Flow {
  return {
    bytesFromClient: 0,
    bytesFromUpstream: 0,
    clientSpokeLast: false,
    hasQuit: false,
    lastBytes: Buffer.alloc(0),
  }
}

/** Why a relay stopped. */
export interface RelayEnd {
  /** the side that closed; or a command that the relay does not forward, and that waits in the client's socket */
  by: 'client' | 'upstream' | 'COM_CHANGE_USER'
  /** whether the server still owes answers to commands before that command, as far as the relay can see */
  pipelined?: boolean
  /** whether the server has the beginning of that command already: the session cannot go on */
  isPartlySent?: boolean
  /** what broke the connection, where it did not just close */
  error?: Error
}

/**
 * Relays until both directions have ended, or the client sends a COM_CHANGE_USER. An end (FIN) of one side is passed on as
 * an end, so that bytes on their way in the other direction arrive. A broken side (RST) ends the other side after the bytes
 * that had arrived from it were delivered.
 * @param compressed whether the client's packets are inside compressed packets
 * @throws MalformedPacket for compressed packets that cannot be followed
 */
export function relay(client: Socket, upstream: Socket, flow: Flow, compressed: boolean): Promise<RelayEnd> {
  return new Promise((resolve, reject) => {
    let end: RelayEnd | undefined
    let open = 2
    /** The listeners that both sides need; `last` runs when this side is closed. */
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
        scanner.close?.()
        resolve(end)
      },
      drain: () => other.resume(),
    })

    const scanner: Scanner = compressed ? createCompressedCommandScanner() : createCommandScanner()
    let held: Buffer | undefined
    let isScanning = false
    /** Forwards the first `length` bytes of `chunk`, keeps the others. */
    const take = (chunk: Buffer, length: number) => {
      const pipelined = flow.clientSpokeLast || length > 0
      held = length < chunk.length ? chunk.subarray(length) : undefined
      if (length > 0) {
        flow.bytesFromClient += length
        flow.clientSpokeLast ||= length < chunk.length || !isStatementClose(chunk)
        flow.hasQuit = endsWithQuit(chunk)
        forward(held ? chunk.subarray(0, length) : chunk, client, upstream)
      }
      if (held && scanner.found) stopBefore(held, pipelined)
    }
    const ofClient = {
      ...listenersOf('client', upstream, () => held && upstream.write(held)),
      data: (data: Buffer) => {
        const chunk = held ? Buffer.concat([held, data]) : data
        const length = scanner.scan(chunk)
        if (typeof length === 'number') take(chunk, length)
        else takeWhenScanned(chunk, length)
      },
    }

    /** One chunk at a time: the socket waits, and so do its end and its reset. */
    const takeWhenScanned = (chunk: Buffer, scanned: Promise<number>) => {
      isScanning = true
      client.pause()
      scanned
        .then(length => {
          isScanning = false
          client.resume()
          take(chunk, length)
        })
        .catch(error => {
          stop()
          reject(error)
        })
    }

    // MySQL servers end both directions at once. An idle client in a pool may not close its own: do not wait for it.
    let linger: NodeJS.Timeout | undefined
    const lingerThenClose = () => {
      linger = setTimeout(() => upstream.destroySoon(), LINGER_MS)
    }
    const keepEnd = createEndKeeper()
    const ofUpstream = {
      ...listenersOf('upstream', client, lingerThenClose),
      data: (chunk: Buffer) => {
        flow.bytesFromUpstream += chunk.length
        flow.clientSpokeLast = false
        flow.lastBytes = keepEnd(chunk)
        forward(chunk, upstream, client)
      },
      drain: () => isScanning || client.resume(),
    }

    const stop = () => {
      flow.clientSpokeLast = true
      detach(client, ofClient)
      detach(upstream, ofUpstream)
      clearTimeout(linger)
      scanner.close?.()
      client.pause()
      upstream.pause()
    }
    const stopBefore = (command: Buffer, pipelined: boolean) => {
      stop()
      client.unshift(command)
      resolve({ by: 'COM_CHANGE_USER', pipelined, isPartlySent: scanner.found === 'partial' })
    }

    attach(client, ofClient)
    attach(upstream, ofUpstream)
    flow.clientSpokeLast = false
    client.resume()
    upstream.resume()
  })
}

/** What the relay needs of either scanner. */
interface Scanner {
  scan(chunk: Buffer): number | Promise<number>
  found: boolean | 'whole' | 'partial' | undefined
  close?(): void
}

interface Listeners {
  data(chunk: Buffer): void
  drain(): unknown
  end(): void
  close(): void
  error(error: Error): void
}

/** Also calls the listeners of events that have happened already. */
function attach(socket: Socket, { data, drain, end, close, error }: Listeners): void {
  socket.on('data', data).on('drain', drain).on('end', end).on('close', close).on('error', error)
  if (socket.readableEnded) end()
  if (socket.closed) close()
}

function detach(socket: Socket, { data, drain, end, close, error }: Listeners): void {
  socket.off('data', data).off('drain', drain).off('end', end).off('close', close).off('error', error)
}

/**
 * Returns what copies the end of a chunk into a buffer that it reuses. A part of the chunk would keep all of its memory:
 * Node.js 26 cuts the chunks of all sockets from buffers of 64 KiB.
 */
function createEndKeeper(): (chunk: Buffer) => Buffer {
  const room = new ArrayBuffer(MAX_LAST_BYTES)
  let kept = Buffer.from(room)
  return chunk => {
    const length = Math.min(chunk.length, MAX_LAST_BYTES)
    if (kept.length !== length) kept = Buffer.from(room, 0, length)
    chunk.copy(kept, 0, chunk.length - length)
    return kept
  }
}

/** Whether `chunk` ends with a COM_QUIT. In a compressed session it is not compressed, as it is too short. */
function endsWithQuit(chunk: Buffer): boolean {
  const { length } = chunk
  return length >= 5 && chunk[length - 1] === 1 && chunk.readUInt32LE(length - 5) === 1
}

/**
 * Whether `chunk` is one COM_STMT_CLOSE, which gets no answer. Many pools send one last, and stay idle then.
 * https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_close.html
 */
function isStatementClose(chunk: Buffer): boolean {
  return chunk.length === 9 && chunk[4] === 0x19 && chunk.readUInt32LE(0) === 5
}

/** Writes `chunk`. A destination above its high-water mark pauses its source until it has written all. */
function forward(chunk: Buffer, source: Socket, destination: Socket): void {
  writeBatched(destination, chunk)
  if (destination.writableLength > highWaterMark) source.pause()
}
