/** The calls to IAM Identity Center's OIDC service, and what its errors mean. */
import type * as Sdk from '@aws-sdk/client-sso-oidc'
import { clientSettings } from '../aws/api.ts'
import { explainCredentialsError } from '../aws/credential-errors.ts'
import { type AwsAgent, createAwsAgent } from '../aws/https-agent.ts'
import { harmless } from '../aws/redact.ts'
import { ProxyError } from '../errors.ts'
import type { SsoSession } from './session.ts'
import type { NewToken, Registration } from './token-cache.ts'

/** OAuth's names for the answers to a request for a token that are no token. */
export type TokenProblem = 'authorization_pending' | 'slow_down' | 'expired_token' | 'access_denied' | 'invalid_client'

const PROBLEMS: Readonly<Record<string, TokenProblem>> = {
  AuthorizationPendingException: 'authorization_pending',
  SlowDownException: 'slow_down',
  ExpiredTokenException: 'expired_token',
  AccessDeniedException: 'access_denied',
  InvalidClientException: 'invalid_client',
  UnauthorizedClientException: 'invalid_client',
}

/** The problem that an error of the service stands for; undefined for all others. */
export function problemOf(error: unknown): TokenProblem | undefined {
  return error instanceof Error ? PROBLEMS[error.name] : undefined
}

export interface OidcClient {
  /** the address of the service, without a slash at its end */
  baseUrl(): Promise<string>
  register(
    input: Sdk.RegisterClientCommandInput,
  ): Promise<Required<Pick<Registration, 'clientId' | 'clientSecret'>> & { expires: Date }>
  startDeviceAuthorization(registration: Registration, startUrl: string): Promise<DeviceAuthorization>
  createToken(
    input: Omit<Sdk.CreateTokenCommandInput, 'clientId' | 'clientSecret'>,
    registration: Registration,
  ): Promise<NewToken>
  /** the ProxyError for what one of these threw. @param what was tried, as the end of "IAM Identity Center refused" */
  explain(error: unknown, what: string): ProxyError
  close(): void
}

/** `deviceCode` is secret until it is used; the rest is for the person. */
export interface DeviceAuthorization {
  deviceCode: string
  userCode: string
  /** the page to type the code into, and the page that has it already */
  url: string
  urlWithCode: string
  /** seconds that the code is valid */
  expiresIn: number
  /** seconds between two polls */
  interval: number
}

/** Of RFC 8628, for an answer without one. */
const DEFAULT_INTERVAL_S = 5

/** Loads the SDK's client. */
export async function createOidcClient({
  region,
  profile,
}: Pick<SsoSession, 'region' | 'profile'>): Promise<OidcClient> {
  const sdk = await import('@aws-sdk/client-sso-oidc')
  const agent = createAwsAgent({ profile })
  // These calls are not signed.
  const unused = () => Promise.reject(new Error('no credentials'))
  const client = new sdk.SSOOIDCClient(clientSettings(region, unused, agent))
  return {
    baseUrl: () => addressOf(client, sdk),
    async register(input) {
      const answer = await client.send(new sdk.RegisterClientCommand(input))
      const { clientId, clientSecret, clientSecretExpiresAt } = answer
      if (!clientId || !clientSecret || !clientSecretExpiresAt) throw notOfAws()
      return { clientId, clientSecret, expires: new Date(clientSecretExpiresAt * 1_000) }
    },
    async startDeviceAuthorization({ clientId, clientSecret }, startUrl) {
      const answer = await client.send(new sdk.StartDeviceAuthorizationCommand({ clientId, clientSecret, startUrl }))
      const {
        deviceCode,
        userCode,
        verificationUri: url,
        verificationUriComplete: urlWithCode = url,
        expiresIn,
      } = answer
      if (!deviceCode || !userCode || !url || !urlWithCode || !expiresIn) throw notOfAws()
      const interval = answer.interval || DEFAULT_INTERVAL_S
      return { deviceCode, userCode, url, urlWithCode, expiresIn, interval }
    },
    async createToken(input, { clientId, clientSecret }) {
      const answer = await client.send(new sdk.CreateTokenCommand({ ...input, clientId, clientSecret }))
      const { accessToken, refreshToken, expiresIn } = answer
      if (!accessToken || !expiresIn) throw notOfAws()
      return { accessToken, refreshToken, expiresIn }
    },
    explain: (error, what) => explain(error, what, agent),
    close() {
      client.destroy()
    },
  }
}

/** The address that the SDK's client would call: authorization has no command, because a browser opens it. */
async function addressOf(client: Sdk.SSOOIDCClient, sdk: typeof Sdk): Promise<string> {
  let address: string | undefined
  const command = new sdk.RegisterClientCommand({ clientName: 'unused', clientType: 'public' })
  command.middlewareStack.add(
    () => async args => {
      const { protocol, hostname, port } = args.request as { protocol: string; hostname: string; port?: number }
      address = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`
      return { response: {}, output: { $metadata: {} } as Sdk.RegisterClientCommandOutput }
    },
    { step: 'build', priority: 'high' },
  )
  await client.send(command)
  return address!
}

function explain(error: unknown, what: string, agent: AwsAgent): ProxyError {
  if (error instanceof ProxyError) return error
  if (agent.problem) return agent.problem
  const unreachable = explainCredentialsError(error, undefined, { clientName: 'SSOOIDCClient', error })
  if (unreachable.code === 'CREDENTIALS_UNREACHABLE') return unreachable
  const problem = problemOf(error)
  if (problem === 'access_denied') return new ProxyError('SIGN_IN_FAILED', 'the sign-in was denied', { cause: error })
  if (problem === 'expired_token') {
    return new ProxyError('SIGN_IN_FAILED', 'the code has expired before the sign-in was complete', { cause: error })
  }
  return new ProxyError('SIGN_IN_FAILED', `IAM Identity Center refused ${what}: ${harmless(error)}`, { cause: error })
}

function notOfAws(): ProxyError {
  const what = 'the answer is not from IAM Identity Center; a proxy or a login page may have sent it'
  return new ProxyError('SIGN_IN_FAILED', what)
}
