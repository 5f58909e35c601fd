/** The choice of clients on the command line. */

/**
 * @param texts each selects the item of exactly this name, or else all whose names contain it
 * @returns the selected items in their order
 * @throws Error if a text selects nothing
 */
export function selectClients<Item extends { name: string }>(items: Item[], texts: string[]): Item[] {
  const selected = new Set<Item>()
  for (const text of texts) {
    const exact = items.filter(({ name }) => name === text)
    const found = exact.length > 0 ? exact : items.filter(({ name }) => name.includes(text))
    if (found.length === 0) throw new Error(`no client has the name ${text}, or a name that contains it`)
    for (const item of found) selected.add(item)
  }
  return items.filter(item => selected.has(item))
}
