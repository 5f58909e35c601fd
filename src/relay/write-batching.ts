/**
 * What a turn of the event loop is used for, over all sessions: which chunks are written at once and which leave together,
 * and whether to sleep after it. docs/performance.md has what each of these gave.
 */
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { availableParallelism } from 'node:os'
import { TLSSocket } from 'node:tls'
import { releaseBuffer } from './release-memory.ts'

/** Chunks this large are parts of a larger burst (a TLS record holds 16 KiB): worth gathering into one write. */
const BURST = 16 * 1024

let gathered: Socket[] = []
let chunksOfThisTurn = 0

/** of the last turn that had any */
let chunksOfLastTurn = 0
let endIsDue = false

/** Milliseconds to go on looking for input after the last chunk, before the process sleeps. */
let busyPoll = 0
let busyPollUntil = 0

/** Milliseconds for which a turn with several chunks says that several sessions are busy. */
const SEVERAL_BUSY_MS = 1
let crowdedUntil = 0

/**
 * Writes `chunk`: at once where it is small and alone, for somebody waits for it; else with all other chunks of this turn
 * at its end. Then many records for one socket leave in one writev, and with many sessions all input is read before
 * the first answer makes others run. A large chunk is emptied once it is written.
 */
export function writeBatched(destination: Socket, chunk: Buffer): void {
  chunksOfThisTurn++
  const isLarge = chunk.length >= BURST
  const alone = chunksOfThisTurn === 1 && chunksOfLastTurn <= 1 && !isLarge
  // TLS would copy gathered chunks into one; a large one fills records of its own.
  const fillsRecords = isLarge && destination instanceof TLSSocket
  if (!alone && !fillsRecords && destination.writableCorked === 0) {
    destination.cork()
    gathered.push(destination)
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
    const sockets = gathered
    gathered = []
    for (const socket of sockets) socket.uncork()
  }
  // An immediate that is due keeps the event loop from sleeping.
  endIsDue = busyPoll > 0 && performance.now() < busyPollUntil
  if (endIsDue) setImmediate(endTurn)
}

/** Where several sessions are busy, input comes by itself, and others need the processor. */
function planBusyPoll(): void {
  const now = performance.now()
  if (chunksOfThisTurn > 1) crowdedUntil = now + SEVERAL_BUSY_MS
  busyPollUntil = now < crowdedUntil ? 0 : now + busyPoll
}

/**
 * Sets for how long the process looks for more input before it sleeps. To be woken takes longer than many an answer takes to
 * come; on a machine with processors to spare, looking is free. @param milliseconds 0: sleep at once
 */
export function setBusyPoll(milliseconds: number): void {
  busyPoll = milliseconds
}

/** Whether there are processors to spare: two or more, and no quota (of a container) below two. */
export function hasProcessorsToSpare(): boolean {
  return Math.min(availableParallelism(), cpuQuota()) >= 2
}

/** Processors that the control group of this process may use (cgroup v2 cpu.max, v1 cpu.cfs_quota_us). */
function cpuQuota(): number {
  try {
    const [quota, period] = readFileSync('/sys/fs/cgroup/cpu.max', 'utf8').split(' ')
    return quota === 'max' ? Number.POSITIVE_INFINITY : Number(quota) / Number(period)
  } catch {}
  try {
    const read = (name: string) => Number(readFileSync(`/sys/fs/cgroup/cpu/cpu.cfs_${name}_us`, 'utf8'))
    const quota = read('quota')
    return quota < 0 ? Number.POSITIVE_INFINITY : quota / read('period')
  } catch {}
  return Number.POSITIVE_INFINITY
}
