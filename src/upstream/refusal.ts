/**
 * Why a server has probably refused a token. Its ERROR 1045 is the same in all cases, but the proxy knows its clock, its
 * credentials and the logins before.
 * https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Troubleshooting.html
 */
import { clockAhead } from '../aws/clock-ahead.ts'
import { type Clock, monotonicClock, wallClockAgainstUptime } from '../clock.ts'

/** AWS refuses signatures from further in the future. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html */
export const MAX_AHEAD_MS = 5 * 60_000

/** A token expires this long after it was signed. */
export const MAX_BEHIND_MS = 15 * 60_000

/** A policy, an account or a setting rarely changes within this time. */
const RECENT_MS = 60_000

/** How often the clocks are read: not at each login. */
const CLOCKS_EVERY_MS = 1_000

/** Users whose last login is kept: clients choose the names. */
const MAX_USERS = 1_000

/** Temporary credentials in the environment or in ~/.aws/credentials do not say when they expire. */
const UNKNOWN_EXPIRY_HINT =
  "Check rds-db:connect in the IAM policy for user '{user}' (case matters), that IAM authentication is on, region {region}, this machine's clock, and that the temporary AWS credentials have not expired. mysql-iam-proxy check prints the policy."

/** A token that the server has refused. */
export interface Refused {
  user: string
  token: string
  /** whether the server asked for a token, or took it as the answer to a method that it expects */
  expectsToken: boolean
  /** when the credentials expire, in Date.now() time; undefined if unknown or never */
  credentialsExpire: number | undefined
}

/** The logins of an endpoint so far. */
export interface LoginHistory {
  succeeded(user: string, token: string): void
  /** What to do about the most probable reason, with {user} for the user; undefined if nothing points to one */
  hintFor(refused: Refused): string | undefined
}

/** The clocks, which tests replace. */
export interface Clocks {
  clock?: Clock
  /** as Date.now() */
  wallNow?: () => number
  /** as `wallClockAgainstUptime` */
  wallOffset?: () => number
  /** as `clockAhead` */
  ahead?: () => number | undefined
}

export function createLoginHistory({
  clock = monotonicClock,
  wallNow = Date.now,
  wallOffset = wallClockAgainstUptime,
  ahead = clockAhead,
}: Clocks = {}): LoginHistory {
  /** the last login of each user that succeeded */
  const lastOf = new Map<string, { at: number; keyId: string }>()
  /** wallOffset() at the last login that succeeded */
  let rightOffset: number | undefined
  let offsetAt = Number.NEGATIVE_INFINITY

  return {
    succeeded(user, token) {
      const at = clock.now()
      if (at - offsetAt >= CLOCKS_EVERY_MS) {
        rightOffset = wallOffset()
        offsetAt = at
      }
      lastOf.delete(user)
      if (lastOf.size >= MAX_USERS) lastOf.delete(lastOf.keys().next().value!)
      lastOf.set(user, { at, keyId: keyIdOf(token) })
    },
    hintFor({ user, token, expectsToken, credentialsExpire }) {
      const isTemporary = token.includes('X-Amz-Security-Token=')
      const last = lastOf.get(user)
      const isSameKey = last?.keyId === keyIdOf(token)
      if (credentialsExpire !== undefined && credentialsExpire <= wallNow()) {
        return `The AWS credentials that signed the token expired at ${time(credentialsExpire)}, and the token with them. Get new ones.`
      }
      const skew = ahead()
      if (skew !== undefined && isWrong(skew)) {
        return `The clock of this machine is ${minutes(skew)} ${skew > 0 ? 'ahead of' : 'behind'} AWS, so its tokens are invalid. Synchronize it (NTP).`
      }
      const step = rightOffset === undefined ? 0 : wallOffset() - rightOffset
      if (skew === undefined && isWrong(step)) {
        return `The clock of this machine was set ${minutes(step)} ${step > 0 ? 'forward' : 'back'} since the last login. Check it (NTP): a token contains the time.`
      }
      if (!expectsToken) {
        return "The user does not exist, may not log in from here, or was not created for IAM: CREATE USER '{user}' IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'."
      }
      if (last && isSameKey && clock.now() - last.at < RECENT_MS) {
        const seconds = Math.round((clock.now() - last.at) / 1_000)
        return `The same user logged in ${seconds} s ago, so AWS may be throttling (200 logins per second), or the database lacks memory for IAM (300 to 1000 MiB). Retry more slowly; if it persists, check rds-db:connect in the IAM policy.`
      }
      if (isTemporary && credentialsExpire === undefined) {
        if (!last || !isSameKey) return UNKNOWN_EXPIRY_HINT
        const until = time(wallNow() - (clock.now() - last.at))
        return `The AWS credentials are temporary and worked until ${until}, so they have probably expired. Get new ones. If they are valid, check rds-db:connect in the IAM policy for '{user}'.`
      }
      return undefined
    },
  }
}

function keyIdOf(token: string): string {
  return /[?&]X-Amz-Credential=(\w+)/.exec(token)?.[1] ?? ''
}

function isWrong(ahead: number): boolean {
  return ahead > MAX_AHEAD_MS || -ahead > MAX_BEHIND_MS
}

function minutes(milliseconds: number): string {
  return `${Math.round(Math.abs(milliseconds) / 60_000)} min`
}

/** '14:03:07Z' */
function time(at: number): string {
  return new Date(at).toISOString().slice(11, 19).concat('Z')
}
