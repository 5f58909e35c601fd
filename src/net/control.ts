/**
 * The control channel of a proxy: a request is one word in a line, and the answer is a line of JSON. It is a unix socket with mode 0600 in a
 * folder with mode 0700, so it gives its user what signals give. On Windows it is a named pipe with a random name, which a
 * file in the profile of the user says. Only the user and administrators can write to such a pipe.
 * https://learn.microsoft.com/en-us/windows/win32/ipc/named-pipe-security-and-access-rights
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { parseListen } from '../endpoint.ts'
import { ERRORS, type ErrorCode } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError, systemCode } from '../errors.ts'
import { allFolders, type ControlFolders } from './control-place.ts'
import { directoryProblem, listenOn } from './listen.ts'
import { closeListener } from './listeners.ts'

/** What a proxy says of itself. */
export interface ControlStatus {
  pid: number
  version: string
  /** the configuration file, absolute; null without one */
  config: string | null
  /** where its endpoints listen */
  listen: string[]
  sessions: number
  /** milliseconds that sessions have to finish when it stops */
  drainMs: number
}

export interface ControlActions {
  status(): ControlStatus
  /** @throws ProxyError; then the previous configuration stays active */
  reload(): Promise<void>
  /** Resolves with the id of the process that has replaced this one. @throws ProxyError; then this process goes on */
  upgrade(): Promise<number>
  stop(): void
}

export type ControlRequest = 'status' | 'reload' | 'upgrade' | 'stop'

/** An answer has an error, or is what the proxy says of itself. */
export type ControlAnswer = ControlStatus | { error: { code: string; message: string; hint: string } }

type FailedAnswer = Extract<ControlAnswer, { error: unknown }>

/** @param where starts the message. The proxy may have another version, and other codes */
export function errorOf({ error: { code, message, hint } }: FailedAnswer, where: string): ProxyError {
  const known = Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'CONFIG_INVALID'
  return new ProxyError(known, `${where}: ${message}`, { hint })
}

export interface Control {
  /** the socket or pipe */
  address: string
  close(): Promise<void>
}

/** In characters. A request is short, an answer lists the addresses of all endpoints. */
const MAX_LINE = 100_000

/** Time for a request to arrive, and for a proxy to answer what takes it no time. */
const ANSWER_TIMEOUT_MS = 30_000

/** For tests: where named pipes are. */
export interface ControlSystem {
  platform: NodeJS.Platform
  /** before the names of pipes */
  pipes: string
}

export const THIS_SYSTEM: ControlSystem = { platform: process.platform, pipes: '\\\\.\\pipe\\' }

/**
 * Opens the channel in the first folder that allows it.
 * @throws ProxyError or a system error of the last folder; an Error if there is none
 */
export async function openControl(
  folders: ControlFolders,
  actions: ControlActions,
  system: ControlSystem = THIS_SYSTEM,
): Promise<Control> {
  let failure: unknown = new Error('no home directory, and no directory for sockets')
  for (const folder of allFolders(folders)) {
    const server = createServer(socket => void answer(socket, actions))
    server.on('error', () => {})
    try {
      await mkdir(folder, { recursive: folder === folders.home, mode: 0o700 }).catch(error => {
        if (systemCode(error) !== 'EEXIST') throw error
      })
      const control =
        system.platform === 'win32' ? await openPipe(server, folder, system) : await openSocket(server, folder)
      server.unref()
      return control
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

async function openSocket(server: Server, folder: string): Promise<Control> {
  const address = join(folder, `${process.pid}.sock`)
  await listenOn(server, parseListen(`unix:${address}`, 'control channel')) // some systems would cut a long path
  return { address, close: () => closeServer(server) } // which removes the socket
}

async function openPipe(server: Server, folder: string, { pipes }: ControlSystem): Promise<Control> {
  const address = `${pipes}mysql-iam-proxy-${randomBytes(16).toString('hex')}`
  const file = join(folder, `${process.pid}.pipe`)
  server.listen(address)
  await once(server, 'listening')
  try {
    await writeFile(file, address, { mode: 0o600 })
  } catch (error) {
    await closeServer(server)
    throw error
  }
  return {
    address,
    async close() {
      await rm(file, { force: true }).catch(() => {})
      await closeServer(server)
    },
  }
}

/** Open connections stay, so that the client of a stop notices the exit of the process. */
async function closeServer(server: Server): Promise<void> {
  closeListener(server)
}

async function answer(socket: Socket, { status, reload, upgrade, stop }: ControlActions): Promise<void> {
  socket.on('error', () => {}).setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy())
  const request = await firstLine(socket)
  socket.setTimeout(0)
  const say = (text: ControlAnswer) => socket.write(`${JSON.stringify(text)}\n`)
  if (request === 'stop') {
    say(status())
    stop()
    return
  }
  // An unknown request, of another version, gets no answer.
  if (request === 'status') say(status())
  if (request === 'reload' || request === 'upgrade') {
    const work = request === 'reload' ? reload() : upgrade()
    // After an upgrade, the answer is about the new process.
    const result = await work.then(
      pid => ({ ...status(), ...(pid === undefined ? {} : { pid }) }),
      thrown => failureOf(asProxyError(thrown)),
    )
    say(result)
  }
  socket.end()
}

function failureOf(error: ProxyError): ControlAnswer {
  return { error: { code: error.code, message: error.message, hint: hintFor(error, {}) } }
}

/** Resolves with the first line; undefined if the connection closes before its end. */
function firstLine(socket: Socket): Promise<string | undefined> {
  return new Promise(resolve => {
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const end = text.indexOf('\n')
      if (end >= 0) resolve(text.slice(0, end))
      else if (text.length > MAX_LINE) socket.destroy()
    })
    socket.once('close', () => resolve(undefined))
  })
}

/** A proxy that answered. */
export interface FoundProxy extends ControlStatus {
  /** its socket or pipe */
  address: string
}

/** The proxies of this user, by process id. Removes what killed proxies have left. */
export async function findProxies(
  folders: ControlFolders,
  { platform }: Pick<ControlSystem, 'platform'> = THIS_SYSTEM,
  uid: number | undefined = process.getuid?.(),
): Promise<FoundProxy[]> {
  const found: FoundProxy[] = []
  for (const folder of allFolders(folders)) {
    // Others could pretend to be a proxy there. root also finds the proxies of a service's user.
    if (platform !== 'win32' && uid !== 0 && (await directoryProblem(folder))) continue
    const names = await readdir(folder).catch(() => [])
    for (const name of names.filter(name => (platform === 'win32' ? /^\d+\.pipe$/ : /^\d+\.sock$/).test(name))) {
      const file = join(folder, name)
      const address = platform === 'win32' ? await readFile(file, 'utf8').catch(() => '') : file
      const answer = await ask(address, 'status').catch(error => {
        if (isLeftOver(error)) return rm(file, { force: true }).catch(() => {})
        return undefined
      })
      if (answer && !('error' in answer)) found.push({ ...answer, address })
    }
  }
  return found.sort((a, b) => a.pid - b.pid)
}

function isLeftOver(error: unknown): boolean {
  return systemCode(error) === 'ECONNREFUSED' || systemCode(error) === 'ENOENT'
}

/**
 * Asks a proxy. A status must come soon; a reload and an upgrade take their time.
 * @param stop ends the wait
 * @throws a system error; ProxyError PROXY_NOT_FOUND if the proxy does not answer
 */
export async function ask(address: string, request: ControlRequest, stop?: AbortSignal): Promise<ControlAnswer> {
  const socket = await openRequest(address, request, stop)
  try {
    if (request === 'status') socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy())
    const line = await firstLine(socket)
    stop?.throwIfAborted()
    return parseAnswer(line)
  } finally {
    socket.destroy()
  }
}

/** Stops a proxy. Resolves when its process has exited. @throws as `ask` does; the reason of `stop`, which ends only the wait */
export async function askToStop(address: string, stop?: AbortSignal): Promise<void> {
  const socket = await openRequest(address, 'stop', stop)
  const closed = new Promise(resolve => socket.once('close', resolve))
  parseAnswer(await firstLine(socket))
  await closed
  stop?.throwIfAborted()
}

async function openRequest(address: string, request: ControlRequest, stop: AbortSignal | undefined): Promise<Socket> {
  const socket = connect({ path: address })
  const end = () => socket.destroy()
  try {
    await once(socket, 'connect', stop ? { signal: stop } : {})
  } catch (error) {
    end()
    throw error
  }
  stop?.addEventListener('abort', end, { once: true })
  socket.once('close', () => stop?.removeEventListener('abort', end)).on('error', () => {})
  socket.write(`${request}\n`)
  return socket
}

function parseAnswer(line: string | undefined): ControlAnswer {
  if (line === undefined) {
    const hint = 'It may have exited, or have another version. Its log says more.'
    throw new ProxyError('PROXY_NOT_FOUND', 'the proxy closed the connection without an answer', { hint })
  }
  return JSON.parse(line)
}
