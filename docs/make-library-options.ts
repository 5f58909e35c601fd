/** Writes the table of the library's options into docs/library.md, made from their comments and their checks: npm run docs */
import { readFileSync, writeFileSync } from 'node:fs'
import { OPTION_VALUES } from '../src/option-values.ts'
import type { Reader } from '../src/proxy/option-readers.ts'
import { LIBRARY_OPTIONS } from '../src/proxy/option-table.ts'

const BEGIN = '<!-- begin: npm run docs makes this table -->'
const END = '<!-- end -->'

/** The interfaces that declare the options, by the start of their names. */
const DECLARED = [
  { prefix: '', path: '../src/endpoint.ts', type: 'EndpointOptions' },
  { prefix: '', path: '../src/proxy/options.ts', type: 'ProxyOptions' },
  { prefix: 'tls.', path: '../src/proxy/options.ts', type: 'TlsFiles' },
  { prefix: 'rolesAnywhere.', path: '../src/aws/roles-anywhere-options.ts', type: 'RolesAnywhereOptions' },
  { prefix: 'localUsers[].', path: '../src/client/local-user-options.ts', type: 'LocalUserOptions' },
]

/** `page` with the table of today. */
export function withLibraryOptions(page: string): string {
  const [start, end] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (start < 0 || end < start) throw new Error(`docs/library.md needs the lines "${BEGIN}" and "${END}"`)
  return `${page.slice(0, start + BEGIN.length)}\n\n${libraryOptions()}\n\n${page.slice(end)}`
}

/** The table. */
export function libraryOptions(): string {
  const declared = declarations()
  const rows = Object.keys(LIBRARY_OPTIONS).flatMap(option => {
    const ofOption = new RegExp(`^${option}($|\\.|\\[)`)
    const own = [...declared].filter(([name]) => ofOption.test(name))
    if (own.length === 0) throw new Error(`${option}: its declaration has no comment`)
    return own.map(([name, declaration]) => row(name, readerOf(name), declaration))
  })
  return ['| option | type | default | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n')
}

function row(name: string, { type, range }: Reader<unknown>, { comment, isOptional }: Declaration): string {
  const [meaning = '', ofComment = isOptional ? 'none' : 'required'] = comment.split('. Default: ')
  const shown = range ? `${type}, ${amount(range.min)} to ${amount(range.max)}` : type
  const standard = standardOf(name, range?.default)
  if (standard !== undefined && !ofComment.startsWith(standard)) {
    throw new Error(`${name}: its comment says "Default: ${ofComment}", but the default is ${standard}`)
  }
  return `| \`${name}\` | ${cell(shown)} | ${cell(ofComment)} | ${cell(meaning)} |`
}

function standardOf(name: string, ofRange: number | undefined): string | undefined {
  if (ofRange !== undefined) return amount(ofRange)
  const values = OPTION_VALUES[name as keyof typeof OPTION_VALUES] as { default: string; choices?: unknown } | undefined
  if (values === undefined) return undefined
  return values.choices ? `'${values.default}'` : values.default
}

function amount(value: number): string {
  return value.toLocaleString('en')
}

interface Declaration {
  /** As one line */
  comment: string
  isOptional: boolean
}

/** The declared options and their parts, by their names. */
function declarations(): Map<string, Declaration> {
  const found = new Map<string, Declaration>()
  for (const { prefix, path, type } of DECLARED) {
    const text = readFileSync(new URL(path, import.meta.url), 'utf8')
    const body = text.split(`export interface ${type} `)[1]?.split('\n}')[0] ?? ''
    for (const [, comment = '', name, mark] of body.matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(\w+)(\??):/g)) {
      found.set(`${prefix}${name}`, { comment: comment.replace(/\s*\n\s*\*/g, '').trim(), isOptional: mark === '?' })
    }
  }
  return found
}

function readerOf(name: string): Reader<unknown> {
  const [option = '', part] = name.split(/\[?\]?\./)
  const ofOption = (LIBRARY_OPTIONS as Readonly<Record<string, Reader<unknown>>>)[option]
  const reader = part === undefined ? ofOption : ofOption?.parts?.[part]
  if (!reader) throw new Error(`${name} has no check in src/proxy/option-table.ts`)
  return reader
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;')
}

if (import.meta.filename === process.argv[1]) {
  const path = new URL('library.md', import.meta.url)
  writeFileSync(path, withLibraryOptions(readFileSync(path, 'utf8')))
}
