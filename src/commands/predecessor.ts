/** The process before this one, at an upgrade: it hands over its sockets, and serves its sessions until they end. */
import { Server } from 'node:net'
import { ProxyError } from '../errors.ts'
import type { InheritedSocket } from '../net/listeners.ts'

/** Its value is the process id of the predecessor, so that it means nothing to other programs that inherit it. */
export const PREDECESSOR_VARIABLE = 'UPGRADE_OF_MYSQL_IAM_PROXY'

/** Messages of the new process. */
export type FromSuccessor =
  | { what: 'hello' }
  /** asks for a socket */
  | { what: 'take'; index: number }
  /** it serves: the predecessor stops listening */
  | { what: 'ready' }
  /** it cannot start */
  | { what: 'failed'; message: string; hint: string | undefined }
  /** a signal stops it, so the predecessor must stop too */
  | { what: 'stopping' }

/** Messages of the old process. */
export type FromPredecessor =
  | { what: 'sockets'; sockets: InheritedSocket[] }
  /** the socket comes with it */
  | { what: 'taken'; index: number }
  /** how many sessions it still has, with those of its own predecessors */
  | { what: 'draining'; sessions: number }

export interface Predecessor {
  pid: number
  sockets: readonly InheritedSocket[]
  /** Takes over a socket. It accepts clients at once. @throws ProxyError UPGRADE_FAILED if the predecessor has exited */
  take(index: number): Promise<Server>
  /** This process serves. */
  ready(): void
  failed(error: ProxyError): Promise<void>
  /** The sessions that it and its own predecessors still have. */
  sessions(): number
  /** Lets it end its sessions as this process ends its own. */
  stop(): void
  /** Resolves when its process has exited. */
  gone: Promise<void>
}

/** The channel to the parent process; `process` has these members. */
export interface ParentChannel {
  ppid: number
  pid: number
  env: NodeJS.ProcessEnv
  connected: boolean
  send?: ((message: FromSuccessor, done: () => void) => boolean) | undefined
  on(event: 'message', listener: (message: FromPredecessor, handle: unknown) => void): unknown
  once(event: 'disconnect', listener: () => void): unknown
  channel?: { unref(): void } | undefined
}

/** undefined for a process that replaces none. */
export async function connectPredecessor(
  parent: ParentChannel = process as unknown as ParentChannel,
): Promise<Predecessor | undefined> {
  const { env, ppid } = parent
  const isSuccessor = env[PREDECESSOR_VARIABLE] === String(ppid) && parent.connected && parent.send
  delete env[PREDECESSOR_VARIABLE]
  if (!isSuccessor) return undefined
  // The predecessor cannot know the process id that the sockets of systemd are for.
  if (env['LISTEN_FDS'] !== undefined) env['LISTEN_PID'] = String(parent.pid)

  const send = (message: FromSuccessor) =>
    new Promise<void>(resolve => {
      if (parent.connected && parent.send) parent.send(message, () => resolve())
      else resolve()
    })
  const gone = new Promise<void>(resolve => parent.once('disconnect', resolve))
  const taken = new Map<number, (server: Server) => void>()
  let sessions = 0
  let greeted: (sockets: InheritedSocket[]) => void
  const greeting = new Promise<InheritedSocket[]>(resolve => {
    greeted = resolve
  })
  parent.on('message', (message, handle) => {
    if (message.what === 'sockets') greeted(message.sockets)
    if (message.what === 'taken' && handle instanceof Server) taken.get(message.index)?.(handle)
    if (message.what === 'draining') sessions = message.sessions
  })
  void send({ what: 'hello' })
  const sockets = await Promise.race([greeting, gone])
  if (!sockets) return undefined
  return {
    pid: ppid,
    sockets,
    async take(index) {
      const arrived = new Promise<Server>(resolve => taken.set(index, resolve))
      void send({ what: 'take', index })
      const server = await Promise.race([arrived, gone])
      if (!server)
        throw new ProxyError('UPGRADE_FAILED', 'the previous process exited before it handed over its sockets')
      return server
    },
    ready() {
      void send({ what: 'ready' })
      parent.channel?.unref() // its life does not depend on the other process any more
    },
    failed: ({ message, hint }) => send({ what: 'failed', message, hint }),
    sessions: () => (parent.connected ? sessions : 0),
    stop: () => void send({ what: 'stopping' }),
    gone,
  }
}
