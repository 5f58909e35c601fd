/** Checks each step of a login, from the configuration to a query, and stops at the first error. */

import { createCredentials } from '../aws/credentials.ts'
import { createConfirmMember } from '../aws/global-members.ts'
import { createTokenSource } from '../aws/token.ts'
import {
  apiRegion,
  createEndpoint,
  type Endpoint,
  formatHostPort,
  isGlobalEndpoint,
  isIndirect,
  isLocalForward,
  isOnFarEnd,
  regionOf,
} from '../endpoint.ts'
import { asProxyError, ProxyError } from '../errors.ts'
import { silent } from '../log.ts'
import { OPTION_VALUES } from '../option-values.ts'
import { checkOptions } from '../proxy/check-options.ts'
import type { ProxyOptions } from '../proxy/options.ts'
import { createTunnelAsSet } from '../proxy/tunnel.ts'
import { createState } from '../state.ts'
import { createAddressBook } from '../upstream/address-book.ts'
import { createLineCompression } from '../upstream/compression.ts'
import { createGreetingWatch } from '../upstream/greeting-watch.ts'
import { createRateLimiter } from '../upstream/rate-limiter.ts'
import { builtInRegions } from '../upstream/rds-bundle.ts'
import { createLoginHistory } from '../upstream/refusal.ts'
import { createRegionBundle, type RegionBundle } from '../upstream/region-bundle.ts'
import { createTrust } from '../upstream/trust.ts'
import { adviseOn } from './advice.ts'
import { type Context, hintValuesOf } from './context.ts'
import { checkClock, checkCredentials, checkToken } from './credentials.ts'
import { checkDatabase } from './database.ts'
import { checkLoadBalancer } from './load-balancer.ts'
import { checkLocalLeg, checkLogin, checkSession } from './login.ts'
import { checkDns, checkGreeting, checkTcp } from './network.ts'
import { checkRoundTrips } from './round-trips.ts'
import { noteSsm } from './ssm.ts'
import { createSteps, FAR_END, FORWARD, type Reporter, type StepLog, type StepsResult } from './steps.ts'
import { checkTls } from './tls.ts'

/** What to check. */
export interface Wanted {
  /** as for serving */
  proxy: ProxyOptions
  /** the database user to log in as */
  user: string | undefined
  database: string | undefined
  /** inspect RDS and the load balancer too */
  aws: boolean
  /** also count the round trips of a login, for a report */
  report?: boolean
}

/** The result, and what the steps have found; undefined if the configuration is invalid. */
export interface Checked extends StepsResult {
  context: Context | undefined
}

/**
 * Resolves with the result, after closing everything that it opened. Never rejects.
 * @param configuration if it rejects, the configuration is the error
 */
export async function check(
  configuration: () => Promise<Wanted>,
  reporter: Reporter,
  stop: AbortSignal,
): Promise<Checked> {
  let context: Context | undefined
  const steps = createSteps(reporter, {
    hintValues: () => hintValuesOf(context),
    advise: error => adviseOn(error, context),
  })
  const run = async () => {
    const known = await steps.step('configuration', log => readContext(configuration, stop, log))
    context = known
    await steps.step('credentials', log => checkCredentials(known, log))
    await steps.step('clock', log => checkClock(known, log))
    await steps.step('token', log => checkToken(known, log))
    await steps.step('DNS', log => checkDns(known, log))
    if (known.aws) {
      await steps.step('AWS: database', log => checkDatabase(known, log))
      await steps.step('AWS: load balancer', log => checkLoadBalancer(known, log))
    }
    const attempts = await steps.step('TCP', log => checkTcp(known, log))
    await steps.step('greeting', log => checkGreeting(known, attempts, log))
    await steps.step('TLS', log => checkTls(known, log))
    await steps.step('login', log => checkLogin(known, log))
    const connection = await steps.step('local leg', log => checkLocalLeg(known, log))
    await steps.step('session', log => checkSession(known, connection, log))
    if (known.report) await steps.step('round trips', log => checkRoundTrips(known, log))
  }
  // The step has reported it already.
  await run().catch(asProxyError)
  for (const close of context ? (context as Context).cleanup.reverse() : []) await close()
  const result = steps.result()
  reporter.finish(result)
  return { ...result, context }
}

/** Whether the CAs of the region are built in. */
function describeBundle(bundle: RegionBundle | undefined, caOnly: boolean): string {
  if (!bundle)
    return caOnly ? 'not used (ca-only)' : 'built in; downloaded CA certificates are not used without a region'
  const { region } = bundle
  const count = bundle.roots().length
  const downloaded = count > 0 ? `${count} downloaded CA certificates of ${region}` : ''
  if (builtInRegions().has(region)) return `${region} is built in${downloaded && `, and ${downloaded}`}`
  return downloaded || `no CA of ${region}: for a database there, run mysql-iam-proxy trust update --region ${region}`
}

function wayOf(endpoint: Endpoint): string {
  if (!isIndirect(endpoint)) return ', the RDS endpoint itself'
  if (isOnFarEnd(endpoint)) return `, ${FAR_END}`
  return isLocalForward(endpoint) ? `, ${FORWARD}` : ''
}

/** @throws ProxyError CONFIG_INVALID */
async function readContext(read: () => Promise<Wanted>, stop: AbortSignal, log: StepLog): Promise<Context> {
  const { proxy, user, database, aws, report = false } = await read()
  const options = checkOptions(proxy)
  const endpoint = createEndpoint(options)
  const { rds, dial } = endpoint
  const { region } = rds
  const mode = options.regionBundle ?? OPTION_VALUES.regionBundle.default
  const regionBundle = region ? createRegionBundle({ region, mode, folder: options.bundleCache }) : undefined
  const trust = createTrust(options.ca ?? [], options.caOnly ?? false, undefined, regionBundle)
  await trust.begin()
  log.fact('dials', `${formatHostPort(dial)}${wayOf(endpoint)}`)
  if (endpoint.proxy) log.fact('through', `the proxy ${endpoint.proxy.shown}`)
  log.fact('certificate', rds.host)
  log.fact('signs for', `${formatHostPort(rds)}, region ${rds.region ?? 'of the server, from its certificate'}`)
  log.fact('RDS bundle', describeBundle(trust.bundle, options.caOnly ?? false))
  if (!user) {
    const message = 'check needs the database user: check NAME, or the option user'
    throw new ProxyError('CONFIG_INVALID', message)
  }
  log.fact('user', database === undefined ? user : `${user}, database ${database}`)
  const named = regionOf(rds.host)
  if (isGlobalEndpoint(rds.host) && rds.region !== undefined) {
    const message = `the region of ${rds.host} is set to ${rds.region}, but the writer may move to another region`
    log.warn(new ProxyError('CONFIG_INVALID', message))
  }
  if (named !== undefined && named !== rds.region) {
    log.warn(new ProxyError('CONFIG_INVALID', `the region ${rds.region} is not that of ${rds.host}, ${named}`))
  }
  const state = createState(endpoint, 0)
  const { credentials: given } = options
  // The command gives a provider for a profile that needs the code of an MFA device.
  const credentials = typeof given === 'function' ? given : createCredentials({ ...options, region: apiRegion(rds) })
  const tunnel = createTunnelAsSet({ ...options, tunnelIdleTimeout: undefined }, endpoint, state, silent, credentials)
  if (state.tunnel) log.fact('through', state.tunnel.command ?? state.tunnel.name)
  if (options.ssmTarget !== undefined) await noteSsm(log)
  const createToken = createTokenSource(rds, credentials)
  const compression = createLineCompression(endpoint, silent)
  return {
    options,
    target: {
      endpoint,
      state,
      limiter: createRateLimiter(0),
      trust,
      createToken,
      confirmMember: createConfirmMember(rds.host, credentials, options.profile),
      addresses: createAddressBook(),
      greetings: createGreetingWatch(formatHostPort(dial), silent, undefined, compression?.line?.greeted),
      compression,
      tunnel,
      takesTokenInHandshake: undefined,
      history: createLoginHistory(),
    },
    profile: options.profile,
    credentials,
    user,
    database,
    aws,
    report,
    stop,
    cleanup: tunnel ? [() => tunnel.close()] : [],
  }
}
