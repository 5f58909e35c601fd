/** The names of the profiles in ~/.aws, to say which exist. The AWS SDK reads their contents. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

/**
 * The path of a file of the AWS CLI and the SDKs; undefined without a home directory, as for a user id of a container that
 * has no entry in /etc/passwd.
 */
export function awsFile(
  name: 'config' | 'credentials',
  { AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE }: NodeJS.ProcessEnv,
  findHome = homedir,
): string | undefined {
  const given = name === 'config' ? AWS_CONFIG_FILE : AWS_SHARED_CREDENTIALS_FILE
  if (given) return given
  try {
    return join(findHome(), '.aws', name)
  } catch {
    return undefined
  }
}

export interface ProfileNames {
  /** as the SDK finds them */
  profiles: string[]
  /** sections of the config file that are no profiles, because the word `profile` is missing */
  withoutPrefix: string[]
}

/**
 * Never rejects; an unreadable file has no profiles.
 * https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
 */
export async function readProfileNames(environment: NodeJS.ProcessEnv = process.env): Promise<ProfileNames> {
  const sections = async (name: 'config' | 'credentials') => {
    const file = awsFile(name, environment)
    const text = file === undefined ? '' : await readFile(file, 'utf8').catch(() => '')
    return Array.from(text.matchAll(/^[ \t]*\[([^\]\r\n]+)\]/gm), match => match[1]!.trim())
  }
  const inConfig = await sections('config')
  const inCredentials = await sections('credentials')
  const profiles = inConfig.flatMap(section => {
    const name = /^profile\s+(["']?)(.+)\1$/.exec(section)?.[2]
    return name ?? (section === 'default' ? ['default'] : [])
  })
  return {
    profiles: [...new Set([...profiles, ...inCredentials])],
    withoutPrefix: inConfig.filter(section => section !== 'default' && !/\s/.test(section)),
  }
}

/**
 * The region to call AWS in: of AWS_REGION or AWS_DEFAULT_REGION, or else of the profile. undefined if none is set.
 * https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-envvars.html
 */
export async function regionOfProfile(
  profile: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> {
  const { AWS_REGION, AWS_DEFAULT_REGION, AWS_PROFILE } = environment
  if (AWS_REGION || AWS_DEFAULT_REGION) return AWS_REGION || AWS_DEFAULT_REGION
  return await settingOfProfile('region', profile ?? AWS_PROFILE ?? 'default', environment)
}

/** The value of a setting of `profile` in the config file; undefined if it has none. Never rejects. */
export async function settingOfProfile(
  setting: string,
  profile: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string | undefined> {
  const file = awsFile('config', environment)
  const text = file === undefined ? '' : await readFile(file, 'utf8').catch(() => '')
  let isInProfile = false
  for (const line of text.split(/\r?\n/)) {
    const section = /^\s*\[\s*(?:profile\s+)?["']?(.*?)["']?\s*\]/.exec(line)
    if (section) isInProfile = section[1] === profile && (profile === 'default' || /^\s*\[\s*profile\s/.test(line))
    const [, name, value] = (isInProfile && /^(\w+)\s*=\s*(.*?)\s*$/.exec(line)) || []
    if (name === setting) return value
  }
  return undefined
}
