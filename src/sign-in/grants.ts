/** The two ways to a token: the authorization code with PKCE, and the device code. */

import { createHash, randomBytes } from 'node:crypto'
import { pause, unlessAborted } from '../abort.ts'
import type { Clock } from '../clock.ts'
import { ProxyError } from '../errors.ts'
import { CALLBACK_PATH, type Callback } from './callback.ts'
import { type OidcClient, problemOf } from './oidc.ts'
import type { SsoSession } from './session.ts'
import {
  dropRegistration,
  type NewToken,
  type Registration,
  readRegistration,
  registrationFile,
  saveRegistration,
  utc,
} from './token-cache.ts'

/** What a person must open. */
export interface Prompt {
  url: string
  /** to compare with the code that the page shows; undefined if it shows none */
  userCode: string | undefined
}

export interface GrantContext {
  session: SsoSession
  oidc: OidcClient
  environment: NodeJS.ProcessEnv
  clock: Clock
  /** aborts with the ProxyError that ends the sign-in */
  signal: AbortSignal
  onPrompt(prompt: Prompt): void
}

export interface Granted {
  token: NewToken
  registration: Registration
}

/** The address without a port that is registered; at the authorization, any port of 127.0.0.1 fits it. */
const REGISTERED_REDIRECT = `http://127.0.0.1${CALLBACK_PATH}`

/**
 * The authorization code grant with PKCE (RFC 7636). The code verifier never leaves this function but in the request for the
 * token.
 * @param state what `callback` requires of the browser
 * @throws ProxyError SIGN_IN_FAILED, CREDENTIALS_UNREACHABLE
 */
export async function authorizationCode(context: GrantContext, callback: Callback, state: string): Promise<Granted> {
  const { session, oidc, signal, onPrompt } = context
  const { redirectUri } = callback
  const codeVerifier = randomBytes(32).toString('base64url')
  const { registration, file } = await registrationFor(context, 'authorization_code', {
    grantTypes: ['authorization_code', 'refresh_token'],
    redirectUris: [REGISTERED_REDIRECT],
    issuerUrl: session.startUrl,
    scopes: [...session.scopes],
  })
  const parameters = new URLSearchParams({
    response_type: 'code',
    client_id: registration.clientId,
    redirect_uri: redirectUri,
    state,
    code_challenge_method: 'S256',
    // Not `scope`, as in OAuth.
    scopes: session.scopes.join(' '),
    code_challenge: createHash('sha256').update(codeVerifier).digest('base64url'),
  })
  const address = `${await oidc.baseUrl()}/authorize?${parameters.toString().replaceAll('+', '%20')}`
  onPrompt({ url: address, userCode: undefined })
  const result = await unlessAborted(callback.result, signal)
  if ('error' in result) {
    const what = result.error === 'access_denied' ? 'the sign-in was denied' : `the browser reports: ${result.error}`
    throw new ProxyError('SIGN_IN_FAILED', what)
  }
  try {
    const input = { grantType: 'authorization_code', code: result.code, redirectUri, codeVerifier }
    const token = await unlessAborted(oidc.createToken(input, registration), signal)
    return { token, registration }
  } catch (error) {
    if (problemOf(error) === 'invalid_client') await dropRegistration(file)
    throw oidc.explain(error, 'the code of the browser')
  }
}

const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code'

/** RFC 8628, section 3.5. */
const SLOW_DOWN_S = 5

/**
 * The device authorization grant (RFC 8628): the person may open the address on any machine.
 * @throws ProxyError SIGN_IN_FAILED, CREDENTIALS_UNREACHABLE
 */
export async function deviceCode(context: GrantContext): Promise<Granted> {
  const { session, oidc, clock, signal, onPrompt } = context
  const scopes = session.scopes.length > 0 ? { scopes: [...session.scopes] } : {}
  const begin = async () => {
    const { registration, file } = await registrationFor(context, 'device_code', scopes)
    try {
      return { registration, device: await oidc.startDeviceAuthorization(registration, session.startUrl) }
    } catch (error) {
      if (problemOf(error) === 'invalid_client') await dropRegistration(file)
      throw error
    }
  }
  const { registration, device } = await begin()
    // IAM Identity Center may have forgotten the client that we remember.
    .catch(async error => {
      if (problemOf(error) !== 'invalid_client') throw error
      return await begin()
    })
    .catch(error => {
      throw oidc.explain(error, 'to start the sign-in')
    })
  onPrompt({ url: device.urlWithCode, userCode: device.userCode })
  let { interval } = device
  for (;;) {
    await pause(interval * 1_000, clock, signal)
    try {
      const input = { grantType: DEVICE_CODE, deviceCode: device.deviceCode }
      const token = await unlessAborted(oidc.createToken(input, registration), signal)
      return { token, registration }
    } catch (error) {
      signal.throwIfAborted()
      const explained = oidc.explain(error, 'the device code')
      const problem = problemOf(error)
      // Without an answer, RFC 8628 asks for longer pauses too.
      if (problem === 'slow_down' || explained.code === 'CREDENTIALS_UNREACHABLE') interval += SLOW_DOWN_S
      else if (problem !== 'authorization_pending') throw explained
    }
  }
}

/** The client that was registered before, or a new one. @throws ProxyError SIGN_IN_FAILED, CREDENTIALS_UNREACHABLE */
async function registrationFor(
  { session, oidc, environment, signal }: GrantContext,
  grant: string,
  input: { scopes?: string[]; grantTypes?: string[]; redirectUris?: string[]; issuerUrl?: string },
): Promise<{ registration: Registration; file: string }> {
  const file = registrationFile(session, grant, environment)
  const before = await readRegistration(file)
  if (before) return { registration: before, file }
  try {
    const clientName = `mysql-iam-proxy-${session.name ?? 'profile'}`.replace(/[^\w.-]/g, '-').slice(0, 64)
    const call = oidc.register({ clientName, clientType: 'public', ...input })
    const { expires, ...client } = await unlessAborted(call, signal)
    const { scopes, grantTypes } = input
    const registration = {
      ...client,
      expiresAt: utc(expires),
      ...(scopes && { scopes }),
      ...(grantTypes && { grantTypes }),
    }
    await saveRegistration(file, registration)
    return { registration, file }
  } catch (error) {
    throw oidc.explain(error, 'to register this program')
  }
}
