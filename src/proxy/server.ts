/** The listener of one endpoint. */
import { createServer, type Server, type Socket } from 'node:net'
import { withoutMapping } from '../address.ts'
import { formatListen, type Listen } from '../endpoint.ts'
import { listenOn } from '../net/listen.ts'
import { closeListener } from '../net/listeners.ts'
import { wakeWatch } from '../wake.ts'
import type { Served } from './served.ts'
import type { Sessions } from './sessions.ts'

export interface ProxyServer {
  /** the address that it listens on, with the real port if 0 was requested */
  address: Listen
  /** stops listening; sessions go on */
  stopListening(): void
  /** the same, but the socket goes on for the server that takes it over: no client is refused meanwhile */
  handOver(): Server
  /** Stops listening, and ends every session as `Sessions.close` does. */
  close(delay: number): Promise<void>
}

/**
 * Starts to listen.
 * @param sessions get the clients
 * @param check throws for an unsafe address; the address of a socket from systemd is known only now
 * @param takeOver the server whose socket to take over, which stops listening
 * @throws ProxyError LISTEN_FAILED, CONFIG_INVALID
 */
export async function startServer(
  listen: Listen,
  { access, endpoint, state }: Served,
  sessions: Sessions,
  check: (address: Listen) => void,
  takeOver?: () => Server,
): Promise<ProxyServer> {
  let isHandedOver = false
  const keepAliveInitialDelay = endpoint.keepalive
  const options = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay }
  const server = createServer(options, socket => {
    wakeWatch.look()
    socket.setKeepAlive(true, keepAliveInitialDelay) // another server may have accepted it
    sessions.serve(socket, addressOf(socket))
  })
  const address = await listenOn(server, listen, state.name, takeOver?.())
  try {
    check(address)
  } catch (error) {
    closeListener(server)
    throw error
  }
  sessions.begin()
  state.address = formatListen(address)
  state.localCertificateExpires = () => access.tls?.expires()
  server.on('error', error => sessions.acceptFailed(error))

  return {
    address,
    stopListening() {
      if (!isHandedOver) closeListener(server)
      sessions.retire()
    },
    handOver() {
      isHandedOver = true
      sessions.retire()
      return server
    },
    async close(delay) {
      if (!isHandedOver) closeListener(server)
      await sessions.close(delay)
    },
  }
}

/** The address for the log and the allow list. IPv4 addresses stay IPv4 on an IPv6 listener. */
function addressOf({ remoteAddress }: Socket): string {
  return remoteAddress === undefined ? 'unix' : withoutMapping(remoteAddress)
}
