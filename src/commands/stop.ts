/** `mysql-iam-proxy stop`: a running proxy stops, as at SIGTERM. */
import { formatDuration } from '../duration.ts'
import { askToStop, type FoundProxy } from '../net/control.ts'

/** Resolves when the process of the proxy has exited. @param say progress, for people */
export async function stopProxy(
  { address, pid, sessions, drainMs }: FoundProxy,
  say: (text: string) => void,
  stop: AbortSignal,
): Promise<void> {
  if (sessions > 0) {
    const count = sessions === 1 ? '1 session has' : `${sessions} sessions have`
    say(`Proxy ${pid} stops: ${count} ${formatDuration(drainMs)} to finish transactions.`)
  }
  await askToStop(address, stop)
  say(`Proxy ${pid} has stopped.`)
}
