/** The logger of the host program, which must not be able to end a session. */
import { type Logger, loggerOf } from './log.ts'

/** The same logger, but what it throws, rejects or lacks is ignored: it is the last place where an error could go. */
export function tolerateFailures(logger: Logger): Logger {
  return loggerOf(level => (fields, message) => {
    try {
      // Its methods may use `this`.
      const result: unknown = logger[level](fields, message)
      if (typeof result === 'object' && result !== null && 'then' in result) Promise.resolve(result).catch(() => {})
    } catch {}
  })
}
