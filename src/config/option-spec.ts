/** What a row of the option table says, and helpers to write rows. */
import { formatDuration } from '../duration.ts'
import type { ValueCheck } from '../value-checks.ts'

/** The commands of the command line; `run` is a line without a command. Their table is src/commands/table.ts. */
export const COMMAND_NAMES = [
  'run',
  'list',
  'add',
  'remove',
  'check',
  'login',
  'exec',
  'wait',
  'url',
  'explain',
  'docs',
  'config',
  'hash-password',
  'trust',
  'sync-targets',
  'reload',
  'upgrade',
  'stop',
  'service',
  'demo',
  'completion',
  'help',
] as const

export type Command = (typeof COMMAND_NAMES)[number]

/** The commands that work with a served database. */
export const SERVING: readonly Command[] = ['run', 'demo', 'check', 'exec', 'config', 'url']
/** Those that also write the option into a configuration file. */
export const AND_ADD: readonly Command[] = [...SERVING, 'add']
export const AND_SYNC: readonly Command[] = [...SERVING, 'sync-targets']

export interface OptionSpec {
  kind: 'string' | 'strings' | 'boolean' | 'duration' | 'integer'
  /** The flag of one letter, besides the long one */
  short?: string
  /** Stands for the value in --help and in the reference. FILE, FOLDER and NAME of a profile are completed */
  placeholder?: string
  /** As a person writes it */
  default?: string
  choices?: readonly string[]
  /** Of a duration, in milliseconds; of an integer */
  min?: number
  max?: number
  /** The commands that take several values of a 'string'; the others take the last one */
  repeatedBy?: readonly Command[]
  /** Says what is wrong with one value; of a 'string' or each of 'strings' */
  check?: ValueCheck
  /** One value for the whole process, not one for each endpoint */
  perProcess?: boolean
  /** Between several values in one environment variable; default: as in PATH, ':' or on Windows ';' */
  separator?: string
  /** Without it, more is allowed. So an empty environment variable is a mistake, where one of another option counts as not set */
  restricts?: boolean
  /** Another way to say other options on a command line: neither in the environment nor in the file */
  flagOnly?: boolean
  /** Without a flag, because other users can see a command line */
  environmentOnly?: boolean
  /** The commands that take it; default: all that work with a served database */
  commands?: readonly Command[]
  describe: string
}

interface NumberValues {
  readonly default: number
  readonly min: number
  readonly max: number
}

export function duration(values: NumberValues) {
  return { ...values, kind: 'duration', placeholder: 'DURATION', default: formatDuration(values.default) } as const
}

export function integer(values: NumberValues) {
  return { ...values, kind: 'integer', placeholder: 'N', default: String(values.default) } as const
}

export const HOUR_MS = 3_600_000
