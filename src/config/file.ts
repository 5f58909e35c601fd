/** The configuration file, YAML or JSON: what it gives, and what is wrong in it, with the line. */
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from 'yaml'
import { readText } from '../read-file.ts'
import { didYouMean } from '../text.ts'
import type { LocalUserConfig } from './keys.ts'
import { ENDPOINT_KEYS, FILE_KEYS, LOCAL_USER_KEYS, mayBeInFile, SYNC_KEYS } from './keys.ts'
import { type OptionName, optionNames, optionSpec } from './options.ts'
import type { RawValue, Source } from './settings.ts'

/** What a file gives, before options are checked. */
export interface ConfigFile {
  /** the options at its top */
  source: Source
  localUsers: LocalUserConfig[]
  endpoints: EndpointInFile[]
}

export interface EndpointInFile {
  name: string | undefined
  source: Source
  /** its own; none: those at the top */
  localUsers: LocalUserConfig[]
  /** of its `sync`, where it has one */
  sync: Source | undefined
}

/** A file as it was parsed. */
interface Parsed {
  top: YAMLMap
  /** `FILE:LINE` of a node */
  at(node: unknown): string
}

/**
 * Reads a file; undefined where nothing in it can be used. Adds what is wrong to `mistakes`.
 * @throws ProxyError CONFIG_INVALID where there is no reading it
 */
export async function readConfigFile(path: string, mistakes: string[]): Promise<ConfigFile | undefined> {
  const file = parse(path, await readText('--config', path), mistakes)
  if (!file) return undefined
  checkKeys(file, file.top, [...optionNames.filter(mayBeInFile), ...FILE_KEYS], mistakes)
  return {
    source: sourceOf(file, file.top, mayBeInFile),
    localUsers: localUsersOf(file, file.top, mistakes),
    endpoints: endpointsOf(file, mistakes),
  }
}

function parse(path: string, text: string, mistakes: string[]): Parsed | undefined {
  const lineCounter = new LineCounter()
  const document = parseDocument(text, { lineCounter, uniqueKeys: true })
  for (const error of document.errors) {
    // Its first line; the others draw the place, which may show what else is in the line.
    mistakes.push(`${path}:${error.linePos?.[0].line ?? 1}: ${error.message.split(' at line', 1)[0]}`)
  }
  if (document.errors.length > 0) return undefined
  if (!isMap(document.contents)) {
    mistakes.push(`${path}:1: is not a mapping of options`)
    return undefined
  }
  return {
    top: document.contents,
    at(node) {
      const [start] = (node as Node | undefined)?.range ?? [0]
      return `${path}:${lineCounter.linePos(start).line}`
    },
  }
}

const FOR_THE_WHOLE_PROCESS = new Map<string, string>(
  optionNames
    .filter(name => optionSpec(name).perProcess)
    .map(name => [name, 'is for the whole process, and stands at the top']),
)

function endpointsOf(file: Parsed, mistakes: string[]): EndpointInFile[] {
  const known = [...optionNames.filter(name => mayBeInFile(name) && !optionSpec(name).perProcess), ...ENDPOINT_KEYS]
  return mappingsAt(file, file.top, 'endpoints', mistakes).map(endpoint => {
    checkKeys(file, endpoint, known, mistakes, FOR_THE_WHOLE_PROCESS)
    return {
      name: textAt(endpoint, 'name'),
      source: sourceOf(file, endpoint, mayBeInFile),
      localUsers: localUsersOf(file, endpoint, mistakes),
      sync: syncOf(file, endpoint, mistakes),
    }
  })
}

function syncOf(file: Parsed, map: YAMLMap, mistakes: string[]): Source | undefined {
  const sync = map.get('sync', true)
  if (sync === undefined) return undefined
  if (!isMap(sync)) {
    mistakes.push(`${file.at(sync)}: sync: is not a mapping`)
    return undefined
  }
  checkKeys(file, sync, SYNC_KEYS, mistakes)
  if (!sync.has('target-group-arn')) mistakes.push(`${file.at(sync)}: sync: target-group-arn is missing`)
  return sourceOf(file, sync, option => SYNC_KEYS.includes(option))
}

const IN_PLACE_OF_PASSWORD = new Map([['password', 'no such key; use password-file, password-env or password-hash']])

function localUsersOf(file: Parsed, map: YAMLMap, mistakes: string[]): LocalUserConfig[] {
  const list = map.get('local-users', true)
  if (isSeq(list) && list.items.length === 0)
    mistakes.push(`${file.at(list)}: local-users: is empty; leave it out to let everybody in`)
  return mappingsAt(file, map, 'local-users', mistakes).map(user => {
    checkKeys(file, user, Object.keys(LOCAL_USER_KEYS), mistakes, IN_PLACE_OF_PASSWORD)
    const secrets = ['password-file', 'password-env', 'password-hash'].filter(key => user.has(key))
    const name = textAt(user, 'name')
    if (!name) mistakes.push(`${file.at(user)}: local-users: a user without a name`)
    if (secrets.length !== 1) {
      const what = secrets.length === 0 ? 'needs one of' : 'needs only one of'
      mistakes.push(
        `${file.at(user)}: local user ${name ?? 'without a name'}: ${what} password-file, password-env and password-hash`,
      )
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

/** The mappings in the list under `key`; none where there is no such key. */
function mappingsAt(file: Parsed, map: YAMLMap, key: string, mistakes: string[]): YAMLMap[] {
  const list = map.get(key, true)
  if (list === undefined) return []
  if (isSeq(list) && list.items.every(isMap)) return list.items.filter(isMap)
  mistakes.push(`${file.at(list)}: ${key}: is not a list of mappings`)
  return []
}

/**
 * Adds every key that is not known to `mistakes`, with the nearest that is.
 * @param instead what to say of keys that somebody may expect here
 */
function checkKeys(
  file: Parsed,
  map: YAMLMap,
  known: readonly string[],
  mistakes: string[],
  instead: ReadonlyMap<string, string> = new Map(),
): void {
  for (const { key } of map.items) {
    const name = String(isScalar(key) ? key.value : key)
    if (known.includes(name)) continue
    mistakes.push(`${file.at(key)}: ${name}: ${instead.get(name) ?? `no such key${didYouMean(name, known)}`}`)
  }
}

/** What `map` gives for the options that it may have. */
function sourceOf(file: Parsed, map: YAMLMap, mayHave: (option: OptionName) => boolean): Source {
  return {
    value: option => (mayHave(option) ? givenBy(map.get(option, true)) : undefined),
    label: option => `${file.at(map.get(option, true))}: ${option}`,
  }
}

/** As a flag would have it. What is neither text, number, switch nor a list of such becomes text that no check lets pass. */
function givenBy(node: unknown): RawValue {
  if (node === undefined) return undefined
  if (isSeq(node)) return node.items.map(item => (isScalar(item) ? String(item.value) : ''))
  if (!isScalar(node) || node.value === null) return ''
  return typeof node.value === 'boolean' ? node.value : String(node.value)
}

function textAt(map: YAMLMap, key: string): string | undefined {
  const node = map.get(key, true)
  return isScalar(node) && node.value !== null ? String(node.value) : undefined
}
