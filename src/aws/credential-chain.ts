/**
 * The AWS SDK's own chain of credential providers, in its order. The SDK's version only reports that no provider has
 * credentials, and writes warnings to stderr; this one keeps each provider's error.
 */
import type * as Providers from '@aws-sdk/credential-providers'
import type { Credentials } from './credential-types.ts'

/** Settings that all providers take. */
export type ProviderOptions = NonNullable<Parameters<typeof Providers.fromIni>[0]>

/** No provider of the chain has credentials. `reason` is the most telling error, undefined if none was configured. */
export class NoCredentials extends Error {
  readonly reason: unknown

  constructor(reason: unknown) {
    super('no provider has credentials')
    this.reason = reason
  }
}

type Provider = () => Promise<Credentials>

/** A provider's error that lets the chain go on. */
interface Passed {
  name: 'environment' | 'profile' | 'web identity' | 'container' | 'instance metadata'
  error: unknown
}

/**
 * As defaultProvider.js of @aws-sdk/credential-provider-node, without its separate link for credential_process: the link of
 * the profile runs it as well, so that the SDK's chain runs a failed one twice.
 * https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
 * @throws NoCredentials; what a provider threw that ends the chain
 */
export async function fromChain(
  providers: typeof Providers,
  options: ProviderOptions,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Credentials> {
  const links: [Passed['name'], Provider][] = [
    // In the SDK for JavaScript, AWS_PROFILE counts before the keys of the environment; in the AWS CLI after.
    ...(environment.AWS_PROFILE ? [] : [['environment', () => providers.fromEnv()()] as [Passed['name'], Provider]]),
    ['profile', () => providers.fromIni(options)()],
    ['web identity', () => providers.fromTokenFile(options)()],
    lastLink(providers, options, environment),
  ]
  const passed: Passed[] = []
  for (const [name, provider] of links) {
    try {
      return await provider()
    } catch (error) {
      if (!(error as { tryNextLink?: boolean } | undefined)?.tryNextLink) throw error
      passed.push({ name, error })
    }
  }
  throw new NoCredentials(reasonIn(passed, environment))
}

/** A container's endpoint if the environment names one, else instance metadata. */
function lastLink(
  providers: typeof Providers,
  options: ProviderOptions,
  {
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI,
    AWS_CONTAINER_CREDENTIALS_FULL_URI,
    AWS_EC2_METADATA_DISABLED,
  }: NodeJS.ProcessEnv,
): [Passed['name'], Provider] {
  if (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI || AWS_CONTAINER_CREDENTIALS_FULL_URI) {
    return ['container', async () => await providers.fromHttp(options)()]
  }
  const isOff = AWS_EC2_METADATA_DISABLED && AWS_EC2_METADATA_DISABLED !== 'false'
  if (!isOff) return ['instance metadata', () => providers.fromInstanceMetadata(options)()]
  return ['instance metadata', () => Promise.reject(Object.assign(new Error('off'), { tryNextLink: true }))]
}

/** What a provider says that is configured, and not just absent. */
function reasonIn(passed: readonly Passed[], environment: NodeJS.ProcessEnv): unknown {
  const errorOf = (name: Passed['name']) => passed.find(link => link.name === name)?.error
  const ofProfile = errorOf('profile')
  const isProfileAbsent = /^Could not resolve credentials using profile: /.test((ofProfile as Error).message)
  if (!isProfileAbsent || environment.AWS_PROFILE) return ofProfile
  const ofContainer = errorOf('container')
  if (ofContainer) return ofContainer
  const ofMetadata = errorOf('instance metadata')
  return (ofMetadata as Error).message === 'off' ? undefined : ofMetadata
}
