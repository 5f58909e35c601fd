/** Durations as people write them: '100us', '500ms', '5s', '2m', '1h'. */

const UNITS_MS = { us: 0.001, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const

/** In milliseconds; undefined where `text` is no duration. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(us|ms|s|m|h)$/.exec(text)
  return match ? Number(match[1]) * UNITS_MS[match[2] as keyof typeof UNITS_MS] : undefined
}

/** In the unit that a person would choose. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds > 0 && milliseconds < 1) return `${Math.round(milliseconds * 1_000)}us`
  if (milliseconds > UNITS_MS.h && milliseconds % UNITS_MS.h === 0) return `${milliseconds / UNITS_MS.h}h`
  if (milliseconds > UNITS_MS.m && milliseconds % UNITS_MS.m === 0) return `${milliseconds / UNITS_MS.m}m`
  return milliseconds % UNITS_MS.s === 0 ? `${milliseconds / UNITS_MS.s}s` : `${milliseconds}ms`
}
