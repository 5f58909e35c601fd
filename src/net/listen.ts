/** The socket that clients connect to: a TCP port, or a unix socket for one user alone. */
import { once } from 'node:events'
import { lstat, mkdir, stat, unlink } from 'node:fs/promises'
import { type AddressInfo, connect, type Server } from 'node:net'
import { dirname } from 'node:path'
import { formatListen, type HostPort, type Listen } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { descriptorOf } from '../systemd.ts'

/** Starts to listen; resolves with the address, in which a port 0 has become the real one. @throws ProxyError LISTEN_FAILED, CONFIG_INVALID */
export async function listenOn(server: Server, listen: Listen): Promise<Listen> {
  try {
    if ('systemd' in listen) server.listen({ fd: descriptorOf(listen.systemd) })
    else if ('path' in listen) {
      await prepareSocketPath(listen.path)
      bindPrivately(server, listen.path)
    } else server.listen({ host: listen.host, port: listen.port })
    if (!server.listening) await once(server, 'listening')
  } catch (error) {
    if (error instanceof ProxyError) throw error
    const code = systemCode(error)
    const taken = 'path' in listen ? 'another process listens there' : 'the port is taken'
    const why = code === 'EADDRINUSE' ? taken : code
    throw new ProxyError('LISTEN_FAILED', `cannot listen on ${formatListen(listen)}: ${why}`, { cause: error })
  }
  const address = server.address() as AddressInfo | string
  return typeof address === 'string' ? { path: address } : { host: address.address, port: address.port }
}

/** Mode 0600 from its first moment. */
function bindPrivately(server: Server, path: string): void {
  const before = process.umask(0o177)
  try {
    server.listen({ path }) // binds before it returns
  } finally {
    process.umask(before)
  }
}

/** The directory, for its owner alone where it has to be made; and no socket of a process that is gone. */
async function prepareSocketPath(path: string): Promise<void> {
  const directory = dirname(path)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const { mode, uid } = await stat(directory)
  const othersMayWrite = (mode & 0o022) !== 0 && (mode & 0o1000) === 0
  const isOthers = uid !== process.getuid?.() && uid !== 0
  if (othersMayWrite || isOthers) {
    const why = `others may write in ${directory} and put a socket of their own there; use a directory of mode 0700`
    throw new ProxyError('CONFIG_INVALID', `--listen unix:${path}: ${why}`)
  }
  const found = await lstat(path).catch(() => undefined)
  if (!found) return
  if (!found.isSocket()) throw new ProxyError('LISTEN_FAILED', `cannot listen on unix:${path}: a file is there`)
  if (await isListening({ path })) {
    throw new ProxyError('LISTEN_FAILED', `cannot listen on unix:${path}: another process listens there`)
  }
  await unlink(path)
}

/** Whether somebody takes connections at `address`. @param stop ends the wait for one that says nothing, and counts as no */
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
