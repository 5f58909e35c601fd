/**
 * --prepared-connections: connections to the database for the next logins of a program that logs in often. They are greeted, and
 * in TLS with the flags of its last login, so that a login takes one round trip instead of four.
 *
 * A server greets before the client shows its flags. So a client gets a connection by its source, and only while all logins of
 * the source have the same flags: see docs/decisions/0169-prepared-connections.md.
 */
import { type Clock, monotonicClock } from '../clock.ts'
import { endGracefully, isOpen, watchForEnd } from '../net/wire.ts'
import { isCompressed } from '../protocol/capabilities.ts'
import { COM_QUIT } from '../protocol/command-scanner.ts'
import { type HandshakeResponse41, OK } from '../protocol/packets.ts'
import { abandonLogin } from './abandon.ts'
import type { Upstream } from './dial.ts'
import {
  assertSupportsTokens,
  type LoginTarget,
  loginOnce,
  sendRequestOf,
  sendsTokenAtOnce,
  writeCommand,
} from './login.ts'
import { startTls } from './tls.ts'

/** How old a connection may be when a login takes it: servers wait for a login for ten seconds by default. */
export const MAX_AGE_MS = 3_000

/** After logins with different flags from one source, such as those of two programs. */
const MIXED_MS = 60_000

/** Connections of a source that nobody took, less those taken, after which it gets none for a while. */
const MAX_UNUSED = 4
const PAUSE_MS = 600_000

/** Time for the login that ends a connection. */
const END_TIMEOUT_MS = 2_000
const SLOT_TIMEOUT_MS = 1_000

/** Sources that are kept. */
const MAX_SOURCES = 100

export interface Prepared {
  /** A connection for a client of this source, perhaps still on its way; undefined if there is none. It rejects if that fails. */
  take(source: string): Promise<Upstream> | undefined
  /** A client is about to log in: if its source logs in often, prepares connections for the next logins. @param connect dials */
  expect(source: string, client: HandshakeResponse41, user: string, connect: () => Promise<Upstream>): void
  succeeded(source: string, client: HandshakeResponse41): void
  /** Drops all connections: the network has changed, so they may be dead. */
  forget(): void
  /** Ends all connections, and prepares no more. */
  close(): Promise<void>
}

/** What is known of a source. */
interface Source {
  flags: string
  lastLogin: number
  /** whether two of its logins came within MAX_AGE_MS */
  isFrequent: boolean
  /** when its flags changed */
  mixedAt: number
  unused: number
  pausedUntil: number
}

interface Connection {
  source: string
  client: HandshakeResponse41
  user: string
  ready: Promise<Upstream>
  /** Stops the watch over a connection that waits. */
  unwatch(): void
  /** undefined until it is ended without a login of a client */
  ended: Promise<void> | undefined
}

/** @param max connections that wait at a time */
export function createPrepared(max: number, target: LoginTarget, clock: Clock = monotonicClock): Prepared {
  const sources = new Map<string, Source>()
  /** those that no login has taken; the oldest first */
  const waiting = new Set<Connection>()
  const ending = new Set<Promise<void>>()
  let isClosed = false

  async function open(client: HandshakeResponse41, connect: () => Promise<Upstream>): Promise<Upstream> {
    const { endpoint, trust, confirmMember } = target
    const upstream = await connect()
    try {
      assertSupportsTokens(upstream.greeting, endpoint)
      sendRequestOf(client, upstream, target)
      await startTls(upstream.wire, endpoint, trust, confirmMember)
      return upstream
    } catch (error) {
      await abandonLogin(upstream)
      endGracefully(upstream.wire)
      throw error
    }
  }

  function prepare(source: string, client: HandshakeResponse41, user: string, connect: () => Promise<Upstream>): void {
    const ready = open({ ...client, authResponse: Buffer.alloc(0) }, connect)
    const connection: Connection = { source, client, user, ready, unwatch: () => {}, ended: undefined }
    waiting.add(connection)
    const onReady = ({ wire }: Upstream) => {
      if (!waiting.has(connection)) return
      const cancelTimer = clock.after(MAX_AGE_MS, () => expire(connection))
      const stopWatch = watchForEnd(wire, () => {
        pause(source) // its time limit may be shorter than ours
        remove(connection)
        wire.socket.destroy()
      })
      connection.unwatch = () => {
        cancelTimer()
        stopWatch()
      }
    }
    ready.then(onReady, () => remove(connection))
  }

  function remove(connection: Connection): boolean {
    connection.unwatch()
    return waiting.delete(connection)
  }

  function pause(source: string): void {
    const known = sources.get(source)
    if (known) Object.assign(known, { isFrequent: false, unused: 0, pausedUntil: clock.now() + PAUSE_MS })
  }

  function expire(connection: Connection): void {
    remove(connection)
    const known = sources.get(connection.source)
    if (known && ++known.unused >= MAX_UNUSED) pause(connection.source)
    void end(connection)
  }

  function end(connection: Connection): Promise<void> {
    if (connection.ended) return connection.ended
    const ended = logInAndQuit(connection).finally(() => ending.delete(ended))
    connection.ended = ended
    ending.add(ended)
    return ended
  }

  /** A connection that just closes, and a login that is refused, raise counters of the server. This raises none. Never rejects. */
  async function logInAndQuit({ source, client, user, ready }: Connection): Promise<void> {
    const upstream = await ready.catch(() => undefined)
    if (!upstream) return
    const { wire } = upstream
    wire.deadline = clock.now() + END_TIMEOUT_MS
    try {
      await target.limiter.takeSoon(SLOT_TIMEOUT_MS, target.state, new AbortController().signal)
      // Its phases are not those of a client's login.
      const unseen = { ...target, state: { ...target.state, onPhase: undefined, tracer: undefined } }
      const { payload } = await loginOnce(upstream, unseen, client, user, sendsTokenAtOnce(target))
      if (payload[0] === OK)
        writeCommand(wire, COM_QUIT, isCompressed(client.capabilities & upstream.greeting.capabilities))
      else pause(source)
    } catch {
      pause(source)
    }
    endGracefully(wire)
  }

  return {
    take(source) {
      for (const connection of waiting) {
        if (connection.source !== source) continue
        remove(connection)
        const known = sources.get(source)
        if (known) known.unused = Math.max(known.unused - 1, -MAX_UNUSED)
        return connection.ready.then(upstream => {
          const { wire } = upstream
          if (isOpen(wire) && wire.socket.readableLength === 0) {
            return Object.assign(upstream, { end: () => end(connection) })
          }
          wire.socket.destroy()
          throw new Error('the prepared connection has closed')
        })
      }
      return undefined
    },
    expect(source, client, user, connect) {
      const known = sources.get(source)
      const now = clock.now()
      if (isClosed || !known?.isFrequent || known.flags !== flagsOf(client)) return
      if (now < known.pausedUntil || now - known.mixedAt < MIXED_MS) return
      while (waiting.size < max) prepare(source, client, user, connect)
    },
    succeeded(source, client) {
      const now = clock.now()
      const flags = flagsOf(client)
      const before = sources.get(source)
      const known =
        before?.flags === flags
          ? before
          : {
              flags,
              lastLogin: Number.NEGATIVE_INFINITY,
              isFrequent: false,
              mixedAt: before ? now : Number.NEGATIVE_INFINITY,
              unused: before?.unused ?? 0,
              pausedUntil: before?.pausedUntil ?? Number.NEGATIVE_INFINITY,
            }
      if (now - known.lastLogin < MAX_AGE_MS) known.isFrequent = true
      known.lastLogin = now
      sources.delete(source)
      if (sources.size >= MAX_SOURCES) sources.delete(sources.keys().next().value!)
      sources.set(source, known)
    },
    forget() {
      for (const connection of waiting) {
        remove(connection)
        connection.ready.then(({ wire }) => wire.socket.destroy()).catch(() => {})
      }
    },
    async close() {
      isClosed = true
      for (const connection of waiting) {
        remove(connection)
        void end(connection)
      }
      await Promise.all(ending)
    },
  }
}

/** What an SSLRequest and the presence of fields in HandshakeResponse41 depend on. */
function flagsOf({
  capabilities,
  maxPacketSize,
  charset,
  reserved,
  database,
  attributes,
}: HandshakeResponse41): string {
  const numbers = [capabilities, maxPacketSize, charset, database !== undefined, attributes !== undefined]
  return `${numbers.join(' ')} ${reserved.toString('hex')}`
}
