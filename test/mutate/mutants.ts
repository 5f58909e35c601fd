/** The small changes to a source file that its tests should notice. */
import { type Node, parse } from 'acorn'

export interface Mutant {
  /** within the JavaScript that `createMutants` was given */
  start: number
  end: number
  replacement: string
  line: number
  /** what stood there, in short */
  original: string
}

/** A node of acorn's tree, with whatever fields its kind has. */
type Tree = Node & Record<string, unknown>

/** An operator, and what takes its place. */
const OPERATORS: Readonly<Record<string, string>> = {
  '<': '<=',
  '<=': '<',
  '>': '>=',
  '>=': '>',
  '===': '!==',
  '!==': '===',
  '+': '-',
  '-': '+',
  '*': '/',
  '/': '*',
  '%': '*',
  '&': '|',
  '|': '&',
  '^': '&',
  '<<': '>>',
  '>>': '<<',
  '>>>': '<<',
  '&&': '||',
  '||': '&&',
  '??': '&&',
  '+=': '-=',
  '-=': '+=',
  '++': '--',
  '--': '++',
}

/** Calls whose arguments are words for people: a changed wording is no fault. */
const FOR_PEOPLE = /^(new (ProxyError|MalformedPacket|Error)|[\w.]*log(ger)?\.\w+)$/

/** @param javascript a module, its types replaced by spaces */
export function createMutants(javascript: string): Mutant[] {
  const mutants: Mutant[] = []
  const text = ({ start, end }: Node) => javascript.slice(start, end)
  const line = (offset: number) => javascript.slice(0, offset).split('\n').length
  const replace = ({ start, end }: { start: number; end: number }, replacement: string) => {
    const original = javascript.slice(start, end)
    if (original !== replacement) mutants.push({ start, end, replacement, line: line(start), original })
  }
  /** The operator between two nodes. */
  const replaceOperator = (left: Node, right: Node, operator: string) => {
    const other = OPERATORS[operator]
    const start = javascript.indexOf(operator, left.end)
    if (other && start < right.start) replace({ start, end: start + operator.length }, other)
  }

  function visit(node: Tree, isForPeople: boolean): void {
    let forPeople = isForPeople
    switch (node.type) {
      case 'ImportDeclaration':
      case 'ExportAllDeclaration':
        return
      case 'BinaryExpression':
      case 'LogicalExpression':
      case 'AssignmentExpression': {
        const operator = String(node['operator'])
        // Text is put together with + as well: a minus there is no likely mistake.
        const isText = operator === '+' && /['"`]/.test(text(node))
        if (!isText) replaceOperator(node['left'] as Node, node['right'] as Node, operator)
        break
      }
      case 'UpdateExpression': {
        const operator = String(node['operator'])
        const argument = node['argument'] as Node
        const start = node['prefix'] ? node.start : argument.end
        replace({ start, end: start + 2 }, OPERATORS[operator]!)
        break
      }
      case 'UnaryExpression':
        if (node['operator'] === '!' || node['operator'] === '-') replace(node, text(node['argument'] as Node))
        break
      case 'IfStatement':
      case 'ConditionalExpression':
        replace(node['test'] as Node, 'true')
        replace(node['test'] as Node, 'false')
        break
      case 'WhileStatement':
      case 'ForStatement':
        // A test that is always true only hangs.
        if (node['test'] && text(node['test'] as Node) !== 'true') replace(node['test'] as Node, 'false')
        break
      case 'ExpressionStatement':
      case 'ThrowStatement':
        replace(node, ';')
        break
      case 'ArrowFunctionExpression':
        if ((node['body'] as Node).type !== 'BlockStatement') replace(node['body'] as Node, 'undefined')
        break
      case 'ArrayExpression':
        if ((node['elements'] as unknown[]).length > 0) replace(node, '[]')
        break
      case 'CallExpression':
      case 'NewExpression': {
        const callee = text(node['callee'] as Node)
        if (callee === 'Math.min') replace(node['callee'] as Node, 'Math.max')
        if (callee === 'Math.max') replace(node['callee'] as Node, 'Math.min')
        forPeople ||= FOR_PEOPLE.test(node.type === 'NewExpression' ? `new ${callee}` : callee)
        break
      }
      case 'Literal':
        visitLiteral(node, forPeople)
        return
      default:
    }
    for (const [key, child] of Object.entries(node)) {
      // A name is no value.
      if (key === 'key' && !node['computed']) continue
      for (const one of Array.isArray(child) ? child : [child]) {
        if (typeof one?.type === 'string') visit(one as Tree, forPeople)
      }
    }
  }

  function visitLiteral(node: Tree, isForPeople: boolean): void {
    const value = node['value']
    if (typeof value === 'number') replace(node, String(value + 1))
    else if (typeof value === 'boolean') replace(node, String(!value))
    else if (typeof value === 'string' && value !== '' && !isForPeople) replace(node, "''")
    else if (node['regex']) {
      const { pattern, flags } = node['regex'] as { pattern: string; flags: string }
      if (pattern.startsWith('^') && pattern.length > 1) replace(node, `/${pattern.slice(1)}/${flags}`)
      if (pattern.endsWith('$') && !pattern.endsWith('\\$')) replace(node, `/${pattern.slice(0, -1)}/${flags}`)
    }
  }

  visit(parse(javascript, { ecmaVersion: 'latest', sourceType: 'module' }) as unknown as Tree, false)
  return mutants
}

/** `javascript` with the one change. */
export function applyMutant(javascript: string, { start, end, replacement }: Mutant): string {
  return javascript.slice(0, start) + replacement + javascript.slice(end)
}

/** What changed, on one line: the name under which equivalent.ts lists a mutant. */
export function describeMutant(javascript: string, { start, end, replacement, original }: Mutant): string {
  const squeeze = (text: string) => text.replace(/\s+/g, ' ').trim()
  const lineStart = javascript.lastIndexOf('\n', start - 1) + 1
  const lineEnd = (javascript.indexOf('\n', end) + javascript.length + 1) % (javascript.length + 1)
  const before = squeeze(javascript.slice(lineStart, start))
  const after = squeeze(javascript.slice(end, lineEnd))
  return `${before.slice(-60)} «${squeeze(original).slice(0, 80)} → ${replacement}» ${after.slice(0, 60)}`.trim()
}
