/** The log of the program, by pino: for people on a terminal, JSON lines otherwise. It never gets a token, password or key. */
import { isatty } from 'node:tty'
import { type LoggerOptions, pino } from 'pino'
import type { LogLevel } from './error-codes.ts'
import { type Logger, reportDropped } from './log.ts'
import { openLogSink } from './log-sink.ts'
import { wantsColours } from './text.ts'

/**
 * @param format 'auto': pretty on a terminal. pino-pretty is loaded only for that
 * @param fd standard output, or standard error
 */
export async function createLogger(
  level: LogLevel,
  format: 'auto' | 'pretty' | 'json',
  fd: 1 | 2 = 1,
): Promise<Logger> {
  const options: LoggerOptions = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: label => ({ level: label }) },
  }
  const isTerminal = isatty(fd)
  const forPeople = format === 'pretty' || (format === 'auto' && isTerminal)
  const toLine = forPeople ? await createFormatter(wantsColours(isTerminal)) : (json: string) => json
  const sink = openLogSink(fd, (lost, why) => reportDropped(logger, lost, why))
  const logger: Logger = pino(options, { write: (json: string) => sink.write(toLine(json)) })
  return logger
}

/** Formats a JSON line for people. Clients choose names: none may forge a line or send codes to the terminal. */
export async function createFormatter(colorize: boolean): Promise<(json: string) => string> {
  const { default: pinoPretty } = await import('pino-pretty')
  const format = pinoPretty.prettyFactory({
    colorize,
    translateTime: 'SYS:HH:MM:ss',
    // The other fields are formatted as JSON, which escapes these itself.
    messageFormat: ({ msg, about }) => (about === undefined ? plain(msg) : `${plain(msg)}\n    ${about}`),
    ignore: 'about',
  })
  return json => format(withoutSession(JSON.parse(json))).replace(INVISIBLE, escaped)
}

/** With the fields that all lines of a session have as one text, `about`. Others stay as they are. */
function withoutSession(line: Record<string, unknown>): Record<string, unknown> {
  if (!('session' in line)) return line
  const { endpoint, session, localUser, user, client, threadId, ...others } = line
  const users = [localUser, user].filter(name => name !== undefined).map(plain)
  const who = [...new Set(users)].join(' → ') || 'unknown user'
  const thread = threadId === undefined ? '' : `, thread ${plain(threadId)}`
  const where = endpoint === undefined ? '' : `${plain(endpoint)}, `
  return { ...others, about: `${where}session ${plain(session)}: ${who} from ${plain(client)}${thread}` }
}

/** Text from a client or a server, with its line ends and escape sequences made visible. */
function plain(value: unknown): string {
  return String(value).replace(CONTROL, escaped)
}

/** Line ends and escape sequences. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it looks for
const CONTROL = /[\x00-\x1f]/g

/** DEL and C1 controls, line separators and text direction, which JSON does not escape. */
const INVISIBLE = /[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

function escaped(character: string): string {
  return character < ' '
    ? JSON.stringify(character).slice(1, -1)
    : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
