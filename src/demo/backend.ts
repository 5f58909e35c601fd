/**
 * What stands behind the stand-in for RDS: a real server where this machine has one, in a private directory that goes
 * away with the demo; else a small built-in one.
 */

import type { Wire } from '../net/wire.ts'
import type { HandshakeResponse41, HandshakeV10 } from '../protocol/packets.ts'

/** The account and the database that every backend has. */
export const DEMO_USER = 'iam_user'
export const DEMO_DATABASE = 'demo'

/** A server without authentication of its own, which takes the stand-in's word for who the client is. */
export interface Backend {
  /** what it is, for people */
  name: string
  /** why it is the built-in one, in one line; undefined where that was asked for */
  fallback?: string
  /** Opens a session; rejects where the backend is full or gone. */
  connect(): Promise<BackendSession>
  /** Ends the server and removes what it wrote. */
  stop(): Promise<void>
}

/** One client's session at the backend. */
export interface BackendSession {
  /** what the stand-in mirrors */
  greeting: HandshakeV10
  /** Logs in with the client's flags, charset, database and attributes; gives an OK_Packet or an ERR_Packet. */
  login(response: HandshakeResponse41): Promise<Buffer>
  /** Carries commands and results until one side leaves. */
  serve(client: Wire): Promise<void>
  end(): void
}
