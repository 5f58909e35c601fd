/**
 * --prepared-connections: connections to the database for the next logins of a program that logs in often. They are greeted, and
 * in TLS with the flags of its last login, so that a login takes one round trip instead of four.
 *
 * A server greets before the client shows its flags. So a client gets a connection by its source, and only while all logins of
 * the source have the same flags: see docs/decisions/0169-prepared-connections.md.
 */
import { type Clock, monotonicClock } from '../clock.ts'
import { asProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { endGracefully, watchForEnd } from '../net/wire.ts'
import { isCompressed } from '../protocol/capabilities.ts'
import { COM_QUIT } from '../protocol/command-scanner.ts'
import { type HandshakeResponse41, OK } from '../protocol/packets.ts'
import { abandonLogin } from './abandon.ts'
import { isDialError, type Upstream } from './dial.ts'
import {
  assertSupportsTokens,
  isUntouched,
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

/** Connections of a source that no login used, less those used, after which it gets none for a while. */
const MAX_UNUSED = 4
const PAUSE_MS = 600_000

/** Time for the login that ends a connection. */
const END_TIMEOUT_MS = 2_000
const SLOT_TIMEOUT_MS = 1_000

/** Sources that are kept. */
const MAX_SOURCES = 100

/** of the next packet, when TLS has started and no login was sent */
const SEQUENCE_IN_TLS = 2

const CLOSED = 'the server closed one before its login'

const NOTHING: Buffer = Buffer.alloc(0)

export interface Prepared {
  /** A connection for a client of this source, perhaps still on its way; undefined if there is none. It rejects if that fails. */
  take(source: string): Promise<Upstream> | undefined
  /** A client is about to log in: if its source logs in often, prepares connections for the next logins. @param connect dials */
  expect(source: string, client: HandshakeResponse41, connect: () => Promise<Upstream>): void
  /** @param user of the database */
  succeeded(source: string, client: HandshakeResponse41, user: string): void
  /** Ends all connections. Resolves once they have ended, with whether there were any. */
  clear(): Promise<boolean>
  /** Ends all connections without a token: the network has changed, so they may be dead. */
  forget(): void
  /** Ends all connections, and prepares no more. */
  close(): Promise<void>
}

/** What is known of a source. */
interface Source {
  flags: string
  /** of its last login that succeeded: no other may end a connection */
  client: HandshakeResponse41
  user: string
  lastLogin: number
  /** whether two of its logins came within MAX_AGE_MS */
  isFrequent: boolean
  /** when its flags changed */
  mixedAt: number
  unused: number
  pausedUntil: number
}

interface Connection extends Pick<Source, 'client' | 'user'> {
  source: string
  ready: Promise<Upstream>
  /** Stops the watch over a connection that waits. */
  unwatch(): void
  /** undefined until it is ended without a login of a client */
  ended: Promise<void> | undefined
}

/** @param max connections that wait at a time */
export function createPrepared(max: number, target: LoginTarget, log: Logger, clock: Clock = monotonicClock): Prepared {
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

  function prepare(source: string, { client, user }: Source, connect: () => Promise<Upstream>): void {
    const ready = open(client, connect)
    const connection: Connection = { source, client, user, ready, unwatch: () => {}, ended: undefined }
    waiting.add(connection)
    const onReady = ({ wire }: Upstream) => {
      if (!waiting.has(connection)) return
      const cancelTimer = clock.after(MAX_AGE_MS, () => expire(connection))
      const drop = () => {
        pause(source, CLOSED) // its time limit may be shorter than ours
        remove(connection)
        wire.socket.destroy()
      }
      const stopWatch = watchForEnd(wire, drop)
      // MySQL sends an error first, which nobody reads.
      const onReadable = () => isUntouched(wire) || drop()
      wire.socket.on('readable', onReadable)
      connection.unwatch = () => {
        cancelTimer()
        stopWatch()
        wire.socket.off('readable', onReadable)
      }
    }
    const onFailed = (thrown: unknown) => {
      remove(connection)
      const error = asProxyError(thrown)
      // The server refuses it, or something is wrong with it: it must not meet this at each login.
      if (!isDialError(error)) pause(source, error.message)
    }
    ready.then(onReady, onFailed)
  }

  function remove(connection: Connection): boolean {
    connection.unwatch()
    return waiting.delete(connection)
  }

  function pause(source: string, why: string): void {
    const known = sources.get(source)
    const now = clock.now()
    if (isClosed || !known || now < known.pausedUntil) return
    Object.assign(known, { isFrequent: false, unused: 0, pausedUntil: now + PAUSE_MS })
    const message = `no connections are prepared for ${source} for ${PAUSE_MS / 60_000} minutes: ${why}`
    log.info({ client: source }, message)
  }

  function expire(connection: Connection): void {
    remove(connection)
    countUnused(connection.source, 1)
    void end(connection)
  }

  /** A client has taken it, and did not log in with it. */
  function giveBack(connection: Connection): Promise<void> {
    // It counts as used since then.
    if (!connection.ended) countUnused(connection.source, 2)
    return end(connection)
  }

  function countUnused(source: string, count: number): void {
    const known = sources.get(source)
    if (!known) return
    known.unused += count
    if (known.unused >= MAX_UNUSED) pause(source, `${MAX_UNUSED} of them were not used`)
  }

  /** @param withToken false: by a login that is refused */
  function end(connection: Connection, withToken = true): Promise<void> {
    if (connection.ended) return connection.ended
    const ended = endNow(connection, withToken).finally(() => ending.delete(ended))
    connection.ended = ended
    ending.add(ended)
    return ended
  }

  /** Never rejects. */
  async function endNow(connection: Connection, withToken: boolean): Promise<void> {
    const upstream = await connection.ready.catch(() => undefined)
    if (!upstream) return
    const { wire } = upstream
    wire.stop = undefined
    wire.deadline = clock.now() + END_TIMEOUT_MS
    if (withToken) await logInAndQuit(connection, upstream)
    else await refuse(upstream)
    endGracefully(wire)
    // A process that stops must not lose the last packet.
    const { socket } = wire
    if (!socket.closed) await new Promise(resolve => socket.once('close', resolve))
  }

  /** A connection that just closes, and a login that is refused, raise counters of the server. This raises none. Never rejects. */
  async function logInAndQuit({ source, client, user }: Connection, upstream: Upstream): Promise<void> {
    const { wire, greeting } = upstream
    if (wire.sequence !== SEQUENCE_IN_TLS || !isUntouched(wire)) {
      pause(source, CLOSED)
      return
    }
    // Its phases are not those of a client's login.
    const unseen = { ...target, state: { ...target.state, onPhase: undefined, tracer: undefined } }
    try {
      await target.limiter.takeSoon(isClosed ? 0 : SLOT_TIMEOUT_MS, unseen.state, new AbortController().signal)
      const { payload } = await loginOnce(upstream, unseen, client, user, sendsTokenAtOnce(target))
      if (payload[0] === OK) writeCommand(wire, COM_QUIT, isCompressed(client.capabilities & greeting.capabilities))
      else pause(source, 'the server refused the login that ends one')
    } catch (thrown) {
      pause(source, asProxyError(thrown).message)
      await refuse(upstream)
    }
  }

  function endAll(withToken?: boolean): void {
    for (const connection of waiting) {
      remove(connection)
      void end(connection, withToken)
    }
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
          if (isUntouched(wire)) {
            // The server began to count at its greeting. If it closes sooner than that, the login goes on with another connection.
            wire.deadline = clock.now() + target.endpoint.loginTimeout
            return Object.assign(upstream, { end: () => giveBack(connection) })
          }
          pause(source, CLOSED)
          wire.socket.destroy()
          throw new Error(CLOSED)
        })
      }
      return undefined
    },
    expect(source, client, connect) {
      const known = sources.get(source)
      const now = clock.now()
      if (isClosed || !known?.isFrequent || known.flags !== flagsOf(client)) return
      if (now < known.pausedUntil || now - known.mixedAt < MIXED_MS) return
      while (waiting.size < max) prepare(source, known, connect)
    },
    succeeded(source, client, user) {
      const now = clock.now()
      const flags = flagsOf(client)
      const before = sources.get(source)
      const known =
        before?.flags === flags
          ? before
          : {
              flags,
              client,
              user,
              lastLogin: Number.NEGATIVE_INFINITY,
              isFrequent: false,
              mixedAt: before ? now : Number.NEGATIVE_INFINITY,
              unused: before?.unused ?? 0,
              pausedUntil: before?.pausedUntil ?? Number.NEGATIVE_INFINITY,
            }
      if (now - known.lastLogin < MAX_AGE_MS) known.isFrequent = true
      known.lastLogin = now
      known.client = withoutSecrets(client)
      known.user = user
      sources.delete(source)
      if (sources.size >= MAX_SOURCES) sources.delete(sources.keys().next().value!)
      sources.set(source, known)
    },
    async clear() {
      endAll()
      const hadAny = ending.size > 0
      await Promise.all(ending)
      return hadAny
    },
    forget: () => endAll(false),
    async close() {
      isClosed = true
      endAll()
      while (ending.size > 0) await Promise.all(ending)
    },
  }
}

/** The server refuses a login without a user, unless it has got one with a token already. Never rejects. */
async function refuse({ end: _end, ...upstream }: Upstream): Promise<void> {
  await abandonLogin(upstream)
}

/** What ends a connection: it has no password, and no memory of the packet that the client sent. */
function withoutSecrets(client: HandshakeResponse41): HandshakeResponse41 {
  const { attributes, database, reserved } = client
  return {
    ...client,
    user: NOTHING,
    authResponse: NOTHING,
    attributes: attributes && NOTHING,
    database: database && Buffer.from(database),
    reserved: Buffer.from(reserved),
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
