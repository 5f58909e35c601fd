/** A MySQL client with little overhead: it logs in, sends bytes, and counts received bytes. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { CACHING_SHA2_PASSWORD, clearPassword, MYSQL_NATIVE_PASSWORD } from '../src/protocol/auth.ts'
import { CLIENT_LOCAL_FILES, CLIENT_SSL } from '../src/protocol/capabilities.ts'
import {
  AUTH_MORE_DATA,
  AUTH_SWITCH_REQUEST,
  ERR,
  encodeHandshakeResponse41,
  encodeSSLRequest,
  OK,
  parseAuthSwitchRequest,
  parseERR_Packet,
  parseHandshakeV10,
} from '../src/protocol/packets.ts'
import { PLAIN_CLIENT } from '../test/support/capabilities.ts'

/** An address and an account. */
export interface Route {
  name: string
  host: string
  port: number
  user: string
  /** empty through the proxy */
  password: string
  /** TLS with the server or the proxy; without `ca`, the certificate is not verified */
  tls?: { ca?: string; servername: string } | undefined
}

export interface Client {
  socket: Socket
  serverVersion: string
  /** the sequence id of the last received packet */
  sequence: number
  /** The payload of the next packet. @throws the error of an ERR_Packet */
  next(): Promise<Buffer>
  /** Counts all further bytes until the end of the stream. */
  countToEnd(): Promise<number>
}

const HEADER_BYTES = 4
/** All clients without TLS share it: each chunk is copied or counted before the next one arrives. */
const receiveBuffer = Buffer.alloc(256 * 1024)
const FULL_AUTHENTICATION = 4
const CAPABILITIES = PLAIN_CLIENT | CLIENT_LOCAL_FILES

/** Connects and logs in. */
export async function logIn(route: Route): Promise<Client> {
  const reader = createReader()
  let socket = connectTcp({
    host: route.host,
    port: route.port,
    noDelay: true,
    // Without TLS, all bytes go into one buffer, without new objects.
    ...(route.tls ? {} : { onread: { buffer: receiveBuffer, callback: reader.receiveInto } }),
  })
  reader.watch(socket)
  await once(socket, 'connect')
  const greeting = parseHandshakeV10(await reader.next())
  const common = {
    capabilities: CAPABILITIES | (route.tls ? CLIENT_SSL : 0),
    maxPacketSize: 1 << 30,
    charset: 45, // utf8mb4_general_ci
    reserved: Buffer.alloc(23),
  }
  if (route.tls) {
    socket.write(packet(encodeSSLRequest(common), 1))
    socket.removeAllListeners('data')
    socket = connectTls({ socket, rejectUnauthorized: route.tls.ca !== undefined, ...route.tls })
    reader.watch(socket)
    await once(socket, 'secureConnect')
  }
  const response = encodeHandshakeResponse41({
    ...common,
    user: Buffer.from(route.user),
    authResponse: scramble(greeting.authPlugin, greeting.salt, route.password),
    database: undefined,
    authPlugin: greeting.authPlugin,
    attributes: undefined,
    zstdLevel: undefined,
  })
  socket.write(packet(response, route.tls ? 2 : 1))
  for (;;) {
    const payload = await reader.next()
    if (payload[0] === OK) break
    if (payload[0] === AUTH_SWITCH_REQUEST) {
      const { authPlugin, data } = parseAuthSwitchRequest(payload)
      socket.write(packet(scramble(authPlugin, data.subarray(0, 20), route.password), reader.sequence() + 1))
    } else if (payload[0] === AUTH_MORE_DATA && payload[1] === FULL_AUTHENTICATION) {
      if (!route.tls) throw new Error(`${route.user} must log in once over TLS, so that the server caches the password`)
      socket.write(packet(clearPassword(route.password), reader.sequence() + 1))
    } else if (payload[0] !== AUTH_MORE_DATA) throw new Error(`unexpected packet in the login: ${payload[0]}`)
  }
  return {
    socket,
    serverVersion: greeting.serverVersion,
    get sequence() {
      return reader.sequence()
    },
    next: reader.next,
    countToEnd: reader.countToEnd,
  }
}

/** A packet for a payload of less than 16 MiB. */
export function packet(payload: Buffer, sequence: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUIntLE(payload.length, 0, 3)
  header[3] = sequence
  return Buffer.concat([header, payload])
}

export function command(code: number, argument: string | Buffer = ''): Buffer {
  return packet(Buffer.concat([Buffer.of(code), Buffer.from(argument)]), 0)
}

function createReader() {
  let pending: Buffer = Buffer.alloc(0)
  let counted: number | undefined
  let sequence = 0
  let ended = false
  let wake = () => {}

  function receive(chunk: Buffer): void {
    if (counted !== undefined) counted += chunk.length
    else {
      pending = Buffer.concat([pending, chunk])
      wake()
    }
  }

  function receiveInto(length: number, buffer: Uint8Array): boolean {
    if (counted !== undefined) counted += length
    else receive(Buffer.from(buffer.subarray(0, length)))
    return true
  }

  function watch(socket: Socket): void {
    socket.on('data', receive)
    socket.on('error', () => {})
    socket.on('close', () => {
      ended = true
      wake()
    })
  }

  const change = () =>
    new Promise<void>(resolve => {
      wake = resolve
    })

  async function next(): Promise<Buffer> {
    for (;;) {
      const end = HEADER_BYTES + (pending.length < HEADER_BYTES ? 0 : pending.readUIntLE(0, 3))
      if (pending.length >= end) {
        const payload = pending.subarray(HEADER_BYTES, end)
        sequence = pending[3]!
        pending = pending.subarray(end)
        if (payload[0] === ERR) throw new Error(parseERR_Packet(payload).message)
        return payload
      }
      if (ended) throw new Error('the connection was closed')
      await change()
    }
  }

  async function countToEnd(): Promise<number> {
    counted = pending.length
    while (!ended) await change()
    return counted
  }

  return { receiveInto, watch, next, countToEnd, sequence: () => sequence }
}

function scramble(authPlugin: string, salt: Buffer, password: string): Buffer {
  if (password === '') return Buffer.alloc(0)
  if (authPlugin === CACHING_SHA2_PASSWORD) {
    const once = digest('sha256', password)
    return xor(once, digest('sha256', digest('sha256', once), salt))
  }
  if (authPlugin === MYSQL_NATIVE_PASSWORD) {
    const once = digest('sha1', password)
    return xor(once, digest('sha1', salt, digest('sha1', once)))
  }
  throw new Error(`the server requests ${authPlugin}`)
}

function digest(algorithm: string, ...parts: (string | Buffer)[]): Buffer {
  const hash = createHash(algorithm)
  for (const part of parts) hash.update(part)
  return hash.digest()
}

function xor(left: Buffer, right: Buffer): Buffer {
  return left.map((byte, index) => byte ^ right[index]!) as Buffer
}
