/** One sign-in to IAM Identity Center, from the address that a person opens to the token in ~/.aws/sso/cache. */
import { randomBytes } from 'node:crypto'
import { type Clock, monotonicClock } from '../clock.ts'
import { asProxyError, ProxyError } from '../errors.ts'
import { type Callback, openCallback } from './callback.ts'
import { authorizationCode, deviceCode, type GrantContext, type Granted, type Prompt } from './grants.ts'
import { createOidcClient } from './oidc.ts'
import type { SsoSession } from './session.ts'
import { saveToken } from './token-cache.ts'

export type { Prompt } from './grants.ts'

/** How long a person has, as in the AWS CLI. A device code is valid for as long. */
export const SIGN_IN_TIME_LIMIT_MS = 10 * 60_000

export interface SignInOptions {
  /** the device code works with a browser on any machine; the authorization code only with one on this machine */
  grant: 'authorization code' | 'device code'
  onPrompt(prompt: Prompt): void
  signal: AbortSignal
  environment?: NodeJS.ProcessEnv
  clock?: Clock
  /** to listen on; 0 for any free port */
  port?: number
}

/**
 * Signs in, and saves the token where the AWS CLI and the SDKs find it.
 * @returns when the token expires; IAM Identity Center may renew it until the end of its session
 * @throws ProxyError SIGN_IN_FAILED, CREDENTIALS_UNREACHABLE, FORWARD_PROXY_…, AWS_…; the reason of `signal`
 */
export async function signIn(session: SsoSession, options: SignInOptions): Promise<Date> {
  const { environment = process.env, clock = monotonicClock, grant, signal, onPrompt, port } = options
  const timeUp = new AbortController()
  const cancel = clock.after(SIGN_IN_TIME_LIMIT_MS, () => {
    const what = `nobody signed in within ${SIGN_IN_TIME_LIMIT_MS / 60_000} minutes`
    timeUp.abort(new ProxyError('SIGN_IN_FAILED', what))
  })
  const oidc = await createOidcClient(session)
  const context: GrantContext = {
    session,
    oidc,
    environment,
    clock,
    signal: AbortSignal.any([signal, timeUp.signal]),
    onPrompt,
  }
  try {
    const save = async ({ token, registration }: Granted) => await saveToken(session, token, registration, environment)
    // A profile without an sso-session section gets no session that can be renewed, and no authorization code.
    if (grant === 'device code' || session.name === undefined) return await save(await deviceCode(context))
    const state = randomBytes(16).toString('base64url')
    const callback = await openCallback(state, port).catch(() => undefined)
    if (!callback) return await save(await deviceCode(context))
    return await withCallback(callback, async () => await save(await authorizationCode(context, callback, state)))
  } finally {
    cancel()
    oidc.close()
  }
}

/** Tells the browser how the sign-in went, and stops listening. */
async function withCallback<Result>(callback: Callback, work: () => Promise<Result>): Promise<Result> {
  try {
    const result = await work()
    callback.answer(true, 'You are signed in. You can close this page.')
    return result
  } catch (error) {
    const isOurs = asProxyError(error).code !== 'INTERNAL'
    callback.answer(false, isOurs ? 'The sign-in has failed. The terminal says why.' : 'The sign-in has failed.')
    throw error
  } finally {
    callback.close()
  }
}
