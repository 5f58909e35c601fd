/** Reads docs/compatibility.md back, so that a run of some clients keeps the results of the others. */

export interface EarlierPage {
  servers: string[]
  /** by client, its cells of the table of clients */
  clients: Map<string, string[]>
  /** by client and title of a behaviour, a sign per server */
  signs: Map<string, Map<string, string[]>>
  /** by heading, its list */
  lists: Map<string, string[]>
}

export function parsePage(text: string): EarlierPage {
  const page: EarlierPage = { servers: [], clients: new Map(), signs: new Map(), lists: new Map() }
  page.servers = /^Servers: (.*?)\. Node\.js/m.exec(text)?.[1]?.split(', ') ?? []
  for (const section of text.split(/^## /m).slice(1)) {
    const [heading = '', ...lines] = section.split('\n')
    const items = lines.filter(line => line.startsWith('- '))
    if (items.length > 0) page.lists.set(heading, items)
    const [head, , ...rows] = lines.filter(line => line.startsWith('| ')).map(cellsOf)
    for (const [name = '', ...cells] of rows) {
      if (heading === 'Clients') page.clients.set(name, cells)
      else readSigns(page, name, head!.slice(1), cells)
    }
  }
  return page
}

function readSigns(page: EarlierPage, name: string, titles: string[], cells: string[]): void {
  const signs = page.signs.get(name) ?? new Map<string, string[]>()
  page.signs.set(name, signs)
  for (const [i, title] of titles.entries()) {
    const given = (cells[i] ?? '').split(' ')
    signs.set(
      title,
      page.servers.map((_server, at) => given[at] ?? given[0]!),
    )
  }
}

function cellsOf(line: string): string[] {
  return line
    .slice(2, -2)
    .split(' | ')
    .map(cell => cell.trim())
}
