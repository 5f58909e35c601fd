/** Reports to systemd: ready, reloading, stopping, alive. https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html */
import { spawn } from 'node:child_process'
import { ProxyError } from './errors.ts'

export interface Notifier {
  ready(): void
  reloading(): void
  stopping(): void
  /** Another process reports from now on. */
  replaced(): void
}

/**
 * Node.js cannot write to unix datagram sockets, so systemd's own program does (NotifyAccess=all). Does nothing unless
 * the process was started with Type=notify. With WatchdogSec=, it reports twice in that time from the event loop that serves
 * the sessions: a blocked loop counts as dead.
 */
export function createNotifier(environment: NodeJS.ProcessEnv): Notifier {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = environment
  if (!NOTIFY_SOCKET) return { ready: () => {}, reloading: () => {}, stopping: () => {}, replaced: () => {} }
  const notify = (...what: string[]) => {
    const child = spawn('systemd-notify', [`--pid=${process.pid}`, ...what], { stdio: 'ignore' })
    child.on('error', () => undefined)
    child.unref()
  }
  const isWatched = WATCHDOG_USEC && (!WATCHDOG_PID || WATCHDOG_PID === String(process.pid))
  const timer = isWatched ? setInterval(() => notify('WATCHDOG=1'), Number(WATCHDOG_USEC) / 2_000).unref() : undefined
  return {
    // --pid makes this process the main process of the service, also after an upgrade.
    ready: () => notify('--ready'),
    reloading: () => notify('RELOADING=1'),
    stopping: () => notify('STOPPING=1'),
    replaced: () => clearInterval(timer),
  }
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
