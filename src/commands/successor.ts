/** The process that replaces this one at an upgrade: it starts from the program's path, and takes over the sockets. */
import { spawn } from 'node:child_process'
import type { Server } from 'node:net'
import { type Clock, monotonicClock } from '../clock.ts'
import { formatListen } from '../endpoint.ts'
import { ProxyError, systemCode } from '../errors.ts'
import { type Listener, openListeners, shareListener } from '../net/listeners.ts'
import { systemdSockets } from '../systemd.ts'
import type { OwnCommand } from './own-command.ts'
import { type FromPredecessor, type FromSuccessor, PREDECESSOR_VARIABLE } from './predecessor.ts'

export interface Successor {
  pid: number
  /** Tells it how many sessions this process still has. */
  report(sessions: number): void
  /** Resolves when this process must end its sessions: the successor stops, or has crashed. */
  over: Promise<'it stops' | 'it has crashed'>
}

/** For the new process to serve. systemd gives a reload 30 s in the example. */
const START_TIMEOUT_MS = 25_000

/** What this process hands over. */
export function socketsToHandOver(): Listener[] {
  return openListeners().filter(({ owner }) => owner !== '')
}

/**
 * Starts the program again and hands over the sockets. Resolves when the new process serves; until then, and if it fails, this
 * process goes on as before.
 * @param stop ends the attempt
 * @throws ProxyError UPGRADE_FAILED
 */
export async function startSuccessor(
  { program, first }: OwnCommand,
  args: readonly string[],
  stop: AbortSignal,
  clock: Clock = monotonicClock,
): Promise<Successor> {
  const listeners = socketsToHandOver()
  const descriptors = systemdSockets()
  const environment: NodeJS.ProcessEnv = { ...process.env, [PREDECESSOR_VARIABLE]: String(process.pid) }
  delete environment['LISTEN_PID']
  delete environment['WATCHDOG_PID'] // the watchdog of systemd follows the new process
  if (descriptors.length === 0) delete environment['LISTEN_FDS']
  const child = spawn(program, [...first, ...args], {
    // The sockets of systemd keep their numbers.
    stdio: ['inherit', 'inherit', 'inherit', ...descriptors, 'ipc'],
    env: environment,
  })
  const say = (message: FromPredecessor, server?: Server) => {
    if (child.connected) child.send(message, server, () => undefined) // it may end at any time
  }
  const taken: Listener[] = []
  let isReady = false
  let tellOver: Successor['over'] extends Promise<infer Why> ? (why: Why) => void : never
  const over: Successor['over'] = new Promise(resolve => {
    tellOver = resolve
  })
  let abort = () => {}
  let cancelTimeout = () => {}
  const served = new Promise<void>((resolve, reject) => {
    const fail = (message: string, hint?: string) => reject(new ProxyError('UPGRADE_FAILED', message, { hint }))
    cancelTimeout = clock.after(START_TIMEOUT_MS, () => {
      child.kill('SIGKILL') // it hangs
      fail(`the new process did not serve within ${START_TIMEOUT_MS / 1_000} s`)
    })
    abort = () => {
      child.kill('SIGTERM')
      fail('this process stops')
    }
    child.on('error', error => fail(`cannot start ${program} (${systemCode(error)})`))
    child.on('exit', (code, signal) => {
      if (isReady) tellOver('it has crashed')
      fail(`the new process ended with ${signal ?? `exit code ${code}`} before it served`)
    })
    child.on('message', (message: FromSuccessor) => {
      switch (message.what) {
        case 'hello': {
          const sockets = listeners.map(({ owner, listen, address }) => ({
            owner,
            listen,
            address: formatListen(address),
          }))
          say({ what: 'sockets', sockets })
          return
        }
        case 'take': {
          const listener = listeners[message.index]
          if (!listener) return
          taken.push(listener)
          say({ what: 'taken', index: message.index }, listener.source)
          return
        }
        case 'ready':
          isReady = true
          resolve()
          return
        case 'failed':
          fail(message.message, message.hint)
          return
        case 'stopping':
          tellOver('it stops')
      }
    })
  })
  stop.addEventListener('abort', abort, { once: true })
  if (stop.aborted) abort()
  try {
    await served
  } finally {
    cancelTimeout()
    stop.removeEventListener('abort', abort)
  }
  for (const listener of taken) shareListener(listener)
  return {
    pid: child.pid!,
    report: sessions => say({ what: 'draining', sessions }),
    over,
  }
}
