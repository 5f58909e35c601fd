/** What `config check` and every start require of a configuration. */
import type { Config } from '../config/load.ts'
import { invalidConfig } from '../config/mistakes.ts'
import { collect, endpointsFrom } from '../config/proxy-options.ts'
import { formatListen, parseListen } from '../endpoint.ts'
import type { Logger } from '../log.ts'
import { probeListen } from '../net/listen.ts'
import { readAdminSettings } from './start-admin.ts'

/**
 * Reads the files that options name, and checks how all of it fits together.
 * @param more adds mistakes that only the caller looks for
 * @throws ProxyError CONFIG_INVALID, with every mistake and its place
 */
export async function checkConfig(
  config: Config,
  log: Logger,
  more: () => Promise<string[]> = async () => [],
): Promise<void> {
  const problems: string[] = []
  await collect(() => readAdminSettings(config.settings, config.names), problems)
  await endpointsFrom(config.endpoints, log, problems)
  problems.push(...(await more()))
  if (problems.length > 0) throw invalidConfig(problems, config.text)
}

/** The addresses that the proxy cannot listen on. One in use is only a warning: the running proxy may use it. */
export async function addressProblems(
  { settings, names, endpoints }: Config,
  warn: (message: string) => void,
): Promise<string[]> {
  const ofProcess = (['admin-listen', 'health-listen'] as const).map(option => ({
    text: settings[option],
    option,
    names,
  }))
  const ofEndpoints = endpoints.map(({ settings, names }) => ({ text: settings.listen, option: 'listen', names }))
  const problems: string[] = []
  for (const { text, option, names } of [...ofProcess, ...ofEndpoints]) {
    if (text === undefined) continue
    const listen = parseListen(text)
    const found = await probeListen(listen)
    if (!found) continue
    const place = names.place(option)
    if (found.isInUse) warn(`${place}: ${formatListen(listen)} is in use, perhaps by the running proxy`)
    else problems.push(`${place}: cannot listen on ${formatListen(listen)}: ${found.why}`)
  }
  return problems
}
