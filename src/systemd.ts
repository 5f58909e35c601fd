/** Reports to systemd: ready, reloading, stopping, alive. https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html */
import { spawn } from 'node:child_process'
import { ProxyError } from './errors.ts'

export interface Notifier {
  /** This process is the main one of the service, and serves. Resolves when systemd knows. */
  ready(): Promise<void>
  /** Resolves when systemd knows. */
  reloading(): Promise<void>
  stopping(): void
  /** Another process reports from now on. */
  replaced(): void
}

/** systemd-notify waits up to 5 s until systemd has read the message. */
const SEND_TIMEOUT_MS = 10_000

/**
 * Node.js cannot write to unix datagram sockets, so systemd's own program does (NotifyAccess=all). Does nothing unless
 * the process was started with Type=notify. With WatchdogSec=, it reports twice in that time from the event loop that serves
 * the sessions: a blocked loop counts as dead.
 * @param send runs systemd-notify with these arguments; resolves when it has exited
 */
export function createNotifier(environment: NodeJS.ProcessEnv, send = runSystemdNotify): Notifier {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = environment
  if (!NOTIFY_SOCKET) {
    const nothing = async () => {}
    return { ready: nothing, reloading: nothing, stopping: () => {}, replaced: () => {} }
  }
  // In sequence: a "reloading" that arrives after its "ready" would stay.
  let last: Promise<void> = Promise.resolve()
  let waiting = 0
  const notify = (...what: string[]): Promise<void> => {
    waiting++
    last = last.then(() => send(what)).finally(() => waiting--)
    return last
  }
  const beat = () => {
    if (waiting === 0) void notify('WATCHDOG=1')
  }
  const isWatched = WATCHDOG_USEC && (!WATCHDOG_PID || WATCHDOG_PID === String(process.pid))
  const timer = isWatched ? setInterval(beat, Number(WATCHDOG_USEC) / 2_000).unref() : undefined
  return {
    // --pid makes this process the main process of the service, also after an upgrade. No other message has it: one that is
    // under way during an upgrade would name the old process again.
    ready: () => notify(`--pid=${process.pid}`, '--ready'),
    reloading: () => notify('RELOADING=1'),
    stopping: () => void send(['STOPPING=1']), // at once, because the process may exit before the others are sent
    replaced: () => clearInterval(timer),
  }
}

/** Resolves also if there is no such program. */
function runSystemdNotify(what: readonly string[]): Promise<void> {
  return new Promise(resolve => {
    const child = spawn('systemd-notify', what, { stdio: 'ignore', timeout: SEND_TIMEOUT_MS })
    child.once('error', () => resolve()).once('exit', () => resolve())
    child.unref()
  })
}

/** The first file descriptor that systemd hands over. https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html */
const FIRST_DESCRIPTOR = 3

/** The file descriptors of all sockets from systemd. */
export function systemdSockets(): number[] {
  return Array.from({ length: countSockets() }, (_, index) => FIRST_DESCRIPTOR + index)
}

function countSockets(): number {
  const { LISTEN_PID, LISTEN_FDS } = process.env
  return LISTEN_PID === String(process.pid) ? Number(LISTEN_FDS) : 0
}

/**
 * The file descriptor of a socket from systemd.
 * @param name FileDescriptorName= of the socket unit; '' for the only socket
 * @throws ProxyError CONFIG_INVALID if there is no such socket
 */
export function descriptorOf(name: string): number {
  const names = (process.env['LISTEN_FDNAMES'] ?? '').split(':')
  const count = countSockets()
  const index = name === '' && count === 1 ? 0 : names.indexOf(name)
  if (index < 0 || index >= count) {
    const wanted = name === '' ? 'exactly one socket' : `a socket named ${name}`
    const found = count > 0 ? `${count}, named ${names.join(', ')}` : 'none'
    const message = `systemd must hand over ${wanted}; it handed over ${found}`
    throw new ProxyError('CONFIG_INVALID', message)
  }
  return FIRST_DESCRIPTOR + index
}
