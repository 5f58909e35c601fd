/** The proxy that `reload` and `stop` mean: the only one of this user, or the one that --pid names. */
import type { Settings } from '../config/settings.ts'
import { ProxyError } from '../errors.ts'
import { type FoundProxy, findProxies } from '../net/control.ts'
import { type ControlFolders, controlFolders } from '../net/control-place.ts'

/** @throws ProxyError PROXY_NOT_FOUND; CONFIG_INVALID if there are several */
export async function runningProxy(
  { pid }: Pick<Settings, 'pid'>,
  folders: ControlFolders = controlFolders(process.env),
): Promise<FoundProxy> {
  const all = await findProxies(folders)
  const found = pid === undefined ? all : all.filter(proxy => String(proxy.pid) === pid)
  const [proxy, ...others] = found
  if (!proxy) {
    const which = pid === undefined ? 'no proxy of this user runs' : `no proxy of this user has the process id ${pid}`
    throw new ProxyError('PROXY_NOT_FOUND', all.length === 0 ? which : `${which}; there are ${shown(all)}`)
  }
  if (others.length > 0) {
    throw new ProxyError('CONFIG_INVALID', `several proxies run; name one with --pid: ${shown(found)}`)
  }
  return proxy
}

function shown(proxies: readonly FoundProxy[]): string {
  return proxies
    .map(({ pid, listen, config }) => `${pid} (${[...listen, ...(config ? [config] : [])].join(', ')})`)
    .join(', ')
}
