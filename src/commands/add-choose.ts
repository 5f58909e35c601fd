/** Which databases `add` adds: one that options name, or those that AWS lists. */
import { regionOfProfile } from '../aws/config-file.ts'
import { readProfileNames } from '../aws/profiles.ts'
import { isOption, type OptionName, optionSpec } from '../config/options.ts'
import type { Settings } from '../config/settings.ts'
import { DEFAULT_PORT, formatHostPort, parseRemote } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import type { Found, FoundDatabase, FoundEndpoint, Reach } from '../list/found.ts'
import { wayTo } from '../list/found.ts'
import { didYouMean } from '../text.ts'
import { regionNameProblem } from '../value-checks.ts'
import type { MfaCredentials } from './mfa-codes.ts'
import { createProgress } from './progress.ts'
import type { Questions } from './questions.ts'

/** A database to add, as far as it is known. */
export interface Candidate {
  /** The name for the file */
  name: string
  /** As an option has it */
  rdsEndpoint: string
  /** The load balancer that leads to it; undefined: the endpoint itself */
  connect: string | undefined
  profile: string | undefined
  /** Why it cannot be reached from here as it is; undefined if it can, or if nobody tried */
  unreachable: string | undefined
}

/** The database of --rds-endpoint. It asks AWS nothing. */
export function givenDatabase(rdsEndpoint: string, name: string | undefined, profile: string | undefined): Candidate {
  const { host, port } = parseRemote(rdsEndpoint, DEFAULT_PORT, '--rds-endpoint')
  return {
    name: name ?? nameFromHost(host),
    rdsEndpoint: shortAddress(host, port),
    connect: undefined,
    profile,
    unreachable: undefined,
  }
}

export interface Finding {
  names: readonly string[]
  settings: Pick<Settings, 'profile' | 'region' | 'ca-only' | 'region-bundle' | 'bundle-cache'>
  /** PEM texts of --ca */
  ca: readonly string[]
  questions: Questions | undefined
  environment: NodeJS.ProcessEnv
  stop: AbortSignal
  /** Problems, for people */
  say(text: string): void
  /** For profiles that need the code of an MFA device; undefined where nobody answers */
  mfa: MfaCredentials | undefined
  /** Why the endpoint of this host is in the file already; '' if it is not */
  inFile(rdsEndpoint: string): string
}

/** Asks AWS, and lets the person choose if no names are given. @throws ProxyError, if there are none or a name is unknown */
export async function findCandidates(finding: Finding): Promise<Candidate[]> {
  const { names, settings, ca, questions, environment, stop, say } = finding
  const profile = await chooseProfile(finding)
  const region = await chooseRegion(finding, profile)
  const { findDatabases } = await import('../list/find.ts')
  const find = () => {
    const progress = createProgress()
    return findDatabases({
      profiles: [profile],
      ...(region === undefined ? {} : { regions: [region] }),
      ca,
      caOnly: settings['ca-only'],
      regionBundle: settings['region-bundle'],
      bundleCache: settings['bundle-cache'],
      credentialsOf: finding.mfa,
      signal: stop,
      onProgress: progress.show,
    }).finally(progress.clear)
  }
  let found = await find()
  const expired = found.problems.find(({ code }) => code === 'CREDENTIALS_SSO_EXPIRED')
  if (expired && questions) {
    say(`${expired.message}.`)
    const { login } = await import('./login.ts')
    await login({ profile, deviceCode: false, noBrowser: false }, { print: say, say }, stop, environment)
    found = await find()
  }
  for (const { code, message, hint, unknown } of found.problems)
    say(`! ${message} (${code}). Unknown: ${unknown}. ${hint}`)
  const all = candidatesIn(found)
  if (all.length === 0) throw nothingFound(found)
  if (names.length > 0) return names.map(name => candidateNamed(name, all, found))
  if (!questions) throw new ProxyError('CONFIG_INVALID', missingNames(all), { hint: NO_TERMINAL })
  const width = Math.max(...all.map(({ candidate }) => candidate.name.length)) + 2
  const choices = all.map(one => ({
    value: one.candidate,
    label: `${one.candidate.name.padEnd(width)}${describe(one, finding.inFile(one.candidate.rdsEndpoint))}`,
  }))
  const [only, ...others] = all.map(({ candidate }) => candidate)
  const isNew = others.length === 0 && finding.inFile(only!.rdsEndpoint) === ''
  return await questions.chooseSome('Which databases? Space selects, Enter goes on', choices, isNew ? [only!] : [])
}

/** For people without a terminal. */
export const NO_TERMINAL =
  'Without a terminal, add asks nothing: give each value as an option. See mysql-iam-proxy add --help.'

function missingNames(all: readonly Listed[]): string {
  return `add: NAME is missing; there are ${all.map(({ candidate }) => candidate.name).join(', ')}`
}

/** The profile that the file should name: of --profile, of AWS_PROFILE, or the answer. undefined: the credential chain */
export async function chooseProfile({
  settings,
  questions,
  environment,
}: Pick<Finding, 'settings' | 'questions' | 'environment'>): Promise<string | undefined> {
  const given = settings.profile ?? (environment.AWS_PROFILE || undefined)
  if (given !== undefined || !questions || environment.AWS_ACCESS_KEY_ID) return given
  const { profiles } = await readProfileNames(environment)
  if (profiles.every(name => name === 'default')) return undefined
  const named = profiles.filter(name => name !== 'default')
  const chain = { value: undefined, label: 'default', hint: 'the credentials that the AWS SDK finds without a profile' }
  const others = named.map(name => ({ value: name, label: name }))
  return await questions.chooseOne<string | undefined>(
    'Which profile of ~/.aws/config?',
    profiles.includes('default') ? [chain, ...others] : [...others, chain],
  )
}

/** The region to look in; undefined: that of the profile. */
async function chooseRegion(
  { settings, questions, environment }: Finding,
  profile: string | undefined,
): Promise<string | undefined> {
  if (settings.region !== undefined || !questions) return settings.region
  if ((await regionOfProfile(profile, environment)) !== undefined) return undefined
  return await questions.text('Which AWS region?', { problem: regionNameProblem })
}

interface Listed {
  candidate: Candidate
  database: FoundDatabase
  endpoint: FoundEndpoint
}

/** Every endpoint of MySQL's protocol, with a name that no other one has, unless it is in another region. */
export function candidatesIn({ databases }: Pick<Found, 'databases'>): Listed[] {
  return databases.flatMap(database =>
    database.endpoints.map(endpoint => {
      const { loadBalancer, isReachable } = wayTo(endpoint)
      // Of a public database, the way is the internet: another address would not help.
      const isUnreachable = isReachable === false && !loadBalancer && database.public !== true
      const candidate = {
        name: nameOf(endpoint),
        rdsEndpoint: shortAddress(endpoint.host, endpoint.port),
        connect: loadBalancer && shortAddress(loadBalancer.host, loadBalancer.port),
        profile: database.profile,
        unreachable: isUnreachable ? (endpoint.reach?.reason ?? 'nothing answers') : undefined,
      }
      return { candidate, database, endpoint }
    }),
  )
}

/** Without dots: list calls endpoints by their host if several have the same name. */
function nameOf({ name, role }: FoundEndpoint): string {
  if (!name.includes('.')) return name
  const first = nameFromHost(name)
  return role === 'reader' || role === 'proxy' ? `${first}-${role}` : first
}

function nameFromHost(host: string): string {
  return host.split('.')[0]!
}

function shortAddress(host: string, port: number): string {
  return port === DEFAULT_PORT ? host : formatHostPort({ host, port })
}

function candidateNamed(name: string, all: readonly Listed[], { complete }: Found): Candidate {
  const matching = all.filter(
    ({ candidate, endpoint }) =>
      candidate.name === name || endpoint.name === name || endpoint.host === name.toLowerCase(),
  )
  const [found, ...others] = matching
  const names = all.map(({ candidate }) => candidate.name)
  if (!found) {
    const missing = complete ? '' : '; some databases could not be listed'
    const message = `${name}: no such database; there are ${names.join(', ')}${didYouMean(name, names)}${missing}`
    throw new ProxyError('CONFIG_INVALID', message)
  }
  if (others.length > 0) {
    const hosts = matching.map(({ endpoint }) => endpoint.host).join(', ')
    throw new ProxyError('CONFIG_INVALID', `${name}: several databases have this name; write one of ${hosts}`)
  }
  return found.candidate
}

/** In a few words, for a line of the list. */
function describe({ database, endpoint }: Listed, inFile: string): string {
  const { engine, version, iam, status } = database
  const { loadBalancer, isReachable } = wayTo(endpoint)
  const where = loadBalancer ? `through ${loadBalancer.name}` : database.public ? 'public' : 'private'
  const words = [
    `${engine} ${version ?? ''}`.trim(),
    ...(endpoint.role === 'instance' ? [] : [endpoint.role]),
    where,
    ...(status === 'available' ? [] : [status]),
    ...(iam === 'off' ? ['IAM is off'] : []),
    ...(isReachable === undefined ? [] : [isReachable ? 'reachable' : reachWord(endpoint.reach)]),
    ...(inFile === '' ? [] : [inFile]),
  ]
  return words.join(', ')
}

function reachWord(reach: Reach | undefined): string {
  return reach?.state === 'other' ? 'another server answers' : 'not reachable'
}

function nothingFound({ problems, complete }: Found): ProxyError {
  const [problem] = problems
  if (!complete && problem) return new ProxyError(problem.code, problem.message, { hint: problem.hint })
  const hint =
    'Look in other regions with mysql-iam-proxy list --region NAME, or name the database with --rds-endpoint.'
  return new ProxyError('CONFIG_INVALID', 'add: there is no MySQL or MariaDB database in this region', { hint })
}

/** The options that lead to a private database without a load balancer. */
const WAYS = [
  ['ssm-target', 'Session Manager, through an instance or a task', 'Its id: i-…, mi-… or ecs:…'],
  ['tunnel', 'A command that makes a local port, such as ssh', 'The command, with {localPort}, {host} and {port}'],
  ['connect', 'Another address, such as a load balancer', 'HOST or HOST:PORT'],
] as const

/** How to reach a database that nobody reaches as it is: an option and its value; undefined: as it is. */
export async function askForWay(candidate: Candidate, questions: Questions): Promise<[string, string] | undefined> {
  const known = WAYS.filter(([option]) => isOption(option))
  const way = await questions.chooseOne(
    `${candidate.name} is private, and this machine does not reach it. Which way leads there?`,
    [
      ...known.map(way => ({ value: way as (typeof WAYS)[number] | undefined, label: way[1], hint: `--${way[0]}` })),
      { value: undefined, label: 'None is needed', hint: 'for example, a VPN that is off now' },
    ],
  )
  if (!way) return undefined
  const [option, , question] = way
  const { check } = optionSpec(option as OptionName)
  const answer = await questions.text(question, {
    problem: text => (text === '' ? 'a value is required' : check?.(text)),
  })
  return [option, answer]
}

/** The same as options, for people without a terminal. */
export function wayOptions(): string {
  return WAYS.flatMap(([option]) => (isOption(option) ? [`--${option}`] : [])).join(', ')
}
