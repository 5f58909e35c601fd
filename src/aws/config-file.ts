/** The sections of ~/.aws/config and ~/.aws/credentials, for what a sign-in needs to know. The AWS SDK reads the rest. */
import { readFile } from 'node:fs/promises'
import { awsFile } from './profiles.ts'

/** The settings of a section, without nested ones. */
export type Section = Readonly<Record<string, string>>

export interface AwsConfig {
  /** by name */
  profiles: ReadonlyMap<string, Section>
  /** the sso-session sections, by name */
  ssoSessions: ReadonlyMap<string, Section>
}

/**
 * Never rejects; an unreadable file has no sections. As in the SDK, the credentials file counts before the config file.
 * https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
 */
export async function readAwsConfig(environment: NodeJS.ProcessEnv = process.env): Promise<AwsConfig> {
  const sectionsOf = async (name: 'config' | 'credentials') => {
    const file = awsFile(name, environment)
    return parseSections(file === undefined ? '' : await readFile(file, 'utf8').catch(() => ''))
  }
  const profiles = new Map<string, Section>()
  const ssoSessions = new Map<string, Section>()
  for (const [title, section] of await sectionsOf('config')) {
    const [, kind, , name] = /^(?:(profile|sso-session)\s+)?(["']?)(.+)\2$/.exec(title) ?? []
    if (kind === 'sso-session') ssoSessions.set(name!, section)
    else if (kind === 'profile' || title === 'default') profiles.set(name!, section)
  }
  for (const [name, section] of await sectionsOf('credentials')) {
    profiles.set(name, { ...profiles.get(name), ...section })
  }
  return { profiles, ssoSessions }
}

function parseSections(text: string): Map<string, Section> {
  const sections = new Map<string, Record<string, string>>()
  let current: Record<string, string> | undefined
  for (const line of text.split(/\r?\n/)) {
    const plain = line.split(/(?:^|\s)[#;]/, 1)[0]!.trimEnd()
    const title = /^\s*\[\s*([^\]]+?)\s*\]/.exec(plain)?.[1]
    if (title !== undefined) {
      current = sections.get(title) ?? {}
      sections.set(title, current)
      continue
    }
    // An indented line belongs to the setting above it.
    const [, name, value] = /^([^\s=][^=]*?)\s*=\s*(.*?)$/.exec(plain) ?? []
    if (current && name !== undefined) current[name] = value!
  }
  return sections
}

/**
 * The profiles whose credentials a profile takes, itself first, in the order in which the SDK follows `source_profile`. A
 * profile that has access keys ends the way.
 */
export function sourcesOf(profile: string, { profiles }: AwsConfig): Section[] {
  const way: Section[] = []
  const visited = new Set<string>()
  for (let name: string | undefined = profile; name !== undefined && !visited.has(name); ) {
    const section = profiles.get(name)
    if (!section) break
    way.push(section)
    visited.add(name)
    const isRole = section['role_arn'] !== undefined && section['credential_source'] === undefined
    const hasKeys = section['aws_access_key_id'] !== undefined && way.length > 1
    name = isRole && !hasKeys ? section['source_profile'] : undefined
  }
  return way
}

/** The MFA devices whose codes the credentials of a profile need, without repetition. */
export function mfaSerialsOf(profile: string, config: AwsConfig): string[] {
  const serials = sourcesOf(profile, config).flatMap((section, index) => {
    const { role_arn: role, mfa_serial: serial, aws_access_key_id: key } = section
    const usesKeys = index > 0 && key !== undefined
    return role !== undefined && serial && !usesKeys ? [serial] : []
  })
  return [...new Set(serials)]
}

/** The profile that counts without an option: AWS_PROFILE, or `default`. */
export function profileInUse(profile: string | undefined, environment: NodeJS.ProcessEnv = process.env): string {
  return profile ?? (environment.AWS_PROFILE || 'default')
}

/**
 * The region to call AWS in: of AWS_REGION or AWS_DEFAULT_REGION, or else of the profile. undefined if none is set.
 * https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html
 */
export async function regionOfProfile(
  profile: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> {
  const { AWS_REGION, AWS_DEFAULT_REGION } = environment
  return AWS_REGION || AWS_DEFAULT_REGION || (await settingOfProfile('region', profile, environment))
}

/** undefined if the profile in use does not have it. Never rejects. */
export async function settingOfProfile(
  setting: string,
  profile: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> {
  const { profiles } = await readAwsConfig(environment)
  return profiles.get(profileInUse(profile, environment))?.[setting]
}
