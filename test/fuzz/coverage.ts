/** Which characters of the source have run, by V8's own block coverage: what a fuzzer goes by. */
import { type Profiler, Session } from 'node:inspector'

export interface Coverage {
  /** what has run since the last look */
  look(): Look
  /** characters of the source that have run, of what was learned */
  size(): number
}

export interface Look {
  /** whether anything ran that had not been learned */
  isNew: boolean
  learn(): void
}

/** @param isOurs whether the source at a URL counts */
export function startCoverage(isOurs: (url: string) => boolean): Coverage {
  const session = new Session()
  session.connect()
  session.post('Profiler.enable')
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  const known = new Map<string, Uint8Array>()
  return {
    look() {
      const seen = new Map<string, Uint8Array>()
      // In this process, the answer comes before post returns.
      session.post('Profiler.takePreciseCoverage', (error, answer) => {
        if (error) throw error
        for (const script of answer.result) if (isOurs(script.url)) seen.set(script.url, charactersOf(script))
      })
      return {
        isNew: [...seen].some(([url, now]) => now.some((ran, at) => ran === 1 && known.get(url)?.[at] !== 1)),
        learn() {
          for (const [url, now] of seen) {
            // A look has only the functions that ran.
            const before = known.get(url) ?? new Uint8Array()
            const [longer, shorter] = now.length > before.length ? [now, before] : [before, now]
            known.set(
              url,
              longer.map((ran, at) => ran | (shorter[at] ?? 0)),
            )
          }
        },
      }
    },
    size() {
      let size = 0
      for (const script of known.values()) for (const ran of script) size += ran
      return size
    },
  }
}

/** 1 for each character that ran. An inner range says more than those around it; V8 lists the outer ones first. */
function charactersOf({ functions }: Profiler.ScriptCoverage): Uint8Array {
  const end = Math.max(...functions.flatMap(({ ranges }) => ranges.map(({ endOffset }) => endOffset)))
  const ran = new Uint8Array(end)
  for (const { ranges } of functions) {
    for (const { startOffset, endOffset, count } of ranges) ran.fill(count > 0 ? 1 : 0, startOffset, endOffset)
  }
  return ran
}
