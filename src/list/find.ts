/** Finds the databases that credentials may see, what leads to them, and what of it this machine reaches. */
import { lookup } from 'node:dns/promises'
import { setMaxListeners } from 'node:events'
import { isIP, type LookupFunction } from 'node:net'
import { unlessAborted } from '../abort.ts'
import { canonicalAddress } from '../address.ts'
import { clientSettings, explainAwsError } from '../aws/api.ts'
import { regionOfProfile } from '../aws/config-file.ts'
import type { MfaCodes } from '../aws/credential-types.ts'
import { type CredentialsProvider, createCredentials } from '../aws/credentials.ts'
import { createAwsAgent } from '../aws/https-agent.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import type { ErrorCode } from '../error-codes.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import { OPTION_VALUES } from '../option-values.ts'
import type { DialTools } from '../upstream/dial.ts'
import { createRegionBundle } from '../upstream/region-bundle.ts'
import { createTrust, type Trust } from '../upstream/trust.ts'
import { type Action, purposeOf } from './actions.ts'
import { mapBounded } from './bounded.ts'
import { type Call, databasesIn, describeRegion } from './databases.ts'
import type { Found, FoundDatabase, Problem, Reach, Scope } from './found.ts'
import { findRoutes, loadBalancersOf, type Route } from './load-balancers.ts'
import { reasonNotToTry, tryToReach } from './reach.ts'

export interface FindOptions {
  /** profiles of ~/.aws/config; undefined in the list, or no list: the credential chain of the AWS SDK */
  profiles?: readonly (string | undefined)[]
  /** default: the region of each profile */
  regions?: readonly string[] | 'all' | undefined
  /** for profiles with `mfa_serial`; default: they are a problem */
  codes?: MfaCodes | undefined
  /** credentials of a profile that the caller shares; undefined: this makes its own */
  credentialsOf?:
    | ((profile: string | undefined, region: string) => Promise<CredentialsProvider | undefined>)
    | undefined
  /** whether to connect to the databases; default: true */
  reach?: boolean
  /** PEM texts of CAs, in addition to the RDS bundle and the public roots */
  ca?: readonly string[] | undefined
  /** trust only `ca` */
  caOnly?: boolean | undefined
  /** which downloaded CA certificates of RDS to trust; default 'cached' */
  regionBundle?: 'cached' | 'auto' | 'off' | undefined
  /** their folder; default: none */
  bundleCache?: string | undefined
  signal?: AbortSignal
  /** gets a word for people on what it waits for */
  onProgress?: (text: string) => void
  tools?: FindTools
}

/** What tests replace. */
export interface FindTools {
  /** the addresses of a name; [] if it has none */
  resolve?: (host: string) => Promise<string[]>
  clock?: Clock
}

/** Regions that are asked at a time. */
const SCOPES = 16

/** Connections that are tried at a time. */
const CONNECTIONS = 50

/** Attempts for a call that is throttled. */
const MAX_ATTEMPTS = 5

/** Name servers may not answer. */
const LOOKUP_TIMEOUT_MS = 5_000

/** Used to ask for the regions if the profile has none. */
const ANY_REGION = 'us-east-1'

/**
 * Never rejects because of AWS or credentials: see `problems` and `complete` of the result. Rejects when `signal` aborts.
 * @throws ProxyError CONFIG_INVALID if a profile has no region and none is given
 */
export async function findDatabases(options: FindOptions = {}): Promise<Found> {
  const { profiles = [undefined], onProgress = () => {} } = options
  const signal = AbortSignal.any(options.signal ? [options.signal] : [])
  // Every call listens to it.
  setMaxListeners(0, signal)
  const problems: Problem[] = []
  const note = (problem: Problem) => void problems.push(problem)
  onProgress('asking AWS for databases')
  const perProfile = await Promise.all(
    [...new Set(profiles)].map(profile => findInProfile(profile, options, signal, note)),
  )
  const databases = perProfile.flatMap(found => found.databases).sort(byName)
  if (databases.length > 0) {
    await unlessAborted(addAddresses(databases, options.tools), signal)
    const regions = new Set(databases.map(({ region }) => region))
    onProgress('asking AWS for load balancers')
    const routes = await Promise.all(
      perProfile.map(({ scopes }) =>
        routesIn(
          scopes.filter(({ region }) => regions.has(region)),
          addressesOf(databases),
          signal,
          note,
        ),
      ),
    )
    for (const database of databases) {
      for (const endpoint of database.endpoints) {
        endpoint.loadBalancers = loadBalancersOf(endpoint, database, routes.flat())
      }
    }
    if (options.reach ?? true) await addReach(databases, options, signal, onProgress)
  }
  signal.throwIfAborted()
  const complete = !problems.some(({ action }) => action === undefined || action.startsWith('rds:'))
  const rejectedRegions = perProfile.flatMap(found => found.rejectedRegions)
  return { databases, problems, complete, rejectedRegions }
}

type Note = (problem: Problem) => void

/** A region, and the credentials to ask in it. */
interface OpenScope extends Scope {
  credentials: CredentialsProvider
}

interface FoundInProfile {
  databases: FoundDatabase[]
  /** the regions that were asked */
  scopes: OpenScope[]
  rejectedRegions: Scope[]
}

async function findInProfile(
  profile: string | undefined,
  { regions, codes, credentialsOf }: FindOptions,
  signal: AbortSignal,
  note: Note,
): Promise<FoundInProfile> {
  const given = regions === undefined || regions === 'all' ? [] : regions
  const home = given[0] ?? (await regionOfProfile(profile)) ?? (regions === 'all' ? ANY_REGION : undefined)
  if (home === undefined) {
    const whose = profile === undefined ? 'the default profile' : `the profile ${profile}`
    throw new ProxyError('CONFIG_INVALID', `--region: ${whose} has no region; give one, or all`)
  }
  const shared = await credentialsOf?.(profile, home)
  const credentials = shared ?? createCredentials({ profile, region: home, codes })
  try {
    await unlessAborted(credentials(), signal)
  } catch (thrown) {
    signal.throwIfAborted()
    const error = asProxyError(thrown)
    note({ profile, region: undefined, action: undefined, ...spoken(error), unknown: 'all databases of this profile' })
    return { databases: [], scopes: [], rejectedRegions: [] }
  }
  const open = (region: string): OpenScope => ({ profile, region, credentials })
  let scopes = (given.length > 0 ? [...new Set(given)] : [home]).map(open)
  if (regions === 'all') scopes = (await allRegions(open(home), signal, note)).map(open)
  const results = await mapBounded(scopes, SCOPES, scope => databasesOf(scope, signal))
  const rejecting = regions === 'all' ? results.filter(isRejecting) : []
  const counted = rejecting.length < results.length ? results.filter(result => !rejecting.includes(result)) : results
  for (const problem of counted.flatMap(result => result.problems)) note(problem)
  return {
    databases: counted.flatMap(result => result.databases),
    scopes: counted.map(result => result.scope),
    rejectedRegions: results
      .filter(result => !counted.includes(result))
      .map(({ scope }) => ({ profile, region: scope.region })),
  }
}

/**
 * Whether a region rejects credentials that are known to be good elsewhere. RDS has two errors for regions that an account
 * has not enabled: https://github.com/boto/boto3/issues/2381
 */
function isRejecting({ problems }: Listed): boolean {
  const isRejection = ({ code, message }: Problem) =>
    code === 'CREDENTIALS_REJECTED' || /\bOptInRequired\b/.test(message)
  return problems.length > 0 && problems.every(isRejection)
}

/** The regions of the partition, sorted. Without the permission, only the one that was asked. */
async function allRegions(scope: OpenScope, signal: AbortSignal, note: Note): Promise<string[]> {
  const rds = await import('../aws/sdk-rds.ts')
  const client = new rds.RDSClient(settingsOf(scope))
  try {
    const action = 'rds:DescribeSourceRegions'
    const found = await callIn(
      scope,
      signal,
      note,
    )(action, async () => {
      const names: string[] = []
      for await (const page of rds.paginateDescribeSourceRegions({ client }, {}, { abortSignal: signal })) {
        names.push(...(page.SourceRegions ?? []).flatMap(({ RegionName }) => RegionName ?? []))
      }
      return names
    })
    return [...new Set([scope.region, ...found])].sort()
  } finally {
    client.destroy()
  }
}

interface Listed {
  scope: OpenScope
  databases: FoundDatabase[]
  problems: Problem[]
}

async function databasesOf(scope: OpenScope, signal: AbortSignal): Promise<Listed> {
  const problems: Problem[] = []
  const { RDSClient } = await import('../aws/sdk-rds.ts')
  const client = new RDSClient(settingsOf(scope))
  try {
    const { profile, region } = scope
    const descriptions = await describeRegion(
      client,
      callIn(scope, signal, problem => void problems.push(problem)),
      signal,
    )
    const databases = databasesIn(descriptions, { profile, region })
    return { scope, databases, problems }
  } finally {
    client.destroy()
  }
}

async function routesIn(
  scopes: readonly OpenScope[],
  addresses: ReadonlySet<string>,
  signal: AbortSignal,
  note: Note,
): Promise<Route[]> {
  const { ElasticLoadBalancingV2Client } = await import('../aws/sdk-elb.ts')
  const routes = await mapBounded(scopes, SCOPES, async scope => {
    const client = new ElasticLoadBalancingV2Client(settingsOf(scope))
    try {
      const { profile, region } = scope
      return await findRoutes(client, { profile, region }, addresses, callIn(scope, signal, note), signal)
    } finally {
      client.destroy()
    }
  })
  return routes.flat()
}

function settingsOf({ region, credentials, profile }: OpenScope) {
  return { ...clientSettings(region, credentials, createAwsAgent({ profile })), maxAttempts: MAX_ATTEMPTS }
}

/** Calls AWS in `scope`. Notes the first failure of each action, and goes on without its answer. */
function callIn({ profile, region }: Scope, signal: AbortSignal, note: Note): Call {
  const failed = new Set<Action>()
  return async (action, send) => {
    // The same answer would come again.
    if (failed.has(action)) return []
    try {
      return await send()
    } catch (thrown) {
      signal.throwIfAborted()
      if (failed.has(action)) return []
      failed.add(action)
      const error = explainAwsError(thrown, action)
      note({ profile, region, action, ...spoken(error), unknown: purposeOf(action) })
      return []
    }
  }
}

/** Other hints of these codes are about check. */
const HINTS: Partial<Record<ErrorCode, string>> = {
  AWS_ACCESS_DENIED: 'Allow it: mysql-iam-proxy list --print-policy prints the policy.',
  AWS_UNREACHABLE: 'Check the network. A private subnet reaches AWS only through a NAT gateway or a VPC endpoint.',
  AWS_NOT_FOUND: 'Run it again: something was removed meanwhile.',
}

function spoken(error: ProxyError): Pick<Problem, 'code' | 'message' | 'hint'> {
  const { code, message } = error
  return { code, message, hint: HINTS[code] ?? hintFor(error, {}) }
}

function byName(left: FoundDatabase, right: FoundDatabase): number {
  const keys = ({ profile = '', region, identifier, kind }: FoundDatabase) => [profile, region, identifier, kind]
  const [one, other] = [keys(left), keys(right)]
  const at = one.findIndex((key, index) => key !== other[index])
  return at < 0 ? 0 : one[at]! < other[at]! ? -1 : 1
}

/** Looks up every endpoint. The addresses of a cluster's instances also count for its reader and custom endpoints. */
async function addAddresses(databases: readonly FoundDatabase[], tools: FindTools = {}): Promise<void> {
  const { resolve = addressesByDns, clock = monotonicClock } = tools
  const endpoints = databases.flatMap(database => database.endpoints)
  await Promise.all(
    endpoints.map(async endpoint => {
      let cancel = () => {}
      const late = new Promise<string[]>(resolve => {
        cancel = clock.after(LOOKUP_TIMEOUT_MS, () => resolve([]))
      })
      const found = await Promise.race([resolve(endpoint.host), late])
      cancel()
      endpoint.addresses = [...new Set(found.map(address => canonicalAddress(address) ?? address))].sort()
    }),
  )
  for (const { kind, identifier, profile, region, endpoints } of databases) {
    if (kind !== 'cluster') continue
    const members = databases.filter(
      each => each.cluster === identifier && each.profile === profile && each.region === region,
    )
    const ofMembers = addressesOf(members)
    for (const endpoint of endpoints.filter(({ role }) => role === 'reader' || role === 'custom')) {
      endpoint.addresses = [...new Set([...endpoint.addresses, ...ofMembers])].sort()
    }
  }
}

function addressesOf(databases: readonly FoundDatabase[]): Set<string> {
  return new Set(databases.flatMap(({ endpoints }) => endpoints.flatMap(({ addresses }) => addresses)))
}

async function addressesByDns(host: string): Promise<string[]> {
  const found = await lookup(host, { all: true }).catch(() => [])
  return found.map(({ address }) => address)
}

/** Tries every endpoint and every load balancer, in parallel. */
async function addReach(
  databases: readonly FoundDatabase[],
  options: FindOptions,
  signal: AbortSignal,
  onProgress: (text: string) => void,
): Promise<void> {
  const trusts = new Map<string, Trust>()
  const trustOf = (region: string) => {
    const known = trusts.get(region) ?? createTrustFor(region, options)
    trusts.set(region, known)
    return known
  }
  const attempts: { database: FoundDatabase; run: () => Promise<Reach>; keep: (reach: Reach) => void }[] = []
  for (const database of databases) {
    for (const endpoint of database.endpoints) {
      for (const target of [endpoint, ...endpoint.loadBalancers]) {
        attempts.push({
          database,
          run: () => tryToReach(target, endpoint, trustOf(database.region), signal, dialToolsOf(options.tools)),
          keep: reach => {
            target.reach = reach
          },
        })
      }
    }
  }
  onProgress(`trying ${attempts.length} ${attempts.length === 1 ? 'address' : 'addresses'}`)
  await mapBounded(attempts, CONNECTIONS, async ({ database, run, keep }) => {
    const reason = reasonNotToTry(database)
    keep(reason ? { state: 'not-tried', code: undefined, reason, milliseconds: undefined } : await run())
  })
}

/** With `resolve` also for connections, if it is given. */
function dialToolsOf({ resolve, clock }: FindTools = {}): DialTools {
  const lookup: LookupFunction = (host, _options, done) =>
    void resolve!(host).then(
      found =>
        done(
          null,
          found.map(address => ({ address, family: isIP(address) })),
        ),
      error => done(error, []),
    )
  return { ...(clock ? { clock } : {}), ...(resolve ? { lookup } : {}) }
}

function createTrustFor(region: string, { ca = [], caOnly = false, regionBundle, bundleCache }: FindOptions): Trust {
  const mode = regionBundle ?? OPTION_VALUES.regionBundle.default
  return createTrust(ca, caOnly, undefined, createRegionBundle({ region, mode, folder: bundleCache }))
}
