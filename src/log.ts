/** The log, by pino: for people on a terminal, JSON lines otherwise. No token, password or key is ever handed to it. */
import { isatty } from 'node:tty'
import { type DestinationStream, type LoggerOptions, pino } from 'pino'
import pretty from 'pino-pretty'
import type { LogLevel } from './errors.ts'

/** What this project asks of a logger; pino's is one. */
export type Logger = Record<LogLevel, (fields: object, message: string) => void>

/** @param format 'auto': pretty where it is a terminal. @param fd standard output, or standard error */
export function createLogger(level: LogLevel, format: 'auto' | 'pretty' | 'json', fd: 1 | 2 = 1): Logger {
  const options: LoggerOptions = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime }
  const isTerminal = isatty(fd)
  const forPeople = format === 'pretty' || (format === 'auto' && isTerminal)
  const destination: DestinationStream = forPeople
    ? pretty({ colorize: isTerminal, translateTime: 'SYS:HH:MM:ss', sync: true, destination: fd })
    : pino.destination({ fd, sync: true })
  return pino(options, destination)
}

/** A logger that says nothing. */
export const silent: Logger = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }
