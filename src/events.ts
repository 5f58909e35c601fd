/** What a host program can follow of its proxy: the events of the library. */
import { EventEmitter } from 'node:events'
import type { Address } from './endpoint.ts'
import type { ErrorCode } from './error-codes.ts'
import { hintFor, type ProxyError } from './errors.ts'
import type { Logger } from './log.ts'

/** The session that an event is about. The fields are those of the log and of `status()`. */
export interface SessionFields {
  /** Short; unique in this process. The log and the client's errors have it, too */
  readonly session: string
  /** The local user that the client named; undefined without local users, and until it is known */
  readonly localUser: string | undefined
  /** The database user; undefined until it is known */
  readonly user: string | undefined
  /** The client's IP address, 'unix', or 'in-process' for `connect()` */
  readonly client: string
  /** The server's thread id (CONNECTION_ID()); undefined before the server's greeting */
  readonly threadId: number | undefined
  /** The default database that the client named at login */
  readonly database: string | undefined
  /** The client program, from its connection attributes */
  readonly program: string | undefined
}

/** A client has logged in. */
export interface SessionStart extends SessionFields {
  /** Milliseconds since the client connected */
  readonly durationMs: number
}

/** A session that has started is over. Its users are the last ones: COM_CHANGE_USER can change them. */
export interface SessionEnd extends SessionFields {
  /** Milliseconds since the client connected */
  readonly durationMs: number
  /** `code`, or in words who ended the session: 'client quit', 'client closed', 'server reset' … docs/logs.md lists them */
  readonly endedBy: string
  /** The system's error of a broken connection, such as 'ECONNRESET' */
  readonly cause: string | undefined
  /** The error that ended the session; undefined if the client or the server ended it. `PROXY_STOPPING` is that of `close()` */
  readonly code: ErrorCode | undefined
  /** What happened, without secrets; undefined without `code` */
  readonly message: string | undefined
  /** What to do about it; undefined without `code` */
  readonly hint: string | undefined
  readonly bytesFromClient: number
  readonly bytesFromServer: number
  /** What the option `compress` has added between the proxy and the database; undefined for none */
  readonly compression: 'zlib' | 'zstd' | undefined
  /** `bytesFromClient` as they travelled between the proxy and the database; undefined without `compression` */
  readonly lineBytesFromClient: number | undefined
  /** `bytesFromServer` as they travelled between the proxy and the database; undefined without `compression` */
  readonly lineBytesFromServer: number | undefined
}

/** A client has connected but not logged in: it was refused, or it left. */
export interface LoginFailed extends Omit<SessionFields, 'session'> {
  /** As in the other events; undefined for a client that was refused before it got a session */
  readonly session: string | undefined
  /** Milliseconds since the client connected */
  readonly durationMs: number
  readonly code: ErrorCode
  /** The number of the server's own error, if the server refused the login */
  readonly errno: number | undefined
  /** What happened, without secrets */
  readonly message: string
  /** What to do about it; '' if the message says it all */
  readonly hint: string
}

/**
 * The events of a proxy, each with the arguments of its listeners. Every client that connects has either `loginFailed`, or
 * `sessionStart` and later `sessionEnd`.
 */
export interface ProxyEvents {
  /** The proxy accepts clients at this address. */
  listening: [address: Address]
  sessionStart: [event: SessionStart]
  sessionEnd: [event: SessionEnd]
  loginFailed: [event: LoginFailed]
  /** The proxy is closed: it does not listen, and every session has ended. Nothing comes after it. */
  closed: []
}

/** Calls the listeners of an event. `create` makes its arguments, and runs only if there are listeners. */
export type Emit = <Name extends keyof ProxyEvents>(name: Name, create: () => ProxyEvents[Name]) => void

/** The events of one proxy. */
export interface Events {
  /** for the host program. Nothing in the proxy listens to it */
  emitter: EventEmitter<ProxyEvents>
  emit: Emit
}

/**
 * A listener that throws, or whose promise rejects, harms neither the session nor other listeners: `log` gets its error. So
 * this does not use `emitter.emit`, which stops at the first one that throws.
 */
export function createEvents(log: Logger): Events {
  const emitter = new EventEmitter<ProxyEvents>()
  let isClosed = false
  emitter.setMaxListeners(0) // no warning on the host's standard error
  const emit: Emit = (name, create) => {
    if (isClosed) return
    isClosed = name === 'closed'
    const listeners: ((...event: never[]) => unknown)[] = emitter.rawListeners(name)
    if (listeners.length === 0) return
    const event = create()
    for (const value of event) Object.freeze(value) // all listeners get the same
    const report = (error: unknown) => {
      log.error({ event: name, stack: stackOf(error) }, 'a listener of the host program failed')
    }
    for (const listener of listeners) {
      try {
        Promise.resolve(Reflect.apply(listener, emitter, event)).catch(report)
      } catch (error) {
        report(error)
      }
    }
  }
  return { emitter, emit }
}

function stackOf(error: unknown): string {
  return (error instanceof Error && error.stack) || String(error)
}

/** What is known of a client that gets no session, besides its address. */
export const UNKNOWN = {
  session: undefined,
  localUser: undefined,
  user: undefined,
  threadId: undefined,
  database: undefined,
  program: undefined,
} as const

/** @param values for the hint */
export function emitLoginFailed(
  { emit }: { emit: Emit },
  client: Omit<LoginFailed, 'durationMs' | 'code' | 'errno' | 'message' | 'hint'>,
  error: ProxyError,
  durationMs: number,
  values: Parameters<typeof hintFor>[1],
): void {
  const { code, message, serverError } = error
  emit('loginFailed', () => {
    return [{ ...client, durationMs, code, errno: serverError?.errno, message, hint: hintFor(error, values) }]
  })
}
