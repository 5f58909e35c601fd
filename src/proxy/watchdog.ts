/**
 * Ends sessions that nothing else ends in time: a peer that acknowledges nothing, a connection that a sleep or another network
 * has broken, a client that reads nothing, and clients that together make the proxy hold too much. One timer serves all
 * sessions of the process.
 */
import type { Socket } from 'node:net'
import { totalmem } from 'node:os'
import { type Clock, monotonicClock } from '../clock.ts'
import { type Endpoint, formatHostPort } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { isAddressOfThisMachine, localAddressOf } from '../net/local-address.ts'
import { readTcpTable, type TcpState, type TcpTable, tcpKey } from '../net/tcp-table.ts'
import type { Wire } from '../net/wire.ts'
import { limitBuffers } from '../relay/relay.ts'
import type { Traffic } from '../state.ts'
import { type Disturbance, isLinkLocal, type WakeWatch, wakeWatch } from '../wake.ts'

/** An open session, as the watchdog sees it. */
export interface Watched {
  endpoint: Pick<Endpoint, 'dial' | 'keepalive' | 'tcpUserTimeout' | 'clientWriteTimeout'>
  traffic: Traffic
  /** the sockets that the relay reads and writes */
  client: Socket
  upstream: Socket
  /** the client's TCP or unix socket, which is `client` or is below its TLS */
  clientTransport: Socket
  /**
   * ends the session
   * @param isOfAddress whether the address of the database is at fault, so that other logins should prefer another one
   */
  end(error: ProxyError, isOfAddress: boolean): void
}

export interface Watchdog {
  /** Watches a session. Call the result when it has ended. */
  watch(watched: Watched): () => void
  /**
   * Watches a connection to the database, until it closes. It fails if a sleep or another network has broken it.
   * @param keepalive milliseconds of idle time before probes, which it has already
   */
  connected(wire: Wire, keepalive: number): void
}

/** How often all sessions are looked at. */
const TICK_MS = 1_000

/** How long a peer may be silent before the kernel is asked about it, and how often it is asked at most. */
const SUSPECT_AFTER_MS = 3_000

/** While the buffers are full, how long a client may take nothing. */
const STALLED_MS = 5_000

/** A look that is later than this says nothing about the peers: this process did not run either. */
const LATE_MS = 10_000

/**
 * How long a connection may be without its local address. A network that comes back within this time often gives the same
 * address again, and the connection goes on.
 */
const ADDRESS_GRACE_MS = 10_000

/** After a disturbance, the idle time before keepalive probes. Node.js lets the system send ten, one a second. */
const PROBE_AFTER_MS = 1_000

/** How long after a disturbance a connection is probed, and what is wrong with it counts as its consequence. */
const DISTURBED_MS = 30_000

/** In that time, the same as `tcpUserTimeout`, unless that is shorter. */
const DISTURBED_TIMEOUT_MS = 20_000

/** The most that all sessions together may buffer, in bytes; less on a machine or in a container with little memory. */
const MAX_BUFFERED_BYTES = 256 * 1024 * 1024

/** The limit for this process: at most a quarter of its memory. */
function bufferLimit(): number {
  const limit = process.constrainedMemory?.() || Number.POSITIVE_INFINITY
  return Math.min(MAX_BUFFERED_BYTES, Math.min(limit, totalmem()) / 4)
}

/** What is known about one connection of a session. Without functions: there are thousands of these. */
interface Leg {
  peer: 'client' | 'upstream'
  socket: Socket
  traffic: Traffic
  lastSent: number
  lastReceived: number
  /** how much of what was sent had surely arrived */
  acknowledged: number
  /** since when nothing came from the peer while something was on its way to it */
  quietSince: number
  /** since when each look found retransmissions without progress; undefined if the last one found none */
  stuckSince: number | undefined
  last: TcpState | undefined
}

interface Entry extends Watched {
  legs: Leg[]
  /** changes whenever the client takes a byte; '' while none wait for it */
  progress: string
  /** since when `progress` is the same while bytes wait */
  stalledSince: number | undefined
  /** the last disturbance of the last DISTURBED_MS */
  disturbance: { what: string; at: number } | undefined
  isEnded: boolean
}

/** A leg that may be dead: the kernel is asked about it. */
interface Suspect {
  entry: Entry
  leg: Leg
  /** bytes sent to the peer before the kernel is asked */
  sent: number
}

/** A connection to the database. */
interface Connection {
  wire: Wire
  keepalive: number
  /** since when it is probed; undefined while it is not */
  probedSince: number | undefined
  /** since when it is without its local address */
  withoutAddressSince: number | undefined
}

export function createWatchdog(
  clock: Clock = monotonicClock,
  readTable: () => Promise<TcpTable | undefined> = readTcpTable,
  maxBuffered = bufferLimit(),
  wakes: Pick<WakeWatch, 'subscribe'> = wakeWatch,
  isOurs: (address: string) => Promise<boolean> = isAddressOfThisMachine,
): Watchdog {
  const entries = new Set<Entry>()
  const connections = new Set<Connection>()
  let cancelTick: (() => void) | undefined
  let tickAt = 0
  let unsubscribe = () => {}
  let isReading = false
  let readAt = Number.NEGATIVE_INFINITY

  const tick = () => {
    const now = clock.now()
    if (now - tickAt > LATE_MS) for (const entry of entries) startAgain(entry, now)
    startTimer()
    for (const entry of entries) {
      checkClient(entry, now)
      endDisturbance(entry, now)
    }
    for (const connection of connections) checkConnection(connection, now, isOurs)
    checkBuffers(entries, now, maxBuffered)
    const suspects: Suspect[] = []
    for (const entry of entries) {
      if (entry.endpoint.tcpUserTimeout === 0 || entry.isEnded) continue
      for (const leg of entry.legs) if (isSuspect(leg, now)) suspects.push({ entry, leg, sent: sentTo(leg) })
    }
    void lookAtKernel(suspects, now)
  }

  const lookAtKernel = async (suspects: Suspect[], now: number) => {
    if (isReading || now - readAt < SUSPECT_AFTER_MS || suspects.length === 0) return
    isReading = true
    readAt = now
    const table = await readTable().finally(() => {
      isReading = false
    })
    if (!table) return
    for (const { entry, leg, sent } of suspects) {
      const key = tcpKey(leg.socket)
      const state = key === undefined ? undefined : table.get(key)
      const timeout = timeoutOf(entry)
      if (state && isDead(leg, state, sent, clock.now(), timeout)) {
        end(entry, unreachableError(entry, leg, timeout), !entry.disturbance)
      }
    }
  }

  const startTimer = () => {
    tickAt = clock.now()
    cancelTick = clock.after(TICK_MS, tick)
  }
  const onDisturbance = (disturbance: Disturbance) => {
    const now = clock.now()
    for (const entry of entries) disturb(entry, disturbance, now)
    for (const connection of connections) probe(connection, disturbance, now)
  }
  const isWorking = () => entries.size + connections.size > 0
  const start = () => {
    if (isWorking()) return
    startTimer()
    unsubscribe = wakes.subscribe(onDisturbance)
  }
  const stop = () => {
    if (isWorking()) return
    cancelTick?.()
    unsubscribe()
    limitBuffers(false)
  }

  return {
    watch(watched) {
      const entry = createEntry(watched, clock.now())
      start()
      entries.add(entry)
      const onError = (error: Error) => endLost(entry, error)
      entry.upstream.on('error', onError)
      return () => {
        entry.isEnded = true
        entry.upstream.off('error', onError)
        if (entries.delete(entry)) stop()
      }
    },
    connected(wire, keepalive) {
      const connection: Connection = { wire, keepalive, probedSince: undefined, withoutAddressSince: undefined }
      start()
      connections.add(connection)
      wire.socket.on('close', () => {
        connections.delete(connection)
        stop()
      })
    },
  }
}

/** Watches all sessions of this process: what they buffer counts together. */
export const watchdog = createWatchdog()

function end(entry: Entry, error: ProxyError, isOfAddress = false): void {
  if (entry.isEnded) return
  entry.isEnded = true
  entry.end(error, isOfAddress)
}

/** Errors of a connection whose path is lost. */
const LOST_PATH = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENETDOWN', 'EADDRNOTAVAIL'])

/**
 * The connection to the database is broken. The client gets an error if the path is lost. A reset is passed on as it is, unless
 * it came after a disturbance: then it answers a probe, and no query of this session caused it.
 */
function endLost(entry: Entry, error: Error): void {
  const { disturbance } = entry
  const code = systemCode(error)
  if (error instanceof AddressGone) {
    end(entry, lostError(entry, `dead: ${error.message}`))
    return
  }
  const isLost = LOST_PATH.has(code) || (disturbance && (code === 'ECONNRESET' || code === 'ECONNABORTED'))
  if (isLost)
    end(entry, lostError(entry, `broken (${code})${disturbance ? ` since ${disturbance.what}` : ''}`), !disturbance)
}

function lostError({ endpoint }: Entry, what: string): ProxyError {
  const dial = formatHostPort(endpoint.dial)
  const message = `the connection to the database behind ${dial} is ${what}`
  return new ProxyError('UPSTREAM_UNREACHABLE', message, { hintValues: { dial } })
}

/** This process did not run for a while, and could not see what its peers did. */
function startAgain(entry: Entry, now: number): void {
  if (entry.stalledSince !== undefined) entry.stalledSince = now
  for (const leg of entry.legs) Object.assign(leg, { quietSince: now, stuckSince: undefined })
}

function disturb(entry: Entry, { what }: Disturbance, now: number): void {
  entry.disturbance = { what, at: now }
  for (const leg of entry.legs) leg.stuckSince = undefined
  entry.client.setKeepAlive(true, PROBE_AFTER_MS)
}

function endDisturbance(entry: Entry, now: number): void {
  const { disturbance, client, endpoint } = entry
  if (!disturbance || now - disturbance.at < DISTURBED_MS) return
  entry.disturbance = undefined
  client.setKeepAlive(true, endpoint.keepalive)
}

/** The error of a connection that has lost its local address. */
class AddressGone extends Error {
  readonly code = 'EADDRNOTAVAIL'
}

/** Lets the system find out within seconds whether the database is there. */
function probe(connection: Connection, { addresses }: Disturbance, now: number): void {
  const { socket } = connection.wire
  const address = localAddressOf(socket)
  const isListed = !addresses || address === undefined || isLinkLocal(address) || addresses.has(address)
  connection.withoutAddressSince = isListed ? undefined : (connection.withoutAddressSince ?? now)
  // Without its address, probes would only count as unanswered.
  if (!isListed) return
  connection.probedSince = now
  socket.setKeepAlive(true, PROBE_AFTER_MS)
}

/** Ends a connection whose local address has not come back, and ends the time in which it is probed. */
function checkConnection(connection: Connection, now: number, isOurs: (address: string) => Promise<boolean>): void {
  const { wire, keepalive, probedSince, withoutAddressSince } = connection
  if (withoutAddressSince !== undefined && now - withoutAddressSince >= ADDRESS_GRACE_MS) {
    const address = localAddressOf(wire.socket)!
    connection.withoutAddressSince = undefined
    void isOurs(address).then(isStillOurs => {
      if (!isStillOurs) wire.socket.destroy(new AddressGone(`this machine no longer has its address ${address}`))
    })
  }
  if (probedSince === undefined || now - probedSince < DISTURBED_MS) return
  connection.probedSince = undefined
  wire.socket.setKeepAlive(true, keepalive)
}

/** How long a peer may acknowledge nothing. */
function timeoutOf({ endpoint, disturbance }: Entry): number {
  return disturbance ? Math.min(endpoint.tcpUserTimeout, DISTURBED_TIMEOUT_MS) : endpoint.tcpUserTimeout
}

function createEntry(watched: Watched, now: number): Entry {
  const { client, upstream, traffic } = watched
  const legOf = (peer: Leg['peer'], socket: Socket): Leg => ({
    peer,
    socket,
    traffic,
    lastSent: 0,
    lastReceived: 0,
    acknowledged: 0,
    quietSince: now,
    stuckSince: undefined,
    last: undefined,
  })
  return {
    ...watched,
    legs: [legOf('upstream', upstream), legOf('client', client)],
    progress: '',
    stalledSince: undefined,
    disturbance: undefined,
    isEnded: false,
  }
}

/** @param timeout milliseconds without an acknowledgement */
function unreachableError({ endpoint }: Entry, { peer }: Leg, timeout: number): ProxyError {
  const dial = formatHostPort(endpoint.dial)
  const [code, name] =
    peer === 'client'
      ? (['CLIENT_UNREACHABLE', 'the client'] as const)
      : (['UPSTREAM_UNREACHABLE', `the database behind ${dial}`] as const)
  const message = `${name} has acknowledged nothing for ${timeout / 1_000} s`
  return new ProxyError(code, message, { hintValues: { dial } })
}

/** Bytes that this process has sent to the peer. */
function sentTo({ peer, traffic }: Leg): number {
  return peer === 'client' ? traffic.bytesFromUpstream : traffic.bytesFromClient
}

function receivedFrom({ peer, traffic }: Leg): number {
  return peer === 'client' ? traffic.bytesFromClient : traffic.bytesFromUpstream
}

/** Whether something is on its way to the peer, and nothing came from it for a while. */
function isSuspect(leg: Leg, now: number): boolean {
  const sent = sentTo(leg)
  const received = receivedFrom(leg)
  const wasClean = leg.lastSent === leg.acknowledged
  const isHeard = received !== leg.lastReceived
  leg.lastSent = sent
  leg.lastReceived = received
  if (isHeard) leg.stuckSince = undefined
  if (isHeard || (wasClean && sent !== leg.acknowledged)) leg.quietSince = now
  return sent !== leg.acknowledged && now - leg.quietSince >= SUSPECT_AFTER_MS
}

/** Whether the kernel has sent the same bytes again and again for `timeout` without any acknowledgement. */
function isDead(leg: Leg, state: TcpState, sent: number, now: number, timeout: number): boolean {
  const { last } = leg
  leg.last = state
  if (state.unacknowledged === 0 && leg.socket.writableLength === 0) leg.acknowledged = sent
  if (state.unanswered === 0) {
    leg.stuckSince = undefined
    return false
  }
  const hasMoved = last && (state.unacknowledged < last.unacknowledged || state.unanswered < last.unanswered)
  if (leg.stuckSince === undefined || hasMoved) leg.stuckSince = now
  return now - leg.stuckSince >= timeout
}

/** A client that takes no byte of what waits for it. */
function checkClient(entry: Entry, now: number): void {
  const waiting = entry.client.writableLength
  if (waiting === 0) {
    entry.progress = ''
    entry.stalledSince = undefined
    return
  }
  const taken = entry.traffic.bytesFromUpstream - waiting
  const progress = `${taken} ${queuedInSystem(entry.clientTransport)}`
  if (progress !== entry.progress) entry.stalledSince = now
  entry.progress = progress
  const { clientWriteTimeout } = entry.endpoint
  if (clientWriteTimeout === 0 || stalledFor(entry, now) < clientWriteTimeout) return
  end(entry, new ProxyError('CLIENT_WRITE_TIMEOUT', `the client has read nothing for ${clientWriteTimeout / 1_000} s`))
}

function stalledFor({ stalledSince }: Entry, now: number): number {
  return stalledSince === undefined ? 0 : now - stalledSince
}

/**
 * The bytes of a write that the system has not taken yet: without it, a client that reads a large write slowly looks like one
 * that does not read. Node.js measures the timeout of a socket with it too, but does not document it.
 */
function queuedInSystem(socket: Socket): number {
  const { _handle: handle } = socket as { _handle?: { writeQueueSize?: number } | null }
  return handle?.writeQueueSize ?? 0
}

/** Near the limit each session may buffer less; beyond it, the stalled clients that hold the most are closed. */
function checkBuffers(entries: ReadonlySet<Entry>, now: number, limit: number): void {
  const heldBy = ({ client, upstream }: Entry) => client.writableLength + upstream.writableLength
  let total = 0
  for (const entry of entries) total += heldBy(entry)
  limitBuffers(total > limit / 2)
  if (total <= limit) return
  const stalled = [...entries].filter(entry => stalledFor(entry, now) >= STALLED_MS && !entry.isEnded)
  for (const entry of stalled.sort((a, b) => heldBy(b) - heldBy(a))) {
    if (total <= limit) return
    total -= heldBy(entry)
    const message = `the buffers of all sessions are full, and this client has read nothing for ${STALLED_MS / 1_000} s`
    end(entry, new ProxyError('BUFFER_LIMIT_REACHED', message))
  }
}
