/** The configuration file that `add` and `remove` change: what is in it, and what a proxy that serves it has to do. */
import { defaultConfigFile } from '../config/default-file.ts'
import { nameOfEntry, readEntries } from '../config/edit.ts'
import { loadConfig } from '../config/load.ts'
import { invalidConfig } from '../config/mistakes.ts'
import type { Settings } from '../config/settings.ts'
import { readIfExists } from '../config/write-file.ts'
import { type HostPort, parseHostPort, parseListen } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { isListening, probeListen } from '../net/listen.ts'
import { shellWord } from '../shell-quote.ts'

export interface EndpointsFile {
  path: string
  /** whether it is at the default place, so that nobody has to name it */
  isDefault: boolean
  /** undefined: there is no file yet */
  text: string | undefined
  names: string[]
}

/** @throws ProxyError CONFIG_INVALID if it is unreadable, or not a mapping */
export async function readEndpointsFile(
  { config }: Pick<Settings, 'config'>,
  environment: NodeJS.ProcessEnv,
): Promise<EndpointsFile> {
  const standard = defaultConfigFile(environment)
  const path = config ?? standard
  if (path === undefined) {
    throw new ProxyError('CONFIG_INVALID', '--config is missing; without a home directory there is no default file')
  }
  const text = await readIfExists(path)
  if (text !== undefined && text.trim() !== '') {
    const { readConfigFile } = await import('../config/file.ts')
    const problems: string[] = []
    const file = await readConfigFile(path, '--config', problems)
    const isEmpty = readEntries(text) !== undefined // only comments, which is no mistake here
    if (!file.content && !isEmpty) throw invalidConfig(problems, file.text)
  }
  const names = (readEntries(text ?? '') ?? []).flatMap(entry => nameOfEntry(entry) ?? [])
  return { path, isDefault: path === standard, text, names }
}

/** The TCP ports that the file gives to its endpoints and to its admin and health listeners. @throws ProxyError CONFIG_INVALID, with every mistake in the file */
export async function portsIn({ path, names }: EndpointsFile): Promise<HostPort[]> {
  if (names.length === 0) return []
  const { settings, endpoints } = await loadConfig({ config: path }, [], {})
  const listens = endpoints.map(endpoint => parseListen(endpoint.settings.listen))
  const others = [settings['admin-listen'], settings['health-listen']].flatMap(text => text ?? [])
  return [
    ...listens.flatMap(listen => ('host' in listen ? [listen] : [])),
    ...others.map(text => parseHostPort(text, 0, 'listen')),
  ]
}

/** Whether another program has the port on this machine. */
export async function isPortTaken(port: number): Promise<boolean> {
  const address = { host: '127.0.0.1', port }
  const found = await probeListen(address)
  return found !== undefined || (await isListening(address))
}

/** The first free port from `first` on that is not in `given`; undefined if there is none. */
export async function nextFreePort(given: ReadonlySet<number>, first = 3306): Promise<number | undefined> {
  for (let port = first; port <= 65_535; port++) {
    if (!given.has(port) && !(await isPortTaken(port))) return port
  }
  return undefined
}

/** The command that serves the file. */
export function startCommand({ path, isDefault }: EndpointsFile): string {
  return isDefault ? 'mysql-iam-proxy' : `mysql-iam-proxy --config ${shellWord(path)}`
}

/** What to do so that a proxy that runs with the file knows the change; '' if none seems to run. */
export async function reloadAdvice(ports: readonly HostPort[]): Promise<string> {
  const isInUse = await Promise.all(ports.map(({ port }) => isPortTaken(port)))
  if (!isInUse.includes(true)) return ''
  return 'A proxy seems to run with this file. Run mysql-iam-proxy reload, so that it reads the file again. Its sessions go on.'
}
