/** Keeps logins from flooding a database: a rate, a queue before it, and a pause while every login fails for the same reason. */

import { type Clock, monotonicClock } from '../clock.ts'
import type { ErrorCode } from '../error-codes.ts'
import { ProxyError } from '../errors.ts'
import { type EndpointState, timed } from '../state.ts'

/** Logins that may come at once after a quiet time, as a part of a second's worth. */
const BURST = 0.1

/** Logins that fail alike, none longer than the window after the one before, with no success between them: then there is a pause. */
const ALIKE = 5
const WINDOW = 10_000
const FIRST_PAUSE = 1_000
const LONGEST_PAUSE = 10_000

/**
 * What a pause is for: reasons that stay for a while, and where asking costs the database or AWS something. A refused TCP
 * connection, one that is silent or one that is closed costs nothing, and a database that restarts or fails over is to be
 * found at once.
 */
const PAUSES_FOR: ReadonlySet<ErrorCode> = new Set([
  'UPSTREAM_REFUSED_CONNECTION',
  'UPSTREAM_REFUSED_LOGIN',
  'UPSTREAM_NOT_MYSQL',
  'UPSTREAM_TOO_OLD',
  'AUTH_PLUGIN_UNEXPECTED',
  'TLS_NOT_OFFERED',
  'TLS_PLAINTEXT_INJECTED',
  'TLS_WRONG_NAME',
  'TLS_UNKNOWN_CA',
  'TLS_EXPIRED',
  'TLS_FAILED',
  'CREDENTIALS_MISSING',
  'CREDENTIALS_SSO_EXPIRED',
  'CREDENTIALS_FAILED',
  'CREDENTIALS_TIMEOUT',
])

export interface LoginQueue {
  /**
   * Waits for the turn of a login. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
   * advises fewer than 200 a second.
   * @param deadline in the time of the queue's clock
   * @param left aborts when the client has left, whose place in the queue is then the next one's
   * @throws ProxyError LOGIN_QUEUE_FULL at once where the turn would come too late; the reason of `left`
   */
  turn(deadline: number, state: EndpointState, left: AbortSignal): Promise<void>
  /** @throws the error of the last logins, while there is a pause. @param user undefined before it is known */
  throwIfPaused(user: string | undefined): void
  succeeded(user: string): void
  failed(error: ProxyError, user: string | undefined): void
}

interface Failures {
  error: ProxyError
  count: number
  /** time of the last */
  last: number
  /** milliseconds; 0 while there has been none */
  pause: number
  pausedUntil: number
  /** whether a login has been let through after the pause, and its outcome is not known */
  isAsking: boolean
}

/** @param perSecond logins; 0: no limit, and no pause */
export function createLoginQueue(perSecond: number, clock: Clock = monotonicClock): LoginQueue {
  const interval = perSecond > 0 ? 1_000 / perSecond : 0
  const burst = Math.max(1, perSecond * BURST) * interval
  /** when the next login may go on */
  let next = Number.NEGATIVE_INFINITY
  /** Those that wait, the first in front. */
  const line = new Set<() => void>()
  /** by user; '' for what every user would meet */
  const failing = new Map<string, Failures>()

  const pausedFor = (user: string) => {
    const failures = failing.get(user)
    if (!failures?.pause) return
    const now = clock.now()
    const left = failures.pausedUntil - now
    if (now - failures.last > WINDOW + failures.pause) failing.delete(user)
    // This one finds out how things are now; those behind it hear what it found.
    else if (left <= 0) Object.assign(failures, { isAsking: true, pausedUntil: now + FIRST_PAUSE })
    else throw again(failures.error, left)
  }

  let isTimerSet = false
  const callNext = () => {
    for (const first of line) {
      if (next > clock.now()) break
      line.delete(first)
      next += interval
      first()
    }
    isTimerSet = line.size > 0
    if (isTimerSet) clock.after(next - clock.now(), callNext)
  }

  return {
    async turn(deadline, state, left) {
      left.throwIfAborted()
      if (interval === 0) return
      const now = clock.now()
      next = Math.max(next, now - burst)
      const mine = next + line.size * interval
      if (mine > deadline) {
        const message = `${state.loginsQueued} logins wait before this one, at ${perSecond} a second: its turn would come too late`
        throw new ProxyError('LOGIN_QUEUE_FULL', message)
      }
      if (mine <= now) {
        next += interval
        return
      }
      if (!isTimerSet) clock.after(next - now, callNext)
      isTimerSet = true
      state.loginsQueued++
      try {
        await timed(state, 'queue', standIn(line, left))
      } finally {
        state.loginsQueued--
      }
    },
    throwIfPaused(user) {
      pausedFor('')
      if (user !== undefined) pausedFor(user)
    },
    succeeded(user) {
      failing.delete('')
      failing.delete(user)
    },
    failed(error, user) {
      if (interval === 0 || error.fromOpenCircuit || !PAUSES_FOR.has(error.code)) return
      const key = concernsUser(error) && user !== undefined ? user : ''
      const now = clock.now()
      let failures = failing.get(key)
      const isOver = failures && now - failures.last > WINDOW + failures.pause
      if (!failures || isOver || !isSame(failures.error, error)) {
        failures = { error, count: 0, last: now, pause: 0, pausedUntil: 0, isAsking: false }
        // Users are named by clients: their number has a bound.
        if (failing.size > 1_000) failing.delete(failing.keys().next().value!)
        failing.set(key, failures)
      }
      failures.count++
      failures.last = now
      const wasOnItsWay = failures.pause > 0 && !failures.isAsking
      if (failures.count < ALIKE || wasOnItsWay) return
      failures.isAsking = false
      failures.pause = Math.min(failures.pause * 2 || FIRST_PAUSE, LONGEST_PAUSE)
      failures.pausedUntil = now + failures.pause
    },
  }
}

/** Resolves when `line` calls; who leaves it rejects with the reason. */
function standIn(line: Set<() => void>, left: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onLeave = () => {
      line.delete(onTurn)
      reject(left.reason)
    }
    const onTurn = () => {
      left.removeEventListener('abort', onLeave)
      resolve()
    }
    left.addEventListener('abort', onLeave, { once: true })
    line.add(onTurn)
  })
}

function again({ code, message, hintValues: values, serverError }: ProxyError, left: number): ProxyError {
  const note = ` (as every login of late; the next is tried in ${Math.ceil(left / 1_000)} s)`
  const details = serverError && { serverError: { ...serverError, message: serverError.message + note } }
  return new ProxyError(code, message + note, { hintValues: { ...values }, fromOpenCircuit: true, ...details })
}

function concernsUser({ code }: ProxyError): boolean {
  return code === 'UPSTREAM_REFUSED_LOGIN' || code === 'AUTH_PLUGIN_UNEXPECTED'
}

function isSame(left: ProxyError, right: ProxyError): boolean {
  return left.code === right.code && left.serverError?.errno === right.serverError?.errno
}
