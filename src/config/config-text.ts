/** The text of a configuration file as errors may show it: without secrets, with a mark under the place of a mistake. */
import { CST, Lexer } from 'yaml'
import { withoutUser } from '../endpoint.ts'
import { nearest } from '../text.ts'
import { ENDPOINT_KEYS, FILE_KEYS, kebab, LOCAL_USER_KEYS, mayBeInFile, SYNC_KEYS } from './keys.ts'
import { optionNames } from './options.ts'

/** What the places in messages refer to. */
export interface ConfigText {
  /** As messages begin with it */
  path: string
  /** Line `line` of the file, and below it a mark under `column`; both count from 1 */
  show(line: number, column: number): string
}

/** A part of the text that is shown as `text`. */
interface Masked {
  start: number
  end: number
  text: string
  /** Nothing else of the line is shown behind it: a secret may go on there */
  endsLine: boolean
}

/** Longer lines are cut around the place. */
const MAX_WIDTH = 120

export function createConfigText(path: string, text: string): ConfigText {
  const lines = text.split('\n')
  let masked: Masked[] | undefined
  return {
    path,
    show(line, column) {
      masked ??= maskedIn(text)
      const start = lines.slice(0, line - 1).reduce((sum, { length }) => sum + length + 1, 0)
      const shown = showLine(lines[line - 1] ?? '', column - 1, start, masked)
      const from = shown.column > MAX_WIDTH / 2 ? shown.column - MAX_WIDTH / 2 : 0
      const part = shown.text.slice(from, from + MAX_WIDTH)
      const gutter = `${line} | `
      return `${gutter}${part}\n${' '.repeat(gutter.length - 2)}| ${' '.repeat(shown.column - from)}^`
    },
  }
}

/** @param column from 0. @param start of the line in the file */
function showLine(line: string, column: number, start: number, masked: readonly Masked[]) {
  let text = ''
  let mark = 0
  let next = 0
  const add = (end: number, instead?: string) => {
    if (column >= next) mark = text.length + (instead === undefined ? Math.min(column, end) - next : 0)
    text += instead ?? line.slice(next, end)
    next = end
  }
  for (const mask of masked) {
    const [from, to] = [Math.max(0, mask.start - start), Math.min(line.length, mask.end - start)]
    if (to <= 0 || from >= line.length || from < next) continue
    add(from)
    add(mask.endsLine ? line.length : to, mask.text)
  }
  if (next < line.length || column >= next) add(line.length)
  // One character for one, so that the mark stays under its place.
  return {
    text: text
      .trimEnd()
      .replaceAll('\t', '→')
      .replace(/\p{Cc}/gu, ' '),
    column: mark,
  }
}

/** A lexer, because a file with a mistake may have no tree. */
function maskedIn(text: string): Masked[] {
  const tokens = tokensOf(text)
  const masked: Masked[] = []
  let key = ''
  let endOfSecret = -1
  tokens.forEach(({ type, source, start }, index) => {
    const end = start + source.length
    if (type === 'comment') masked.push({ start, end, text: '', endsLine: true })
    if (!VALUES.has(type)) return
    const next = tokens.slice(index + 1, index + 3).find(token => token.type !== 'space')
    const previous = tokens.slice(Math.max(0, index - 2), index).findLast(token => token.type !== 'space')
    const isKey = next?.type === 'map-value-ind' && previous?.type !== 'map-value-ind'
    if (isKey && start > endOfSecret) {
      key = type === 'scalar' ? source : source.slice(1, -1)
      return
    }
    if (!mayShow(key)) {
      masked.push({ start, end, text: '…', endsLine: true })
      const endOfLine = text.indexOf('\n', end)
      endOfSecret = endOfLine < 0 ? text.length : endOfLine
      return
    }
    const quote = /^["']/.exec(source)?.[0] ?? ''
    const shown = mayHoldUrl(key, source) ? quote + withoutUser(source.slice(quote.length)) : source
    if (shown !== source) masked.push({ start, end, text: shown, endsLine: false })
  })
  return masked
}

const VALUES = new Set(['scalar', 'single-quoted-scalar', 'double-quoted-scalar', 'alias', 'anchor', 'tag'])

interface Token {
  type: string
  source: string
  start: number
}

/** The lexer announces a plain or block scalar with a character that is not in the text. */
function tokensOf(text: string): Token[] {
  const tokens: Token[] = []
  let start = 0
  let isScalar = false
  for (const source of new Lexer().lex(text)) {
    if (source === CST.DOCUMENT || source === CST.FLOW_END) continue
    if (source === CST.SCALAR) {
      isScalar = true
      continue
    }
    tokens.push({ type: isScalar ? 'scalar' : (CST.tokenType(source) ?? 'scalar'), source, start })
    isScalar = false
    start += source.length
  }
  return tokens
}

const SHOWN_KEYS: readonly string[] = [
  ...optionNames.filter(mayBeInFile),
  ...SYNC_KEYS,
  ...FILE_KEYS,
  ...ENDPOINT_KEYS,
  ...Object.keys(LOCAL_USER_KEYS).filter(key => key !== 'password-hash'),
]

/** Whether the values of a key hold no secret. Of an unknown key, only if it is the misspelled name of such a key. */
function mayShow(key: string): boolean {
  if (SHOWN_KEYS.includes(key)) return true
  return (
    key.length >= 4 &&
    !/pass|pw|secret|token|hash|key|cred|auth/i.test(key) &&
    nearest(kebab(key), SHOWN_KEYS) !== undefined
  )
}

/** Not in a name: that of a user may have an @. */
function mayHoldUrl(key: string, value: string): boolean {
  return value.includes('://') || !['name', 'user', 'profile'].includes(kebab(key))
}
