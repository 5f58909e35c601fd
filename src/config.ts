/** The configuration of a process: flags > environment > file > defaults, for one endpoint or several. */
import { readFile } from 'node:fs/promises'
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from 'yaml'
import { ProxyError, systemCode } from './errors.ts'
import {
  environmentSource,
  flagSource,
  type Given,
  type OptionName,
  optionNames,
  optionSpec,
  type Settings,
  type Source,
  settle,
  unknownVariables,
} from './options.ts'
import { nearest } from './spelling.ts'

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

/** A local user, and where its password is; exactly one of the three is there. */
export interface LocalUserConfig {
  name: string
  user: string | undefined
  passwordFile: string | undefined
  passwordEnv: string | undefined
  passwordHash: string | undefined
}

/** The keys of a local user in a file, with what each is. */
export const LOCAL_USER_KEYS = {
  name: 'What clients log in as',
  user: 'The database user that it logs in as (default: --user, or else the same name)',
  'password-file': 'A file with its password, or a hash of it as MySQL stores it, on the first line',
  'password-env': 'An environment variable with the same',
  'password-hash': "The hash itself, as mysql-iam-proxy hash-password prints it ('*…', '$A$005$…')",
} as const

/** The keys of a file beside the options. */
export const FILE_KEYS = ['endpoints', 'local-users'] as const
/** The keys of an endpoint in a file beside the options. */
export const ENDPOINT_KEYS = ['name', 'local-users', 'sync'] as const

/** Options that name one database, and so cannot hold for several. */
const OF_ONE_ENDPOINT: readonly OptionName[] = ['rds-endpoint', 'connect', 'listen']

/**
 * The whole configuration, checked.
 * @param endpoints as on the command line, each `HOST[:PORT][?OPTION=VALUE&…]`
 * @throws ProxyError CONFIG_INVALID, naming every mistake with its place
 */
export async function loadConfig(
  flags: Readonly<Record<string, unknown>>,
  endpoints: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<Config> {
  const mistakes: string[] = unknownVariables(environment)
  const above = [flagSource(flags), environmentSource(environment)]
  const path = above.map(({ value }) => value('config')).find(value => value !== undefined)
  const file = path === undefined ? undefined : await readConfigFile(String(path), mistakes)
  const ofFile = file ? [mapSource(file, file.top)] : []
  const settings = settle([...above, ...ofFile], mistakes)
  const common = file ? localUsersOf(file, file.top, mistakes) : []

  const found: EndpointConfig[] = []
  endpoints.forEach((text, index) => {
    const own = shorthandSource(text, index, mistakes)
    found.push({
      name: undefined,
      settings: settle([own, ...above, ...ofFile], mistakes),
      localUsers: common,
      sync: undefined,
    })
  })
  const inFile = file ? endpointsOf(file, mistakes) : []
  for (const map of inFile) {
    const name = textAt(map, 'name')
    const ownUsers = localUsersOf(file!, map, mistakes)
    const sources = [...above, mapSource(file!, map), ...ofFile]
    const localUsers = ownUsers.length > 0 ? ownUsers : common
    const sync = syncOf(file!, map, sources, mistakes)
    found.push({ name, settings: settle(sources, mistakes), localUsers, sync })
  }
  if (found.length === 0) found.push({ name: undefined, settings, localUsers: common, sync: undefined })
  if (found.length > 1) {
    for (const option of OF_ONE_ENDPOINT) {
      const source = above.find(({ value }) => value(option) !== undefined)
      if (source) mistakes.push(`${source.place(option)}: names one database, but there are ${found.length} endpoints`)
    }
  }
  checkEndpoints(found, mistakes)
  if (mistakes.length > 0) {
    const all = [...new Set(mistakes)].sort((left, right) => lineOf(left) - lineOf(right))
    throw new ProxyError('CONFIG_INVALID', all.join(path === undefined ? '; ' : '\n  '))
  }
  return { settings, endpoints: found }
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

/** `HOST[:PORT]?port=3307`: without a port to listen on, the first takes 3306, the next 3307 and so on. */
function shorthandSource(text: string, index: number, mistakes: string[]): Source {
  const [endpoint = '', query = ''] = text.split('?', 2)
  const given = new Map(new URLSearchParams(query))
  for (const key of given.keys()) {
    const isKnown = key in SHORTHAND || (isOption(key) && !optionSpec(key).perProcess && key !== 'rds-endpoint')
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
    place: option => `${endpoint}: ${option}`,
  }
}

/** Of a mistake in the file; what is wrong elsewhere comes first. */
function lineOf(mistake: string): number {
  return Number(/^[^ ]+:(\d+): /.exec(mistake)?.[1] ?? 0)
}

interface ConfigFile {
  path: string
  top: YAMLMap
  /** `FILE:LINE` of a node */
  at(node: unknown): string
}

async function readConfigFile(path: string, mistakes: string[]): Promise<ConfigFile | undefined> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new ProxyError('CONFIG_INVALID', `--config ${path}: ${systemCode(error)}`, { cause: error })
  })
  const lineCounter = new LineCounter()
  const document = parseDocument(text, { lineCounter, uniqueKeys: true })
  const at = (node: unknown) => {
    const [start] = (node as Node | undefined)?.range ?? [0]
    return `${path}:${lineCounter.linePos(start).line}`
  }
  for (const error of document.errors) {
    // Its first line; the others draw the place, which may show what else is in the line.
    mistakes.push(`${path}:${error.linePos?.[0].line ?? 1}: ${error.message.split(' at line', 1)[0]}`)
  }
  if (document.errors.length > 0) return undefined
  if (!isMap(document.contents)) {
    mistakes.push(`${path}:1: is not a mapping of options`)
    return undefined
  }
  const file = { path, top: document.contents, at }
  checkKeys(file, file.top, FILE_KEYS, true, mistakes)
  return file
}

function endpointsOf(file: ConfigFile, mistakes: string[]): YAMLMap[] {
  const list = file.top.get('endpoints', true)
  if (list === undefined) return []
  if (!isSeq(list) || !list.items.every(isMap)) {
    mistakes.push(`${file.at(list)}: endpoints: is not a list of mappings`)
    return []
  }
  const maps = list.items.filter(isMap)
  for (const map of maps) checkKeys(file, map, ENDPOINT_KEYS, false, mistakes)
  return maps
}

/** Every key that is not known, with the nearest that is. */
function checkKeys(
  file: ConfigFile,
  map: YAMLMap,
  others: readonly string[],
  isTop: boolean,
  mistakes: string[],
): void {
  const options = optionNames.filter(name => mayBeInFile(name) && (isTop || !optionSpec(name).perProcess))
  const known = [...options, ...others]
  for (const { key } of map.items) {
    const name = String(isScalar(key) ? key.value : key)
    if (known.includes(name)) continue
    const isElsewhere = !isTop && isOption(name) && optionSpec(name).perProcess
    const why = isElsewhere ? 'is for the whole process, and stands at the top' : 'no such key'
    mistakes.push(`${file.at(key)}: ${name}: ${why}${isElsewhere ? '' : didYouMean(name, known)}`)
  }
}

/** A file does not name another one, nor holds a password. */
export function mayBeInFile(option: OptionName): boolean {
  return option !== 'config' && !optionSpec(option).environmentOnly && isOfRun(option)
}

function isOfRun(option: OptionName): boolean {
  return optionSpec(option).commands?.includes('run') ?? true
}

function mapSource(file: ConfigFile, map: YAMLMap): Source {
  return {
    value: option => (mayBeInFile(option) ? givenBy(map.get(option, true)) : undefined),
    place: option => `${file.at(map.get(option, true))}: ${option}`,
  }
}

/** As a flag would have it. What is neither text, number, switch nor a list of such becomes text that no check lets pass. */
function givenBy(node: unknown): Given {
  if (node === undefined) return undefined
  if (isSeq(node)) return node.items.map(item => (isScalar(item) ? String(item.value) : ''))
  if (!isScalar(node) || node.value === null) return ''
  return typeof node.value === 'boolean' ? node.value : String(node.value)
}

/** The options of sync-targets that a `sync` mapping may have: its own, but for what concerns a run by hand. */
export const SYNC_KEYS = optionNames.filter(name => {
  const { commands } = optionSpec(name)
  const isOfRuns: OptionName[] = ['watch', 'dry-run', 'json']
  return commands?.includes('sync-targets') && !commands.includes('run') && !isOfRuns.includes(name)
})

function syncOf(file: ConfigFile, map: YAMLMap, sources: readonly Source[], mistakes: string[]): Settings | undefined {
  const sync = map.get('sync', true)
  if (sync === undefined) return undefined
  if (!isMap(sync)) {
    mistakes.push(`${file.at(sync)}: sync: is not a mapping`)
    return undefined
  }
  for (const { key } of sync.items) {
    const name = String(isScalar(key) ? key.value : key)
    const isKnown = SYNC_KEYS.some(known => known === name)
    if (!isKnown) mistakes.push(`${file.at(key)}: ${name}: no such key${didYouMean(name, SYNC_KEYS)}`)
  }
  if (!sync.has('target-group-arn')) mistakes.push(`${file.at(sync)}: sync: target-group-arn is missing`)
  const own: Source = {
    value: option => (SYNC_KEYS.includes(option) ? givenBy(sync.get(option, true)) : undefined),
    place: option => `${file.at(sync.get(option, true))}: ${option}`,
  }
  return settle([own, ...sources], mistakes)
}

function localUsersOf(file: ConfigFile, map: YAMLMap, mistakes: string[]): LocalUserConfig[] {
  const list = map.get('local-users', true)
  if (list === undefined) return []
  if (!isSeq(list) || !list.items.every(isMap)) {
    mistakes.push(`${file.at(list)}: local-users: is not a list of mappings`)
    return []
  }
  if (list.items.length === 0)
    mistakes.push(`${file.at(list)}: local-users: is empty; leave it out to let everybody in`)
  return list.items.filter(isMap).map(user => {
    const known = Object.keys(LOCAL_USER_KEYS)
    for (const { key } of user.items) {
      const name = String(isScalar(key) ? key.value : key)
      const hint = name === 'password' ? '; use password-file, password-env or password-hash' : didYouMean(name, known)
      if (!known.includes(name)) mistakes.push(`${file.at(key)}: ${name}: no such key${hint}`)
    }
    const secrets = ['password-file', 'password-env', 'password-hash'].filter(key => user.has(key))
    const name = textAt(user, 'name')
    if (!name) mistakes.push(`${file.at(user)}: local-users: a user without a name`)
    if (secrets.length !== 1) {
      const what = secrets.length === 0 ? 'needs one of' : 'needs only one of'
      mistakes.push(`${file.at(user)}: local user ${name}: ${what} password-file, password-env and password-hash`)
    }
    return {
      name: name ?? '',
      user: textAt(user, 'user'),
      passwordFile: textAt(user, 'password-file'),
      passwordEnv: textAt(user, 'password-env'),
      passwordHash: textAt(user, 'password-hash'),
    }
  })
}

function textAt(map: YAMLMap, key: string): string | undefined {
  const node = map.get(key, true)
  return isScalar(node) && node.value !== null ? String(node.value) : undefined
}

function isOption(name: string): name is OptionName {
  return optionNames.includes(name as OptionName)
}

function didYouMean(name: string, known: readonly string[]): string {
  const found = nearest(name, known)
  return found ? `; did you mean ${found}?` : ''
}
