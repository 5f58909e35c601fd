/** The socket that clients connect to: a TCP port, a unix socket for one user, or a socket from systemd. */
import { once } from 'node:events'
import { lstat, mkdir, stat, unlink } from 'node:fs/promises'
import { type AddressInfo, connect, type Server } from 'node:net'
import { dirname } from 'node:path'
import { formatListen, type HostPort, type Listen } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { descriptorOf } from '../systemd.ts'

/**
 * Starts to listen. Resolves with the address; a port 0 is replaced by the real one.
 * @param predecessor a server whose socket to take over; it must not be closed after that
 * @throws ProxyError LISTEN_FAILED, CONFIG_INVALID
 */
export async function listenOn(server: Server, listen: Listen, predecessor?: Server): Promise<Listen> {
  try {
    if (predecessor) server.listen(predecessor)
    else if ('systemd' in listen) server.listen({ fd: descriptorOf(listen.systemd) })
    else if ('path' in listen) {
      await prepareSocketPath(listen.path)
      bindPrivately(server, listen.path)
    } else server.listen({ host: listen.host, port: listen.port })
    if (!server.listening) await once(server, 'listening')
  } catch (error) {
    if (error instanceof ProxyError) throw error
    const code = systemCode(error)
    const taken = 'path' in listen ? 'another process listens there' : 'the port is in use'
    const why = code === 'EADDRINUSE' ? taken : code
    throw new ProxyError('LISTEN_FAILED', `cannot listen on ${formatListen(listen)}: ${why}`, { cause: error })
  }
  const address = server.address() as AddressInfo | string | null
  if (address === null) return listen // a unix socket that was taken over
  return typeof address === 'string' ? { path: address } : { host: address.address, port: address.port }
}

/** Binds with mode 0600 from the first moment. */
function bindPrivately(server: Server, path: string): void {
  const before = process.umask(0o177)
  try {
    server.listen({ path }) // binds before it returns
  } finally {
    process.umask(before)
  }
}

/** Creates the directory with mode 0700 if it is missing, and removes the socket of a process that has stopped. */
async function prepareSocketPath(path: string): Promise<void> {
  const directory = dirname(path)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const { mode, uid } = await stat(directory)
  const othersMayWrite = (mode & 0o022) !== 0 && (mode & 0o1000) === 0
  const isOthers = uid !== process.getuid?.() && uid !== 0
  if (othersMayWrite || isOthers) {
    const why = `other users can write to ${directory} and could put their own socket there; use a directory with mode 0700`
    throw new ProxyError('CONFIG_INVALID', `cannot listen on unix:${path}: ${why}`)
  }
  const found = await lstat(path).catch(() => undefined)
  if (!found) return
  if (!found.isSocket())
    throw new ProxyError('LISTEN_FAILED', `cannot listen on unix:${path}: the path exists and is not a socket`)
  if (await isListening({ path })) {
    throw new ProxyError('LISTEN_FAILED', `cannot listen on unix:${path}: another process listens there`)
  }
  await unlink(path)
}

/** Whether a process accepts connections at `address`. @param stop ends the wait if nothing answers; the result is then false */
export async function isListening(address: HostPort | { path: string }, stop?: AbortSignal): Promise<boolean> {
  const socket = connect(address)
  try {
    await once(socket, 'connect', { signal: stop })
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
