/** What a provider of AWS credentials gives, and what helps it if a person must act first. */
import type { ProxyError } from '../errors.ts'
import type { SignInState } from '../state.ts'
import type { Credentials, CredentialsProvider } from './credentials-given.ts'

export type { Credentials, CredentialsProvider }

/** A provider that caches. */
export interface CachedCredentials extends CredentialsProvider {
  /**
   * The machine slept, or its network changed. A lookup that is under way may hang on a dead connection, so the next call
   * starts another one. Credentials with an expiry stay until then.
   */
  refresh(): void
}

/** Where the codes of MFA devices come from. */
export interface MfaCodes {
  /** The code of a device, for one use; undefined if there is none now. @param serial of `mfa_serial` */
  take(serial: string, profile: string): Promise<string | undefined>
}

/** An endpoint whose logins wait for a person. */
export interface WaitingEndpoint {
  /** undefined: that of AWS_PROFILE, or the default profile */
  profile: string | undefined
  /** shows what a person must do; undefined when it is over */
  show(signIn: SignInState | undefined): void
  /** looks credentials up again */
  retry(): Promise<Credentials>
  /** the last errors of logins say nothing about the next one */
  forgetErrors(): void
}

/** Starts what a person must do before there are credentials: a sign-in, or the code of an MFA device. */
export interface SignInHelper {
  codes: MfaCodes
  /**
   * Gets the error of a client's login. If a person can help, it asks for that, unless it does already.
   * @returns the error for the client, after a few seconds at most; it says what to do
   */
  help(error: ProxyError, endpoint: WaitingEndpoint): Promise<ProxyError>
  /** There are credentials: what the endpoint waits for is no longer needed. */
  arrived(endpoint: WaitingEndpoint): void
  /** The one provider of a profile in this process, so that all its endpoints ask for one code. */
  share(profile: string | undefined, create: () => CachedCredentials): CachedCredentials
}
