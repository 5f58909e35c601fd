/** Codes of MFA devices for commands that run once: they ask before their work begins. */
import { mfaSerialsOf, profileInUse, readAwsConfig } from '../aws/config-file.ts'
import { createCredentials } from '../aws/credentials.ts'
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
 * it gets CREDENTIALS_MFA_REQUIRED as usual.
 */
export async function withMfaCodes(options: ProxyOptions, stop: AbortSignal): Promise<WithCodes> {
  const { stdin, stderr } = process
  const { profile } = options
  const asks = stdin.isTTY && stderr.isTTY && !options.rolesAnywhere && !options.credentials
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
