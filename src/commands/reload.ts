/** `mysql-iam-proxy reload`: a running proxy reads its configuration again, as at SIGHUP, and says how that went. */
import { ask, errorOf, type FoundProxy } from '../net/control.ts'

/** Resolves with a line for people. @throws ProxyError, the one that kept the proxy from taking the new configuration */
export async function reload({ address, pid, config }: FoundProxy, stop: AbortSignal): Promise<string> {
  const answer = await ask(address, 'reload', stop)
  if ('error' in answer) throw errorOf(answer, `proxy ${pid}: the previous configuration stays active`)
  if (config === null) return `Proxy ${pid} has no configuration file. It read again the files that its options name.`
  return `Proxy ${pid} has read ${config} again. It listens on ${answer.listen.join(', ')}.`
}
