/** Walks the path of a login, top to bottom, and stops at the first thing that is wrong. */

import { createCredentials } from '../aws/credentials.ts'
import { createTokenSource } from '../aws/token.ts'
import { formatHostPort, isIndirect, regionOf } from '../endpoint.ts'
import { asProxyError, ProxyError } from '../errors.ts'
import { createProxy, type ProxyOptions } from '../proxy/proxy.ts'
import { createRateLimiter } from '../upstream/rate-limiter.ts'
import { createTrust } from '../upstream/trust.ts'
import { adviseOn } from './advice.ts'
import { type Context, hintValuesOf } from './context.ts'
import { checkClock, checkCredentials, checkToken } from './credentials.ts'
import { checkDatabase } from './database.ts'
import { checkLoadBalancer } from './load-balancer.ts'
import { checkLocalLeg, checkLogin, checkSession } from './login.ts'
import { checkDns, checkGreeting, checkTcp } from './network.ts'
import { createSteps, type Reporter, type StepLog, type StepsResult } from './steps.ts'
import { checkTls } from './tls.ts'

/** What is to be checked. */
export interface Wanted {
  /** as for serving */
  proxy: ProxyOptions
  /** the database user to log in as */
  user: string | undefined
  database: string | undefined
  /** look at the AWS side as well */
  aws: boolean
}

/**
 * Resolves with how it came out; everything that it opened is closed then. Never rejects.
 * @param configuration where it rejects, the configuration is what is wrong
 */
export async function check(
  configuration: () => Promise<Wanted>,
  reporter: Reporter,
  stop: AbortSignal,
): Promise<StepsResult> {
  let path: Context | undefined
  const walk = createSteps(reporter, {
    hintValues: () => hintValuesOf(path),
    advise: error => adviseOn(error, path),
  })
  const steps = async () => {
    const known = await walk.step('configuration', notes => configure(configuration, stop, notes))
    path = known
    await walk.step('credentials', notes => checkCredentials(known, notes))
    await walk.step('clock', notes => checkClock(known, notes))
    await walk.step('token', notes => checkToken(known, notes))
    await walk.step('DNS', notes => checkDns(known, notes))
    if (known.aws) {
      await walk.step('AWS: database', notes => checkDatabase(known, notes))
      await walk.step('AWS: load balancer', notes => checkLoadBalancer(known, notes))
    }
    const attempts = await walk.step('TCP', notes => checkTcp(known, notes))
    await walk.step('greeting', notes => checkGreeting(known, attempts, notes))
    await walk.step('TLS', notes => checkTls(known, notes))
    await walk.step('login', notes => checkLogin(known, notes))
    const connection = await walk.step('local leg', notes => checkLocalLeg(known, notes))
    await walk.step('session', notes => checkSession(known, connection, notes))
  }
  // Told by the step already.
  await steps().catch(asProxyError)
  for (const close of path ? (path as Context).cleanup.reverse() : []) await close()
  const result = walk.result()
  reporter.finish(result)
  return result
}

/** @throws ProxyError CONFIG_INVALID */
async function configure(read: () => Promise<Wanted>, stop: AbortSignal, notes: StepLog): Promise<Context> {
  const { proxy: options, user, database, aws } = await read()
  const { endpoint, state } = createProxy(options)
  const { rds, dial } = endpoint
  const trust = createTrust(options.ca ?? [], options.caOnly ?? false)
  notes.fact('dials', `${formatHostPort(dial)}${isIndirect(endpoint) ? '' : ', the RDS endpoint itself'}`)
  notes.fact('certificate', rds.host)
  notes.fact('signs for', `${formatHostPort(rds)}, region ${rds.region}`)
  if (!user) {
    const message = 'check logs in, and needs the database user to log in as: --user NAME, or check NAME'
    throw new ProxyError('CONFIG_INVALID', message)
  }
  notes.fact('user', database === undefined ? user : `${user}, database ${database}`)
  const named = regionOf(rds.host)
  if (named !== undefined && named !== rds.region) {
    notes.warn(new ProxyError('CONFIG_INVALID', `--region ${rds.region} is not the region in ${rds.host}, ${named}`))
  }
  const credentials = createCredentials(rds.region, options.profile)
  const createToken = createTokenSource(rds, credentials)
  return {
    options,
    target: {
      endpoint,
      state,
      limiter: createRateLimiter(0),
      trust,
      createToken,
      takesTokenInHandshake: undefined,
    },
    profile: options.profile,
    credentials,
    user,
    database,
    aws,
    stop,
    cleanup: [],
  }
}
