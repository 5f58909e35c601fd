/** The keys of a configuration file: options, and the keys beside them. */
import { type OptionName, optionNames, optionSpec } from './options.ts'

/** The keys of a file beside the options. */
export const FILE_KEYS = ['endpoints', 'local-users'] as const

/** The keys of an endpoint in a file beside the options. */
export const ENDPOINT_KEYS = ['name', 'local-users', 'sync'] as const

/** The keys of a local user in a file, with their descriptions. */
export const LOCAL_USER_KEYS = {
  name: 'The user name that clients log in with',
  user: "The database user to log in as (default: the endpoint's user, or else the same name)",
  'password-file': 'A file whose one line is the password, or its hash as MySQL stores it',
  'password-env': 'An environment variable with the same content',
  'password-hash': "The hash itself, as mysql-iam-proxy hash-password prints it ('*…', '$A$005$…')",
} as const

/** The options of a `sync` mapping: those of sync-targets alone, without those for a run by hand. */
export const SYNC_KEYS = optionNames.filter(name => {
  const { commands } = optionSpec(name)
  const byHand: OptionName[] = ['watch', 'dry-run', 'json']
  return commands?.includes('sync-targets') && !commands.includes('run') && !byHand.includes(name)
})

/** As options are written here: localUsers and local_users are local-users. */
export function kebab(name: string): string {
  return name
    .replace(/[a-z](?=[A-Z])/g, '$&-')
    .replaceAll('_', '-')
    .toLowerCase()
}

/** Options that describe one database, so they cannot apply to several. In a file they belong to an endpoint. */
export const OF_ONE_ENDPOINT: readonly OptionName[] = ['rds-endpoint', 'connect', 'listen']

/** A file names no other file and holds no password. */
export function mayBeInFile(option: OptionName): boolean {
  const { environmentOnly, flagOnly, commands } = optionSpec(option)
  return option !== 'config' && !environmentOnly && !flagOnly && (commands?.includes('run') ?? true)
}

/** A local user and the place of the password; exactly one of the three is set. */
export interface LocalUserConfig {
  name: string
  user: string | undefined
  passwordFile: string | undefined
  passwordEnv: string | undefined
  passwordHash: string | undefined
  /** The start of a message about a key: its place in the file and its name */
  place(key: string): string
}
