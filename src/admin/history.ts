/** Rates and login times of each endpoint over the last five minutes, for the charts of the status page. */

import type { EndpointState } from '../state.ts'
import { traffic } from '../state.ts'

/** Interval between calls of `tick`. */
export const SLOT_MS = 2_000

/** Five minutes. */
const MAX_SLOTS = 150

/** The newest logins, for the median and the 95th percentile. */
const MAX_RECENT_LOGINS = 200

/** Login times kept for each slot. More of them would not change the chart. */
const MAX_TIMES_IN_SLOT = 200

/** The figures of one interval of about SLOT_MS. */
export interface Slot {
  /** its end, in milliseconds of the clock of `tick` */
  at: number
  /** bytes per second */
  fromClient: number
  /** bytes per second */
  fromServer: number
  logins: number
  /** milliseconds; undefined without a login */
  median?: number
  /** milliseconds; undefined without a login */
  slowest?: number
}

export interface History {
  /** Counts a login and how long it took. */
  addLogin(state: EndpointState, milliseconds: number): void
  /** Ends the current slot of each endpoint. @param now milliseconds of a monotonic clock */
  tick(states: readonly EndpointState[], now: number): void
  /** oldest first */
  slots(state: EndpointState): readonly Slot[]
  /** milliseconds, over the newest logins; undefined before the first login */
  loginTime(state: EndpointState): { median: number; p95: number } | undefined
}

interface Record {
  slots: Slot[]
  recent: number[]
  /** in the current slot */
  logins: number
  times: number[]
  /** when the last slot ended, and the bytes until then */
  at: number
  fromClient: number
  fromServer: number
}

/** @param now milliseconds of the clock of `tick` */
export function createHistory(now: number): History {
  const records = new WeakMap<EndpointState, Record>()
  let lastTick = now

  function recordOf(state: EndpointState): Record {
    let record = records.get(state)
    if (!record) {
      record = { slots: [], recent: [], logins: 0, times: [], at: lastTick, fromClient: 0, fromServer: 0 }
      records.set(state, record)
    }
    return record
  }

  return {
    addLogin(state, milliseconds) {
      const record = recordOf(state)
      record.logins++
      if (record.times.length < MAX_TIMES_IN_SLOT) record.times.push(milliseconds)
      record.recent.push(milliseconds)
      if (record.recent.length > MAX_RECENT_LOGINS) record.recent.shift()
    },
    tick(states, now) {
      for (const state of states) {
        const record = recordOf(state)
        const { bytesFromClient, bytesFromServer } = traffic(state)
        const seconds = Math.max(1, now - record.at) / 1_000
        record.slots.push({
          at: now,
          fromClient: Math.max(0, Math.round((bytesFromClient - record.fromClient) / seconds)),
          fromServer: Math.max(0, Math.round((bytesFromServer - record.fromServer) / seconds)),
          logins: record.logins,
          ...(record.times.length > 0
            ? { median: quantile(record.times, 0.5), slowest: quantile(record.times, 1) }
            : {}),
        })
        if (record.slots.length > MAX_SLOTS) record.slots.shift()
        Object.assign(record, { logins: 0, times: [], at: now })
        Object.assign(record, { fromClient: bytesFromClient, fromServer: bytesFromServer })
      }
      lastTick = now
    },
    slots: state => recordOf(state).slots,
    loginTime(state) {
      const { recent } = recordOf(state)
      return recent.length > 0 ? { median: quantile(recent, 0.5), p95: quantile(recent, 0.95) } : undefined
    },
  }
}

/** The quantile `share` of `values` by the nearest-rank method, rounded to two decimals. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right)
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!
  return Math.round(value * 100) / 100
}
