/** The lines of the program's log as JSON, without pino: for the Lambda function, whose bundle stays small. */
import type { LogLevel } from './error-codes.ts'
import { LOG_LEVELS, type Logger, loggerOf, reportDropped } from './log.ts'
import { type LogSink, openLogSink } from './log-sink.ts'

/**
 * Writes the same lines as createLogger of program-log.ts with the format 'json'.
 * @param sink default: standard output. Each call opens it again
 */
export function createJsonLogger(least: LogLevel, sink?: Pick<LogSink, 'write'>): Logger {
  const target = sink ?? openLogSink(1, (lost, why) => reportDropped(logger, lost, why))
  const logger = loggerOf(level =>
    LOG_LEVELS.indexOf(level) > LOG_LEVELS.indexOf(least)
      ? () => {}
      : (fields, msg) => target.write(`${JSON.stringify({ level, time: new Date().toISOString(), ...fields, msg })}\n`),
  )
  return logger
}
