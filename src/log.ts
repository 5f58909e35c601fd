/** The log, by pino: for people on a terminal, JSON lines otherwise. No token, password or key is ever handed to it. */
import { type DestinationStream, type LoggerOptions, pino } from 'pino'
import pretty from 'pino-pretty'
import type { LogLevel } from './errors.ts'

/** What this project asks of a logger; pino's is one. */
export type Logger = Record<LogLevel, (fields: object, message: string) => void>

/** @param format 'auto': pretty where stdout is a terminal */
export function createLogger(level: LogLevel, format: 'auto' | 'pretty' | 'json'): Logger {
  const options: LoggerOptions = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime }
  const forPeople = format === 'pretty' || (format === 'auto' && process.stdout.isTTY)
  const destination: DestinationStream = forPeople
    ? pretty({ colorize: process.stdout.isTTY, translateTime: 'SYS:HH:MM:ss', sync: true })
    : pino.destination({ fd: 1, sync: true })
  return pino(options, destination)
}

/** A logger that says nothing. */
export const silent: Logger = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} }
