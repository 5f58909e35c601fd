/** Judges how much of an error of the proxy a client shows. */
import type { ERR_Packet } from '../../src/protocol/packets.ts'
import type { Report } from './client-run.ts'
import type { Cell } from './judge.ts'

export type Expected = Pick<ERR_Packet, 'errno' | 'message'>

/** What the client reports instead of the last step's value is its own error. */
type Shown = [errno: number | string, sqlState: string, message: string]

/** How much of the error is shown, with what is missing. */
interface Part {
  level: 'whole' | 'in part' | 'hidden'
  detail?: string
}

export interface ShownCase {
  expected: Expected
  proxied: Report | undefined
  /** the same client with a server that sends such an error itself */
  direct?: { expected: Expected; report: Report | undefined } | undefined
}

/** 'failed' if the client shows more of an error that it gets without the proxy. */
export function judgeShown({ expected, proxied, direct }: ShownCase): Cell {
  if (!proxied) return { outcome: 'not run', detail: 'the client did not report it' }
  if (proxied.unsupported !== undefined) return { outcome: 'unsupported', detail: proxied.unsupported }
  const { level, detail } = partOf(expected, proxied)
  if (level === 'whole') return { outcome: 'passed' }
  const directly = direct ? partOf(direct.expected, direct.report) : undefined
  if (directly && LEVELS.indexOf(directly.level) > LEVELS.indexOf(level)) return { outcome: 'failed', detail }
  return { outcome: level, detail }
}

const LEVELS: Part['level'][] = ['hidden', 'in part', 'whole']

/** Shorter common beginnings are not words of ours. */
const MIN_CHARACTERS = 30

function partOf({ errno, message }: Expected, report: Report | undefined): Part {
  const [itsErrno, , text] = (report?.error ?? report?.values?.at(-1) ?? [0, '', 'nothing']) as Shown
  const shown = oneLine(text)
  const words = oneLine(message)
  const hasNumber = Number(itsErrno) === errno || new RegExp(`\\b${errno}\\b`).test(shown)
  if (shown.includes(words)) return hasNumber ? { level: 'whole' } : { level: 'in part', detail: 'without the number' }
  if (shown.length >= MIN_CHARACTERS && words.endsWith(shown)) {
    return { level: 'in part', detail: `without the first ${words.length - shown.length} characters` }
  }
  const length = beginning(words, shown)
  if (length >= MIN_CHARACTERS) {
    return { level: 'in part', detail: `only the first ${length} of ${words.length} characters: ${shown}` }
  }
  return { level: hasNumber ? 'in part' : 'hidden', detail: `${hasNumber ? 'only the number: ' : ''}${shown}` }
}

/** How many characters of `words`, from their first, stand in `shown`. */
function beginning(words: string, shown: string): number {
  const start = shown.indexOf(words.slice(0, MIN_CHARACTERS))
  if (start < 0) return 0
  let length = 0
  while (length < words.length && words[length] === shown[start + length]) length++
  return length
}

/** Browsers and terminals wrap lines. */
function oneLine(text: unknown): string {
  return String(text).replace(/\s+/g, ' ').trim()
}
