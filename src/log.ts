/** The log, by pino: for people on a terminal, JSON lines otherwise. It never gets a token, password or key. */
import { isatty } from 'node:tty'
import { type LoggerOptions, pino } from 'pino'
import type { LogLevel } from './error-codes.ts'

/**
 * A logger: for each level a method that takes an object of fields first, then a message. pino's loggers fit. Errors come
 * with the fields `code` (an ErrorCode) and `hint`.
 */
export type Logger = Record<LogLevel, (fields: object, message: string) => void>

/**
 * @param format 'auto': pretty on a terminal. pino-pretty is loaded only for that
 * @param fd standard output, or standard error
 */
export async function createLogger(
  level: LogLevel,
  format: 'auto' | 'pretty' | 'json',
  fd: 1 | 2 = 1,
): Promise<Logger> {
  const options: LoggerOptions = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime }
  const isTerminal = isatty(fd)
  const forPeople = format === 'pretty' || (format === 'auto' && isTerminal)
  if (!forPeople) return pino(options, pino.destination({ fd, sync: true }))
  const { default: pretty } = await import('pino-pretty')
  return pino(options, pretty({ colorize: isTerminal, translateTime: 'SYS:HH:MM:ss', sync: true, destination: fd }))
}

/** A logger that does nothing. */
export const silent: Logger = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }
