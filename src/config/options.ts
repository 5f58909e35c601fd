/**
 * Every option, once, by group. From this table come flags, environment variables, file keys, --help, completions, the JSON
 * schema and docs/reference.md. A new option is one row in a file of options/.
 */
import { type Command, type OptionSpec, SERVING } from './option-spec.ts'
import { CLIENTS } from './options/clients.ts'
import { OF_COMMANDS } from './options/commands.ts'
import { COMMON } from './options/common.ts'
import { CREDENTIALS } from './options/credentials.ts'
import { DATABASE } from './options/database.ts'
import { LIMITS } from './options/limits.ts'
import { PROCESS } from './options/process.ts'
import { SYNC_TARGETS } from './options/sync-targets.ts'

export type { Command, OptionSpec } from './option-spec.ts'

export const OPTIONS = {
  ...COMMON,
  ...OF_COMMANDS,
  ...SYNC_TARGETS,
  ...DATABASE,
  ...CREDENTIALS,
  ...CLIENTS,
  ...LIMITS,
  ...PROCESS,
} as const

export type OptionName = keyof typeof OPTIONS

export const optionNames = Object.keys(OPTIONS) as OptionName[]

/** The groups of --help and of docs/reference.md, the common options first. */
export const OPTION_GROUPS: readonly { title: string; options: OptionName[] }[] = [
  { title: 'Common options', options: namesOf(COMMON) },
  { title: 'Options of single commands', options: namesOf(OF_COMMANDS) },
  { title: 'NLB targets', options: namesOf(SYNC_TARGETS) },
  { title: 'Way to the database and trust', options: namesOf(DATABASE) },
  { title: 'IAM Roles Anywhere', options: namesOf(CREDENTIALS) },
  { title: 'Clients', options: namesOf(CLIENTS) },
  { title: 'Limits and timeouts', options: namesOf(LIMITS) },
  { title: 'Log, health and shutdown', options: namesOf(PROCESS) },
]

function namesOf(group: Partial<typeof OPTIONS>): OptionName[] {
  return Object.keys(group) as OptionName[]
}

export function isOption(name: string): name is OptionName {
  return Object.hasOwn(OPTIONS, name)
}

/** The options with a flag that `command` takes, in the table's order. */
export function optionsOf(command: Command): OptionName[] {
  return optionNames.filter(name => {
    const { commands, environmentOnly } = optionSpec(name)
    return !environmentOnly && (commands ?? SERVING).includes(command)
  })
}

/** A row of the table as an OptionSpec, for code that handles all of them. */
export const optionSpec = (name: OptionName): OptionSpec => OPTIONS[name]

/** The start of the names of all our environment variables. */
export const ENVIRONMENT_PREFIX = 'MYSQL_IAM_PROXY_'

/** The environment variable of an option: MYSQL_IAM_PROXY_RDS_ENDPOINT for rds-endpoint. */
export function environmentName(option: string): string {
  return ENVIRONMENT_PREFIX + option.toUpperCase().replaceAll('-', '_')
}
