/**
 * Notices that this machine slept or that its network changed. Connections from before may then be dead without a sign, and
 * what is remembered about addresses and failures may be out of date.
 *
 * Nothing tells a Node.js program about a sleep. The clocks show it:
 *
 * - Linux: the clock of Node.js (CLOCK_MONOTONIC) stops during a sleep, the uptime goes on. Setting the clock moves neither.
 * - macOS (mach_continuous_time) and Windows (QueryPerformanceCounter): the clock of Node.js goes on, so a timer is late. So it
 *   is in a process that was stopped.
 * - A virtual machine that was paused: only the wall clock jumps ahead, once it is set. So it does when somebody sets it.
 *
 * https://github.com/libuv/libuv/blob/v1.x/src/unix/linux.c, https://github.com/libuv/libuv/blob/v1.x/src/unix/darwin.c,
 * https://learn.microsoft.com/en-us/windows/win32/sysinfo/acquiring-high-resolution-time-stamps
 */
import { networkInterfaces, uptime } from 'node:os'
import { backgroundClock, type Clock, wallClockOffset } from './clock.ts'

/** Something after which connections may be dead. */
export interface Disturbance {
  /** sleep: certain. pause: this process did not run. clock: the wall clock jumped ahead, which may mean nothing */
  kind: 'sleep' | 'pause' | 'clock' | 'network'
  /** in words, to follow "because" */
  what: string
  /** the addresses of this machine now; undefined if the system does not say */
  addresses: ReadonlySet<string> | undefined
}

export interface WakeWatch {
  /** Looks now, unless it has just looked. Call it before a login. */
  look(): void
  /** Calls `listener` after each disturbance. Call the result to stop. */
  subscribe(listener: (disturbance: Disturbance) => void): () => void
}

/** What the watch reads of the system. */
export interface Readings {
  /** milliseconds since the start of the machine, with sleep; undefined if the system does not say */
  uptime(): number | undefined
  /** milliseconds between the wall clock and the monotonic clock */
  wallOffset(): number
  /** undefined if the system does not say */
  addresses(): ReadonlySet<string> | undefined
}

/** How often it looks. Reading the addresses takes about 0.1 ms. */
const LOOK_MS = 5_000

/** Time between two looks at least: each login wants one. */
const MIN_LOOK_MS = 1_000

/** Shorter sleeps break nothing. */
const MIN_SLEEP_MS = 5_000

/** A busy machine makes timers late, too. Time servers set clocks by less. */
const MIN_PAUSE_MS = 10_000

/** The moment of a look. */
interface Moment {
  now: number
  uptime: number | undefined
  wallOffset: number
  addresses: ReadonlySet<string> | undefined
}

/** What happened between two looks. @param late milliseconds that the second look was late */
export function disturbanceBetween(before: Moment, after: Moment, late: number): Disturbance | undefined {
  const { addresses } = after
  const slept =
    before.uptime === undefined || after.uptime === undefined
      ? 0
      : after.uptime - before.uptime - (after.now - before.now)
  const jumped = after.wallOffset - before.wallOffset
  if (slept >= MIN_SLEEP_MS) {
    return { kind: 'sleep', what: `this machine slept for ${inWords(slept)}`, addresses }
  }
  if (late >= MIN_PAUSE_MS) {
    const what = `this machine slept or stopped this program for ${inWords(late)}`
    return { kind: 'pause', what, addresses }
  }
  const [came, went] = [missingIn(before.addresses, addresses), missingIn(addresses, before.addresses)]
  if (came.length + went.length > 0) {
    const changes = [listed('new', came), listed('gone', went)].filter(text => text !== '').join('; ')
    return { kind: 'network', what: `the network of this machine has changed (${changes})`, addresses }
  }
  if (jumped >= MIN_PAUSE_MS) {
    const what = `the clock of this machine jumped ahead by ${inWords(jumped)}`
    return { kind: 'clock', what, addresses }
  }
  return undefined
}

function inWords(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1_000)
  const [unit, size] = seconds < 600 ? ['s', 1] : seconds < 36_000 ? ['min', 60] : ['h', 3_600]
  return `${Math.round(seconds / Number(size))} ${unit}`
}

/** The addresses that only `after` has. An interface gives itself link-local ones, which say nothing about the network. */
function missingIn(before: ReadonlySet<string> | undefined, after: ReadonlySet<string> | undefined): string[] {
  if (!before || !after) return []
  return [...after].filter(address => !before.has(address) && !isLinkLocal(address))
}

export function isLinkLocal(address: string): boolean {
  return /^(fe[89ab][0-9a-f]:|169\.254\.)/i.test(address)
}

const MAX_LISTED = 3

function listed(word: string, addresses: readonly string[]): string {
  if (addresses.length === 0) return ''
  const more = addresses.length > MAX_LISTED ? ` and ${addresses.length - MAX_LISTED} more` : ''
  return `${word}: ${addresses.slice(0, MAX_LISTED).join(', ')}${more}`
}

/** @param clock its timers need not keep the process alive */
export function createWakeWatch(clock: Clock = backgroundClock, readings: Readings = systemReadings): WakeWatch {
  const listeners = new Set<(disturbance: Disturbance) => void>()
  let last: Moment | undefined
  /** when the timer should look */
  let dueAt = 0
  let cancelTimer: (() => void) | undefined

  const moment = (): Moment => ({
    now: clock.now(),
    uptime: readings.uptime(),
    wallOffset: readings.wallOffset(),
    addresses: readings.addresses(),
  })
  const look = () => {
    const before = last!
    last = moment()
    const disturbance = disturbanceBetween(before, last, last.now - dueAt)
    cancelTimer?.()
    startTimer()
    if (disturbance) for (const listener of listeners) listener(disturbance)
  }
  const startTimer = () => {
    dueAt = clock.now() + LOOK_MS
    cancelTimer = clock.after(LOOK_MS, look)
  }

  return {
    look() {
      if (last && clock.now() - last.now >= MIN_LOOK_MS) look()
    },
    subscribe(listener) {
      listeners.add(listener)
      if (!last) {
        last = moment()
        startTimer()
      }
      return () => {
        listeners.delete(listener)
        if (listeners.size > 0) return
        cancelTimer?.()
        last = undefined
      }
    },
  }
}

/** Some sandboxes forbid these calls. */
function unlessForbidden<Value>(read: () => Value): Value | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

const systemReadings: Readings = {
  uptime: () => unlessForbidden(() => uptime() * 1_000),
  wallOffset: wallClockOffset,
  addresses: () =>
    unlessForbidden(() => {
      const entries = Object.values(networkInterfaces()).flatMap(ofInterface => ofInterface ?? [])
      return new Set(entries.map(({ address }) => address))
    }),
}

/** The watch of this process. */
export const wakeWatch = createWakeWatch()
