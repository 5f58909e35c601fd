/** What a configuration file may say: options, and the keys beside them. */
import { type OptionName, optionNames, optionSpec } from './options.ts'

/** The keys of a file beside the options. */
export const FILE_KEYS = ['endpoints', 'local-users'] as const

/** The keys of an endpoint in a file beside the options. */
export const ENDPOINT_KEYS = ['name', 'local-users', 'sync'] as const

/** The keys of a local user in a file, with what each is. */
export const LOCAL_USER_KEYS = {
  name: 'What clients log in as',
  user: 'The database user that it logs in as (default: --user, or else the same name)',
  'password-file': 'A file with its password, or a hash of it as MySQL stores it, on the first line',
  'password-env': 'An environment variable with the same',
  'password-hash': "The hash itself, as mysql-iam-proxy hash-password prints it ('*…', '$A$005$…')",
} as const

/** The options of sync-targets that a `sync` mapping may have: its own, but for what concerns a run by hand. */
export const SYNC_KEYS = optionNames.filter(name => {
  const { commands } = optionSpec(name)
  const isOfRuns: OptionName[] = ['watch', 'dry-run', 'json']
  return commands?.includes('sync-targets') && !commands.includes('run') && !isOfRuns.includes(name)
})

/** A file does not name another one, nor holds a password. */
export function mayBeInFile(option: OptionName): boolean {
  return option !== 'config' && !optionSpec(option).environmentOnly && isOfRun(option)
}

function isOfRun(option: OptionName): boolean {
  return optionSpec(option).commands?.includes('run') ?? true
}

/** A local user, and where its password is; exactly one of the three is there. */
export interface LocalUserConfig {
  name: string
  user: string | undefined
  passwordFile: string | undefined
  passwordEnv: string | undefined
  passwordHash: string | undefined
}
