/** `mysql-iam-proxy upgrade`: a new process replaces a running proxy, as at SIGUSR2. */
import { ask, errorOf, type FoundProxy } from '../net/control.ts'

/** Resolves with a line for people when the new process serves. @throws ProxyError, after which the running proxy goes on */
export async function upgradeProxy({ address, pid }: FoundProxy, stop: AbortSignal): Promise<string> {
  const answer = await ask(address, 'upgrade', stop)
  if ('error' in answer) throw errorOf(answer, `proxy ${pid} goes on`)
  if (answer.sessions === 0) return `Process ${answer.pid} serves now.`
  const left = answer.sessions === 1 ? '1 session goes' : `${answer.sessions} sessions go`
  return `Process ${answer.pid} serves now. In process ${pid}, ${left} on.`
}
