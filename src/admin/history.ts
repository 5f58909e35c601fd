/** Rates, logins and login times of each endpoint over the last 24 hours, for the status page. */

import type { EndpointState, Phase } from '../state.ts'
import { countFailed, countOpen, traffic } from '../state.ts'

/** Interval between calls of `tick`. */
export const SLOT_MS = 2_000

const MINUTE_MS = 60_000

/** The ranges of the charts, with the length of a slot. Memory is bounded: 180 slots at most, about 130 kB an endpoint in all. */
export const RANGES = {
  '5m': { range: 5 * MINUTE_MS, slot: SLOT_MS },
  '1h': { range: 60 * MINUTE_MS, slot: 20_000 },
  '6h': { range: 360 * MINUTE_MS, slot: 2 * MINUTE_MS },
  '24h': { range: 1_440 * MINUTE_MS, slot: 8 * MINUTE_MS },
} as const
export type Range = keyof typeof RANGES

/** The newest logins, for the median and the 95th percentile. */
const MAX_RECENT_LOGINS = 200

/** Login times kept for the median of each slot: the newest. More of them would not change the chart. */
const MAX_TIMES_IN_SLOT = 200

/** The figures of one interval. */
export interface Slot {
  /** its end, in milliseconds of the clock of `tick` */
  at: number
  /** bytes per second */
  fromClient: number
  /** bytes per second */
  fromServer: number
  /** successful ones */
  logins: number
  failed: number
  /** milliseconds; undefined without a login */
  median?: number
  /** milliseconds; undefined without a login */
  slowest?: number
}

/** Logins of the last minute. */
export interface LastMinute {
  logins: number
  failed: number
}

/** The highest values since the start, sampled every two seconds. */
export interface Peaks {
  sessions: number
  waiting: number
  /** successful logins within a minute */
  loginsPerMinute: number
}

export interface History {
  /** Counts a login and how long it took. */
  addLogin(state: EndpointState, milliseconds: number): void
  /** Keeps how long a phase of a login took. */
  addPhase(state: EndpointState, phase: Phase, milliseconds: number): void
  /** Ends the current slots of each endpoint. @param now milliseconds of a monotonic clock */
  tick(states: readonly EndpointState[], now: number): void
  /** oldest first; at most as many as the range has */
  slots(state: EndpointState, range: Range): readonly Slot[]
  /** milliseconds, over the newest logins; undefined before the first login */
  loginTime(state: EndpointState): { median: number; p95: number } | undefined
  /** the median of each phase in milliseconds, over the newest logins */
  phaseTimes(state: EndpointState): Partial<Record<Phase, number>>
  /** @param now milliseconds of the clock of `tick` */
  lastMinute(state: EndpointState, now: number): LastMinute
  peaks(state: EndpointState): Peaks
  /** when the newest login succeeded, to within a tick; undefined before the first */
  lastLogin(state: EndpointState): number | undefined
}

/** The slots of one range, and what the current one has so far. */
interface Series {
  slots: Slot[]
  logins: number
  times: number[]
  slowest: number
  /** when the last slot ended, and the counts until then */
  at: number
  fromClient: number
  fromServer: number
  failed: number
}

interface Past {
  series: { [range in Range]: Series }
  recent: number[]
  phases: Map<Phase, number[]>
  peaks: Peaks
  lastLogin: number | undefined
}

const RANGE_NAMES = Object.keys(RANGES) as Range[]

/** @param now milliseconds of the clock of `tick` */
export function createHistory(now: number): History {
  const records = new WeakMap<EndpointState, Past>()
  let lastTick = now

  function recordOf(state: EndpointState): Past {
    let record = records.get(state)
    if (!record) {
      const counts = { fromClient: 0, fromServer: 0, failed: 0 }
      const start = (): Series => ({ slots: [], logins: 0, times: [], slowest: 0, at: lastTick, ...counts })
      const series = { '5m': start(), '1h': start(), '6h': start(), '24h': start() }
      record = {
        series,
        recent: [],
        phases: new Map(),
        peaks: { sessions: 0, waiting: 0, loginsPerMinute: 0 },
        lastLogin: undefined,
      }
      records.set(state, record)
    }
    return record
  }

  function lastMinute(state: EndpointState, now: number): LastMinute {
    const { slots, logins, failed } = recordOf(state).series['5m']
    const minute = { logins, failed: countFailed(state) - failed }
    for (let i = slots.length - 1; i >= 0 && slots[i]!.at > now - MINUTE_MS; i--) {
      minute.logins += slots[i]!.logins
      minute.failed += slots[i]!.failed
    }
    return minute
  }

  return {
    addLogin(state, milliseconds) {
      const { series, recent } = recordOf(state)
      for (const range of RANGE_NAMES) {
        const one = series[range]
        one.times[one.logins % MAX_TIMES_IN_SLOT] = milliseconds
        one.logins++
        one.slowest = Math.max(one.slowest, milliseconds)
      }
      keep(recent, milliseconds)
    },
    addPhase(state, phase, milliseconds) {
      const { phases } = recordOf(state)
      const times = phases.get(phase) ?? []
      keep(times, milliseconds)
      phases.set(phase, times)
    },
    tick(states, now) {
      for (const state of states) {
        const record = recordOf(state)
        const { series, peaks } = record
        if (series['5m'].logins > 0) record.lastLogin = now
        const { bytesFromClient, bytesFromServer } = traffic(state)
        const totals = { fromClient: bytesFromClient, fromServer: bytesFromServer, failed: countFailed(state) }
        for (const range of RANGE_NAMES) {
          // A timer is never exact: half a tick early counts.
          if (now - series[range].at >= RANGES[range].slot - SLOT_MS / 2)
            endSlot(series[range], RANGES[range], totals, now)
        }
        peaks.sessions = Math.max(peaks.sessions, countOpen(state))
        peaks.waiting = Math.max(peaks.waiting, state.loginsQueued)
        peaks.loginsPerMinute = Math.max(peaks.loginsPerMinute, lastMinute(state, now).logins)
      }
      lastTick = now
    },
    slots: (state, range) => recordOf(state).series[range].slots,
    loginTime(state) {
      const { recent } = recordOf(state)
      return recent.length > 0 ? { median: quantile(recent, 0.5), p95: quantile(recent, 0.95) } : undefined
    },
    phaseTimes(state) {
      const { phases } = recordOf(state)
      return Object.fromEntries(Array.from(phases, ([phase, times]) => [phase, quantile(times, 0.5)]))
    },
    lastMinute,
    peaks: state => recordOf(state).peaks,
    lastLogin: state => recordOf(state).lastLogin,
  }
}

type Totals = Pick<Series, 'fromClient' | 'fromServer' | 'failed'>

function endSlot(series: Series, { range, slot }: { range: number; slot: number }, totals: Totals, now: number): void {
  const seconds = Math.max(1, now - series.at) / 1_000
  const { logins, times, slowest } = series
  series.slots.push({
    at: now,
    fromClient: Math.max(0, Math.round((totals.fromClient - series.fromClient) / seconds)),
    fromServer: Math.max(0, Math.round((totals.fromServer - series.fromServer) / seconds)),
    logins,
    failed: totals.failed - series.failed,
    ...(times.length > 0 ? { median: quantile(times, 0.5), slowest: round(slowest) } : {}),
  })
  if (series.slots.length > range / slot) series.slots.shift()
  Object.assign(series, { logins: 0, times: [], slowest: 0, at: now, ...totals })
}

function keep(recent: number[], milliseconds: number): void {
  recent.push(milliseconds)
  if (recent.length > MAX_RECENT_LOGINS) recent.shift()
}

/** The quantile `share` of `values` by the nearest-rank method, rounded to two decimals. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right)
  return round(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!)
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
