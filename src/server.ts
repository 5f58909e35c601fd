/** The listener of one endpoint. */
import { once, setMaxListeners } from 'node:events'
import { type AddressInfo, createServer, isIP, type Socket } from 'node:net'
import { formatHostPort, type HostPort } from './endpoint.ts'
import { ProxyError, systemCode } from './errors.ts'
import type { Logger } from './log.ts'
import { runSession } from './session.ts'
import type { Target } from './upstream.ts'

export interface ProxyServer {
  /** the address that it listens on; its port is the real one where 0 was asked for */
  address: HostPort
  /** stops listening, ends every session, and resolves when all are gone */
  close(): Promise<void>
}

/**
 * Starts to listen.
 * @throws ProxyError CONFIG_INVALID for an address that others can reach, LISTEN_FAILED
 */
export async function startServer(listen: HostPort, target: Target, log: Logger): Promise<ProxyServer> {
  if (!isLoopback(listen.host)) {
    const message = `--listen ${formatHostPort(listen)}: only loopback addresses, for whoever reaches the port is in the database`
    throw new ProxyError('CONFIG_INVALID', message)
  }
  const sessions = new Map<Socket, Promise<void>>()
  const stop = new AbortController()
  setMaxListeners(0, stop.signal) // one of each session
  const options = {
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: target.endpoint.keepalive,
  }
  const server = createServer(options, socket => {
    const session = runSession(socket, target, log, stop.signal).finally(() => sessions.delete(socket))
    sessions.set(socket, session)
  })
  server.listen({ host: listen.host, port: listen.port })
  try {
    await once(server, 'listening')
  } catch (error) {
    const code = systemCode(error)
    const why = code === 'EADDRINUSE' ? 'the port is taken' : code
    throw new ProxyError('LISTEN_FAILED', `cannot listen on ${formatHostPort(listen)}: ${why}`, { cause: error })
  }
  // A failed accept (out of file descriptors) concerns that one client.
  server.on('error', error => log.error({ code: systemCode(error) }, `accept failed: ${error.message}`))
  const { address, port } = server.address() as AddressInfo
  return {
    address: { host: address, port },
    async close() {
      server.close()
      stop.abort()
      for (const socket of sessions.keys()) socket.destroy()
      await Promise.all(sessions.values())
    },
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
