/** The lines of the program's log as JSON, without pino: for the Lambda function, whose bundle stays small. */
import type { LogLevel } from './error-codes.ts'
import { type Logger, reportDropped } from './log.ts'
import { type LogSink, openLogSink } from './log-sink.ts'

/** From the most important one. */
const LEVELS: readonly LogLevel[] = ['error', 'warn', 'info', 'debug']

/**
 * Writes the same lines as createLogger of program-log.ts with the format 'json'.
 * @param sink default: standard output. Each call opens it again
 */
export function createJsonLogger(least: LogLevel, sink?: Pick<LogSink, 'write'>): Logger {
  const target = sink ?? openLogSink(1, (lost, why) => reportDropped(logger, lost, why))
  const at = (level: LogLevel) =>
    LEVELS.indexOf(level) > LEVELS.indexOf(least)
      ? () => {}
      : (fields: object, msg: string) =>
          target.write(`${JSON.stringify({ level, time: new Date().toISOString(), ...fields, msg })}\n`)
  const logger: Logger = { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') }
  return logger
}
