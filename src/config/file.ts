/** The configuration file, YAML or JSON: its values, and its mistakes with line and column. */
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type Scalar, visit, type YAMLMap } from 'yaml'
import { readText } from '../read-file.ts'
import { newOptionName } from '../renames.ts'
import { didYouMean } from '../text.ts'
import type { LocalUserConfig } from './keys.ts'
import { ENDPOINT_KEYS, FILE_KEYS, LOCAL_USER_KEYS, mayBeInFile, SYNC_KEYS } from './keys.ts'
import { isOption, type OptionName, optionNames, optionSpec } from './options.ts'
import type { RawValue, Source } from './settings.ts'

/** The content of a file, before its options are checked. */
export interface ConfigFile {
  /** The options at the top */
  source: Source
  localUsers: LocalUserConfig[]
  /** undefined where the file has no such list */
  endpoints: EndpointInFile[] | undefined
}

export interface EndpointInFile {
  name: string | undefined
  source: Source
  /** Empty: those at the top count */
  localUsers: LocalUserConfig[]
  /** The options of `sync`, where the endpoint has it */
  sync: Source | undefined
}

/** A mapping of the file, and how its mistakes are reported. */
interface Mapping {
  map: YAMLMap
  /** `FILE:LINE:COLUMN: `, and the endpoint where there is one */
  at(node: unknown): string
  report(node: unknown, message: string): void
}

/**
 * Reads a file; undefined where it is not a mapping at all. Adds mistakes to `problems`.
 * @throws ProxyError CONFIG_INVALID if the file is unreadable
 */
export async function readConfigFile(path: string, label: string, problems: string[]): Promise<ConfigFile | undefined> {
  const top = parse(path, await readText(label, path), problems)
  if (!top) return undefined
  checkKeys(top, [...optionNames.filter(mayBeInFile), ...FILE_KEYS])
  return {
    source: mappingSource(top, mayBeInFile),
    localUsers: localUsersOf(top),
    endpoints: top.map.has('endpoints') ? mappingsAt(top, 'endpoints').map(endpointOf) : undefined,
  }
}

function parse(path: string, text: string, problems: string[]): Mapping | undefined {
  const lineCounter = new LineCounter()
  const problemsBefore = problems.length
  const document = parseDocument(text, { lineCounter, uniqueKeys: true })
  for (const error of document.errors) {
    const [start] = error.linePos ?? []
    problems.push(`${path}:${start?.line ?? 1}:${start?.col ?? 1}: ${explainYamlError(error)}`)
  }
  visit(document, {
    Alias(_key, { range }) {
      const { line, col } = lineCounter.linePos(range?.[0] ?? 0)
      problems.push(`${path}:${line}:${col}: ${NO_ALIASES}`)
    },
  })
  if (problems.length > problemsBefore) return undefined
  if (!isMap(document.contents)) {
    problems.push(`${path}:1:1: the file is not a mapping of options`)
    return undefined
  }
  const at = (node: unknown) => {
    const [start] = (node as Node | undefined)?.range ?? [0]
    const { line, col } = lineCounter.linePos(start)
    return `${path}:${line}:${col}: `
  }
  return { map: document.contents, at, report: (node, message) => problems.push(at(node) + message) }
}

/** Not with the name of the alias: that may be a password hash. */
const NO_ALIASES = 'YAML aliases are unsupported; a value that begins with * needs quotes'

/** The first line of the message. The others show the line of the file, which may hold a secret. */
function explainYamlError({ code, message }: { code: string; message: string }): string {
  if (code === 'BAD_ALIAS') return NO_ALIASES
  if (code === 'TAB_AS_INDENT') return 'indent with spaces, not with tabs'
  if (code === 'DUPLICATE_KEY') return 'duplicate key'
  return message.split(' at line', 1)[0]!
}

/** The same mapping of the file, with the endpoint's name in its mistakes. */
function within(parent: Mapping, map: YAMLMap, what: string): Mapping {
  return {
    map,
    at: node => `${parent.at(node)}${what}: `,
    report: (node, message) => parent.report(node, `${what}: ${message}`),
  }
}

const PER_PROCESS = new Map<string, string>(
  optionNames
    .filter(name => optionSpec(name).perProcess)
    .map(name => [name, 'applies to the whole process; move it to the top of the file']),
)

function endpointOf({ map, ...parent }: Mapping, index: number): EndpointInFile {
  const name = textAt(map, 'name')
  const called = name ?? textAt(map, 'rds-endpoint')
  const endpoint = within({ map, ...parent }, map, called ? `endpoint ${called}` : `endpoint ${index + 1}`)
  const known = [
    ...optionNames.filter(option => mayBeInFile(option) && !optionSpec(option).perProcess),
    ...ENDPOINT_KEYS,
  ]
  checkKeys(endpoint, known, PER_PROCESS)
  if (map.has('name') && !name) endpoint.report(map.get('name', true), 'name: needs a value')
  return {
    name,
    source: mappingSource(endpoint, mayBeInFile),
    localUsers: localUsersOf(endpoint),
    sync: syncOf(endpoint),
  }
}

function syncOf(endpoint: Mapping): Source | undefined {
  const sync = endpoint.map.get('sync', true)
  if (sync === undefined) return undefined
  if (!isMap(sync)) {
    endpoint.report(sync, 'sync: is not a mapping')
    return undefined
  }
  const mapping = within(endpoint, sync, 'sync')
  checkKeys(mapping, SYNC_KEYS)
  if (!sync.has('target-group-arn')) mapping.report(sync, 'target-group-arn is missing')
  return mappingSource(mapping, option => SYNC_KEYS.includes(option))
}

const INSTEAD_OF_PASSWORD = new Map([['password', 'unknown key; use password-file, password-env or password-hash']])

function localUsersOf(mapping: Mapping): LocalUserConfig[] {
  const list = mapping.map.get('local-users', true)
  if (isSeq(list) && list.items.length === 0) {
    mapping.report(list, 'local-users: is empty; remove it to let everyone in')
  }
  return mappingsAt(mapping, 'local-users').map(({ map }) => {
    const name = textAt(map, 'name')
    const user = within(mapping, map, name ? `local user ${name}` : 'local user without a name')
    checkKeys(user, Object.keys(LOCAL_USER_KEYS), INSTEAD_OF_PASSWORD)
    const secrets = ['password-file', 'password-env', 'password-hash'].filter(key => map.has(key))
    if (!name) user.report(map, 'name is missing')
    if (secrets.length !== 1) {
      const what = secrets.length === 0 ? 'needs one of' : 'needs only one of'
      user.report(map, `${what} password-file, password-env and password-hash`)
    }
    for (const key of secrets) if (!textAt(map, key)) user.report(map.get(key, true), `${key}: needs a value`)
    return {
      name: name ?? '',
      user: textAt(map, 'user'),
      passwordFile: textAt(map, 'password-file'),
      passwordEnv: textAt(map, 'password-env'),
      passwordHash: textAt(map, 'password-hash'),
      place: key => `${user.at(map.get(key, true) ?? map)}${key}`,
    }
  })
}

/** The mappings in the list under `key`; none where there is no such key. */
function mappingsAt({ map, ...parent }: Mapping, key: string): Mapping[] {
  const list = map.get(key, true)
  if (list === undefined) return []
  if (isSeq(list) && list.items.every(isMap)) return list.items.filter(isMap).map(item => ({ ...parent, map: item }))
  parent.report(list, `${key}: is not a list of mappings`)
  return []
}

/**
 * Reports every unknown key, with the nearest known one.
 * @param instead messages for keys that a person may expect here
 */
function checkKeys(
  { map, report }: Mapping,
  known: readonly string[],
  instead: ReadonlyMap<string, string> = new Map(),
): void {
  for (const { key, value } of map.items) {
    const name = String(isScalar(key) ? key.value : key)
    if (!known.includes(name)) {
      const renamed = newOptionName(name)
      if (renamed && known.includes(renamed)) report(key, `${name} is now ${renamed}`)
      else report(key, `${name}: ${instead.get(name) ?? `unknown key${didYouMean(kebab(name), known)}`}`)
    } else if (isOption(name) && (isMap(value) || (isSeq(value) && optionSpec(name).kind !== 'strings'))) {
      report(value, `${name}: takes ${optionSpec(name).kind === 'strings' ? 'a list of values' : 'one value'}`)
    }
  }
}

/** As options are written here: localUsers and local_users are local-users. */
function kebab(name: string): string {
  return name.replace(/[a-z](?=[A-Z])/g, '$&-').replaceAll('_', '-')
}

/** The options in a mapping. */
function mappingSource({ map, at }: Mapping, mayHave: (option: OptionName) => boolean): Source {
  return {
    value: option => (mayHave(option) ? rawValueOf(option, map.get(option, true)) : undefined),
    name: option => (option === 'local-user' ? 'local-users' : option),
    place: (option, index) => {
      const node = map.get(option, true)
      const item = isSeq(node) && index !== undefined ? node.items[index] : node
      return `${at(item ?? map)}${option}`
    },
  }
}

/** As a flag would have it; '' for no value. checkKeys has reported a list or a mapping where one value belongs. */
function rawValueOf(option: OptionName, node: unknown): RawValue {
  if (node === undefined) return undefined
  const takesSeveral = optionSpec(option).kind === 'strings'
  if (isSeq(node)) return takesSeveral ? node.items.map(item => (isScalar(item) ? textOf(item) : '')) : undefined
  if (!isScalar(node)) return undefined
  return typeof node.value === 'boolean' ? node.value : textOf(node)
}

/** As it is written: 007 stays 007. '' for null. */
function textOf(node: Scalar): string {
  return node.value === null ? '' : (node.source ?? String(node.value))
}

function textAt(map: YAMLMap, key: string): string | undefined {
  const node = map.get(key, true)
  return isScalar(node) ? textOf(node) || undefined : undefined
}
