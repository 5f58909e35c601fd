/** The configuration file, YAML or JSON: its values, and its mistakes with line and column. */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type Scalar,
  visit,
  type YAMLError,
  type YAMLMap,
} from 'yaml'
import { withoutUser } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { readText } from '../read-file.ts'
import { newOptionName } from '../renames.ts'
import { didYouMean, nearest } from '../text.ts'
import { type ConfigText, createConfigText } from './config-text.ts'
import type { LocalUserConfig } from './keys.ts'
import { ENDPOINT_KEYS, FILE_KEYS, kebab, LOCAL_USER_KEYS, mayBeInFile, OF_ONE_ENDPOINT, SYNC_KEYS } from './keys.ts'
import { environmentName, isOption, type OptionName, optionNames, optionSpec } from './options.ts'
import type { RawValue, Source } from './settings.ts'

/** The content of a file, before its options are checked. */
export interface ConfigFile {
  text: ConfigText
  /** undefined where it is not a mapping; then `problems` have the reason */
  content: ConfigContent | undefined
}

export interface ConfigContent {
  /** Keys at the top that a reported mistake explains */
  unclear: ReadonlySet<string>
  /** The options at the top */
  source: Source
  localUsers: LocalUserConfig[]
  /** The report that the file has no such list, where one is needed */
  missingEndpoints: string
  /** undefined where the file has no such list */
  endpoints: EndpointInFile[] | undefined
}

export interface EndpointInFile {
  name: string | undefined
  /** The start of a message about the name */
  namePlace: string
  /** Keys that a reported mistake explains: no value is known, but they are not missing */
  unclear: ReadonlySet<string>
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
 * Reads a file. Adds mistakes to `problems`.
 * @throws ProxyError CONFIG_INVALID if the file is unreadable
 */
export async function readConfigFile(path: string, label: string, problems: string[]): Promise<ConfigFile> {
  const text = await readText(label, path)
  if (text.includes('\0'))
    throw new ProxyError(
      'CONFIG_INVALID',
      `${path}: is not in UTF-8, perhaps in UTF-16, as some editors and PowerShell write; save it as UTF-8`,
    )
  const top = parse(path, text, problems)
  return { text: createConfigText(path, text), content: top && contentOf(top) }
}

function contentOf(top: Mapping): ConfigContent {
  const ofEndpoint = [...OF_ONE_ENDPOINT, ...ENDPOINT_KEYS.filter(key => key !== 'local-users')]
  const elsewhere = new Map(ofEndpoint.map(key => [key, 'describes one database; write it below endpoints']))
  const known = optionNames.filter(option => mayBeInFile(option) && !OF_ONE_ENDPOINT.includes(option))
  const unclear = checkKeys(top, [...known, ...FILE_KEYS], elsewhere)
  return {
    unclear,
    source: mappingSource(top, mayBeInFile),
    localUsers: localUsersOf(top),
    missingEndpoints: `${top.at(top.map)}endpoints is missing; write one mapping for each database below it`,
    endpoints: top.map.has('endpoints') ? endpointsOf(top) : undefined,
  }
}

function parse(path: string, text: string, problems: string[]): Mapping | undefined {
  const lineCounter = new LineCounter()
  const document = parseDocument(text, { lineCounter, uniqueKeys: true, logLevel: 'error' })
  const at = (offset: number) => {
    const { line, col } = lineCounter.linePos(offset)
    return `${path}:${line}:${col}: `
  }
  const errors = onePerLine([...document.errors, ...document.warnings])
  for (const error of errors) {
    const blanks = /^ */.exec(text.slice(error.pos[0]))![0].length
    problems.push(at(error.pos[0] + blanks) + explainYamlError(error, text))
  }
  visit(document, { Alias: (_key, { range }) => void problems.push(at(range?.[0] ?? 0) + NO_ALIASES) })
  // With another mistake, the tree is not what the author meant.
  if (errors.some(({ code }) => code !== 'DUPLICATE_KEY' && code !== 'BAD_ALIAS')) return undefined
  if (!isMap(document.contents)) {
    const what = document.contents === null ? 'is empty' : 'is not a mapping of options'
    problems.push(`${at(0)}the file ${what}; begin with endpoints:`)
    return undefined
  }
  const atNode = (node: unknown) => at((node as Node | undefined)?.range?.[0] ?? 0)
  return { map: document.contents, at: atNode, report: (node, message) => problems.push(atNode(node) + message) }
}

/** One mistake often leads to several errors in its line. */
function onePerLine(errors: readonly YAMLError[]): YAMLError[] {
  const lines = new Set<number>()
  return errors.filter(({ linePos }) => {
    const line = linePos?.[0].line ?? 1
    if (lines.has(line)) return false
    lines.add(line)
    return true
  })
}

/** Not with the name of the alias: that may be a password hash. */
const NO_ALIASES = 'YAML aliases are unsupported; a value that begins with * needs quotes'

const WRONG_INDENTATION =
  'wrong indentation: the keys of a mapping, and the entries of a list, begin in the same column'

/** Without the lines behind the first of the message, which show the file and so perhaps a secret. */
function explainYamlError({ code, message, pos }: YAMLError, text: string): string {
  switch (code) {
    case 'BAD_ALIAS':
      return NO_ALIASES
    case 'TAB_AS_INDENT':
      return 'indent with spaces, not with tabs'
    case 'DUPLICATE_KEY':
      return `${/^["']?([\w-]+)/.exec(text.slice(pos[0]))?.[1] ?? 'this'}: duplicate key`
    case 'BAD_INDENT':
      return WRONG_INDENTATION
    case 'BLOCK_AS_IMPLICIT_KEY':
      return 'wrong indentation, or a value that contains ": " and needs quotes'
    case 'TAG_RESOLVE_FAILED':
      return 'YAML tags are unsupported; a value that begins with ! needs quotes'
    case 'MULTIPLE_DOCS':
      return 'the file has several documents; remove the --- between them'
    default:
      if (message.startsWith('Sequence item without')) return WRONG_INDENTATION
      return message.split(' at line', 1)[0]!
  }
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

function endpointsOf(top: Mapping): EndpointInFile[] {
  const list = top.map.get('endpoints', true)
  if (isSeq(list) && list.items.length === 0)
    top.report(list, 'endpoints: is empty; write one mapping for each database')
  return mappingsAt(top, 'endpoints').map(endpointOf)
}

function endpointOf({ map, ...parent }: Mapping, index: number): EndpointInFile {
  const name = textAt(map, 'name')
  // A URL that was given as the endpoint may hold a password.
  const called = name ?? withoutUser(textAt(map, 'rds-endpoint') ?? '')
  const endpoint = within({ map, ...parent }, map, called ? `endpoint ${called}` : `endpoint ${index + 1}`)
  const known = [
    ...optionNames.filter(option => mayBeInFile(option) && !optionSpec(option).perProcess),
    ...ENDPOINT_KEYS,
  ]
  const unclear = checkKeys(endpoint, known, PER_PROCESS)
  if (map.has('name') && !name && !unclear.has('name')) endpoint.report(map.get('name', true), 'name: needs a value')
  return {
    name,
    namePlace: `${endpoint.at(map.get('name', true) ?? map)}name`,
    unclear,
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
  const unclear = checkKeys(mapping, SYNC_KEYS)
  if (!sync.has('target-group-arn') && !unclear.has('target-group-arn'))
    mapping.report(sync, 'target-group-arn is missing')
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
    const unclear = checkKeys(user, Object.keys(LOCAL_USER_KEYS), INSTEAD_OF_PASSWORD)
    const ofSecret = ['password-file', 'password-env', 'password-hash']
    const secrets = ofSecret.filter(key => map.has(key))
    if (!name && !unclear.has('name')) user.report(map, 'name is missing')
    if (secrets.length > 1) user.report(map, `needs only one of ${ofSecret.join(', ')}`)
    const isUnclear = ofSecret.some(key => unclear.has(key)) || map.has('password')
    if (secrets.length === 0 && !isUnclear) user.report(map, `needs one of ${ofSecret.join(', ')}`)
    for (const key of secrets) {
      if (!textAt(map, key) && !unclear.has(key)) user.report(map.get(key, true), `${key}: needs a value`)
    }
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
  const why = isMap(list) ? 'is one mapping, not a list; begin its first line with "- "' : 'is not a list of mappings'
  if (!isAlias(list)) parent.report(list, `${key}: ${why}`)
  return []
}

/**
 * Reports every unknown key, with the nearest known one.
 * @param instead messages for keys that a person may expect here
 * @returns the known keys whose values are unclear for a reason that is reported: further reports about them would be false
 */
function checkKeys(
  { map, report }: Mapping,
  known: readonly string[],
  instead: ReadonlyMap<string, string> = new Map(),
): Set<string> {
  const unclear = new Set<string>()
  for (const { key, value } of map.items) {
    const name = String(isScalar(key) ? key.value : key)
    const reportValue = (node: unknown, message: string) => {
      unclear.add(name)
      report(node, `${name}: ${message}`)
    }
    if (!known.includes(name)) {
      const renamed = newOptionName(name)
      const others = [...known, ...instead.keys()]
      const meant = renamed && known.includes(renamed) ? renamed : nearest(kebab(name), others)
      if (meant) unclear.add(meant)
      if (meant !== undefined && meant === renamed) report(key, `${name} is now ${renamed}`)
      else report(key, `${name}: ${instead.get(name) ?? `unknown key${didYouMean(kebab(name), others)}`}`)
    } else if (isAlias(value)) {
      unclear.add(name) // reported as an alias
    } else if (isScalar(value) && hasVariable(value)) {
      reportValue(value, isOption(name) ? `${NO_VARIABLES}; set ${environmentName(name)} instead` : NO_VARIABLES)
    } else if (name === 'allow-from' && isSeq(value) && value.items.length === 0) {
      reportValue(value, 'is empty; remove it to let clients from everywhere in')
    } else if (isOption(name) && (isMap(value) || (isSeq(value) && optionSpec(name).kind !== 'strings'))) {
      reportValue(value, `takes ${optionSpec(name).kind === 'strings' ? 'a list of values' : 'one value'}`)
    }
  }
  return unclear
}

const NO_VARIABLES = 'variables in the file are not replaced'

/** Whether somebody expects `${NAME}` to be replaced. Such a value would only fail later, for example as a user name. */
function hasVariable({ value }: Scalar): boolean {
  return typeof value === 'string' && /\$\{\w+\}/.test(value)
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
  if (!isScalar(node) || hasVariable(node)) return undefined
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
