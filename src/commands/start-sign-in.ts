/** Sign-ins while the proxy serves, as --sign-in asks for them. */
import type { Logger } from '../log.ts'
import type { SignInOnDemand } from '../sign-in/on-demand.ts'

/**
 * Resolves with undefined where clients' logins start no sign-in. Its modules are loaded only if they may.
 * @param setting undefined: auto on a terminal, else never
 */
export async function startSignInAsSet(
  setting: 'never' | 'auto' | undefined,
  log: Logger,
): Promise<SignInOnDemand | undefined> {
  const isTerminal = Boolean(process.stdin.isTTY && process.stdout.isTTY)
  if ((setting ?? (isTerminal ? 'auto' : 'never')) === 'never') return undefined
  const { createSignInOnDemand } = await import('../sign-in/on-demand.ts')
  const { askForCode, processTerminal } = await import('../sign-in/mfa-question.ts')
  const terminal = processTerminal()
  return createSignInOnDemand({
    log,
    askForCode: terminal && ((serial, profile, signal) => askForCode(terminal, serial, profile, signal)),
  })
}
