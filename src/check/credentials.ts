/** Credentials: their provider, owner and expiry, and whether the clocks agree. */

import { clientSettings, explainAwsError } from '../aws/api.ts'
import type { Credentials } from '../aws/credentials.ts'
import { type AwsAgent, createAwsAgent } from '../aws/https-agent.ts'
import { apiRegion, formatHostPort } from '../endpoint.ts'
import { ProxyError } from '../errors.ts'
import { MAX_AHEAD_MS, MAX_BEHIND_MS } from '../upstream/refusal.ts'
import type { Context, Identity } from './context.ts'
import type { StepLog } from './steps.ts'

/** The ids that the AWS SDK sets in `$source` of credentials, in the order of the chain. The first match is shown. */
const SOURCES: [id: string, spoken: string][] = [
  ['CREDENTIALS_ENV_VARS_STS_WEB_ID_TOKEN', 'a web identity token (AWS_WEB_IDENTITY_TOKEN_FILE)'],
  ['CREDENTIALS_ENV_VARS', 'the environment (AWS_ACCESS_KEY_ID)'],
  ['CREDENTIALS_PROFILE_SOURCE_PROFILE', 'a role assumed with another profile (source_profile)'],
  ['CREDENTIALS_PROFILE_NAMED_PROVIDER', 'a role assumed with credential_source'],
  ['CREDENTIALS_PROFILE_STS_WEB_ID_TOKEN', 'a web identity token (web_identity_token_file)'],
  ['CREDENTIALS_PROFILE_SSO', 'IAM Identity Center (SSO)'],
  ['CREDENTIALS_PROFILE_SSO_LEGACY', 'IAM Identity Center (SSO)'],
  ['CREDENTIALS_PROFILE_PROCESS', 'credential_process'],
  ['CREDENTIALS_PROFILE_LOGIN', 'aws login'],
  ['CREDENTIALS_PROFILE', 'access keys'],
  ['CREDENTIALS_SSO', 'IAM Identity Center (SSO)'],
  ['CREDENTIALS_PROCESS', 'credential_process'],
  ['CREDENTIALS_HTTP', 'the container (ECS, EKS Pod Identity)'],
  ['CREDENTIALS_IMDS', 'instance metadata (IMDS)'],
  ['CREDENTIALS_STS_ASSUME_ROLE_WEB_ID', 'a web identity token'],
  ['CREDENTIALS_STS_ASSUME_ROLE', 'an assumed role'],
]

export async function checkCredentials(context: Context, log: StepLog): Promise<void> {
  const credentials = await context.credentials()
  log.fact('from', describeSource(credentials, context.profile))
  if (isEnvironmentIgnored(context)) {
    // In the AWS CLI it is the other way round.
    log.fact('ignored', 'AWS_ACCESS_KEY_ID, because AWS_PROFILE is set; the aws command uses AWS_ACCESS_KEY_ID')
  }
  const { certificate } = credentials
  if (certificate) {
    const ends = `${seconds(certificate.expires)} (${spokenDuration(certificate.expires.getTime() - Date.now())})`
    log.fact('certificate', `${certificate.name}, expires ${ends}`)
  }
  log.fact('key', credentials.accessKeyId)
  context.accessKeyId = credentials.accessKeyId
  const { expiration } = credentials
  context.target.state.credentialsExpire = expiration?.getTime()
  if (expiration) {
    const left = expiration.getTime() - Date.now()
    log.fact('until', `${seconds(expiration)} (${spokenDuration(left)})`)
    if (left <= 0) throw new ProxyError('CREDENTIALS_REJECTED', `the AWS credentials expired at ${seconds(expiration)}`)
  }
  const agent = createAwsAgent({ profile: context.profile })
  const { identity, clockAhead, problem } = await getIdentity(context, agent)
  context.identity = identity
  context.clockAhead = clockAhead
  if (identity) log.fact('as', identity.arn)
  if (agent.route?.proxy) log.fact('through', `proxy ${agent.route.proxy}`)
  if (agent.route?.caBundle) log.fact('CAs', agent.route.caBundle)
  // The next step reports a wrong clock.
  if (problem?.code === 'CREDENTIALS_REJECTED' && !isClockWrong(clockAhead)) throw problem
  if (problem && !isClockWrong(clockAhead)) log.warn(problem)
}

/** Whether the chain skips access keys in the environment. */
function isEnvironmentIgnored({ profile, options }: Context): boolean {
  const { AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = process.env
  const isChain = profile === undefined && !options.rolesAnywhere
  return isChain && Boolean(AWS_PROFILE && AWS_ACCESS_KEY_ID && AWS_SECRET_ACCESS_KEY)
}

/** The provider in words, with its profile if it has one. */
export function describeSource(credentials: Credentials, profile: string | undefined): string {
  if (credentials.certificate) return 'IAM Roles Anywhere'
  const ids = (credentials as { $source?: Record<string, unknown> }).$source ?? {}
  const spoken = SOURCES.find(([id]) => id in ids)?.[1] ?? guessFromEnvironment(process.env)
  const isOfProfile = profile !== undefined || Object.keys(ids).some(id => id.startsWith('CREDENTIALS_PROFILE'))
  return isOfProfile ? `profile ${profile ?? process.env.AWS_PROFILE ?? 'default'}: ${spoken}` : spoken
}

function guessFromEnvironment(environment: NodeJS.ProcessEnv): string {
  const { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI } = environment
  if (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI ?? AWS_CONTAINER_CREDENTIALS_FULL_URI) {
    return 'the container (ECS, EKS Pod Identity)'
  }
  return 'instance metadata (IMDS), or another provider of the AWS SDK'
}

interface StsAnswer {
  identity: Identity | undefined
  clockAhead: number | undefined
  problem: ProxyError | undefined
}

/** GetCallerIdentity needs no permission. https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html */
async function getIdentity({ target, credentials }: Context, agent: AwsAgent): Promise<StsAnswer> {
  const { GetCallerIdentityCommand, STSClient } = await import('@aws-sdk/client-sts')
  const client = new STSClient(clientSettings(apiRegion(target.endpoint.rds), credentials, agent))
  let clockAhead: number | undefined
  // Next to the HTTP request, so that it also sees the date of an error.
  client.middlewareStack.add(
    next => async args => {
      const sent = Date.now()
      const result = await next(args)
      const date = (result.response as { headers?: Record<string, string> }).headers?.['date']
      const theirs = date === undefined ? Number.NaN : Date.parse(date)
      // The header has only whole seconds.
      if (!Number.isNaN(theirs)) clockAhead = (sent + Date.now()) / 2 - (theirs + 500)
      return result
    },
    { step: 'deserialize', priority: 'low' },
  )
  try {
    const { Arn, Account } = await client.send(new GetCallerIdentityCommand({}))
    const identity = Arn !== undefined && Account !== undefined ? { arn: Arn, account: Account } : undefined
    return { identity, clockAhead, problem: undefined }
  } catch (error) {
    return { identity: undefined, clockAhead, problem: explainAwsError(error, 'sts:GetCallerIdentity') }
  } finally {
    client.destroy()
  }
}

/** A smaller difference is not worth a warning. */
const CLOCK_WARNING_MS = 60_000

function isClockWrong(ahead: number | undefined): boolean {
  return ahead !== undefined && (ahead > MAX_AHEAD_MS || -ahead > MAX_BEHIND_MS)
}

/** https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html */
export function checkClock({ clockAhead }: Context, log: StepLog): void {
  if (clockAhead === undefined) {
    log.fact('skew', 'unknown: AWS did not answer')
    return
  }
  const amount = spokenDuration(Math.abs(clockAhead))
  const spoken = Math.abs(clockAhead) < 2_000 ? 'less than 2 s' : `${amount} ${clockAhead > 0 ? 'ahead' : 'behind'}`
  log.fact('skew', spoken)
  const message = `the clock of this machine is ${spoken === 'less than 2 s' ? 'right' : spoken}, compared with AWS STS`
  if (isClockWrong(clockAhead)) throw new ProxyError('CLOCK_SKEW', message)
  if (Math.abs(clockAhead) > CLOCK_WARNING_MS) log.warn(new ProxyError('CLOCK_SKEW', message))
}

/** The contents of the token, without its signature and session token. */
export async function checkToken(context: Context, log: StepLog): Promise<void> {
  const { options, target, user, credentials } = context
  const { rds } = target.endpoint
  if (rds.region === undefined) {
    log.fact('for', `user ${user} on ${formatHostPort(rds)}; the region is on the server's certificate`)
    return
  }
  const token = await target.createToken(user)
  context.tokenLength = token.length
  const { host, searchParams } = new URL(`https://${token}`)
  const [, , region] = (searchParams.get('X-Amz-Credential') ?? '').split('/')
  log.fact('for', `user ${searchParams.get('DBUser')} on ${host}, region ${region}`)
  const signed = parseAmzDate(searchParams.get('X-Amz-Date') ?? '')
  const tokenEnds = signed + Number(searchParams.get('X-Amz-Expires')) * 1_000
  const credentialsEnd = (await credentials()).expiration?.getTime() ?? tokenEnds
  const ends = new Date(Math.min(tokenEnds, credentialsEnd))
  const use = options.tokenReuse ? `reused for ${spokenDuration(options.tokenReuse)}` : 'each login signs a new one'
  log.fact('until', `${seconds(ends)} (${spokenDuration(ends.getTime() - Date.now())}); ${use}`)
}

/** '20250131T120000Z' in milliseconds of Date.now(). */
function parseAmzDate(text: string): number {
  return Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
}

function seconds(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z')
}

/** Milliseconds in words: '47 s', '15 min', '3 h', '12 days'. */
export function spokenDuration(milliseconds: number): string {
  const s = Math.round(milliseconds / 1_000)
  if (Math.abs(s) < 120) return `${s} s`
  if (Math.abs(s) < 7_200) return `${Math.round(s / 60)} min`
  if (Math.abs(s) < 172_800) return `${Math.round(s / 3_600)} h`
  return `${Math.round(s / 86_400)} days`
}
