/**
 * Sign-ins that clients' logins start while the proxy serves: one at a time for all endpoints of the same session. The same
 * for the codes of MFA devices.
 */
import { within } from '../abort.ts'
import type { CachedCredentials, SignInHelper, WaitingEndpoint } from '../aws/credentials.ts'
import { type Clock, monotonicClock } from '../clock.ts'
import { asProxyError, hintFor, ProxyError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { SignInState } from '../state.ts'
import { hasBrowser, openBrowser } from './browser.ts'
import { findSsoSession, type SsoSession } from './session.ts'
import type { Prompt, signIn } from './sign-in.ts'

/** How long a client's login waits for the address that its error shows. */
const ADDRESS_WAIT_MS = 3_000

/** After a sign-in that failed, none starts for this long: a storm of clients must not become one of sign-ins. */
export const PAUSE_AFTER_FAILURE_MS = 10_000

/** How long a question for a code stays on the terminal. */
export const QUESTION_TIME_LIMIT_MS = 5 * 60_000

/** Asks for the code of a device. Resolves with undefined if the person gives none. */
export type AskForCode = (serial: string, profile: string, signal: AbortSignal) => Promise<string | undefined>

export interface OnDemandOptions {
  log: Logger
  /** undefined without a terminal */
  askForCode: AskForCode | undefined
  environment?: NodeJS.ProcessEnv
  clock?: Clock
  open?: (url: string) => void
  signIn?: typeof signIn
}

export interface SignInOnDemand extends SignInHelper {
  /** Ends all sign-ins and questions. */
  close(): void
}

/** What logins wait for: a sign-in or a question. */
interface Pending {
  endpoints: Set<WaitingEndpoint>
  /** undefined until a person can act */
  state: SignInState | undefined
  /** resolves when a person can act, or when it has failed */
  ready: Promise<void>
  stop: AbortController
}

export function createSignInOnDemand(options: OnDemandOptions): SignInOnDemand {
  const { log, askForCode, environment = process.env, clock = monotonicClock, open = openBrowser } = options
  /** by session, and by device */
  const pending = new Map<string, Pending>()
  /** sessions whose last sign-in failed; `until` on the clock */
  const failed = new Map<string, { error: ProxyError; until: number }>()
  const providers = new Map<string, CachedCredentials>()
  /** typed, and not used yet; by device */
  const codes = new Map<string, string>()
  let questions: Promise<void> = Promise.resolve()
  let isClosed = false

  /** Shows a state on all endpoints that wait. */
  const show = (one: Pending, state: SignInState | undefined) => {
    one.state = state
    for (const endpoint of one.endpoints) endpoint.show(state)
  }

  /** What waits under `key`, or `start`ed now, with the endpoint among those that wait for it. */
  function join(key: string, endpoint: WaitingEndpoint, start: (one: Pending, onReady: () => void) => void): Pending {
    let one = pending.get(key)
    if (!one) {
      let onReady!: () => void
      const ready = new Promise<void>(resolve => {
        onReady = resolve
      })
      one = { endpoints: new Set(), state: undefined, ready, stop: new AbortController() }
      pending.set(key, one)
      start(one, onReady)
    }
    one.endpoints.add(endpoint)
    endpoint.show(one.state)
    return one
  }

  /** It is over: logins may try again. @param retry whether there may be credentials now */
  function finish(key: string, one: Pending, retry: boolean): void {
    pending.delete(key)
    show(one, undefined)
    for (const endpoint of one.endpoints) {
      endpoint.forgetErrors()
      if (retry) endpoint.retry().catch(() => {})
    }
  }

  async function startSignIn(session: SsoSession, key: string, one: Pending, onReady: () => void): Promise<void> {
    const { signal } = one.stop
    const isBrowserHere = hasBrowser(environment)
    const onPrompt = ({ url, userCode }: Prompt) => {
      const compare = userCode === undefined ? '' : ` and check that the page shows the code ${userCode}`
      log.warn({ startUrl: session.startUrl }, `sign in to AWS: open ${url}${compare}`)
      show(one, { what: `Sign in to ${session.startUrl}`, url, code: userCode, since: Date.now() })
      // After one that nobody finished, nobody may be there.
      if (isBrowserHere && !failed.has(key)) open(url)
      onReady()
    }
    try {
      const run = options.signIn ?? (await import('./sign-in.ts')).signIn
      const grant = isBrowserHere ? 'authorization code' : 'device code'
      const expires = await run(session, { grant, onPrompt, signal, environment, clock })
      failed.delete(key)
      log.info({ startUrl: session.startUrl, expires: expires.toISOString() }, 'signed in to AWS')
      finish(key, one, true)
    } catch (thrown) {
      if (signal.aborted && thrown === signal.reason) {
        if (!isClosed) log.info({ startUrl: session.startUrl }, 'the sign-in to AWS is no longer needed')
        finish(key, one, false)
      } else {
        const error = asProxyError(thrown)
        failed.set(key, { error, until: clock.now() + PAUSE_AFTER_FAILURE_MS })
        const { code, message } = error
        const fields = { code, startUrl: session.startUrl, hint: hintFor(error, {}) }
        log.warn(fields, `no sign-in to AWS: ${message}. A later login of a client starts another one`)
        finish(key, one, false)
      }
    } finally {
      onReady()
    }
  }

  async function helpToSignIn(error: ProxyError, endpoint: WaitingEndpoint): Promise<ProxyError> {
    // A profile of `aws login` has no session here: its error says what to run.
    const session = await findSsoSession({ profile: endpoint.profile }, environment).catch(() => undefined)
    if (!session || isClosed) return error
    const key = `session ${session.name ?? session.startUrl}`
    const pause = failed.get(key)
    if (!pending.has(key) && pause && clock.now() < pause.until) return failedError(error, pause.error)
    const one = join(key, endpoint, (started, onReady) => void startSignIn(session, key, started, onReady))
    await within(one.ready, ADDRESS_WAIT_MS, clock)
    const failure = failed.get(key)
    if (!one.state && !pending.has(key) && failure) return failedError(error, failure.error)
    return signInError(error, one.state)
  }

  async function askOnce(serial: string, profile: string, key: string, one: Pending): Promise<void> {
    const timeUp = new AbortController()
    const cancel = clock.after(QUESTION_TIME_LIMIT_MS, () => timeUp.abort())
    let isSigned = false
    try {
      const code = await askForCode!(serial, profile, AbortSignal.any([one.stop.signal, timeUp.signal]))
      if (code === undefined) {
        if (!isClosed)
          log.warn({ profile }, `no code of the MFA device ${serial}. A later login of a client asks again`)
        return
      }
      codes.set(serial, code)
      const [first] = one.endpoints
      await first!.retry()
      isSigned = true
      log.info({ profile }, `AWS accepted the code of the MFA device ${serial}`)
    } catch (thrown) {
      const error = asProxyError(thrown)
      log.warn({ code: error.code, profile }, `${error.message}. A later login of a client asks for another code`)
    } finally {
      cancel()
      codes.delete(serial)
      finish(key, one, isSigned)
    }
  }

  function helpWithCode(error: ProxyError, endpoint: WaitingEndpoint): ProxyError {
    const { mfaSerial: serial = '', profile = '' } = error.hintValues
    if (!askForCode || isClosed) return error
    const key = `device ${serial}`
    join(key, endpoint, started => {
      const what = `The terminal of the proxy asks for the code of ${serial}`
      show(started, { what, url: undefined, code: undefined, since: Date.now() })
      // A terminal has room for one question.
      questions = questions.then(() => askOnce(serial, profile, key, started))
    })
    const hint = 'The terminal of the proxy asks for it. Type it there, then connect again.'
    return new ProxyError(error.code, error.message, { cause: error, hint, hintValues: error.hintValues })
  }

  return {
    codes: {
      async take(serial) {
        const code = codes.get(serial)
        codes.delete(serial)
        return code
      },
    },
    async help(error, endpoint) {
      if (error.code === 'CREDENTIALS_MFA_REQUIRED') return helpWithCode(error, endpoint)
      if (error.code === 'CREDENTIALS_SSO_EXPIRED') return await helpToSignIn(error, endpoint)
      return error
    },
    arrived(endpoint) {
      for (const one of pending.values()) {
        if (one.endpoints.has(endpoint) && one.state?.url !== undefined) one.stop.abort()
      }
    },
    share(profile, create) {
      const key = JSON.stringify([profile ?? environment['AWS_PROFILE'] ?? null])
      const provider = providers.get(key) ?? create()
      providers.set(key, provider)
      return provider
    },
    close() {
      isClosed = true
      for (const { stop } of pending.values()) stop.abort()
    },
  }
}

/** The client gets the address. The log has it already, and the list of errors should not repeat it. */
function signInError(error: ProxyError, state: SignInState | undefined): ProxyError {
  const { code, message, hintValues } = error
  const hint = 'Sign in at the address that the terminal and the status page show, then connect again.'
  const compare = state?.code === undefined ? '' : ` (code ${state.code})`
  const clientHint = state?.url === undefined ? hint : `Sign in at ${state.url}${compare} and connect again`
  return new ProxyError(code, message, { cause: error, hint, clientHint, hintValues })
}

function failedError({ code, message, hintValues }: ProxyError, failure: ProxyError): ProxyError {
  const what = `${message}, and the sign-in failed: ${failure.message}`
  return new ProxyError(code, what, { cause: failure, hintValues })
}
