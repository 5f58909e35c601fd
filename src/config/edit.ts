/**
 * Adds endpoints to the text of a configuration file, and removes them (pure). All other text stays as it is, with its
 * comments and blanks: the YAML parser only says where the text of a node is.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Document, isMap, isScalar, isSeq, parseDocument, stringify, type YAMLMap, type YAMLSeq } from 'yaml'

/** An endpoint as a mapping of the file. */
export type Entry = Readonly<Record<string, string | boolean | readonly string[]>>

interface Content {
  endpoints?: unknown[] | null
}

/**
 * The text with `entries` at the end of its endpoints.
 * @param text of a file without mistakes; undefined for a new file
 */
export function addEndpoints(text: string | undefined, entries: readonly Entry[]): string {
  const change = (content: Content) => ({ ...content, endpoints: [...(content.endpoints ?? []), ...entries] })
  return edited(text ?? '', change, {
    splice: document => spliceIn(text ?? '', document, entries),
    change: document => {
      const list = document.get('endpoints', true)
      if (isSeq(list)) for (const entry of entries) list.add(document.createNode(entry))
      else document.set('endpoints', document.createNode(entries))
    },
  })
}

/**
 * The text without the endpoint `name`, and the text of that endpoint.
 * @param name or else its RDS endpoint
 */
export function removeEndpoint(text: string, name: string): string {
  const isOther = (entry: unknown) => nameOfEntry(entry) !== name
  const change = (content: Content) => ({ ...content, endpoints: (content.endpoints ?? []).filter(isOther) })
  return edited(text, change, {
    splice: document => spliceOut(text, document, name),
    change: document => {
      const list = document.get('endpoints', true)
      if (isSeq(list)) list.items = list.items.filter(item => isOther(isMap(item) ? item.toJSON() : undefined))
    },
  })
}

/** The endpoints of a file, as its mappings; undefined if the text is not YAML that holds a mapping. */
export function readEntries(text: string): unknown[] | undefined {
  const document = parseDocument(text)
  const content = document.errors.length > 0 ? undefined : (document.toJS() as Content | null)
  if (content === undefined || Array.isArray(content) || typeof content !== 'object') return undefined
  return Array.isArray(content?.endpoints) ? content.endpoints : []
}

/** The endpoint of the file as YAML; undefined if the file has none of that name. */
export function entryText(text: string, name: string): string | undefined {
  const entry = readEntries(text)?.find(each => nameOfEntry(each) === name)
  return entry === undefined ? undefined : toYaml([entry])
}

/** The entries as the list of a file has them. */
export function toYaml(entries: readonly unknown[]): string {
  return stringify(entries, { lineWidth: 0 })
}

/** Whether the file has nothing but an empty list of endpoints. */
export function isWithoutContent(text: string): boolean {
  const document = parseDocument(text)
  const hasComment = /^\s*#/m.test(text)
  return !hasComment && isDeepStrictEqual(document.toJS(), { endpoints: [] })
}

/** Its name, or else its RDS endpoint. */
export function nameOfEntry(entry: unknown): string | undefined {
  const { name, 'rds-endpoint': host } = (entry ?? {}) as Record<string, unknown>
  const found = name ?? host
  return found === undefined ? undefined : String(found)
}

interface Ways {
  /** Changes the text alone; undefined where that is impossible */
  splice(document: Document.Parsed): string | undefined
  /** Changes the nodes. It loses some blanks */
  change(document: Document): void
}

/** The first way whose result says what it must. */
function edited(text: string, change: (content: Content) => Content, ways: Ways): string {
  if (isJson(text)) {
    return `${JSON.stringify(change(JSON.parse(text)), null, indentOf(text))}\n`.replaceAll('\n', lineEndOf(text))
  }
  const document = parseDocument(text)
  const wanted = change((document.toJS() ?? {}) as Content)
  const spliced = ways.splice(document)
  if (spliced !== undefined && says(spliced, wanted)) return spliced
  ways.change(document)
  return document.toString({ lineWidth: 0 }).replaceAll('\n', lineEndOf(text))
}

function says(text: string, wanted: Content): boolean {
  const document = parseDocument(text)
  return document.errors.length === 0 && isDeepStrictEqual(document.toJS(), wanted)
}

function isJson(text: string): boolean {
  if (!/^\s*\{/.test(text)) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** That of the first line with one. */
function indentOf(text: string): string | number {
  return /\n([ \t]+)"/.exec(text)?.[1] ?? 2
}

/** Undefined where the list of endpoints stands in one line. */
function spliceIn(text: string, document: Document.Parsed, entries: readonly Entry[]): string | undefined {
  const end = lineEndOf(text)
  const lines = (indent: number, isSeparate: boolean) => {
    const items = entries.map(entry => indented(toYaml([entry]), indent))
    return items.join(isSeparate ? '\n' : '').replaceAll('\n', end)
  }
  const pair = pairOf(document)
  if (!pair) {
    if (document.contents !== null && !(isMap(document.contents) && !document.contents.flow)) return undefined
    const before = text.trim() === '' ? text : `${withLineEnd(text, end)}${end}`
    return `${before}endpoints:${end}${lines(2, true)}`
  }
  const list = pair.value
  if (isSeq(list) && list.items.length > 0) {
    if (list.flow) return undefined
    const items = itemsOf(text, list)
    if (!items) return undefined
    const last = items.at(-1)!
    const isSeparate = items.length < 2 || /(^|\n)[ \t]*\r?\n/.test(text.slice(items.at(-2)!.end, last.start))
    const before = withLineEnd(text.slice(0, last.end), end)
    return before + (isSeparate ? end : '') + lines(last.dash, isSeparate) + text.slice(last.end)
  }
  // No value, or an empty list: items begin in the next line.
  if (!isScalar(list) && !isSeq(list)) return undefined
  const [, to] = list.range!
  const colon = text.indexOf(':', pair.keyEnd) + 1
  const rest = lineEnd(text, Math.max(to, colon))
  const comment = text.slice(Math.max(to, colon), rest).trim()
  const head = text.slice(0, colon) + (comment && ` ${comment}`) + end
  return head + lines(2, true) + text.slice(rest)
}

function spliceOut(text: string, document: Document.Parsed, name: string): string | undefined {
  const pair = pairOf(document)
  const list = pair?.value
  if (!pair || !isSeq(list) || list.flow) return undefined
  const items = itemsOf(text, list)
  const index = list.items.findIndex(item => isMap(item) && nameOfEntry(item.toJSON()) === name)
  if (!items || index < 0) return undefined
  const { start, end } = items[index]!
  let before = text.slice(0, start)
  const after = text.slice(end)
  // One of the blank lines around it.
  if (/^[ \t]*(\r?\n|$)/.test(after)) before = before.replace(/(\n)[ \t]*\r?\n$/, '$1')
  if (items.length > 1) return before + after
  const colon = text.indexOf(':', pair.keyEnd) + 1
  return `${before.slice(0, colon)} []${before.slice(colon)}${after}`
}

interface Pair {
  value: unknown
  keyEnd: number
}

function pairOf(document: Document.Parsed): Pair | undefined {
  if (!isMap(document.contents)) return undefined
  const found = (document.contents as YAMLMap).items.find(({ key }) => isScalar(key) && key.value === 'endpoints')
  if (!found || !isScalar(found.key)) return undefined
  return { value: found.value, keyEnd: found.key.range![1] }
}

interface Item {
  /** The column of the dash */
  dash: number
  /** The start of its first line, and the end of its last one: also of comments that are indented like its keys */
  start: number
  end: number
}

/** Undefined where an item does not begin its line. */
function itemsOf(text: string, list: YAMLSeq): Item[] | undefined {
  const items: Item[] = []
  for (const item of list.items) {
    const range = (item as { range?: [number, number, number] | null }).range
    if (!range) return undefined
    const dash = text.lastIndexOf('-', range[0] - 1)
    const start = text.lastIndexOf('\n', dash) + 1
    if (text.slice(start, dash).trim() !== '') return undefined
    let end = isLineStart(text, range[1]) ? range[1] : lineEnd(text, range[1])
    for (;;) {
      const comment = /^([ \t]+)#.*(\r?\n|$)/.exec(text.slice(end))
      if (!comment || comment[1]!.length <= dash - start) break
      end += comment[0].length
    }
    items.push({ dash: dash - start, start, end })
  }
  return items
}

function isLineStart(text: string, at: number): boolean {
  return at === 0 || text[at - 1] === '\n'
}

/** The start of the next line. */
function lineEnd(text: string, at: number): number {
  const found = text.indexOf('\n', at)
  return found < 0 ? text.length : found + 1
}

function lineEndOf(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n'
}

function withLineEnd(text: string, end: string): string {
  return text === '' || text.endsWith('\n') ? text : text + end
}

function indented(text: string, by: number): string {
  return text.replace(/^(?=.)/gm, ' '.repeat(by))
}
