/** docs/logs.md lists every line and field: those in the source, and those of real sessions. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Connection } from 'mysql2/promise'
import { test } from 'tap'
import { realServer } from './support/mariadb.ts'
import { connect, startProxy, until } from './support/raw-client.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const page = readFileSync(join(root, 'docs/logs.md'), 'utf8')

/** The text in backticks in a column of all tables of a part of the page. */
function inTables(from: string, to: string, column: number): string[] {
  const part = page.slice(page.indexOf(`\n${from}\n`), page.indexOf(`\n${to}\n`))
  const rows = part.split('\n').filter(line => line.startsWith('| '))
  return rows.flatMap(row => Array.from((row.split(' | ')[column] ?? '').matchAll(/`([^`]+)`/g), match => match[1]!))
}

const documentedMessages = inTables('## Lines', '## Fields', 0)
const documentedFields = new Set(inTables('## Fields', '### How a session ended', 0))

interface LogCall {
  place: string
  /** the names of the first argument; without those of spread objects */
  fields: string[]
  /** with … for values; undefined if it is a variable */
  message: string | undefined
}

/** Every call of a logger. `check` prints steps with an object of the same name. */
function logCalls(): LogCall[] {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  return files
    .filter(path => path.endsWith('.ts') && !path.startsWith('check/') && path !== 'log.ts')
    .flatMap(path => {
      const text = readFileSync(join(root, 'src', path), 'utf8')
      const starts = text.matchAll(/\b\w*[lL]og(?:ger)?(?:\.(?:error|warn|info|debug)|\[level\])\(/g)
      return Array.from(starts, ({ index, 0: start }) => {
        const [fields = '', message = ''] = argumentsAt(text, index + start.length)
        return { place: path, fields: namesIn(fields), message: literal(message) }
      })
    })
}

/** The arguments of a call, from behind its parenthesis. */
function argumentsAt(text: string, start: number): string[] {
  const found = ['']
  const open: string[] = []
  for (let i = start; i < text.length; i++) {
    const character = text[i]!
    const quote = open.at(-1)
    const isText = quote === '`' || quote === "'"
    if (!isText && open.length === 0 && character === ')') break
    if (!isText && open.length === 0 && character === ',') {
      found.push('')
      continue
    }
    if (isText && character === quote) open.pop()
    else if (quote === '`' && character === '$' && text[i + 1] === '{') open.push('$')
    else if (!isText && "`'([{".includes(character) && !(quote === '$' && character === '{' && text[i - 1] === '$'))
      open.push(character)
    else if (!isText && ')]}'.includes(character)) open.pop()
    found.push(found.pop() + character)
  }
  return found.map(argument => argument.trim())
}

/** The names of an object literal; none if `text` is something else. */
function namesIn(text: string): string[] {
  if (!text.startsWith('{')) return []
  return argumentsAt(text.slice(1, -1), 0)
    .filter(property => property !== '' && !property.startsWith('...'))
    .map(property => /^\w+/.exec(property)?.[0] ?? property)
}

/** A text with … for its values; undefined if `text` is something else. */
function literal(text: string): string | undefined {
  if (!/^[`']/.test(text)) return undefined
  let message = ''
  let depth = 0
  for (const part of text.slice(1, -1).split(/(\$?\{|\})/)) {
    if (part === VALUE || (part === '{' && depth > 0)) depth++
    else if (part === '}' && depth > 0) {
      depth--
      if (depth === 0 && !message.endsWith('…')) message += '…'
    } else if (depth === 0) message += part
  }
  return message
}

/** The start of a value in a template. */
const VALUE = '$' + '{'

test('the scan of the source reads arguments as the compiler does', t => {
  const nested = `\`x ${VALUE}f(({ y }) => \`${VALUE}y}\`, ', ')} z\``
  t.same(argumentsAt(`({ a, b: [1, 2] }, ${nested}), c`, 1), ['{ a, b: [1, 2] }', nested])
  t.same(namesIn('{ a, b: [1, 2], ...c, d: { e: 1 } }'), ['a', 'b', 'd'])
  t.same(namesIn('fields'), [])
  t.equal(literal(nested), 'x … z')
  t.equal(literal('error.message'), undefined)
  t.end()
})

test('every log call of the source is in docs/logs.md', t => {
  const calls = logCalls()
  t.ok(calls.length > 25, `${calls.length} calls`)
  for (const { place, fields, message } of calls) {
    if (message !== undefined) t.ok(documentedMessages.includes(message), `${place}: ${message}`)
    for (const field of fields) t.ok(documentedFields.has(field), `${place}: ${field}`)
  }
  t.end()
})

test('every line of docs/logs.md is in the source', t => {
  const source = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.ts'))
    .map(path => readFileSync(join(root, 'src', path), 'utf8'))
    .join('\n')
  const messages = new Set(logCalls().map(({ message }) => message))
  for (const message of documentedMessages) {
    // Some are made before the call: their words are in the source.
    const words = message.split('…').map(part => part.trim())
    t.ok(messages.has(message) || words.every(part => source.includes(part)), message)
  }
  for (const field of documentedFields) t.match(source, new RegExp(`\\b${field}\\b`), field)
  t.end()
})

test('every field of real sessions is in docs/logs.md', async t => {
  const server = await realServer(t)
  const localUsers = ['one', 'two'].map(name => ({ name, password: 'a long password', user: 'iam_user' }))
  const proxy = await startProxy(t, server, { localUsers, allowFrom: ['127.0.0.1'], maxConnections: 1 })
  const login = { user: 'one', password: 'a long password' }
  await t.rejects(connect(proxy, { ...login, password: 'wrong' }))
  await until('it has ended', () => proxy.log.some(({ fields }) => fields['code'] === 'CLIENT_ACCESS_DENIED'))
  let connection: Connection | undefined
  await until('it has left its place', async () => {
    connection = await connect(proxy, { ...login, database: 'lab' }).catch(() => undefined)
    return connection !== undefined
  })
  await t.rejects(connect(proxy, login), /too many connections/)
  await connection!.changeUser({ ...login, user: 'two' })
  await connection!.end()
  await until('the session has ended', () => proxy.log.at(-1)?.message === 'session ended')
  t.ok(proxy.log.length > 4, `${proxy.log.length} lines`)
  for (const { message, fields } of proxy.log) {
    t.equal(fields['endpoint'], `${server.rdsHost}:${server.rdsPort}`, message)
    for (const field of Object.keys(fields)) t.ok(documentedFields.has(field), `${message}: ${field}`)
    if (!('code' in fields)) t.ok(documentedMessages.includes(message), message)
  }
  const ofSessions = proxy.log.filter(({ fields }) => fields['session'] !== undefined)
  t.ok(ofSessions.length >= 4)
  for (const { message, fields } of ofSessions)
    for (const field of ['localUser', 'user', 'client', 'threadId'])
      t.ok(fields[field] !== undefined, `${message}: ${field}`)
})
