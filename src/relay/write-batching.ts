/**
 * Schedules relay writes per iteration ("turn") of the event loop: small lone chunks at once, the rest corked and flushed
 * together; then optionally busy-polls. docs/performance.md has the measurements.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { releaseBuffer } from './release-memory.ts'
import { createBusyPollGate } from './spare-processors.ts'

/** A chunk of this size is part of a larger burst, because a TLS record holds 16 KiB. One write for all is worth it. */
const BURST_BYTES = 16 * 1024

let corked: Socket[] = []
let chunksOfThisTurn = 0

/** of the last turn with any chunk */
let chunksOfLastTurn = 0
let endIsDue = false

/** How long to busy-poll after the last chunk before the event loop blocks, in milliseconds. */
let busyPoll = 0
let busyPollUntil = 0
const busyPollGate = createBusyPollGate()

/** How long after a turn with several chunks several sessions count as busy. */
const SEVERAL_BUSY_MS = 1
let severalBusyUntil = 0

/**
 * Writes `chunk`: at once if it is small and alone, because a peer waits for it; otherwise with all other chunks at the end of
 * this turn. Many records for one socket then leave in one writev, and with many sessions all input is read before
 * the first answer wakes other processes. A large chunk is emptied once it is written.
 */
export function writeBatched(destination: Socket, chunk: Buffer): void {
  chunksOfThisTurn++
  const isLarge = chunk.length >= BURST_BYTES
  const alone = chunksOfThisTurn === 1 && chunksOfLastTurn <= 1 && !isLarge
  // TLS would copy corked chunks into one. A large chunk fills its own records.
  const fillsRecords = isLarge && destination instanceof TLSSocket
  if (!alone && !fillsRecords && destination.writableCorked === 0) {
    destination.cork()
    corked.push(destination)
  }
  destination.write(chunk, isLarge ? error => !error && releaseBuffer(chunk) : undefined)
  if (!endIsDue) {
    endIsDue = true
    setImmediate(endTurn)
  }
}

function endTurn(): void {
  if (chunksOfThisTurn > 0) {
    if (busyPoll > 0) planBusyPoll()
    chunksOfLastTurn = chunksOfThisTurn
    chunksOfThisTurn = 0
    const sockets = corked
    corked = []
    for (const socket of sockets) socket.uncork()
  }
  // The event loop does not block while an immediate is due.
  endIsDue = busyPoll > 0 && performance.now() < busyPollUntil
  if (endIsDue) setImmediate(endTurn)
}

/** With several busy sessions the loop hardly sleeps: do not busy-poll. */
function planBusyPoll(): void {
  const now = performance.now()
  if (chunksOfThisTurn > 1) severalBusyUntil = now + SEVERAL_BUSY_MS
  busyPollUntil = now < severalBusyUntil || !busyPollGate.isOpen(now) ? 0 : now + busyPoll
}

/**
 * Sets how long to busy-poll before the event loop blocks. Waking the process costs more than many answers take. Busy-polling
 * is free only with a spare CPU. @param milliseconds 0 for no busy-poll
 */
export function setBusyPoll(milliseconds: number): void {
  busyPoll = milliseconds
}
