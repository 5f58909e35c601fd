/** Default and range of each option that the command line and the library share, and how errors name an option. */

const DAY_MS = 24 * 60 * 60 * 1_000

/** The largest count that an option takes. */
const MAX_COUNT = 9_999_999

/** By the library's name of the option. Durations in milliseconds. */
export const OPTION_VALUES = {
  listen: { default: '127.0.0.1:3306' },
  tokenInHandshake: { default: 'auto', choices: ['auto', 'always', 'never'] },
  compress: { default: 'off', choices: ['off', 'auto', 'zlib', 'zstd'] },
  localTls: { default: 'auto', choices: ['auto', 'off'] },
  regionBundle: { default: 'cached', choices: ['cached', 'auto', 'off'] },
  maxConnections: { default: 10_000, min: 0, max: MAX_COUNT },
  maxUnauthenticated: { default: 20, min: 0, max: MAX_COUNT },
  preparedConnections: { default: 0, min: 0, max: 2 },
  maxLoginsPerSecond: { default: 150, min: 0, max: MAX_COUNT },
  connectTimeout: { default: 5_000, min: 1, max: DAY_MS },
  // ssh to a bastion host, with a sign-in or a jump host, takes several TCP round trips and the start of programs.
  tunnelTimeout: { default: 20_000, min: 1, max: DAY_MS },
  tunnelIdleTimeout: { default: 10 * 60_000, min: 0, max: DAY_MS },
  greetingTimeout: { default: 60_000, min: 1, max: DAY_MS },
  loginTimeout: { default: 8_000, min: 1, max: DAY_MS },
  tokenReuse: { default: 0, min: 0, max: 10 * 60_000 },
  keepalive: { default: 60_000, min: 1, max: DAY_MS },
  tcpUserTimeout: { default: 60_000, min: 0, max: DAY_MS },
  clientWriteTimeout: { default: 90_000, min: 0, max: DAY_MS },
  // https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-create-session.html
  rolesAnywhereDuration: { default: 60 * 60_000, min: 15 * 60_000, max: 12 * 60 * 60_000 },
  busyPoll: { default: 0.1, min: 0, max: 1 },
  // Of sync-targets:
  collectAnswers: { default: 'auto', choices: ['auto', 'always', 'never'] },
  confirmations: { default: 6, min: 1, max: MAX_COUNT },
  healthTimeout: { default: 5 * 60_000, min: 1, max: DAY_MS },
  interval: { default: 30_000, min: 1, max: DAY_MS },
} as const

/** How the person who gave the options wrote them. Options go by the library's names here. */
export interface OptionNames {
  /** 'connect', '--connect' or 'MYSQL_IAM_PROXY_CONNECT' */
  name(option: string): string
  /**
   * The name after the place where the option was given, for the start of a message: 'proxy.yaml:5:7: connect'
   * @param index of one of several values
   */
  place(option: string, index?: number): string
}

/** What a user of the library wrote. */
export const LIBRARY_NAMES: OptionNames = {
  name: option => option,
  place: (option, index) => (index === undefined ? option : `${option}[${index}]`),
}
