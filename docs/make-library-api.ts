/** Prints docs/library-api.md, made from the types that the package exports: npm run docs */
import { fileURLToPath } from 'node:url'
import { SyntaxKind } from 'typescript/unstable/ast'
import {
  API,
  type Checker,
  type Symbol as Named,
  NodeBuilderFlags,
  type Project,
  SymbolFlags,
} from 'typescript/unstable/sync'

const root = fileURLToPath(new URL('..', import.meta.url))

const MODULES = {
  'mysql-iam-proxy': 'src/index.ts',
  'mysql-iam-proxy/sync-targets-lambda': 'src/sync-targets/lambda.ts',
}

/** The order of kinds on the page. */
const KINDS: readonly [title: string, flags: SymbolFlags][] = [
  ['Functions', SymbolFlags.Function],
  ['Values and classes', SymbolFlags.Variable | SymbolFlags.Class],
  ['Types', SymbolFlags.Interface | SymbolFlags.TypeAlias],
]

/** The whole text of docs/library-api.md. */
export function libraryApi(): string {
  const api = new API({ cwd: root })
  try {
    const project = api.updateSnapshot({ openProject: `${root}tsconfig.build.json` }).getProjects()[0]!
    const modules = Object.entries(MODULES).map(([name, path]) => moduleSection(project, name, path))
    return `# API of the library

Generated from the types that the package exports by \`npm run docs\`; do not edit. [library.md](library.md) explains them, and [library-guides.md](library-guides.md) has examples. A member with \`?\` is optional. Options that are \`undefined\` count as absent.

${modules.join('\n\n')}
`
  } finally {
    api.close()
  }
}

function moduleSection({ program, checker }: Project, name: string, path: string): string {
  const module = checker.getSymbolAtLocation(program.getSourceFile(`${root}${path}`)!)!
  const exported = checker
    .getExportsOfModule(module)
    .map(symbol => (symbol.flags & SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol))
    .sort((left, right) => (left.name < right.name ? -1 : 1))
  const page = { checker, names: new Map(exported.map(symbol => [symbol.name, symbol])) }
  const kinds = KINDS.map(([title, flags]) => {
    const sections = exported.filter(symbol => symbol.flags & flags).map(symbol => section(page, symbol))
    return sections.length > 0 ? [`### ${title}`, ...sections].join('\n\n') : ''
  })
  return [`## ${name}`, ...kinds.filter(text => text !== '')].join('\n\n')
}

interface Page {
  checker: Checker
  /** what has a section */
  names: ReadonlyMap<string, Named>
}

function section(page: Page, symbol: Named): string {
  const { checker } = page
  const parts = [`#### ${symbol.name}`, prose(checker, symbol)]
  if (symbol.flags & (SymbolFlags.Interface | SymbolFlags.Class)) parts.push(members(page, symbol))
  else parts.push(`\`\`\`ts\n${signature(checker, symbol)}\n\`\`\``)
  return parts.filter(part => part !== '').join('\n\n')
}

function members(page: Page, symbol: Named): string {
  const { checker, names } = page
  const bases = basesOf(symbol).filter(name => names.has(name))
  const ofBases = new Set(bases.flatMap(name => propertiesOf(page, names.get(name)!).map(({ name }) => name)))
  const rows = propertiesOf(page, symbol)
    .filter(member => !ofBases.has(member.name) && !isInternal(page, member))
    .map(
      member => `| \`${memberName(member)}\` | \`${cell(typeOf(page, member))}\` | ${cell(inLine(checker, member))} |`,
    )
  const inherited = bases.map(name => `Has the members of [${name}](#${name.toLowerCase()}), and these:\n\n`).join('')
  return `${inherited}| member | type | meaning |\n| --- | --- | --- |\n${rows.join('\n')}`
}

/** Without those of Node.js and of JavaScript itself. */
function propertiesOf({ checker }: Page, symbol: Named): Named[] {
  return checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol)).filter(isOurs)
}

/** Not in the declarations either: stripInternal in tsconfig.build.json. */
function isInternal({ checker }: Page, member: Named): boolean {
  return member.getJsDocTags(checker).some(({ name }) => name === 'internal')
}

/** The text of the declaration of a type after extends. */
function basesOf(symbol: Named): string[] {
  const text = textOf(symbol).split('{')[0] ?? ''
  return (/ extends (.*)$/s.exec(text)?.[1] ?? '').split(',').map(name => name.trim())
}

function memberName({ name, flags }: Named): string {
  const shown = name.startsWith('__@') ? `[Symbol.${name.slice(3).split('@')[0]}]` : name
  return flags & SymbolFlags.Optional ? `${shown}?` : shown
}

/** As it is written, unless that names what only the source has. */
function typeOf({ checker, names }: Page, member: Named): string {
  const text = oneLine(textOf(member))
  if (member.flags & SymbolFlags.Method) return text.slice(text.indexOf('('))
  const written = /^[^:]*\??: (.*)$/.exec(text)?.[1] ?? 'typeof '
  const isForeign = written.includes('typeof ') || (/^[A-Z]\w*$/.test(written) && !names.has(written))
  const type = isForeign
    ? checker.typeToString(checker.getTypeOfSymbol(member)!, undefined, NodeBuilderFlags.InTypeAlias)
    : written
  const shown = type.replaceAll('"', "'")
  return member.flags & SymbolFlags.Optional ? shown.replace(/ \| undefined$/, '') : shown
}

function signature(checker: Checker, symbol: Named): string {
  const text = textOf(symbol)
  if (symbol.flags & SymbolFlags.Function) {
    const declared = text.slice(text.indexOf('function'), text.indexOf('{\n')).trim()
    return declared.replace(/\bOneProxy\b/, 'Proxy')
  }
  if (symbol.name === 'ErrorCode')
    return "type ErrorCode = keyof typeof ERRORS // each row of errors.md, such as 'CONFIG_INVALID'"
  if (symbol.flags & SymbolFlags.TypeAlias) return text.slice(text.indexOf('type '))
  const declared = /^\w+: ([^=]+) =/.exec(text)?.[1]
  return `const ${symbol.name}: ${declared ?? checker.typeToString(checker.getTypeOfSymbol(symbol)!)}`
}

/** The comment of a symbol, with a line for each parameter, result and error. */
function prose(checker: Checker, symbol: Named): string {
  const comment = symbol.getDocumentationComment(checker)
  const tags = symbol.getJsDocTags(checker).filter(({ name }) => TAGS[name] !== undefined)
  const lines = tags.map(({ name, text }) => {
    const value = oneLine(partsOf(text))
    return name === 'param' ? `- ${value.replace(/^(\w+) /, '`$1`: ')}` : `- ${TAGS[name]}${value}`
  })
  return [oneLine(comment), lines.join('\n')].filter(part => part !== '').join('\n\n')
}

const TAGS: Readonly<Record<string, string>> = { param: '', returns: 'Returns ', throws: 'Throws ' }

function inLine(checker: Checker, symbol: Named): string {
  return prose(checker, symbol).replace(/\n+- /g, '. ').replaceAll('..', '.')
}

function partsOf(text: unknown): string {
  return Array.isArray(text) ? text.map(part => (part as { text: string }).text).join('') : String(text ?? '')
}

function isOurs(member: Named): boolean {
  return !/node_modules|[\\/]lib\.[\w.]+\.d\.ts$/.test(member.declarations[0]?.path ?? '')
}

/** A declaration as the source has it, without its comment. */
function textOf(symbol: Named): string {
  const node = (symbol.valueDeclaration ?? symbol.declarations[0])?.resolve()
  if (!node) throw new Error(`${symbol.name} has no declaration`)
  const text = node.getText()
  return node.kind === SyntaxKind.PropertySignature ? text.replace(/^readonly /, '').replace(/;$/, '') : text
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim()
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

if (import.meta.filename === process.argv[1]) process.stdout.write(libraryApi())
