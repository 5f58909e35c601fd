/** AWS credentials: where they come from, how long they are cached, and what their errors mean. */
import { ProxyError } from '../errors.ts'
import { mfaSerialsOf, profileInUse, readAwsConfig } from './config-file.ts'
import { fromChain } from './credential-chain.ts'
import { createListener, explainFailedLookup } from './credential-errors.ts'
import type { CachedCredentials, Credentials, CredentialsProvider, MfaCodes } from './credential-types.ts'
import { trackHelpers } from './helper-processes.ts'
import { createAwsAgent } from './https-agent.ts'
import type { RolesAnywhereOptions } from './roles-anywhere-options.ts'
import { hideVersionNotice } from './version-notice.ts'

export type {
  CachedCredentials,
  Credentials,
  CredentialsProvider,
  MfaCodes,
  SignInHelper,
  WaitingEndpoint,
} from './credential-types.ts'

/** Credentials are renewed in the background this long before they expire. */
const RENEW_BEFORE_MS = 5 * 60_000

/** How long credentials without an expiry are cached. Other programs may write new ones into ~/.aws/credentials. */
const KEEP_WITHOUT_EXPIRY_MS = 60_000

/**
 * Time between two renewals. Some providers hand out the same credentials until these have expired, and some fail for a
 * while: not every login should ask them.
 */
const RENEW_PAUSE_MS = 30_000

/**
 * The SDK does not try again to renew a token of SSO for this long. It then calls the session expired, although the network is
 * at fault.
 */
const SSO_RENEW_PAUSE_MS = 30_000

/** Later logins start a new lookup if the pending one takes longer than this. */
const LOOKUP_TIMEOUT_MS = 60_000

/** Where credentials come from; without `profile` and `rolesAnywhere` from the whole chain. */
export interface CredentialsSource {
  /** of the STS calls for roles */
  region: string
  profile?: string | undefined
  rolesAnywhere?: RolesAnywhereOptions | undefined
  /** for profiles with `mfa_serial`; default: they get CREDENTIALS_MFA_REQUIRED */
  codes?: MfaCodes | undefined
}

/**
 * The credentials to sign with: only from `profile` if it is given, else from the whole chain of the AWS SDK (environment,
 * AWS_PROFILE, SSO, credential_process, web identity, ECS/EKS containers, instance metadata).
 */
export function createCredentials({ region, profile, rolesAnywhere, codes }: CredentialsSource): CachedCredentials {
  if (rolesAnywhere) {
    return cacheUntilExpiry(async () => {
      const { fromRolesAnywhere } = await import('./roles-anywhere.ts')
      return await fromRolesAnywhere(rolesAnywhere)
    })
  }
  let lastProblem: { error: ProxyError; at: number } | undefined
  return cacheUntilExpiry(async () => {
    const codeOf = await collectCodes(profile, codes)
    const providers = await import('@aws-sdk/credential-providers')
    const agent = createAwsAgent({ profile })
    const listener = createListener()
    const clientConfig = { requestHandler: { httpsAgent: agent }, logger: listener.logger }
    const options = {
      logger: listener.logger,
      clientConfig,
      // For the STS calls of roles. SSO takes the region of its profile. Some providers pass on only one of both.
      parentClientConfig: { ...clientConfig, region },
      // Files in ~/.aws may change while the proxy runs.
      ignoreCache: true,
      mfaCodeProvider: async (serial: string) => codeOf.get(serial) ?? '',
    }
    const showNotice = hideVersionNotice()
    try {
      if (profile !== undefined) return await providers.fromIni({ profile, ...options })()
      return await fromChain(providers, options)
    } catch (error) {
      const explained =
        agent.problem ?? (await explainFailedLookup(error, profile ?? process.env.AWS_PROFILE, listener.failure))
      const now = performance.now()
      const isCallSkipped = explained.code === 'CREDENTIALS_SSO_EXPIRED' && !agent.route
      if (isCallSkipped && lastProblem && now - lastProblem.at < SSO_RENEW_PAUSE_MS) throw lastProblem.error
      const isOfNetwork = agent.problem !== undefined || explained.code === 'CREDENTIALS_UNREACHABLE'
      lastProblem = isOfNetwork ? { error: explained, at: now } : undefined
      throw explained
    } finally {
      showNotice()
      agent.destroy()
    }
  })
}

/**
 * The codes that the profile needs, by the serial of their device. They come first, because the SDK would leave an error of
 * the source profile unhandled while it waits for a code.
 * @throws ProxyError CREDENTIALS_MFA_REQUIRED
 */
async function collectCodes(profile: string | undefined, codes: MfaCodes | undefined): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  const { AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = process.env
  const isOfEnvironment = profile === undefined && !AWS_PROFILE && AWS_ACCESS_KEY_ID && AWS_SECRET_ACCESS_KEY
  if (isOfEnvironment) return found
  const name = profileInUse(profile)
  for (const serial of mfaSerialsOf(name, await readAwsConfig())) {
    const code = await codes?.take(serial, name)
    if (code === undefined) {
      const what = `the profile ${name} needs the code of an MFA device (${serial})`
      throw new ProxyError('CREDENTIALS_MFA_REQUIRED', what, { hintValues: { mfaSerial: serial, profile: name } })
    }
    found.set(serial, code)
  }
  return found
}

interface Cached {
  credentials: Credentials
  /** performance.now() when they arrived */
  arrived: number
  /** milliseconds that they had left then; undefined without an expiry */
  lifetime: number | undefined
}

/**
 * Milliseconds until `cached` must not be used any more. The wall clock may have stepped since they arrived, in either
 * direction: the shorter of both times counts, so that a step never keeps them too long.
 */
function remaining({ credentials, arrived, lifetime }: Cached): number {
  const age = performance.now() - arrived
  if (!credentials.expiration || lifetime === undefined) return KEEP_WITHOUT_EXPIRY_MS + RENEW_BEFORE_MS - age
  return Math.min(credentials.expiration.getTime() - Date.now(), lifetime - age)
}

/** Calls `provider` once for all who wait, and caches the result until shortly before it expires. */
export function cacheUntilExpiry(provider: CredentialsProvider): CachedCredentials {
  let cached: Cached | undefined
  let pending: Promise<Credentials> | undefined
  /** performance.now() of the end of the last lookup */
  let lastLookup = Number.NEGATIVE_INFINITY

  function lookUp(): Promise<Credentials> {
    const helpers = trackHelpers()
    let killed = false
    const ask = async () => {
      try {
        return await provider()
      } catch (error) {
        if (!killed) throw error
        const what = `credential_process did not finish within ${LOOKUP_TIMEOUT_MS / 1_000} s and was ended`
        throw new ProxyError('CREDENTIALS_FAILED', what, { cause: error })
      }
    }
    const result = helpers.during(ask)
    pending = result
    const forget = () => {
      if (pending === result) pending = undefined
    }
    // A helper that hangs must not block all later logins, and must not stay.
    const giveUp = setTimeout(() => {
      forget()
      killed = helpers.kill()
    }, LOOKUP_TIMEOUT_MS).unref()
    const onDone = () => {
      clearTimeout(giveUp)
      forget()
      lastLookup = performance.now()
    }
    result.then(credentials => {
      // A lookup that was given up may be older than the cached one.
      const lifetime = credentials.expiration && credentials.expiration.getTime() - Date.now()
      if (pending === result) cached = { credentials, arrived: performance.now(), lifetime }
      onDone()
    }, onDone)
    return result
  }

  const credentials = async () => {
    const left = cached ? remaining(cached) : 0
    if (cached && left > RENEW_BEFORE_MS) return cached.credentials
    if (cached && left > 0 && performance.now() - lastLookup < RENEW_PAUSE_MS) return cached.credentials
    const result = pending ?? lookUp()
    if (!cached || left <= 0) return await result
    // Still valid for this login. If the renewal fails, the next login tries again.
    return cached.credentials
  }
  return Object.assign(credentials, {
    refresh() {
      pending = undefined
      lastLookup = Number.NEGATIVE_INFINITY
      if (cached && !cached.credentials.expiration) cached = undefined
    },
  })
}
