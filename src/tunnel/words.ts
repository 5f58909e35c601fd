/** What a tunnel's program prints: line by line, without secrets, and not too much of it. */
import { StringDecoder } from 'node:string_decoder'
import { redact } from '../aws/redact.ts'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'

export interface Words {
  /** takes the next bytes of a stream */
  write(stream: 'stdout' | 'stderr', chunk: Buffer): void
  /** the newest line since `moment`, also an incomplete one; undefined for none */
  last(moment: number): string | undefined
  /** The same, but waits a moment for a line if there is none yet. */
  lastSoon(moment: number): Promise<string | undefined>
}

const MAX_LINE_CHARACTERS = 300

/** Lines that are logged in each second; the others are only counted. */
const MAX_LINES_PER_SECOND = 10

/** How long the reason for the end of a connection may follow it. */
const SOON_MS = 300

const ESCAPE = '\u001b'

/** Colors and titles of a terminal, and other control characters. */
const TERMINAL_CODES = new RegExp(
  `${ESCAPE}\\[[0-9;?]*[ -/]*[@-~]|${ESCAPE}\\][^\u0007${ESCAPE}]*\u0007?|[\\p{Cc}\\p{Cf}\u2028\u2029]`,
  'gu',
)

/** @param log gets each line */
export function createWords(log: Logger, clock: Clock): Words {
  const streams = {
    stdout: { decoder: new StringDecoder('utf8'), rest: '' },
    stderr: { decoder: new StringDecoder('utf8'), rest: '' },
  }
  let newest: { text: string; at: number } | undefined
  let windowStart = Number.NEGATIVE_INFINITY
  let inWindow = 0
  let moreBefore = 0
  const onLine = new Set<() => void>()

  const take = (text: string) => {
    newest = { text, at: clock.now() }
    for (const notify of onLine) notify()
    if (clock.now() - windowStart >= 1_000) {
      windowStart = clock.now()
      inWindow = 0
    }
    if (inWindow >= MAX_LINES_PER_SECOND) {
      moreBefore++
      return
    }
    inWindow++
    log.info(moreBefore > 0 ? { moreBefore } : {}, `tunnel: ${text}`)
    moreBefore = 0
  }

  const last = (moment: number): string | undefined => {
    // A prompt has no line end.
    const begun = [streams.stderr, streams.stdout].map(({ rest }) => shown(rest)).find(text => text !== '')
    return begun ?? (newest && newest.at >= moment ? newest.text : undefined)
  }

  return {
    write(name, chunk) {
      const stream = streams[name]
      const lines = (stream.rest + stream.decoder.write(chunk)).split(/\r\n|\n|\r/)
      stream.rest = lines.pop()!
      if (stream.rest.length > MAX_LINE_CHARACTERS) {
        lines.push(stream.rest)
        stream.rest = ''
      }
      for (const line of lines.map(shown)) if (line !== '') take(line)
    },
    last,
    async lastSoon(moment) {
      if (last(moment) === undefined) {
        await new Promise<void>(resolve => {
          const done = () => {
            cancelTimer()
            onLine.delete(done)
            resolve()
          }
          const cancelTimer = clock.after(SOON_MS, done)
          onLine.add(done)
        })
      }
      return last(moment)
    },
  }
}

function shown(line: string): string {
  const text = redact(
    line
      .slice(0, 4 * MAX_LINE_CHARACTERS)
      .replace(TERMINAL_CODES, '')
      .trim(),
  )
  return text.length > MAX_LINE_CHARACTERS ? `${text.slice(0, MAX_LINE_CHARACTERS - 1)}…` : text
}
