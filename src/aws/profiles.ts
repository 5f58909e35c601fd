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
