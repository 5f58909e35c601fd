/** `mysql-iam-proxy login`: signs in to IAM Identity Center (AWS SSO), for the proxy, the AWS CLI and the SDKs. */
import { formatDuration } from '../duration.ts'
import { hasBrowser, openBrowser } from '../sign-in/browser.ts'
import { findSsoSession } from '../sign-in/session.ts'
import { type Prompt, SIGN_IN_TIME_LIMIT_MS, signIn } from '../sign-in/sign-in.ts'

export interface LoginChoice {
  profile?: string | undefined
  ssoSession?: string | undefined
  deviceCode: boolean
  noBrowser: boolean
}

/**
 * Says the address to open, and waits until the person has signed in there.
 * @throws ProxyError CONFIG_INVALID, CREDENTIALS_…, SIGN_IN_FAILED
 */
export async function login(
  choice: LoginChoice,
  { print, say }: { print(text: string): void; say(text: string): void },
  stop: AbortSignal,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<void> {
  const session = await findSsoSession(choice, environment)
  const isBrowserHere = hasBrowser(environment)
  const grant = choice.deviceCode || !(isBrowserHere || choice.noBrowser) ? 'device code' : 'authorization code'
  const onPrompt = (prompt: Prompt) => {
    const opens = isBrowserHere && !choice.noBrowser
    say(describePrompt(prompt, opens))
    if (opens) openBrowser(prompt.url, environment)
  }
  const expires = await signIn(session, { grant, onPrompt, signal: stop, environment })
  print(`Signed in to ${session.startUrl}. The token is valid until ${expires.toLocaleString()}.`)
}

function describePrompt({ url, userCode }: Prompt, opens: boolean): string {
  const where = userCode === undefined ? ' in a browser on this machine' : ' in any browser'
  const first = opens
    ? `Your browser opens this address. If it doesn't, open it${where}:`
    : `Open this address${where}:`
  const code = userCode === undefined ? [] : ['', `Check that the page shows the code ${userCode}`]
  const limit = `Waiting for ${formatDuration(SIGN_IN_TIME_LIMIT_MS)}. Ctrl-C cancels.`
  return [first, '', `  ${url}`, ...code, '', limit].join('\n')
}
