/**
 * Notices a database that accepts connections but sends no greeting. Aurora Serverless does so while it resumes: for about
 * 15 s, and for 30 s or more after a pause of a day.
 * https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2-auto-pause.html
 */
import { type Clock, monotonicClock } from '../clock.ts'
import type { Logger } from '../log.ts'

/** A server that is not paused sends its greeting sooner than this. */
export const SILENT_AFTER_MS = 3_000

/** All connections of an endpoint that wait for their greeting. */
export interface GreetingWatch {
  /** A connection starts to wait. Call the result when it stops. */
  begin(): (greeted: boolean) => void
  /** whether one has waited for SILENT_AFTER_MS, and the database has greeted nobody since */
  isSilent(): boolean
}

/**
 * Logs the silence of a database once while it lasts, not once for each login.
 * @param address of the database, for the log
 * @param onGreeting gets the milliseconds from a connection to its greeting
 */
export function createGreetingWatch(
  address: string,
  log: Logger,
  clock: Clock = monotonicClock,
  onGreeting: (milliseconds: number) => void = () => {},
): GreetingWatch {
  /** when each of them started to wait */
  const waiting = new Map<object, number>()
  /** when the first of the silent ones started; undefined while there is none */
  let silentSince: number | undefined

  const notice = (since: number) => {
    if (silentSince !== undefined) return
    silentSince = since
    const seconds = SILENT_AFTER_MS / 1_000
    log.info(
      {},
      `${address} accepts connections but has sent no greeting for ${seconds} s; a paused Aurora Serverless database takes 15 s and more to resume`,
    )
  }

  return {
    begin() {
      const connection = {}
      const since = clock.now()
      waiting.set(connection, since)
      const cancelTimer = clock.after(SILENT_AFTER_MS, () => notice(since))
      return greeted => {
        cancelTimer()
        if (greeted) onGreeting(clock.now() - since)
        if (!waiting.delete(connection) || silentSince === undefined) return
        if (greeted) {
          const waited = Math.round((clock.now() - silentSince) / 1_000)
          log.info({}, `${address} sent its greeting after ${waited} s`)
        }
        if (greeted || waiting.size === 0) silentSince = undefined
      }
    },
    isSilent: () => silentSince !== undefined,
  }
}
