/** The configuration of a process: flags > environment > file > defaults, for one endpoint or several. */

import { ProxyError } from '../errors.ts'
import { didYouMean } from '../text.ts'
import type { ConfigFile } from './file.ts'
import type { LocalUserConfig } from './keys.ts'
import { isOption, type OptionName, optionNames, optionSpec } from './options.ts'
import { environmentSource, flagSource, resolve, type Settings, type Source, unknownVariables } from './settings.ts'

export interface Config {
  /** for the whole process */
  settings: Settings
  endpoints: EndpointConfig[]
}

export interface EndpointConfig {
  /** undefined: the RDS endpoint's name is its own */
  name: string | undefined
  settings: Settings
  localUsers: LocalUserConfig[]
  /** the settings of sync-targets for this endpoint, where it has a `sync` */
  sync: Settings | undefined
}

/** Options that name one database, and so cannot hold for several. */
const OF_ONE_ENDPOINT: readonly OptionName[] = ['rds-endpoint', 'connect', 'listen']

/**
 * The whole configuration, checked.
 * @param endpoints as on the command line, each `HOST[:PORT][?OPTION=VALUE&…]`
 * @param defaults of a command, in place of the options' own
 * @throws ProxyError CONFIG_INVALID, naming every mistake with its place
 */
export async function loadConfig(
  flags: Readonly<Record<string, unknown>>,
  endpoints: readonly string[],
  environment: NodeJS.ProcessEnv,
  defaults: Readonly<Partial<Record<OptionName, string>>> = {},
): Promise<Config> {
  const mistakes: string[] = unknownVariables(environment)
  const above = [flagSource(flags), environmentSource(environment)]
  const path = above
    .map(({ value }) => value('config'))
    .find(value => value !== undefined)
    ?.toString()
  const file = path === undefined ? undefined : await readFileNamed(path, mistakes)
  const ofCommand: Source = { value: option => defaults[option], label: option => `--${option}` }
  const below = file ? [file.source, ofCommand] : [ofCommand]
  const settings = resolve([...above, ...below], mistakes)
  const common = file?.localUsers ?? []

  const found: EndpointConfig[] = []
  endpoints.forEach((text, index) => {
    const own = shorthandSource(text, index, mistakes)
    found.push({
      name: undefined,
      settings: resolve([own, ...above, ...below], mistakes),
      localUsers: common,
      sync: undefined,
    })
  })
  for (const { name, source, localUsers, sync } of file?.endpoints ?? []) {
    const sources = [...above, source, ...below]
    found.push({
      name,
      sync: sync && resolve([sync, ...sources], mistakes),
      settings: resolve(sources, mistakes),
      localUsers: localUsers.length > 0 ? localUsers : common,
    })
  }
  if (found.length === 0) found.push({ name: undefined, settings, localUsers: common, sync: undefined })
  if (found.length > 1) {
    for (const option of OF_ONE_ENDPOINT) {
      const source = above.find(({ value }) => value(option) !== undefined)
      if (source) mistakes.push(`${source.label(option)}: names one database, but there are ${found.length} endpoints`)
    }
  }
  checkEndpoints(found, mistakes)
  if (mistakes.length > 0) {
    const all = [...new Set(mistakes)].sort((left, right) => lineOf(left, path) - lineOf(right, path))
    throw new ProxyError('CONFIG_INVALID', all.join(path === undefined ? '; ' : '\n  '))
  }
  return { settings, endpoints: found }
}

/** Only where a file is named, its reader and the YAML parser are loaded. */
async function readFileNamed(path: string, mistakes: string[]): Promise<ConfigFile | undefined> {
  const { readConfigFile } = await import('./file.ts')
  return await readConfigFile(path, mistakes)
}

function checkEndpoints(endpoints: readonly EndpointConfig[], mistakes: string[]): void {
  const addresses = new Set<string>()
  const names = new Set<string>()
  for (const { name, settings } of endpoints) {
    const called = name ?? settings['rds-endpoint'] ?? ''
    if (!settings['rds-endpoint']) mistakes.push(`${name ? `endpoint ${name}: ` : ''}--rds-endpoint is missing`)
    if (names.has(called) && name) mistakes.push(`endpoint ${name}: there are two of this name`)
    const { listen } = settings
    if (addresses.has(listen) && !listen.endsWith(':0')) {
      mistakes.push(`endpoint ${called}: another one listens on ${listen} already; give each a \`listen\` of its own`)
    }
    names.add(called)
    addresses.add(listen)
  }
}

/** The shorthand's own names for two options, as in the Cloud SQL Auth Proxy. */
const SHORTHAND: Record<string, true> = { port: true, address: true }

/** Whether the shorthand may give it: what is for one endpoint, and may be seen on a command line. */
function isOfOneEndpoint(option: OptionName): boolean {
  const { perProcess, environmentOnly } = optionSpec(option)
  return option !== 'rds-endpoint' && !perProcess && !environmentOnly
}

/** `HOST[:PORT]?port=3307`: without a port to listen on, the first takes 3306, the next 3307 and so on. */
function shorthandSource(text: string, index: number, mistakes: string[]): Source {
  const [endpoint = '', query = ''] = text.split('?', 2)
  const given = new Map(new URLSearchParams(query))
  for (const key of given.keys()) {
    const isKnown = Object.hasOwn(SHORTHAND, key) || (isOption(key) && isOfOneEndpoint(key))
    if (!isKnown) mistakes.push(`${endpoint}: no option ${key}${didYouMean(key, optionNames)}`)
  }
  const address = `${given.get('address') ?? '127.0.0.1'}:${given.get('port') ?? 3306 + index}`
  const isDefault = index === 0 && !given.has('port') && !given.has('address')
  const listen = given.get('listen') ?? (isDefault ? undefined : address)
  return {
    value(option) {
      if (option === 'rds-endpoint') return endpoint
      return option === 'listen' ? listen : given.get(option)
    },
    label: option => `${endpoint}: ${option}`,
  }
}

/** Of a mistake in the file; what is wrong elsewhere comes first. */
function lineOf(mistake: string, path: string | undefined): number {
  if (path === undefined || !mistake.startsWith(`${path}:`)) return 0
  return Number.parseInt(mistake.slice(path.length + 1), 10) || 0
}
