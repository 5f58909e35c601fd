/** The state of an endpoint in a word, and what to do about each problem. */
import { type Endpoint, formatHostPort, isIndirect } from '../endpoint.ts'
import { shellWord } from '../shell-quote.ts'
import type { EndpointState, ErrorRecord, SignInState } from '../state.ts'
import { hasCredentials } from './health.ts'
import type { LastMinute } from './history.ts'

/** bad: clients get errors now. soon: they will, or some do. unknown: no login has shown anything yet. */
export type Level = 'good' | 'soon' | 'bad' | 'unknown'

export interface Problem {
  level: 'soon' | 'bad'
  /** two or three words */
  word: string
  /** a sentence without its full stop */
  what: string
  /** since when, in Date.now() time, if that is known */
  since?: number
  /** one or more sentences */
  advice: string
  /** to run in a shell; undefined if no command helps */
  command: string | undefined
  /** to open in a browser */
  link?: string
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** So many failures in a row, without a success between them, are more than a coincidence. */
const FAILURES_IN_A_ROW = 3

/** The share of --max-connections from that on the endpoint counts as nearly full. */
const NEARLY_FULL = 0.8

/** The problems of an endpoint, the worst first. @param now Date.now() */
export function problemsOf(state: EndpointState, { failed }: LastMinute, now: number): Problem[] {
  const found = [
    credentials(state, now),
    tunnel(state),
    failingLogins(state, failed),
    connections(state),
    ...certificates(state, now),
    targets(state),
  ].filter(problem => problem !== undefined)
  return found.sort((left, right) => Number(right.level === 'bad') - Number(left.level === 'bad'))
}

/** The level and word of an endpoint. @param problems those of `problemsOf` */
export function stateOf(state: EndpointState, problems: readonly Problem[]): { level: Level; word: string } {
  if (state.retired) return { level: 'unknown', word: 'Closing' }
  const [worst] = problems
  if (worst) return worst
  if (state.outcomes.has('OK')) return { level: 'good', word: 'Working' }
  return { level: 'unknown', word: 'No logins yet' }
}

function credentials(state: EndpointState, now: number): Problem | undefined {
  if (state.signIn) return signIn(state.signIn)
  if (!state.credentialsFailed) return undefined
  const error = newest(state, ({ code }) => code.startsWith('CREDENTIALS_'))
  const toRun = /^Run: (.+?)\.?$/.exec(error?.hint ?? '')?.[1]
  const command = toRun ?? checkCommand(state.endpoint)
  const advice = error ? sentences(toRun ? { ...error, hint: '' } : error) : 'Every login needs AWS credentials.'
  return hasCredentials(state, now)
    ? { level: 'soon', word: 'Renewal fails', what: 'AWS credentials cannot be renewed', advice, command }
    : { level: 'bad', word: 'No credentials', what: 'AWS credentials are unavailable', advice, command }
}

function tunnel({ tunnel, endpoint }: EndpointState): Problem | undefined {
  if (tunnel?.word !== 'failed' || !tunnel.error) return undefined
  const { message, hint } = tunnel.error
  const what = `The tunnel has failed: ${message}`
  return {
    level: 'bad',
    word: 'Tunnel fails',
    what,
    since: tunnel.since,
    advice: hint,
    command: checkCommand(endpoint),
  }
}

/** What a person must do before there are credentials. */
function signIn({ what, url, code, since }: SignInState): Problem {
  const compare = code === undefined ? '' : ` Check that the page shows the code ${code}.`
  const advice = `Clients can connect after that.${compare}`
  return { level: 'bad', word: 'Sign-in needed', what, since, advice, command: undefined, ...(url && { link: url }) }
}

function failingLogins(state: EndpointState, failed: number): Problem | undefined {
  const { failing, outcomes, endpoint, credentialsFailed } = state
  const command = checkCommand(endpoint)
  if (credentialsFailed && failing?.code.startsWith('CREDENTIALS_')) return undefined
  if (failing && (failing.count >= FAILURES_IN_A_ROW || !outcomes.has('OK'))) {
    const { count, code } = failing
    const times = count === 1 ? 'the only login failed' : `${count.toLocaleString('en')} in a row`
    const error = newest(state, other => other.code === code)
    const what = `Every login fails (${times}): ${code}`
    const advice = error ? sentences(error) : ''
    return { level: 'bad', word: 'Every login fails', what, since: failing.since, advice, command }
  }
  if (failed === 0) return undefined
  const logins = failed === 1 ? 'login' : 'logins'
  const what = `${failed.toLocaleString('en')} ${logins} failed in the last minute`
  return { level: 'soon', word: 'Some logins fail', what, advice: 'See the errors below.', command: undefined }
}

function connections({ maxConnections, sessions }: EndpointState): Problem | undefined {
  if (maxConnections === 0 || sessions.size < maxConnections * NEARLY_FULL) return undefined
  const isFull = sessions.size >= maxConnections
  const what = `${sessions.size.toLocaleString('en')} of ${maxConnections.toLocaleString('en')} connections are in use`
  const advice = 'Close idle sessions below, use smaller connection pools, or raise the limit of connections.'
  return { level: isFull ? 'bad' : 'soon', word: isFull ? 'Full' : 'Nearly full', what, advice, command: undefined }
}

function certificates(state: EndpointState, now: number): (Problem | undefined)[] {
  const { certificateExpires, rolesAnywhereCertificateExpires, endpoint } = state
  // https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html has the CAs with automatic rotation.
  const rds = 'RDS replaces it without your help in most cases. Otherwise rotate it in RDS.'
  const files = 'Write the new files to the same paths. The proxy loads them without a restart.'
  return [
    certificate("The database's certificate", certificateExpires, now, DAY_MS, rds, checkCommand(endpoint)),
    certificate('The certificate for clients', state.localCertificateExpires(), now, DAY_MS, files, undefined),
    certificate('The certificate for IAM Roles Anywhere', rolesAnywhereCertificateExpires, now, 0, files, undefined),
  ]
}

/** @param bad below so much time left, it is bad. Seven times that is soon, or six hours for certificates that live for a day. */
function certificate(
  name: string,
  expires: number | undefined,
  now: number,
  bad: number,
  advice: string,
  command: string | undefined,
): Problem | undefined {
  const left = (expires ?? Number.POSITIVE_INFINITY) - now
  if (left > (bad * 7 || HOUR_MS * 6)) return undefined
  const hasExpired = left <= 0
  const hours = Math.floor(left / HOUR_MS)
  const when = hasExpired ? 'has expired' : `expires in ${hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} days`}`
  const word = hasExpired ? 'Certificate expired' : 'Certificate expires'
  return { level: left <= bad ? 'bad' : 'soon', word, what: `${name} ${when}`, advice, command }
}

function targets({ sync }: EndpointState): Problem | undefined {
  if (!sync || sync.outcome === 'unchanged' || sync.outcome === 'changed') return undefined
  const what = `The last pass of sync-targets: ${sync.outcome}`
  const advice = sync.reason ? `${sync.reason}.` : 'See the log.'
  return { level: 'soon', word: 'Targets out of sync', what, advice, command: undefined }
}

function newest({ recentErrors }: EndpointState, fits: (error: ErrorRecord) => boolean): ErrorRecord | undefined {
  return recentErrors.findLast(fits)
}

function sentences({ message, hint }: Pick<ErrorRecord, 'message' | 'hint'>): string {
  // A first word that is no name gets a capital.
  const sentence = message.replace(/^[a-z]+ /, word => word[0]!.toUpperCase() + word.slice(1))
  return hint ? `${sentence}. ${hint}` : `${sentence}.`
}

/** The command that looks at every step of a login. */
function checkCommand(endpoint: Endpoint): string {
  const options = [`--rds-endpoint ${shellWord(formatHostPort(endpoint.rds))}`]
  if (isIndirect(endpoint)) options.push(`--connect ${shellWord(formatHostPort(endpoint.dial))}`)
  if (endpoint.user !== undefined) options.push(`--user ${shellWord(endpoint.user)}`)
  return `mysql-iam-proxy check ${options.join(' ')}`
}
