/** The names of the profiles in ~/.aws, to say which exist. The AWS SDK reads their contents. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

export interface ProfileNames {
  /** as the SDK finds them */
  profiles: string[]
  /** sections of the config file that are no profiles, because the word `profile` is missing */
  withoutPrefix: string[]
}

/**
 * Never rejects; a file that cannot be read has no profiles.
 * https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
 */
export async function readProfileNames(environment: NodeJS.ProcessEnv = process.env): Promise<ProfileNames> {
  const { AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE } = environment
  const sections = async (file: string) => {
    const text = await readFile(file, 'utf8').catch(() => '')
    return Array.from(text.matchAll(/^[ \t]*\[([^\]\r\n]+)\]/gm), match => match[1]!.trim())
  }
  const inConfig = await sections(AWS_CONFIG_FILE || join(homedir(), '.aws', 'config'))
  const inCredentials = await sections(AWS_SHARED_CREDENTIALS_FILE || join(homedir(), '.aws', 'credentials'))
  const profiles = inConfig.flatMap(section => {
    const name = /^profile\s+(["']?)(.+)\1$/.exec(section)?.[2]
    return name ?? (section === 'default' ? ['default'] : [])
  })
  return {
    profiles: [...new Set([...profiles, ...inCredentials])],
    withoutPrefix: inConfig.filter(section => section !== 'default' && !/\s/.test(section)),
  }
}
