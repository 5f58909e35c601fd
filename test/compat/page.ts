/** docs/compatibility.md: the results as tables. */
import type { Behaviour } from './behaviours.ts'
import type { EarlierPage } from './earlier-page.ts'
import type { Cell, Outcome } from './judge.ts'

export interface ClientResult {
  name: string
  version?: string | undefined
  usedBy?: string | undefined
  /** why it was not run */
  missing?: string
  /** by server, why its run did not come to its end */
  broken?: Map<string, string>
  /** by behaviour, then by server */
  cells: Map<string, Map<string, Cell>>
}

export interface Results {
  servers: string[]
  behaviours: Behaviour[]
  clients: ClientResult[]
  /** what the proxy of this run did not have */
  missing: string[]
  nodeVersion: string
  /** for results that this run does not have */
  earlier?: EarlierPage | undefined
}

/** Why a client was not run that the command line leaves out. */
export const NOT_SELECTED = 'not selected for this run'

const SIGNS: Record<Outcome, string> = {
  passed: '✓',
  'passed, not directly': '✓+',
  'as direct': '=',
  failed: '✗',
  'in part': 'part',
  hidden: 'hidden',
  unsupported: '–',
  'not run': '·',
}

const LEGEND = `| sign | meaning |
| --- | --- |
| ✓ | correct, and identical to a direct connection if that can be compared: values, error texts, SQLSTATE |
| ✓+ | correct, although the client cannot do it directly |
| = | not as expected, but identical to a direct connection: a property of the client |
| ✗ | wrong |
| part, hidden | of an error of the proxy, the client shows only a part, or a different error. It does the same with an error of this kind directly |
| – | the client does not support it, or the test program does not use it |
| · | not run |`

export function page(results: Results): string {
  const { servers, behaviours, nodeVersion, earlier } = results
  const clients = results.clients.map(client => withEarlier(client, earlier))
  const run = clients.filter(({ missing }) => missing === undefined)
  const notRun = clients.filter(({ missing }) => missing !== undefined)
  const parts = [
    `# Compatibility

\`npm run compat\` generates this page. It runs real clients through the proxy and directly. The steps of each check are in [test/compat/behaviours.ts](../test/compat/behaviours.ts).

Servers: ${servers.join(', ')}. Node.js ${nodeVersion}. If the results differ between servers, a cell has one sign per server, in this order.

${LEGEND}`,
  ]
  if (earlier) {
    const old = run.filter(client => !isNew(client, behaviours))
    const titles = behaviours.filter(({ shows }) => !shows).map(({ title }) => title)
    const isKept = ({ name }: ClientResult) => titles.some(title => earlier.signs.get(name)?.has(title))
    const say = (what: string, list: ClientResult[]) => {
      if (list.length > 0) parts.push(`${what}: ${list.map(({ name }) => name).join('; ')}.`)
    }
    say('These results are from an earlier run, except for what each client shows', old.filter(isKept))
    const errors = behaviours.filter(({ shows }) => shows)
    const isShown = ({ name, cells }: ClientResult) =>
      errors.some(({ id, title }) => cells.has(id) || earlier.signs.get(name)?.has(title))
    // Programs of one task have no row for logins.
    const isShowable = ({ name }: ClientResult) => earlier.signs.get(name)?.has('wrong local password')
    say(
      'What these show of errors was not run',
      run.filter(client => isShowable(client) && !isShown(client)),
    )
    say(
      'Only what these show of errors was run',
      old.filter(client => !isKept(client)),
    )
  }
  parts.push(clientTable(run))
  for (const group of new Set(behaviours.map(({ group }) => group))) {
    parts.push(
      matrix(
        group,
        behaviours.filter(behaviour => behaviour.group === group),
        run,
        servers,
        earlier,
      ),
    )
  }
  const notes = findings(run, behaviours, earlier)
  if (notes) parts.push(notes)
  const broken = clients.flatMap(({ name, broken }) => [...(broken ?? [])].map(entry => [name, ...entry] as const))
  if (broken.length > 0) {
    parts.push(`## Runs that failed

${broken.map(([name, server, reason]) => `- ${name}, ${server}: ${forTable(reason)}`).join('\n')}`)
  }
  if (notRun.length > 0) {
    parts.push(`## Not run

${notRun.map(({ name, missing }) => `- ${name}: ${missing}`).join('\n')}`)
  }
  return `${parts.join('\n\n')}\n`
}

/** A client that this run left out keeps its row, or else the reason why it has none. */
function withEarlier(client: ClientResult, earlier: EarlierPage | undefined): ClientResult {
  const row = earlier?.clients.get(client.name)
  if (client.missing === NOT_SELECTED && !row) return { ...client, missing: earlierReason(client, earlier) }
  if (client.missing === undefined || !row) return client
  const { missing: _, ...kept } = client
  return { ...kept, version: row[0] }
}

function earlierReason({ name }: ClientResult, earlier: EarlierPage | undefined): string {
  const start = `- ${name}: `
  const line = earlier?.lists.get('Not run')?.find(line => line.startsWith(start))
  return line?.slice(start.length) ?? NOT_SELECTED
}

/** Whether this run has the client's results of all its parts, not only of the errors. */
function isNew({ cells }: ClientResult, behaviours: Behaviour[]): boolean {
  return behaviours.some(({ id, shows }) => !shows && cells.has(id))
}

function clientTable(clients: ClientResult[]): string {
  const rows = clients.map(({ name, version, usedBy }) => `| ${name} | ${version ?? '?'} | ${usedBy ?? ''} |`)
  return [
    '## Clients',
    '',
    '| client | version | what else uses it, and what it is on |',
    '| --- | --- | --- |',
    ...rows,
  ].join('\n')
}

function matrix(
  title: string,
  behaviours: Behaviour[],
  clients: ClientResult[],
  servers: string[],
  earlier: EarlierPage | undefined,
): string {
  const head = ['client', ...behaviours.map(({ title }) => title)]
  const signsOf = ({ name, cells }: ClientResult, { id, title }: Behaviour) =>
    servers.map(server => {
      const outcome = cells.get(id)?.get(server)?.outcome
      if (outcome) return SIGNS[outcome]
      return earlier?.signs.get(name)?.get(title)?.[earlier.servers.indexOf(server)] ?? SIGNS['not run']
    })
  const unconcerned = [SIGNS.unsupported, SIGNS['not run']]
  const concerned = clients.filter(client =>
    behaviours.some(behaviour => signsOf(client, behaviour).some(sign => !unconcerned.includes(sign))),
  )
  const rows = concerned.map(client => [
    client.name,
    ...behaviours.map(behaviour => {
      const signs = signsOf(client, behaviour)
      return new Set(signs).size === 1 ? signs[0]! : signs.join(' ')
    }),
  ])
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [`## ${title}`, '', line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

/** Everything but a plain pass, with its reason; the same reason of the same client once. */
function findings(
  clients: ClientResult[],
  behaviours: Behaviour[],
  earlier: EarlierPage | undefined,
): string | undefined {
  const titles = new Map(behaviours.map(({ id, title }) => [id, title]))
  const sections: string[] = []
  const kinds: [Outcome, string][] = [
    ['failed', 'Wrong'],
    ['passed, not directly', 'Only through the proxy'],
    ['as direct', "The clients' own ways"],
    ['in part', 'Errors shown in part'],
    ['hidden', 'Errors hidden by the client'],
  ]
  for (const [outcome, heading] of kinds) {
    const lines = new Map<string, { titles: Set<string>; servers: Set<string> }>()
    for (const { name, cells } of clients) {
      for (const [id, byServer] of cells) {
        for (const [server, cell] of byServer) {
          if (cell.outcome !== outcome) continue
          // A login that fails fails everywhere, and with the same words.
          const line = `${name}: ${forTable((cell.detail ?? '').replace(/^connect: /, ''))}`
          const found = lines.get(line) ?? { titles: new Set(), servers: new Set() }
          found.titles.add(titles.get(id)!)
          found.servers.add(server)
          lines.set(line, found)
        }
      }
    }
    const isOfErrors = outcome === 'in part' || outcome === 'hidden'
    const kept = (earlier?.lists.get(heading) ?? []).filter(line =>
      clients.some(client => {
        if (!line.startsWith(`- ${client.name}: `)) return false
        return isOfErrors
          ? !behaviours.some(({ id, shows }) => shows && client.cells.has(id))
          : !isNew(client, behaviours)
      }),
    )
    if (lines.size + kept.length === 0) continue
    const items = [...lines].map(([line, { titles, servers }]) => {
      const what = titles.size > 6 ? `${titles.size} columns` : [...titles].join('; ')
      return `- ${line} (${what}; ${[...servers].join(', ')})`
    })
    sections.push(`## ${heading}\n\n${[...kept, ...items].join('\n')}`)
  }
  return sections.join('\n\n') || undefined
}

function forTable(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replace(/\s+/g, ' ')
}
