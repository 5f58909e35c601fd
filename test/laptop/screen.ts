/** What stands on a terminal in the end: the control sequences that the program, its questions and the clients use. */

/** A control sequence, or one character. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences
const PARTS = /\x1b\[([\d;?]*)([A-Za-z])|\x1b\([A-Z\d]|\x1b[=>]|[\s\S]/gu

/** The lines of `output`, without blanks at their ends. Lines that have scrolled away stay. */
export function screenOf(output: string): string[] {
  const rows: string[][] = [[]]
  let [row, column] = [0, 0]
  const rowAt = (index: number) => {
    while (rows.length <= index) rows.push([])
    return rows[index]!
  }
  const write = (character: string) => {
    const cells = rowAt(row)
    while (cells.length < column) cells.push(' ')
    cells[column++] = character
  }
  const control = (parameters: string, final: string) => {
    const count = Number(parameters.split(';')[0] || 0)
    const steps = Math.max(1, count)
    if (final === 'A') row = Math.max(0, row - steps)
    else if (final === 'B') row += steps
    else if (final === 'C') column += steps
    else if (final === 'D') column = Math.max(0, column - steps)
    else if (final === 'G') column = steps - 1
    else if (final === 'K') eraseLine(count)
    else if (final === 'J') {
      eraseLine(count)
      if (count === 0) rows.length = Math.min(rows.length, row + 1)
    } else if (!'mhl'.includes(final)) throw new Error(`an unknown control sequence: ESC [ ${parameters} ${final}`)
  }
  const eraseLine = (kind: number) => {
    const cells = rowAt(row)
    if (kind === 0) cells.length = Math.min(cells.length, column)
    else if (kind === 2) cells.length = 0
    else throw new Error(`erase ${kind} is unsupported`)
  }
  for (const [part, parameters, final] of output.matchAll(PARTS)) {
    if (final !== undefined) control(parameters!, final)
    else if (part === '\r') column = 0
    else if (part === '\n') rowAt(++row)
    else if (part === '\b') column = Math.max(0, column - 1)
    else if (part >= ' ' && part !== '\x7f' && !part.startsWith('\x1b')) write(part)
  }
  return rows.map(cells =>
    Array.from(cells, cell => cell ?? ' ')
      .join('')
      .trimEnd(),
  )
}
