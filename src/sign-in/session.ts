/** Which session of IAM Identity Center a profile uses. */
import { type AwsConfig, profileInUse, readAwsConfig, sourcesOf } from '../aws/config-file.ts'
import { noSuchProfile } from '../aws/credential-errors.ts'
import { readProfileNames } from '../aws/profiles.ts'
import { ProxyError } from '../errors.ts'

/** A session of IAM Identity Center, as ~/.aws/config describes it. */
export interface SsoSession {
  /** the name of its sso-session section; undefined for a profile that names the start URL itself */
  name: string | undefined
  startUrl: string
  /** of IAM Identity Center, not of the database */
  region: string
  /** of `sso_registration_scopes`; for a session without it, the scope that gives out role credentials */
  scopes: readonly string[]
  /** the profile that led here, for settings of the connection; undefined if the session was named itself */
  profile: string | undefined
}

/** What a person names. */
export interface SessionChoice {
  profile?: string | undefined
  /** the name of an sso-session section; counts before the profile */
  ssoSession?: string | undefined
}

/** https://docs.aws.amazon.com/singlesignon/latest/userguide/customermanagedapps-saml2-oauth2.html#oidc-concept */
const DEFAULT_SCOPE = 'sso:account:access'

/**
 * The session to sign in to. Without a choice, it is that of AWS_PROFILE or of the default profile, or else the only
 * sso-session section there is.
 * @throws ProxyError CONFIG_INVALID, CREDENTIALS_PROFILE_MISSING; CREDENTIALS_SSO_EXPIRED for a profile that uses `aws login`
 */
export async function findSsoSession(
  { profile, ssoSession }: SessionChoice,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<SsoSession> {
  const config = await readAwsConfig(environment)
  if (ssoSession !== undefined) return namedSession(ssoSession, config, undefined)
  const name = profileInUse(profile, environment)
  const found = await sessionOfProfile(name, config, environment)
  if (found instanceof ProxyError) {
    const isChosen = profile !== undefined || environment.AWS_PROFILE
    const [only, ...others] = config.ssoSessions.keys()
    if (!isChosen && only !== undefined && others.length === 0) return namedSession(only, config, undefined)
    throw found
  }
  return found
}

async function sessionOfProfile(
  name: string,
  config: AwsConfig,
  environment: NodeJS.ProcessEnv,
): Promise<SsoSession | ProxyError> {
  const way = sourcesOf(name, config)
  if (way.length === 0) {
    const { profiles, withoutPrefix } = await readProfileNames(environment)
    return noSuchProfile(name, profiles, withoutPrefix, undefined)
  }
  const last = way.at(-1)!
  const { sso_session: sessionName, sso_start_url: startUrl, sso_region: region } = last
  if (sessionName !== undefined) return namedSession(sessionName, config, name)
  if (startUrl && region) return { name: undefined, startUrl, region, scopes: [], profile: name }
  if (startUrl) return invalid(`the profile ${name} has sso_start_url, but no sso_region`)
  if (last['login_session'] !== undefined) {
    const what = `the profile ${name} uses aws login, a sign-in that only the AWS CLI has`
    return new ProxyError('CREDENTIALS_SSO_EXPIRED', what, { hintValues: { ssoLogin: `aws login --profile ${name}` } })
  }
  return invalid(`the profile ${name} does not use IAM Identity Center (SSO)${thoseThatDo(config)}`)
}

/** @throws ProxyError CONFIG_INVALID */
function namedSession(name: string, config: AwsConfig, profile: string | undefined): SsoSession {
  const section = config.ssoSessions.get(name)
  if (!section) throw invalid(`there is no [sso-session ${name}] in ~/.aws/config${thoseThatDo(config)}`)
  const { sso_start_url: startUrl, sso_region: region, sso_registration_scopes: scopes = '' } = section
  if (!startUrl || !region) {
    throw invalid(`[sso-session ${name}] in ~/.aws/config needs sso_start_url and sso_region`)
  }
  const given = scopes
    .split(',')
    .map(scope => scope.trim())
    .filter(scope => scope !== '')
  return { name, startUrl, region, scopes: given.length > 0 ? given : [DEFAULT_SCOPE], profile }
}

const MAX_NAMES = 8

/** What to name instead, as the end of a sentence. */
function thoseThatDo({ profiles, ssoSessions }: AwsConfig): string {
  const list = (names: readonly string[]) =>
    `${names.slice(0, MAX_NAMES).join(', ')}${names.length > MAX_NAMES ? ', …' : ''}`
  const ofProfiles = [...profiles].filter(([, section]) => section['sso_session'] ?? section['sso_start_url'])
  const names = ofProfiles.map(([name]) => name)
  if (names.length > 0) return `; profiles that do: ${list(names)}`
  if (ssoSessions.size > 0) return `; sso-session sections: ${list([...ssoSessions.keys()])}`
  return '; create a profile with: aws configure sso'
}

function invalid(message: string): ProxyError {
  return new ProxyError('CONFIG_INVALID', message, { hint: 'Name it with the option profile or sso-session.' })
}
