/** The configuration of a process: flags > environment > file > defaults, for one endpoint or several. */
import { stat } from 'node:fs/promises'
import { formatListen, type Listen, parseListen, withoutUser } from '../endpoint.ts'
import type { OptionNames } from '../option-values.ts'
import { combinationProblems } from '../proxy/options.ts'
import { didYouMean, nearest } from '../text.ts'
import type { ConfigText } from './config-text.ts'
import { defaultConfigFile } from './default-file.ts'
import type { ConfigFile, EndpointInFile } from './file.ts'
import { type LocalUserConfig, OF_ONE_ENDPOINT } from './keys.ts'
import { invalidConfig } from './mistakes.ts'
import { COMMAND_NAMES } from './option-spec.ts'
import { isOption, type OptionName, optionNames, optionSpec } from './options.ts'
import {
  environmentSource,
  flagSource,
  namesIn,
  resolve,
  type Settings,
  type Source,
  sourceOfOption,
  unknownVariables,
} from './settings.ts'

export interface Config {
  /** For the whole process */
  settings: Settings
  /** How the process's options were written, for errors */
  names: OptionNames
  endpoints: EndpointConfig[]
  /** Of the file, for errors */
  text: ConfigText | undefined
  /** undefined where there is none */
  defaultFile: DefaultFile | undefined
}

/** The file at the default place. */
export interface DefaultFile {
  path: string
  /** What names the endpoint or another file instead, so that this one is not read; undefined: it is read */
  unusedBecause: string | undefined
  /** Whether other users can write it */
  othersMayWrite: boolean
}

export interface EndpointConfig {
  /** undefined: named after its RDS endpoint */
  name: string | undefined
  settings: Settings
  localUsers: LocalUserConfig[]
  /** For sync-targets of this endpoint, if it has a `sync` */
  sync: SyncConfig | undefined
  /** How its options were written, for errors */
  names: OptionNames
  /** Whether the option was given, with a valid value or not */
  isGiven(option: OptionName): boolean
  /** Of the file, for errors */
  text: ConfigText | undefined
}

/** An endpoint, and what only the checks need to know of it. */
interface Found extends EndpointConfig {
  namePlace: string
  unclear: ReadonlySet<string>
}

export interface SyncConfig {
  settings: Settings
  /** How its options were written, for errors */
  names: OptionNames
}

/**
 * The whole configuration, checked as far as that is possible without reading the files that options name.
 * Without an endpoint and --config, the default file counts.
 * @param endpoints from the command line, each `HOST[:PORT][?OPTION=VALUE&…]`, or the name of an endpoint in the file
 *   instead of the host
 * @param defaults of a command, instead of the options' own. They also come before what the file says of an endpoint, if
 *   the endpoint is chosen by its name or the file is the default one: another process may serve that file
 * @throws ProxyError CONFIG_INVALID, with every mistake and its place
 */
export async function loadConfig(
  flags: Readonly<Record<string, unknown>>,
  endpoints: readonly string[],
  environment: NodeJS.ProcessEnv,
  defaults: Readonly<Partial<Record<OptionName, string>>> = {},
): Promise<Config> {
  const problems: string[] = unknownVariables(environment)
  const flagsGiven = flagSource(flags)
  const above = [flagsGiven, environmentSource(environment)]
  const configSource = sourceOfOption(above, 'config')
  const named = configSource?.value('config')?.toString()
  const shorthands = endpoints.map(splitShorthand)
  const defaultFile = await findDefaultFile(environment, above, shorthands)
  const isDefault = defaultFile !== undefined && defaultFile.unusedBecause === undefined
  const path = isDefault ? defaultFile.path : named
  const label = isDefault ? 'default configuration file' : configSource?.place('config')
  const file = path ? await readFileNamed(path, label!, problems) : undefined
  const text = file?.text
  const content = file?.content
  // Without the content of the file, any other report would be false.
  if (file && !content) throw invalidConfig(problems, text)
  const ofCommand: Source = { ...flagsGiven, value: option => defaults[option] }
  const below = content ? [content.source, ofCommand] : [ofCommand]
  const processSources = [...above, ...below]
  const settings = resolve(processSources, problems)
  const names = namesIn(processSources, content?.source ?? flagsGiven)
  const common = content?.localUsers ?? []
  const none: ReadonlySet<string> = new Set()
  const withoutName = { name: undefined, namePlace: '', localUsers: common, sync: undefined, text }

  const found: Found[] = []
  const inFile = content?.endpoints ?? []
  const chosen = new Map<EndpointInFile, Shorthand>()
  const firstPort = settings.port === undefined ? 3306 : Number(settings.port)
  shorthands.forEach((shorthand, index) => {
    const ofFile = inFile.find(one => nameOf(one) === shorthand.endpoint)
    if (ofFile) {
      chosen.set(ofFile, shorthand)
      return
    }
    const sources = [shorthandSource(shorthand, firstPort + index, index > 0, problems), ...processSources]
    const mayBeHost = isHost(shorthand.endpoint) || sourceOfOption(sources, 'region') !== undefined
    if (isDefault || !mayBeHost) {
      problems.push(unknownName(shorthand.shown, path, inFile))
      return
    }
    found.push({
      ...withoutName,
      settings: resolve(sources, problems),
      names: namesIn(sources, flagsGiven),
      isGiven: givenIn(sources),
      unclear: none,
    })
  })
  for (const one of inFile) {
    const { name, namePlace, unclear, source, localUsers, sync } = one
    const shorthand = chosen.get(one)
    if (chosen.size > 0 && !shorthand) continue
    const ownOptions = shorthand ? [optionsSource(shorthand, problems)] : []
    const first = isDefault || shorthand ? [ofCommand] : []
    const sources = [...ownOptions, ...above, ...first, source, ...below]
    found.push({
      name,
      namePlace,
      sync: sync && { settings: resolve([sync, ...sources], problems), names: namesIn([sync, ...sources], sync) },
      settings: resolve(sources, problems),
      localUsers: localUsers.length > 0 ? localUsers : common,
      names: namesIn(sources, source),
      isGiven: givenIn(sources),
      unclear,
      text,
    })
  }
  const isBroken = content?.endpoints?.length === 0 || content?.unclear.has('endpoints')
  if (found.length === 0 && !isBroken && shorthands.length === 0)
    found.push({
      ...withoutName,
      settings,
      names,
      isGiven: givenIn(processSources),
      unclear: content?.unclear ?? none,
    })
  if (found.length > 1) {
    for (const option of OF_ONE_ENDPOINT) {
      const source = sourceOfOption(above, option)
      const isFirstPort = source?.name(option) === '--port' && inFile.length === 0
      if (source && !isFirstPort)
        problems.push(`${source.place(option)}: applies to one database, but there are ${found.length} endpoints`)
    }
  }
  for (const endpoint of found) problems.push(...endpointProblems(endpoint))
  problems.push(...conflicts(found, settings, names, content?.endpoints ? undefined : content?.missingEndpoints))
  if (problems.length > 0) throw invalidConfig(problems, text)
  return { settings, names, endpoints: found, text, defaultFile }
}

/** The default file, if it exists and can be seen. Without read permission it counts, and reading it is an error. */
async function findDefaultFile(
  environment: NodeJS.ProcessEnv,
  above: readonly Source[],
  shorthands: readonly Shorthand[],
): Promise<DefaultFile | undefined> {
  const path = defaultConfigFile(environment)
  const found = path === undefined ? undefined : await stat(path).catch(() => undefined)
  if (path === undefined || !found?.isFile()) return undefined
  const named = (['config', 'rds-endpoint'] as const).flatMap(
    option => sourceOfOption(above, option)?.place(option) ?? [],
  )
  const host = shorthands.find(({ endpoint }) => isHost(endpoint))
  return {
    path,
    unusedBecause: named[0] ?? host?.shown,
    othersMayWrite: process.platform !== 'win32' && (found.mode & 0o022) !== 0,
  }
}

/** Without one of these characters it is a name of the file, or a mistyped command. RDS endpoints have dots. */
function isHost(endpoint: string): boolean {
  return /[.:/]/.test(endpoint)
}

/** Whether the environment or a default file says what to serve, if the command line does not. */
export async function isConfigured(environment: NodeJS.ProcessEnv): Promise<boolean> {
  const above = [environmentSource(environment)]
  const given = (['rds-endpoint', 'config'] as const).some(option => sourceOfOption(above, option) !== undefined)
  return given || (await findDefaultFile(environment, above, [])) !== undefined
}

function nameOf({ name, source }: EndpointInFile): string | undefined {
  return name ?? source.value('rds-endpoint')?.toString()
}

function unknownName(name: string, path: string | undefined, endpoints: readonly EndpointInFile[]): string {
  const names = endpoints.flatMap(one => nameOf(one) ?? [])
  const meant = nearest(name, names) ?? nearest(name, COMMAND_NAMES)
  const suggestion = meant ? `; did you mean ${meant}?` : ''
  if (path === undefined) return `"${name}" is neither a command nor the name of a database host${suggestion}`
  const has = names.length === 0 ? 'has no endpoints' : `has ${names.join(', ')}`
  return `${name}: no such endpoint; ${path} ${has}${suggestion}`
}

/** The file reader and the YAML parser are loaded only for a file. */
async function readFileNamed(path: string, label: string, problems: string[]): Promise<ConfigFile> {
  const { readConfigFile } = await import('./file.ts')
  return await readConfigFile(path, label, problems)
}

function givenIn(sources: readonly Source[]): (option: OptionName) => boolean {
  return option => sourceOfOption(sources, option) !== undefined
}

/** What is wrong with an endpoint by itself, beyond single values. */
function endpointProblems({ settings, localUsers, names }: EndpointConfig): string[] {
  const { listen } = settings
  const rdsEndpoint = settings['rds-endpoint']
  const problems: string[] = [...secretProblems(settings, names), ...duplicateUsers(settings, localUsers)]
  const [cert, key] = [settings['tls-cert'], settings['tls-key']]
  if (cert && !key) problems.push(`${names.place('tls-cert')}: needs ${names.name('tls-key')}`)
  if (key && !cert) problems.push(`${names.place('tls-key')}: needs ${names.name('tls-cert')}`)
  // An invalid value is reported already. A missing one would lead to false reports.
  if (!rdsEndpoint || !listen) return problems
  const local = settings['local-user'] === undefined ? localUsers : [settings['local-user'], ...localUsers]
  const combined = {
    rdsEndpoint,
    region: settings.region,
    listen,
    ca: settings.ca,
    caOnly: settings['ca-only'],
    regionBundle: settings['region-bundle'],
    localUsers: local.length > 0 ? local : undefined,
    tls: cert ?? key,
    localTls: settings['local-tls'],
    requireTls: settings['require-tls'],
    trustNetwork: settings['trust-network'],
  }
  return [...problems, ...combinationProblems(combined, names)]
}

function secretProblems(settings: Settings, names: OptionNames): string[] {
  const given = (['local-password-file', 'local-password'] as const).filter(name => settings[name] !== undefined)
  if (settings['local-user'] === undefined) {
    return given.map(option => `${names.place(option)}: needs ${names.name('local-user')}`)
  }
  if (given.length === 0) return [`${names.place('local-user')}: needs ${names.name('local-password-file')}`]
  if (given.length === 1) return []
  return [`${names.place('local-password-file')}: ${names.name('local-password')} is set as well; use only one of them`]
}

function duplicateUsers(settings: Settings, localUsers: readonly LocalUserConfig[]): string[] {
  const seen = new Set([settings['local-user']])
  return localUsers.flatMap(({ name, place }) => {
    if (name === '' || !seen.has(name)) {
      seen.add(name)
      return []
    }
    return [`${place('name')}: duplicate local user`]
  })
}

/**
 * What several endpoints cannot share, and endpoints without a database.
 * @param missing the report of a file without endpoints
 */
function conflicts(
  endpoints: readonly Found[],
  settings: Settings,
  names: OptionNames,
  missing: string | undefined,
): string[] {
  const problems: string[] = []
  const named = new Set<string>()
  const listening: { listen: Listen; called: string }[] = []
  const checkListener = (text: string, option: string, names: OptionNames, called: string) => {
    const listen = parseListen(text)
    const other = listening.find(other => overlap(other.listen, listen))
    if (other) {
      problems.push(
        `${names.place(option)}: ${other.called} already listens on ${formatListen(other.listen)}; give each its own address`,
      )
    }
    listening.push({ listen, called })
  }
  for (const option of ['admin-listen', 'health-listen'] as const) {
    const address = settings[option]
    if (address) checkListener(address, option, names, names.name(option))
  }
  for (const { name, namePlace, settings, names, isGiven, unclear } of endpoints) {
    const called = `endpoint ${name ?? settings['rds-endpoint'] ?? ''}`.trim()
    if (!isGiven('rds-endpoint') && !unclear.has('rds-endpoint')) {
      problems.push(missing ?? `${names.place('rds-endpoint')} is missing`)
    }
    if (name !== undefined && named.has(name)) problems.push(`${namePlace}: duplicate endpoint name`)
    named.add(name ?? settings['rds-endpoint'] ?? '')
    if (settings.listen && !unclear.has('listen')) checkListener(settings.listen, 'listen', names, called)
  }
  return problems
}

const ALL_ADDRESSES = ['0.0.0.0', '::']

/** Whether only one of two listeners can have its address. */
function overlap(left: Listen, right: Listen): boolean {
  if (!('host' in left && 'host' in right)) return formatListen(left) === formatListen(right)
  if (left.port !== right.port || left.port === 0) return false
  const hosts = [left.host, right.host].map(host => (host === 'localhost' ? '127.0.0.1' : host))
  return hosts[0] === hosts[1] || hosts.some(host => ALL_ADDRESSES.includes(host))
}

/** The shorthand's own names for two options, as in the Cloud SQL Auth Proxy. */
const SHORTHAND = ['port', 'address']

/** Whether the shorthand may give it: it applies to one endpoint, and other users may see it on a command line. */
function isOfOneEndpoint(option: OptionName): boolean {
  const { perProcess, environmentOnly } = optionSpec(option)
  return option !== 'rds-endpoint' && !perProcess && !environmentOnly
}

/** An endpoint of the command line. */
interface Shorthand {
  /** `HOST[:PORT]`, or a name of the file */
  endpoint: string
  options: ReadonlyMap<string, string>
  /** The endpoint for messages, without a password */
  shown: string
}

function splitShorthand(text: string): Shorthand {
  // A driver's URL may have a password in front of the host, with any character in it.
  const start = text.indexOf('?', text.includes('://') ? text.lastIndexOf('@') + 1 : 0)
  const [endpoint, query] = start < 0 ? [text, ''] : [text.slice(0, start), text.slice(start + 1)]
  return { endpoint, options: new Map(new URLSearchParams(query)), shown: withoutUser(endpoint) }
}

/** `HOST[:PORT]?port=3307`. Without a port to listen on, the first endpoint takes 3306, the next one 3307 and so on. */
function shorthandSource(shorthand: Shorthand, port: number, isFurther: boolean, problems: string[]): Source {
  const source = optionsSource(shorthand, problems, port)
  const standard = isFurther ? `127.0.0.1:${port}` : undefined
  return {
    ...source,
    value(option) {
      if (option === 'rds-endpoint') return shorthand.endpoint
      return source.value(option) ?? (option === 'listen' ? standard : undefined)
    },
  }
}

/** The options behind the `?`. @param defaultPort of an `address` without a `port` */
function optionsSource({ options, shown }: Shorthand, problems: string[], defaultPort = 3306): Source {
  for (const key of options.keys()) {
    const isKnown = SHORTHAND.includes(key) || (isOption(key) && isOfOneEndpoint(key))
    if (!isKnown) problems.push(`${shown}: unknown option ${key}${didYouMean(key, optionNames)}`)
  }
  const [port, address] = [options.get('port'), options.get('address')]
  return {
    value(option) {
      if (option !== 'listen') return option === 'rds-endpoint' ? undefined : options.get(option)
      const isGiven = port !== undefined || address !== undefined
      return options.get('listen') ?? (isGiven ? `${address ?? '127.0.0.1'}:${port ?? defaultPort}` : undefined)
    },
    name: option => option,
    place: option => `${shown}: ${option}`,
  }
}
