/** Bounds the connections of the admin listener without refusing new ones. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/**
 * Beyond `max` connections, closes the one whose last request is the oldest. A request counts from its complete headers,
 * so half-sent requests go first, and a probe that sends its request at once gets its answer.
 */
export function limitConnections(server: Server, max: number): void {
  /** oldest request first */
  const sockets = new Set<Socket>()
  server.on('connection', socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    if (sockets.size <= max) return
    const [oldest] = sockets
    oldest?.destroy()
    // 'close' comes later: without this, more connections would be closed instead.
    if (oldest) sockets.delete(oldest)
  })
  server.on('request', ({ socket }) => {
    if (sockets.delete(socket)) sockets.add(socket)
  })
}
