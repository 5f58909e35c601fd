/** What every part logs to: no format and no destination. */
import type { LogLevel } from './error-codes.ts'

/**
 * A logger: for each level a method that takes an object of fields first, then a message. pino's loggers fit. Errors come
 * with the fields `code` (an ErrorCode) and `hint`.
 */
export type Logger = Record<LogLevel, (fields: object, message: string) => void>

/** From the most important one. */
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const satisfies readonly LogLevel[]

/** A logger of the methods that `at` makes. */
export function loggerOf(at: (level: LogLevel) => Logger[LogLevel]): Logger {
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') }
}

/**
 * A logger that adds `fields()` to each line, before the line's own fields.
 * @param fields makes an object at each call
 */
export function withFields(log: Logger, fields: () => object): Logger {
  return new LoggerWithFields(log, fields)
}

/** Each session has one. Methods take no memory in it, as closures for four levels would. */
class LoggerWithFields implements Logger {
  readonly #log: Logger
  readonly #fields: () => object

  constructor(log: Logger, fields: () => object) {
    this.#log = log
    this.#fields = fields
  }

  error(own: object, message: string): void {
    this.#log.error(this.#with(own), message)
  }

  warn(own: object, message: string): void {
    this.#log.warn(this.#with(own), message)
  }

  info(own: object, message: string): void {
    this.#log.info(this.#with(own), message)
  }

  debug(own: object, message: string): void {
    this.#log.debug(this.#with(own), message)
  }

  #with(own: object): object {
    // A literal with two spreads takes four times as long on Node.js 20.
    return Object.assign(this.#fields(), own)
  }
}

/** A logger that does nothing. */
export const silent: Logger = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }

/** After lines that could not be written. @param why the system's code of the last error */
export function reportDropped(log: Logger, lost: number, why: string): void {
  const lines = lost === 1 ? '1 log line was' : `${lost} log lines were`
  log.warn({ lost, cause: why }, `${lines} dropped while the log could not be written`)
}
