/** The socket that clients connect to: a TCP port, a unix socket for one user, or a socket from systemd. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { lstat, mkdir, rename, stat } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { formatListen, type HostPort, type Listen } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { descriptorOf } from '../systemd.ts'
import { claimInherited, keepListener, takeListener } from './listeners.ts'

/**
 * Starts to listen. Resolves with the address; a port 0 is replaced by the real one. Use `closeListener` to stop.
 * @param owner the endpoint that listens, or the name of another listener that an upgrade hands on
 * @param predecessor a server whose socket to take over; it must not be closed after that
 * @throws ProxyError LISTEN_FAILED, CONFIG_INVALID
 */
export async function listenOn(server: Server, listen: Listen, owner = '', predecessor?: Server): Promise<Listen> {
  const configured = formatListen(listen)
  if (predecessor) return takeListener(server, owner, configured, predecessor)
  const inherited = claimInherited(server, owner, configured)
  if (inherited) return inherited
  try {
    if ('systemd' in listen) server.listen({ fd: descriptorOf(listen.systemd) })
    else if ('path' in listen) await bindPath(server, listen.path)
    else server.listen({ host: listen.host, port: listen.port })
    if (!server.listening) await once(server, 'listening')
  } catch (error) {
    if (error instanceof ProxyError) throw error
    const why = whyNotListen(listen, systemCode(error))
    throw new ProxyError('LISTEN_FAILED', `cannot listen on ${configured}: ${why}`, { cause: error })
  }
  const address = addressOf(server, listen)
  keepListener(server, { owner, listen: configured, address })
  return address
}

function addressOf(server: Server, listen: Listen): Listen {
  if ('path' in listen) return listen // the server knows the temporary name
  const address = server.address() as AddressInfo | string | null
  if (address === null) return listen // a unix socket from systemd
  return typeof address === 'string' ? { path: address } : { host: address.address, port: address.port }
}

function whyNotListen(listen: Listen, code: string): string {
  if (code === 'EADDRINUSE') return 'path' in listen ? 'another process listens there' : 'the port is in use'
  if (code === 'EADDRNOTAVAIL') return 'this machine does not have the address (EADDRNOTAVAIL)'
  return code === 'EACCES' ? 'this user may not use the port (EACCES)' : code
}

/** Why the proxy could not listen there; undefined where it could. Uses a port for a moment, and changes no files. */
export async function probeListen(listen: Listen): Promise<{ why: string; isInUse: boolean } | undefined> {
  if ('systemd' in listen) return undefined
  if ('path' in listen) return await probeSocketPath(listen.path)
  const server = createServer()
  try {
    server.listen({ host: listen.host, port: listen.port, exclusive: true })
    await once(server, 'listening')
    return undefined
  } catch (error) {
    const code = systemCode(error)
    return { why: whyNotListen(listen, code), isInUse: code === 'EADDRINUSE' }
  } finally {
    if (server.listening) await new Promise(resolve => server.close(resolve))
  }
}

/**
 * Creates the directory with mode 0700 if it is missing, and replaces the socket of a process that has stopped. The socket has
 * mode 0600 from the first moment. It gets its name afterwards: Node.js removes the name that it has bound when it closes its
 * handle, and after an upgrade another process listens there.
 */
async function bindPath(server: Server, path: string): Promise<void> {
  const directory = dirname(path)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const unsafe = await directoryProblem(directory)
  if (unsafe) throw new ProxyError('CONFIG_INVALID', `cannot listen on unix:${path}: ${unsafe}`)
  const taken = await probeSocketPath(path)
  if (taken) throw new ProxyError('LISTEN_FAILED', `cannot listen on unix:${path}: ${taken.why}`)
  // No longer than the name, because the path of a socket has at most 107 bytes.
  const temporary = join(directory, `.${randomUUID()}`.slice(0, Math.max(basename(path).length, 8)))
  const before = process.umask(0o177)
  try {
    server.listen({ path: temporary }) // binds before it returns
  } finally {
    process.umask(before)
  }
  if (!server.listening) await once(server, 'listening')
  try {
    await rename(temporary, path)
  } catch (error) {
    server.close()
    throw error
  }
}

async function probeSocketPath(path: string): Promise<{ why: string; isInUse: boolean } | undefined> {
  const unsafe = await directoryProblem(dirname(path))
  if (unsafe) return { why: unsafe, isInUse: false }
  const found = await lstat(path).catch(() => undefined)
  if (!found) return undefined
  if (!found.isSocket()) return { why: 'the path exists and is not a socket', isInUse: false }
  return (await isListening({ path })) ? { why: 'another process listens there', isInUse: true } : undefined
}

/** Why sockets in a directory may be those of other users. undefined also for a directory that does not exist yet. */
export async function directoryProblem(directory: string): Promise<string | undefined> {
  const found = await stat(directory).catch(() => undefined)
  if (!found) return undefined
  if (!found.isDirectory()) return `${directory} is not a directory`
  const { mode, uid } = found
  const othersMayWrite = (mode & 0o022) !== 0 && (mode & 0o1000) === 0
  const isOthers = uid !== process.getuid?.() && uid !== 0
  if (!othersMayWrite && !isOthers) return undefined
  return `other users can write to ${directory} and could put their own socket there; use a directory with mode 0700`
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
