/** docs/comparison.md: its table counts the lines that stand below it, and our own lines are valid. */
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { loadConfig } from '../../src/config/load.ts'

interface Tool {
  name: string
  lines: string[]
  programs: string
  terminals: number
}

const page = readFileSync(new URL('../../docs/comparison.md', import.meta.url), 'utf8')

/** The tools of a section, with the lines that a person types. */
function toolsIn(section: string): Tool[] {
  const text = page.split(`## ${section}\n`)[1]?.split('\n## ')[0] ?? ''
  const parts = [...text.matchAll(/^### (.*)\n\n```\n([\s\S]*?)```\n\nPrograms: (.*?)\. Terminals: (\d)\./gm)]
  return parts.map(([, name = '', lines = '', programs = '', terminals]) => ({
    name,
    lines: lines.split('\n').filter(line => line !== ''),
    programs,
    terminals: Number(terminals),
  }))
}

const three = toolsIn('Three databases, an SSO profile, private')
const one = toolsIn('One public database, an SSO profile')

/** A key for each character, and Enter behind the line. */
const keystrokes = ({ lines }: Tool) => lines.reduce((sum, line) => sum + line.length + 1, 0)

const row = (left: Tool, right: Tool) => {
  const counts = (tool: Tool) => [tool.lines.length, keystrokes(tool), tool.terminals]
  return `| ${[left.name, ...counts(left), ...counts(right), left.programs].join(' | ')} |`
}

test('docs/comparison.md: the table is the count of its lines', async t => {
  t.equal(three.length, 6)
  t.same(
    one.map(({ name }) => name),
    three.map(({ name }) => name),
  )
  const rows = three.map((tool, index) => row(tool, one[index]!)).join('\n')
  const table = page.split('| --- |').at(-1)!.split('\n').slice(1, 7).join('\n')
  t.equal(table, rows)
})

test('docs/comparison.md: our own lines are valid, and one is enough', async t => {
  for (const [tools, count] of [
    [three, 3],
    [one, 1],
  ] as const) {
    const [line, ...others] = tools[0]!.lines
    t.same(others, [])
    const [words = '', tunnel] = line!.split(/ --tunnel '([^']*)'/)
    const all = words.split(' ').slice(1)
    const hosts = all.filter(word => word.includes('.rds.'))
    t.same(all.slice(hosts.length), ['--profile', 'dev', '--user', 'iam_user'])
    const flags = { profile: 'dev', user: 'iam_user', ...(tunnel ? { tunnel } : {}) }
    const { endpoints } = await loadConfig(flags, hosts, {})
    t.equal(endpoints.length, count)
    for (const { settings } of endpoints) {
      t.match(settings, { profile: 'dev', user: 'iam_user', tunnel: count === 3 ? /^ssh / : undefined })
    }
  }
})
