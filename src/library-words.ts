/** Hints for users of the library, who have option names in camel case, and neither flags nor a terminal. */
import type { ErrorCode } from './error-codes.ts'

/** Instead of the hints of error-codes.ts, where these speak of the command line. */
export const LIBRARY_HINTS: Partial<Record<ErrorCode, string>> = {
  CONFIG_INVALID:
    'Correct these options of createProxy. The page docs/library.md of the package mysql-iam-proxy explains each one.',
  LISTEN_FAILED: 'Set the option listen to another address or port. Port 0 takes a free one.',
  CREDENTIALS_MISSING:
    'Set the option credentials or profile, or AWS_PROFILE, or give this machine, task or pod an IAM role.',
  CREDENTIALS_MFA_REQUIRED:
    'Use a profile that needs no code, for example of IAM Identity Center, or set the option credentials to a function that asks for it.',
  CLIENT_ACCESS_DENIED: 'Use a user and password of the option localUsers, not those of the database.',
}

/** Names of options in hints, as the command line has them. */
const NAMES = [
  'allow-from',
  'client-write-timeout',
  'local-tls',
  'max-connections',
  'max-logins-per-second',
  'max-unauthenticated',
  'proxy-protocol',
  'rds-endpoint',
  'require-writer',
] as const

const NAME = new RegExp(`(?<![\\w-])(?:${NAMES.join('|')})(?![\\w-])`, 'g')

/** A hint in the words of the library. */
export function inLibraryWords(hint: string): string {
  return hint
    .replace(/run mysql-iam-proxy trust update --rds-endpoint \S+(?=\.)/, "set the option regionBundle to 'auto'")
    .replace('(tls-cert)', '(tls)')
    .replace(NAME, name => name.replace(/-(\w)/g, (_match, letter: string) => letter.toUpperCase()))
}
