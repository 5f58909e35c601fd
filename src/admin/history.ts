/** The last five minutes of the endpoints, for the charts of the status page. */

import type { EndpointState } from '../state.ts'
import { traffic } from '../state.ts'

/** Milliseconds between two calls of `tick`. */
export const SLOT = 2_000

const MAX_SLOTS = 150

/** Logins from which the typical time is taken. */
const RECENT = 200

/** Logins of one slot that are looked at: more of them would not change the picture. */
const LOGINS_IN_SLOT = 200

/** What happened in some two seconds. */
export interface Slot {
  /** Date.now() at its end */
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
  /** counts a login that took so many milliseconds */
  addLogin(state: EndpointState, milliseconds: number): void
  /** closes the present slot of each endpoint */
  tick(states: readonly EndpointState[], now: number): void
  /** oldest first */
  slots(state: EndpointState): readonly Slot[]
  /** milliseconds, of the newest logins; undefined before the first */
  loginTime(state: EndpointState): { median: number; p95: number } | undefined
}

interface Record {
  slots: Slot[]
  recent: number[]
  /** of the present slot */
  logins: number
  times: number[]
  /** at the end of the last slot */
  at: number
  fromClient: number
  fromServer: number
}

export function createHistory(now = Date.now()): History {
  const records = new WeakMap<EndpointState, Record>()

  function recordOf(state: EndpointState): Record {
    let record = records.get(state)
    if (!record) {
      record = { slots: [], recent: [], logins: 0, times: [], at: now, fromClient: 0, fromServer: 0 }
      records.set(state, record)
    }
    return record
  }

  return {
    addLogin(state, milliseconds) {
      const record = recordOf(state)
      record.logins++
      if (record.times.length < LOGINS_IN_SLOT) record.times.push(milliseconds)
      record.recent.push(milliseconds)
      if (record.recent.length > RECENT) record.recent.shift()
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
    },
    slots: state => recordOf(state).slots,
    loginTime(state) {
      const { recent } = recordOf(state)
      return recent.length > 0 ? { median: quantile(recent, 0.5), p95: quantile(recent, 0.95) } : undefined
    },
  }
}

/** The value below which that share of `values` lies (nearest rank), with two digits behind the point. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right)
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!
  return Math.round(value * 100) / 100
}
