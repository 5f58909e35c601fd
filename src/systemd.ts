/** Telling systemd how things are. https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html */
import { spawn } from 'node:child_process'

export interface Notifier {
  ready(): void
  reloading(): void
  stopping(): void
}

/**
 * Node.js can't write to unix datagram sockets, so systemd's own program does (NotifyAccess=all). Says nothing where
 * the process was not started with Type=notify. Where WatchdogSec= is set, a sign of life goes out twice in that time, from
 * the event loop that serves the sessions.
 */
export function createNotifier(environment: NodeJS.ProcessEnv): Notifier {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = environment
  if (!NOTIFY_SOCKET) return { ready: () => {}, reloading: () => {}, stopping: () => {} }
  const notify = (...what: string[]) => {
    const child = spawn('systemd-notify', [`--pid=${process.pid}`, ...what], { stdio: 'ignore' })
    child.on('error', () => undefined)
    child.unref()
  }
  const isWatched = WATCHDOG_USEC && (!WATCHDOG_PID || WATCHDOG_PID === String(process.pid))
  if (isWatched) setInterval(() => notify('WATCHDOG=1'), Number(WATCHDOG_USEC) / 2_000).unref()
  return {
    ready: () => notify('--ready'),
    reloading: () => notify('RELOADING=1'),
    stopping: () => notify('STOPPING=1'),
  }
}
