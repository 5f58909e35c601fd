/**
 * The sockets that this process accepts clients on. They can change hands without a moment in which clients are refused: from one
 * server to another at a reload, and from one process to the next at an upgrade.
 */
import { lstatSync, unlinkSync } from 'node:fs'
import type { Server, Socket } from 'node:net'
import { type Listen, parseListen } from '../endpoint.ts'

export interface Listener {
  /** the endpoint that listens, or the name of another listener of this process; '' for one that is this process's alone */
  owner: string
  /** as configured */
  listen: string
  /** with the real port if 0 was requested */
  address: Listen
  /** accepts the clients; after a change of hands, this is not the server that serves them */
  source: Server
}

/** A socket of the process before this one. */
export interface InheritedSocket {
  owner: string
  /** as that process was configured */
  listen: string
  /** with the real port if 0 was requested */
  address: string
}

/** What an upgrade hands to this process. */
export interface Inheritance {
  sockets: readonly InheritedSocket[]
  /** Resolves with a server that accepts the clients of the socket, from now on. */
  take(index: number): Promise<Server>
}

let inheritance: Inheritance | undefined

/** Listeners that wait for the sockets of the process before this one. */
const claims = new Map<Server, { owner: string; listen: string; address: Listen; index: number }>()

/** By the server that serves the clients. */
const listeners = new Map<Server, Listener>()

/** The file of a unix socket that this process may remove. */
const files = new WeakMap<Server, number | undefined>()

/** What this process accepts clients on now. */
export function openListeners(): Listener[] {
  return [...listeners.values()]
}

/** @param server listens already */
export function keepListener(server: Server, listener: Omit<Listener, 'source'>): void {
  register(server, { ...listener, source: server })
}

/** `server` serves the clients of `predecessor` from now on, which must not be closed after that. Returns the address. */
export function takeListener(server: Server, owner: string, listen: string, predecessor: Server): Listen {
  const { address, source } = listeners.get(predecessor) ?? {}
  if (!source || !address) throw new Error('the predecessor does not listen')
  listeners.delete(predecessor)
  receiveFrom(source, server)
  register(server, { owner, listen, address, source })
  return address
}

/** Before anything listens: the sockets of the process before this one. */
export function inherit(from: Inheritance | undefined): void {
  inheritance = from
}

/**
 * The address of an inherited socket for `listen`; undefined if there is none. The server gets its clients from
 * `takeInherited` on, so that a start that fails later loses none.
 */
export function claimInherited(server: Server, owner: string, listen: string): Listen | undefined {
  const sockets = inheritance?.sockets ?? []
  const taken = new Set([...claims.values()].map(({ index }) => index))
  const find = (fits: (socket: InheritedSocket) => boolean) =>
    sockets.findIndex((socket, index) => !taken.has(index) && fits(socket))
  const isAnyPort = listen.endsWith(':0')
  const [index] = [
    find(socket => socket.listen === listen && socket.owner === owner),
    find(socket => socket.address === listen || (socket.listen === listen && !isAnyPort)),
  ].filter(found => found >= 0)
  if (index === undefined) return undefined
  const address = parseListen(sockets[index]!.address)
  claims.set(server, { owner, listen, address, index })
  return address
}

/** Everything else has started: the servers that wait get their clients. @throws what `take` throws */
export async function takeInherited(): Promise<void> {
  for (const [server, { index, ...listener }] of claims) {
    const source = await inheritance!.take(index)
    receiveFrom(source, server) // in the same turn of the event loop, before its first client
    register(server, { ...listener, source })
  }
  claims.clear()
  inheritance = undefined
}

/** Another process has the socket too: this one does not remove the file of a unix socket when it closes it. */
export function shareListener({ source }: Listener): void {
  for (const [server, listener] of listeners) if (listener.source === source) files.delete(server)
}

/** Stops accepting clients; the open connections go on. Removes the file of a unix socket. */
export function closeListener(server: Server): void {
  const source = listeners.get(server)?.source
  claims.delete(server)
  forget(server)
  if (source !== server) source?.close()
  server.close()
}

function register(server: Server, listener: Listener): void {
  listeners.set(server, listener)
  if ('path' in listener.address) files.set(server, inodeOf(listener.address.path))
  if (listener.source === server) server.once('close', () => forget(server))
}

function forget(server: Server): void {
  const { address } = listeners.get(server) ?? {}
  listeners.delete(server)
  if (address && 'path' in address) removeFile(address.path, files.get(server))
}

/**
 * The clients that `source` accepts go to `server`. Two handles of Node.js cannot share a unix socket (EEXIST), so `source` stays
 * the one that accepts.
 */
function receiveFrom(source: Server, server: Server): void {
  source.removeAllListeners('connection').removeAllListeners('error')
  source.on('connection', (socket: Socket) => {
    // As every server of this program sets them. A server from another process has the defaults of Node.js.
    socket.allowHalfOpen = true
    socket.setNoDelay(true)
    server.emit('connection', socket)
  })
  source.on('error', error => server.emit('error', error))
}

/** Not the file of a process that listens there since. */
function removeFile(path: string, inode: number | undefined): void {
  if (inode === undefined || inodeOf(path) !== inode) return
  try {
    unlinkSync(path)
  } catch {} // The directory may be read-only by now. The next start removes the file.
}

function inodeOf(path: string): number | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.ino
}
