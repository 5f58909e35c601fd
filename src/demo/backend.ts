/** The server behind the stand-in for RDS: a real one if this machine has one, else the small built-in one. */

import type { Wire } from '../net/wire.ts'
import type { HandshakeResponse41, HandshakeV10 } from '../protocol/packets.ts'

/** The account and the database that every backend has. */
export const DEMO_USER = 'iam_user'
export const DEMO_DATABASE = 'demo'

/** A server that does not authenticate: it trusts the stand-in about the user. */
export interface Backend {
  /** name and version, for the output of the demo */
  name: string
  /** why the demo uses the built-in backend, in one line; undefined if it was requested */
  fallback?: string
  /** Opens a session. Rejects if the backend is full or has stopped. */
  connect(): Promise<BackendSession>
  /** Stops the server and removes its files. */
  stop(): Promise<void>
}

/** One client's session at the backend. */
export interface BackendSession {
  /** the greeting that the stand-in copies */
  greeting: HandshakeV10
  /** Logs in with the client's flags, charset, database and attributes. Resolves with an OK_Packet or an ERR_Packet. */
  login(response: HandshakeResponse41): Promise<Buffer>
  /** Relays commands and results until one side disconnects. */
  serve(client: Wire): Promise<void>
  end(): void
}
