/** Text for a terminal. */

/**
 * Whether to write colours. FORCE_COLOR decides first, then NO_COLOR. A terminal gets them unless TERM is dumb.
 * https://force-color.org https://no-color.org
 */
export function wantsColours(isTerminal: boolean | undefined, environment: NodeJS.ProcessEnv = process.env): boolean {
  const { FORCE_COLOR: force, NO_COLOR: no, TERM } = environment
  if (force) return force !== '0' && force !== 'false'
  return isTerminal === true && !no && TERM !== 'dumb'
}

/** Whether a line can be overwritten: on a terminal that is not dumb. */
export function isLive(isTerminal: boolean | undefined, environment: NodeJS.ProcessEnv = process.env): boolean {
  return isTerminal === true && environment['TERM'] !== 'dumb'
}

/** The escape sequences that begin and end a style. */
const STYLES = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] } as const

/** Text in a style. `util.styleText` decides by itself about colours, and differently in each version of Node.js. */
export type Styler = (style: keyof typeof STYLES, text: string) => string

export function createStyler(colours: boolean): Styler {
  return (style, text) => {
    const [begin, end] = STYLES[style]
    return colours ? `\x1b[${begin}m${text}\x1b[${end}m` : text
  }
}

/** Wraps `text` to lines of at most `width` characters. A longer word is not broken, so that you can copy it. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const line = lines.at(-1)
    if (line !== undefined && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines
}

/** The known name nearest to a mistyped one; undefined if none is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const most = name.length < 4 ? 1 : Math.max(2, Math.floor(name.length / 3))
  const distances = known.map(other => ({ other, distance: distance(name.toLowerCase(), other.toLowerCase()) }))
  const best = distances.sort((left, right) => left.distance - right.distance)[0]
  return best && best.distance <= most ? best.other : undefined
}

/** `; did you mean …?` if a known name is near, else ''. */
export function didYouMean(name: string, known: readonly string[]): string {
  const found = nearest(name, known)
  return found ? `; did you mean ${found}?` : ''
}

/** Levenshtein distance: letters to change, add or remove. */
function distance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i++) {
    const next = [i]
    for (let j = 1; j <= right.length; j++) {
      const change = row[j - 1]! + (left[i - 1] === right[j - 1] ? 0 : 1)
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[right.length]!
}
