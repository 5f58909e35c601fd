/** The local port of a tunnel: choosing a free one, and waiting until a program listens there. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { pause } from '../abort.ts'
import type { Clock } from '../clock.ts'
import type { HostPort } from '../endpoint.ts'

/** A port on 127.0.0.1 that nothing uses now. Another program may take it: then the tunnel fails, and the next start gets another one. */
export async function freeAddress(): Promise<HostPort> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return { host: '127.0.0.1', port }
}

/** The pause between two attempts to connect: at first, and at most. */
const MIN_RETRY_MS = 20
const MAX_RETRY_MS = 250

/**
 * Connects to `address` again and again until something accepts. The connection is for the first login: to the database, one
 * that only closes is a connection error. Resolves also with the moment on `clock` before it began.
 * @param stop ends the attempts
 * @throws the reason of `stop`
 */
export async function firstConnection(
  address: HostPort,
  stop: AbortSignal,
  clock: Clock,
): Promise<{ connection: Socket; connectionSince: number }> {
  for (let retryMs = MIN_RETRY_MS; ; retryMs = Math.min(retryMs * 1.5, MAX_RETRY_MS)) {
    stop.throwIfAborted()
    const connectionSince = clock.now()
    const socket = connect({ ...address, allowHalfOpen: true, noDelay: true, keepAlive: true })
    // Until the login listens, nobody else does.
    socket.on('error', () => {})
    try {
      await once(socket, 'connect', { signal: stop })
      // Linux may connect a socket to itself if nothing listens on a port of the range for outgoing connections.
      if (socket.localPort !== address.port) return { connection: socket, connectionSince }
    } catch {
      // Nothing listens there yet.
    }
    socket.destroy()
    await pause(retryMs, clock, stop)
  }
}
