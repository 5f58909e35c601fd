/** Codes of MFA devices for commands that run once: they ask before their work begins. */
import { mfaSerialsOf, profileInUse, readAwsConfig } from '../aws/config-file.ts'
import { type CachedCredentials, createCredentials } from '../aws/credentials.ts'
import type { Settings } from '../config/settings.ts'
import { apiRegion, createEndpoint } from '../endpoint.ts'
import { asProxyError, type ProxyError } from '../errors.ts'
import type { ProxyOptions } from '../proxy/options.ts'

export interface WithCodes {
  /** with the credentials of the role, if its profile needs a code */
  options: ProxyOptions
  /**
   * Gets the credentials, with a question on the terminal. Later nothing asks, and an error of this call stays.
   * @returns that error
   */
  askNow(): Promise<ProxyError | undefined>
}

/**
 * The options of a command. On a terminal, a profile with `mfa_serial` gets credentials that ask for the code; without one,
 * and with --no-input, it gets CREDENTIALS_MFA_REQUIRED as usual.
 */
export async function withMfaCodes(
  options: ProxyOptions,
  settings: Pick<Settings, 'no-input'>,
  stop: AbortSignal,
): Promise<WithCodes> {
  const { stdin, stderr } = process
  const { profile } = options
  const isOfProfile = !options.rolesAnywhere && !options.credentials
  const asks = stdin.isTTY && stderr.isTTY && !settings['no-input'] && isOfProfile
  const serials = asks ? mfaSerialsOf(profileInUse(profile), await readAwsConfig()) : []
  if (serials.length === 0) return { options, askNow: async () => undefined }
  const { askForCode } = await import('../sign-in/mfa-question.ts')
  let mayAsk = true
  const take = async (serial: string, name: string) => {
    if (!mayAsk) return undefined
    stderr.write('\n') // a step of check may stand in this line
    return await askForCode({ input: stdin, output: stderr }, serial, name, stop)
  }
  const region = apiRegion(createEndpoint(options).rds)
  const provider = createCredentials({ profile, region, codes: { take } })
  let failure: ProxyError | undefined
  return {
    options: {
      ...options,
      async credentials() {
        if (failure) throw failure
        return await provider()
      },
    },
    async askNow() {
      failure = await provider().then(() => undefined, asProxyError)
      mayAsk = false
      return failure
    },
  }
}

/** The credentials of a profile that needs a code; undefined for a profile that needs none. */
export type MfaCredentials = (profile: string | undefined, region: string) => Promise<CachedCredentials | undefined>

/**
 * Credentials for a command that uses them in several places: a code works only once, so all places of a profile share one
 * session. Call it on a terminal.
 */
export function createMfaCredentials(stop: AbortSignal): MfaCredentials {
  const { stdin: input, stderr: output } = process
  const byProfile = new Map<string, CachedCredentials>()
  return async (profile, region) => {
    const name = profileInUse(profile)
    if (mfaSerialsOf(name, await readAwsConfig()).length === 0) return undefined
    const { askForCode } = await import('../sign-in/mfa-question.ts')
    const take = async (serial: string, of: string) => {
      output.write('\r\x1b[K') // a line of progress may stand here
      return await askForCode({ input, output }, serial, of, stop)
    }
    const credentials = byProfile.get(name) ?? createCredentials({ profile, region, codes: { take } })
    byProfile.set(name, credentials)
    return credentials
  }
}
