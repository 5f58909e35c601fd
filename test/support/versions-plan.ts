/** Which test files run on which release of Node.js, and for how long. */

/** The oldest that package.json allows, and each even major version since. */
export const VERSIONS = ['20.19', '22', '24', '26'] as const

/** The files that meet most of Node.js: processes and signals, TLS, sockets, timers, zlib. */
export const SMOKE_FILES = [
  'test/main.test.ts',
  'test/lifecycle.test.ts',
  'test/net/wire.test.ts',
  'test/proxy/session-login.test.ts',
  'test/proxy/change-user.test.ts',
  'test/upstream/rate-limiter.test.ts',
  'test/upstream/trust.test.ts',
]

/** CI stops everything after an hour; this leaves room for `npm ci` before, in seconds. */
export const CI_BUDGET_SECONDS = 40 * 60

/** The smoke files take less than this part of the whole suite. */
const SMOKE_SHARE = 0.5

export interface Run {
  version: string
  what: string
  /** for test/support/run.ts */
  args: readonly string[]
  /** the run is stopped after this, and does not count */
  limitSeconds?: number
}

export interface Arguments {
  isCi: boolean
  versions: readonly string[]
  files: readonly string[]
}

/** In CI, 24 comes first: it is the version that the documentation recommends. */
export function parseArguments(args: readonly string[]): Arguments {
  const isCi = args.includes('--ci')
  const isVersion = (argument: string) => /^\d+(\.\d+)*$/.test(argument)
  const named = args.filter(isVersion)
  const files = args.filter(argument => argument !== '--ci' && !isVersion(argument))
  return { isCi, versions: named.length > 0 ? named : isCi ? ['24', '22', '26'] : VERSIONS, files }
}

/**
 * What CI runs on `version`: the suite on 24, a smoke test on others, less where time is short.
 * @param suiteSeconds how long the suite took on the first version
 * @param usedSeconds of CI_BUDGET_SECONDS
 * @returns undefined where there is no time left
 */
export function planRun(version: string, suiteSeconds: number, usedSeconds: number): Run | undefined {
  const left = CI_BUDGET_SECONDS - usedSeconds
  // Twice as long as expected still fits.
  if (version === '24' && left >= 2 * suiteSeconds) return { version, what: 'all', args: [], limitSeconds: left }
  if (left < 2 * SMOKE_SHARE * suiteSeconds) return undefined
  return { version, what: 'smoke', args: SMOKE_FILES, limitSeconds: left }
}
